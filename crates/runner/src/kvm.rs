//! What is said about the host's KVM by the program that tries it.

use serde::{Deserialize, Serialize};

/// Why this host's KVM runs no guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KvmFault {
    /// There is no `/dev/kvm`.
    Absent,
    /// It may not be opened.
    Forbidden,
    /// It does not speak KVM's API.
    NotKvm {
        /// What it said.
        why: String,
    },
    /// It opens, and a guest cannot be made or run.
    Unusable {
        /// What was being done.
        doing: String,
        /// Why it failed.
        why: String,
    },
}

/// The argument that makes the runner's program try KVM instead: it writes a
/// `Result<(), KvmFault>` to its standard output, as JSON.
pub const TRY_KVM: &str = "kvm";
