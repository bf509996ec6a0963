//! What becomes of the files that a machine is stored in.

use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use axo_tier_vm::machine::{Machine, MachineError, SnapshotFiles, SnapshotTarget};

use crate::support::{Made, Traces, boot, says};

#[tokio::test]
async fn a_stored_machine_is_gone_and_its_files_are_nobodys_but_ours() {
    let home = tempfile::tempdir().unwrap();
    let made = Made::new();
    let traces = Traces::of(made.id.clone());
    let guest = made.guest("good");
    let target = SnapshotTarget::create(home.path()).unwrap();
    let machine = Machine::boot(made.config, &guest, Some(target))
        .await
        .unwrap();
    let owner = |name: &str| {
        let stat = std::fs::metadata(home.path().join(name)).unwrap();
        (stat.uid(), stat.gid(), stat.mode() & 0o777)
    };
    let user = machine.user();
    assert_eq!(owner("memory"), (user, user, 0o600));
    machine.snapshot().await.unwrap();
    traces.vanish();
    for name in ["memory", "state"] {
        assert_eq!(owner(name), (0, 0, 0o444), "{name}");
    }
    let mut files = SnapshotFiles::open(home.path()).unwrap();
    let mut text = String::new();
    files.memory.read_to_string(&mut text).unwrap();
    assert_eq!(text, "the memory");

    // And another goes on there.
    let made = Made::new();
    let traces = Traces::of(made.id.clone());
    let machine = Machine::restore(made.config, &files).await.unwrap();
    says(&machine, "PUT /snapshot/load").await;
    says(&machine, r#""resume_vm":true"#).await;
    machine
        .connect(5000, Duration::from_secs(10))
        .await
        .unwrap();
    machine.end().await.unwrap();
    traces.vanish();
    assert_eq!(owner("memory"), (0, 0, 0o444));
}

#[tokio::test]
async fn a_machine_without_files_for_it_is_not_stored_and_ends() {
    let (machine, traces) = boot("good").await.map_err(|(e, _)| e).unwrap();
    let error = machine.snapshot().await.unwrap_err();
    assert!(matches!(error, MachineError::NoTarget), "{error}");
    traces.vanish();
}
