//! Builds the helpers: static programs, with a profile of their own, by the cargo that runs this.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a build that fails says why and ends"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "starting cargo is what this is for"
)]

use std::path::{Path, PathBuf};
use std::process::Command;

/// Package, features, and binary of each helper.
const HELPERS: [(&str, &str, &str); 2] = [
    ("axo-runner", "supervisor", "axo-runner"),
    ("axo-guest-agent", "", "axo-guest-agent"),
];

/// What they are made of.
const SOURCES: [&str; 5] = [
    "crates/runner",
    "crates/guest-agent",
    "crates/guest-proto",
    "Cargo.lock",
    "Cargo.toml",
];

fn main() {
    let manifest = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    let out = PathBuf::from(variable("OUT_DIR"));
    let workspace = manifest.ancestors().nth(2).expect("a workspace");
    // One directory for all profiles: the helpers are the same in each.
    let target_directory = target_directory(&out).join("helpers");
    for path in SOURCES {
        println!("cargo::rerun-if-changed={}", workspace.join(path).display());
    }
    for (package, features, binary) in HELPERS {
        let program = build(workspace, &target_directory, package, features, binary);
        let copy = out.join(binary);
        std::fs::copy(&program, &copy)
            .unwrap_or_else(|e| panic!("copying {}: {e}", program.display()));
    }
}

fn build(
    workspace: &Path,
    target_directory: &Path,
    package: &str,
    features: &str,
    binary: &str,
) -> PathBuf {
    let target = variable("TARGET");
    let mut cargo = Command::new(variable("CARGO"));
    cargo
        .current_dir(workspace)
        .args(["build", "--quiet", "--locked", "--profile", "helper"])
        .args(["--package", package, "--features", features])
        .args(["--bin", binary, "--target", &target, "--target-dir"])
        .arg(target_directory)
        // A program without a loader, a shared library or relocations: it starts from a memfd,
        // anywhere, and fast.
        .env(
            "CARGO_ENCODED_RUSTFLAGS",
            "-Ctarget-feature=+crt-static\u{1f}-Crelocation-model=static",
        );
    // What cargo or clippy told this build about itself is not about that one.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let outer = text.starts_with("CARGO_CFG_")
            || text.starts_with("CARGO_FEATURE_")
            || text.starts_with("CARGO_PKG_")
            || [
                "RUSTFLAGS",
                "RUSTC",
                "RUSTC_WRAPPER",
                "RUSTC_WORKSPACE_WRAPPER",
                "CLIPPY_ARGS",
                "CARGO_TARGET_DIR",
                "CARGO_BUILD_TARGET",
                "RUSTDOCFLAGS",
            ]
            .contains(&text.as_ref());
        if outer {
            cargo.env_remove(&name);
        }
    }
    let status = cargo.status().expect("cargo starts");
    assert!(status.success(), "{package} was not built: see above");
    target_directory.join(target).join("helper").join(binary)
}

/// `target` of the outer build: five above `target/PROFILE/build/PACKAGE-HASH/out`, with or without
/// a target triple between.
fn target_directory(out: &Path) -> PathBuf {
    out.ancestors()
        .find(|path| path.join("CACHEDIR.TAG").exists())
        .unwrap_or(out)
        .to_owned()
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run this by cargo"))
}
