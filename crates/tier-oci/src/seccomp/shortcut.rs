//! A filter's short way for what is allowed whatever its arguments.
//!
//! `seccompiler` asks for one call after the other, five instructions each. With the 300 calls of our
//! list the kernel takes longer to check, translate and try such a filter than to make a namespace. The
//! numbers of calls lie close together, so that a few ranges hold most of them.

use std::ops::RangeInclusive;

use seccompiler::{BpfProgram, sock_filter};

/// Where `struct seccomp_data` has the number of the call.
const NUMBER: u32 = 0;
/// Where it has the architecture whose number that is.
const ARCHITECTURE: u32 = 4;

// Instructions of `linux/bpf_common.h`.
/// `BPF_LD | BPF_W | BPF_ABS`.
const LOAD: u16 = 0x20;
/// `BPF_JMP | BPF_JEQ | BPF_K`.
const IF_EQUAL: u16 = 0x15;
/// `BPF_JMP | BPF_JGT | BPF_K`.
const IF_ABOVE: u16 = 0x25;
/// `BPF_JMP | BPF_JGE | BPF_K`.
const IF_AT_LEAST: u16 = 0x35;
/// `BPF_RET | BPF_K`.
const RETURN: u16 = 0x06;

/// The filter that allows these calls of this architecture (`AUDIT_ARCH_*`), and leaves every other to
/// `rest`. What is made for another architecture is killed.
pub(super) fn before(rest: BpfProgram, allowed: &[i64], architecture: u32) -> BpfProgram {
    let mut program = vec![
        instruction(LOAD, 0, 0, ARCHITECTURE),
        instruction(IF_EQUAL, 1, 0, architecture),
        instruction(RETURN, 0, 0, libc::SECCOMP_RET_KILL_PROCESS),
        instruction(LOAD, 0, 0, NUMBER),
    ];
    for range in ranges(allowed) {
        program.extend([
            instruction(IF_AT_LEAST, 0, 2, *range.start()),
            instruction(IF_ABOVE, 1, 0, *range.end()),
            instruction(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
        ]);
    }
    program.extend(rest);
    program
}

/// These numbers, as ranges without one that is not among them.
fn ranges(numbers: &[i64]) -> Vec<RangeInclusive<u32>> {
    let mut sorted: Vec<u32> = numbers
        .iter()
        .filter_map(|number| u32::try_from(*number).ok())
        .collect();
    sorted.sort_unstable();
    let mut ranges: Vec<RangeInclusive<u32>> = Vec::new();
    for number in sorted {
        match ranges.last_mut() {
            Some(last) if number <= last.end().saturating_add(1) => *last = *last.start()..=number,
            _ => ranges.push(number..=number),
        }
    }
    ranges
}

const fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_what_they_are_made_of_and_nothing_else() {
        assert_eq!(ranges(&[5, 1, 2, 2, 9, 3, 10, -1]), [1..=3, 5..=5, 9..=10]);
        assert!(ranges(&[]).is_empty());
    }
}
