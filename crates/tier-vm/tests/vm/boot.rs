//! A guest boots, is spoken with, and ends in each way.

use std::time::{Duration, Instant};

use axo_tier_vm::api::ApiError;
use axo_tier_vm::kvm;
use axo_tier_vm::machine::{CONSOLE_KEPT_BYTES, How, Machine, MachineError};

use crate::guest::{LONG, ask, config, connected, guest, vanishes};

#[test]
fn this_hosts_kvm_runs_guests() {
    kvm::examine().unwrap();
}

#[tokio::test]
async fn a_guest_boots_and_answers_over_vsock() {
    let guest = guest();
    let (config, _, _home) = config(b"sixteen bytes...");
    let begun = Instant::now();
    let machine = Machine::boot(config, &guest, None).await.unwrap();
    println!("started after {:?}", begun.elapsed());
    let mut stream = connected(&machine).await;
    println!("connected after {:?}", begun.elapsed());
    assert_eq!(ask(&mut stream, "echo over vsock").await, "over vsock");
    assert_eq!(
        ask(&mut stream, "bytes /dev/vda").await,
        "7369787465656e2062797465732e2e2e"
    );
    // Its disk is not its to change.
    let written = ask(&mut stream, "write /dev/vda").await;
    assert!(written.contains("os error"), "{written}");
    // There is no network, and nobody on the host listens.
    assert_eq!(ask(&mut stream, "list /sys/class/net").await, "lo");
    let connected = ask(&mut stream, "connect 5000").await;
    assert!(connected.contains("os error"), "{connected}");
    assert!(!machine.version().await.unwrap().is_empty());
    let end = machine.end().await.unwrap();
    println!("{end:?}");
}

#[tokio::test]
async fn a_guest_that_restarts_has_ended() {
    let (config, _, _home) = config(b"");
    let machine = Machine::boot(config, &guest(), None).await.unwrap();
    let mut stream = connected(&machine).await;
    let _ = tokio::time::timeout(LONG, ask(&mut stream, "restart")).await;
    let end = tokio::time::timeout(LONG, machine.ended()).await.unwrap();
    assert_eq!(end.how, How::PoweredOff);
    let later = machine.connect(5000, LONG).await.unwrap_err();
    assert!(matches!(later, MachineError::Ended { .. }), "{later}");
}

#[tokio::test]
async fn a_kernel_that_is_none_is_refused_by_firecracker_with_its_words() {
    let mut guest = guest();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("kernel");
    std::fs::write(&path, "no ELF").unwrap();
    guest.kernel = std::fs::File::open(path).unwrap();
    let (config, id, _home) = config(b"");
    let error = Machine::boot(config, &guest, None).await.err().unwrap();
    let text = axo_core::chain(&error).to_string();
    let MachineError::Api {
        source: ApiError::Refused {
            status, message, ..
        },
        ..
    } = error
    else {
        panic!("{text}");
    };
    // What it says, without a word of ours.
    assert_eq!(status, 400);
    assert!(message.to_lowercase().contains("kernel"), "{message}");
    assert!(text.contains(&message), "{text}");
    vanishes(&id).await;
}

/// Its agent is the guest's first process: whoever kills it ends the machine.
#[tokio::test]
async fn a_guest_whose_first_process_ends_has_ended() {
    for how in ["exit", "crash"] {
        let (config, id, _home) = config(b"");
        let machine = Machine::boot(config, &guest(), None).await.unwrap();
        let mut stream = connected(&machine).await;
        assert_eq!(
            tokio::time::timeout(LONG, ask(&mut stream, how))
                .await
                .unwrap(),
            ""
        );
        let end = tokio::time::timeout(LONG, machine.ended()).await.unwrap();
        assert_eq!(end.how, How::PoweredOff, "{how}");
        let later = machine.connect(5000, LONG).await.unwrap_err();
        assert!(matches!(later, MachineError::Ended { .. }), "{later}");
        drop(machine);
        vanishes(&id).await;
    }
}

/// Threat 33: the guest's root has the serial port, whatever our agent closed.
#[tokio::test]
async fn a_guest_that_floods_its_console_is_kept_short_and_still_answers() {
    let (config, _, _home) = config(b"");
    let machine = Machine::boot(config, &guest(), None).await.unwrap();
    let mut stream = connected(&machine).await;
    assert_eq!(ask(&mut stream, "flood").await, "flooding");
    let deadline = Instant::now() + LONG;
    while machine.console().len() < CONSOLE_KEPT_BYTES && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(ask(&mut stream, "echo there").await, "there");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(machine.console().len(), CONSOLE_KEPT_BYTES);
    machine.end().await.unwrap();
}
