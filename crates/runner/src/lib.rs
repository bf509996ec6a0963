//! The runner: the one supervisor process of a sandbox.
//!
//! The engine is a threaded process, and libcontainer clones without exec, so the engine never links
//! it. For each sandbox it starts one runner, from a sealed memfd, and speaks with it over a pair of
//! sockets:
//!
//! ```text
//! engine ──Prepare──▶ runner   makes the container, which waits in the OCI state `created`
//!        ◀─Prepared──
//!        ──Start────▶          the tool runs
//!        ◀─Started───
//!        ◀─Exited────          how it ended and what it used, with its output file
//!        ─(closes)──▶          whatever there is of the sandbox ends, at any time
//! ```
//!
//! A microVM is started in one step, and told what to do by its own API:
//!
//! ```text
//! engine ──Machine──▶ runner       cgroup, jail, and Firecracker in it
//!        ◀─MachineRuns─            with the jail's root directory, where the API's socket is
//!        ◀─MachineEnded─           how it ended and what it used
//!        ─(closes)──▶              whatever there is of it ends, at any time
//! ```
//!
//! One that may be kept outlives its engine from the time that this says so:
//!
//! ```text
//! engine ──Keep─────▶ runner       now the machine's keeper, which listens on a socket of its own
//!        ◀─Kept─────
//!        ─(closes)──▶              and the machine goes on
//! anyone ──Ask──────▶              for the jail's root, or its end
//! ```
//!
//! This library is the protocol, which both sides link. The supervisor itself is the binary.
#![warn(missing_docs)]

mod kvm;
mod machine;
mod packet;
mod protocol;
mod stage;

pub use kvm::{KvmFault, TRY_KVM};
pub use machine::{
    API_SOCKET, Account, Ask, EndedBy, JAILER_DONE, JailFile, Keep, MachineEnded, PrepareMachine,
    Told,
};
pub use packet::{MAX_DESCRIPTORS, MAX_PACKET_BYTES, PacketError, receive, send};
pub use protocol::{
    Bind, Cgroup, CgroupDirectory, CgroupSetting, Exited, Fault, IdMap, IdRange, LEFT_SOMETHING,
    Launch, OutputFound, Prepare, Reply, Request, RootAccess, Scratch, Status, Users,
};
pub use stage::Stage;
