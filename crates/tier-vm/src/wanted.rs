//! What a machine is made of, and the key that tells it from every other.

use std::fs::File;
use std::path::Path;

use axo_core::{EffectiveLimits, PlacedCall};
use axo_guest_proto::machine::CGROUPS;
use axo_tier_oci::ContainedTool;
use axo_tier_oci::supervise::Key;
use serde_json::json;

use crate::artifacts::Artifacts;
use crate::disk::Mounted;
use crate::failed::Failed;
use crate::sizes::MachineSize;
use crate::{basis, digest, disk};

/// The container inside a machine: there is one.
const CONTAINER: &str = "axocoatl-tool";

/// A machine that a call needs.
pub(crate) struct Wanted {
    /// Its tool, and the digest of everything that it is made of.
    pub(crate) key: Key,
    pub(crate) size: MachineSize,
    pub(crate) limits: EffectiveLimits,
    /// What the runner inside is asked for, as JSON.
    pub(crate) prepare: Vec<u8>,
    /// The path of the tool's program in its root file system.
    pub(crate) program: Vec<u8>,
    pub(crate) initramfs: File,
    /// The image's root file system, then the tool's own files.
    pub(crate) disks: Vec<File>,
    /// Which ones these are. A machine that is stored has these very files mounted: another disk that was
    /// made of the same tree need not have everything in the same place.
    pub(crate) mounted: Vec<Mounted>,
}

impl Wanted {
    /// Makes the disks where they are not made yet.
    pub(crate) async fn of(
        call: &PlacedCall,
        tool: &ContainedTool,
        data: &Path,
        artifacts: &Artifacts,
    ) -> Result<Self, Failed> {
        let limits = *call.limits();
        let of = call.spec().id();
        let size = MachineSize::of(&limits)?;
        let prepare = tool
            .prepare(CONTAINER, Path::new(CGROUPS), &limits)
            .and_then(|prepare| Ok(serde_json::to_vec(&prepare)?))
            .map_err(Failed::ours)?;
        let program = tool.program().into();
        let (data, artifacts, tool) = (data.to_owned(), artifacts.clone(), tool.clone());
        tokio::task::spawn_blocking(move || {
            let (mounted, disks) = disks(&data, &tool)?;
            let initramfs = crate::initramfs::initramfs(&data, &artifacts)
                .map_err(Failed::files("making the guest's initramfs"))?;
            let made_of = json!({
                "disks": mounted,
                "size": size,
                "prepare": String::from_utf8_lossy(&prepare),
            });
            let made_of = digest::of(made_of.to_string().as_bytes());
            Ok(Self {
                key: Key {
                    tool: of,
                    made_of: format!("{}{made_of}", basis::prefix(&artifacts)).into(),
                },
                size,
                limits,
                prepare,
                program,
                initramfs: initramfs.file,
                disks,
                mounted,
            })
        })
        .await
        .map_err(Failed::files("making the machine's disks"))?
    }
}

/// The disks of a tool. An image is known by its digest; of what may have changed everything is read.
fn disks(data: &Path, tool: &ContainedTool) -> Result<(Vec<Mounted>, Vec<File>), Failed> {
    let known = tool.root_digest().map(str::to_owned);
    let trees = [(Some(tool.root()), known), (tool.files(), None)];
    let mut made = (Vec::new(), Vec::new());
    for (tree, known) in trees {
        let Some(tree) = tree else { continue };
        let disk = match known {
            Some(digest) => disk::disk_of(data, &digest, tree).map(|disk| (digest, disk)),
            None => disk::disk_of_changing(data, tree),
        };
        let (digest, disk) = disk?;
        let mounted = Mounted::of(&digest, &disk);
        made.0
            .push(mounted.map_err(Failed::files("looking at a disk"))?);
        made.1.push(disk);
    }
    Ok(made)
}
