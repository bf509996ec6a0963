//! What the kernel refuses to a session, call by call: the hostile program of the conformance cases. It
//! does nothing where it has a capability of the host, so the profile is the one that has none.

use std::path::Path;

use axo_session::Session;
use axo_session::agent::proto::files::How;
use serde_json::{Map, Value};

use crate::site::{says, site};

const EPERM: i64 = 1;
const EACCES: i64 = 13;
const ENOSYS: i64 = 38;

/// The hostile program, built by a compiler of this host; or the one that `AXO_NATIVE_PROBE` names.
#[expect(clippy::disallowed_methods, reason = "a compiler makes the program")]
fn probe(directory: &Path) -> Vec<u8> {
    if let Some(built) = std::env::var_os("AXO_NATIVE_PROBE") {
        return std::fs::read(built).unwrap();
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../testkit/probe/build.sh");
    let program = directory.join("probe");
    let built = std::process::Command::new("sh")
        .args([script, "native"])
        .arg(&program)
        .status();
    assert!(
        built.is_ok_and(|built| built.success()),
        "the native probe was not built: apt-get install gcc libc6-dev"
    );
    std::fs::read(program).unwrap()
}

/// What each attempt of an operation came to: 0, or why the kernel refused it.
async fn attempts(session: &Session, operation: &str) -> Map<String, Value> {
    // It runs as a tool only.
    let command = format!("echo '{{\"op\":\"{operation}\"}}' | AXOCOATL_CALL_ID=test /tmp/probe");
    let said = says(session, &command).await;
    let found: Value = serde_json::from_str(&said).unwrap();
    found.as_object().expect("an object of attempts").clone()
}

#[tokio::test]
async fn what_leads_out_of_a_session_is_refused_call_by_call() {
    let site = site();
    let sessions = site.sessions();
    let program = probe(site.path());
    let session = site.session(&sessions).await;
    session
        .files("/tmp")
        .unwrap()
        .write("probe", How::Replace, Some(0o755), &mut &program[..])
        .await
        .unwrap();
    let mut allowed = Vec::new();
    let mut tried = 0;
    for operation in ["kernel_calls", "userns", "keyring", "peers"] {
        for (call, errno) in attempts(&session, operation).await {
            // Its own number, and lists of the processes it sees: the session's own.
            let Some(errno) = errno.as_i64().filter(|_| call != "pid") else {
                continue;
            };
            tried += 1;
            if ![EPERM, EACCES, ENOSYS].contains(&errno) {
                allowed.push(format!("{operation}: {call}: {errno}"));
            }
        }
    }
    assert!(tried > 60, "{tried} calls were tried");
    assert!(allowed.is_empty(), "{allowed:#?}");
    // No door of the host's devices.
    let doors = says(
        &session,
        "for d in kvm fuse mem kmsg vda sda loop0 net/tun; do [ ! -e /dev/$d ] || echo $d; done",
    )
    .await;
    assert_eq!(doors, "");
}
