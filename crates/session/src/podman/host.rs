//! The host that podman is asked on: its operating system, where programs are found, whose process
//! this is, and what a command is told of its environment.
//!
//! All of it is values. Tests on Linux build the host of any operating system, with programs of
//! their own on its search path, and never touch the environment of the test's process.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::Metadata;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::environment::known;
use super::os::Os;
use super::ulimits::HardLimits;

/// Longest file of the host's settings that is read, in bytes: `/etc/passwd` and `/etc/subuid` of a
/// host with thousands of users.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Where Linux has programs that an ordinary user's search path often lacks, such as `runc` and
/// `iptables` on Debian.
pub(super) const SYSTEM_DIRECTORIES: [&str; 6] = [
    "usr/local/sbin",
    "usr/local/bin",
    "usr/sbin",
    "usr/bin",
    "sbin",
    "bin",
];
/// Where installers of podman put it without changing the search path of processes that run.
const PODMAN_OF_MACOS: [&str; 3] = ["opt/homebrew/bin", "usr/local/bin", "opt/podman/bin"];
const PODMAN_OF_WINDOWS: &str = r"RedHat\Podman";

/// A host. Made of this process, or put together by a test.
#[derive(Clone, Debug)]
pub struct Host {
    os: Os,
    search: Vec<PathBuf>,
    root: PathBuf,
    uid: u32,
    hard_limits: HardLimits,
    variables: BTreeMap<OsString, OsString>,
}

impl Host {
    /// The host of this process.
    #[must_use]
    pub fn of_process() -> Self {
        let search = std::env::var_os("PATH").unwrap_or_default();
        Self {
            os: Os::current(),
            // A relative entry finds programs in whatever directory this is.
            search: std::env::split_paths(&search)
                .filter(|directory| directory.is_absolute())
                .collect(),
            root: PathBuf::from("/"),
            uid: effective_user(),
            hard_limits: HardLimits::of_process(),
            variables: known()
                .filter_map(|name| Some((OsString::from(name), std::env::var_os(name)?)))
                .collect(),
        }
    }

    /// The same as another operating system.
    #[must_use]
    pub fn with_os(mut self, os: Os) -> Self {
        self.os = os;
        self
    }

    /// The same with programs found in these directories only.
    #[must_use]
    pub fn with_search_path(mut self, directories: impl IntoIterator<Item = PathBuf>) -> Self {
        self.search = directories.into_iter().collect();
        self
    }

    /// The same with the files of the host (`/proc`, `/sys`, `/etc`, `/run`) read beneath a directory.
    #[must_use]
    pub fn with_root(mut self, root: impl Into<PathBuf>) -> Self {
        self.root = root.into();
        self
    }

    /// The same as another user.
    #[must_use]
    pub fn with_user(mut self, uid: u32) -> Self {
        self.uid = uid;
        self
    }

    /// The same with other limits that this process cannot raise.
    #[must_use]
    pub fn with_hard_limits(mut self, limits: HardLimits) -> Self {
        self.hard_limits = limits;
        self
    }

    /// The same with a variable set, or not set. One that commands are not told stays untold.
    #[must_use]
    pub fn with_variable(mut self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.variables.insert(name.into(), value.into()),
            None => self.variables.remove(OsStr::new(name)),
        };
        self
    }

    /// What this process has of a variable that some command may be told.
    pub(super) fn variable(&self, name: &str) -> Option<&OsStr> {
        self.variables
            .get(OsStr::new(name))
            .map(OsString::as_os_str)
    }

    pub(super) fn search(&self) -> &[PathBuf] {
        &self.search
    }

    /// The operating system.
    #[must_use]
    pub fn os(&self) -> Os {
        self.os
    }

    /// The user this is.
    #[must_use]
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// Whether this is root, of whatever user namespace.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.uid == 0
    }

    /// What this process cannot raise.
    #[must_use]
    pub fn hard_limits(&self) -> HardLimits {
        // In a virtual machine they are not ours.
        if self.os.needs_machine() {
            return HardLimits::default();
        }
        let most = self.number("proc/sys/kernel/pid_max");
        self.hard_limits.with_most_processes(most)
    }

    /// A program on the search path.
    #[must_use]
    pub fn find(&self, program: &str) -> Option<PathBuf> {
        self.find_in(self.search.iter().map(PathBuf::as_path), program)
    }

    /// A program on the search path, or where the system keeps its own.
    #[must_use]
    pub fn find_of_system(&self, program: &str) -> Option<PathBuf> {
        self.find(program).or_else(|| {
            let directories = SYSTEM_DIRECTORIES.map(|path| self.root.join(path));
            self.find_in(directories.iter().map(PathBuf::as_path), program)
        })
    }

    /// Podman: on the search path, or on macOS and Windows where its installers put it.
    #[must_use]
    pub fn find_podman(&self) -> Option<PathBuf> {
        let beside = match self.os {
            Os::MacOs => PODMAN_OF_MACOS.iter().map(|p| self.root.join(p)).collect(),
            Os::Windows => self
                .variable("PROGRAMFILES")
                .map(|programs| vec![Path::new(programs).join(PODMAN_OF_WINDOWS)])
                .unwrap_or_default(),
            Os::Linux | Os::Wsl | Os::Other => Vec::new(),
        };
        self.find("podman")
            .or_else(|| self.find_in(beside.iter().map(PathBuf::as_path), "podman"))
    }

    fn find_in<'a>(
        &self,
        directories: impl Iterator<Item = &'a Path>,
        program: &str,
    ) -> Option<PathBuf> {
        let with_suffix = format!("{program}.exe");
        let names = match self.os {
            Os::Windows => vec![with_suffix.as_str(), program],
            _ => vec![program],
        };
        directories
            .flat_map(|directory| names.iter().map(move |name| directory.join(name)))
            .find(|path| is_program(path))
    }

    /// A file of the host, by its path without the first slash; nothing if it cannot be read whole.
    pub(crate) fn read(&self, path: impl AsRef<Path>) -> Option<String> {
        let file = std::fs::File::open(self.root.join(path)).ok()?;
        let mut text = String::new();
        file.take(MAX_FILE_BYTES).read_to_string(&mut text).ok()?;
        Some(text)
    }

    /// A setting of the kernel that is one number.
    pub(crate) fn number(&self, path: &str) -> Option<u64> {
        self.read(path)?.trim().parse().ok()
    }

    /// What is at a path of the host, by its path without the first slash; links are followed.
    pub(crate) fn metadata(&self, path: impl AsRef<Path>) -> Option<Metadata> {
        std::fs::metadata(self.root.join(path)).ok()
    }

    /// A path of the host, given with or without its first slash.
    pub(crate) fn path(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// The name of this user in `/etc/passwd`.
    pub(crate) fn user_name(&self) -> Option<String> {
        self.read("etc/passwd")?.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1)?.parse() == Ok(self.uid)).then(|| name.to_owned())
        })
    }
}

#[cfg(unix)]
fn effective_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Not root: what root may do elsewhere is asked of nobody there.
#[cfg(not(unix))]
fn effective_user() -> u32 {
    1
}

#[cfg(unix)]
fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_program(path: &Path) -> bool {
    path.is_file()
}

#[cfg(test)]
impl Host {
    /// Linux, an ordinary user, and nothing there.
    pub(super) fn bare() -> Self {
        Self {
            os: Os::Linux,
            search: Vec::new(),
            root: PathBuf::from("/nonexistent"),
            uid: 1000,
            hard_limits: HardLimits::default(),
            variables: BTreeMap::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bare() -> Host {
        Host::bare()
    }

    #[test]
    fn a_file_that_cannot_be_executed_is_no_program() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("podman"), "").unwrap();
        let host = bare().with_search_path([directory.path().to_owned()]);
        assert_eq!(host.find_podman(), None);
    }

    #[test]
    fn a_user_is_found_by_number() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("etc")).unwrap();
        let passwd = "root:x:0:0::/:/bin/sh\nbroken\nme:x:1000:1000::/home/me:/bin/sh\n";
        std::fs::write(root.path().join("etc/passwd"), passwd).unwrap();
        let host = bare().with_root(root.path());
        assert_eq!(host.user_name().as_deref(), Some("me"));
        assert_eq!(host.with_user(7).user_name(), None);
    }
}
