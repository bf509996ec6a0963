//! What stands between a host and containers: causes, what shows them, and what would help.

use std::fmt;

use super::combination::Part;
use super::host::Host;
use super::repair::advice;

/// One thing that stops containers, or something of theirs, on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is.
    pub cause: Cause,
    /// What shows it: what podman said or what a file of the host says. Short, and fit to be shown.
    pub evidence: String,
    /// What would help.
    pub repair: Repair,
}

/// What would help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repair {
    /// In words.
    pub text: String,
    /// As commands for a shell, in order. Empty where no command helps.
    pub commands: Vec<String>,
    /// Whether [`fix`](super::fix) does it when asked.
    pub can_fix: bool,
}

impl Finding {
    /// A cause, what shows it, and the repair on this host.
    pub(super) fn new(host: &Host, cause: Cause, evidence: impl Into<String>) -> Self {
        Self {
            cause,
            evidence: evidence.into(),
            repair: advice(host, cause),
        }
    }
}

/// In one line.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (cause, repair) = (self.cause.text(), &self.repair.text);
        match self.evidence.as_str() {
            "" => write!(f, "{cause}; {repair}"),
            evidence => write!(f, "{cause} ({evidence}); {repair}"),
        }
    }
}

macro_rules! causes {
    ($($(#[$doc:meta])* $name:ident $word:literal $text:literal;)+) => {
        /// What stops containers.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Cause {
            $($(#[$doc])* $name,)+
        }

        impl Cause {
            /// Every cause.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// Its name for machines.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)+
                }
            }

            /// What it is, in words.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }
        }
    };
}

causes! {
    /// No podman on the search path.
    PodmanMissing "podman-missing" "podman is not installed";
    /// There is one that does not say its version.
    PodmanBroken "podman-broken" "podman does not answer";
    /// One that lacks what sessions ask for.
    PodmanTooOld "podman-too-old" "podman is too old";
    /// No virtual machine, where podman needs one.
    MachineMissing "machine-missing" "podman has no virtual machine";
    /// It has one that does not run.
    MachineStopped "machine-stopped" "podman's virtual machine is stopped";
    /// The monitor of containers is not there, or too old.
    ConmonMissing "conmon-missing" "conmon, which podman watches containers with, is missing or too old";
    /// No program that makes containers.
    RuntimeMissing "runtime-missing" "there is no OCI runtime that podman can use";
    /// Nothing says which system calls containers may make.
    SeccompProfileMissing "seccomp-profile-missing" "the list of system calls that containers may make (seccomp.json) is missing";
    /// crun refuses hosts with controllers in both versions of cgroups.
    HybridCgroups "hybrid-cgroups" "the OCI runtime refuses hosts with hybrid cgroups";
    /// Limits above this process's own.
    Rlimits "rlimits" "limits on open files or processes cannot be raised here";
    /// Systemd or its D-Bus cannot be asked for a cgroup.
    CgroupManager "cgroup-manager" "systemd cannot be asked for cgroups";
    /// Cgroups of v1 cannot be given to an ordinary user.
    CgroupV1Rootless "cgroup-v1-rootless" "this host has cgroup v1, where an ordinary user's containers have no limits";
    /// Controllers are missing, not delegated, or podman did not apply a limit.
    LimitsNotEnforced "limits-not-enforced" "limits on memory, processes or processor time cannot be enforced";
    /// No cgroup file system.
    CgroupsMissing "cgroups-missing" "no cgroup file system is mounted";
    /// No range in `/etc/subuid` or `/etc/subgid`.
    NoSubordinateIds "no-subordinate-ids" "this user has no subordinate user and group ids";
    /// `newuidmap` or `newgidmap` is not there.
    UidmapMissing "uidmap-missing" "newuidmap and newgidmap are missing";
    /// They have neither the set-user-ID bit nor their capability.
    UidmapUnprivileged "uidmap-unprivileged" "newuidmap or newgidmap may not write id maps";
    /// The kernel lets ordinary users make no user namespaces.
    UserNamespacesOff "user-namespaces-off" "the kernel lets ordinary users make no user namespaces";
    /// AppArmor restricts them to programs with a profile.
    AppArmorUserNamespaces "apparmor-user-namespaces" "AppArmor does not let podman make user namespaces";
    /// No directory for what lasts as long as a login.
    NoRuntimeDirectory "no-runtime-directory" "this user has no runtime directory (XDG_RUNTIME_DIR)";
    /// The overlay file system cannot be used.
    Storage "storage" "podman cannot mount an overlay file system here";
    /// The kernel cannot mount overlays for ordinary users, and nothing stands in for it.
    FuseOverlayfsMissing "fuse-overlayfs-missing" "the kernel mounts no overlays for ordinary users, and fuse-overlayfs is missing or cannot be used";
    /// Nothing to connect containers with.
    NetworkHelperMissing "network-helper-missing" "a program that connects containers to the network is missing";
    /// `/dev/net/tun` cannot be used.
    NetworkDevice "network-device" "/dev/net/tun cannot be used, which an ordinary user's containers are connected with";
    /// `/proc` is covered in parts, as in a container.
    ProcMasked "proc-masked" "the kernel lets nobody mount /proc here: this is inside a container";
    /// The directory's file system executes no programs.
    NoExec "noexec" "programs in the data directory cannot be executed";
    /// SELinux denies the container its root.
    Selinux "selinux" "SELinux does not let containers use the data directory";
    /// The program is for another processor, or is no program.
    WrongProgram "wrong-program" "the kernel that runs containers cannot execute our program";
    /// What podman remembers is not what is.
    StaleState "stale-state" "podman's own state does not fit this host any more";
    /// No answer in time.
    Late "late" "podman did not finish in time";
    /// Nothing that is known.
    Unknown "unknown" "podman could not start a container";
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// What a cause means for the search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Means {
    /// Whatever shares this part fails too.
    Not(Part),
    /// No combination helps.
    Stop,
    /// Another combination may help; it cannot be told which.
    TryOthers,
}

impl Cause {
    pub(super) fn means(self) -> Means {
        match self {
            Self::HybridCgroups | Self::RuntimeMissing => Means::Not(Part::Runtime),
            Self::Rlimits => Means::Not(Part::Ulimits),
            Self::CgroupManager => Means::Not(Part::Cgroups),
            Self::LimitsNotEnforced => Means::Not(Part::RuntimeWithCgroups),
            Self::Storage | Self::FuseOverlayfsMissing | Self::NoExec => Means::Not(Part::Root),
            Self::Late
            | Self::Unknown
            | Self::ProcMasked
            | Self::NetworkHelperMissing
            | Self::NetworkDevice => Means::TryOthers,
            Self::PodmanMissing
            | Self::PodmanBroken
            | Self::PodmanTooOld
            | Self::MachineMissing
            | Self::MachineStopped
            | Self::ConmonMissing
            | Self::SeccompProfileMissing
            | Self::CgroupV1Rootless
            | Self::CgroupsMissing
            | Self::NoSubordinateIds
            | Self::UidmapMissing
            | Self::UidmapUnprivileged
            | Self::UserNamespacesOff
            | Self::AppArmorUserNamespaces
            | Self::NoRuntimeDirectory
            | Self::Selinux
            | Self::WrongProgram
            | Self::StaleState => Means::Stop,
        }
    }

    /// The cause of a name for machines.
    pub(super) fn of_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|c| c.as_str() == name)
    }
}

/// Leaves one finding for each cause: the first, which was seen rather than read somewhere.
pub(super) fn without_repetition(findings: impl IntoIterator<Item = Finding>) -> Vec<Finding> {
    let mut kept: Vec<Finding> = Vec::new();
    for finding in findings {
        if !kept.iter().any(|other| other.cause == finding.cause) {
            kept.push(finding);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_has_a_name_of_its_own() {
        for cause in Cause::ALL {
            assert_eq!(Cause::of_name(cause.as_str()), Some(*cause));
            assert!(!cause.text().is_empty());
        }
    }
}
