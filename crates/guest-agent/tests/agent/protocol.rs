//! Clients that do not speak as they should.

use std::io::Write as _;
use std::thread::sleep;
use std::time::{Duration, Instant};

use axo_guest_proto::{Code, Hello, Kind, Message as _, Reply, Request, encode};

use crate::support::{Agent, code, read_frame};

/// What the agent says to these bytes, besides its hello, until it closes.
fn said_to(agent: &Agent, bytes: &[u8]) -> Vec<Reply> {
    let mut stream = agent.stream();
    let _ = stream.write_all(bytes);
    let mut replies = Vec::new();
    while let Some((kind, payload)) = read_frame(&mut stream) {
        if kind == Kind::Control {
            replies.push(Reply::from_payload(&payload).unwrap());
        }
    }
    replies
}

fn is_refused(agent: &Agent, bytes: &[u8], code: Code) {
    match &said_to(agent, bytes)[..] {
        [Reply::Failed(failure)] => assert_eq!(failure.code, code, "{failure}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn another_generation_is_told_ours() {
    let agent = Agent::new();
    let mut hello = Hello::new("test");
    hello.generation = 2;
    let mut stream = agent.stream();
    stream.write_all(&hello.to_frame().unwrap()).unwrap();
    let (kind, payload) = read_frame(&mut stream).unwrap();
    assert_eq!(kind, Kind::Hello);
    assert_eq!(Hello::from_payload(&payload).unwrap().generation, 1);
    is_refused(&agent, &hello.to_frame().unwrap(), Code::Generation);
}

#[test]
fn garbage_is_refused() {
    let agent = Agent::new();
    let hello = Hello::new("test").to_frame().unwrap();
    let after_hello = |bytes: &[u8]| [&hello, bytes].concat();
    // Lengths that lie, and nothing.
    is_refused(&agent, &[0xff; 5], Code::Invalid);
    is_refused(&agent, &[0, 0, 0, 0, 0], Code::Invalid);
    is_refused(&agent, &[0x00, 0x04, 0x00, 0x02, 0], Code::Invalid);
    // Frames of no kind, or not now.
    is_refused(&agent, &[0, 0, 0, 1, 9], Code::Invalid);
    is_refused(
        &agent,
        &Request::Processes.to_frame().unwrap(),
        Code::Invalid,
    );
    is_refused(&agent, &after_hello(&hello), Code::Invalid);
    // Messages that are none.
    is_refused(&agent, &encode(Kind::Hello, b"").unwrap(), Code::Invalid);
    is_refused(
        &agent,
        &after_hello(&encode(Kind::Control, &[99]).unwrap()),
        Code::Invalid,
    );
    is_refused(
        &agent,
        &after_hello(&encode(Kind::Control, &[2, 2]).unwrap()),
        Code::Invalid,
    );
    is_refused(
        &agent,
        &after_hello(&encode(Kind::Control, &[0xff; 1000]).unwrap()),
        Code::Invalid,
    );
    assert_eq!(agent.run("exit 1").exited.status, code(1));
}

#[test]
fn who_promises_bytes_and_sends_none_costs_none() {
    let agent = Agent::new();
    let promise = [0x00, 0x04, 0x00, 0x01, 0];
    let streams: Vec<_> = (0..500)
        .map(|_| {
            let mut stream = agent.stream();
            stream.write_all(&promise).unwrap();
            stream
        })
        .collect();
    assert_eq!(agent.run("exit 1").exited.status, code(1));
    let status = std::fs::read_to_string(format!("/proc/{}/status", agent.child.id())).unwrap();
    let resident = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    let resident: u64 = resident.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(resident < 40 << 10, "{resident} KiB");
    drop(streams);
}

#[test]
fn who_says_nothing_is_dropped() {
    let agent = Agent::new();
    let mut silent = agent.stream();
    let mut slow = agent.stream();
    let begun = Instant::now();
    let hello = Hello::new("test").to_frame().unwrap();
    for byte in &hello[..hello.len() - 1] {
        // One byte a second is not a request in time either.
        if slow.write_all(&[*byte]).is_err() {
            break;
        }
        sleep(Duration::from_secs(1));
    }
    assert!(read_frame(&mut silent).is_none());
    assert!(read_frame(&mut slow).is_none());
    assert!(begun.elapsed() >= Duration::from_secs(10));
}
