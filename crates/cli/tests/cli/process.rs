//! Programs that a test starts. None outlives its deadline, nor the value that stands for it.

use std::ffi::OsStr;
use std::io::{Read, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::ended::Ended;

/// After this a program hangs: no call here takes a tenth of it, even on a busy machine.
pub(crate) const HANGS: Duration = Duration::from_secs(60);

/// How often something that will happen is looked for.
const LOOK: Duration = Duration::from_millis(5);

/// A program by its name or path.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place where these tests start processes"
)]
pub(crate) fn program(name: impl AsRef<OsStr>) -> Command {
    Command::new(name)
}

/// A program that runs. Dropped, it is killed.
pub(crate) struct Running {
    child: Child,
    stdout: Receiver<Vec<u8>>,
    stderr: Receiver<Vec<u8>>,
}

impl Running {
    /// Starts `command` with `input` on its standard input, and then the end of it.
    pub(crate) fn start(mut command: Command, input: &[u8]) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("starting {:?}: {e}", command.get_program()));
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_owned();
        // A program need not read its input.
        std::thread::spawn(move || stdin.write_all(&input));
        Self {
            stdout: read_in_background(child.stdout.take().unwrap()),
            stderr: read_in_background(child.stderr.take().unwrap()),
            child,
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `ready` gives something, which must come before its end.
    #[track_caller]
    pub(crate) fn wait_for<T>(&mut self, what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
        wait_for(what, || {
            let ended = self.child.try_wait().unwrap();
            ready().or_else(|| match ended {
                None => None,
                Some(status) => {
                    let log = self.stderr.recv_timeout(HANGS).unwrap_or_default();
                    let log = String::from_utf8_lossy(&log);
                    panic!("it ended before {what} came: {status}\n{log}")
                }
            })
        })
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Waits for its end, which must come before `deadline`.
    pub(crate) fn end_within(mut self, deadline: Duration) -> Ended {
        let started = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(
                started.elapsed() < deadline,
                "it did not end within {deadline:?}"
            );
            std::thread::sleep(LOOK);
        };
        let rest = |stream: &Receiver<_>| {
            stream
                .recv_timeout(HANGS)
                .expect("something it started holds its output open")
        };
        Ended {
            status,
            stdout: rest(&self.stdout),
            stderr: rest(&self.stderr),
        }
    }

    pub(crate) fn end(self) -> Ended {
        self.end_within(HANGS)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_in_background(mut stream: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        sender.send(bytes)
    });
    receiver
}

/// Waits until `ready` gives something.
pub(crate) fn wait_for<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = ready() {
            return found;
        }
        assert!(started.elapsed() < HANGS, "waited in vain for {what}");
        std::thread::sleep(LOOK);
    }
}
