//! The system calls a tool may make.
//!
//! The starting point is the default profile that Docker publishes (moby, `profiles/seccomp`), for a
//! container without capabilities. Stricter than it: no `ptrace`, no `process_vm_*`, `pidfd_getfd`,
//! `vmsplice`, `memfd_secret` and `name_to_handle_at`, and of socket families only those of ordinary
//! programs; no set-user-ID or set-group-ID bit can be set, which in a writable mount would outlive
//! the sandbox on the host; and what ends a container with its runner cannot be undone. Whatever is
//! not allowed fails with `EPERM`.
//!
//! A session in a machine of its own has the same list, but for three things. Its agent needs `openat2`;
//! what it writes is nowhere but in the machine, so that it may set the bits; and no process of it but
//! the agent could undo that the agent ends with its runner.

mod allowed;
#[cfg(test)]
mod kernel;
mod shortcut;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

/// Every `CLONE_NEW*` flag of `clone(2)`.
const CLONE_NAMESPACES: u64 = 0x7e02_0000;
/// `personality(2)` domains that change nothing that matters: Linux, 32-bit Linux, each also telling
/// programs a version 2.6 of the kernel (`UNAME26`), and the query.
const PERSONALITIES: [u64; 5] = [0x0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];
/// `AF_UNIX`, `AF_INET`, `AF_INET6`, and `AF_NETLINK`, which C libraries list interfaces by.
const SOCKET_FAMILIES: [u64; 4] = [1, 2, 10, 16];

/// `S_ISUID` and `S_ISGID`.
const SET_ID_BITS: u64 = 0o6000;
/// `O_CREAT` and `__O_TMPFILE`: without either, the mode is not looked at.
const O_CREAT_OR_TMPFILE: u64 = 0o2000_0100;
/// `prctl(2)`: the signal for when the parent ends. The runner is the tool's parent.
const PR_SET_PDEATHSIG: u64 = 1;

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

/// Why there is no filter.
#[derive(Debug, thiserror::Error)]
#[error("compiling the seccomp filter for {arch}")]
pub(crate) struct SeccompError {
    arch: &'static str,
    source: seccompiler::BackendError,
}

/// What the filters are for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Tool,
    /// One in a machine of its own.
    Session,
}

/// The filters of a tool, in the order they are installed, packed for the runner. Compiled once.
pub(crate) fn filters() -> Result<&'static [Vec<u64>], SeccompError> {
    static FILTERS: OnceLock<Vec<Vec<u64>>> = OnceLock::new();
    if let Some(filters) = FILTERS.get() {
        return Ok(filters);
    }
    let compiled = packed(Purpose::Tool)?;
    Ok(FILTERS.get_or_init(|| compiled))
}

/// Those of a session in a machine of its own.
pub(crate) fn session_filters() -> Result<Vec<Vec<u64>>, SeccompError> {
    packed(Purpose::Session)
}

fn packed(purpose: Purpose) -> Result<Vec<Vec<u64>>, SeccompError> {
    let compiled = compile(purpose).map_err(|source| SeccompError {
        arch: std::env::consts::ARCH,
        source,
    })?;
    Ok(compiled.iter().map(pack).collect())
}

fn compile(purpose: Purpose) -> Result<[BpfProgram; 2], seccompiler::BackendError> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let of_session = purpose == Purpose::Session;
    // The kernel answers with the sternest of all filters, so clone3, which the second allows, ends
    // here. Its flags are in memory, where no filter can see them; without it libraries use clone.
    let mut absent = BTreeMap::from([(allowed::CLONE3, Vec::new())]);
    if !of_session {
        // The same holds for openat2 and the mode of what it makes.
        absent.insert(allowed::OPENAT2, Vec::new());
    }
    let no_clone3 = SeccompFilter::new(
        absent,
        SeccompAction::Allow,
        SeccompAction::Errno(ENOSYS),
        arch,
    )?;
    let always = allowed_always(purpose);
    let rest = SeccompFilter::new(
        conditions(purpose)?,
        SeccompAction::Errno(EPERM),
        SeccompAction::Allow,
        arch,
    )?;
    Ok([
        no_clone3.try_into()?,
        shortcut::before(rest.try_into()?, &always, architecture(arch)),
    ])
}

/// What is allowed with any arguments, as far as this filter goes.
fn allowed_always(purpose: Purpose) -> Vec<i64> {
    let mut calls = allowed::ALWAYS.to_vec();
    calls.extend([allowed::CLONE3, allowed::OPENAT2]);
    if purpose == Purpose::Session {
        calls.push(allowed::PRCTL);
        calls.extend(allowed::SETS_MODE.iter().map(|(call, _)| *call));
        calls.extend(allowed::OPENS.iter().map(|(call, ..)| *call));
    }
    calls
}

/// What is allowed with some arguments.
fn conditions(
    purpose: Purpose,
) -> Result<BTreeMap<i64, Vec<SeccompRule>>, seccompiler::BackendError> {
    let mut rules = BTreeMap::from([
        (
            allowed::CLONE,
            vec![first_argument(SeccompCmpOp::MaskedEq(CLONE_NAMESPACES), 0)?],
        ),
        (allowed::PERSONALITY, first_one_of(&PERSONALITIES)?),
        (allowed::SOCKET, first_one_of(&SOCKET_FAMILIES)?),
    ]);
    if purpose == Purpose::Session {
        return Ok(rules);
    }
    rules.insert(
        allowed::PRCTL,
        vec![first_argument(SeccompCmpOp::Ne, PR_SET_PDEATHSIG)?],
    );
    for (call, mode) in allowed::SETS_MODE {
        rules.insert(*call, vec![no_set_id_bits(*mode)?]);
    }
    for (call, flags, mode) in allowed::OPENS {
        let makes_nothing = condition(*flags, SeccompCmpOp::MaskedEq(O_CREAT_OR_TMPFILE), 0)?;
        rules.insert(*call, vec![makes_nothing, no_set_id_bits(*mode)?]);
    }
    Ok(rules)
}

/// `AUDIT_ARCH_*` of `linux/audit.h`.
const fn architecture(arch: TargetArch) -> u32 {
    match arch {
        TargetArch::x86_64 => 0xc000_003e,
        TargetArch::aarch64 => 0xc000_00b7,
        TargetArch::riscv64 => 0xc000_00f3,
    }
}

fn no_set_id_bits(mode: u8) -> Result<SeccompRule, seccompiler::BackendError> {
    condition(mode, SeccompCmpOp::MaskedEq(SET_ID_BITS), 0)
}

fn first_one_of(values: &[u64]) -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    values
        .iter()
        .map(|value| first_argument(SeccompCmpOp::Eq, *value))
        .collect()
}

fn first_argument(
    operation: SeccompCmpOp,
    value: u64,
) -> Result<SeccompRule, seccompiler::BackendError> {
    condition(0, operation, value)
}

fn condition(
    argument: u8,
    operation: SeccompCmpOp,
    value: u64,
) -> Result<SeccompRule, seccompiler::BackendError> {
    // The kernel looks at the lower half of these arguments only.
    let length = SeccompCmpArgLen::Dword;
    SeccompRule::new(vec![SeccompCondition::new(
        argument, length, operation, value,
    )?])
}

/// As the protocol with the runner has it.
fn pack(program: &BpfProgram) -> Vec<u64> {
    program
        .iter()
        .map(|instruction| {
            u64::from(instruction.code) << 48
                | u64::from(instruction.jt) << 40
                | u64::from(instruction.jf) << 32
                | u64::from(instruction.k)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lets_a_tool_look_at_others_or_load_code_into_the_kernel_is_not_allowed() {
        for call in [
            libc::SYS_ptrace,
            libc::SYS_process_vm_readv,
            libc::SYS_process_vm_writev,
            libc::SYS_pidfd_getfd,
            libc::SYS_vmsplice,
            libc::SYS_memfd_secret,
            libc::SYS_name_to_handle_at,
            libc::SYS_open_by_handle_at,
            libc::SYS_mount,
            libc::SYS_fsopen,
            libc::SYS_open_tree,
            libc::SYS_pivot_root,
            libc::SYS_unshare,
            libc::SYS_setns,
            libc::SYS_bpf,
            libc::SYS_io_uring_setup,
            libc::SYS_userfaultfd,
            libc::SYS_perf_event_open,
            libc::SYS_keyctl,
            libc::SYS_add_key,
            libc::SYS_request_key,
            libc::SYS_init_module,
            libc::SYS_kexec_load,
            libc::SYS_kcmp,
        ] {
            assert!(!allowed::ALWAYS.contains(&call), "{call}");
        }
    }

    #[test]
    fn the_filters_compile_and_fit_in_a_message() {
        for filters in [filters().unwrap(), &session_filters().unwrap()] {
            assert_eq!(filters.len(), 2);
            // 4096 instructions are the kernel's limit for one filter.
            assert!(filters.iter().all(|filter| filter.len() < 4096));
        }
    }

    #[test]
    fn the_short_way_answers_every_call_as_the_long_one() {
        for purpose in [Purpose::Tool, Purpose::Session] {
            compare(purpose);
        }
    }

    fn compare(purpose: Purpose) {
        let arch = TargetArch::try_from(std::env::consts::ARCH).unwrap();
        let mut rules = conditions(purpose).unwrap();
        rules.extend(
            allowed_always(purpose)
                .into_iter()
                .map(|call| (call, Vec::new())),
        );
        let (eperm, allow) = (SeccompAction::Errno(EPERM), SeccompAction::Allow);
        let long: BpfProgram = SeccompFilter::new(rules, eperm, allow, arch)
            .unwrap()
            .try_into()
            .unwrap();
        let short = &compile(purpose).unwrap()[1];
        assert!(short.len() * 3 < long.len(), "{}", short.len());
        let ours = architecture(arch);
        let mut answers = BTreeMap::<u32, u32>::new();
        // The numbers of the x32 interface have a bit of their own.
        for number in (0..1024).chain(0x4000_0000..0x4000_0400).chain([u32::MAX]) {
            for argument in [
                0,
                1,
                2,
                8,
                10,
                16,
                17,
                0o100,
                0o4755,
                0o644,
                0x7e02_0000,
                u64::MAX,
            ] {
                for architecture in [ours, 0x4000_0003, 0] {
                    let call = kernel::Call {
                        number,
                        architecture,
                        arguments: [argument; 6],
                    };
                    let answer = kernel::answer(short, &call);
                    assert_eq!(answer, kernel::answer(&long, &call), "{number} {argument}");
                    *answers.entry(answer).or_default() += 1;
                }
            }
        }
        // Allowed, refused, and killed.
        assert_eq!(answers.len(), 3, "{answers:?}");
    }
}
