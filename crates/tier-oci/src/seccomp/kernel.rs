//! What the kernel makes of a filter, for tests: classic BPF as far as filters use it.

use seccompiler::sock_filter;

/// `struct seccomp_data`, but for the instruction pointer.
pub(super) struct Call {
    pub(super) number: u32,
    pub(super) architecture: u32,
    pub(super) arguments: [u64; 6],
}

impl Call {
    fn word(&self, offset: u32) -> u32 {
        match offset {
            0 => self.number,
            4 => self.architecture,
            _ => {
                let offset = offset as usize - 16;
                let bytes: Vec<u8> = self
                    .arguments
                    .iter()
                    .flat_map(|a| a.to_ne_bytes())
                    .collect();
                u32::from_ne_bytes(bytes[offset..offset + 4].try_into().unwrap())
            }
        }
    }
}

/// What the filter returns for the call.
pub(super) fn answer(program: &[sock_filter], call: &Call) -> u32 {
    let (mut at, mut accumulator) = (0, 0_u32);
    loop {
        let sock_filter { code, jt, jf, k } = program[at];
        at += 1;
        let jump = |holds: bool| usize::from(if holds { jt } else { jf });
        match code {
            0x20 => accumulator = call.word(k),
            0x54 => accumulator &= k,
            0x05 => at += k as usize,
            0x15 => at += jump(accumulator == k),
            0x25 => at += jump(accumulator > k),
            0x35 => at += jump(accumulator >= k),
            0x06 => return k,
            other => panic!("an instruction that no filter of ours has: {other:#x}"),
        }
    }
}
