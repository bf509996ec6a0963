//! One session: its processes, files, and end.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use axo_core::chain;

use crate::agent::proto::{
    Attach, Exited, Metrics, Position, ProcessId, ProcessInfo, Size, Status,
};
use crate::agent::{Agent, Files, Process, ProcessEvent, Run};
use crate::directory::Identity;
use crate::lifecycle::{self, Lifecycle};
use crate::means::Means;
use crate::record::Record;
use crate::sync::{SyncOptions, Synced};
use crate::table::Turn;
use crate::{AgentError, SessionError, SessionTier, State, machine, sync};

/// How long to wait for somebody else who moves the session, and how often to look.
const TURN: Duration = Duration::from_secs(150);
const GLANCE: Duration = Duration::from_millis(20);
/// How long a setup command may take.
const SETUP: Duration = Duration::from_secs(1800);
/// How much longer to wait for its end.
const WIND_UP: Duration = Duration::from_secs(60);
/// How much of a setup command's output its error quotes, in bytes.
const SAID: usize = 2048;

/// A session. Clones are handles on the same one.
#[derive(Clone, Debug)]
pub struct Session {
    means: Means,
    life: Lifecycle,
}

/// A process's end and what it wrote, as far as that was kept.
#[derive(Clone, Debug)]
pub struct Finished {
    /// How it ended.
    pub exited: Exited,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
    /// Whether more was written than was kept.
    pub cut: bool,
}

impl Session {
    pub(crate) const fn new(means: Means, life: Lifecycle) -> Self {
        Self { means, life }
    }

    /// What is known of it.
    #[must_use]
    pub fn record(&self) -> Record {
        self.life.record()
    }

    /// Finds out what has become of it; [`Self::record`] tells.
    ///
    /// # Errors
    /// [`SessionError`], if podman has to be asked and does not answer.
    pub async fn look(&self) -> Result<(), SessionError> {
        self.life.look().await
    }

    /// Tells every change of its state that this process sees.
    #[must_use]
    pub fn watch(&self) -> tokio::sync::watch::Receiver<Record> {
        self.life.watch()
    }

    /// Starts it and runs the project's commands that set it up; then it is ready.
    pub(crate) async fn start(
        &self,
        rootfs: PathBuf,
        directory: Option<Identity>,
        turn: Turn,
        setup: &[String],
    ) -> Result<(), SessionError> {
        let turn = self.life.start(rootfs, directory, turn).await?;
        for command in setup {
            if let Err(error) = self.set_up(command).await {
                // What was set up by half is of no use.
                let abandoned = self.life.abandon(turn, chain(&error)).await;
                if let Err(left) = abandoned {
                    // What matters more is why.
                    tracing::warn!(session = %self.record().id, error = %left, "what a failed set-up left is not removed; gc does it");
                }
                return Err(error);
            }
        }
        self.life.open(turn).await
    }

    /// Ends it: `SIGTERM` to its processes, after `grace` `SIGKILL`, then its container is removed.
    ///
    /// # Errors
    /// [`SessionError`]. What remains then is removed by [`crate::Sessions::gc`].
    pub async fn stop(&self, grace: Duration) -> Result<(), SessionError> {
        let turn = match self.turn().await {
            // Whoever has it brings the directory back, and may be held up by the session, which is to
            // end: so its machine goes first.
            Err(SessionError::Busy(id)) if self.copies() => {
                machine::remove(&self.means, &id).await?;
                self.turn().await?
            }
            turn => turn?,
        };
        self.life.stop(turn, grace).await
    }

    /// The turn on the session. It is waited for here and not by the task that owns the session: who
    /// has it may need that task to give it back.
    async fn turn(&self) -> Result<Turn, SessionError> {
        let (id, started) = (self.record().id, Instant::now());
        loop {
            if let Some(turn) = self.means.table.take_turn(&id)? {
                return Ok(turn);
            }
            if started.elapsed() > TURN {
                return Err(SessionError::Busy(id));
            }
            tokio::time::sleep(GLANCE).await;
        }
    }

    /// Brings its copy of the directory back to this host: see [`SyncOptions`]. What only this host has
    /// changed stays. Nothing is written unless everything came out of the session. With a dry run,
    /// says what is not on this host yet, and what stops it from coming.
    ///
    /// # Errors
    /// [`SessionError::Sync`].
    pub async fn sync(&self, options: SyncOptions) -> Result<Synced, SessionError> {
        // While we have it, nobody else does this, or ends the session.
        let turn = self.turn().await?;
        let agent = self.agent()?;
        Ok(sync::back(&agent, &self.means.table, &self.record(), options, turn).await?)
    }

    /// Whether everything that it made of its copy of a directory is on this host; one that has none, or
    /// does not run, has nothing to bring back.
    ///
    /// # Errors
    /// [`SessionError::NotBroughtBack`], and why it cannot be told.
    pub async fn check_brought_back(&self) -> Result<(), SessionError> {
        if !self.copies() {
            return Ok(());
        }
        let record = self.record();
        let options = SyncOptions {
            delete: false,
            force: true,
            dry_run: true,
        };
        let not_known = |error: SessionError| SessionError::NotKnown {
            called: record.called().to_owned(),
            source: Box::new(error),
        };
        let synced = self.sync(options).await.map_err(not_known)?;
        // What was only removed is on this host still.
        match synced.written.len() + synced.in_the_way.len() + synced.unread.len() {
            0 => Ok(()),
            count => Err(SessionError::NotBroughtBack {
                called: record.called().to_owned(),
                count,
                unread: synced.unread,
            }),
        }
    }

    /// Whether it runs with a copy of a directory.
    fn copies(&self) -> bool {
        let record = self.record();
        let copied = record.tier == SessionTier::MicroVm && record.directory.is_some();
        copied && record.state == State::Ready
    }

    /// Its agent, which everything below goes through.
    ///
    /// # Errors
    /// [`SessionError::NotReady`] if it runs none.
    pub fn agent(&self) -> Result<Agent, SessionError> {
        let record = self.record();
        match record.state {
            State::Ready => Ok(lifecycle::agent_of(&self.means, &record)),
            state => Err(SessionError::NotReady {
                called: record.called().to_owned(),
                state,
                why: record.why,
                fix: match state {
                    State::Starting => "wait until it is ready",
                    State::Stopping | State::Stopped | State::Lost | State::Ready => {
                        "`axocoatl session create` makes a new one"
                    }
                },
            }),
        }
    }

    /// Starts a process, with the session's variables and directory.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn run(&self, run: Run) -> Result<Process, SessionError> {
        self.run_by(&self.agent()?, run).await
    }

    async fn run_by(&self, agent: &Agent, mut run: Run) -> Result<Process, SessionError> {
        let record = self.record();
        let given = std::mem::take(&mut run.environment);
        let named = |name: &str| given.iter().any(|(n, _)| n == name.as_bytes());
        let inherited = record.environment.iter().filter(|(name, _)| !named(name));
        run.environment = inherited
            .map(|(name, value)| (name.clone().into_bytes(), value.clone().into_bytes()))
            .collect();
        run.environment.extend(given);
        run.directory
            .get_or_insert_with(|| record.working_directory.into_bytes());
        Ok(agent.start(run).await?)
    }

    /// Runs a process to its end and keeps at most `keep` bytes of each of its streams.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn output(&self, run: Run, keep: usize) -> Result<Finished, SessionError> {
        self.output_by(&self.agent()?, run, keep).await
    }

    async fn output_by(
        &self,
        agent: &Agent,
        mut run: Run,
        keep: usize,
    ) -> Result<Finished, SessionError> {
        run.follow = true;
        let mut process = self.run_by(agent, run).await?;
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let (mut cut, mut lost) = (false, false);
        let mut add = |to: &mut Vec<u8>, bytes: &[u8]| {
            let room = keep - to.len();
            cut |= bytes.len() > room;
            to.extend_from_slice(&bytes[..bytes.len().min(room)]);
        };
        loop {
            match process.next().await? {
                Some(ProcessEvent::Output(bytes)) => add(&mut stdout, bytes),
                Some(ProcessEvent::Error(bytes)) => add(&mut stderr, bytes),
                Some(ProcessEvent::Exited(exited)) => {
                    return Ok(Finished {
                        exited,
                        stdout,
                        stderr,
                        cut: cut || lost,
                    });
                }
                Some(ProcessEvent::Gap(_)) => lost = true,
                Some(ProcessEvent::Done) | None => {
                    return Err(AgentError::Unexpected { answer: "no end" }.into());
                }
            }
        }
    }

    /// Runs a command of the project that sets it up, while it is not ready for anything else.
    async fn set_up(&self, command: &str) -> Result<(), SessionError> {
        let mut run = Run::new(["/bin/sh", "-c", command]);
        run.limits.wall_millis = u64::try_from(SETUP.as_millis()).ok();
        let agent = lifecycle::agent_of(&self.means, &self.record());
        // The agent keeps the time; one that does not keeps nobody for ever.
        let output = self.output_by(&agent, run, 1 << 20);
        let finished = tokio::time::timeout(SETUP + WIND_UP, output)
            .await
            .map_err(|_| AgentError::Late(SETUP + WIND_UP))??;
        if finished.exited.status == Status::Code(0) {
            return Ok(());
        }
        let written = [finished.stdout, finished.stderr].concat();
        let end = &written[written.len().saturating_sub(SAID)..];
        Err(SessionError::Setup {
            command: command.chars().take(200).collect(),
            status: match finished.exited.status {
                _ if finished.exited.timed_out => {
                    format!("no end within {} min", SETUP.as_secs() / 60)
                }
                Status::Code(code) => format!("status {code}"),
                Status::Signal(signal) => format!("signal {signal}"),
            },
            said: String::from_utf8_lossy(end).trim().to_owned(),
        })
    }

    /// Hears a process from `from` on.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn attach(
        &self,
        process: ProcessId,
        from: Position,
        steer: bool,
    ) -> Result<Process, SessionError> {
        let attach = Attach {
            process,
            from,
            follow: true,
            steer,
            lossless: steer,
        };
        Ok(self.agent()?.attach(attach).await?)
    }

    /// The processes that were started in it, those that ended too.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn processes(&self) -> Result<Vec<ProcessInfo>, SessionError> {
        Ok(self.agent()?.processes().await?)
    }

    /// Sends a signal to a process and its group.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn signal(&self, process: ProcessId, signal: i32) -> Result<(), SessionError> {
        Ok(self.agent()?.signal(process, signal).await?)
    }

    /// Resizes a process's terminal.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn resize(&self, process: ProcessId, size: Size) -> Result<(), SessionError> {
        Ok(self.agent()?.resize(process, size).await?)
    }

    /// What it uses.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn metrics(&self) -> Result<Metrics, SessionError> {
        Ok(self.agent()?.metrics(b"/tmp").await?)
    }

    /// Its files beneath `root`, an absolute directory in it. Copies follow no link on this host that a
    /// session can have made.
    ///
    /// # Errors
    /// [`SessionError::NotReady`].
    pub fn files(&self, root: impl Into<Vec<u8>>) -> Result<Files, SessionError> {
        let agent = self.agent()?;
        let (records, _) = self.means.table.all()?;
        let writable = records
            .iter()
            .filter_map(|record| record.directory.as_deref());
        let writable = writable
            .filter_map(|path| Identity::of(path).ok())
            .collect();
        Ok(agent.files(root).among(writable))
    }
}
