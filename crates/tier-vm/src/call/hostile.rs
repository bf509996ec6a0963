//! Threats 38–40: a guest's agent that is not ours. It lies, floods, hangs up or says nothing; the call
//! ends in time, with an error that says what the agent did, or with an outcome that takes nothing on
//! trust but what the contract lets a guest say.

mod script;

use axo_core::{OutputFile, Requirement, Run, RunError, ToolName, ToolSpec};
use axo_guest_proto::{
    Code, Failure, GENERATION, HEADER_BYTES, Hello, ProtocolError, Renew, encode,
};

use super::*;
use crate::failed::failed;

use script::{LIMIT, LONG, Script, called, ends, fails, play};

fn hello() -> Vec<u8> {
    Hello::new("0.0.0").to_frame().unwrap()
}

/// One of more bytes than any answer is waited for, in seconds.
fn long_hello() -> Vec<u8> {
    Hello::new(&"0".repeat(64)).to_frame().unwrap()
}

/// A hello and these replies.
fn replies(replies: &[Reply]) -> Vec<u8> {
    let mut bytes = hello();
    for reply in replies {
        bytes.extend(reply.to_frame().unwrap());
    }
    bytes
}

fn started() -> Vec<u8> {
    replies(&[Reply::ToolStarted])
}

fn told(output: Option<u64>, exited: &[u8]) -> Reply {
    Reply::ToolEnded(ToolEnded {
        exited: exited.to_vec(),
        stopped: None,
        output,
    })
}

fn exited(code: i32, output: OutputFound) -> Vec<u8> {
    serde_json::to_vec(&Exited {
        status: Status::Exited(code),
        out_of_memory: false,
        cpu_micros: None,
        peak_memory: None,
        output,
    })
    .unwrap()
}

/// The end of a tool that says of its output file that it is so long.
fn ended(output: Option<u64>) -> Reply {
    told(output, &exited(0, OutputFound::Opened))
}

fn output(bytes: &[u8]) -> Vec<u8> {
    encode(Kind::Output, bytes).unwrap()
}

/// Everything that an agent says in a call that goes well, of which nothing may be missing.
fn whole() -> Vec<u8> {
    [
        started(),
        output(b"on stdout"),
        encode(Kind::Error, b"on stderr").unwrap(),
        ended(Some(4)).to_frame().unwrap(),
        output(b"file"),
    ]
    .concat()
}

#[tokio::test(start_paused = true)]
async fn an_honest_agent_is_believed() {
    let end = ends(Script::Says(whole())).await;
    assert_eq!(end.stopped, None);
    assert_eq!(end.exited.status, Status::Exited(0));
    assert_eq!(
        (&*end.stdout, &*end.stderr),
        (&b"on stdout"[..], &b"on stderr"[..])
    );
    assert_eq!(end.output_file, OutputFile::Read(b"file".to_vec()));
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_never_answers_is_given_up() {
    let silent = [
        Vec::new(),
        hello(),
        [started(), ended(Some(4)).to_frame().unwrap()].concat(),
    ];
    for bytes in silent {
        let error = fails(Script::Says(bytes)).await;
        assert!(matches!(error, AgentError::Late(_)), "{error:?}");
    }
    let error = fails(Script::Deaf).await;
    assert!(matches!(error, AgentError::Late(_)), "{error:?}");
    // Each byte in time, and all of them too late.
    let error = fails(Script::Drips(long_hello())).await;
    assert!(matches!(error, AgentError::Late(_)), "{error:?}");
}

/// The tool's time is ours to keep.
#[tokio::test(start_paused = true)]
async fn a_tool_of_which_no_end_is_told_is_stopped_at_its_time() {
    let end = ends(Script::Says(started())).await;
    assert_eq!(end.stopped, Some(Stopped::Late));
    assert_eq!(end.exited.status, Status::Signaled(9));
}

/// Nothing is taken for the end of a tool that was not told to its last byte.
#[tokio::test(start_paused = true)]
async fn an_agent_that_hangs_up_in_the_middle_costs_an_error() {
    let whole = whole();
    for end in 0..whole.len() {
        let error = fails(Script::HangsUp(whole[..end].to_vec())).await;
        assert!(matches!(error, AgentError::Broken(_)), "{end}: {error:?}");
    }
    let end = ends(Script::HangsUp(whole)).await;
    assert_eq!(end.output_file, OutputFile::Read(b"file".to_vec()));
}

#[tokio::test(start_paused = true)]
async fn a_length_that_lies_takes_no_memory() {
    let with_file = [started(), ended(Some(4)).to_frame().unwrap()].concat();
    for before in [Vec::new(), hello(), started(), with_file] {
        for length in [
            0,
            u32::MAX,
            1 << 31,
            u32::try_from(MAX_PAYLOAD).unwrap() + 2,
        ] {
            let mut lie = before.clone();
            lie.extend(length.to_be_bytes());
            lie.resize(lie.len() + 64, Kind::Output as u8);
            let error = fails(Script::Says(lie)).await;
            let length = matches!(error, AgentError::Protocol(ProtocolError::Length(_)));
            assert!(length, "{error:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn frames_that_are_none_are_refused() {
    let mut other = Hello::new("0.0.0");
    other.generation = GENERATION + 1;
    let error = fails(Script::Says(other.to_frame().unwrap())).await;
    assert!(matches!(error, AgentError::Generation(_)), "{error:?}");

    let unknown_kind = [0, 0, 0, 1, 0xff].to_vec();
    assert_eq!(unknown_kind.len(), HEADER_BYTES);
    let garbage = encode(Kind::Control, &[0xff; 32]).unwrap();
    let mut more = postcard_of(&Reply::ToolStarted);
    more.push(0);
    let trailing = encode(Kind::Control, &more).unwrap();
    for bad in [unknown_kind, garbage, trailing] {
        for before in [hello(), started()] {
            let error = fails(Script::Says([before, bad.clone()].concat())).await;
            assert!(matches!(error, AgentError::Protocol(_)), "{error:?}");
        }
    }
}

/// What is in the frame of a reply.
fn postcard_of(reply: &Reply) -> Vec<u8> {
    reply.to_frame().unwrap()[HEADER_BYTES..].to_vec()
}

#[tokio::test(start_paused = true)]
async fn answers_out_of_turn_are_refused() {
    let out_of_turn = [
        // Nothing before the hello, and no second one.
        Reply::ToolStarted.to_frame().unwrap(),
        [hello(), hello()].concat(),
        [started(), hello()].concat(),
        // Neither output nor an end of what has not begun.
        [hello(), output(b"early")].concat(),
        replies(&[ended(None)]),
        replies(&[Reply::Done]),
        // Begun twice, or another operation's answer.
        replies(&[Reply::ToolStarted, Reply::ToolStarted]),
        replies(&[Reply::ToolStarted, Reply::Done]),
        replies(&[Reply::ToolStarted, Reply::Watching]),
        // What only a client sends.
        [started(), encode(Kind::Input, b"x").unwrap()].concat(),
    ];
    for (number, bytes) in out_of_turn.into_iter().enumerate() {
        let error = fails(Script::Says(bytes)).await;
        let unexpected = matches!(error, AgentError::Unexpected);
        assert!(unexpected, "{number}: {error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_tool_ends_once() {
    let first = told(None, &exited(3, OutputFound::Absent));
    let second = told(Some(4), &exited(0, OutputFound::Opened));
    let bytes = [
        replies(&[Reply::ToolStarted, first, second]),
        output(b"file"),
    ]
    .concat();
    let end = ends(Script::Says(bytes)).await;
    assert_eq!(end.exited.status, Status::Exited(3));
    assert_eq!(end.output_file, OutputFile::Absent);
}

#[tokio::test(start_paused = true)]
async fn an_end_in_words_that_are_none_is_no_end() {
    let nobody = br#"{"status":{"Exited":"zero"},"out_of_memory":false}"#;
    for exited in [
        &b""[..],
        b"garbage",
        b"{}",
        b"[[[[[[[[",
        nobody,
        &[b'['; 4096],
    ] {
        let error = fails(Script::Says(replies(&[
            Reply::ToolStarted,
            told(None, exited),
        ])))
        .await;
        assert!(matches!(error, AgentError::NoEnd), "{error:?}");
    }
    // More than an end takes is not even a message.
    let too_long = ToolEnded {
        exited: vec![b' '; 4097],
        stopped: None,
        output: None,
    };
    assert!(Reply::ToolEnded(too_long).to_frame().is_err());
}

#[tokio::test(start_paused = true)]
async fn an_output_file_is_as_long_as_was_said_or_none() {
    let says = |output: Option<u64>, then: Vec<u8>| {
        Script::Says([started(), ended(output).to_frame().unwrap(), then].concat())
    };
    // Longer than may be: refused, and nothing of it is waited for.
    for length in [LIMIT as u64 + 1, 1 << 40, u64::MAX] {
        let end = ends(says(Some(length), Vec::new())).await;
        let OutputFile::Refused(why) = end.output_file else {
            panic!("{:?}", end.output_file);
        };
        assert!(why.contains(&length.to_string()), "{why}");
    }
    let end = ends(says(None, output(b"file"))).await;
    assert!(
        matches!(end.output_file, OutputFile::Refused(_)),
        "{:?}",
        end.output_file
    );
    // Another length than was said, another stream, or nothing in many frames.
    for then in [
        output(b"files"),
        [output(b"fi"), output(b"les")].concat(),
        [output(b"fil"), Reply::Done.to_frame().unwrap()].concat(),
        encode(Kind::Error, b"file").unwrap(),
        output(b""),
    ] {
        let error = fails(says(Some(4), then)).await;
        assert!(matches!(error, AgentError::Unexpected), "{error:?}");
    }
}

/// By the real clock, as there is always something to do.
#[tokio::test]
async fn a_flood_of_output_is_cut_at_the_limit() {
    for kind in [Kind::Output, Kind::Error] {
        for size in [1, 7, LIMIT + 1, MAX_PAYLOAD] {
            let chunk = encode(kind, &vec![7; size]).unwrap();
            let end = ends(Script::Repeats(started(), chunk)).await;
            assert_eq!(end.stopped, Some(Stopped::Flooding));
            let kept = match kind {
                Kind::Output => end.stdout,
                _ => end.stderr,
            };
            assert_eq!(kept, vec![7; LIMIT]);
        }
    }
}

/// By the real clock, too.
#[tokio::test]
async fn a_flood_of_nothing_ends_with_the_tools_time() {
    let called = called(
        Script::Repeats(started(), output(b"")),
        Duration::from_millis(200),
    );
    let end = called.await.unwrap_or_else(|error| panic!("{error:?}"));
    assert_eq!(end.stopped, Some(Stopped::Late));
}

/// What has one answer, as preparing and renewing have.
#[tokio::test(start_paused = true)]
async fn an_operation_is_done_if_the_agent_says_so_and_only_then() {
    let renewed = async |script: Script| {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let playing = tokio::spawn(play(script, theirs));
        let renew = Request::Renew(Renew {
            now_nanos: 1,
            seed: vec![7; Renew::SEED_BYTES],
        });
        let done = timeout(LONG, Operation::done(ours, &renew, ANSWER)).await;
        playing.abort();
        done.expect("it waits for ever")
    };
    renewed(Script::Says(replies(&[Reply::Done])))
        .await
        .unwrap();
    for silent in [
        Script::Deaf,
        Script::Says(hello()),
        Script::Drips(long_hello()),
    ] {
        let error = renewed(silent).await.unwrap_err();
        assert!(matches!(error, AgentError::Late(_)), "{error:?}");
    }
    for other in [
        replies(&[Reply::ToolStarted, Reply::Done]),
        [hello(), output(b"done")].concat(),
        Reply::Done.to_frame().unwrap(),
    ] {
        let error = renewed(Script::Says(other)).await.unwrap_err();
        assert!(matches!(error, AgentError::Unexpected), "{error:?}");
    }
    let failure = Failure::new(Code::Io, None, "no");
    let error = renewed(Script::Says(replies(&[Reply::Failed(failure)]))).await;
    assert!(matches!(error, Err(AgentError::Failed(_))), "{error:?}");
    let done = replies(&[Reply::Done]);
    for end in 0..done.len() {
        let error = renewed(Script::HangsUp(done[..end].to_vec())).await;
        assert!(matches!(error, Err(AgentError::Broken(_))), "{error:?}");
    }
}

/// The tool is blamed for what is the tool's, and for nothing that an agent alone can do wrong.
#[test]
fn what_an_agent_does_wrong_is_not_the_tools_fault() {
    let name = ToolName::parse("probe").unwrap();
    let run = Run::Bundle("/bundle".into());
    let tool = ToolSpec::new(name, Requirement::ContainerImage, run);
    let of = |source: AgentError| {
        failed(
            &tool,
            Failed::Agent {
                source,
                console: "the last line".into(),
            },
        )
    };
    for error in [
        AgentError::Broken(std::io::ErrorKind::UnexpectedEof.into()),
        AgentError::Late(ANSWER),
        AgentError::Protocol(ProtocolError::Length(0)),
        AgentError::Unexpected,
        AgentError::NoEnd,
        AgentError::Generation(2),
        AgentError::Failed(Failure::new(Code::NoContainer, None, "no container")),
    ] {
        let said = error.to_string();
        let error = of(error);
        assert!(matches!(error, RunError::Host { .. }), "{error:?}");
        let text = axo_core::chain(&error).to_string();
        assert!(text.contains(&said) && text.contains("last line"), "{text}");
    }
    for code in [Code::NotExecutable, Code::NoMemory] {
        let error = of(AgentError::Failed(Failure::new(code, None, "why")));
        assert!(matches!(error, RunError::BadTool { .. }), "{error:?}");
    }
}
