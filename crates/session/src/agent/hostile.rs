//! An agent that is not ours: every operation against a peer that lies, floods, or says nothing.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axo_guest_proto::files::{Entry, FileKind, How, Stat, Time};
use axo_guest_proto::{
    Exited, GENERATION, HEADER_BYTES, Hello, Kind, MAX_PAYLOAD, Message as _, ProcessId, Reply,
    Size, Status, Usage, encode,
};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};

use super::{Agent, AgentError, CopyError, CopyLimits, Endpoint, ProcessEvent, Run};

/// Every test ends within this, by the runtime's clock, which runs ahead where nothing happens.
const LONG: Duration = Duration::from_secs(3600);

/// What an agent does with a connection. Each gets the same script.
enum Script {
    /// Sends these bytes, and keeps the connection open.
    Says(Vec<u8>),
    /// Sends these bytes and hangs up.
    HangsUp(Vec<u8>),
    /// Sends the first bytes, and then the second over and over.
    Repeats(Vec<u8>, Vec<u8>),
    /// Sends these bytes one a second.
    Drips(Vec<u8>),
    /// Reads nothing at all.
    Deaf,
}

struct Hostile {
    agent: Agent,
    _directory: TempDir,
}

fn hostile(script: Script) -> Hostile {
    let directory = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(directory.path().join("agent.sock")).unwrap();
    let script = Arc::new(script);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(play(Arc::clone(&script), stream));
        }
    });
    Hostile {
        agent: Agent::new(Endpoint::Socket {
            directory: directory.path().to_owned(),
            name: "agent.sock",
        }),
        _directory: directory,
    }
}

async fn play(script: Arc<Script>, mut stream: UnixStream) {
    if matches!(*script, Script::Deaf) {
        return std::future::pending().await;
    }
    let (mut from, mut to) = stream.split();
    let hear = async {
        let mut heard = vec![0; 64 << 10];
        while from.read(&mut heard).await.is_ok_and(|read| read > 0) {}
    };
    let say = async {
        match &*script {
            Script::Says(bytes) => {
                let _ = to.write_all(bytes).await;
                std::future::pending::<()>().await;
            }
            Script::HangsUp(bytes) => drop(to.write_all(bytes).await),
            Script::Repeats(first, again) => {
                let _ = to.write_all(first).await;
                while to.write_all(again).await.is_ok() {
                    // By the paused clock this is no time at all, and yet everybody has a turn.
                    tokio::task::yield_now().await;
                }
            }
            Script::Drips(bytes) => {
                for byte in bytes {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    if to.write_all(&[*byte]).await.is_err() {
                        return;
                    }
                }
            }
            Script::Deaf => {}
        }
    };
    tokio::select! {
        () = hear => {}
        () = say => {}
    }
}

fn hello() -> Vec<u8> {
    Hello::new("0.0.0").to_frame().unwrap()
}

/// A hello and these replies.
fn replies(replies: &[Reply]) -> Vec<u8> {
    let mut bytes = hello();
    for reply in replies {
        bytes.extend(reply.to_frame().unwrap());
    }
    bytes
}

fn stat(kind: FileKind) -> Stat {
    Stat {
        kind,
        size: 1,
        allocated: 0,
        mode: 0o644,
        uid: 0,
        gid: 0,
        links: 1,
        inode: 1,
        modified: Time::default(),
        changed: Time::default(),
        target: None,
    }
}

fn exited() -> Reply {
    Reply::Exited(Exited {
        status: Status::Code(0),
        usage: Usage::default(),
        timed_out: false,
    })
}

fn started() -> Reply {
    Reply::Started {
        process: ProcessId(1),
        pid: 2,
    }
}

/// How each operation fails against an agent that follows `script`: all of them do, in time.
async fn all_fail(script: impl Fn() -> Script) -> Vec<(&'static str, AgentError)> {
    let mut errors = Vec::new();
    let mut note = |what, result: Result<(), AgentError>| match result {
        Err(error) => errors.push((what, error)),
        Ok(()) => panic!("{what} succeeds"),
    };
    let all = async {
        let h = hostile(script());
        let files = h.agent.files("/");
        note("hello", h.agent.hello().await.map(drop));
        note("metrics", h.agent.metrics(b"").await.map(drop));
        note("processes", h.agent.processes().await.map(drop));
        note("signal", h.agent.signal(ProcessId(1), 9).await);
        let size = Size {
            rows: 1,
            columns: 1,
        };
        note("resize", h.agent.resize(ProcessId(1), size).await);
        note("shut down", h.agent.shut_down(Duration::ZERO).await);
        note("start", h.agent.start(Run::new(["true"])).await.map(drop));
        // More than a socket holds until somebody reads it.
        let long = Run::new(["true".to_owned(), "x".repeat(250_000)]);
        note("start with much", h.agent.start(long).await.map(drop));
        note("retained", h.agent.retained(ProcessId(1)).await.map(drop));
        note("list", files.list("a", 1, 10).await.map(drop));
        note("stat", files.stat("a", true).await.map(drop));
        note("remove", files.remove("a", true).await);
        note("read", files.read_to_vec("a", 10).await.map(drop));
        let mut bytes = vec![0; 4 << 20];
        note("read on", files.read("a", true, &mut bytes).await.map(drop));
        let written = files.write("a", How::Replace, None, &mut &bytes[..]).await;
        note("write", written.map(drop));
        note("watch", files.watch("a", false).await.map(drop));
    };
    tokio::time::timeout(LONG, all)
        .await
        .expect("something waits for ever");
    errors
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_says_nothing_is_given_up() {
    for (what, error) in all_fail(|| Script::Says(Vec::new())).await {
        assert!(matches!(error, AgentError::Late(_)), "{what}: {error:?}");
    }
    for (what, error) in all_fail(|| Script::Says(hello())).await {
        assert!(matches!(error, AgentError::Late(_)), "{what}: {error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_hears_nothing_is_given_up() {
    for (what, error) in all_fail(|| Script::Deaf).await {
        assert!(matches!(error, AgentError::Late(_)), "{what}: {error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_says_a_byte_a_second_is_given_up() {
    // Each byte in time, and all of them too late.
    let hello = Hello::new(&"0".repeat(60)).to_frame().unwrap();
    let drip = || Script::Drips(hello.clone());
    for (what, error) in all_fail(drip).await {
        assert!(matches!(error, AgentError::Late(_)), "{what}: {error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_hangs_up_costs_an_error() {
    for end in [0, 1, HEADER_BYTES, hello().len() - 1, hello().len()] {
        for (what, error) in all_fail(|| Script::HangsUp(hello()[..end].to_vec())).await {
            assert!(matches!(error, AgentError::Broken(_)), "{what}: {error:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_length_that_lies_takes_no_memory() {
    for length in [u32::MAX, 1 << 31, u32::try_from(MAX_PAYLOAD).unwrap() + 2] {
        let mut lie = length.to_be_bytes().to_vec();
        lie.extend([0; 64]);
        for (what, error) in all_fail(|| Script::Says(lie.clone())).await {
            let protocol = matches!(error, AgentError::Protocol(_));
            assert!(protocol, "{what}: {error:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn another_generation_and_no_generation_are_refused() {
    let mut other = Hello::new("0.0.0");
    other.generation = GENERATION + 1;
    let other = other.to_frame().unwrap();
    for (what, error) in all_fail(|| Script::Says(other.clone())).await {
        let generation = matches!(error, AgentError::Generation(_));
        assert!(generation, "{what}: {error:?}");
    }
    let no_hello = Reply::Done.to_frame().unwrap();
    for (what, error) in all_fail(|| Script::Says(no_hello.clone())).await {
        let unexpected = matches!(error, AgentError::Unexpected { .. });
        assert!(unexpected, "{what}: {error:?}");
    }
}

/// Answers that fit no question: nothing is taken for what it is not.
#[tokio::test(start_paused = true)]
async fn an_answer_to_another_question_is_refused() {
    let odd = Reply::Gap { lost: 1 };
    for (what, error) in all_fail(|| Script::Says(replies(std::slice::from_ref(&odd)))).await {
        let unexpected = matches!(
            error,
            AgentError::Unexpected { .. } | AgentError::Protocol(_)
        );
        assert!(unexpected, "{what}: {error:?}");
    }
    let bytes = [hello(), encode(Kind::Output, b"bytes").unwrap()].concat();
    for (what, error) in all_fail(|| Script::Says(bytes.clone())).await {
        let unexpected = matches!(
            error,
            AgentError::Unexpected { .. } | AgentError::Protocol(_)
        );
        assert!(unexpected, "{what}: {error:?}");
    }
}

/// Frames that are right each for itself, and never end.
#[tokio::test(start_paused = true)]
async fn an_answer_without_end_ends() {
    let entry = Entry {
        path: b"name".to_vec(),
        stat: stat(FileKind::File),
    };
    let nothing = Reply::Entries(Vec::new()).to_frame().unwrap();
    let entries = Reply::Entries(vec![entry]).to_frame().unwrap();
    for again in [nothing, entries] {
        let h = hostile(Script::Repeats(hello(), again));
        let listing = async { h.agent.files("/").list("a", 1, 1000).await };
        let ended = tokio::time::timeout(LONG, listing)
            .await
            .expect("it waits for ever");
        ended.unwrap_err();
    }
    let nobody = Reply::Processes(Vec::new()).to_frame().unwrap();
    let h = hostile(Script::Repeats(hello(), nobody));
    let listing = tokio::time::timeout(LONG, h.agent.processes()).await;
    listing.expect("it waits for ever").unwrap_err();

    let file = replies(&[Reply::Stat(stat(FileKind::File))]);
    for chunk in [&b""[..], b"x", &[7; MAX_PAYLOAD]] {
        let again = encode(Kind::Output, chunk).unwrap();
        let h = hostile(Script::Repeats(file.clone(), again));
        let reading = async { h.agent.files("/").read_to_vec("a", 1 << 20).await };
        let ended = tokio::time::timeout(LONG, reading)
            .await
            .expect("it waits for ever");
        ended.unwrap_err();
    }
}

#[tokio::test(start_paused = true)]
async fn a_process_ends_once() {
    // What comes after the end is not heard, whatever it is.
    let twice = [replies(&[started(), exited(), exited()]), vec![0xff; 64]].concat();
    let h = hostile(Script::Says(twice));
    let mut process = h.agent.start(Run::new(["true"])).await.unwrap();
    let first = process.next().await.unwrap();
    assert!(matches!(first, Some(ProcessEvent::Exited(_))), "{first:?}");
    let after = process.next().await;
    assert!(
        !matches!(after, Ok(Some(ProcessEvent::Exited(_)))),
        "{after:?}"
    );

    let again = replies(&[started(), started()]);
    let h = hostile(Script::Says(again));
    let mut process = h.agent.start(Run::new(["true"])).await.unwrap();
    let second = process.next().await;
    assert!(
        matches!(second, Err(AgentError::Unexpected { .. })),
        "{second:?}"
    );
}

/// A copy out writes beneath its target and nowhere else, and no more than it may.
#[tokio::test(start_paused = true)]
async fn names_and_sizes_of_a_listing_are_not_believed() {
    let home = tempfile::tempdir().unwrap();
    for (number, name) in [&b".."[..], b".", b"", b"/etc/passwd", b"../up", b"a/b"]
        .iter()
        .enumerate()
    {
        let entry = Entry {
            path: name.to_vec(),
            stat: stat(FileKind::File),
        };
        let bytes = replies(&[
            Reply::Stat(stat(FileKind::Directory)),
            Reply::Entries(vec![entry]),
            Reply::Listed { more: false },
        ]);
        // The first connection asks what it is, the second for the list; both read what fits.
        let to = home.path().join(format!("to-{number}"));
        let error = copy_out(bytes, &to).await;
        let refused = matches!(
            error,
            CopyError::BadName(_)
                | CopyError::Session {
                    source: AgentError::Protocol(_) | AgentError::Unexpected { .. },
                    ..
                }
        );
        assert!(refused, "{name:?}: {error:?}");
        let made: Vec<_> = std::fs::read_dir(home.path()).unwrap().collect();
        assert!(made.len() <= number + 1, "{made:?}");
    }

    // A file that says it has one byte, and sends without end.
    let file = replies(&[Reply::Stat(stat(FileKind::File))]);
    let chunk = encode(Kind::Output, &[7; MAX_PAYLOAD]).unwrap();
    let h = hostile(Script::Repeats(file, chunk));
    let limits = CopyLimits {
        entries: 10,
        bytes: 3 << 20,
        ..CopyLimits::default()
    };
    let to = home.path().join("flood");
    let copied = h
        .agent
        .files("/")
        .copy_out(Path::new("a"), &to, limits, &mut |_: &_| ())
        .await;
    assert!(matches!(copied, Err(CopyError::TooMuch(_))), "{copied:?}");
    assert!(std::fs::metadata(&to).unwrap().len() <= 3 << 20);
}

/// Each connection gets a hello and the reply that its request asks for, in the order of `replies`.
async fn copy_out(bytes: Vec<u8>, to: &Path) -> CopyError {
    let directory = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(directory.path().join("agent.sock")).unwrap();
    let first = hello().len()
        + Reply::Stat(stat(FileKind::Directory))
            .to_frame()
            .unwrap()
            .len();
    let scripts = [
        bytes[..first].to_vec(),
        [hello(), bytes[first..].to_vec()].concat(),
    ];
    tokio::spawn(async move {
        for script in scripts {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(play(Arc::new(Script::Says(script)), stream));
        }
    });
    let agent = Agent::new(Endpoint::Socket {
        directory: directory.path().to_owned(),
        name: "agent.sock",
    });
    let limits = CopyLimits::default();
    let mut unheard = |_: &_| ();
    let files = agent.files("/");
    let copied = files.copy_out(Path::new("a"), to, limits, &mut unheard);
    copied.await.unwrap_err()
}
