//! Processes with a terminal.

use axo_guest_proto::{Code, Kind, Request, Size, Start, Status, Steering};

use crate::support::{Agent, code, detached, shell, until};

fn on_terminal(script: &str) -> Start {
    Start {
        terminal: Some(Size {
            rows: 33,
            columns: 77,
        }),
        ..shell(script)
    }
}

#[test]
fn a_terminal_is_one_and_has_its_size() {
    let agent = Agent::new();
    let ran = agent.start(on_terminal("test -t 0 && test -t 1 && test -t 2 && echo yes; stty size; exec >/dev/tty; echo controlled; exit 5")).finish();
    assert_eq!(ran.out().replace('\r', ""), "yes\n33 77\ncontrolled");
    assert_eq!(ran.exited.status, code(5));
    assert!(ran.stderr.is_empty());
}

#[test]
fn a_terminal_is_resized_and_typed_into() {
    let agent = Agent::new();
    // A signal with a trap may end a `read`, which then reads again.
    let script = "trap 'stty size' WINCH; echo ready; read line || read line; echo got $line; \
                  cat >/dev/null; echo over";
    let mut client = agent.start(on_terminal(script));
    client.until_output("ready");
    client.steer(&Steering::Resize(Size {
        rows: 11,
        columns: 22,
    }));
    client.send(Kind::Input, b"word\n");
    let said = client.until_output("got word");
    assert!(said.contains("11 22"), "{said}");
    // An end of input is what the user of a terminal types for it.
    client.send(Kind::Input, b"");
    client.until_output("over");
    assert_eq!(client.finish().exited.status, code(0));
}

#[test]
fn an_interrupt_is_typed() {
    let agent = Agent::new();
    let mut client = agent.start(on_terminal("echo ready; exec sleep 1000"));
    client.until_output("ready");
    client.send(Kind::Input, b"\x03");
    assert_eq!(client.finish().exited.status, Status::Signal(2));
}

#[test]
fn all_that_was_written_to_a_terminal_is_told() {
    let agent = Agent::new();
    for _ in 0..20 {
        let ran = agent.start(on_terminal("seq 1 2000")).finish();
        assert_eq!(ran.out().lines().count(), 2000);
        assert!(ran.out().ends_with("2000"));
    }
}

#[test]
fn what_has_no_terminal_is_not_resized() {
    let agent = Agent::new();
    let process = agent.start(detached("sleep 1000")).process;
    let size = Size {
        rows: 1,
        columns: 1,
    };
    assert_eq!(
        agent.fails(&Request::Resize { process, size }).code,
        Code::NoTerminal
    );
    let with = agent.start(Start {
        terminal: Some(size),
        ..detached("sleep 1000")
    });
    agent.done(&Request::Resize {
        process: with.process,
        size: Size {
            rows: 2,
            columns: 3,
        },
    });
    agent.done(&Request::Signal {
        process: with.process,
        signal: 1,
    });
    until(|| !crate::support::runs(with.pid));
}
