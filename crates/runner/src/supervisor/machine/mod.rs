//! A microVM, from its jail to its end. Reads top to bottom.
//!
//! ```text
//! this process            mount, network, ipc and uts namespaces of its own, outside of the cgroup
//!   └─ guard              first process of a pid namespace, in the cgroup; ends with this process
//!        └─ jailer        makes its own mount namespace, changes its user, and becomes
//!             └─ firecracker
//! ```
//!
//! Firecracker gives up the parent death signal when it changes its user, and needs none: the kernel
//! kills it with the guard, and the guard with this process.

mod guard;
mod jail;
mod keeper;

use std::os::fd::{AsFd as _, OwnedFd};

use axo_runner::{MachineEnded, PrepareMachine, Reply};

use super::cgroup::Cgroup;
use super::deadline::Deadline;
use super::step::Failed;
use super::{tell, wait_or_kill};
use guard::Guard;
use jail::Jail;
pub(super) use keeper::Keeper;
use keeper::Keeping;

/// Starts the machine and waits for its end.
pub(super) fn serve(
    prepare: PrepareMachine,
    descriptors: Vec<OwnedFd>,
    engine: &OwnedFd,
    cgroup: &mut Cgroup,
    deadline: Deadline,
    keeper: &mut Option<Keeper>,
) -> Result<(), Failed> {
    check_id(&prepare.id)?;
    let mut descriptors = descriptors.into_iter();
    let (Some(console), Some(_user)) = (descriptors.next(), descriptors.next()) else {
        return Err(Failed::new("taking over descriptors", "some are missing"));
    };
    let keeping = match &prepare.keep {
        Some(keep) => Some(Keeping::take(keep, &mut descriptors)?),
        None => None,
    };
    if matches!(prepare.cgroup, axo_runner::Cgroup::Systemd { .. }) {
        let why = "a machine's cgroup is made directly, and not by systemd";
        return Err(Failed::new("making the cgroup", why));
    }
    cgroup.make(&prepare.cgroup)?;
    let jail = Jail::make(&prepare, descriptors.collect())?;
    let guard = Guard::start(&prepare, &jail, cgroup, console, engine)?;
    drop(deadline);
    tell(engine, &Reply::MachineRuns, &[jail.root.as_fd()])?;
    match keeping {
        // The engine's is the only one from now on.
        None => {
            drop(jail);
            wait_or_kill(engine, guard.process())?;
        }
        Some(keeping) => {
            let keeper = keeper.insert(keeping.of(jail.root));
            keeper.attend(engine, guard.process())?;
        }
    }
    let status = guard.reap()?;
    let used = cgroup.usage();
    let ended = MachineEnded {
        status,
        out_of_memory: used.out_of_memory,
        cpu_micros: used.cpu_micros,
        peak_memory: used.peak_memory,
    };
    match keeper {
        None => tell(engine, &Reply::MachineEnded(ended), &[]),
        Some(keeper) => {
            // Who had it made may have gone.
            let _ = tell(engine, &Reply::MachineEnded(ended.clone()), &[]);
            keeper.ended(ended);
            Ok(())
        }
    }
}

/// It becomes a part of a path.
fn check_id(id: &str) -> Result<(), Failed> {
    let fits = (1..=PrepareMachine::MAX_ID_BYTES).contains(&id.len());
    if fits && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
        return Ok(());
    }
    let why = format!("{id:?} is not made of at most 64 letters, digits and `-`");
    Err(Failed::new("naming the machine", why))
}
