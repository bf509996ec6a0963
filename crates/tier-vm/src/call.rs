//! One call in a machine whose container waits for it.

use std::time::{Duration, Instant};

use axo_core::{OutputFile, PlacedCall};
use axo_guest_proto::machine::PORT;
use axo_guest_proto::{Kind, MAX_PAYLOAD, Message as _, Reply, Request, RunTool, ToolEnded};
use axo_runner::{Exited, Launch, OutputFound, Status};
use axo_tier_oci::{ContainedEnd, Stopped};
use tokio::net::UnixStream;
use tokio::time::{Instant as Deadline, timeout, timeout_at};

use crate::agent::{ANSWER, AgentError, Hears, Operation, Tells, within};
use crate::failed::Failed;
use crate::machine::{End, How, Machine};

/// How long the agent may take over ending a tool at its time limit before the machine is ended.
const GRACE: Duration = Duration::from_millis(150);
/// How long the agent may take to execute the tool. Longer than it gives its runner, so that it can
/// say what was not done.
const START: Duration = Duration::from_secs(70);
/// How long after a broken connection the end of the machine is waited for, which explains it.
const EXPLAIN: Duration = Duration::from_secs(1);
/// How long the output of a tool that has ended may take to come.
const READ: Duration = Duration::from_secs(30);

/// A call that came to no end that a tool comes to.
pub(crate) struct Unfinished {
    /// Whether the tool may have begun.
    pub(crate) started: bool,
    pub(crate) failed: Failed,
}

impl<E: Into<Failed>> From<E> for Unfinished {
    fn from(failed: E) -> Self {
        Self {
            started: false,
            failed: failed.into(),
        }
    }
}

/// Runs the call. The machine is of no use afterwards.
pub(crate) async fn run(
    machine: &Machine,
    launch: &Launch,
    call: &PlacedCall,
) -> Result<ContainedEnd, Unfinished> {
    let limits = call.limits();
    let input = call.input().text().as_bytes();
    let request = Request::RunTool(RunTool {
        launch: serde_json::to_vec(launch).map_err(Failed::ours)?,
        output_limit: limits.output.bytes(),
        wall_millis: u64::try_from(limits.wall.as_millis()).unwrap_or(u64::MAX),
    });
    let stream = machine.connect(PORT, ANSWER).await?;
    let mut heard = Heard::new(limits.output.as_usize());
    let failed = tokio::select! {
        end = heard.converse(stream, &request, input, limits.wall) => match end {
            Ok(end) => return Ok(heard.conclude(end, limits.output.bytes())),
            Err(error) => explained(machine, error).await,
        },
        ended = machine.ended() => died(machine, ended),
    };
    match failed {
        // The host's memory limit of the whole machine is the tool's, with room for its kernel.
        Failed::Died { ended, .. } if ended.how == How::OutOfMemory && heard.started.is_some() => {
            Ok(heard.conclude(Ending::OutOfMemory, limits.output.bytes()))
        }
        failed => Err(Unfinished {
            started: heard.started.is_some(),
            failed,
        }),
    }
}

/// A machine that dies closes its connections before it is known how it died.
async fn explained(machine: &Machine, error: AgentError) -> Failed {
    let ended = match error {
        AgentError::Broken(_) => timeout(EXPLAIN, machine.ended()).await.ok(),
        _ => None,
    };
    match ended {
        Some(ended) => died(machine, ended),
        None => Failed::Agent {
            source: error,
            console: machine.last_lines(),
        },
    }
}

fn died(machine: &Machine, ended: End) -> Failed {
    Failed::Died {
        ended,
        console: machine.last_lines(),
    }
}

/// Sends the whole input, and its end.
async fn tell(tells: &mut Tells, input: &[u8]) -> Result<(), AgentError> {
    for chunk in input.chunks(MAX_PAYLOAD) {
        tells.input(chunk).await?;
    }
    tells.input(&[]).await
}

/// What was heard of a tool.
struct Heard {
    limit: usize,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    output: Vec<u8>,
    started: Option<Instant>,
    wall: Duration,
}

/// How the tool ended, as far as it is known.
enum Ending {
    /// The agent told.
    Told { told: ToolEnded, exited: Exited },
    /// We did not wait for the agent.
    Ours(Stopped),
    /// The machine had no more memory.
    OutOfMemory,
}

impl Heard {
    const fn new(limit: usize) -> Self {
        Self {
            limit,
            stdout: Vec::new(),
            stderr: Vec::new(),
            output: Vec::new(),
            started: None,
            wall: Duration::ZERO,
        }
    }

    /// Has the agent run the tool on `input`, and hears what becomes of it. All that the agent may
    /// take its time over ends by a deadline of ours.
    async fn converse(
        &mut self,
        stream: UnixStream,
        request: &Request,
        input: &[u8],
        wall: Duration,
    ) -> Result<Ending, AgentError> {
        let Operation {
            mut hears,
            mut tells,
        } = Operation::begin(stream, request).await?;
        // Input and answers at once: the agent may answer before it has taken everything.
        let told = tell(&mut tells, input);
        let ended = self.attend(&mut hears, wall);
        tokio::pin!(told, ended);
        tokio::select! {
            ended = &mut ended => ended,
            // Why it was not taken, if it was not, is heard.
            _ = &mut told => ended.await,
        }
    }

    /// Hears a tool from its start to its end, and its output file.
    async fn attend(&mut self, hears: &mut Hears, wall: Duration) -> Result<Ending, AgentError> {
        match within(START, Self::control(hears)).await? {
            Reply::ToolStarted => {}
            Reply::Failed(failure) => return Err(AgentError::Failed(failure)),
            _ => return Err(AgentError::Unexpected),
        }
        let started = Instant::now();
        self.started = Some(started);
        let late = Deadline::from_std(started + wall + GRACE);
        let end = match timeout_at(late, self.streams(hears)).await {
            Ok(end) => end?,
            Err(_) => Ending::Ours(Stopped::Late),
        };
        self.wall = started.elapsed();
        if let Ending::Told { told, .. } = &end
            && let Some(length) = told.output
        {
            within(READ, self.file(hears, length)).await?;
        }
        Ok(end)
    }

    async fn control(hears: &mut Hears) -> Result<Reply, AgentError> {
        match hears.frame().await? {
            Kind::Control => Ok(Reply::from_payload(hears.payload())?),
            _ => Err(AgentError::Unexpected),
        }
    }

    /// Keeps what both streams bring, each up to the limit, until the tool has ended.
    async fn streams(&mut self, hears: &mut Hears) -> Result<Ending, AgentError> {
        loop {
            let kept = match hears.frame().await? {
                Kind::Output => &mut self.stdout,
                Kind::Error => &mut self.stderr,
                Kind::Control => match Reply::from_payload(hears.payload())? {
                    Reply::ToolEnded(told) => {
                        let exited = serde_json::from_slice(&told.exited);
                        let exited = exited.map_err(|_| AgentError::NoEnd)?;
                        return Ok(Ending::Told { told, exited });
                    }
                    Reply::Failed(failure) => return Err(AgentError::Failed(failure)),
                    _ => return Err(AgentError::Unexpected),
                },
                _ => return Err(AgentError::Unexpected),
            };
            let room = self.limit.saturating_sub(kept.len());
            let bytes = hears.payload();
            kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
            if bytes.len() > room {
                return Ok(Ending::Ours(Stopped::Flooding));
            }
        }
    }

    /// The output file of this length, which is no more than the limit unless the agent lies.
    async fn file(&mut self, hears: &mut Hears, length: u64) -> Result<(), AgentError> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > self.limit {
            return Ok(());
        }
        while self.output.len() < length {
            match hears.frame().await? {
                // An empty one would be one of many.
                Kind::Output
                    if !hears.payload().is_empty()
                        && self.output.len() + hears.payload().len() <= length =>
                {
                    self.output.extend_from_slice(hears.payload());
                }
                _ => return Err(AgentError::Unexpected),
            }
        }
        Ok(())
    }

    fn conclude(self, end: Ending, limit: u64) -> ContainedEnd {
        let (stopped, exited, output_file) = match end {
            Ending::Ours(stopped) => {
                let output = OutputFile::Refused("the tool was stopped".into());
                (Some(stopped), unknown(), output)
            }
            Ending::OutOfMemory => {
                let exited = Exited {
                    out_of_memory: true,
                    ..unknown()
                };
                let output = OutputFile::Refused("the tool was stopped".into());
                (None, exited, output)
            }
            Ending::Told { told, exited } => {
                let output = match (&exited.output, told.output) {
                    (OutputFound::Absent, _) => OutputFile::Absent,
                    (OutputFound::Refused(why), _) => OutputFile::Refused(why.clone()),
                    (OutputFound::Opened, None) => {
                        OutputFile::Refused("it could not be read".into())
                    }
                    (OutputFound::Opened, Some(length)) if length > limit => OutputFile::Refused(
                        format!("it has {length} bytes, and the limit is {limit}"),
                    ),
                    (OutputFound::Opened, Some(_)) => OutputFile::Read(self.output),
                };
                (told.stopped.map(stopped), exited, output)
            }
        };
        ContainedEnd {
            stopped,
            exited,
            wall: self.wall,
            stdout: self.stdout,
            stderr: self.stderr,
            output_file,
        }
    }
}

const fn stopped(told: axo_guest_proto::Stopped) -> Stopped {
    match told {
        axo_guest_proto::Stopped::TimedOut => Stopped::Late,
        axo_guest_proto::Stopped::OutputLimit => Stopped::Flooding,
    }
}

/// What is known of a tool that we have ended with its machine.
const fn unknown() -> Exited {
    Exited {
        status: Status::Signaled(9),
        out_of_memory: false,
        cpu_micros: None,
        peak_memory: None,
        output: OutputFound::Absent,
    }
}

#[cfg(test)]
mod hostile;
