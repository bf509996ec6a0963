//! Making the container.

use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::rc::Rc;

use axo_guest_proto::{Code, Failure, PrepareTool, Reply};
use axo_runner::{Prepare, Request};
use rustix::fs::{Mode, OFlags, open};

use super::ahead;
use super::runner::{Runner, confused};
use super::slot::Site;
use super::streams::Streams;
use crate::agent::Agent;
use crate::client::{Broken, Reader, Writer, invalid};

/// A container that waits for its call.
pub(super) struct Prepared {
    pub(super) runner: Runner,
    /// The input document, to be filled.
    pub(super) input: File,
    pub(super) streams: Streams,
}

pub(crate) async fn prepare(
    agent: &Rc<Agent>,
    wanted: PrepareTool,
    reader: &mut Reader,
    writer: &mut Writer,
) -> Result<(), Broken> {
    let prepare = serde_json::from_slice(&wanted.prepare)
        .map_err(|e| invalid(&format!("a container that is none of ours: {e}")))?;
    let site = agent.tool.claim()?;
    let prepared = tokio::select! {
        biased;
        prepared = make(site, prepare, wanted.files) => prepared?,
        broken = reader.closed() => return Err(broken),
    };
    if !wanted.ahead.is_empty() {
        // It is as quick as can be without.
        let _ = ahead::read(&site.image, &wanted.ahead);
    }
    // It is there for whoever connects next, whatever becomes of this connection.
    agent.tool.put(prepared);
    Ok(writer.send(&Reply::Done).await?)
}

async fn make(site: &Site, prepare: Box<Prepare>, files: bool) -> Result<Prepared, Failure> {
    let root = directory(&site.image)?;
    let files = match (files, &site.files) {
        (false, _) => None,
        (true, Some(files)) => Some(directory(files)?),
        (true, None) => {
            let why = "this machine has no disk of a tool's own files";
            return Err(Failure::new(Code::NotFound, None, why));
        }
    };
    let (streams, [stdout, stderr]) = Streams::new().map_err(|e| {
        let why = format!("opening pipes: {e}");
        Failure::new(Code::Limit, e.raw_os_error(), why)
    })?;
    let runner = Runner::start(&site.runner)?;
    let mut descriptors = vec![stdout.as_fd(), stderr.as_fd(), root.as_fd()];
    descriptors.extend(files.as_ref().map(|files| files.as_fd()));
    runner
        .tell(&Request::Prepare(prepare), &descriptors)
        .await?;
    // Only the tool writes to its streams, so that they end with it.
    drop((stdout, stderr));
    let (reply, files) = runner.answer().await?;
    match (reply, files.into_iter().next()) {
        (axo_runner::Reply::Prepared, Some(input)) => Ok(Prepared {
            runner,
            input: input.into(),
            streams,
        }),
        _ => Err(confused()),
    }
}

pub(super) fn directory(path: &Path) -> Result<OwnedFd, Failure> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    open(path, flags, Mode::empty()).map_err(|e| {
        let why = format!("opening {}: {}", path.display(), std::io::Error::from(e));
        Failure::new(Code::NotFound, Some(e.raw_os_error()), why)
    })
}
