//! Whether a session may be: the operator's policy, and what no policy allows.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use axo_core::{LimitKind, Limits, Policy, Size};

use crate::directory::{self, Identity};
use crate::spec::{Network, SessionLimits, SessionSpec, SessionTier};

/// A session the policy allows. Only [`admit`] makes one, and only such a session is started.
#[derive(Clone, PartialEq, Debug)]
pub struct AdmittedSession {
    spec: SessionSpec,
    directory: Option<Identity>,
}

impl AdmittedSession {
    /// What was asked for, with the directory resolved.
    #[must_use]
    pub const fn spec(&self) -> &SessionSpec {
        &self.spec
    }

    /// The directory that was looked at.
    pub(crate) fn directory(&self) -> Option<Identity> {
        self.directory.clone()
    }
}

/// A session that is refused, with what would help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Refused {
    /// Why.
    pub reason: RefusedReason,
    /// What to do.
    pub fix: String,
}

/// Why a session is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefusedReason {
    /// A limit above the operator's ceiling.
    AboveCeiling {
        /// The limit's key.
        limit: &'static str,
        /// What was asked.
        asked: String,
        /// What is allowed.
        ceiling: String,
    },
    /// A limit with which nothing runs, or that podman takes for none.
    TooLittle {
        /// The limit's key.
        limit: &'static str,
        /// What was asked.
        asked: String,
    },
    /// More variables than a request to start a process holds; in bytes.
    EnvironmentTooLarge(usize),
    /// The network, and the policy does not grant it.
    Network,
    /// A network or ports, and a machine that has no network device.
    NoDevice,
    /// Ports, and no network to publish them from.
    PortsWithoutNetwork,
    /// Two of its ports are the same port of this host.
    SamePort(u16),
    /// Setup commands, and the policy does not allow them.
    Setup,
    /// A directory that cannot be a working directory.
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// A variable or label that cannot be one.
    Variable(String),
}

/// A container's runtime takes about half of it while it starts.
const LEAST_MEMORY: Size = Size::from_mib(16);
/// Podman takes no processes at all for no limit. The agent is one.
const LEAST_PIDS: u32 = 8;
const LEAST_FILES: u32 = 16;
/// The kernel takes no bytes at all for no limit.
const LEAST_SCRATCH: Size = Size::from_bytes(64 << 10);
/// Most bytes of all variables together: half of what a request holds, of which the rest is the
/// command's.
pub(crate) const MAX_ENVIRONMENT_BYTES: usize = 128 << 10;

/// Most bytes of a variable or label, name and value.
const MAX_VARIABLE_BYTES: usize = 64 * 1024;
/// Most variables, labels, ports and setup commands, each.
const MAX_ENTRIES: usize = 256;

/// Holds `spec` to `policy`.
///
/// # Errors
/// [`Refused`] says why, and what to do.
pub fn admit(mut spec: SessionSpec, policy: &Policy) -> Result<AdmittedSession, Refused> {
    limits(&spec, policy)?;
    network(&spec, policy)?;
    if !spec.setup.is_empty() && !policy.sessions.setup_commands {
        return Err(Refused {
            reason: RefusedReason::Setup,
            fix: "read them; then set setup_commands = true under [sessions] in the policy, or \
                  create the session without them"
                .to_owned(),
        });
    }
    variables(&spec)?;
    let found = spec.directory.as_deref().map(directory::look_at);
    let (path, directory) = found.transpose()?.unzip();
    spec.directory = path;
    Ok(AdmittedSession { spec, directory })
}

fn limits(spec: &SessionSpec, policy: &Policy) -> Result<(), Refused> {
    too_little(&spec.limits)?;
    let asked = Limits {
        // The policy's ceiling on `wall` is for calls; a session's time has its own.
        wall: None,
        cpu: Some(spec.limits.cpu),
        memory: Some(spec.limits.memory),
        pids: Some(spec.limits.pids),
        files: Some(spec.limits.files),
        disk: Some(spec.limits.scratch),
        output: None,
        fuel: None,
    };
    let time = || {
        let ceiling = policy.sessions.total?;
        (spec.limits.total > ceiling).then(|| {
            let show = |d| humantime::format_duration(d).to_string();
            ("total", show(spec.limits.total), show(ceiling))
        })
    };
    let above = asked
        .above(&policy.ceilings)
        .map(|(kind, asked, ceiling)| (key(kind), asked, ceiling))
        .or_else(time);
    match above {
        None => Ok(()),
        Some((limit, asked, ceiling)) => Err(Refused {
            fix: format!("ask for at most {ceiling}, or raise the ceiling in the policy"),
            reason: RefusedReason::AboveCeiling {
                limit,
                asked,
                ceiling,
            },
        }),
    }
}

fn too_little(limits: &SessionLimits) -> Result<(), Refused> {
    let too_little = |limit, asked: String, least: String| {
        Err(Refused {
            reason: RefusedReason::TooLittle { limit, asked },
            fix: format!("ask for at least {least}"),
        })
    };
    if limits.memory < LEAST_MEMORY {
        return too_little(
            "memory",
            limits.memory.to_string(),
            LEAST_MEMORY.to_string(),
        );
    }
    if limits.pids < LEAST_PIDS {
        return too_little("pids", limits.pids.to_string(), LEAST_PIDS.to_string());
    }
    if limits.files < LEAST_FILES {
        return too_little("files", limits.files.to_string(), LEAST_FILES.to_string());
    }
    if limits.scratch < LEAST_SCRATCH {
        let least = LEAST_SCRATCH.to_string();
        return too_little("scratch", limits.scratch.to_string(), least);
    }
    Ok(())
}

/// The bytes that variables take in a request.
pub(crate) fn environment_bytes(variables: &BTreeMap<String, String>) -> usize {
    variables
        .iter()
        .map(|(name, value)| name.len() + value.len() + 16)
        .sum()
}

/// Whether every process can be told these.
///
/// # Errors
/// [`RefusedReason::EnvironmentTooLarge`].
pub(crate) fn environment(variables: &BTreeMap<String, String>) -> Result<(), Refused> {
    match environment_bytes(variables) {
        ..=MAX_ENVIRONMENT_BYTES => Ok(()),
        bytes => Err(Refused {
            reason: RefusedReason::EnvironmentTooLarge(bytes),
            fix: format!(
                "give fewer or shorter ones, those of the image included: {MAX_ENVIRONMENT_BYTES} \
                 bytes at most"
            ),
        }),
    }
}

/// What a ceiling is called for sessions.
fn key(kind: LimitKind) -> &'static str {
    match kind {
        LimitKind::Disk => "scratch",
        other => other.as_str(),
    }
}

fn network(spec: &SessionSpec, policy: &Policy) -> Result<(), Refused> {
    let has_network = spec.network != Network::None || !spec.ports.is_empty();
    if spec.tier == SessionTier::MicroVm && has_network {
        return Err(Refused {
            reason: RefusedReason::NoDevice,
            fix: "leave network and ports out, or make the session on tier podman".to_owned(),
        });
    }
    if spec.network == Network::Bridge && !policy.sessions.bridge {
        return Err(Refused {
            reason: RefusedReason::Network,
            fix:
                "set network = \"bridge\" under [sessions] in the policy, or leave the network out"
                    .to_owned(),
        });
    }
    if spec.network == Network::None && !spec.ports.is_empty() {
        return Err(Refused {
            reason: RefusedReason::PortsWithoutNetwork,
            fix: "ask for the network bridge, or leave the ports out".to_owned(),
        });
    }
    let mut hosts: Vec<u16> = spec.ports.iter().map(|port| port.host).collect();
    hosts.sort_unstable();
    match hosts.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(Refused {
            reason: RefusedReason::SamePort(pair[0]),
            fix: "give each published port another number on this host".to_owned(),
        }),
        None => Ok(()),
    }
}

fn variables(spec: &SessionSpec) -> Result<(), Refused> {
    let bad = |name: &str| {
        Err(Refused {
            reason: RefusedReason::Variable(name.chars().take(64).collect()),
            fix: format!(
                "names are 1 to {MAX_VARIABLE_BYTES} bytes without '=', values have no NUL, and \
                 there are at most {MAX_ENTRIES} of each kind"
            ),
        })
    };
    for (kind, count) in [
        ("variables", spec.environment.len()),
        ("labels", spec.labels.len()),
        ("ports", spec.ports.len()),
        ("setup commands", spec.setup.len()),
    ] {
        if count > MAX_ENTRIES {
            return bad(kind);
        }
    }
    for (name, value) in spec.environment.iter().chain(&spec.labels) {
        let name_is_good = !name.is_empty() && !name.contains(['=', '\0']);
        if !name_is_good || value.contains('\0') || name.len() + value.len() > MAX_VARIABLE_BYTES {
            return bad(name);
        }
    }
    environment(&spec.environment)?;
    match spec
        .setup
        .iter()
        .find(|text| text.contains('\0') || text.len() > MAX_VARIABLE_BYTES)
    {
        Some(_) => bad("setup command"),
        None => Ok(()),
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the session is refused: {}; {}", self.reason, self.fix)
    }
}

impl fmt::Display for RefusedReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AboveCeiling {
                limit,
                asked,
                ceiling,
            } => write!(
                f,
                "limit {limit} = {asked} is above the ceiling of {ceiling}"
            ),
            Self::TooLittle { limit, asked } => {
                write!(
                    f,
                    "limit {limit} = {asked} is less than a session starts with"
                )
            }
            Self::EnvironmentTooLarge(bytes) => {
                write!(
                    f,
                    "its variables take {bytes} bytes, more than each process can be told"
                )
            }
            Self::Network => f.write_str("the policy does not grant sessions a network"),
            Self::NoDevice => f.write_str("a machine has no network device"),
            Self::PortsWithoutNetwork => f.write_str("it publishes ports and has no network"),
            Self::SamePort(port) => write!(f, "port {port} of this host is published twice"),
            Self::Setup => {
                f.write_str("the project wants commands run, and the policy does not allow that")
            }
            Self::Directory { path, why } => {
                write!(f, "{} cannot be its directory: {why}", path.display())
            }
            Self::Variable(name) => write!(f, "{name:?} cannot be a variable or label"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::PublishedPort;

    fn refused(change: impl FnOnce(&mut SessionSpec)) -> Option<RefusedReason> {
        let mut spec = SessionSpec::new("image");
        change(&mut spec);
        admit(spec, &Policy::default())
            .err()
            .map(|refused| refused.reason)
    }

    #[test]
    fn without_a_policy_there_is_no_network_and_no_setup() {
        assert_eq!(refused(|_| ()), None);
        assert_eq!(
            refused(|s| s.network = Network::Bridge),
            Some(RefusedReason::Network)
        );
        assert_eq!(
            refused(|s| s.setup.push("make".into())),
            Some(RefusedReason::Setup)
        );
        let port = PublishedPort {
            host: 80,
            session: 80,
        };
        assert_eq!(
            refused(|s| s.ports.push(port)),
            Some(RefusedReason::PortsWithoutNetwork)
        );
    }

    #[test]
    fn no_policy_gives_a_machine_a_network() {
        let mut policy = Policy::default();
        policy.sessions.bridge = true;
        let mut spec = SessionSpec::new("image");
        spec.tier = SessionTier::MicroVm;
        assert!(admit(spec.clone(), &policy).is_ok());
        spec.network = Network::Bridge;
        let refused = |spec| admit(spec, &policy).unwrap_err().reason;
        assert_eq!(refused(spec.clone()), RefusedReason::NoDevice);
        spec.network = Network::None;
        spec.ports.push(PublishedPort {
            host: 80,
            session: 80,
        });
        assert_eq!(refused(spec), RefusedReason::NoDevice);
    }

    #[test]
    fn a_policy_may_grant_them() {
        let mut policy = Policy::default();
        policy.sessions.bridge = true;
        policy.sessions.setup_commands = true;
        let mut spec = SessionSpec::new("image");
        spec.network = Network::Bridge;
        spec.setup.push("make".into());
        spec.ports = vec![PublishedPort {
            host: 80,
            session: 80,
        }];
        assert!(admit(spec.clone(), &policy).is_ok());
        spec.ports.push(PublishedPort {
            host: 80,
            session: 81,
        });
        assert_eq!(
            admit(spec, &policy).unwrap_err().reason,
            RefusedReason::SamePort(80)
        );
    }

    #[test]
    fn no_limit_passes_its_ceiling() {
        let above = |change: fn(&mut SessionSpec)| {
            matches!(refused(change), Some(RefusedReason::AboveCeiling { .. }))
        };
        assert!(above(
            |s| s.limits.memory = axo_core::Size::from_mib(1 << 20)
        ));
        assert!(above(|s| s.limits.pids = 1_000_000));
        assert!(above(
            |s| s.limits.scratch = axo_core::Size::from_mib(1 << 20)
        ));
        let mut policy = Policy::default();
        policy.sessions.total = Some(std::time::Duration::from_secs(60));
        assert!(admit(SessionSpec::new("image"), &policy).is_err());
    }

    #[test]
    fn a_directory_is_ones_own_and_where_it_says() {
        let home = tempfile::tempdir().unwrap();
        let inside = home.path().canonicalize().unwrap().join("work");
        std::fs::create_dir(&inside).unwrap();
        let link = inside.with_file_name("link");
        std::os::unix::fs::symlink("/etc", &link).unwrap();
        let mut spec = SessionSpec::new("image");
        spec.directory = Some(inside.clone());
        let admitted = admit(spec, &Policy::default()).unwrap();
        assert_eq!(admitted.spec().directory.as_deref(), Some(&*inside));
        for bad in [
            "/",
            "/etc",
            "/etc/ssl",
            "/usr/share",
            "/proc/self",
            "/home",
            "/absent",
            "/var",
        ] {
            assert!(
                refused(|s| s.directory = Some(bad.into())).is_some(),
                "{bad}"
            );
        }
        for bad in [
            link,
            inside.join(".."),
            inside.join("a:b"),
            inside.join("a,b"),
        ] {
            let _ = std::fs::create_dir(&bad);
            assert!(
                refused(|s| s.directory = Some(bad.clone())).is_some(),
                "{bad:?}"
            );
        }
    }
}
