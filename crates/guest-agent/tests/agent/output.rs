//! What is retained, replayed, held back and lost.

use std::thread::sleep;
use std::time::Duration;

use axo_guest_proto::{
    Attach, Code, Kind, Lifetime, Position, ProcessId, Reply, Request, Start, Status,
};

use crate::support::{Agent, Client, code, detached, noise, runs, shell, until};

fn attach(process: ProcessId, from: Position) -> Attach {
    Attach {
        process,
        from,
        follow: true,
        steer: false,
        lossless: false,
    }
}

/// A connection that has heard where it begins: offset and loss.
fn attached(agent: &Agent, attach: Attach) -> (Client, u64, u64) {
    let mut client = agent.ask(&Request::Attach(attach));
    match client.reply() {
        Reply::Attached { offset, lost, .. } => (client, offset, lost),
        other => panic!("{other:?}"),
    }
}

#[test]
fn fifty_megabytes_come_out_as_they_went_in() {
    let agent = Agent::new();
    let made = agent.directory.path().join("bytes");
    let bytes = noise(50 << 20);
    std::fs::write(&made, &bytes).unwrap();
    let ran = agent.run(&format!("cat {}", made.display()));
    assert!(ran.stdout == bytes && ran.lost == 0 && ran.stderr.is_empty());
    assert_eq!(ran.exited.status, code(0));
}

#[test]
fn a_slow_client_loses_nothing_and_costs_little() {
    let agent = Agent::new();
    let client = agent.start(shell("yes | head -c 30000000"));
    sleep(Duration::from_millis(500));
    let status = std::fs::read_to_string(format!("/proc/{}/status", agent.child.id())).unwrap();
    let resident: u64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap();
    assert!(resident < 20 << 10, "{resident} KiB");
    let ran = client.finish();
    assert_eq!((ran.stdout.len(), ran.lost), (30_000_000, 0));
}

#[test]
fn output_is_replayed_from_where_it_is_asked_for() {
    let agent = Agent::new();
    let gate = agent.directory.path().join("gate");
    let script = format!(
        "echo one; echo two; echo three; until [ -e {} ]; do sleep 0.01; done; echo four; exit 3",
        gate.display()
    );
    let process = agent.start(detached(&script)).process;
    until(|| attached(&agent, attach(process, Position::End)).1 == 14);

    // What there is, and no more.
    let (mut client, offset, lost) = attached(
        &agent,
        Attach {
            follow: false,
            ..attach(process, Position::Start)
        },
    );
    assert_eq!((offset, lost), (0, 0));
    let (out, _, lost, last) = client.gather();
    assert_eq!((out.as_slice(), lost), (&b"one\ntwo\nthree\n"[..], 0));
    assert_eq!(last, Reply::Done);

    let (middle, offset, _) = attached(&agent, attach(process, Position::Offset(8)));
    assert_eq!(offset, 8);
    let (end, _, _) = attached(&agent, attach(process, Position::End));
    std::fs::write(gate, "").unwrap();
    assert_eq!(middle.finish().out(), "three\nfour");
    assert_eq!(end.finish().out(), "four");

    // And after its end.
    let (client, offset, _) = attached(&agent, attach(process, Position::Offset(1000)));
    assert_eq!(offset, 19);
    assert_eq!(client.finish().exited.status, code(3));
    let (client, _, _) = attached(&agent, attach(process, Position::Start));
    assert_eq!(client.finish().out(), "one\ntwo\nthree\nfour");
}

#[test]
fn the_oldest_output_is_lost_and_told() {
    let agent = Agent::new();
    let process = agent
        .start(Start {
            retain: 64 << 10,
            ..detached("seq 1 100000")
        })
        .process;
    until(
        || matches!(agent.ask(&Request::Attach(attach(process, Position::End))).finish_if_over(), Some(status) if status == code(0)),
    );
    let whole: String = (1..=100_000).map(|number| format!("{number}\n")).collect();
    let (client, offset, lost) = attached(&agent, attach(process, Position::Offset(10)));
    assert_eq!(lost, offset - 10);
    assert!(whole.len() - usize::try_from(offset).unwrap() <= 64 << 10);
    let ran = client.finish();
    assert_eq!(
        ran.stdout,
        &whole.as_bytes()[usize::try_from(offset).unwrap()..]
    );
}

#[test]
fn a_client_that_may_lose_is_told_how_much() {
    let agent = Agent::new();
    let gate = agent.directory.path().join("gate");
    let script = format!(
        "until [ -e {0} ]; do sleep 0.01; done; yes | head -c 20000000; echo; echo last",
        gate.display()
    );
    let process = agent.start(detached(&script)).process;
    let (client, _, _) = attached(&agent, attach(process, Position::Start));
    std::fs::write(gate, "").unwrap();
    // It takes nothing until the process has ended.
    until(|| {
        agent
            .ask(&Request::Attach(attach(process, Position::End)))
            .finish_if_over()
            .is_some()
    });
    let ran = client.finish();
    assert!(ran.lost > 0);
    assert_eq!(ran.stdout.len() as u64 + ran.lost, 20_000_006);
    assert!(ran.stdout.ends_with(b"\nlast\n"));
}

#[test]
fn a_lossless_client_holds_the_process_back() {
    let agent = Agent::new();
    let gate = agent.directory.path().join("gate");
    let script = format!(
        "until [ -e {0} ]; do sleep 0.01; done; yes | head -c 20000000",
        gate.display()
    );
    let process = agent
        .start(Start {
            retain: 64 << 10,
            ..detached(&script)
        })
        .process;
    let (client, _, _) = attached(
        &agent,
        Attach {
            lossless: true,
            ..attach(process, Position::Start)
        },
    );
    std::fs::write(gate, "").unwrap();
    sleep(Duration::from_millis(300));
    let ran = client.finish();
    assert_eq!((ran.stdout.len(), ran.lost), (20_000_000, 0));
    // One that goes away holds nothing back.
    let process = agent
        .start(Start {
            retain: 64 << 10,
            ..detached("sleep 0.1; yes | head -c 5000000")
        })
        .process;
    let (held, _, _) = attached(
        &agent,
        Attach {
            lossless: true,
            ..attach(process, Position::Start)
        },
    );
    sleep(Duration::from_millis(500));
    drop(held);
    until(|| {
        agent
            .ask(&Request::Attach(attach(process, Position::End)))
            .finish_if_over()
            .is_some()
    });
}

#[test]
fn an_attached_client_can_steer() {
    let agent = Agent::new();
    let process = agent
        .start(Start {
            input: true,
            ..detached("while read line; do echo got $line; done; echo end")
        })
        .process;
    let steering = Attach {
        steer: true,
        ..attach(process, Position::Start)
    };
    let (mut first, _, _) = attached(&agent, steering.clone());
    first.send(Kind::Input, b"one\n");
    first.until_output("got one");
    drop(first);
    let (mut second, _, _) = attached(
        &agent,
        Attach {
            from: Position::End,
            ..steering
        },
    );
    second.send(Kind::Input, b"two\n");
    second.until_output("got two");
    second.send(Kind::Input, b"");
    assert_eq!(second.finish().out(), "end");

    let process = agent.start(detached("sleep 1000")).process;
    let (mut silent, _, _) = attached(&agent, attach(process, Position::Start));
    silent.send(Kind::Input, b"x");
    assert!(matches!(silent.reply(), Reply::Failed(failure) if failure.code == Code::Invalid));
    agent.done(&Request::Signal { process, signal: 9 });
}

#[test]
fn endless_output_stops_nobody_else() {
    let agent = Agent::new();
    let flood = agent.start(detached("exec yes"));
    let followed = agent.start(shell("exec yes"));
    for _ in 0..20 {
        assert_eq!(agent.run("echo still").out(), "still");
    }
    let pid = followed.pid;
    drop(followed);
    until(|| !runs(pid));
    let process = flood.process;
    agent.done(&Request::Signal { process, signal: 9 });
}

#[test]
fn what_descendants_write_is_retained() {
    let agent = Agent::new();
    let script = "(sleep 0.3; echo late) & echo early";
    let process = agent
        .start(Start {
            lifetime: Lifetime::Detached,
            ..detached(script)
        })
        .process;
    let (client, _, _) = attached(&agent, attach(process, Position::Start));
    assert_eq!(client.finish().out(), "early");
    until(|| {
        let (client, _, _) = attached(&agent, attach(process, Position::Start));
        client.finish().out() == "early\nlate"
    });
}

#[test]
fn all_output_together_is_bounded() {
    let agent = Agent::new();
    let big = Start {
        retain: 48 << 20,
        ..detached("yes | head -c 40000000")
    };
    let processes: Vec<_> = (0..3).map(|_| agent.start(big.clone()).process).collect();
    for process in &processes {
        until(|| {
            agent
                .ask(&Request::Attach(attach(*process, Position::End)))
                .finish_if_over()
                .is_some()
        });
    }
    let Reply::Metrics(metrics) = agent.answer(&Request::Metrics { path: Vec::new() }) else {
        panic!()
    };
    assert!(metrics.retained <= 64 << 20, "{metrics:?}");
    assert_eq!((metrics.running, metrics.ended), (0, 3));
    for process in processes {
        agent.done(&Request::Forget { process });
    }
    let Reply::Metrics(metrics) = agent.answer(&Request::Metrics {
        path: b"/tmp".to_vec(),
    }) else {
        panic!()
    };
    assert_eq!(metrics.retained, 0);
    assert!(metrics.disk.unwrap().total > 0 && metrics.connections >= 1);
}

#[test]
fn the_oldest_ends_are_forgotten() {
    let agent = Agent::new();
    let started: Vec<_> = (0..300)
        .map(|_| agent.start(detached("exit 4")).process)
        .collect();
    until(|| {
        let Reply::Metrics(metrics) = agent.answer(&Request::Metrics { path: Vec::new() }) else {
            panic!()
        };
        (metrics.running, metrics.ended) == (0, 256)
    });
    let last = attached(&agent, attach(started[299], Position::Start))
        .0
        .finish();
    assert_eq!(last.exited.status, Status::Code(4));
}

impl Client {
    /// The status, if the process that is attached to has ended.
    fn finish_if_over(mut self) -> Option<Status> {
        let Reply::Attached { info, .. } = self.reply() else {
            panic!()
        };
        match info.state {
            axo_guest_proto::State::Running => None,
            axo_guest_proto::State::Exited(exited) => Some(exited.status),
        }
    }
}
