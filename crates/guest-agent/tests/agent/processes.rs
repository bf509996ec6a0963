//! Starting, limiting, signalling.

use std::io::Write as _;
use std::time::{Duration, Instant};

use axo_guest_proto::{
    Code, Kind, Lifetime, Limits, Reply, Request, Start, State, Status, Steering, User, encode,
};

use crate::support::{Agent, code, detached, exists, noise, runs, shell, until};

#[test]
fn output_and_exit_code_come_back() {
    let agent = Agent::new();
    let ran = agent.run("echo out; echo err >&2; exit 7");
    assert_eq!(
        (ran.out().as_str(), ran.stderr.as_slice()),
        ("out", &b"err\n"[..])
    );
    assert_eq!(ran.exited.status, code(7));
    assert!(ran.exited.usage.wall_micros > 0 && ran.exited.usage.peak_memory > 0);
    assert_eq!(agent.run("kill -9 $$").exited.status, Status::Signal(9));
}

#[test]
fn a_program_that_cannot_be_started_says_why() {
    let agent = Agent::new();
    let fails = |start: Start| agent.fails(&Request::Start(Box::new(start))).code;
    let program = |name: &str| Start {
        arguments: vec![name.into()],
        follow: true,
        ..Start::default()
    };
    assert_eq!(fails(program("no-such-program")), Code::NoProgram);
    assert_eq!(fails(program("/no/such/program")), Code::NoProgram);
    assert_eq!(fails(program("/etc/passwd")), Code::NotExecutable);
    let there = |directory: &str| Start {
        directory: directory.into(),
        ..program("true")
    };
    assert_eq!(fails(there("/no/such/directory")), Code::NoDirectory);
    assert_eq!(fails(there("/etc/passwd")), Code::NoDirectory);
}

#[test]
fn a_process_inherits_nothing() {
    let agent = Agent::new();
    let ran = agent.run("env | grep -v -e ^PWD= -e ^OLDPWD= -e ^SHLVL= -e ^_= | sort");
    assert_eq!(
        ran.out(),
        "HOME=/root\nPATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    );
    let ran = agent.start(Start {
        environment: vec![(b"PATH".to_vec(), b"/usr/bin:/bin".to_vec()), (b"A".to_vec(), b"x y".to_vec())],
        directory: b"/usr".to_vec(),
        ..shell("echo $PATH; echo $A; pwd; umask; ls /proc/self/fd; grep -e ^SigIgn -e ^SigBlk /proc/self/status; cut -d' ' -f5,6 /proc/$$/stat; echo $$")
    });
    let pid = ran.pid;
    let out = ran.finish().out();
    let lines: Vec<_> = out.lines().collect();
    assert_eq!(lines[..4], ["/usr/bin:/bin", "x y", "/usr", "0022"]);
    // 3 is the directory that ls lists.
    assert_eq!(lines[4..8], ["0", "1", "2", "3"]);
    for line in &lines[8..10] {
        let mask = u64::from_str_radix(line.split_once(":\t").unwrap().1, 16).unwrap();
        // Two above the named ones are the C library's, and nobody's to reset.
        assert_eq!(mask & 0x7fff_ffff, 0, "{out}");
    }
    // Process group and session are its own.
    assert_eq!(lines[10..], [format!("{pid} {pid}"), pid.to_string()]);
}

#[test]
fn a_user_is_become_or_the_start_refused() {
    let agent = Agent::new();
    let as_user = |script: &str| Start {
        user: Some(User {
            uid: 12345,
            gid: 23456,
            groups: vec![34567],
        }),
        ..shell(script)
    };
    let ran = agent
        .start(as_user("id -u; id -g; id -G; echo $HOME"))
        .finish();
    assert_eq!(ran.out(), "12345\n23456\n23456 34567\n/");
    let closed = agent.directory.path().join("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let start = Start {
        directory: closed.into_os_string().into_encoded_bytes(),
        ..as_user("true")
    };
    assert_eq!(
        agent.fails(&Request::Start(Box::new(start))).code,
        Code::NoDirectory
    );

    // An agent that may not.
    let agent = Agent::with(
        &[
            "setpriv",
            "--bounding-set=-setuid,-setgid",
            "--inh-caps=-setuid,-setgid",
        ],
        &[],
    );
    let failure = agent.fails(&Request::Start(Box::new(as_user("true"))));
    assert_eq!(failure.code, Code::NoUser, "{failure}");
    assert_eq!(agent.run("true").exited.status, code(0));
}

#[test]
fn limits_are_those_of_the_process() {
    let agent = Agent::new();
    let limited = |limits, script: &str| {
        agent
            .start(Start {
                limits,
                ..shell(script)
            })
            .finish()
    };
    let limits = Limits {
        files: Some(37),
        memory: Some(1 << 30),
        file_size: Some(4096 * 512),
        cpu_seconds: Some(20),
        ..Limits::default()
    };
    let ran = limited(limits, "ulimit -n; ulimit -v; ulimit -f; ulimit -t");
    assert_eq!(ran.out(), format!("37\n{}\n4096\n20", 1 << 20));
    let limits = Limits {
        cpu_seconds: Some(1),
        ..Limits::default()
    };
    let ran = limited(limits, "while :; do :; done");
    assert!(
        matches!(ran.exited.status, Status::Signal(9 | 24)),
        "{ran:?}"
    );
    assert!(!ran.exited.timed_out);
    assert!(ran.exited.usage.cpu_micros > 100_000, "{ran:?}");
}

#[test]
fn a_process_that_takes_too_long_is_killed_with_its_children() {
    let agent = Agent::new();
    let begun = Instant::now();
    let limits = Limits {
        wall_millis: Some(300),
        ..Limits::default()
    };
    let mut client = agent.start(Start {
        limits,
        ..shell("trap '' TERM INT HUP; sleep 1000 & echo $!; wait")
    });
    let child: i32 = client.until_output("\n").trim().parse().unwrap();
    let ran = client.finish();
    assert!(ran.exited.timed_out);
    assert_eq!(ran.exited.status, Status::Signal(9));
    assert!(begun.elapsed() >= Duration::from_millis(300));
    until(|| !runs(child));
}

#[test]
fn input_goes_in_and_ends() {
    let agent = Agent::new();
    let mut client = agent.start(Start {
        input: true,
        ..shell("read line; echo got $line; cat | wc -c")
    });
    client.send(Kind::Input, b"hello\n");
    client.until_output("got hello");
    client.send(Kind::Input, &[b'x'; 100_000]);
    client.send(Kind::Input, b"");
    assert_eq!(client.finish().out(), "100000");
    // Without input it is /dev/null, and sending some is a mistake.
    assert_eq!(agent.run("cat").exited.status, code(0));
    let mut client = agent.start(shell("sleep 1000"));
    client.send(Kind::Input, b"x");
    assert!(matches!(client.reply(), Reply::Failed(failure) if failure.code == Code::Invalid));
    until(|| !runs(client.pid));
}

#[test]
fn twenty_megabytes_go_through_a_process() {
    let agent = Agent::new();
    let client = agent.start(Start {
        input: true,
        ..shell("cat")
    });
    let sent = noise(20 << 20);
    let mut sender = client.stream.try_clone().unwrap();
    let bytes = sent.clone();
    let sending = std::thread::spawn(move || {
        for chunk in bytes.chunks(200_000).chain([&[][..]]) {
            let frame = axo_guest_proto::encode(Kind::Input, chunk).unwrap();
            std::io::Write::write_all(&mut sender, &frame).unwrap();
        }
    });
    let ran = client.finish();
    sending.join().unwrap();
    assert!(ran.stdout == sent && ran.lost == 0);
}

#[test]
fn a_process_that_does_not_read_takes_no_input() {
    let agent = Agent::new();
    // One that closes its input, and one that ends, are sent more than they can hold.
    for script in ["exec <&-; sleep 0.3; echo over", "sleep 0.3; echo over"] {
        let mut client = agent.start(Start {
            input: true,
            ..shell(script)
        });
        for _ in 0..20 {
            // It may have ended before the last.
            let frame = encode(Kind::Input, &[0; 10_000]).unwrap();
            let _ = client.stream.write_all(&frame);
        }
        assert_eq!(client.finish().out(), "over");
    }
    // One that never reads ends with its connection, though nobody reads from that.
    let mut client = agent.start(Start {
        input: true,
        ..shell("exec sleep 1000")
    });
    for _ in 0..10 {
        client.send(Kind::Input, &[0; 10_000]);
    }
    let pid = client.pid;
    drop(client);
    until(|| !runs(pid));
}

#[test]
fn an_attached_process_ends_with_its_connection() {
    let agent = Agent::new();
    for follow in [true, false] {
        let client = agent.start(Start {
            follow,
            ..shell("trap '' TERM HUP; sleep 1000 & sleep 1000")
        });
        let pid = client.pid;
        assert!(runs(pid));
        drop(client);
        until(|| !runs(pid));
    }
    // Half of a connection is as good as none.
    let client = agent.start(shell("sleep 1000"));
    client.stream.shutdown(std::net::Shutdown::Write).unwrap();
    until(|| !runs(client.pid));
}

#[test]
fn a_detached_process_outlives_its_connection() {
    let agent = Agent::new();
    let mut client = agent.start(Start {
        label: b"server".to_vec(),
        ..detached("sleep 1000")
    });
    assert!(client.is_closed());
    let Reply::Processes(listed) = agent.answer(&Request::Processes) else {
        panic!()
    };
    let info = &listed[0];
    assert_eq!(
        (info.process, info.pid, info.state),
        (client.process, client.pid, State::Running)
    );
    assert_eq!(
        (info.label.as_slice(), info.lifetime),
        (&b"server"[..], Lifetime::Detached)
    );
    assert_eq!(info.arguments, shell("sleep 1000").arguments);
    let process = client.process;
    assert_eq!(
        agent.fails(&Request::Forget { process }).code,
        Code::Running
    );
    agent.done(&Request::Signal {
        process,
        signal: 15,
    });
    until(|| {
        let Reply::Processes(listed) = agent.answer(&Request::Processes) else {
            panic!()
        };
        matches!(listed[0].state, State::Exited(exited) if exited.status == Status::Signal(15))
    });
    assert_eq!(
        agent
            .fails(&Request::Signal {
                process,
                signal: 15
            })
            .code,
        Code::Ended
    );
    agent.done(&Request::Forget { process });
    assert_eq!(
        agent.fails(&Request::Forget { process }).code,
        Code::NoProcess
    );
    assert_eq!(agent.answer(&Request::Processes), Reply::Done);
}

#[test]
fn a_signal_reaches_grandchildren() {
    let agent = Agent::new();
    let mut client = agent.start(shell("sh -c 'sleep 1000 & echo $!; wait' & wait"));
    let grandchild: i32 = client.until_output("\n").trim().parse().unwrap();
    assert!(runs(grandchild));
    client.steer(&Steering::Signal(15));
    assert_eq!(client.finish().exited.status, Status::Signal(15));
    until(|| !runs(grandchild));
}

#[test]
fn an_exit_does_not_wait_for_descendants() {
    let agent = Agent::new();
    let marker = agent.directory.path().join("marker");
    let script = format!(
        "(sleep 0.5; echo late; touch {0}) & echo early",
        marker.display()
    );
    let ran = agent.run(&script);
    assert_eq!(ran.out(), "early");
    // They live on, and can write.
    until(|| exists(&marker));
}

#[test]
fn five_hundred_processes_start_at_once() {
    let agent = Agent::new();
    let clients: Vec<_> = (0..500)
        .map(|number| {
            agent.ask(&Request::Start(Box::new(shell(&format!(
                "echo {number}; exit {}",
                number % 100
            )))))
        })
        .collect();
    for (number, mut client) in clients.into_iter().enumerate() {
        client.started();
        let ran = client.finish();
        assert_eq!(ran.out(), number.to_string());
        assert_eq!(
            ran.exited.status,
            code(i32::try_from(number % 100).unwrap())
        );
    }
    // Nothing of them is kept.
    until(|| agent.answer(&Request::Processes) == Reply::Done);
}
