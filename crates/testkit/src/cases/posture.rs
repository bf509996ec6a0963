//! The live process: what it is and what it has.

use axo_core::{GrantKind, LimitKind};
use serde_json::{Value, json};

use super::Need::{Grant, Kernel, Limit, Root, SharedKernel};
use super::host::{ENOENT, ENXIO, Mark, edit, host_file};
use super::{Case, Sabotage, case, ensure, output, same};
use crate::rig::{Request, Rig};

/// The namespaces that a tool shares with nobody.
const NAMESPACES: [&str; 7] = ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"];

async fn posture(rig: &Rig) -> Result<Value, String> {
    output(&rig.call(Request::new("posture", json!({}))).await?)
}

fn status<'a>(found: &'a Value, line: &str) -> Result<&'a str, String> {
    let text = found["status"][line].as_str();
    text.ok_or_else(|| format!("/proc/self/status has no {line}"))
}

pub(super) const CASES: &[Case] = &[
    case!(
        no_capability_is_in_any_set,
        "posture, threat 16",
        [Kernel],
        Sabotage::Outcome(|outcome| {
            edit(outcome, |found| {
                found["status"]["CapBnd"] = json!("00000000a80425fb")
            });
        }),
        |rig| {
            let found = posture(&rig).await?;
            for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
                same(set, status(&found, set)?, "0000000000000000")?;
            }
            Ok(())
        }
    ),
    case!(
        no_new_privilege_can_be_had,
        "posture, threat 27",
        [Kernel],
        Sabotage::Outcome(|outcome| {
            edit(outcome, |found| found["status"]["NoNewPrivs"] = json!("0"));
        }),
        |rig| {
            same(
                "NoNewPrivs",
                status(&posture(&rig).await?, "NoNewPrivs")?,
                "1",
            )
        }
    ),
    case!(
        a_filter_of_calls_is_in_force,
        "posture, threat 16",
        [SharedKernel],
        Sabotage::Outcome(|outcome| {
            edit(outcome, |found| found["status"]["Seccomp"] = json!("0"));
        }),
        |rig| {
            let found = posture(&rig).await?;
            same("Seccomp (2 is a filter)", status(&found, "Seccomp")?, "2")?;
            let filters = status(&found, "Seccomp_filters")?.parse::<u32>();
            let inherited = host_status("Seccomp_filters").parse().unwrap_or(0);
            ensure(
                filters.as_ref().is_ok_and(|filters| *filters > inherited),
                || format!("{filters:?} filters, and {inherited} of them are ours"),
            )
        }
    ),
    case!(
        the_tool_is_an_unprivileged_user,
        "§5.1 user, posture",
        [Kernel],
        Sabotage::Outcome(|outcome| {
            edit(outcome, |found| found["status"]["Uid"] = json!("0 0 0 0"));
        }),
        |rig| {
            let found = posture(&rig).await?;
            for line in ["Uid", "Gid"] {
                let ids: Vec<_> = status(&found, line)?.split(' ').collect();
                ensure(
                    ids.len() == 4 && ids[0] != "0" && ids.iter().all(|id| *id == ids[0]),
                    || format!("{line}: {ids:?}"),
                )?;
            }
            let groups: Vec<_> = status(&found, "Groups")?.split_whitespace().collect();
            ensure(!groups.contains(&"0"), || format!("groups: {groups:?}"))
        }
    ),
    case!(
        the_host_sees_an_unprivileged_user,
        "posture, threat 17",
        [SharedKernel, Root, Grant(GrantKind::Env)],
        Sabotage::Request(|request| request.grants.env.clear()),
        |rig| {
            let mark = Mark::new();
            let request = mark.on(Request::new("sleep", json!({"ms": 300})));
            let users = |processes: &[u32]| -> Vec<String> {
                let status = |process: &u32| host_file(format!("/proc/{process}/status"));
                processes
                    .iter()
                    .map(|process| line_of(&status(process), "Uid"))
                    .collect()
            };
            let (_, _, seen) = mark.watch(rig.call(request), users).await?;
            let seen = seen.ok_or("the host never saw the tool")?;
            // A process that ended between the two looks has no line.
            let privileged = |uids: &String| uids.split_whitespace().any(|uid| uid == "0");
            ensure(!seen.iter().any(privileged), || {
                format!("its users: {seen:?}")
            })
        }
    ),
    case!(
        every_namespace_is_the_tools_own,
        "posture, design §6",
        [SharedKernel],
        Sabotage::Outcome(|outcome| {
            edit(outcome, |found| {
                let host = std::fs::read_link("/proc/self/ns/net").unwrap();
                found["namespaces"]["net"] = json!(host);
            });
        }),
        |rig| {
            let found = posture(&rig).await?;
            for name in NAMESPACES {
                let inside = found["namespaces"][name].as_str().unwrap_or_default();
                let host = std::fs::read_link(format!("/proc/self/ns/{name}"));
                let host = host.map_err(|e| format!("{name}: {e}"))?;
                ensure(
                    inside.starts_with(name) && host.as_os_str() != inside,
                    || format!("namespace {name} is {inside}, the host's is {host:?}"),
                )?;
            }
            Ok(())
        }
    ),
    case!(
        the_tools_cgroup_is_the_root_it_sees,
        "posture, threat 23",
        [SharedKernel],
        Sabotage::Outcome(|outcome| {
            edit(outcome, |found| {
                found["cgroup"] = json!("0::/user.slice/session.scope")
            });
        }),
        |rig| {
            let found = posture(&rig).await?;
            let cgroup = found["cgroup"].as_str().unwrap_or_default();
            ensure(
                !cgroup.is_empty() && cgroup.lines().all(|line| line.ends_with(":/")),
                || format!("/proc/self/cgroup is {cgroup:?}"),
            )
        }
    ),
    case!(
        the_hosts_name_is_not_the_tools,
        "posture, design §6",
        [SharedKernel],
        Sabotage::Outcome(|outcome| {
            edit(outcome, |found| {
                found["hostname"] = json!(host_file("/proc/sys/kernel/hostname").trim_end());
            });
        }),
        |rig| {
            let found = posture(&rig).await?;
            let (inside, host) = (
                found["hostname"].as_str(),
                host_file("/proc/sys/kernel/hostname"),
            );
            ensure(
                inside.is_some_and(|inside| !inside.is_empty() && inside != host.trim_end()),
                || format!("the tool's host is {inside:?}"),
            )
        }
    ),
    case!(
        the_only_descriptors_are_the_three_streams,
        "§5.1 descriptors, threat 19",
        [Kernel],
        Sabotage::Outcome(|outcome| {
            edit(outcome, |found| {
                let planted = json!({"fd": 7, "link": "/sys/fs/cgroup"});
                if let Some(fds) = found["fds"].as_array_mut() {
                    fds.push(planted);
                }
            });
        }),
        |rig| {
            // A directory of the host, planted to be inherited: the way of CVE-2024-21626.
            let directory = std::fs::File::open("/").map_err(|e| e.to_string())?;
            let planted = rustix::io::dup(&directory).map_err(|e| e.to_string())?;
            let found = posture(&rig).await;
            drop(planted);
            let found = found?;
            let fds = found["fds"].as_array().cloned().unwrap_or_default();
            let numbers: Vec<_> = fds.iter().filter_map(|fd| fd["fd"].as_i64()).collect();
            same("the descriptors", numbers, vec![0, 1, 2])?;
            for fd in &fds {
                let link = fd["link"].as_str().unwrap_or_default();
                let stream = ["pipe:", "socket:", "/dev/null", "/axocoatl/input.json"];
                ensure(stream.iter().any(|kind| link.starts_with(kind)), || {
                    format!("{fd} leads elsewhere")
                })?;
            }
            Ok(())
        }
    ),
    case!(
        the_directory_is_one_of_the_sandbox,
        "threat 19",
        [Kernel],
        Sabotage::Outcome(|outcome| {
            edit(outcome, |found| {
                found["cwd"] = json!("(unreachable)/home/operator")
            });
        }),
        |rig| {
            let found = posture(&rig).await?;
            let cwd = found["cwd"].as_str().unwrap_or_default();
            ensure(cwd.starts_with('/') && found["root"] == "/", || {
                format!("the directory is {cwd:?} under {}", found["root"])
            })
        }
    ),
    case!(
        there_is_no_terminal,
        "threat 20",
        [Kernel],
        Sabotage::Outcome(|outcome| edit(outcome, |found| found["isatty_1"] = json!(true))),
        |rig| {
            let found = posture(&rig).await?;
            for stream in ["isatty_0", "isatty_1", "isatty_2"] {
                same(stream, found[stream].as_bool(), Some(false))?;
            }
            let tty = found["tty"].as_i64();
            ensure(tty == Some(ENXIO) || tty == Some(ENOENT), || {
                format!("opening /dev/tty came to {tty:?}")
            })
        }
    ),
    case!(
        the_environment_is_that_of_the_live_process,
        "§5.1 environment, threat 31",
        [Kernel],
        Sabotage::Outcome(|outcome| {
            edit(outcome, |found| found["environ"]["LISTEN_FDS"] = json!("1"));
        }),
        |rig| {
            let found = posture(&rig).await?;
            let mut names: Vec<_> = found["environ"]
                .as_object()
                .into_iter()
                .flatten()
                .map(|(name, _)| name.as_str())
                .collect();
            names.sort_unstable();
            let expected = vec!["AXOCOATL_CALL_ID", "AXOCOATL_TOOL", "HOME", "PATH"];
            same("the names", names, expected)
        }
    ),
    case!(
        the_limit_of_open_files_is_hard,
        "posture, threat 10",
        [Kernel, Limit(LimitKind::Files)],
        Sabotage::Request(|request| request.limits.files = None),
        |rig| {
            let request =
                Request::new("posture", json!({})).limits(|limits| limits.files = Some(40));
            let found = output(&rig.call(request).await?)?;
            same("open files", &found["rlimits"]["nofile"], &json!([40, 40]))
        }
    ),
    case!(
        two_calls_share_no_namespace,
        "posture, threat 15",
        [SharedKernel, Root, Grant(GrantKind::Env)],
        Sabotage::Request(|request| request.grants.env.clear()),
        |rig| {
            let marks = [Mark::new(), Mark::new()];
            let sleep =
                |mark: &Mark| rig.call(mark.on(Request::new("sleep", json!({"seconds": 2}))));
            let calls = async { tokio::join!(sleep(&marks[0]), sleep(&marks[1])) };
            let both = async {
                loop {
                    let found =
                        [&marks[0], &marks[1]].map(|mark| mark.processes().first().map(own));
                    if let [Some(first), Some(second)] = found {
                        return (first, second);
                    }
                    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                }
            };
            let (first, second) = tokio::select! {
                found = both => found,
                _ = calls => return Err("the host never saw both tools at once".into()),
            };
            for ((name, first), second) in NAMESPACES.iter().zip(first).zip(second) {
                ensure(first.is_some() && first != second, || {
                    format!("{name}: {first:?} and {second:?}")
                })?;
            }
            Ok(())
        }
    ),
];

/// The text of a line of a `status` file.
fn line_of(status: &str, name: &str) -> String {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_default().trim().to_owned()
}

fn host_status(name: &str) -> String {
    line_of(&host_file("/proc/self/status"), name)
}

/// The namespaces of a process, in the order of [`NAMESPACES`].
fn own(process: &u32) -> [Option<std::path::PathBuf>; 7] {
    NAMESPACES.map(|name| std::fs::read_link(format!("/proc/{process}/ns/{name}")).ok())
}
