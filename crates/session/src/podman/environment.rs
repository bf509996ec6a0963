//! What podman, and the programs beside it, are told of this process's environment.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::host::{Host, SYSTEM_DIRECTORIES};
use super::os::Os;

/// What podman, its runtimes and package managers are told of this process's environment. Nothing
/// else is: podman hands some variables on into containers (`LISTEN_FDS`, proxies), and is turned
/// into a remote client by others.
///
/// | variable | what for |
/// |---|---|
/// | `HOME`, `USER`, `LOGNAME` | where an ordinary user's containers and settings lie, and whose ids in `/etc/subuid` |
/// | `XDG_CONFIG_HOME`, `XDG_DATA_HOME` | the same, where they were moved |
/// | `TMPDIR` | where podman unpacks |
/// | `CONTAINERS_*`, `STORAGE_*`, `REGISTRY_AUTH_FILE` | the operator's own settings of podman |
const PASSED: [&str; 13] = [
    "HOME",
    "USER",
    "LOGNAME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "TMPDIR",
    "CONTAINERS_CONF",
    "CONTAINERS_CONF_OVERRIDE",
    "CONTAINERS_STORAGE_CONF",
    "CONTAINERS_REGISTRIES_CONF",
    "STORAGE_DRIVER",
    "STORAGE_OPTS",
    "REGISTRY_AUTH_FILE",
];
/// Also to an ordinary user's commands: where the runtime's state and the user's systemd are. Root's
/// do without, so that a container made under `sudo -E` is found without it.
const PASSED_TO_USERS: [&str; 2] = [RUNTIME_DIRECTORY, SESSION_BUS];
/// Also where podman speaks to a virtual machine: which one, and what Windows programs need.
const PASSED_WITH_MACHINE: [&str; 16] = [
    "CONTAINER_HOST",
    "CONTAINER_CONNECTION",
    "CONTAINER_SSHKEY",
    "CONTAINERS_MACHINE_PROVIDER",
    "APPDATA",
    "COMSPEC",
    "HOMEDRIVE",
    "HOMEPATH",
    "LOCALAPPDATA",
    "PATHEXT",
    "PROGRAMDATA",
    "PROGRAMFILES",
    "SYSTEMROOT",
    "TEMP",
    "TMP",
    "USERPROFILE",
];
/// Also to package managers, which fetch from the network.
const PASSED_TO_INSTALLERS: [&str; 6] = [
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
];
const RUNTIME_DIRECTORY: &str = "XDG_RUNTIME_DIR";
const SESSION_BUS: &str = "DBUS_SESSION_BUS_ADDRESS";

/// Every variable that any command may be told.
pub(super) fn known() -> impl Iterator<Item = &'static str> {
    PASSED
        .into_iter()
        .chain(PASSED_TO_USERS)
        .chain(PASSED_WITH_MACHINE)
        .chain(PASSED_TO_INSTALLERS)
}

impl Host {
    /// The whole environment of podman and its runtimes.
    pub(crate) fn environment(&self) -> BTreeMap<OsString, OsString> {
        let mut told = self.variables_of(&PASSED);
        // Causes are told apart by what programs say in English.
        told.insert("LC_ALL".into(), "C".into());
        if let Some(path) = self.path_variable() {
            told.insert("PATH".into(), path);
        }
        if self.os().needs_machine() {
            told.append(&mut self.variables_of(&PASSED_WITH_MACHINE));
        }
        if !self.is_root() || self.os().needs_machine() {
            told.append(&mut self.variables_of(&PASSED_TO_USERS));
            if let Some(directory) = self.runtime_directory() {
                let bus = directory.join("bus");
                told.insert(RUNTIME_DIRECTORY.into(), directory.clone().into());
                if !told.contains_key(OsStr::new(SESSION_BUS)) && self.path(&bus).exists() {
                    let mut address = OsString::from("unix:path=");
                    address.push(bus);
                    told.insert(SESSION_BUS.into(), address);
                }
            }
        }
        told
    }

    /// The same, and how package managers reach the network.
    pub(crate) fn installers_environment(&self) -> BTreeMap<OsString, OsString> {
        let mut told = self.environment();
        told.append(&mut self.variables_of(&PASSED_TO_INSTALLERS));
        told
    }

    /// An ordinary user's directory for what lasts as long as a login. That of another user, left by
    /// `su`, is none; the system's usual one serves where the variable is missing, as under `cron`.
    pub(crate) fn runtime_directory(&self) -> Option<PathBuf> {
        let told = self.variable(RUNTIME_DIRECTORY);
        let usual = PathBuf::from(format!("/run/user/{}", self.uid()));
        told.map(PathBuf::from)
            .into_iter()
            .chain([usual])
            .find(|directory| self.is_own_directory(&self.path(directory)))
    }

    #[cfg(unix)]
    fn is_own_directory(&self, path: &Path) -> bool {
        use std::os::unix::fs::MetadataExt as _;
        std::fs::metadata(path).is_ok_and(|m| m.is_dir() && m.uid() == self.uid())
    }

    #[cfg(not(unix))]
    fn is_own_directory(&self, path: &Path) -> bool {
        path.is_dir()
    }

    fn variables_of(&self, names: &[&str]) -> BTreeMap<OsString, OsString> {
        names
            .iter()
            .filter_map(|name| Some((OsString::from(name), self.variable(name)?.to_owned())))
            .collect()
    }

    fn path_variable(&self) -> Option<OsString> {
        let mut directories = self.search().to_vec();
        if self.os() != Os::Windows {
            for directory in SYSTEM_DIRECTORIES.map(|path| Path::new("/").join(path)) {
                if !directories.contains(&directory) {
                    directories.push(directory);
                }
            }
        }
        std::env::join_paths(directories).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bare() -> Host {
        Host::bare()
    }

    fn told(host: &Host, name: &str) -> Option<String> {
        let value = host.environment().get(OsStr::new(name)).cloned()?;
        Some(value.to_string_lossy().into_owned())
    }

    #[test]
    fn secrets_descriptors_and_remote_podmans_are_not_told() {
        let mut host = bare();
        for name in [
            "AWS_SECRET_ACCESS_KEY",
            "LISTEN_FDS",
            "NOTIFY_SOCKET",
            "CONTAINER_HOST",
            "http_proxy",
            "LD_PRELOAD",
        ] {
            host = host.with_variable(name, Some("canary"));
        }
        let environment = host.environment();
        assert!(!environment.values().any(|value| value == "canary"));
        assert_eq!(
            told(&host.with_os(Os::MacOs), "CONTAINER_HOST").as_deref(),
            Some("canary")
        );
    }

    #[test]
    fn only_installers_are_told_of_proxies() {
        let host = bare().with_variable("https_proxy", Some("http://proxy"));
        assert!(!host.environment().contains_key(OsStr::new("https_proxy")));
        assert!(
            host.installers_environment()
                .contains_key(OsStr::new("https_proxy"))
        );
    }

    #[test]
    fn the_runtime_directory_of_another_user_is_not_told() {
        let root = tempfile::tempdir().unwrap();
        let us = rustix::process::geteuid().as_raw();
        for directory in ["run/user/4242", "mine"] {
            std::fs::create_dir_all(root.path().join(directory)).unwrap();
        }
        let host = bare().with_root(root.path());
        // Nobody's but ours are there.
        assert_eq!(
            told(&host.clone().with_user(us + 1), RUNTIME_DIRECTORY),
            None
        );
        let ours = host
            .with_user(us)
            .with_variable(RUNTIME_DIRECTORY, Some("/mine"));
        assert_eq!(ours.runtime_directory(), Some("/mine".into()));
        let gone = ours.with_variable(RUNTIME_DIRECTORY, Some("/gone"));
        assert_eq!(gone.runtime_directory(), None);
    }

    #[test]
    fn the_usual_runtime_directory_and_its_bus_are_found() {
        let root = tempfile::tempdir().unwrap();
        let us = rustix::process::geteuid().as_raw();
        let directory = root.path().join(format!("run/user/{us}"));
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("bus"), "").unwrap();
        let mut host = bare().with_root(root.path()).with_user(us);
        // As a machine's client, even root is told.
        if us == 0 {
            host = host.with_os(Os::MacOs);
        }
        let expected = format!("/run/user/{us}");
        assert_eq!(told(&host, RUNTIME_DIRECTORY), Some(expected.clone()));
        assert_eq!(
            told(&host, SESSION_BUS),
            Some(format!("unix:path={expected}/bus"))
        );
    }

    #[test]
    fn commands_find_what_the_system_keeps_for_root() {
        let path = told(&bare().with_search_path(["/mine".into()]), "PATH").unwrap();
        assert!(
            path.starts_with("/mine:") && path.contains(":/usr/sbin:"),
            "{path}"
        );
    }
}
