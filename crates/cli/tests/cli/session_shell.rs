//! `session shell`: a real terminal, driven through tmux.

use std::process::Command;
use std::time::Duration;

use crate::process::{Running, wait_for};
use crate::sessions::{NAME, Site};
use crate::support::{AXOCOATL, Home};

/// A terminal of tmux in which a command runs. Its server ends with it.
struct Terminal<'a> {
    home: &'a Home,
}

impl<'a> Terminal<'a> {
    /// Starts `axocoatl` with these arguments in a terminal of 80 columns and 24 rows, from a shell
    /// that says how it ended.
    fn start(home: &'a Home, arguments: &str) -> Self {
        let script = format!("{AXOCOATL} {arguments}; echo ended-$?-; cat");
        Self::start_script(home, &script)
    }

    /// The same with a script of the test's.
    fn start_script(home: &'a Home, script: &str) -> Self {
        let terminal = Self { home };
        let size = ["-x", "80", "-y", "24"];
        let arguments = [&["new-session", "-d"][..], &size, &["sh", "-c", script]].concat();
        // On a busy host tmux itself now and then fails to start.
        wait_for("a terminal of tmux", || {
            let started = Running::start(terminal.command(&arguments), b"").end();
            match started.err().contains("server exited unexpectedly") {
                true => None,
                false => Some(started.succeeds()),
            }
        });
        terminal
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.home.program("tmux");
        let socket = self.home.tmp().join("tmux");
        command.env("TERM", "xterm").env("LC_ALL", "C.UTF-8");
        command
            .args(["-f", "/dev/null", "-S"])
            .arg(socket)
            .args(arguments);
        command
    }

    #[track_caller]
    fn tmux(&self, arguments: &[&str]) -> String {
        let ended = Running::start(self.command(arguments), b"").end();
        ended.succeeds().out().to_owned()
    }

    fn keys(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    /// Types a line.
    fn line(&self, text: &str) {
        self.tmux(&["send-keys", "-l", text]);
        self.keys(&["Enter"]);
    }

    fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// Waits until the screen shows this.
    #[track_caller]
    fn shows(&self, text: &str) {
        wait_for(&format!("{text:?} on the screen"), || {
            self.screen().contains(text).then_some(())
        });
    }
}

impl Drop for Terminal<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let shown = Running::start(self.command(&["capture-pane", "-p"]), b"").end();
            eprintln!(
                "the screen was:\n{}",
                String::from_utf8_lossy(&shown.stdout)
            );
        }
        Running::start(self.command(&["kill-server"]), b"").end();
    }
}

#[test]
fn a_size_that_changes_while_the_shell_begins_is_told() {
    let site = Site::new();
    let sees =
        "until [ \"$(busybox stty size)\" = \"30 100\" ]; do sleep 0.1; done; echo it-is-$((40+2))";
    // From before the command has looked at its size to after it passes changes on.
    for delay in (0..60).step_by(4) {
        let terminal = Terminal::start(
            &site.home,
            &format!("session shell {NAME} -- sh -c '{sees}'"),
        );
        std::thread::sleep(Duration::from_millis(delay));
        terminal.tmux(&["resize-window", "-x", "100", "-y", "30"]);
        terminal.shows("it-is-42");
    }
}

#[test]
fn an_editor_is_used_the_terminal_resized_left_and_gone_back_to() {
    let site = Site::new();
    let terminal = Terminal::start(&site.home, &format!("session shell {NAME}"));
    terminal.line("echo size: $(busybox stty size), $TERM");
    terminal.shows("size: 24 80, ");

    terminal.line("busybox vi /tmp/note");
    terminal.shows("/tmp/note");
    terminal.keys(&["i"]);
    terminal.tmux(&["send-keys", "-l", "written with an editor: äöü"]);
    terminal.shows("written with an editor");
    terminal.shows("I /tmp/note");
    terminal.keys(&["Escape"]);
    // Out of the mode in which keys are text.
    terminal.shows("- /tmp/note");
    terminal.line(":wq");
    terminal.line("echo edited: $?");
    terminal.shows("edited: 0");
    let note = site.exec(&["cat", "/tmp/note"]).succeeds();
    assert_eq!(note.out(), "written with an editor: äöü\n");

    terminal.tmux(&["resize-window", "-x", "101", "-y", "33"]);
    wait_for("the session's terminal to be resized", || {
        terminal.line("echo size: $(busybox stty size)");
        terminal.screen().contains("size: 33 101").then_some(())
    });

    // What Ctrl-C ends is what runs there.
    terminal.line("sh -c 'echo under-$((40+2)); exec sleep 600'");
    terminal.shows("under-42");
    terminal.keys(&["C-c"]);
    terminal.line("echo interrupted: $?");
    terminal.shows("interrupted: 130");

    terminal.line("remembered=42");
    terminal.keys(&["C-p", "C-q"]);
    terminal.shows("ended-0-");
    terminal.shows("it goes on");
    let processes = site.home.axocoatl(&["session", "ps", NAME, "--json"]);
    let processes = processes.succeeds().json();
    let shells = processes["processes"].as_array().unwrap().iter();
    let shell = shells.clone().find(|one| one["terminal"] == true).unwrap();
    assert_eq!(shell["running"], true);
    let attach = format!("session shell --attach {} {NAME}", shell["process"]);
    drop(terminal);

    let terminal = Terminal::start(&site.home, &attach);
    terminal.line("echo remembered: $((remembered * 2))");
    terminal.shows("remembered: 84");
    terminal.line("exit 9");
    terminal.shows("ended-9-");
}

#[test]
fn our_terminal_is_as_it_was_whatever_ends_the_shell() {
    let site = Site::new();
    let settings = "stty -a > before";
    let shell = format!("session shell {NAME} -- sleep 600");
    let script = format!("{settings}; {AXOCOATL} {shell}; echo ended-$?-; stty -a > after; cat");
    let terminal = Terminal::start_script(&site.home, &script);
    wait_for("the command in the session", || {
        let told = site.home.axocoatl(&["session", "ps", NAME, "--json"]);
        let told = told.succeeds().json();
        let running = |one: &serde_json::Value| one["running"] == true;
        told["processes"]
            .as_array()
            .unwrap()
            .iter()
            .any(running)
            .then_some(())
    });
    site.home
        .axocoatl(&["session", "stop", "--grace", "1s", NAME])
        .succeeds();
    terminal.shows("ended-");
    let read = |name: &str| std::fs::read_to_string(site.home.work().join(name));
    let after = wait_for("the settings of the terminal", || {
        read("after").ok().filter(|text| !text.is_empty())
    });
    assert_eq!(read("before").unwrap(), after);
}

#[test]
fn without_a_terminal_a_shell_is_refused() {
    let site = Site::new();
    site.home
        .axocoatl(&["session", "shell", NAME])
        .exits(2, &["needs a terminal", "session exec"]);
}
