//! Filling whatever can be written.

use axo_core::{LimitKind, Size};
use serde_json::json;

use super::Need::{Files, Kernel, Limit};
use super::host::{ENOSPC, EROFS, OUT_OF_REACH, all_refused};
use super::{Case, Sabotage, case, ensure, output, same};
use crate::rig::Request;

/// Files of a scratch file system, at most, its own included (`nr_inodes`).
const MOST_FILES: i64 = 8192;
/// Where the contract lets tools write, and the shared memory that a tier may add.
const WRITABLE: [&str; 3] = ["/tmp", "/axocoatl", "/dev/shm"];

pub(super) const CASES: &[Case] = &[
    case!(
        no_directory_takes_more_than_the_limit,
        "threat 3",
        [Kernel, Files, Limit(LimitKind::Disk)],
        Sabotage::Request(|request| request.limits.disk = None),
        |rig| {
            let (limit, wanted) = (Size::from_mib(4), Size::from_mib(32));
            let before = free_space();
            let request = Request::new("fill_disk", json!({"bytes": wanted.bytes()}))
                .limits(|limits| limits.disk = Some(limit));
            let found = output(&rig.call(request).await?)?;
            for (directory, result) in found.as_object().into_iter().flatten() {
                let written = result["written"].as_u64().unwrap_or(u64::MAX);
                let errno = result["errno"].as_i64();
                if WRITABLE.contains(&directory.as_str()) {
                    ensure(written <= limit.bytes() && errno != Some(0), || {
                        format!("{directory} took {result}")
                    })?;
                } else {
                    // Nothing of the root file system is written, whatever stands there.
                    ensure(
                        written == 0 && errno.is_some_and(|errno| OUT_OF_REACH.contains(&errno)),
                        || format!("{directory} took {result}"),
                    )?;
                }
            }
            same(
                "the root's error",
                found["/"]["errno"].as_i64(),
                Some(EROFS),
            )?;
            for directory in ["/tmp", "/axocoatl"] {
                same(directory, found[directory]["errno"].as_i64(), Some(ENOSPC))?;
            }
            let lost = before.saturating_sub(free_space());
            // Others write on this host too: the bound is what the tool tried in all.
            ensure(lost < 11 * wanted.bytes(), || {
                format!("the host has {lost} bytes less")
            })
        }
    ),
    case!(
        a_million_files_of_any_kind_do_not_fit,
        "threat 4",
        [Kernel, Files, Limit(LimitKind::Disk)],
        Sabotage::Request(|request| request.input["count"] = json!(100)),
        |rig| {
            for directory in ["/tmp", "/axocoatl"] {
                let arguments = json!({"dir": directory, "count": 1_000_000});
                let mut found = output(&rig.call(Request::new("fill_inodes", arguments)).await?)?;
                let made = found["made"].take().as_i64().unwrap_or_default();
                ensure((1..=MOST_FILES).contains(&made), || {
                    format!("{directory}: {made} files")
                })?;
                all_refused(&found, &[ENOSPC]).map_err(|e| format!("{directory}: {e}"))?;
            }
            Ok(())
        }
    ),
];

/// The host's free bytes, where its temporary files are and at its root.
fn free_space() -> u64 {
    let free = |path: &std::path::Path| {
        rustix::fs::statvfs(path).map_or(0, |status| status.f_bavail * status.f_frsize)
    };
    free(&std::env::temp_dir()).min(free("/".as_ref()))
}
