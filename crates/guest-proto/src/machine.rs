//! What host and agent know of a machine before they speak.

/// Where the machine's agent listens, on the guest's vsock.
pub const PORT: u32 = 5000;
/// Where the guest has its cgroups.
pub const CGROUPS: &str = "/sys/fs/cgroup";
