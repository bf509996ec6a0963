//! Whose a sandbox's processes are on the host.

use std::path::{Path, PathBuf};

use axo_runner::{IdMap, IdRange, Users};

use super::Unavailable;

/// The unprivileged user of a sandbox, `nobody` and `nogroup` by old custom.
pub(crate) const TOOL_ID: u32 = 65_534;
/// Ids of a sandbox: all that fit in 16 bits, as images expect.
const RANGE: u32 = 65_536;
/// First id of sandboxes that root makes where `/etc/subuid` names none. It lies above every range
/// that systemd gives to containers (below 0x6fff_ffff), so that it is nobody else's.
const DEFAULT_BASE: u32 = 0x7000_0000;
/// Users whose entries in `/etc/subuid` root's sandboxes use, in this order.
const OWNERS: [&str; 3] = ["axocoatl", "containers", "root"];
/// Longest file of ids that is read, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Which ids sandboxes get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum UserHost {
    /// Root, with a range of ids that are nobody's.
    Root { base_user: u32, base_group: u32 },
    /// An ordinary user with ranges in `/etc/subuid` and `/etc/subgid`, and the setuid helpers.
    Ranges {
        us: (u32, u32),
        users: (u32, u32),
        groups: (u32, u32),
        newuidmap: PathBuf,
        newgidmap: PathBuf,
    },
    /// A user with a single id.
    Single { us: (u32, u32) },
}

impl UserHost {
    pub(super) fn examine() -> Result<Self, Unavailable> {
        let us = (
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
        );
        if us.0 == 0 && ids_of_process() == u32::MAX {
            return Ok(Self::Root {
                base_user: OWNERS
                    .iter()
                    .find_map(|name| range_of("/etc/subuid", name, None))
                    .map_or(DEFAULT_BASE, |(start, _)| start),
                base_group: OWNERS
                    .iter()
                    .find_map(|name| range_of("/etc/subgid", name, None))
                    .map_or(DEFAULT_BASE, |(start, _)| start),
            });
        }
        namespaces_are_allowed()?;
        let name = user_name(us.0).unwrap_or_default();
        let ranges = (
            range_of("/etc/subuid", &name, Some(us.0)),
            range_of("/etc/subgid", &name, Some(us.0)),
        );
        let helpers = (program("newuidmap"), program("newgidmap"));
        Ok(match (ranges, helpers) {
            ((Some(users), Some(groups)), (Some(newuidmap), Some(newgidmap))) => Self::Ranges {
                us,
                users,
                groups,
                newuidmap,
                newgidmap,
            },
            _ => Self::Single { us },
        })
    }

    /// Within a machine of a sandbox's own, whose ids are nobody else's.
    pub(crate) const fn of_a_machine() -> Self {
        Self::Root {
            base_user: 0,
            base_group: 0,
        }
    }

    /// The user that tools run as where neither bundle nor image says.
    pub(crate) fn default_user(&self) -> (u32, u32) {
        match self {
            Self::Single { .. } => (0, 0),
            _ => (TOOL_ID, TOOL_ID),
        }
    }

    /// Whether a tool may run as this user.
    pub(crate) fn has(&self, (user, group): (u32, u32)) -> bool {
        match self {
            Self::Single { .. } => (user, group) == (0, 0),
            _ => user < RANGE && group < RANGE,
        }
    }

    /// Which users it has for tools, in words.
    pub(crate) fn which_it_has(&self) -> &'static str {
        match self {
            Self::Single { .. } => "a single one, which is 0:0 inside",
            _ => "those below 65536",
        }
    }

    /// The namespaces of one sandbox. With `as_us`, an ordinary user's tool is that user on the
    /// host, so that it can use the host directories it was granted.
    pub(crate) fn users(&self, tool: (u32, u32), as_us: bool) -> Users {
        let range = |inside, outside, count| IdRange {
            inside,
            outside,
            count,
        };
        match self {
            Self::Root {
                base_user,
                base_group,
            } => Users {
                outer: None,
                newuidmap: None,
                newgidmap: None,
                inner: IdMap {
                    users: vec![range(0, *base_user, RANGE)],
                    groups: vec![range(0, *base_group, RANGE)],
                },
                tool,
            },
            Self::Ranges {
                us,
                users,
                groups,
                newuidmap,
                newgidmap,
            } => {
                let outer = |own, (start, count)| vec![range(0, own, 1), range(1, start, count)];
                // In the outer namespace 0 is the user, and the range begins at 1.
                let inner = |id: u32| {
                    if as_us && id > 0 {
                        let before = range(0, 1, id);
                        let after = range(id + 1, id + 1, RANGE - id - 1);
                        [before, range(id, 0, 1), after]
                            .into_iter()
                            .filter(|range| range.count > 0)
                            .collect()
                    } else {
                        vec![range(0, 1, RANGE)]
                    }
                };
                Users {
                    outer: Some(IdMap {
                        users: outer(us.0, *users),
                        groups: outer(us.1, *groups),
                    }),
                    newuidmap: Some(newuidmap.clone()),
                    newgidmap: Some(newgidmap.clone()),
                    inner: IdMap {
                        users: inner(tool.0),
                        groups: inner(tool.1),
                    },
                    tool,
                }
            }
            Self::Single { us } => Users {
                outer: Some(IdMap {
                    users: vec![range(0, us.0, 1)],
                    groups: vec![range(0, us.1, 1)],
                }),
                newuidmap: None,
                newgidmap: None,
                inner: IdMap {
                    users: vec![range(0, 0, 1)],
                    groups: vec![range(0, 0, 1)],
                },
                tool,
            },
        }
    }
}

/// How many ids this process has, of the host's: all, where it is in no user namespace.
fn ids_of_process() -> u32 {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let mut fields = map.split_whitespace();
    match (fields.next(), fields.next(), fields.next()) {
        (Some("0"), Some("0"), Some(count)) => count.parse().unwrap_or(0),
        _ => 0,
    }
}

/// Whether the host lets ordinary users make user namespaces, as far as its settings tell.
fn namespaces_are_allowed() -> Result<(), Unavailable> {
    let setting = |path: &str| {
        let text = std::fs::read_to_string(path).ok()?;
        text.trim().parse::<u64>().ok()
    };
    let off = |name: &str, value: &str| {
        Unavailable::new(
            format!("the host lets ordinary users make no user namespaces ({name})"),
            format!("as root: sysctl -w {name}={value}, or run axocoatl as root"),
        )
    };
    if setting("/proc/sys/kernel/unprivileged_userns_clone") == Some(0) {
        return Err(off("kernel.unprivileged_userns_clone", "1"));
    }
    if setting("/proc/sys/user/max_user_namespaces") == Some(0) {
        return Err(off("user.max_user_namespaces", "10000"));
    }
    if setting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == Some(1) {
        return Err(off("kernel.apparmor_restrict_unprivileged_userns", "0"));
    }
    Ok(())
}

/// The first range of at least [`RANGE`] ids that a file like `/etc/subuid` gives to a user.
fn range_of(file: &str, name: &str, id: Option<u32>) -> Option<(u32, u32)> {
    let text = read(Path::new(file))?;
    text.lines().find_map(|line| parse_range(line, name, id))
}

fn parse_range(line: &str, name: &str, id: Option<u32>) -> Option<(u32, u32)> {
    let mut fields = line.trim().split(':');
    let owner = fields.next()?;
    let ours = (!name.is_empty() && owner == name)
        || id.is_some_and(|id| owner.parse::<u32>().is_ok_and(|owner| owner == id));
    let start: u32 = fields.next()?.parse().ok()?;
    let count: u32 = fields.next()?.parse().ok()?;
    let whole = count >= RANGE && start > 0 && start.checked_add(count).is_some();
    (ours && whole).then_some((start, RANGE))
}

/// The name of a user in `/etc/passwd`. Names from elsewhere (LDAP) are found by id in `/etc/subuid`.
fn user_name(id: u32) -> Option<String> {
    let text = read(Path::new("/etc/passwd"))?;
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(id)).then(|| name.to_owned())
    })
}

fn read(path: &Path) -> Option<String> {
    use std::io::Read as _;
    let mut text = String::new();
    let file = std::fs::File::open(path).ok()?;
    file.take(MAX_FILE_BYTES).read_to_string(&mut text).ok()?;
    Some(text)
}

/// Where the system has one of its setuid helpers. `PATH` is the caller's and is not asked.
fn program(name: &str) -> Option<PathBuf> {
    ["/usr/bin", "/bin", "/usr/local/bin"]
        .iter()
        .map(|directory| Path::new(directory).join(name))
        .find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_range_of_the_right_user_counts() {
        let range = |line| parse_range(line, "me", Some(1000));
        assert_eq!(range("me:100000:65536"), Some((100_000, 65_536)));
        assert_eq!(range("1000:100000:131072"), Some((100_000, 65_536)));
        for bad in [
            "you:100000:65536",
            "me:100000:1000",
            "me:0:65536",
            "me:x:y",
            "",
            "me:4294967000:65536",
        ] {
            assert_eq!(range(bad), None, "{bad}");
        }
        assert_eq!(parse_range(":1:65536", "", None), None);
    }

    #[test]
    fn a_tool_with_mounts_is_its_user_and_every_id_is_mapped_once() {
        let host = UserHost::Ranges {
            us: (1000, 1000),
            users: (100_000, RANGE),
            groups: (100_000, RANGE),
            newuidmap: "/usr/bin/newuidmap".into(),
            newgidmap: "/usr/bin/newgidmap".into(),
        };
        for (tool, as_us) in [(TOOL_ID, true), (65_535, true), (1, true), (TOOL_ID, false)] {
            let users = host.users((tool, tool), as_us).inner.users;
            let inside: u32 = users.iter().map(|range| range.count).sum();
            assert_eq!(inside, RANGE, "{users:?}");
            let of_tool = users
                .iter()
                .find(|r| (r.inside..r.inside + r.count).contains(&tool))
                .unwrap();
            assert_eq!(of_tool.outside + (tool - of_tool.inside) == 0, as_us);
        }
    }
}
