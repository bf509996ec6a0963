//! A session in a machine of its own: a container whose program is this agent again, which serves the
//! host on a port of its own. The machine lives as long as that does.

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use axo_guest_proto::{Code, Failure, PrepareSession, Reply};
use axo_runner::{Launch, Prepare, Request, Status};
use rustix::fs::{Mode, OFlags, open};
use tokio::task::spawn_local;

use super::prepare::directory;
use super::runner::{Runner, confused};
use super::slot::Site;
use crate::agent::{Agent, End};
use crate::client::{Broken, Reader, Writer, invalid};
use crate::vsock;

/// This program, in the initramfs.
const PROGRAM: &str = "/init";
/// A directory with nothing but it, which sessions see, and what it is called there.
const DIRECTORY: &str = "/agent";
const NAME: &str = "agent";

pub(crate) async fn prepare(
    agent: &Rc<Agent>,
    wanted: PrepareSession,
    reader: &mut Reader,
    writer: &mut Writer,
) -> Result<(), Broken> {
    if !agent.is_of_machine() {
        let why = "only the first process of a machine makes a session";
        return Err(Failure::new(Code::Denied, None, why).into());
    }
    let none_of_ours = |e| invalid(&format!("a session that is none of ours: {e}"));
    let prepare: Box<Prepare> = serde_json::from_slice(&wanted.prepare).map_err(none_of_ours)?;
    let launch: Launch = serde_json::from_slice(&wanted.launch).map_err(none_of_ours)?;
    let site = agent.tool.claim()?;
    let runner = tokio::select! {
        biased;
        made = make(site, prepare, launch) => made?,
        broken = reader.closed() => return Err(broken),
    };
    spawn_local(attend(Rc::clone(agent), runner));
    Ok(writer.send(&Reply::Done).await?)
}

/// A container whose agent runs.
async fn make(site: &Site, prepare: Box<Prepare>, launch: Launch) -> Result<Runner, Failure> {
    let root = directory(&site.image)?;
    let socket = vsock::listen_on(PrepareSession::PORT)
        .map_err(|e| failed("listening for the session's host", &e))?;
    // The one who serves waits with its own calls.
    let program = place_program().map_err(|e| failed("placing the session's agent", &e))?;
    // Nobody reads what it writes: what matters it says over its socket.
    let null = open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| failed("opening /dev/null", &e.into()))?;
    let runner = Runner::start(&site.runner)?;
    let descriptors = [&null, &null, &root, &socket, &program].map(|descriptor| descriptor.as_fd());
    runner
        .tell(&Request::Prepare(prepare), &descriptors)
        .await?;
    // It listens as long as the session does.
    drop(socket);
    match runner.answer().await? {
        (axo_runner::Reply::Prepared, _) => {}
        _ => return Err(confused()),
    }
    runner.tell(&Request::Start(launch), &[]).await?;
    match runner.answer().await? {
        (axo_runner::Reply::Started, _) => Ok(runner),
        _ => Err(confused()),
    }
}

/// The machine ends with its session.
async fn attend(agent: Rc<Agent>, runner: Runner) {
    let why = match runner.exited().await {
        Ok((exited, _)) => match exited.status {
            Status::Exited(0) => PrepareSession::ENDED.to_owned(),
            Status::Exited(code) => format!("the session's agent ended with status {code}"),
            Status::Signaled(signal) => {
                format!("the session's agent was ended by signal {signal}")
            }
        },
        Err(failure) => format!("the session's runner: {failure}"),
    };
    agent.end(End {
        why,
        grace: Duration::ZERO,
    });
}

/// The directory of the program, which is the same file as the one that runs: nothing is copied.
fn place_program() -> io::Result<OwnedFd> {
    fs::create_dir_all(DIRECTORY)?;
    match fs::hard_link(PROGRAM, Path::new(DIRECTORY).join(NAME)) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
        _ => {}
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(open(DIRECTORY, flags, Mode::empty())?)
}

fn failed(doing: &str, e: &io::Error) -> Failure {
    Failure::new(Code::NoContainer, e.raw_os_error(), format!("{doing}: {e}"))
}
