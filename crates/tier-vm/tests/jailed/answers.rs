//! A Firecracker, or a guest, that does not say what it is to.

use std::time::{Duration, Instant};

use axo_tier_vm::api::ApiError;
use axo_tier_vm::machine::{CONSOLE_KEPT_BYTES, MachineError};

use crate::support::{boot, descriptors, fails, says};

async fn fault(mode: &str) -> ApiError {
    match fails(mode).await {
        MachineError::Api { source, .. } => source,
        other => panic!("{mode}: {other}"),
    }
}

#[tokio::test]
async fn what_firecracker_refuses_is_told_with_what_was_asked() {
    let refused = fault("refuses").await;
    let ApiError::Refused {
        asked,
        status,
        message,
    } = refused
    else {
        panic!("{refused}");
    };
    assert_eq!((asked, status), ("set the machine's size", 400));
    assert_eq!(message, "The kernel is \u{1b}[31mbad");
    let odd = fault("refuses oddly").await;
    assert!(
        matches!(odd, ApiError::Refused { status: 500, .. }),
        "{odd}"
    );
}

#[tokio::test]
async fn an_answer_without_end_or_sense_is_no_answer() {
    for mode in ["long", "endless"] {
        let error = fault(mode).await;
        let ApiError::Malformed { problem, .. } = error else {
            panic!("{mode}: {error}");
        };
        assert_eq!(problem, "is too long", "{mode}");
    }
    for mode in ["no HTTP", "hangs up"] {
        let error = fault(mode).await;
        assert!(matches!(error, ApiError::Broken { .. }), "{mode}: {error}");
    }
}

#[tokio::test]
async fn a_firecracker_that_never_answers_is_not_waited_for() {
    let begun = Instant::now();
    let error = fault("silent").await;
    assert!(matches!(error, ApiError::Silent { .. }), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(30));
}

#[tokio::test]
async fn a_guest_is_tried_until_it_listens_and_no_longer_than_said() {
    let (machine, traces) = boot("slow guest").await.map_err(|(e, _)| e).unwrap();
    machine
        .connect(5000, Duration::from_secs(10))
        .await
        .unwrap();
    machine.end().await.unwrap();
    for mode in ["no agent", "mute"] {
        let (machine, traces) = boot(mode).await.map_err(|(e, _)| e).unwrap();
        let before = descriptors();
        let within = Duration::from_millis(300);
        let error = machine.connect(5000, within).await.unwrap_err();
        assert!(
            matches!(error, MachineError::Silent { .. }),
            "{mode}: {error}"
        );
        assert_eq!(descriptors(), before, "{mode}");
        drop(machine);
        traces.vanish();
    }
    traces.vanish();
}

#[tokio::test]
async fn a_vsock_that_lies_is_not_believed() {
    for mode in ["lies", "endless line"] {
        let (machine, traces) = boot(mode).await.map_err(|(e, _)| e).unwrap();
        let error = machine
            .connect(5000, Duration::from_secs(10))
            .await
            .unwrap_err();
        assert!(matches!(error, MachineError::NoVsock), "{mode}: {error}");
        drop(machine);
        traces.vanish();
    }
}

/// Threat 33.
#[tokio::test]
async fn a_machine_that_floods_its_console_is_kept_short_and_still_answers() {
    let (machine, traces) = boot("floods").await.map_err(|(e, _)| e).unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    machine
        .connect(5000, Duration::from_secs(10))
        .await
        .unwrap();
    let kept = machine.console();
    assert_eq!(kept.len(), CONSOLE_KEPT_BYTES);
    assert!(kept.contains(&b'z'));
    machine.end().await.unwrap();
    traces.vanish();
}

#[tokio::test]
async fn a_machine_cannot_fill_the_hosts_memory_with_files() {
    let (machine, traces) = boot("fills the jail").await.map_err(|(e, _)| e).unwrap();
    machine
        .connect(5000, Duration::from_secs(10))
        .await
        .unwrap();
    says(&machine, "filled with ").await;
    let console = String::from_utf8_lossy(&machine.console()).into_owned();
    let line = console
        .lines()
        .find_map(|line| line.strip_prefix("filled with "));
    let written: u32 = line.unwrap().parse().unwrap();
    assert!(written < 130, "{written} files of 4 KiB");
    machine.end().await.unwrap();
    traces.vanish();
}
