//! A machine is stored, and others go on from there.

use std::time::Instant;

use axo_tier_vm::api::ApiError;
use axo_tier_vm::machine::{Machine, MachineError, SnapshotFiles, SnapshotTarget};

use tokio::io::BufReader;
use tokio::net::UnixStream;

use crate::guest::{LONG, ask, config, connected, guest, vanishes};

/// A connection that stays: the guest's kernel breaks off once what it has when it goes on.
async fn settled(machine: &Machine) -> BufReader<UnixStream> {
    let deadline = Instant::now() + LONG;
    loop {
        let mut stream = connected(machine).await;
        if ask(&mut stream, "echo after").await == "after" {
            return stream;
        }
        assert!(Instant::now() < deadline);
    }
}

#[tokio::test]
async fn a_stored_machine_goes_on_as_often_as_it_is_restored() {
    let home = tempfile::tempdir().unwrap();
    let (first, _, _home) = config(b"sixteen bytes...");
    let target = SnapshotTarget::create(home.path()).unwrap();
    let machine = Machine::boot(first, &guest(), Some(target)).await.unwrap();
    let mut stream = connected(&machine).await;
    assert_eq!(ask(&mut stream, "echo before").await, "before");
    drop(stream);
    let begun = Instant::now();
    machine.snapshot().await.unwrap();
    println!("stored in {:?}", begun.elapsed());
    let memory = std::fs::read(home.path().join("memory")).unwrap();

    let files = SnapshotFiles::open(home.path()).unwrap();
    let mut machines = Vec::new();
    for _ in 0..2 {
        let (config, _, _home) = config(b"sixteen bytes...");
        let begun = Instant::now();
        let machine = Machine::restore(config, &files).await.unwrap();
        println!("restored in {:?}", begun.elapsed());
        let mut stream = settled(&machine).await;
        println!("answered after {:?}", begun.elapsed());
        assert_eq!(
            ask(&mut stream, "bytes /dev/vda").await,
            "7369787465656e2062797465732e2e2e"
        );
        machines.push(machine);
    }
    assert_ne!(machines[0].user(), machines[1].user());
    for machine in machines {
        println!("{:?}", machine.end().await.unwrap());
    }
    // What was stored is as it was.
    let now = std::fs::read(home.path().join("memory")).unwrap();
    assert!(memory == now, "the memory's file was changed");
}

#[tokio::test]
async fn what_is_no_snapshot_is_refused() {
    let home = tempfile::tempdir().unwrap();
    for name in ["memory", "state"] {
        std::fs::write(home.path().join(name), "nothing of the kind").unwrap();
    }
    let files = SnapshotFiles::open(home.path()).unwrap();
    let (config, id, _home) = config(b"");
    let error = Machine::restore(config, &files).await.err().unwrap();
    // So it is told from a machine that died, and the snapshot is removed.
    let MachineError::Api {
        source: ApiError::Refused { asked, status, .. },
        ..
    } = error
    else {
        panic!("{}", axo_core::chain(&error));
    };
    assert_eq!((asked, status), ("restore a snapshot", 400));
    vanishes(&id).await;
}
