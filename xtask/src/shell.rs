//! Starting commands. No other module does.

use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

mod started;

pub(crate) use started::Started;

/// Tells the developer something.
pub(crate) fn say(text: impl Display) {
    eprintln!("{text}");
}

/// Where things are, and what started commands get.
pub(crate) struct Shell {
    /// The workspace, which commands are started in.
    pub(crate) root: PathBuf,
    /// Cargo's target directory.
    pub(crate) target: PathBuf,
    /// What `setup` installs: AXO_TOOLS, else beneath the target directory.
    pub(crate) tools: PathBuf,
    path: OsString,
}

impl Shell {
    pub(crate) fn new() -> Result<Self> {
        let here = std::env::current_dir().context("the working directory is gone")?;
        // One that was started by another works on its workspace, from wherever.
        let workspace = std::env::var_os("AXO_WORKSPACE").map(PathBuf::from);
        let mut shell = Self {
            root: workspace.unwrap_or_else(|| here.clone()),
            target: PathBuf::new(),
            tools: PathBuf::new(),
            path: std::env::var_os("PATH").unwrap_or_default(),
        };
        let metadata = shell
            .cargo()
            .args(["metadata", "--no-deps", "--format-version", "1"])
            .json()?;
        let directory = |key: &str| {
            metadata[key]
                .as_str()
                .map(PathBuf::from)
                .with_context(|| format!("cargo metadata has no {key}"))
        };
        shell.root = directory("workspace_root")?;
        shell.target = directory("target_directory")?;
        shell.tools = match std::env::var_os("AXO_TOOLS") {
            Some(tools) => here.join(tools),
            None => shell.target.join("tools"),
        };
        let old = std::mem::take(&mut shell.path);
        // Where mke2fs and depmod are, which need not be root's.
        let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
        let directories = std::iter::once(shell.tools.join("bin"))
            .chain(std::env::split_paths(&old))
            .chain(system);
        shell.path = std::env::join_paths(directories).context("AXO_TOOLS has a colon in it")?;
        Ok(shell)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that starts processes"
    )]
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Started {
        let mut command = Command::new(program);
        command
            .current_dir(&self.root)
            .env("PATH", &self.path)
            .stdin(Stdio::null());
        if !self.target.as_os_str().is_empty() {
            command.env("CARGO_TARGET_DIR", &self.target);
        }
        Started::new(command)
    }

    pub(crate) fn cargo(&self) -> Started {
        self.command("cargo")
    }

    /// Whether there is such a program.
    pub(crate) fn has(&self, program: &str) -> bool {
        self.find(program).is_some()
    }

    /// The program of that name that is started.
    pub(crate) fn find(&self, program: &str) -> Option<PathBuf> {
        std::env::split_paths(&self.path)
            .map(|directory| directory.join(program))
            .find(|path| path.is_file())
    }

    /// A file that a release build makes.
    pub(crate) fn release(&self, name: &str) -> PathBuf {
        self.target.join("release").join(name)
    }

    /// A directory of ours beneath the target directory. It is made.
    pub(crate) fn scratch(&self, name: &str) -> Result<PathBuf> {
        let path = self.target.join("xtask").join(name);
        std::fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
        Ok(path)
    }
}
