//! The operating system's own package managers, and what they call things.

use crate::podman::host::Host;
use crate::podman::os::Os;

use super::step::Step;

/// Podman's page for everybody else.
const PAGE: &str = "https://podman.io/docs/installation";

/// A package manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manager {
    /// Debian, Ubuntu.
    Apt,
    /// Fedora, RHEL.
    Dnf,
    /// Arch.
    Pacman,
    /// openSUSE, SLES.
    Zypper,
    /// macOS.
    Homebrew,
    /// Windows.
    Winget,
}

/// Something that podman needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Package {
    Podman,
    Conmon,
    /// Has `seccomp.json`.
    ContainersCommon,
    Runc,
    Uidmap,
    FuseOverlayfs,
    Slirp4netns,
    Netavark,
    /// The D-Bus of an ordinary user's login.
    SessionBus,
}

/// Those of Linux, in the order in which they are looked for.
const OF_LINUX: [Manager; 4] = [Manager::Apt, Manager::Dnf, Manager::Pacman, Manager::Zypper];

impl Manager {
    /// The one of this host.
    pub(crate) fn of(host: &Host) -> Option<Self> {
        let candidates: &[Self] = match host.os() {
            Os::Linux | Os::Wsl => &OF_LINUX,
            Os::MacOs => &[Self::Homebrew],
            Os::Windows => &[Self::Winget],
            Os::Other => &[],
        };
        let mut found = candidates.iter().copied();
        found.find(|manager| host.find(manager.program()).is_some())
    }

    const fn program(self) -> &'static str {
        match self {
            Self::Apt => "apt-get",
            Self::Dnf => "dnf",
            Self::Pacman => "pacman",
            Self::Zypper => "zypper",
            Self::Homebrew => "brew",
            Self::Winget => "winget",
        }
    }

    /// What installs podman by hand.
    const fn manual(self) -> &'static str {
        match self {
            Self::Apt => "sudo apt-get install -y podman",
            Self::Dnf => "sudo dnf install -y podman",
            Self::Pacman => "sudo pacman -S --noconfirm podman",
            Self::Zypper => "sudo zypper --non-interactive install podman",
            Self::Homebrew => "brew install podman",
            Self::Winget => {
                "winget install --exact --id RedHat.Podman \
                 --accept-package-agreements --accept-source-agreements"
            }
        }
    }

    /// What this manager calls a package; nothing if the system has it otherwise.
    const fn name(self, package: Package) -> Option<&'static str> {
        use Package as P;
        Some(match (self, package) {
            (Self::Winget, P::Podman) => "RedHat.Podman",
            // Elsewhere everything but podman is in its virtual machine.
            (Self::Homebrew | Self::Winget, package) if !matches!(package, P::Podman) => {
                return None;
            }
            (_, P::Podman) => "podman",
            (_, P::Conmon) => "conmon",
            (Self::Apt, P::ContainersCommon) => "golang-github-containers-common",
            (Self::Zypper, P::ContainersCommon) => "libcontainers-common",
            (_, P::ContainersCommon) => "containers-common",
            (_, P::Runc) => "runc",
            (Self::Apt, P::Uidmap) => "uidmap",
            (Self::Dnf, P::Uidmap) => "shadow-utils",
            (_, P::Uidmap) => "shadow",
            (_, P::FuseOverlayfs) => "fuse-overlayfs",
            (_, P::Slirp4netns) => "slirp4netns",
            (_, P::Netavark) => "netavark",
            (Self::Apt, P::SessionBus) => "dbus-user-session",
            (Self::Dnf, P::SessionBus) => "dbus-daemon",
            (_, P::SessionBus) => return None,
        })
    }

    /// The commands that install a package without asking, each as they are run by root.
    fn commands(self, name: &str) -> Vec<Vec<String>> {
        let lines: &[&str] = match self {
            // Lists may be missing, as in a fresh image, or too old for the mirror.
            Self::Apt => &[
                "env DEBIAN_FRONTEND=noninteractive apt-get update -q",
                "env DEBIAN_FRONTEND=noninteractive apt-get install -q -y",
            ],
            Self::Dnf => &["dnf install -y -q"],
            Self::Pacman => &["pacman -S --noconfirm --needed"],
            Self::Zypper => &["zypper --non-interactive --quiet install"],
            Self::Homebrew => &["brew install --quiet"],
            Self::Winget => &["winget install --exact --silent --disable-interactivity \
                 --accept-package-agreements --accept-source-agreements --id"],
        };
        let last = lines.len().saturating_sub(1);
        let split = |line: &str| line.split_whitespace().map(String::from).collect();
        let mut commands: Vec<Vec<String>> = lines.iter().map(|line| split(line)).collect();
        if let Some(install) = commands.get_mut(last) {
            install.push(name.to_owned());
        }
        commands
    }

    /// Whether it changes the system, and not what is the user's own.
    const fn needs_root(self) -> bool {
        !matches!(self, Self::Homebrew | Self::Winget)
    }
}

/// The steps that install a package; none where no manager of this host has it.
pub(crate) fn install(host: &Host, package: Package, why: &str) -> Vec<Step> {
    let Some(manager) = Manager::of(host) else {
        return Vec::new();
    };
    let Some(name) = manager.name(package) else {
        return Vec::new();
    };
    let commands = manager.commands(name);
    let last = commands.len().saturating_sub(1);
    let steps = commands.into_iter().enumerate().map(|(index, command)| {
        let step = match index == last {
            true => Step::new(command, format!("installs {name}: {why}")),
            // A source that cannot be reached need not be the one that has the package.
            false => Step::new(command, "fetches the lists of packages").that_may_fail(),
        };
        match manager.needs_root() {
            true => step.by_root(host),
            false => step,
        }
    });
    steps.collect()
}

/// What installs podman by hand on a host.
pub(crate) fn manual(host: &Host) -> &'static str {
    let of_os = || match host.os() {
        Os::MacOs => Some(Manager::Homebrew),
        Os::Windows => Some(Manager::Winget),
        Os::Linux | Os::Wsl | Os::Other => None,
    };
    Manager::of(host)
        .or_else(of_os)
        .map_or(PAGE, Manager::manual)
}
