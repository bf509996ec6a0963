//! One task owns a session's life in this process; everybody else asks it. Between processes, who
//! moves a session to another state holds its turn (see [`crate::table`]).

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};

use crate::agent::{Agent, AgentError, Endpoint};
use crate::container::Fate;
use crate::directory::Identity;
use crate::host::{SOCKET, SessionHost};
use crate::means::Means;
use crate::record::Record;
use crate::table::Turn;
use crate::transport::Crossing;
use crate::{Refused, RefusedReason, SessionError, SessionTier, State, Transport, sync};

/// How long a new agent may take to answer for the first time.
const READY: Duration = Duration::from_secs(30);
/// How long an agent may take over ending what runs, beyond the grace it was given.
const WIND_UP: Duration = Duration::from_secs(5);
/// How often something is looked for that comes without notice.
const GLANCE: Duration = Duration::from_millis(20);

/// Asks the task that owns a session.
#[derive(Clone, Debug)]
pub(crate) struct Lifecycle {
    requests: mpsc::Sender<Request>,
    record: watch::Receiver<Record>,
}

#[derive(Debug)]
enum Request {
    /// Make the container, and wait until its agent answers.
    Start {
        rootfs: PathBuf,
        directory: Option<Identity>,
        turn: Turn,
        answer: oneshot::Sender<Result<Turn, SessionError>>,
    },
    /// It is set up.
    Open {
        turn: Turn,
        answer: oneshot::Sender<Result<(), SessionError>>,
    },
    /// It cannot be set up: end it.
    Abandon {
        turn: Turn,
        why: String,
        answer: oneshot::Sender<Result<(), SessionError>>,
    },
    /// Find out what has become of it.
    Look(oneshot::Sender<Result<(), SessionError>>),
    /// End it.
    Stop {
        turn: Turn,
        grace: Duration,
        answer: oneshot::Sender<Result<(), SessionError>>,
    },
}

struct Task {
    means: Means,
    record: watch::Sender<Record>,
}

/// Where the agent of a session is reached.
pub(crate) fn agent_of(means: &Means, record: &Record) -> Agent {
    Agent::new(match (record.tier, record.transport) {
        (SessionTier::MicroVm, _) => Endpoint::Machine(means.keeper(&record.id)),
        (SessionTier::Podman, Transport::Socket) => Endpoint::Socket {
            directory: means.table.socket_directory(&record.id),
            name: SOCKET,
        },
        (SessionTier::Podman, Transport::Bridge) => {
            Endpoint::Bridge(Crossing::new(means.clone(), record.id.clone()))
        }
    })
}

impl Lifecycle {
    /// Takes on a session whose record is in the table.
    pub(crate) fn adopt(means: Means, record: Record) -> Self {
        let (requests, inbox) = mpsc::channel(16);
        let (sender, receiver) = watch::channel(record);
        tokio::spawn(
            Task {
                means,
                record: sender,
            }
            .serve(inbox),
        );
        Self {
            requests,
            record: receiver,
        }
    }

    /// The session as it was last seen.
    pub(crate) fn record(&self) -> Record {
        self.record.borrow().clone()
    }

    /// Tells every change of the session's state that this process sees.
    pub(crate) fn watch(&self) -> watch::Receiver<Record> {
        self.record.clone()
    }

    /// Makes the container, and returns the turn when its agent answers. Whoever has the turn then
    /// sets the session up; without it, what is not ready is taken for abandoned.
    pub(crate) async fn start(
        &self,
        rootfs: PathBuf,
        directory: Option<Identity>,
        turn: Turn,
    ) -> Result<Turn, SessionError> {
        self.ask(|answer| Request::Start {
            rootfs,
            directory,
            turn,
            answer,
        })
        .await
    }

    /// Makes the session ready.
    pub(crate) async fn open(&self, turn: Turn) -> Result<(), SessionError> {
        self.ask(|answer| Request::Open { turn, answer }).await
    }

    /// Ends a session that could not be set up.
    pub(crate) async fn abandon(&self, turn: Turn, why: String) -> Result<(), SessionError> {
        self.ask(|answer| Request::Abandon { turn, why, answer })
            .await
    }

    pub(crate) async fn look(&self) -> Result<(), SessionError> {
        self.ask(Request::Look).await
    }

    pub(crate) async fn stop(&self, turn: Turn, grace: Duration) -> Result<(), SessionError> {
        self.ask(|answer| Request::Stop {
            turn,
            grace,
            answer,
        })
        .await
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, SessionError>>) -> Request,
    ) -> Result<T, SessionError> {
        let (answer, answered) = oneshot::channel();
        let busy = || SessionError::Busy(self.record.borrow().id.clone());
        self.requests
            .send(request(answer))
            .await
            .map_err(|_| busy())?;
        answered.await.map_err(|_| busy())?
    }
}

impl Task {
    /// Until nobody can ask any more.
    async fn serve(self, mut inbox: mpsc::Receiver<Request>) {
        while let Some(request) = inbox.recv().await {
            // Whoever asked may have gone; what was asked is done all the same.
            match request {
                Request::Start {
                    rootfs,
                    directory,
                    turn,
                    answer,
                } => {
                    drop(answer.send(self.start(&rootfs, directory.as_ref(), turn).await));
                }
                Request::Open { turn, answer } => {
                    drop(answer.send(self.advance(&turn, State::Ready, None)));
                }
                Request::Abandon { turn, why, answer } => {
                    drop(answer.send(self.clear(&turn, State::Lost, why).await));
                }
                Request::Look(answer) => drop(answer.send(self.look().await)),
                Request::Stop {
                    turn,
                    grace,
                    answer,
                } => drop(answer.send(self.stop(turn, grace).await)),
            }
        }
    }

    fn agent(&self) -> Agent {
        agent_of(&self.means, &self.record.borrow())
    }

    /// What it lives in.
    async fn host(&self) -> Result<SessionHost, SessionError> {
        let tier = self.record.borrow().tier;
        self.means.host(tier).await
    }

    fn id(&self) -> crate::SessionId {
        self.record.borrow().id.clone()
    }

    fn state(&self) -> State {
        self.record.borrow().state
    }

    /// Moves on, on disk and for whoever watches. Only with the turn.
    fn advance(&self, _turn: &Turn, state: State, why: Option<String>) -> Result<(), SessionError> {
        let mut record = self.record.borrow().clone();
        if record.advance(state, why) {
            self.means.table.save(&record)?;
            self.record.send_replace(record);
        }
        Ok(())
    }

    /// The session as it is now: another process may have moved it.
    fn reload(&self) -> Result<(), SessionError> {
        if let Some(record) = self.means.table.load(&self.id())? {
            self.record.send_if_modified(|known| {
                let changed = *known != record;
                *known = record;
                changed
            });
        }
        Ok(())
    }

    async fn start(
        &self,
        rootfs: &Path,
        directory: Option<&Identity>,
        turn: Turn,
    ) -> Result<Turn, SessionError> {
        match self.make(rootfs, directory).await {
            Ok(()) => Ok(turn),
            Err(error) => {
                let why = format!("it could not be started: {}", axo_core::chain(&error));
                // What matters more is why.
                if let Err(error) = self.clear(&turn, State::Lost, why).await {
                    tracing::warn!(session = %self.id(), %error, "what a failed start left is not removed; gc does it");
                }
                Err(error)
            }
        }
    }

    async fn make(&self, rootfs: &Path, directory: Option<&Identity>) -> Result<(), SessionError> {
        let record = self.record.borrow().clone();
        self.host().await?.make(&record, rootfs).await?;
        self.hear_agent(&record).await?;
        // Nothing of the session has run yet.
        match (directory, record.tier) {
            (None, _) => Ok(()),
            (Some(directory), SessionTier::Podman) => self.compare(&record, directory).await,
            (Some(directory), SessionTier::MicroVm) => {
                sync::bring(&self.agent(), &self.means.table, &record, directory).await
            }
        }
    }

    /// Whether what was looked at is what podman mounted.
    async fn compare(&self, record: &Record, directory: &Identity) -> Result<(), SessionError> {
        let containers = self.means.containers().await?;
        let Some(path) = &record.directory else {
            return Ok(());
        };
        // Podman's machine has another kernel, and nothing of it is to be seen here.
        if !containers.podman.host().os().is_linux() {
            return Ok(());
        }
        let process = containers.first_process(&record.id).await?;
        let why = match Identity::seen_by(process, path) {
            Ok(found) if found == *directory => return Ok(()),
            Ok(_) => "another came to its place while the session was made".to_owned(),
            Err(error) => format!("what the container has of it cannot be looked at: {error}"),
        };
        Err(SessionError::Refused(Refused {
            reason: RefusedReason::Directory {
                path: path.clone(),
                why,
            },
            fix: "see who can write in the directories above it, and name one that you alone can move"
                .to_owned(),
        }))
    }

    /// Until its agent answers for the first time.
    async fn hear_agent(&self, record: &Record) -> Result<(), SessionError> {
        let (agent, started) = (self.agent(), Instant::now());
        loop {
            match tokio::time::timeout(READY, agent.hello()).await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(error @ (AgentError::Protocol(_) | AgentError::Generation(_)))) => {
                    return Err(error.into());
                }
                _ if started.elapsed() < READY
                    && self.host().await?.look(&record.id).await? == Fate::Running => {}
                _ => {
                    let said = self.host().await?.said(&record.id).await;
                    return Err(SessionError::NotStarted {
                        id: record.id.clone(),
                        said,
                    });
                }
            }
            tokio::time::sleep(GLANCE).await;
        }
    }

    /// What has become of the session; what began and was left is brought to its end.
    async fn look(&self) -> Result<(), SessionError> {
        if self.state().is_end() {
            return Ok(());
        }
        if self.state() == State::Ready && is_there(&self.agent().hello().await) {
            return Ok(());
        }
        let turn = match self.means.table.take_turn(&self.id())? {
            Some(turn) => turn,
            // Somebody is at it, and will say.
            None => return self.reload(),
        };
        self.reload()?;
        let hello = self.agent().hello().await;
        let (tier, transport) = {
            let record = self.record.borrow();
            (record.tier, record.transport)
        };
        let unknown = match (tier, transport) {
            // A machine ends with its agent, so one that lives has it, busy as it may be; and with the
            // machine goes work that nobody has a copy of.
            (SessionTier::MicroVm, _) => true,
            // Made with another runtime directory (a login's, for one): it is whoever has that who can look.
            (_, Transport::Socket) => !self.means.table.socket_directory(&self.id()).exists(),
            // Podman starts nothing in it. A session that has as many processes as it may is no lost one.
            (_, Transport::Bridge) => matches!(hello, Err(AgentError::NoBridge(_))),
        };
        let answers = is_there(&hello);
        match (self.state(), self.host().await?.look(&self.id()).await?) {
            (State::Stopped | State::Lost, _) => Ok(()),
            (State::Ready, Fate::Running) if answers || unknown => Ok(()),
            (State::Starting, _) => {
                let why = "who was starting it ended before it was ready";
                self.clear(&turn, State::Lost, why.to_owned()).await
            }
            (State::Stopping, _) => {
                self.clear(&turn, State::Stopped, "it was stopped".into())
                    .await
            }
            (State::Ready, Fate::Running) => {
                let why = "its container runs and its agent does not answer";
                self.clear(&turn, State::Lost, why.to_owned()).await
            }
            (State::Ready, Fate::Absent) => {
                let why = "its container was removed by somebody else";
                self.clear(&turn, State::Lost, why.to_owned()).await
            }
            (State::Ready, Fate::Exited { code }) => {
                let (state, why) = self.host().await?.ended(&self.id(), code).await;
                self.clear(&turn, state, why).await
            }
        }
    }

    async fn stop(&self, turn: Turn, grace: Duration) -> Result<(), SessionError> {
        self.reload()?;
        if self.state().is_end() {
            return Ok(());
        }
        // A full disk, which the session itself may have filled, must not keep it from being ended.
        if let Err(error) = self.advance(&turn, State::Stopping, None) {
            tracing::warn!(session = %self.id(), %error, "that it is being stopped is not recorded");
        }
        // An agent that does not do it is ended with its container.
        let ending = async {
            self.agent().shut_down(grace).await?;
            while self.agent().hello().await.is_ok() {
                tokio::time::sleep(GLANCE).await;
            }
            Ok::<_, AgentError>(())
        };
        if let Ok(Err(error)) = tokio::time::timeout(grace + WIND_UP, ending).await {
            tracing::debug!(session = %self.id(), %error, "its agent did not end it; its container does");
        }
        self.clear(&turn, State::Stopped, "it was stopped".to_owned())
            .await
    }

    /// Removes everything of the session that runs or could, then says how it ended.
    async fn clear(&self, turn: &Turn, end: State, why: String) -> Result<(), SessionError> {
        let id = self.id();
        self.host().await?.remove(&id).await?;
        self.means.table.remove_socket(&id)?;
        self.means.table.remove_beside(&id)?;
        if end == State::Stopped {
            self.advance(turn, State::Stopping, None)?;
        }
        self.advance(turn, end, Some(why))
    }
}

/// Whether an agent is there, though it may be slow, or of another version that we cannot speak with.
fn is_there(hello: &Result<String, AgentError>) -> bool {
    matches!(
        hello,
        Ok(_) | Err(AgentError::Generation(_) | AgentError::Late(_))
    )
}
