//! Packages of Debian.

use std::path::Path;

use anyhow::{Result, bail, ensure};

use crate::shell::{Shell, say};

/// What `jco`, which builds the JavaScript tool, needs.
const NODE_MAJOR: u32 = 20;

/// How to tell that what a package brings is there, wherever it came from.
enum Sign {
    Program(&'static str),
    File(&'static str),
    Check(fn(&Shell) -> bool),
}

const PACKAGES: &[(&str, Sign)] = &[
    // C: to WebAssembly, and to the static program of the probe.
    ("clang", Sign::Program("clang")),
    ("lld", Sign::Program("wasm-ld")),
    ("wasi-libc", Sign::File("/usr/include/wasm32-wasi/stdio.h")),
    ("libclang-rt-14-dev-wasm32", Sign::Check(has_compiler_rt)),
    ("gcc", Sign::Program("gcc")),
    ("libc6-dev", Sign::File("/usr/include/stdio.h")),
    // Tests that need another time of day.
    ("faketime", Sign::Program("faketime")),
    // The tools in JavaScript and Python.
    ("nodejs", Sign::Program("node")),
    ("npm", Sign::Program("npm")),
    ("python3", Sign::Program("python3")),
    ("python3-pip", Sign::Check(has_pip)),
    // `cargo xtask vmhost`, and what is built to boot in it.
    ("qemu-system-x86", Sign::Program("qemu-system-x86_64")),
    ("busybox-static", Sign::Check(has_static_busybox)),
    ("cpio", Sign::Program("cpio")),
    ("kmod", Sign::Program("depmod")),
    ("e2fsprogs", Sign::Program("mke2fs")),
    // Containers: peers to compare with, and makers of images and root file systems.
    ("runc", Sign::Program("runc")),
    ("crun", Sign::Program("crun")),
    ("bubblewrap", Sign::Program("bwrap")),
    ("podman", Sign::Program("podman")),
    (
        "golang-github-containers-common",
        Sign::File("/usr/share/containers/seccomp.json"),
    ),
    ("uidmap", Sign::Program("newuidmap")),
    // What podman recommends: an ordinary user's network, and overlays where the kernel has none.
    ("slirp4netns", Sign::Program("slirp4netns")),
    ("fuse-overlayfs", Sign::Program("fuse-overlayfs")),
    ("skopeo", Sign::Program("skopeo")),
    ("umoci", Sign::Program("umoci")),
    ("docker-registry", Sign::Program("docker-registry")),
    ("debootstrap", Sign::Program("debootstrap")),
    // What looks into the disks of microVMs.
    ("squashfs-tools", Sign::Program("unsquashfs")),
    // A terminal for the sessions' shell.
    ("tmux", Sign::Program("tmux")),
];

pub(super) fn install(shell: &Shell) -> Result<()> {
    let missing = missing(shell);
    if !missing.is_empty() {
        install_packages(shell, &missing)?;
        let missing = self::missing(shell);
        ensure!(
            missing.is_empty(),
            "apt-get is content, but what these packages bring is not there: {}. \
             They are those of Debian 12; another system has to bring the same in its own way",
            missing.join(" ")
        );
    }
    check_node(shell)
}

fn missing(shell: &Shell) -> Vec<&'static str> {
    let is_there = |sign: &Sign| match sign {
        Sign::Program(name) => shell.has(name),
        Sign::File(path) => Path::new(path).exists(),
        Sign::Check(check) => check(shell),
    };
    PACKAGES
        .iter()
        .filter(|(_, sign)| !is_there(sign))
        .map(|(package, _)| *package)
        .collect()
}

fn install_packages(shell: &Shell, packages: &[&str]) -> Result<()> {
    const INSTALL: &[&str] = &["install", "-y", "--no-install-recommends"];
    let is_root = shell
        .command("id")
        .arg("-u")
        .text()
        .is_ok_and(|id| id.trim() == "0");
    if !is_root || !shell.has("apt-get") {
        bail!(
            "something is missing. As root:\n  apt-get update && apt-get {} {}",
            INSTALL.join(" "),
            packages.join(" ")
        );
    }
    say(format_args!("missing: {}", packages.join(" ")));
    let apt = || {
        shell
            .command("apt-get")
            .env("DEBIAN_FRONTEND", "noninteractive")
    };
    apt().arg("update").run()?;
    apt().args(INSTALL).args(packages).run()
}

/// Clang looks for the library in a directory of its own version.
fn has_compiler_rt(shell: &Shell) -> bool {
    let resources = shell
        .command("clang")
        .arg("-print-resource-dir")
        .text()
        .unwrap_or_default();
    Path::new(resources.trim())
        .join("lib/wasi/libclang_rt.builtins-wasm32.a")
        .is_file()
}

fn has_static_busybox(shell: &Shell) -> bool {
    crate::vmhost::static_busybox(shell).is_some()
}

fn has_pip(shell: &Shell) -> bool {
    shell
        .command("python3")
        .args(["-m", "pip", "--version"])
        .works()
}

fn check_node(shell: &Shell) -> Result<()> {
    let version = shell.command("node").arg("--version").text()?;
    let version = version.trim();
    let major = version
        .trim_start_matches('v')
        .split('.')
        .next()
        .and_then(|n| n.parse::<u32>().ok());
    ensure!(
        major.is_some_and(|major| major >= NODE_MAJOR),
        "`node` is {version}, and the tool in JavaScript needs {NODE_MAJOR} or newer to be built: \
         put a newer `node` and its `npm` first on PATH"
    );
    Ok(())
}
