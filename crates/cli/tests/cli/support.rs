//! A home of the command for one test, and tools to put in it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{PoisonError, RwLock, RwLockWriteGuard};

use serde_json::Value;
use tempfile::TempDir;

use crate::ended::Ended;
use crate::process::{Running, program};

/// The program under test.
pub(crate) const AXOCOATL: &str = env!("CARGO_BIN_EXE_axocoatl");

/// A tool that does what its input says; see the list of operations in its source.
pub(crate) const PROBE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../testkit/probe/probe.wasm");

/// Tools that people use.
pub(crate) const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/tools");

/// What containers leave lies on the host and not in a home: while one test makes some, no other may
/// look for it, or remove it.
static HOST: RwLock<()> = RwLock::new(());

/// Keeps the `doctor` and `gc` of other tests waiting.
pub(crate) fn without_others() -> RwLockWriteGuard<'static, ()> {
    HOST.write().unwrap_or_else(PoisonError::into_inner)
}

/// A directory with everything the command may touch; removed when dropped.
pub(crate) struct Home {
    directory: TempDir,
}

impl Home {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        for part in ["home", "work", "tmp"] {
            fs::create_dir(directory.path().join(part)).unwrap();
        }
        Self { directory }
    }

    /// `AXOCOATL_HOME`.
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("home")
    }

    /// The working directory.
    pub(crate) fn work(&self) -> PathBuf {
        self.directory.path().join("work")
    }

    /// The directory for temporary files.
    pub(crate) fn tmp(&self) -> PathBuf {
        self.directory.path().join("tmp")
    }

    /// A directory in the working directory that a container's user may write to.
    pub(crate) fn shared_directory(&self, name: &str) -> PathBuf {
        let path = self.work().join(name);
        fs::create_dir(&path).unwrap();
        set_mode(&path, 0o777);
        path
    }

    pub(crate) fn user_tools(&self) -> PathBuf {
        self.path().join("data/tools")
    }

    pub(crate) fn project_tools(&self) -> PathBuf {
        self.work().join(".axocoatl/tools")
    }

    pub(crate) fn cache(&self) -> PathBuf {
        self.path().join("data/cache/wasm")
    }

    pub(crate) fn owners(&self) -> PathBuf {
        self.path().join("run/owners")
    }

    pub(crate) fn audit_log(&self) -> PathBuf {
        self.path().join("data/audit.jsonl")
    }

    /// The records of the audit log.
    pub(crate) fn audit(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.audit_log()).unwrap();
        assert!(text.ends_with('\n'), "the last record is torn: {text}");
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    pub(crate) fn policy(&self, text: &str) {
        write(&self.path().join("config/policy.toml"), text.as_bytes());
    }

    /// `name` with this home, and nothing else of our environment but `PATH`.
    pub(crate) fn program(&self, name: impl AsRef<OsStr>) -> Command {
        let mut command = program(name);
        command
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .env("AXOCOATL_HOME", self.path())
            .env("TMPDIR", self.tmp())
            .current_dir(self.work());
        command
    }

    /// The command with these arguments, to be changed before it is started.
    pub(crate) fn command<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Command {
        let mut command = self.program(AXOCOATL);
        command.args(arguments);
        command
    }

    pub(crate) fn start<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Running {
        Running::start(self.command(arguments), b"")
    }

    /// Runs the command with these arguments and an empty standard input.
    #[track_caller]
    pub(crate) fn axocoatl<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Ended {
        let looks_at_the_host = ["doctor", "gc"];
        let first = arguments.first().and_then(|first| first.as_ref().to_str());
        let _others = first
            .is_some_and(|first| looks_at_the_host.contains(&first))
            .then(|| HOST.read().unwrap_or_else(PoisonError::into_inner));
        self.start(arguments).end()
    }

    /// `axocoatl run` of the probe with `input` and more arguments.
    #[track_caller]
    pub(crate) fn probe(&self, input: &str, more: &[&str]) -> Ended {
        self.axocoatl(&[&["run", PROBE, "--input", input], more].concat())
    }

    /// Starts a probe that waits for an hour, and waits until it does.
    pub(crate) fn start_sleeper(&self) -> (Running, PathBuf) {
        let input = r#"{"op":"sleep","seconds":3600}"#;
        let before = self.scratches();
        let mut sleeper = self.start(&["run", PROBE, "--timeout", "1h", "--input", input]);
        let scratch = sleeper.wait_for("the scratch of its call", || {
            let mut now = self.scratches();
            now.retain(|scratch| !before.contains(scratch));
            now.pop()
        });
        (sleeper, scratch)
    }

    /// Directories of calls that run, or ran in a process that died.
    pub(crate) fn scratches(&self) -> Vec<PathBuf> {
        let owners = entries(&self.owners());
        owners
            .iter()
            .flat_map(|owner| entries(owner))
            .filter(|path| path.join("axocoatl/input.json").exists())
            .collect()
    }
}

/// Writes a tool into `root`: its manifest, and the probe as its program.
pub(crate) fn add_tool(root: &Path, name: &str, more: &str) -> PathBuf {
    let manifest = manifest(name, more);
    let directory = root.join(name);
    write(&directory.join("tool.toml"), manifest.as_bytes());
    fs::copy(PROBE, directory.join("tool.wasm")).unwrap();
    directory
}

/// A manifest of a WebAssembly tool, with `more` after its `[run]` section's program.
pub(crate) fn manifest(name: &str, more: &str) -> String {
    format!("name = {name:?}\nversion = \"1.2.3\"\n\n[run]\nwasm = \"tool.wasm\"\n{more}")
}

/// Writes a file and the directories above it.
pub(crate) fn write(path: &Path, content: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// What is in a directory, by name; nothing if there is none.
pub(crate) fn entries(directory: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<_> = fs::read_dir(directory)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    entries
}

pub(crate) fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

pub(crate) fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

/// A FIFO that nobody writes to.
pub(crate) fn make_fifo(path: &Path) {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}
