//! What is said of a KVM that runs no guest.

use std::os::unix::fs::PermissionsExt as _;

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

/// What is said of this host's is what trying it came to, and no other reason: neither is it taken for
/// one that works, nor one that works refused.
#[test]
fn this_hosts_kvm_is_proved_or_refused_for_what_trying_it_says() {
    let examined = kvm::examine();
    match tried(":") {
        Ok(()) => examined.unwrap(),
        Err(KvmFault::Absent) => assert!(matches!(examined, Err(NoKvm::Absent)), "{examined:?}"),
        Err(KvmFault::Forbidden) => {
            assert!(matches!(examined, Err(NoKvm::Forbidden)), "{examined:?}");
        }
        Err(KvmFault::NotKvm { .. }) => {
            assert!(
                matches!(examined, Err(NoKvm::NotKvm { .. })),
                "{examined:?}"
            );
        }
        Err(KvmFault::Unusable { doing, .. }) => {
            let Err(NoKvm::Unusable { doing: told, .. }) = examined else {
                panic!("{doing}: {examined:?}");
            };
            assert_eq!(told, doing);
        }
    }
}
