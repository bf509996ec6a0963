//! What would help against each cause, on this host: in words, as commands, and as steps that
//! [`fix`](super::fix) takes when it is asked to.

use std::path::Path;

use crate::podman::checks::missing_helpers;
use crate::podman::findings::{Cause, Repair};
use crate::podman::host::Host;
use crate::podman::version::Version;

use super::packages::{Package, install, manual};
use super::step::Step;
use super::subordinate;

/// Settings of the kernel that outlast a boot.
const SYSCTL_FILE: &str = "/etc/sysctl.d/90-axocoatl.conf";
/// Controllers for the services of every user, as runc's documents for cgroup v2 and systemd's own
/// (`systemd.resource-control(5)`, `Delegate=`) have it.
const DELEGATION_DIRECTORY: &str = "/etc/systemd/system/user@.service.d";
const DELEGATION: &str = "[Service]\\nDelegate=cpu cpuset io memory pids\\n";
/// The profile that Ubuntu gives to programs that may make user namespaces.
const APPARMOR_PROFILE: &str = "/etc/apparmor.d/podman";

/// What would help against a cause on this host.
pub(crate) fn advice(host: &Host, cause: Cause) -> Repair {
    let steps = steps(host, cause);
    let (text, by_hand) = words(host, cause);
    let commands = match steps.is_empty() {
        true => by_hand,
        false => steps.iter().map(Step::shown).collect(),
    };
    Repair {
        text,
        commands,
        can_fix: !steps.is_empty(),
    }
}

/// The steps against a cause that need nobody's decision. None where a person has to decide: to
/// download a machine, to boot otherwise, to give up a wall, to stop containers.
pub(crate) fn steps(host: &Host, cause: Cause) -> Vec<Step> {
    let why = |what: &str| what.to_owned();
    match cause {
        Cause::PodmanMissing => install(host, Package::Podman, "sessions run in its containers"),
        Cause::MachineStopped => vec![Step::of_words(
            "podman machine start",
            why("containers run in this virtual machine"),
        )],
        Cause::ConmonMissing => install(host, Package::Conmon, "podman watches containers with it"),
        Cause::SeccompProfileMissing => install(
            host,
            Package::ContainersCommon,
            "sessions are confined by its list of system calls",
        ),
        Cause::RuntimeMissing => install(host, Package::Runc, "podman makes containers with it"),
        Cause::HybridCgroups if host.find_of_system("runc").is_none() => install(
            host,
            Package::Runc,
            "it works with hybrid cgroups, and crun does not",
        ),
        Cause::UidmapMissing => install(
            host,
            Package::Uidmap,
            "it has newuidmap and newgidmap, which ordinary users' containers need",
        ),
        Cause::UidmapUnprivileged => ["newuidmap", "newgidmap"]
            .iter()
            .filter_map(|name| host.find_of_system(name))
            .map(|path| {
                let command = ["chmod", "u+s"].map(String::from).into_iter();
                let command = command.chain([path.display().to_string()]).collect();
                Step::new(command, "it has to write id maps as root").by_root(host)
            })
            .collect(),
        Cause::NoSubordinateIds => subordinate::steps(host),
        Cause::UserNamespacesOff => sysctl_steps(host),
        Cause::AppArmorUserNamespaces => apparmor_steps(host),
        Cause::LimitsNotEnforced if runs_systemd(host) && !host.is_root() => delegation_steps(host),
        Cause::CgroupManager if runs_systemd(host) && !host.is_root() => {
            let bus = "systemd is asked for cgroups over it";
            let mut steps = install(host, Package::SessionBus, bus);
            steps.extend(linger_step(host));
            steps
        }
        Cause::NoRuntimeDirectory if runs_systemd(host) => linger_step(host).into_iter().collect(),
        Cause::FuseOverlayfsMissing => install(
            host,
            Package::FuseOverlayfs,
            "it mounts overlays for ordinary users",
        ),
        Cause::NetworkHelperMissing => missing_helpers(host)
            .into_iter()
            .flat_map(|package| install(host, package, "it connects containers to the network"))
            .collect(),
        _ => Vec::new(),
    }
}

/// A cause's repair in words, and as commands for a person where there are no steps.
fn words(host: &Host, cause: Cause) -> (String, Vec<String>) {
    let text = |text: &str| (text.to_owned(), Vec::new());
    let with = |text: &str, commands: &[&str]| {
        let commands = commands.iter().map(|c| (*c).to_owned()).collect();
        (text.to_owned(), commands)
    };
    match cause {
        Cause::PodmanMissing => (format!("install it: {}", manual(host)), Vec::new()),
        Cause::PodmanBroken => with(
            "see what it says, and install it anew",
            &["podman --version"],
        ),
        Cause::PodmanTooOld => (
            format!(
                "sessions need podman {} or newer: take it from a newer release of this system, or \
                 see https://podman.io/docs/installation",
                Version::OLDEST
            ),
            Vec::new(),
        ),
        Cause::MachineMissing => with(
            "make one and start it; this downloads its disk image",
            &["podman machine init", "podman machine start"],
        ),
        Cause::MachineStopped => text("start it"),
        Cause::ConmonMissing => text("install conmon 2.0.1 or newer"),
        Cause::SeccompProfileMissing => text(
            "install containers-common, which has it (Debian: golang-github-containers-common)",
        ),
        Cause::RuntimeMissing => text("install an OCI runtime: crun or runc"),
        Cause::HybridCgroups if host.find_of_system("runc").is_some() => text(
            "nothing where runc takes its place; to use it, boot with cgroup v2 alone \
             (systemd.unified_cgroup_hierarchy=1 on the kernel's command line)",
        ),
        Cause::HybridCgroups => text(
            "install runc, which works with hybrid cgroups; or boot with cgroup v2 alone \
             (systemd.unified_cgroup_hierarchy=1 on the kernel's command line)",
        ),
        Cause::Rlimits => text(
            "raise the hard limits of this login (LimitNOFILE= and LimitNPROC= of its service, or \
             /etc/security/limits.conf), or give it CAP_SYS_RESOURCE",
        ),
        Cause::CgroupManager => text(
            "log in so that systemd knows of it (not by su or sudo -u), or set cgroup_manager = \
             \"cgroupfs\" in containers.conf",
        ),
        Cause::CgroupV1Rootless => text(
            "boot this host with cgroup v2 (systemd.unified_cgroup_hierarchy=1 on the kernel's command \
             line), or run axocoatl as root",
        ),
        Cause::LimitsNotEnforced => text(
            "let systemd delegate the controllers cpu, memory and pids to this user, and log in \
             again; without systemd, run axocoatl as root. No session runs without its limits",
        ),
        Cause::CgroupsMissing => with(
            "mount the cgroup file system",
            &["sudo mount -t cgroup2 none /sys/fs/cgroup"],
        ),
        Cause::NoSubordinateIds => text(
            "give this user 65536 subordinate ids each in /etc/subuid and /etc/subgid: without them \
             a container has one user only, and most images cannot be used",
        ),
        Cause::UidmapMissing => text("install newuidmap and newgidmap (package uidmap or shadow)"),
        Cause::UidmapUnprivileged => text("give newuidmap and newgidmap the set-user-ID bit"),
        Cause::UserNamespacesOff => {
            text("let ordinary users make user namespaces, or run axocoatl as root")
        }
        Cause::AppArmorUserNamespaces => text(
            "give podman a profile that may make user namespaces, as Ubuntu's own packages have it; \
             or run axocoatl as root",
        ),
        Cause::NoRuntimeDirectory => text(
            "log in so that systemd makes one (not by su or sudo -u), or set XDG_RUNTIME_DIR to a \
             directory that is yours alone",
        ),
        Cause::Storage => text(
            "put podman's storage and AXOCOATL_HOME on a file system that overlays can lie on \
             (ext4, xfs, btrfs): not on another overlay, NFS or FAT",
        ),
        Cause::FuseOverlayfsMissing => text(
            "install fuse-overlayfs and see that /dev/fuse is there, or use Linux 5.13 or newer",
        ),
        Cause::NetworkHelperMissing => text(
            "install what podman connects containers with: netavark, and for ordinary users \
             slirp4netns or pasta. Sessions with --network none work without",
        ),
        Cause::NetworkDevice => with(
            "make /dev/net/tun, and let this user read and write it",
            &["sudo modprobe tun", "sudo chmod 0666 /dev/net/tun"],
        ),
        Cause::ProcMasked => text(
            "run on the host itself, or give the outer container what nesting takes: \
             --security-opt unmask=ALL --device /dev/fuse, or --privileged",
        ),
        Cause::NoExec => text(
            "set AXOCOATL_HOME to a directory on a file system without noexec that this user may \
             enter",
        ),
        Cause::Selinux => with(
            "label the data directory for containers (put its path for DIRECTORY)",
            &[
                "sudo semanage fcontext -a -t container_file_t 'DIRECTORY(/.*)?'",
                "sudo restorecon -R DIRECTORY",
            ],
        ),
        Cause::WrongProgram => {
            text("use the build of axocoatl for the processor that containers run on")
        }
        Cause::StaleState => with(
            "bring podman's state up to date; this stops its running containers",
            &["podman system migrate"],
        ),
        Cause::Late => text("see whether the host is overloaded, and try again"),
        Cause::Unknown => with(
            "see what podman says in full, and report it if it is no fault of the host",
            &["podman info"],
        ),
    }
}

pub(crate) fn runs_systemd(host: &Host) -> bool {
    host.metadata("run/systemd/system").is_some()
}

/// Lets ordinary users make user namespaces, now and after a boot.
fn sysctl_steps(host: &Host) -> Vec<Step> {
    // Debian's own switch, and the kernel's count. The count is the kernel's for 2 GiB of memory.
    let settings = [
        ("kernel.unprivileged_userns_clone", "1"),
        ("user.max_user_namespaces", "15000"),
    ];
    let wrong = settings.iter().filter(|(name, _)| {
        host.number(&format!("proc/sys/{}", name.replace('.', "/"))) == Some(0)
    });
    wrong
        .flat_map(|(name, value)| {
            let now = Step::of_words(
                &format!("sysctl -w {name}={value}"),
                "lets ordinary users make user namespaces",
            );
            let later = append(
                SYSCTL_FILE,
                &format!("{name} = {value}\\n"),
                "also after a boot",
            );
            [now.by_root(host), later.by_root(host)]
        })
        .collect()
}

fn apparmor_steps(host: &Host) -> Vec<Step> {
    let Some(podman) = host.find_podman() else {
        return Vec::new();
    };
    let path = podman.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/-_.".contains(c);
    if host.metadata(&APPARMOR_PROFILE[1..]).is_some()
        || host.find_of_system("apparmor_parser").is_none()
        || !path.chars().all(plain)
    {
        return Vec::new();
    }
    let profile = format!(
        "abi <abi/4.0>,\\ninclude <tunables/global>\\nprofile podman {path} flags=(unconfined) {{\\n  \
         userns,\\n  include if exists <local/podman>\\n}}\\n"
    );
    vec![
        write(
            APPARMOR_PROFILE,
            &profile,
            "lets podman make user namespaces",
        )
        .by_root(host),
        Step::of_words(
            &format!("apparmor_parser -r {APPARMOR_PROFILE}"),
            "puts the profile in force",
        )
        .by_root(host),
    ]
}

fn delegation_steps(host: &Host) -> Vec<Step> {
    let file = format!("{DELEGATION_DIRECTORY}/90-axocoatl.conf");
    let mut steps = vec![
        Step::of_words(
            &format!("mkdir -p {DELEGATION_DIRECTORY}"),
            "for the next step",
        )
        .by_root(host),
        write(
            &file,
            DELEGATION,
            "systemd delegates controllers to every user",
        )
        .by_root(host),
        Step::of_words("systemctl daemon-reload", "systemd reads it").by_root(host),
    ];
    steps.extend(linger_step(host));
    steps
}

/// Keeps the user's systemd, its runtime directory and its D-Bus while nobody is logged in.
fn linger_step(host: &Host) -> Option<Step> {
    let name = host.user_name()?;
    let lingers = Path::new("var/lib/systemd/linger").join(&name);
    if host.is_root() || host.metadata(lingers).is_some() {
        return None;
    }
    let words = ["loginctl", "enable-linger", &name].map(String::from);
    let why = "this user's systemd and runtime directory are there without a login";
    Some(Step::new(words.to_vec(), why).by_root(host))
}

/// Writes a text of ours, in the form of `printf`.
fn write(path: &str, text: &str, why: &str) -> Step {
    shell(&format!("printf '{text}' > {path}"), why)
}

fn append(path: &str, text: &str, why: &str) -> Step {
    shell(&format!("printf '{text}' >> {path}"), why)
}

fn shell(script: &str, why: &str) -> Step {
    Step::new(["sh", "-c", script].map(String::from).to_vec(), why)
}
