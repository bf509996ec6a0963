//! What is said of a KVM that runs no guest.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use axo_runner::KvmFault;
use axo_tier_vm::kvm::{self, NoKvm};

/// Tries KVM where these commands have changed `/dev`, for it alone.
fn tried(changes: &str) -> Result<(), KvmFault> {
    let home = tempfile::tempdir().unwrap();
    let program = home.path().join("runner");
    std::fs::write(&program, axo_helpers::runner().bytes()).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    #[expect(clippy::disallowed_methods, reason = "a namespace is made for it")]
    let output = std::process::Command::new("unshare")
        .args(["--mount", "sh", "-ec"])
        .arg(format!("{changes}; exec {} kvm", program.display()))
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {stderr}"))
}

#[test]
fn a_kvm_that_is_absent_forbidden_or_another_device_is_told_apart() {
    assert_eq!(tried("mount -t tmpfs none /dev"), Err(KvmFault::Absent));
    let nodev = "mount -t tmpfs -o nodev none /dev; mknod /dev/kvm c 10 232";
    assert_eq!(tried(nodev), Err(KvmFault::Forbidden));
    let null = tried("mount -t tmpfs none /dev; mknod /dev/kvm c 1 3");
    assert!(matches!(null, Err(KvmFault::NotKvm { .. })), "{null:?}");
}

/// The whole of it: a KVM for kernels of its own making opens, makes a machine, and runs no guest.
#[test]
fn this_hosts_kvm_is_proved_or_refused_within_seconds() {
    let begun = Instant::now();
    let examined = kvm::examine();
    assert!(begun.elapsed() < Duration::from_secs(15));
    println!("{examined:?}");
    let pvm = Path::new("/sys/module/kvm_pvm").exists();
    match examined {
        Ok(()) => assert!(!pvm && Path::new("/dev/kvm").exists()),
        Err(NoKvm::Unusable { doing, .. }) => assert!(doing.contains("instructions"), "{doing}"),
        Err(other) => assert!(!pvm, "{other}"),
    }
}
