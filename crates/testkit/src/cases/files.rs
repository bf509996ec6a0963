//! Scratch space and mounts.

use axo_core::{Document, GrantKind, LimitKind, MountMode, Size, Tier, ToolOutput};
use serde_json::{Value, json};

use super::Need::{Files, Grant, Limit};
use super::{Case, Sabotage, case, ensure, output, same};
use crate::rig::Request;

/// Pretends that everything the tool tried went well.
fn all_went_well(outcome: &mut axo_core::Outcome) {
    outcome.output = ToolOutput::Document(Document::from(
        json!({"errno": 0, "written": 1 << 30, "made": 1 << 20, "text": "root:x:0:0"}),
    ));
}

fn errno(found: &Value) -> Option<i64> {
    found["errno"].as_i64()
}

fn failed(found: &Value) -> Result<(), String> {
    ensure(errno(found).is_some_and(|errno| errno != 0), || {
        format!("it went well: {found}")
    })
}

pub(super) const CASES: &[Case] = &[
    case!(
        tmp_can_be_written_and_read,
        "§5.1 file system",
        [Files],
        Sabotage::Outcome(|outcome| {
            outcome.output = ToolOutput::Document(Document::from(json!({"errno": 30})));
        }),
        |rig| {
            let outcome = rig
                .call(Request::new(
                    "write_bytes",
                    json!({"path": "/tmp/a", "bytes": 100_000}),
                ))
                .await?;
            let found = output(&outcome)?;
            same(
                "written",
                (found["written"].as_i64(), errno(&found)),
                (Some(100_000), Some(0)),
            )
        }
    ),
    case!(
        scratch_space_is_limited,
        "threat 3",
        [Files, Limit(LimitKind::Disk)],
        Sabotage::Request(|request| request.limits.disk = None),
        |rig| {
            let limit = Size::from_mib(4);
            for path in ["/tmp/big", "/axocoatl/output.tmp"] {
                let request = Request::new(
                    "write_bytes",
                    json!({"path": path, "bytes": 4 * limit.bytes()}),
                )
                .limits(|limits| limits.disk = Some(limit));
                let found = output(&rig.call(request).await?)?;
                let written = found["written"].as_u64().unwrap_or(u64::MAX);
                ensure(
                    written <= limit.bytes() && written >= limit.bytes() / 2,
                    || format!("{path}: {found}"),
                )?;
                failed(&found)?;
            }
            Ok(())
        }
    ),
    case!(
        space_that_is_freed_can_be_used_again,
        "§5.1 file system",
        [Files, Limit(LimitKind::Disk)],
        Sabotage::Request(|request| request.limits.disk = Some(Size::from_bytes(64 << 10))),
        |rig| {
            // Eight times the limit in all, half of it at once.
            let arguments = json!({"path": "/tmp/a", "bytes": 512 << 10, "times": 16});
            let request = Request::new("rewrite", arguments)
                .limits(|limits| limits.disk = Some(Size::from_mib(1)));
            let found = output(&rig.call(request).await?)?;
            same("the error", errno(&found), Some(0))
        }
    ),
    case!(
        the_number_of_files_is_limited,
        "threat 4",
        [Files, Limit(LimitKind::Disk)],
        Sabotage::Outcome(all_went_well),
        |rig| {
            let outcome = rig
                .call(Request::new(
                    "make_files",
                    json!({"dir": "/tmp", "count": 100_000}),
                ))
                .await?;
            let found = output(&outcome)?;
            ensure(
                found["made"]
                    .as_i64()
                    .is_some_and(|made| (1..20_000).contains(&made)),
                || format!("{found}"),
            )?;
            failed(&found)
        }
    ),
    case!(
        nothing_of_the_host_can_be_read,
        "§5.1 file system",
        [Files],
        Sabotage::Outcome(all_went_well),
        |rig| {
            // A native tool has a /proc, and is there itself; it has no further file of the host.
            let own = (rig.tier() == Tier::Wasm).then_some("/proc/self/environ");
            for path in own.into_iter().chain([
                "/etc/passwd",
                "/tmp/../etc/passwd",
                "/axocoatl/../../../etc/passwd",
                "etc/passwd",
            ]) {
                failed(&output(
                    &rig.call(Request::new("read", json!({"path": path})))
                        .await?,
                )?)?;
            }
            Ok(())
        }
    ),
    case!(
        a_mount_can_be_read_and_only_a_writable_one_written,
        "§5.1 grants",
        [Files, Grant(GrantKind::Mounts)],
        Sabotage::Request(|request| {
            for mount in &mut request.grants.mounts {
                mount.mode = MountMode::ReadWrite;
            }
        }),
        |rig| {
            let host = tempfile::tempdir().map_err(|e| e.to_string())?;
            std::fs::write(host.path().join("a"), "of the host").map_err(|e| e.to_string())?;
            let read = Request::new("read", json!({"path": "/data/a"})).mount(
                host.path(),
                "/data",
                MountMode::ReadOnly,
            );
            same(
                "the file",
                output(&rig.call(read).await?)?["text"].as_str(),
                Some("of the host"),
            )?;
            let write = |path: &str, mode| {
                Request::new("write", json!({"path": path, "text": "of the tool"})).mount(
                    host.path(),
                    "/data",
                    mode,
                )
            };
            failed(&output(
                &rig.call(write("/data/a", MountMode::ReadOnly)).await?,
            )?)?;
            let found = output(&rig.call(write("/data/b", MountMode::ReadWrite)).await?)?;
            same("the error", errno(&found), Some(0))?;
            let written = std::fs::read_to_string(host.path().join("b")).unwrap_or_default();
            same("what the host sees", written.as_str(), "of the tool")
        }
    ),
    case!(
        nothing_leads_out_of_a_mount,
        "threat 30",
        [Files, Grant(GrantKind::Mounts)],
        Sabotage::Outcome(all_went_well),
        |rig| {
            let host = tempfile::tempdir().map_err(|e| e.to_string())?;
            let data = host.path().join("data");
            std::fs::create_dir(&data).map_err(|e| e.to_string())?;
            std::fs::write(host.path().join("secret"), "s").map_err(|e| e.to_string())?;
            for (name, target) in [("absolute", "/etc/passwd"), ("relative", "../secret")] {
                std::os::unix::fs::symlink(target, data.join(name)).map_err(|e| e.to_string())?;
            }
            for path in [
                "/data/absolute",
                "/data/relative",
                "/data/../secret",
                "/data/x/../../secret",
            ] {
                let request = Request::new("read", json!({"path": path})).mount(
                    &data,
                    "/data",
                    MountMode::ReadWrite,
                );
                failed(&output(&rig.call(request).await?)?)?;
            }
            Ok(())
        }
    ),
    case!(
        a_fifo_in_a_mount_is_refused_at_once,
        "threat 7",
        [Files, Grant(GrantKind::Mounts)],
        Sabotage::Outcome(all_went_well),
        |rig| {
            let host = tempfile::tempdir().map_err(|e| e.to_string())?;
            let fifo = host.path().join("fifo");
            rustix::fs::mknodat(
                rustix::fs::CWD,
                &fifo,
                rustix::fs::FileType::Fifo,
                rustix::fs::Mode::RWXU,
                0,
            )
            .map_err(|e| e.to_string())?;
            let request = Request::new("read", json!({"path": "/data/fifo"})).mount(
                host.path(),
                "/data",
                MountMode::ReadOnly,
            );
            let found = output(&rig.call(request).await?)?;
            // It would hold up a thread of ours; a native tool could only hold up itself.
            if rig.tier() == Tier::Wasm {
                return failed(&found);
            }
            ensure(found["text"].as_str().is_none_or(str::is_empty), || {
                format!("it was read: {found}")
            })
        }
    ),
];
