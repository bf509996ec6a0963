//! `session`: a sandbox that stays, over real podman.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::containers::{IMAGE, import};
use crate::ended::Ended;
use crate::process::{Running, wait_for};
use crate::support::Home;
use crate::terminal::{is_neutralised, on_terminal};

/// A home with a session, which ends with it.
pub(crate) struct Site {
    pub(crate) home: Home,
}

/// What the session is called.
pub(crate) const NAME: &str = "work";

impl Site {
    pub(crate) fn with(options: &[&str]) -> Self {
        let site = Self { home: Home::new() };
        import(&site.home);
        let create = ["session", "create", "--image", IMAGE, "--name", NAME];
        let made = site.home.axocoatl(&[&create[..], options].concat());
        assert_eq!(made.succeeds().out(), format!("{NAME}\n"));
        site
    }

    pub(crate) fn new() -> Self {
        Self::with(&[])
    }

    /// `session exec` of a command.
    #[track_caller]
    pub(crate) fn exec(&self, command: &[&str]) -> Ended {
        self.home
            .axocoatl(&[&["session", "exec", NAME, "--"], command].concat())
    }

    #[track_caller]
    fn session(&self, arguments: &[&str]) -> Ended {
        self.home.axocoatl(&[&["session"], arguments].concat())
    }

    fn processes(&self) -> Vec<Value> {
        let told = self.session(&["ps", NAME, "--json"]).succeeds().json();
        told["processes"].as_array().unwrap().clone()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.session(&["rm", NAME]).succeeds();
        } else {
            self.session(&["rm", NAME]);
        }
    }
}

#[test]
fn a_command_has_our_streams_and_its_status_is_ours() {
    let site = Site::new();
    site.exec(&["sh", "-c", "echo out; echo err >&2; exit 3"])
        .exits(3, &["err"]);
    let said = site.exec(&["echo", "out"]).succeeds_silently();
    assert_eq!(said.out(), "out\n");
    // More than every buffer on the way holds: it comes back while it goes.
    let bytes: Vec<u8> = (0..=255).collect::<Vec<u8>>().repeat(40_960);
    let cat = site.home.command(&["session", "exec", NAME, "--", "cat"]);
    let back = Running::start(cat, &bytes).end().succeeds();
    assert!(back.stdout == bytes);
    site.exec(&["sh", "-c", "kill -9 $$"]).exits(137, &[]);
    site.exec(&["absent"]).exits(127, &["absent"]);
    // Too much for a request is our mistake and not the session's.
    let long = ["x"; 3].map(|x| x.repeat(100_000));
    site.exec(&["echo", &long[0], &long[1], &long[2]])
        .exits(2, &["cannot be asked"]);
    let retain = ["exec", "-d", "--retain", "1GiB", NAME, "--", "true"];
    site.session(&retain).exits(2, &["64 MiB"]);
    site.exec(&["/bin"]).exits(126, &["/bin"]);
    let late = ["exec", "--timeout", "200ms", NAME, "--", "sleep", "60"];
    site.session(&late).exits(124, &[]);
    let told = ["exec", "--json", NAME, "--", "sh", "-c", "echo a; exit 4"];
    let told = site.session(&told).exits(4, &[]).json();
    assert_eq!(
        (&told["stdout"], &told["exit_code"]),
        (&"a\n".into(), &4.into())
    );
    assert_eq!(told["cut"], false);
    let named = ["create", "--image", IMAGE, "--name", "Work"];
    site.session(&named).exits(2, &["a session's name has 'W'"]);
}

#[test]
fn escapes_in_what_a_session_writes_are_neutralised_on_a_terminal() {
    let site = Site::new();
    let script = r"busybox printf '\033[2J\033]0;owned\007'";
    let shown = "\\u001b[2J\\u001b]0;owned\\u0007";
    let exec = [
        "session",
        "exec",
        "--no-input",
        NAME,
        "--",
        "sh",
        "-c",
        script,
    ];
    is_neutralised(&on_terminal(&site.home, &exec), shown);
    let started = site.session(&["exec", "-d", NAME, "--", "sh", "-c", script]);
    let process = started.succeeds().out().trim().to_owned();
    let logs = ["session", "logs", "-f", NAME, &process];
    is_neutralised(&on_terminal(&site.home, &logs), shown);
    // Elsewhere every byte passes.
    let piped = site.exec(&["sh", "-c", script]).succeeds();
    assert_eq!(piped.stdout, b"\x1b[2J\x1b]0;owned\x07");
}

#[test]
fn an_interrupt_is_the_commands() {
    let site = Site::new();
    let script = "trap 'echo heard; exit 7' INT; echo waits; while :; do sleep 0.1; done";
    let command = ["session", "exec", NAME, "--", "sh", "-c", script];
    let mut running = site.home.start(&command);
    running.wait_for("the command in the session", || {
        let all = site.processes();
        all.iter()
            .any(|one| one["output_newest"].as_u64() > Some(0))
            .then_some(())
    });
    running.signal(Signal::INT);
    let ended = running.end().exits(7, &[]);
    assert_eq!(ended.out(), "waits\nheard\n");
}

/// A session's agent that is stopped, as one that hangs.
struct Stopped(Pid);

impl Stopped {
    fn agent_of(site: &Site) -> Self {
        let shown = site.session(&["show", "--json", NAME]).succeeds().json();
        let container = shown["container"].as_str().unwrap();
        let mut inspect = site.home.program("podman");
        inspect.args([
            "container",
            "inspect",
            "--format",
            "{{.State.Pid}}",
            container,
        ]);
        let pid = Running::start(inspect, b"").end().succeeds();
        let pid = Pid::from_raw(pid.out().trim().parse().unwrap()).unwrap();
        kill_process(pid, Signal::STOP).unwrap();
        Self(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::CONT);
    }
}

/// Starts `session exec` of a command that says so, and waits until it has.
fn start_sleeper(site: &Site, options: &[&str]) -> Running {
    let script = "trap '' INT; echo > /tmp/begun; sleep 600";
    let exec = [&["session", "exec"], options].concat();
    let running = site
        .home
        .start(&[&exec[..], &[NAME, "--", "sh", "-c", script]].concat());
    wait_for("the command in the session", || {
        let begun = site.exec(&["ls", "/tmp/begun"]);
        (begun.code() == Some(0)).then_some(())
    });
    running
}

#[test]
fn a_time_limit_is_kept_when_the_agent_says_nothing() {
    let site = Site::new();
    let running = start_sleeper(&site, &["--timeout", "6s"]);
    let stopped = Stopped::agent_of(&site);
    let ended = running.end_within(Duration::from_secs(30));
    ended.exits(
        124,
        &["has not said", "time limit of 6s", "session stop work"],
    );
    drop(stopped);
}

#[test]
fn a_second_interrupt_ends_us_whatever_the_agent_does() {
    let site = Site::new();
    let mut running = start_sleeper(&site, &[]);
    let stopped = Stopped::agent_of(&site);
    running.signal(Signal::INT);
    let first = Instant::now();
    // The first is the command's.
    running.wait_for("a moment", || {
        (first.elapsed() > Duration::from_millis(500)).then_some(())
    });
    running.signal(Signal::INT);
    running
        .end_within(Duration::from_secs(5))
        .exits(130, &["interrupted twice"]);
    drop(stopped);
    // An agent that can hear ends what nobody has any more.
    wait_for("the end of the command", || {
        let sleeps = |one: &Value| one["running"] == true;
        (!site.processes().iter().any(sleeps)).then_some(())
    });
}

#[test]
fn what_is_in_the_background_is_listed_heard_and_ended() {
    let site = Site::new();
    let script = "i=0; while [ $i -lt 20 ]; do echo line $i; i=$((i+1)); sleep 0.05; done";
    let started = site.session(&["exec", "-d", NAME, "--", "sh", "-c", script]);
    let process = started.succeeds().out().trim().to_owned();
    let heard = site.session(&["logs", "-f", NAME, &process]).succeeds();
    let lines: String = (0..20).map(|line| format!("line {line}\n")).collect();
    assert_eq!(heard.out(), lines);
    let told = site.session(&["logs", "--json", NAME, &process]);
    assert_eq!(told.succeeds().json()["stdout"], lines);
    let rest = site.session(&["logs", "--from", "7", NAME, &process]);
    assert_eq!(rest.succeeds().out(), &lines[7..]);

    let started = site.session(&["exec", "-d", "--json", NAME, "--", "sleep", "600"]);
    let sleeper = started.succeeds().json()["process"].to_string();
    let running = |id: &str| {
        let all = site.processes();
        let one = all
            .iter()
            .find(|one| one["process"].as_u64() == id.parse().ok());
        one.expect("it is not listed")["running"] == true
    };
    assert!(running(&sleeper) && !running(&process));
    site.session(&["kill", "--signal", "KILL", NAME, &sleeper])
        .succeeds();
    wait_for("the end of what was killed", || {
        (!running(&sleeper)).then_some(())
    });
    site.session(&["kill", NAME, "999999"])
        .exits(125, &["999999"]);
}

#[test]
fn files_and_directories_are_copied_both_ways() {
    let site = Site::new();
    let from = site.home.work().join("from");
    fs::create_dir_all(from.join("deep")).unwrap();
    fs::write(from.join("deep/run"), b"#!/bin/sh\necho ran\n").unwrap();
    fs::set_permissions(from.join("deep/run"), fs::Permissions::from_mode(0o755)).unwrap();
    site.session(&["cp", "from", "work:/tmp/there"]).succeeds();
    assert_eq!(
        site.exec(&["/tmp/there/deep/run"]).succeeds().out(),
        "ran\n"
    );
    site.exec(&["sh", "-c", "echo more > /tmp/there/more"])
        .succeeds();
    let told = site.session(&["cp", "--json", "work:/tmp/there", "back"]);
    let told = told.succeeds().json();
    assert_eq!(
        (&told["files"], &told["directories"]),
        (&2.into(), &2.into())
    );
    assert_eq!(
        fs::read(site.home.work().join("back/more")).unwrap(),
        b"more\n"
    );
    // Into a directory that is there; what is there is not written over.
    site.session(&["cp", "work:/tmp/there", "back"]).succeeds();
    assert!(site.home.work().join("back/there/more").is_file());
    site.session(&["cp", "work:/tmp/there", "back"])
        .exits(125, &["back/there"]);
    site.session(&["cp", "back/more", "work:/tmp"]).succeeds();
    assert_eq!(site.exec(&["cat", "/tmp/more"]).succeeds().out(), "more\n");
    site.session(&["cp", "work:/tmp/more", "."]).succeeds();
    assert!(site.home.work().join("more").is_file());
    site.session(&["cp", "work:/tmp/absent", "other"])
        .exits(125, &["/tmp/absent"]);
    site.session(&["cp", "from", "elsewhere"])
        .exits(2, &["SESSION:PATH"]);
}

#[test]
fn a_session_is_listed_shown_stopped_and_removed() {
    let site = Site::with(&["--label", "for=a test", "--memory", "300MiB"]);
    let all = site.session(&["ls", "--json"]).succeeds().json();
    assert_eq!(all["sessions"][0]["called"], NAME);
    assert_eq!(all["sessions"][0]["state"], "ready");
    let shown = site.session(&["show", NAME]).succeeds();
    for part in ["for=a test", "memory 300MiB", "ready"] {
        assert!(shown.out().contains(part), "{part}: {shown}");
    }
    let again = ["create", "--image", IMAGE, "--name", NAME];
    site.session(&again).exits(125, &[NAME]);

    site.session(&["stop", "--grace", "1s", NAME]).succeeds();
    let stopped = site.session(&["show", "--json", NAME]).succeeds().json();
    assert_eq!(stopped["state"], "stopped");
    // Its image stays as long as it is remembered, and who keeps it is said.
    let id = stopped["id"].as_str().unwrap();
    site.home
        .axocoatl(&["image", "rm", IMAGE])
        .exits(125, &["kept for session", id, "session rm"]);
    site.exec(&["true"])
        .exits(125, &["stopped", "session create"]);
    site.session(&["rm", NAME]).succeeds();
    site.session(&["show", NAME]).exits(127, &[NAME]);
    // Its name is free again.
    site.session(&again).succeeds();
}

/// A rule that is wrong now must not take away the way to end what runs.
#[test]
fn a_bad_policy_keeps_nobody_from_ending_a_session() {
    let site = Site::new();
    site.home.policy("broken = ");
    site.exec(&["echo"]).succeeds();
    let create = ["create", "--image", IMAGE, "--name", "other"];
    site.session(&create).exits(125, &["policy.toml"]);
    site.session(&["stop", "--grace", "1s", NAME]).succeeds();
}

/// As for tools, a default gives way to the policy, and what was asked for does not.
#[test]
fn defaults_are_lowered_to_the_ceilings_and_requests_are_refused() {
    let home = Home::new();
    import(&home);
    home.policy(
        "ceilings = { memory = \"64MiB\", cpu = 0.5, pids = 32, files = 128, disk = \"8MiB\" }\n",
    );
    let create = ["session", "create", "--image", IMAGE, "--name", NAME];
    home.axocoatl(&[&create[..], &["--memory", "65MiB"]].concat())
        .exits(126, &["memory = 65MiB", "ceiling of 64MiB"]);
    home.axocoatl(&[&create[..], &["--memory", "1KiB"]].concat())
        .exits(126, &["less than a session starts with", "16MiB"]);
    home.axocoatl(&create).succeeds();
    let site = Site { home };
    let limits = site.session(&["show", "--json", NAME]).succeeds().json()["limits"].take();
    assert_eq!(limits["memory"], 64 << 20);
    assert_eq!(limits["scratch"], 8 << 20);
    assert_eq!(
        (&limits["pids"], &limits["files"]),
        (&32.into(), &128.into())
    );
}

/// One that cannot be found does not keep the others.
#[test]
fn what_can_be_stopped_is_stopped_whatever_else_was_named() {
    let site = Site::new();
    let told = site
        .session(&["stop", "--json", "absent", NAME])
        .exits(127, &["absent"])
        .json();
    assert_eq!(told["stopped"][0], NAME);
    assert_eq!(told["failed"][0]["session"], "absent");
    let shown = site.session(&["show", "--json", NAME]).succeeds().json();
    assert_eq!(shown["state"], "stopped");
    site.session(&["rm", "absent", NAME])
        .exits(127, &["absent"]);
    site.session(&["show", NAME]).exits(127, &[NAME]);
    site.session(&["create", "--image", IMAGE, "--name", NAME])
        .succeeds();
}

#[test]
fn a_project_is_worked_on_in_its_own_directory() {
    let home = Home::new();
    fs::write(home.work().join("notes"), "from here\n").unwrap();
    import(&home);
    let create = [
        "session", "create", "--image", IMAGE, "--name", NAME, "--dir", ".",
    ];
    home.axocoatl(&create).succeeds();
    let site = Site { home };
    let said = site.exec(&["sh", "-c", "cat notes; echo from there >> notes; pwd"]);
    let work = site.home.work().canonicalize().unwrap();
    assert_eq!(
        said.succeeds().out(),
        format!("from here\n{}\n", work.display())
    );
    let notes = fs::read_to_string(work.join("notes")).unwrap();
    assert_eq!(notes, "from here\nfrom there\n");
}

/// What a project asks for and does not get is said, to people and to machines.
#[test]
fn what_of_a_devcontainer_is_not_used_is_said() {
    let home = Home::new();
    import(&home);
    let file = home.work().join("devcontainer.json");
    let text = format!(
        r#"{{"name": "x", "image": "{IMAGE}", "privileged": true, "runArgs": ["--pid=host"], "initializeCommand": "touch made"}}"#
    );
    fs::write(&file, text).unwrap();
    let create = [
        "session",
        "create",
        "--name",
        NAME,
        "--devcontainer",
        "devcontainer.json",
    ];
    let made = home
        .axocoatl(&[&create[..], &["--json"]].concat())
        .exits(0, &["not used: initializeCommand, privileged, runArgs"])
        .json();
    let site = Site { home };
    let told: Vec<_> = made["not_used"].as_array().unwrap().iter().collect();
    assert_eq!(told, ["initializeCommand", "privileged", "runArgs"]);
    assert!(!site.home.work().join("made").exists());

    let text = format!(r#"{{"image": "{IMAGE}", "containerEnv": {{"A": "${{localEnv:HOME}}"}}}}"#);
    fs::write(&file, text).unwrap();
    let create = [
        "create",
        "--name",
        "other",
        "--devcontainer",
        "devcontainer.json",
    ];
    site.session(&create).exits(
        2,
        &["devcontainer.json", "containerEnv.A has ${localEnv:HOME}"],
    );
}

#[test]
fn a_machine_that_cannot_be_had_is_refused_and_podman_does_not_stand_in() {
    let home = Home::new();
    import(&home);
    let create = ["session", "create", "--tier", "microvm", "--image", IMAGE];
    home.axocoatl(&create)
        .exits(126, &["tier microvm does not work here", "microvm setup"]);
    let bridge = [&create[..], &["--network", "bridge"]].concat();
    home.axocoatl(&bridge).exits(126, &["no network device"]);
    let listed = home
        .axocoatl(&["session", "ls", "--json"])
        .succeeds()
        .json();
    assert_eq!(listed["sessions"].as_array().unwrap().len(), 0);
}

#[test]
fn only_a_copy_of_a_directory_is_brought_back() {
    let site = Site::new();
    let shown = site.session(&["show", NAME, "--json"]).succeeds().json();
    assert_eq!(shown["tier"], "podman");
    site.session(&["sync", NAME]).exits(125, &["no copy"]);
}
