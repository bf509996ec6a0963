//! An agent that follows a script, and a call that meets it.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::sleep;

use super::super::*;

/// Every call ends within this, by the runtime's clock, which runs ahead where nothing happens.
pub(super) const LONG: Duration = Duration::from_secs(3600);
/// The limit on output, in bytes.
pub(super) const LIMIT: usize = 1000;
pub(super) const WALL: Duration = Duration::from_secs(10);

/// What an agent does with its connection.
pub(super) enum Script {
    /// Sends these bytes, and keeps the connection open.
    Says(Vec<u8>),
    /// Sends these bytes and hangs up.
    HangsUp(Vec<u8>),
    /// Sends the first bytes, and then the second over and over.
    Repeats(Vec<u8>, Vec<u8>),
    /// Sends these bytes one a second.
    Drips(Vec<u8>),
    /// Neither reads nor says anything.
    Deaf,
}

pub(super) async fn play(script: Script, mut stream: UnixStream) {
    if matches!(script, Script::Deaf) {
        return std::future::pending().await;
    }
    let (mut from, mut to) = stream.split();
    let hear = async {
        let mut heard = vec![0; 64 << 10];
        while from.read(&mut heard).await.is_ok_and(|read| read > 0) {}
        std::future::pending::<()>().await;
    };
    let say = async {
        match script {
            Script::Says(bytes) => {
                let _ = to.write_all(&bytes).await;
                std::future::pending::<()>().await;
            }
            Script::HangsUp(bytes) => drop(to.write_all(&bytes).await),
            Script::Repeats(first, again) => {
                let _ = to.write_all(&first).await;
                while to.write_all(&again).await.is_ok() {
                    tokio::task::yield_now().await;
                }
            }
            Script::Drips(bytes) => {
                for byte in bytes {
                    sleep(Duration::from_secs(1)).await;
                    if to.write_all(&[byte]).await.is_err() {
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

/// What a call comes to with such an agent.
pub(super) async fn called(script: Script, wall: Duration) -> Result<ContainedEnd, AgentError> {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let playing = tokio::spawn(play(script, theirs));
    let request = Request::RunTool(RunTool {
        launch: b"{}".to_vec(),
        output_limit: LIMIT as u64,
        wall_millis: u64::try_from(wall.as_millis()).unwrap(),
    });
    // More than a socket holds until somebody reads it.
    let input = vec![b'x'; 4 << 20];
    let mut heard = Heard::new(LIMIT);
    let conversed = timeout(LONG, heard.converse(ours, &request, &input, wall)).await;
    playing.abort();
    let end = conversed.expect("it waits for ever")?;
    // Nothing of what came is kept beyond the limit, whatever was said of it.
    for kept in [&heard.stdout, &heard.stderr, &heard.output] {
        assert!(kept.len() <= LIMIT, "{} bytes are kept", kept.len());
    }
    Ok(heard.conclude(end, LIMIT as u64))
}

pub(super) async fn fails(script: Script) -> AgentError {
    match called(script, WALL).await {
        Ok(_) => panic!("it is taken for an end"),
        Err(error) => error,
    }
}

pub(super) async fn ends(script: Script) -> ContainedEnd {
    let called = called(script, WALL).await;
    called.unwrap_or_else(|error| panic!("{error:?}"))
}
