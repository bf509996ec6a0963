//! Calls of the kernel that tools have no business making.

use serde_json::json;

use super::Need::SharedKernel;
use super::host::{ENOSYS, EPERM, FORBIDDEN, all_refused, edit, everything_worked};
use super::{Case, Sabotage, case, ensure, output, same};
use crate::rig::Request;

pub(super) const CASES: &[Case] = &[
    case!(
        dangerous_calls_of_the_kernel_are_refused,
        "threat 16",
        [SharedKernel],
        Sabotage::Outcome(everything_worked),
        |rig| {
            let found = output(&rig.call(Request::new("kernel_calls", json!({}))).await?)?;
            ensure(
                found["mount"].is_i64() && found["setns_mnt"].is_i64(),
                || format!("not all were tried: {found}"),
            )?;
            all_refused(&found, FORBIDDEN)
        }
    ),
    case!(
        no_namespace_can_be_made,
        "threat 17",
        [SharedKernel],
        Sabotage::Outcome(everything_worked),
        |rig| {
            let found = output(&rig.call(Request::new("userns", json!({}))).await?)?;
            for (call, errno) in found.as_object().into_iter().flatten() {
                // A C library that meets ENOSYS takes clone, whose flags a filter can read.
                let expected = if call.starts_with("clone3") {
                    ENOSYS
                } else {
                    EPERM
                };
                same(call, errno.as_i64(), Some(expected))?;
            }
            all_refused(&found, FORBIDDEN)
        }
    ),
    case!(
        the_kernels_keyrings_are_out_of_reach,
        "threat 25",
        [SharedKernel],
        Sabotage::Outcome(everything_worked),
        |rig| {
            let found = output(&rig.call(Request::new("keyring", json!({}))).await?)?;
            all_refused(&found, FORBIDDEN)
        }
    ),
    case!(
        other_processes_cannot_be_traced_or_read,
        "threat 26",
        [SharedKernel],
        Sabotage::Outcome(everything_worked),
        |rig| {
            let found = output(&rig.call(Request::new("peers", json!({}))).await?)?;
            for call in [
                "ptrace_traceme",
                "ptrace_parent",
                "ptrace_first",
                "process_vm_readv",
                "process_vm_writev",
                "pidfd_getfd",
                "pidfd_getfd_first",
                "kcmp",
            ] {
                all_refused(&json!({ call: found[call] }), FORBIDDEN)?;
            }
            Ok(())
        }
    ),
    case!(
        other_processes_are_not_even_seen,
        "threat 26",
        [SharedKernel],
        Sabotage::Outcome(|outcome| edit(outcome, |found| found["listed"] = json!([1, 2, 999]))),
        |rig| {
            let found = output(&rig.call(Request::new("peers", json!({}))).await?)?;
            for list in ["seen", "listed"] {
                let others = found[list].as_array().cloned();
                // The first process may be an init of the sandbox's own.
                ensure(
                    others.is_some_and(|others| others.iter().all(|other| *other == 1)),
                    || format!("{list}: {}", found[list]),
                )?;
            }
            Ok(())
        }
    ),
];
