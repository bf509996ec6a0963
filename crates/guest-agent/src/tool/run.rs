//! Running the tool, once.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::rc::Rc;
use std::time::{Duration, Instant};

use axo_guest_proto::{Code, Failure, Kind, Reply, RunTool, Stopped, ToolEnded};
use axo_runner::{Exited, Launch, Request};
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::prepare::Prepared;
use super::runner::{Runner, confused};
use super::streams::Told;
use crate::agent::Agent;
use crate::client::{Broken, Reader, Writer, invalid, put_header, with_client};

/// Bytes of one frame of the output file.
const CHUNK: usize = 128 << 10;

/// Whatever ends this early drops the container, which ends the tool.
pub(crate) async fn run(
    agent: &Rc<Agent>,
    wanted: RunTool,
    reader: &mut Reader,
    writer: &mut Writer,
) -> Result<(), Broken> {
    let launch = serde_json::from_slice(&wanted.launch)
        .map_err(|e| invalid(&format!("a command that is none of ours: {e}")))?;
    let mut prepared = agent.tool.take()?;
    take_input(&mut prepared.input, reader).await?;
    let (ended, file) = tokio::select! {
        biased;
        ended = attend(*prepared, launch, &wanted, writer) => ended?,
        broken = reader.closed() => return Err(broken),
    };
    tell_end(ended, file, wanted.output_limit, writer).await
}

/// Fills the input file, which is in memory, and bounded by its file system.
async fn take_input(input: &mut File, reader: &mut Reader) -> Result<(), Broken> {
    loop {
        let (kind, payload) = with_client(reader.next()).await?;
        if kind != Kind::Input {
            return Err(invalid("only input belongs into a tool").into());
        }
        if payload.is_empty() {
            return Ok(());
        }
        input.write_all(payload).map_err(|e| {
            let code = match e.kind() {
                std::io::ErrorKind::StorageFull => Code::NoSpace,
                _ => Code::Io,
            };
            let why = format!("handing over the input: {e}");
            Failure::new(code, e.raw_os_error(), why)
        })?;
    }
}

/// Starts the tool, tells what it writes, and ends it at its limits.
async fn attend(
    prepared: Prepared,
    launch: Launch,
    wanted: &RunTool,
    writer: &mut Writer,
) -> Result<(ToolEnded, Option<File>), Broken> {
    let Prepared {
        runner,
        input,
        streams,
    } = prepared;
    drop(input);
    // The answer comes when the tool runs already.
    let started = Instant::now();
    runner.tell(&Request::Start(launch), &[]).await?;
    match runner.answer().await? {
        (axo_runner::Reply::Started, _) => {}
        _ => return Err(confused().into()),
    }
    writer.put(&Reply::ToolStarted);
    let wall = Duration::from_millis(wanted.wall_millis).saturating_sub(started.elapsed());
    let (flooded, is_flooded) = oneshot::channel();
    let (ended, has_ended) = oneshot::channel();
    let watched = async {
        let end = watch(&runner, wall, is_flooded).await?;
        let _ = ended.send(());
        Ok::<_, Broken>(end)
    };
    // Together: a host that takes nothing holds up the tool, but not its end.
    let told = streams.tell(wanted.output_limit, writer, flooded, has_ended);
    let (told, (stopped, exited, file)) = tokio::try_join!(told, watched)?;

    let flooded = (told == Told::OverLimit).then_some(Stopped::OutputLimit);
    let output = file.as_ref().map(|file| file.metadata());
    let output = output.transpose().map_err(|e| of_output(&e))?;
    let ended = ToolEnded {
        exited: serde_json::to_vec(&exited).map_err(|_| confused())?,
        stopped: stopped.or(flooded),
        output: output.map(|metadata| metadata.len()),
    };
    Ok((ended, file))
}

/// Waits for the end of the tool, and ends it at its time or when it has written too much.
async fn watch(
    runner: &Runner,
    wall: Duration,
    is_flooded: oneshot::Receiver<()>,
) -> Result<(Option<Stopped>, Exited, Option<File>), Failure> {
    let flooded = async {
        // Whoever would say so may have nothing more to say.
        if is_flooded.await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    let stopped = tokio::select! {
        biased;
        ended = runner.exited() => {
            let (exited, file) = ended?;
            return Ok((None, exited, file));
        }
        () = flooded => Stopped::OutputLimit,
        () = sleep(wall) => Stopped::TimedOut,
    };
    let (exited, file) = runner.kill().await?;
    Ok((Some(stopped), exited, file))
}

/// Says how it ended, and sends its output file: no more than is announced, and less if there is
/// less, which the host sees.
async fn tell_end(
    ended: ToolEnded,
    file: Option<File>,
    limit: u64,
    writer: &mut Writer,
) -> Result<(), Broken> {
    let announced = ended.output.filter(|length| *length <= limit).unwrap_or(0);
    writer.put(&Reply::ToolEnded(ended));
    if let Some(file) = file {
        let mut file = file.take(announced);
        let mut chunk = vec![0; CHUNK];
        loop {
            match file.read(&mut chunk) {
                Ok(0) => break,
                Ok(read) => {
                    put_header(writer.buffer(), Kind::Output, read);
                    writer.buffer().extend_from_slice(&chunk[..read]);
                    with_client(writer.flush()).await?;
                }
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(of_output(&e).into()),
            }
        }
    }
    writer.put(&Reply::Done);
    with_client(writer.flush()).await
}

fn of_output(e: &std::io::Error) -> Failure {
    let why = format!("reading the output file: {e}");
    Failure::new(Code::Io, e.raw_os_error(), why)
}
