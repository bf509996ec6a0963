#![cfg(test)]
//! Generation 1 is what `generation-1.txt` says, whatever becomes of the types.

use axo_guest_proto::files::{
    Entry, Event, EventKind, FileKind, How, List, MakeDirectory, MakeLink, Move, Owner, Place,
    Read, Stat, Time, Write,
};
use axo_guest_proto::{
    Attach, Code, Disk, Exited, Failure, Frame, GENERATION, Hello, Kind, Lifetime, Limits, Message,
    Metrics, Position, PrepareSession, PrepareTool, ProcessId, ProcessInfo, Renew, Reply, Request,
    RunTool, Size, Start, State, Status, Steering, Stopped, ToolEnded, Usage, User, bounds, encode,
};
use proptest::prelude::*;

const FROZEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/generation-1.txt");

#[test]
fn generation_1_is_as_it_was_frozen() {
    assert_eq!(
        GENERATION, 1,
        "freeze the new generation in a file of its own"
    );
    let now: String = examples()
        .iter()
        .map(|(name, frame)| format!("{name} {}\n", hex(frame)))
        .collect();
    if std::env::var_os("AXO_FREEZE").is_some() {
        std::fs::write(FROZEN, &now).unwrap();
    }
    let frozen = std::fs::read_to_string(FROZEN).unwrap();
    for (old, new) in frozen.lines().zip(now.lines()) {
        assert_eq!(
            old, new,
            "what is on the wire has changed: that takes generation 2, in hello.rs, and a generation-2.txt"
        );
    }
    assert_eq!(
        frozen.lines().count(),
        now.lines().count(),
        "messages were added or removed: that takes generation 2"
    );
}

#[test]
fn what_was_frozen_is_read_and_written_again() {
    for (name, frame) in examples() {
        let (Frame { kind, payload }, rest) = Frame::split(&frame).unwrap().unwrap();
        assert!(rest.is_empty());
        let again = match name.split('.').next().unwrap() {
            "Hello" => Hello::from_payload(payload).unwrap().to_frame(),
            "Request" => Request::from_payload(payload).unwrap().to_frame(),
            "Steering" => Steering::from_payload(payload).unwrap().to_frame(),
            "Reply" => Reply::from_payload(payload).unwrap().to_frame(),
            _ => encode(kind, payload),
        };
        assert_eq!(again.unwrap(), frame, "{name}");
    }
}

#[test]
fn a_tool_that_is_too_large_and_a_seed_that_is_not_of_64_bytes_are_refused() {
    let prepare = |bytes| PrepareTool {
        prepare: vec![b' '; bytes],
        files: false,
        ahead: Vec::new(),
    };
    let run = |bytes| RunTool {
        launch: vec![b' '; bytes],
        output_limit: 0,
        wall_millis: 0,
    };
    let session = |prepare, launch| {
        Request::PrepareSession(PrepareSession {
            prepare: vec![b' '; prepare],
            launch: vec![b' '; launch],
        })
    };
    let most = bounds::MAX_RUNNER_BYTES;
    for (request, passes) in [
        (Request::PrepareTool(prepare(most)), true),
        (Request::PrepareTool(prepare(most + 1)), false),
        (Request::RunTool(run(most)), true),
        (Request::RunTool(run(most + 1)), false),
        (session(most, 4096), true),
        (session(most + 1, 0), false),
        (session(0, 4097), false),
        (Request::Renew(renew(64)), true),
        (Request::Renew(renew(63)), false),
        (Request::Renew(renew(65)), false),
    ] {
        assert_eq!(request.to_frame().is_ok(), passes, "{request:?}");
    }
}

proptest! {
    #[test]
    fn bytes_are_a_message_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        let _ = Frame::split(&bytes);
        read_and_write_again(&bytes)?;
    }

    /// Most random bytes are no message; most changes of one are.
    #[test]
    fn a_changed_message_is_a_message_or_an_error(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let examples = examples();
        let mut bytes = which.get(&examples).1[5..].to_vec();
        for (at, byte) in changes {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
        read_and_write_again(&bytes)?;
        bytes.truncate(cut.index(bytes.len() + 1));
        read_and_write_again(&bytes)?;
    }

    #[test]
    fn a_process_comes_out_as_it_went_in(
        arguments in prop::collection::vec(word(), 1..20),
        environment in prop::collection::vec((word(), prop::collection::vec(1_u8.., 0..20)), 0..20),
        user in prop::option::of((any::<u32>(), any::<u32>(), prop::collection::vec(any::<u32>(), 0..10))),
        terminal in prop::option::of((any::<u16>(), any::<u16>())),
        numbers in prop::collection::vec(prop::option::of(any::<u64>()), 5),
        flags in any::<[bool; 3]>(),
    ) {
        let start = Request::Start(Box::new(Start {
            arguments,
            environment,
            directory: b"/work".to_vec(),
            user: user.map(|(uid, gid, groups)| User { uid, gid, groups }),
            terminal: terminal.map(|(rows, columns)| Size { rows, columns }),
            limits: Limits {
                wall_millis: numbers[0],
                cpu_seconds: numbers[1],
                files: numbers[2],
                memory: numbers[3],
                file_size: numbers[4],
            },
            retain: 1 << 20,
            lifetime: if flags[0] { Lifetime::Attached } else { Lifetime::Detached },
            input: flags[1],
            follow: flags[2],
            label: b"label".to_vec(),
        }));
        let frame = start.to_frame().unwrap();
        let (frame, _) = Frame::split(&frame).unwrap().unwrap();
        prop_assert_eq!(Request::from_payload(frame.payload).unwrap(), start);
    }
}

/// A byte string that can name a program or variable.
fn word() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(
        any::<u8>().prop_filter("", |b| ![0, b'='].contains(b)),
        1..40,
    )
}

fn read_and_write_again(payload: &[u8]) -> Result<(), TestCaseError> {
    fn one<M: Message + PartialEq + std::fmt::Debug>(payload: &[u8]) -> Result<(), TestCaseError> {
        if let Ok(message) = M::from_payload(payload) {
            let frame = message.to_frame().unwrap();
            let (frame, _) = Frame::split(&frame).unwrap().unwrap();
            prop_assert_eq!(M::from_payload(frame.payload).unwrap(), message);
        }
        Ok(())
    }
    one::<Hello>(payload)?;
    one::<Request>(payload)?;
    one::<Steering>(payload)?;
    one::<Reply>(payload)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A fixed example of everything. A new variant is named in `request_name` and `reply_name`, and
/// needs an example here.
fn examples() -> Vec<(String, Vec<u8>)> {
    let mut all = vec![(
        "Hello".to_owned(),
        Hello {
            generation: 1,
            version: "0.1.0".into(),
        }
        .to_frame()
        .unwrap(),
    )];
    for kind in [Kind::Input, Kind::Output, Kind::Error] {
        all.push((format!("Bytes.{kind:?}"), encode(kind, b"bytes").unwrap()));
    }
    for (detail, request) in requests() {
        all.push((
            format!("Request.{}{detail}", request_name(&request)),
            request.to_frame().unwrap(),
        ));
    }
    for steering in [Steering::Resize(size()), Steering::Signal(15)] {
        let name = match steering {
            Steering::Resize(_) => "Resize",
            Steering::Signal(_) => "Signal",
        };
        all.push((format!("Steering.{name}"), steering.to_frame().unwrap()));
    }
    for (detail, reply) in replies() {
        all.push((
            format!("Reply.{}{detail}", reply_name(&reply)),
            reply.to_frame().unwrap(),
        ));
    }
    all
}

fn request_name(request: &Request) -> &'static str {
    match request {
        Request::Start(_) => "Start",
        Request::Attach(_) => "Attach",
        Request::Processes => "Processes",
        Request::Signal { .. } => "Signal",
        Request::Resize { .. } => "Resize",
        Request::Forget { .. } => "Forget",
        Request::Read(_) => "Read",
        Request::Write(_) => "Write",
        Request::List(_) => "List",
        Request::Stat { .. } => "Stat",
        Request::MakeDirectory(_) => "MakeDirectory",
        Request::MakeLink(_) => "MakeLink",
        Request::SetMode { .. } => "SetMode",
        Request::Move(_) => "Move",
        Request::Remove { .. } => "Remove",
        Request::Watch { .. } => "Watch",
        Request::Metrics { .. } => "Metrics",
        Request::Shutdown { .. } => "Shutdown",
        Request::PrepareTool(_) => "PrepareTool",
        Request::RunTool(_) => "RunTool",
        Request::Renew(_) => "Renew",
        Request::PrepareSession(_) => "PrepareSession",
    }
}

fn reply_name(reply: &Reply) -> &'static str {
    match reply {
        Reply::Started { .. } => "Started",
        Reply::Attached { .. } => "Attached",
        Reply::Gap { .. } => "Gap",
        Reply::Exited(_) => "Exited",
        Reply::Processes(_) => "Processes",
        Reply::Entries(_) => "Entries",
        Reply::Listed { .. } => "Listed",
        Reply::Stat(_) => "Stat",
        Reply::Written { .. } => "Written",
        Reply::Watching => "Watching",
        Reply::Events(_) => "Events",
        Reply::Metrics(_) => "Metrics",
        Reply::Done => "Done",
        Reply::Failed(_) => "Failed",
        Reply::ToolStarted => "ToolStarted",
        Reply::ToolEnded(_) => "ToolEnded",
    }
}

fn size() -> Size {
    Size {
        rows: 24,
        columns: 80,
    }
}

fn place() -> Place {
    Place {
        root: b"/work".to_vec(),
        path: b"a/b".to_vec(),
    }
}

fn requests() -> Vec<(String, Request)> {
    let plain = |request| (String::new(), request);
    let process = ProcessId(300);
    let owner = Some(Owner {
        uid: 1000,
        gid: 1001,
    });
    let mut all = vec![
        plain(Request::Start(Box::new(Start {
            arguments: vec![b"sh".to_vec(), b"-c".to_vec(), b"exit 3".to_vec()],
            environment: vec![(b"A".to_vec(), b"1".to_vec())],
            directory: b"/work".to_vec(),
            user: Some(User {
                uid: 1000,
                gid: 1001,
                groups: vec![27],
            }),
            terminal: Some(size()),
            limits: Limits {
                wall_millis: Some(1000),
                cpu_seconds: Some(2),
                files: Some(64),
                memory: Some(1 << 30),
                file_size: Some(1 << 20),
            },
            retain: 1 << 20,
            lifetime: Lifetime::Attached,
            input: true,
            follow: true,
            label: b"build".to_vec(),
        }))),
        (
            ".Detached".into(),
            Request::Start(Box::new(Start {
                arguments: vec![b"true".to_vec()],
                lifetime: Lifetime::Detached,
                ..Start::default()
            })),
        ),
    ];
    for from in [Position::Start, Position::Offset(300), Position::End] {
        let attach = Attach {
            process,
            from,
            follow: true,
            steer: false,
            lossless: true,
        };
        all.push((format!(".{}", word_of(from)), Request::Attach(attach)));
    }
    for how in [How::CreateNew, How::Replace, How::Append, How::At(300)] {
        let write = Write {
            place: place(),
            how,
            mode: Some(0o640),
            owner,
            make_parents: true,
            no_follow: false,
        };
        all.push((format!(".{}", word_of(how)), Request::Write(write)));
    }
    all.extend(
        [
            Request::Processes,
            Request::Signal { process, signal: 9 },
            Request::Resize {
                process,
                size: size(),
            },
            Request::Forget { process },
            Request::Read(Read {
                place: place(),
                offset: 1,
                length: Some(300),
                no_follow: true,
            }),
            Request::List(List {
                place: place(),
                depth: 2,
                limit: 1000,
            }),
            Request::Stat {
                place: place(),
                no_follow: true,
            },
            Request::MakeDirectory(MakeDirectory {
                place: place(),
                mode: 0o755,
                owner,
                parents: true,
            }),
            Request::MakeLink(MakeLink {
                place: place(),
                target: b"../c".to_vec(),
                owner: None,
            }),
            Request::SetMode {
                place: place(),
                mode: 0o600,
            },
            Request::Move(Move {
                root: b"/work".to_vec(),
                from: b"a".to_vec(),
                to: b"b".to_vec(),
                replace: true,
            }),
            Request::Remove {
                place: place(),
                recursive: true,
            },
            Request::Watch {
                place: place(),
                recursive: true,
            },
            Request::Metrics {
                path: b"/work".to_vec(),
            },
            Request::Shutdown { grace_millis: 5000 },
            Request::PrepareTool(PrepareTool {
                prepare: b"{}".to_vec(),
                files: true,
                ahead: b"/a".to_vec(),
            }),
            Request::RunTool(RunTool {
                launch: b"{}".to_vec(),
                output_limit: 1 << 20,
                wall_millis: 10_000,
            }),
            Request::Renew(renew(Renew::SEED_BYTES)),
            Request::PrepareSession(PrepareSession {
                prepare: b"{}".to_vec(),
                launch: b"{}".to_vec(),
            }),
        ]
        .map(plain),
    );
    all
}

fn renew(seed_bytes: usize) -> Renew {
    Renew {
        now_nanos: 1_700_000_000_000_000_000,
        seed: vec![7; seed_bytes],
    }
}

/// The variant's name.
fn word_of(value: impl std::fmt::Debug) -> String {
    format!("{value:?}").split('(').next().unwrap().to_owned()
}

fn replies() -> Vec<(String, Reply)> {
    let plain = |reply| (String::new(), reply);
    let exited = |status| Exited {
        status,
        usage: Usage {
            cpu_micros: 300,
            peak_memory: 1 << 20,
            wall_micros: 400,
        },
        timed_out: false,
    };
    let info = |state| ProcessInfo {
        process: ProcessId(300),
        pid: 7,
        label: b"build".to_vec(),
        arguments: vec![b"sh".to_vec()],
        started_millis: 1_700_000_000_000,
        terminal: true,
        lifetime: Lifetime::Detached,
        state,
        oldest: 10,
        newest: 300,
    };
    let stat = |kind| Stat {
        kind,
        size: 300,
        allocated: 4096,
        mode: 0o644,
        uid: 1000,
        gid: 1001,
        links: 1,
        inode: 400,
        modified: Time {
            seconds: -1,
            nanos: 5,
        },
        changed: Time {
            seconds: 1_700_000_000,
            nanos: 0,
        },
        target: Some(b"c".to_vec()),
    };
    let mut all = vec![
        plain(Reply::Started {
            process: ProcessId(300),
            pid: 7,
        }),
        plain(Reply::Attached {
            info: Box::new(info(State::Running)),
            offset: 20,
            lost: 10,
        }),
        plain(Reply::Gap { lost: 300 }),
        plain(Reply::Exited(exited(Status::Code(3)))),
        (".Signal".into(), Reply::Exited(exited(Status::Signal(9)))),
        plain(Reply::Processes(vec![info(State::Exited(exited(
            Status::Code(0),
        )))])),
        plain(Reply::Listed { more: true }),
        plain(Reply::Written { bytes: 300 }),
        plain(Reply::Watching),
        plain(Reply::Metrics(Metrics {
            running: 1,
            ended: 2,
            tasks: Some(3),
            memory: Some(4),
            peak_memory: Some(5),
            memory_limit: Some(6),
            cpu_micros: Some(7),
            uptime_millis: 8,
            connections: 9,
            retained: 10,
            disk: Some(Disk {
                total: 11,
                free: 12,
                files: 13,
                files_free: 14,
            }),
        })),
        plain(Reply::Done),
        plain(Reply::ToolStarted),
    ];
    for (stopped, output) in [
        (None, Some(300)),
        (Some(Stopped::TimedOut), None),
        (Some(Stopped::OutputLimit), None),
    ] {
        let ended = ToolEnded {
            exited: b"{}".to_vec(),
            stopped,
            output,
        };
        let detail = stopped.map_or_else(String::new, |stopped| format!(".{stopped:?}"));
        all.push((detail, Reply::ToolEnded(ended)));
    }
    for kind in [
        FileKind::File,
        FileKind::Directory,
        FileKind::Link,
        FileKind::Fifo,
        FileKind::Socket,
        FileKind::CharacterDevice,
        FileKind::BlockDevice,
        FileKind::Unknown,
    ] {
        all.push((format!(".{kind:?}"), Reply::Stat(stat(kind))));
    }
    all.push(plain(Reply::Entries(vec![Entry {
        path: b"a/b".to_vec(),
        stat: stat(FileKind::File),
    }])));
    for kind in [
        EventKind::Created,
        EventKind::Modified,
        EventKind::Written,
        EventKind::Attributes,
        EventKind::Removed,
        EventKind::MovedFrom(1),
        EventKind::MovedTo(1),
        EventKind::Ended,
        EventKind::Overflow,
        EventKind::Unwatched,
    ] {
        let event = Event {
            kind,
            path: b"a".to_vec(),
            directory: true,
        };
        all.push((format!(".{}", word_of(kind)), Reply::Events(vec![event])));
    }
    for code in [
        Code::Generation,
        Code::Invalid,
        Code::Limit,
        Code::Ending,
        Code::NoProgram,
        Code::NotExecutable,
        Code::NoDirectory,
        Code::NoUser,
        Code::NoProcess,
        Code::Ended,
        Code::Running,
        Code::NoTerminal,
        Code::NotFound,
        Code::Exists,
        Code::Denied,
        Code::Outside,
        Code::NotDirectory,
        Code::NotFile,
        Code::NotEmpty,
        Code::NoSpace,
        Code::Stalled,
        Code::Io,
        Code::NoTool,
        Code::NoMemory,
        Code::NoContainer,
    ] {
        all.push((
            format!(".{code:?}"),
            Reply::Failed(Failure::new(code, Some(2), "why")),
        ));
    }
    all
}
