//! A tool in a container, by way of the agent: the real runner, with a root file system of BusyBox.
//! Needs root, as in the machine that the agent is the first process of.

use std::fs;
use std::time::{Duration, Instant};

use axo_guest_proto::{Code, Kind, PrepareTool, Renew, Reply, Request, Stopped};
use axo_runner::{Launch, OutputFound, Status};

use crate::machine::{LONG, Machine, give, prepare, request, run_request, site};
use crate::support::{Agent, Frame, PROGRAM, code, command, is_clean, noise, runs, until};

#[test]
fn a_tool_is_prepared_and_run() {
    let machine = Machine::new();
    machine.prepare();
    let script = "cat; echo log >&2; cat /axocoatl/input.json > /axocoatl/output.json; exit 3";
    let ran = machine.ran(script, b"{\"a\": 1}");
    assert_eq!(ran.stdout, b"{\"a\": 1}");
    assert_eq!(ran.stderr, b"log\n");
    assert_eq!(ran.exited.status, Status::Exited(3));
    assert_eq!(ran.exited.output, OutputFound::Opened);
    assert_eq!((ran.ended.stopped, ran.ended.output), (None, Some(8)));
    assert_eq!(ran.file, b"{\"a\": 1}");
    // Nothing of it is left.
    until(|| machine.runners().is_empty());
}

#[test]
fn a_long_input_comes_through_and_one_that_does_not_fit_is_refused() {
    let machine = Machine::new();
    machine.prepare();
    let input = noise(1 << 20);
    let ran = machine.run("cat", &input, (2 << 20, LONG)).finish();
    assert!(ran.stdout == input, "{} bytes", ran.stdout.len());

    let machine = Machine::new();
    machine.prepare();
    let mut client = machine.agent.ask(&run_request("cat", (1 << 20, LONG)));
    // More than the container has room for, and the stage beside it.
    let mut sent = 0;
    while sent < 8 << 20 {
        let frame = axo_guest_proto::encode(Kind::Input, &input[..1 << 16]).unwrap();
        if std::io::Write::write_all(&mut client.stream, &frame).is_err() {
            break;
        }
        sent += 1 << 16;
    }
    let Reply::Failed(failure) = client.reply() else {
        panic!()
    };
    assert_eq!(failure.code, Code::NoSpace, "{failure}");
    until(|| machine.runners().is_empty());
}

#[test]
fn a_flood_is_stopped_at_its_limit_and_what_came_before_is_kept() {
    for script in ["yes", "yes >&2", "trap '' TERM PIPE; yes; sleep 1000"] {
        let machine = Machine::new();
        machine.prepare();
        let ran = machine.run(script, b"", (100_001, LONG)).finish();
        assert_eq!(ran.ended.stopped, Some(Stopped::OutputLimit), "{script}");
        assert_eq!(ran.exited.status, Status::Signaled(9));
        let (kept, other) = match script {
            "yes >&2" => (ran.stderr, ran.stdout),
            _ => (ran.stdout, ran.stderr),
        };
        assert_eq!((kept.len(), other.len()), (100_001, 0), "{script}");
        assert!(kept.starts_with(b"y\ny\n"));
    }
}

#[test]
fn output_up_to_the_limit_is_no_flood_and_one_byte_more_is() {
    for (bytes, stopped) in [(5000, None), (5001, Some(Stopped::OutputLimit))] {
        let machine = Machine::new();
        machine.prepare();
        // Its end may be heard before its last bytes are.
        let script = format!("head -c {bytes} /dev/zero");
        let ran = machine.run(&script, b"", (5000, LONG)).finish();
        assert_eq!(ran.ended.stopped, stopped, "{bytes}");
        assert_eq!(ran.stdout.len(), 5000);
    }
}

#[test]
fn a_tool_is_killed_at_its_time_whoever_reads_what_it_writes() {
    let machine = Machine::new();
    machine.prepare();
    let begun = Instant::now();
    let wall = Duration::from_millis(600);
    let ran = machine
        .run("echo begun; sleep 1000", b"", (1 << 20, wall))
        .finish();
    assert!(begun.elapsed() >= wall);
    assert_eq!(ran.ended.stopped, Some(Stopped::TimedOut));
    assert_eq!(ran.exited.status, Status::Signaled(9));
    assert_eq!(ran.stdout, b"begun\n");

    // A host that takes nothing holds up what is told, not the end of the tool.
    let machine = Machine::new();
    machine.prepare();
    let run = machine.run("yes", b"", (64 << 20, wall));
    let runners = machine.runners();
    assert!(!runners.is_empty());
    until(|| {
        machine
            .runners()
            .iter()
            .all(|runner| children(*runner).is_empty())
    });
    let ran = run.finish();
    assert_eq!(ran.ended.stopped, Some(Stopped::TimedOut));
}

fn children(pid: i32) -> String {
    fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default()
}

#[test]
fn an_output_file_above_the_limit_is_announced_and_not_sent() {
    for (bytes, sent) in [(5000, 5000), (5001, 0), (4 << 20, 0)] {
        let machine = Machine::new();
        machine.prepare();
        let script = format!("head -c {bytes} /dev/zero > /axocoatl/output.json");
        let ran = machine.run(&script, b"", (5000, LONG)).finish();
        assert_eq!(ran.ended.output, Some(bytes));
        assert_eq!(ran.file.len(), sent);
        assert_eq!(ran.ended.stopped, None);
    }
    let machine = Machine::new();
    machine.prepare();
    let ran = machine.ran("busybox ln -s /etc/passwd /axocoatl/output.json", b"");
    assert!(matches!(ran.exited.output, OutputFound::Refused(_)));
    assert_eq!((ran.ended.output, ran.file.len()), (None, 0));
}

#[test]
fn a_tool_has_ended_when_its_first_process_has() {
    for (script, status) in [
        ("exec >&- 2>&-; sleep 0.2; exit 5", 5),
        ("sleep 1000 & echo left; exit 6", 6),
    ] {
        let machine = Machine::new();
        machine.prepare();
        let begun = Instant::now();
        let ran = machine.ran(script, b"");
        assert_eq!(ran.exited.status, Status::Exited(status));
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "it was waited for"
        );
        assert_eq!(ran.stdout, if status == 6 { &b"left\n"[..] } else { b"" });
    }
}

#[test]
fn a_machine_has_one_tool() {
    let machine = Machine::new();
    let absent = machine.agent.fails(&run_request("true", (1, LONG)));
    assert_eq!(absent.code, Code::NoTool, "{absent}");
    machine.prepare();
    let second = machine.agent.fails(&machine.prepare_request());
    assert_eq!(second.code, Code::Exists, "{second}");
    assert_eq!(machine.ran("exit 0", b"").exited.status, Status::Exited(0));
    let again = machine.agent.fails(&run_request("true", (1, LONG)));
    assert_eq!(again.code, Code::NoTool, "{again}");
    let second = machine.agent.fails(&machine.prepare_request());
    assert_eq!(second.code, Code::Exists, "{second}");
}

#[test]
fn a_prepared_tool_needs_no_connection() {
    let machine = Machine::new();
    let mut client = machine.agent.ask(&machine.prepare_request());
    assert_eq!(client.reply(), Reply::Done);
    assert!(client.is_closed());
    // Others come and go.
    for _ in 0..20 {
        drop(machine.agent.stream());
        assert_eq!(machine.agent.run("exit 1").exited.status, code(1));
    }
    let runners = machine.runners();
    assert_eq!(runners.len(), 1);
    assert_eq!(machine.ran("echo here", b"").stdout, b"here\n");
}

#[test]
fn a_tool_ends_with_its_host() {
    // While it runs, while it is told, while it is given its input, and while it is prepared.
    let machine = Machine::new();
    machine.prepare();
    let mut run = machine.run("echo runs; sleep 1000", b"", (1 << 20, LONG));
    assert!(matches!(run.0.next(), Some(Frame::Output(_))));
    assert!(!machine.runners().is_empty());
    drop(run);
    until(|| machine.runners().is_empty());

    let machine = Machine::new();
    machine.prepare();
    drop(machine.run("yes", b"", (u64::MAX, LONG)));
    until(|| machine.runners().is_empty());

    let machine = Machine::new();
    machine.prepare();
    let mut client = machine.agent.ask(&run_request("cat", (1 << 20, LONG)));
    client.send(Kind::Input, b"half of");
    drop(client);
    until(|| machine.runners().is_empty());
    let gone = machine.agent.fails(&run_request("cat", (1 << 20, LONG)));
    assert_eq!(gone.code, Code::NoTool, "{gone}");

    // This one never answers.
    let machine = Machine::new();
    machine.replace_runner("exec cat");
    let client = machine.agent.ask(&machine.prepare_request());
    until(|| !machine.runners().is_empty());
    drop(client);
    until(|| machine.runners().is_empty());
}

#[test]
fn a_prepared_tool_ends_with_the_agent() {
    let mut machine = Machine::new();
    machine.prepare();
    let runners = machine.runners();
    assert_eq!(runners.len(), 1);
    machine
        .agent
        .done(&Request::Shutdown { grace_millis: 5000 });
    let begun = Instant::now();
    let (status, said) = machine.agent.ended();
    assert!(is_clean(status), "{said}");
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "it was waited for"
    );
    assert!(!runs(runners[0]));
}

#[test]
fn a_tool_has_its_own_files() {
    let site = site();
    let files = site
        .path()
        .join("files")
        .into_os_string()
        .into_string()
        .unwrap();
    let machine = Machine::with(&["--files", &files]);
    machine
        .agent
        .done(&request(&prepare(&machine.id, &["/tool"]), true));
    assert_eq!(machine.ran("cat /tool/own.txt", b"").stdout, b"of its own");

    let machine = Machine::new();
    let absent = machine
        .agent
        .fails(&request(&prepare(&machine.id, &["/tool"]), true));
    assert_eq!(absent.code, Code::NotFound, "{absent}");
}

#[test]
fn what_cannot_be_made_or_executed_is_told() {
    let machine = Machine::new();
    let mut impossible = prepare(&machine.id, &[]);
    impossible.config = "{}".to_owned();
    let failure = machine.agent.fails(&request(&impossible, false));
    assert_eq!(failure.code, Code::NoContainer, "{failure}");
    until(|| machine.runners().is_empty());

    let machine = Machine::new();
    machine.prepare();
    let mut request = run_request("true", (1, LONG));
    if let Request::RunTool(run) = &mut request {
        let launch = Launch {
            program: "/bin/absent".to_owned(),
            args: vec!["absent".to_owned()],
            env: Vec::new(),
        };
        run.launch = serde_json::to_vec(&launch).unwrap();
    }
    let mut client = machine.agent.ask(&request);
    give(&mut client, b"");
    let Reply::Failed(failure) = client.reply() else {
        panic!()
    };
    assert_eq!(failure.code, Code::NotExecutable, "{failure}");
    assert!(failure.message.contains("/bin/absent"), "{failure}");

    // What is no message of the runner's costs no tool.
    let machine = Machine::new();
    let garbage = |prepare: &[u8]| {
        Request::PrepareTool(PrepareTool {
            prepare: prepare.to_vec(),
            files: false,
            ahead: b"/bin/sh".to_vec(),
        })
    };
    for bytes in [&b""[..], b"{}", b"[[[[", &[b'['; 10_000], &[0xff; 64]] {
        let failure = machine.agent.fails(&garbage(bytes));
        assert_eq!(failure.code, Code::Invalid, "{failure}");
    }
    machine.prepare();
}

#[test]
fn a_runner_that_is_gone_is_told() {
    let machine = Machine::new();
    machine.prepare();
    let runner = rustix::process::Pid::from_raw(machine.runners()[0]).unwrap();
    rustix::process::kill_process(runner, rustix::process::Signal::KILL).unwrap();
    until(|| machine.runners().is_empty());
    let mut client = machine.agent.ask(&run_request("true", (1, LONG)));
    give(&mut client, b"");
    let Reply::Failed(failure) = client.reply() else {
        panic!()
    };
    assert_eq!(failure.code, Code::NoContainer, "{failure}");

    // One that answers what is no answer, or not to this.
    for answer in ["{", "{\"Exited\": {}}", "\"Started\""] {
        let machine = Machine::new();
        machine.replace_runner(&format!("printf '%s' '{answer}' >&0; exec cat"));
        let failure = machine.agent.fails(&machine.prepare_request());
        assert_eq!(failure.code, Code::NoContainer, "{failure}");
        until(|| machine.runners().is_empty());
    }

    // One that is not there at all.
    let machine = Machine::new();
    fs::remove_file(machine.site.path().join("runner")).unwrap();
    let failure = machine.agent.fails(&machine.prepare_request());
    assert_eq!(failure.code, Code::NoContainer, "{failure}");
}

#[test]
fn only_an_agent_that_has_a_runner_runs_tools_and_only_a_machine_is_renewed() {
    let agent = Agent::new();
    let failure = agent.fails(&request(&prepare("id", &[]), false));
    assert_eq!(failure.code, Code::Denied, "{failure}");
    let clock = || std::time::SystemTime::now();
    let before = clock();
    let failure = agent.fails(&Request::Renew(Renew {
        now_nanos: 1,
        seed: vec![0; Renew::SEED_BYTES],
    }));
    assert_eq!(failure.code, Code::Denied, "{failure}");
    assert!(clock() >= before);
}

#[test]
fn nobody_but_a_first_process_is_init() {
    let ended = command(PROGRAM).arg("init").output().unwrap();
    assert_eq!(ended.status.code(), Some(2));
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(said.contains("first process of a machine"), "{said}");
}
