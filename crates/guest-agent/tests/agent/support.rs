//! An agent that a test starts, and a client of it that waits.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use axo_guest_proto::files::Place;
use axo_guest_proto::{
    Exited, Failure, HEADER_BYTES, Header, Hello, Kind, Lifetime, Message, ProcessId, Reply,
    Request, Start, Status, encode,
};
use tempfile::TempDir;

/// What no answer takes, however busy the machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Agent {
    pub(crate) child: Child,
    pub(crate) directory: TempDir,
}

#[expect(clippy::disallowed_methods, reason = "a test of a program starts it")]
pub(crate) fn command(program: &str) -> Command {
    Command::new(program)
}

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_axo-guest-agent");

impl Agent {
    pub(crate) fn new() -> Self {
        Self::with(&[], &[])
    }

    /// One that is started by another program, with arguments of its own.
    pub(crate) fn with(before: &[&str], after: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut words = before.to_vec();
        words.extend([PROGRAM, "serve", "--socket"]);
        let child = command(words[0])
            .args(&words[1..])
            .arg(directory.path().join("socket"))
            .args(after)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let agent = Self { child, directory };
        until(|| agent.socket().exists());
        agent
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    /// A connection that has said nothing yet.
    pub(crate) fn stream(&self) -> UnixStream {
        let stream = UnixStream::connect(self.socket()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    pub(crate) fn ask(&self, request: &Request) -> Client {
        Client::new(self.stream(), request)
    }

    /// What the first reply to a request is.
    pub(crate) fn answer(&self, request: &Request) -> Reply {
        self.ask(request).reply()
    }

    pub(crate) fn fails(&self, request: &Request) -> Failure {
        match self.answer(request) {
            Reply::Failed(failure) => failure,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn done(&self, request: &Request) {
        assert_eq!(self.answer(request), Reply::Done);
    }

    /// Runs a script to its end.
    pub(crate) fn run(&self, script: &str) -> Ran {
        self.start(shell(script)).finish()
    }

    pub(crate) fn start(&self, start: Start) -> Client {
        let mut client = self.ask(&Request::Start(Box::new(start)));
        client.started();
        client
    }

    /// A directory of files, and a place in it.
    pub(crate) fn place(&self, path: &str) -> Place {
        let root = self.root();
        std::fs::create_dir_all(&root).unwrap();
        Place {
            root: root.into_os_string().into_encoded_bytes(),
            path: path.as_bytes().to_vec(),
        }
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    /// Waits for its end.
    pub(crate) fn ended(&mut self) -> (ExitStatus, String) {
        let status = self.child.wait().unwrap();
        let mut said = String::new();
        let mut stderr = self.child.stderr.take().unwrap();
        stderr.read_to_string(&mut said).unwrap();
        (status, said)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if self.child.try_wait().unwrap().is_none() {
            let pid = i32::try_from(self.child.id()).unwrap();
            let pid = rustix::process::Pid::from_raw(pid).unwrap();
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            let due = Instant::now() + Duration::from_secs(10);
            while self.child.try_wait().unwrap().is_none() && Instant::now() < due {
                sleep(Duration::from_millis(5));
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

pub(crate) fn until(condition: impl Fn() -> bool) {
    let due = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < due, "it has not come to it");
        sleep(Duration::from_millis(5));
    }
}

/// A shell that runs a script, followed and attached.
pub(crate) fn shell(script: &str) -> Start {
    Start {
        arguments: ["sh", "-c", script]
            .map(|word| word.as_bytes().to_vec())
            .into(),
        retain: 1 << 20,
        follow: true,
        ..Start::default()
    }
}

pub(crate) fn detached(script: &str) -> Start {
    Start {
        lifetime: Lifetime::Detached,
        follow: false,
        ..shell(script)
    }
}

/// How a process went.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) lost: u64,
    pub(crate) exited: Exited,
}

impl Ran {
    pub(crate) fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim_end().to_owned()
    }
}

/// One connection.
pub(crate) struct Client {
    pub(crate) stream: UnixStream,
    greeted: bool,
    pub(crate) process: ProcessId,
    pub(crate) pid: i32,
}

/// A frame from the agent.
#[derive(Debug)]
pub(crate) enum Frame {
    Reply(Reply),
    Output(Vec<u8>),
    Error(Vec<u8>),
}

impl Client {
    pub(crate) fn new(mut stream: UnixStream, request: &Request) -> Self {
        let mut frames = Hello::new("test").to_frame().unwrap();
        frames.extend(request.to_frame().unwrap());
        stream.write_all(&frames).unwrap();
        Self {
            stream,
            greeted: false,
            process: ProcessId(0),
            pid: 0,
        }
    }

    pub(crate) fn started(&mut self) {
        match self.reply() {
            Reply::Started { process, pid } => (self.process, self.pid) = (process, pid),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn send(&mut self, kind: Kind, payload: &[u8]) {
        let frame = encode(kind, payload).unwrap();
        self.stream.write_all(&frame).unwrap();
    }

    pub(crate) fn steer(&mut self, message: &impl Message) {
        let frame = message.to_frame().unwrap();
        self.stream.write_all(&frame).unwrap();
    }

    /// The next frame; none at the end.
    pub(crate) fn next(&mut self) -> Option<Frame> {
        if !self.greeted {
            let (kind, payload) = read_frame(&mut self.stream)?;
            assert_eq!(kind, Kind::Hello);
            assert_eq!(Hello::from_payload(&payload).unwrap().generation, 1);
            self.greeted = true;
        }
        let (kind, payload) = read_frame(&mut self.stream)?;
        Some(match kind {
            Kind::Control => Frame::Reply(Reply::from_payload(&payload).unwrap()),
            Kind::Output => Frame::Output(payload),
            Kind::Error => Frame::Error(payload),
            other => panic!("{other:?}"),
        })
    }

    pub(crate) fn reply(&mut self) -> Reply {
        match self.next() {
            Some(Frame::Reply(reply)) => reply,
            other => panic!("{other:?}"),
        }
    }

    /// Everything until the process ends.
    pub(crate) fn finish(mut self) -> Ran {
        let (stdout, stderr, lost, last) = self.gather();
        match last {
            Reply::Exited(exited) => Ran {
                stdout,
                stderr,
                lost,
                exited,
            },
            other => panic!("{other:?}"),
        }
    }

    /// Output, errors, what was lost, and the reply after it.
    pub(crate) fn gather(&mut self) -> (Vec<u8>, Vec<u8>, u64, Reply) {
        let (mut stdout, mut stderr, mut lost) = (Vec::new(), Vec::new(), 0);
        loop {
            match self.next() {
                Some(Frame::Output(bytes)) => stdout.extend(bytes),
                Some(Frame::Error(bytes)) => stderr.extend(bytes),
                Some(Frame::Reply(Reply::Gap { lost: more })) => lost += more,
                Some(Frame::Reply(reply)) => return (stdout, stderr, lost, reply),
                None => panic!("closed in the middle"),
            }
        }
    }

    /// Output until it has this in it.
    pub(crate) fn until_output(&mut self, wanted: &str) -> String {
        let mut all = String::new();
        while !all.contains(wanted) {
            match self.next() {
                Some(Frame::Output(bytes)) => all.push_str(&String::from_utf8_lossy(&bytes)),
                other => panic!("{other:?} after {all:?}"),
            }
        }
        all
    }

    /// Whether the agent has closed the connection.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.next().is_none()
    }
}

/// A frame from a stream; none at its end.
pub(crate) fn read_frame(stream: &mut UnixStream) -> Option<(Kind, Vec<u8>)> {
    let mut header = [0; HEADER_BYTES];
    match stream.read_exact(&mut header) {
        Ok(()) => {}
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => return None,
        Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => return None,
        Err(e) => panic!("{e}"),
    }
    let header = Header::parse(header).unwrap();
    let mut payload = vec![0; header.length];
    stream.read_exact(&mut payload).unwrap();
    Some((header.kind, payload))
}

pub(crate) fn code(code: i32) -> Status {
    Status::Code(code)
}

/// Whether a process of the test's own pid namespace is there and no zombie.
pub(crate) fn runs(pid: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = status.rsplit(')').next().unwrap_or_default().trim();
    !state.is_empty() && !state.starts_with('Z')
}

pub(crate) fn is_clean(status: ExitStatus) -> bool {
    status.code() == Some(0) && status.signal().is_none()
}

pub(crate) fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// Bytes of all values, the same in each run.
pub(crate) fn noise(length: u32) -> Vec<u8> {
    (0..length)
        .map(|at| at.wrapping_mul(2_654_435_761).to_be_bytes()[0])
        .collect()
}
