//! The container of a tool, for a tier that has it made elsewhere: inside a machine of its
//! own, by the same runner.
//!
//! There the sandbox has all ids to itself, so its users are who they say they are, and one cgroup of
//! version 2 that is named to us. All else is as on this tier.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axo_core::{
    BoxError, EffectiveLimits, Finished, MAX_INPUT_BYTES, OutputFile, PlacedCall, RunError,
    ToolSpec, Usage,
};
use axo_runner::{
    Bind, Cgroup, CgroupDirectory, Exited, Launch, Prepare, RootAccess, Scratch, Stage,
};

use crate::call::{self, SCRATCH_INODES, Stopped};
use crate::failed::{Failed, failed};
use crate::host::{UserHost, v2_settings};
use crate::seccomp;
use crate::spec;
use crate::tool::{self, ImageSource, OpenTools, Tool};

/// The tools that machines run.
pub struct ContainedTools {
    images: ImageSource,
    users: UserHost,
    opened: OpenTools,
}

impl ContainedTools {
    /// Images come from the store in this directory, and are pulled if they match a pattern.
    #[must_use]
    pub fn new(store: Option<PathBuf>, trusted: Vec<String>) -> Self {
        Self {
            images: ImageSource { store, trusted },
            users: UserHost::of_a_machine(),
            opened: OpenTools::default(),
        }
    }

    /// Opens what a tool is made of; see there.
    ///
    /// # Errors
    /// [`RunError`] says what is wrong with it, or missing.
    pub async fn open(&self, spec: &ToolSpec) -> Result<ContainedTool, RunError> {
        let opened = self.opened.open(spec, &self.users, &self.images).await;
        match opened {
            Ok(tool) => Ok(ContainedTool {
                tool,
                users: self.users.clone(),
            }),
            Err(error) => Err(failed(spec, Failed::Tool(error))),
        }
    }
}

/// A tool that was opened and checked.
#[derive(Clone)]
pub struct ContainedTool {
    tool: Arc<Tool>,
    users: UserHost,
}

/// What a tool came to, as its runner says.
pub struct ContainedEnd {
    /// Whether it was stopped, and why.
    pub stopped: Option<Stopped>,
    /// How it ended.
    pub exited: Exited,
    /// How long it ran.
    pub wall: Duration,
    /// What it wrote, each up to the limit.
    pub stdout: Vec<u8>,
    /// The same of standard error.
    pub stderr: Vec<u8>,
    /// What was at `/axocoatl/output.json`.
    pub output_file: OutputFile,
}

impl ContainedTool {
    /// The root file system, as a directory (`O_PATH`).
    #[must_use]
    pub fn root(&self) -> BorrowedFd<'_> {
        self.tool.root.as_fd()
    }

    /// The absolute path of its program in the root file system.
    #[must_use]
    pub fn program(&self) -> &str {
        &self.tool.program.path
    }

    /// The tool's own files, which are shown at `/tool`.
    #[must_use]
    pub fn files(&self) -> Option<BorrowedFd<'_>> {
        self.tool.files.as_ref().map(|files| files.as_fd())
    }

    /// What tells the root file system from others: the digest of an image. A bundle's may change.
    #[must_use]
    pub fn root_digest(&self) -> Option<&str> {
        self.tool.is_image().then_some(&*self.tool.digest)
    }

    /// The container to be made, called `id`, beneath the cgroup `parent` of its machine. Its binds
    /// are the tool's own files, if it has any.
    ///
    /// # Errors
    /// If no seccomp filter can be made.
    pub fn prepare(
        &self,
        id: &str,
        parent: &Path,
        limits: &EffectiveLimits,
    ) -> Result<Prepare, BoxError> {
        let targets = spec::bind_targets(&self.tool, &[]);
        Ok(Prepare {
            id: id.to_owned(),
            config: spec::config(&self.tool, &[], &Stage::default(), None).to_string(),
            seccomp: seccomp::filters()?.to_vec(),
            users: self.users.users(self.tool.user, false),
            cgroup: Cgroup::Directories(vec![CgroupDirectory {
                path: parent.join(id),
                settings: v2_settings(limits),
            }]),
            scratch: Scratch {
                bytes: limits.disk.bytes(),
                inodes: SCRATCH_INODES,
            },
            root: RootAccess::ReadOnly,
            listener: false,
            loopback: false,
            input_bytes: MAX_INPUT_BYTES as u64,
            files: limits.files,
            mount_points: tool::mount_points(targets.iter().map(|(target, _)| *target)),
            binds: targets
                .iter()
                .map(|(_, read_only)| Bind {
                    read_only: *read_only,
                })
                .collect(),
        })
    }

    /// What is executed for a call.
    ///
    /// # Errors
    /// If its variables are more than a runner takes.
    pub fn launch(&self, call: &PlacedCall) -> Result<Launch, RunError> {
        call::launch(&self.tool, call).map_err(|error| failed(call.spec(), error))
    }

    /// What the call came to.
    #[must_use]
    pub fn finish(&self, end: ContainedEnd) -> Finished {
        Finished {
            termination: call::termination(end.stopped, &end.exited),
            stdout: end.stdout,
            stderr: end.stderr,
            output_file: end.output_file,
            usage: Usage {
                wall: end.wall,
                cpu: end.exited.cpu_micros.map(Duration::from_micros),
                peak_memory: end.exited.peak_memory,
                fuel: None,
            },
            digest: Some(Arc::clone(&self.tool.digest)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machines_users_are_who_they_say() {
        let users = UserHost::of_a_machine().users((1000, 1000), false);
        assert_eq!(users.outer, None);
        let [range] = users.inner.users.as_slice() else {
            panic!("{users:?}");
        };
        assert_eq!((range.inside, range.outside), (0, 0));
        assert_eq!(users.inner.users, users.inner.groups);
    }
}
