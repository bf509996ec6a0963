//! Where things live on this host.

use std::path::{Path, PathBuf};

use crate::registry::ToolRoot;

/// The directories of this user: the system's as root, else the XDG ones, or all under one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Places {
    /// What lasts as long as a process: owner directories.
    pub runtime: PathBuf,
    /// What lasts: tools, compiled code, the audit log.
    pub data: PathBuf,
    /// What the operator writes: the policy.
    pub config: PathBuf,
    /// Tools of the whole machine, where those are not the user's own.
    pub system_tools: Option<PathBuf>,
}

/// Why there are no places.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlacesError {
    /// Neither `AXOCOATL_HOME` nor `HOME` is set.
    #[error(
        "neither AXOCOATL_HOME nor HOME is an absolute path: set AXOCOATL_HOME to a directory of yours"
    )]
    NoHome,
    /// `AXOCOATL_HOME` is relative.
    #[error("AXOCOATL_HOME is {0:?}: it must be an absolute path")]
    Relative(PathBuf),
}

/// Tools of the whole machine.
const SYSTEM_TOOLS: &str = "/var/lib/axocoatl/tools";
/// Where a project keeps its tools, in its top directory.
const PROJECT_TOOLS: &str = ".axocoatl/tools";

impl Places {
    /// The places of this process, from its user and environment.
    ///
    /// # Errors
    /// [`PlacesError`] if no home is known.
    pub fn of_process() -> Result<Self, PlacesError> {
        Self::from(rustix::process::geteuid().is_root(), |name| {
            std::env::var_os(name).map(PathBuf::from)
        })
    }

    fn from(root: bool, variable: impl Fn(&str) -> Option<PathBuf>) -> Result<Self, PlacesError> {
        if let Some(home) = variable("AXOCOATL_HOME") {
            return if home.is_absolute() {
                Ok(Self::under(&home))
            } else {
                Err(PlacesError::Relative(home))
            };
        }
        if root {
            return Ok(Self {
                runtime: "/run/axocoatl".into(),
                data: "/var/lib/axocoatl".into(),
                config: "/etc/axocoatl".into(),
                // The system's tools are root's own.
                system_tools: None,
            });
        }
        // The XDG base directory specification: relative values are to be ignored.
        let absolute = |name: &str| variable(name).filter(|path| path.is_absolute());
        let home = absolute("HOME");
        let under_home = |name: &str, default: &str| {
            absolute(name)
                .or_else(|| Some(home.as_ref()?.join(default)))
                .ok_or(PlacesError::NoHome)
        };
        let data = under_home("XDG_DATA_HOME", ".local/share")?.join("axocoatl");
        Ok(Self {
            runtime: absolute("XDG_RUNTIME_DIR")
                .map_or_else(|| data.join("run"), |path| path.join("axocoatl")),
            config: under_home("XDG_CONFIG_HOME", ".config")?.join("axocoatl"),
            system_tools: Some(SYSTEM_TOOLS.into()),
            data,
        })
    }

    /// All places under one directory.
    #[must_use]
    pub fn under(home: &Path) -> Self {
        Self {
            runtime: home.join("run"),
            data: home.join("data"),
            config: home.join("config"),
            system_tools: None,
        }
    }

    /// The operator's policy.
    #[must_use]
    pub fn policy(&self) -> PathBuf {
        self.config.join("policy.toml")
    }

    /// The audit log.
    #[must_use]
    pub fn audit_log(&self) -> PathBuf {
        self.data.join("audit.jsonl")
    }

    /// Compiled WebAssembly.
    #[must_use]
    pub fn wasm_cache(&self) -> PathBuf {
        self.data.join("cache").join("wasm")
    }

    /// The image store.
    #[must_use]
    pub fn images(&self) -> PathBuf {
        self.data.join("images")
    }

    /// Directories of running processes; see [`crate::Owner`].
    #[must_use]
    pub fn owners(&self) -> PathBuf {
        self.runtime.join("owners")
    }

    /// The user's own tools, where `axocoatl tool add` puts them.
    #[must_use]
    pub fn user_tools(&self) -> PathBuf {
        self.data.join("tools")
    }

    /// Where tools are looked up from `directory`: the project it lies in, the user, the system.
    #[must_use]
    pub fn tool_roots(&self, directory: &Path) -> Vec<ToolRoot> {
        let project = directory
            .ancestors()
            .map(|path| path.join(PROJECT_TOOLS))
            .find(|path| is_trusted_directory(path));
        let root = |label, path| ToolRoot { label, path };
        project
            .map(|path| root("project", path))
            .into_iter()
            .chain([root("user", self.user_tools())])
            .chain(self.system_tools.clone().map(|path| root("system", path)))
            .collect()
    }
}

/// Whether `path` is a directory of this user's or root's. One that somebody else left in a shared
/// parent, such as /tmp, is no project of ours.
fn is_trusted_directory(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let us = rustix::process::geteuid().as_raw();
    std::fs::metadata(path)
        .is_ok_and(|m| m.is_dir() && [0, us].contains(&m.uid()) && m.mode() & 0o022 == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(root: bool, variables: &[(&str, &str)]) -> Result<Places, PlacesError> {
        Places::from(root, |name| {
            variables
                .iter()
                .find(|(n, _)| *n == name)
                .map(|(_, value)| PathBuf::from(value))
        })
    }

    #[test]
    fn axocoatl_home_puts_all_under_one_directory() {
        let found = places(true, &[("AXOCOATL_HOME", "/a")]).unwrap();
        assert_eq!(found, Places::under(Path::new("/a")));
        assert!(places(true, &[("AXOCOATL_HOME", "a")]).is_err());
    }

    #[test]
    fn root_uses_the_systems_places_and_others_the_xdg_ones() {
        assert_eq!(
            places(true, &[]).unwrap().runtime,
            Path::new("/run/axocoatl")
        );
        let user = places(false, &[("HOME", "/h"), ("XDG_CONFIG_HOME", "relative")]).unwrap();
        assert_eq!(user.config, Path::new("/h/.config/axocoatl"));
        assert_eq!(user.runtime, Path::new("/h/.local/share/axocoatl/run"));
        assert_eq!(places(false, &[]), Err(PlacesError::NoHome));
    }
}
