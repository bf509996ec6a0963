//! Which operating system this is. A value, so that what is done on each can be tested on one.

use std::path::{Path, PathBuf};

/// An operating system, as far as podman is different there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Os {
    /// Linux: podman runs containers on this kernel.
    Linux,
    /// Linux in the Windows Subsystem for Linux: the same, on Microsoft's kernel.
    Wsl,
    /// macOS: podman runs containers in a virtual machine that it manages.
    MacOs,
    /// Windows: the same.
    Windows,
    /// Another: podman, if there is one, is taken to run containers on this kernel.
    Other,
}

impl Os {
    /// The one this process runs on.
    #[must_use]
    pub fn current() -> Self {
        match std::env::consts::OS {
            "linux" => {
                let release = std::fs::read_to_string("/proc/sys/kernel/osrelease");
                Self::of_linux(&release.unwrap_or_default())
            }
            "macos" => Self::MacOs,
            "windows" => Self::Windows,
            _ => Self::Other,
        }
    }

    /// Tells WSL by the release of its kernel, `5.15.167.4-microsoft-standard-WSL2` or
    /// `4.4.0-19041-Microsoft`.
    fn of_linux(release: &str) -> Self {
        if release.to_ascii_lowercase().contains("microsoft") {
            Self::Wsl
        } else {
            Self::Linux
        }
    }

    /// Whether podman needs a virtual machine of its own here.
    #[must_use]
    pub const fn needs_machine(self) -> bool {
        matches!(self, Self::MacOs | Self::Windows)
    }

    /// A path of this host as podman's virtual machine has it. macOS's is mounted there under the same
    /// name; Windows' drives are, as WSL mounts them, beneath `/mnt`.
    #[must_use]
    pub fn in_machine(self, path: &Path) -> PathBuf {
        let text = path.to_string_lossy();
        let plain = text.strip_prefix(r"\\?\").unwrap_or(&text);
        let mut letters = plain.chars();
        let drive = letters.next().filter(char::is_ascii_alphabetic);
        match (self, drive, letters.as_str().strip_prefix(r":\")) {
            (Self::Windows, Some(drive), Some(rest)) => {
                let drive = drive.to_ascii_lowercase();
                format!("/mnt/{drive}/{}", rest.replace('\\', "/")).into()
            }
            _ => path.to_owned(),
        }
    }

    /// Whether the kernel that runs containers is the one this process sees in `/proc` and `/sys`.
    #[must_use]
    pub const fn is_linux(self) -> bool {
        matches!(self, Self::Linux | Self::Wsl)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_of_windows_has_its_drives_elsewhere() {
        let in_machine = |os: Os, path: &str| os.in_machine(Path::new(path));
        for (path, expected) in [
            (r"\\?\C:\Users\me\axo", "/mnt/c/Users/me/axo"),
            (r"D:\x", "/mnt/d/x"),
            (r"\\server\share", r"\\server\share"),
            ("/already", "/already"),
            ("é:", "é:"),
        ] {
            assert_eq!(in_machine(Os::Windows, path), Path::new(expected));
        }
        assert_eq!(in_machine(Os::MacOs, "/Users/me"), Path::new("/Users/me"));
    }

    #[test]
    fn wsl_is_told_by_its_kernel() {
        for (release, os) in [
            ("6.1.0-13-amd64\n", Os::Linux),
            ("5.15.167.4-microsoft-standard-WSL2\n", Os::Wsl),
            ("4.4.0-19041-Microsoft\n", Os::Wsl),
            ("", Os::Linux),
        ] {
            assert_eq!(Os::of_linux(release), os, "{release}");
        }
    }

    #[test]
    fn only_macos_and_windows_need_a_machine() {
        let needing = [Os::Linux, Os::Wsl, Os::MacOs, Os::Windows, Os::Other]
            .into_iter()
            .filter(|os| os.needs_machine());
        assert_eq!(needing.collect::<Vec<_>>(), [Os::MacOs, Os::Windows]);
    }
}
