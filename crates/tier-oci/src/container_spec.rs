//! What a container is made of, beside its tool: limits and mounts of a call, checked and opened.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use axo_core::{EffectiveLimits, Mount, PlacedCall, ToolName};
use axo_runner::MAX_DESCRIPTORS;

use crate::failed::Failed;
use crate::pool::Key;
use crate::tool::{self, Tool};

/// Most mounts of a call, its tool's own files among them: each is a descriptor of one packet, beside
/// the two streams and the root.
const MAX_MOUNTS: usize = MAX_DESCRIPTORS - 3;
/// Most bytes of their targets together: one packet says them two times, once with escapes twice over.
const MAX_TARGET_BYTES: usize = 8 << 10;
/// What a container of a call is made of, beside the tool.
pub(crate) struct ContainerSpec {
    pub(crate) name: ToolName,
    pub(crate) key: Key,
    pub(crate) limits: EffectiveLimits,
    pub(crate) mounts: Vec<Mount>,
    /// The sources of the mounts, opened.
    pub(crate) sources: Vec<OwnedFd>,
}

impl ContainerSpec {
    pub(crate) async fn new(call: &PlacedCall, tool: &Arc<Tool>) -> Result<Self, Failed> {
        let mounts = call.mounts().to_vec();
        check_bounds(&mounts, tool)?;
        let opened = if mounts.is_empty() {
            Ok(Vec::new())
        } else {
            let (mounts, tool) = (mounts.clone(), Arc::clone(tool));
            tokio::task::spawn_blocking(move || open_mounts(&mounts, &tool))
                .await
                .unwrap_or(Err(Failed::Closed))
        };
        let sources = opened?;
        let limits = *call.limits();
        let opened: Vec<_> = sources.iter().map(tool::identity).collect();
        // The time limit is ours to keep; everything else is the container's.
        let made_of = format!(
            "{} {:?} {} {:?} {:?} {:?}",
            tool.identity,
            (limits.cpu, limits.memory, limits.pids),
            limits.files,
            limits.disk,
            mounts,
            opened,
        );
        Ok(Self {
            name: call.spec().name.clone(),
            key: Key {
                tool: call.spec().id(),
                made_of: made_of.into(),
            },
            limits,
            mounts,
            sources,
        })
    }
}

/// Whether the mounts of a call fit in a packet.
fn check_bounds(mounts: &[Mount], tool: &Tool) -> Result<(), Failed> {
    let most = MAX_MOUNTS - usize::from(tool.files.is_some());
    if mounts.len() > most {
        return Err(Failed::Beyond {
            needs: format!("{} mounts, where {most} is the most", mounts.len()),
            fix: "grant it fewer directories, or one that holds them".into(),
        });
    }
    let bytes: usize = mounts.iter().map(|mount| mount.target.len()).sum();
    if bytes > MAX_TARGET_BYTES {
        return Err(Failed::Beyond {
            needs: format!(
                "mounts at places whose names take {bytes} bytes, where {MAX_TARGET_BYTES} is the most"
            ),
            fix: "grant them at shorter places".into(),
        });
    }
    Ok(())
}

/// Opens the sources of mounts, and checks where they go. Blocks on the disk.
fn open_mounts(mounts: &[Mount], tool: &Tool) -> Result<Vec<OwnedFd>, Failed> {
    let sources = mounts
        .iter()
        .map(|mount| {
            tool::open_directory(&mount.source).map_err(|source| Failed::Mount {
                mount: mount.to_string(),
                source,
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    tool::check_targets(tool, mounts)?;
    Ok(sources)
}
