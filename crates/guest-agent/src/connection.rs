//! A connection: one operation, from hello to close.

use std::rc::Rc;
use std::time::Duration;

use axo_guest_proto::{
    Code, Failure, GENERATION, Hello, Kind, Message as _, ProcessInfo, Reply, Request, bounds,
};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::agent::{Agent, End, Open};
use crate::arguments::version;
use crate::client::{self, Broken, Reader, Writer, invalid, malformed};
use crate::{files, metrics, process, renew, tool};

/// How long a client may take to say what it wants, in all.
const REQUEST_TIME: Duration = Duration::from_secs(10);

/// How long one may take to hear why it failed.
const FAREWELL_TIME: Duration = Duration::from_secs(10);

pub(crate) async fn serve(agent: Rc<Agent>, stream: UnixStream, open: Open) {
    let (mut reader, mut writer) = client::split(stream);
    writer.put(&Hello::new(version()));
    let served = match timeout(REQUEST_TIME, request(&mut reader)).await {
        Ok(Ok(request)) => carry_out(&agent, request, &mut reader, &mut writer).await,
        Ok(Err(broken)) => Err(broken),
        Err(_) => Err(Broken::Closed),
    };
    if let Err(Broken::Failed(failure)) = served {
        let farewell = Reply::Failed(failure);
        let _ = timeout(FAREWELL_TIME, writer.send(&farewell)).await;
    }
    drop(open);
}

async fn request(reader: &mut Reader) -> Result<Request, Broken> {
    let (kind, payload) = reader.next().await?;
    if kind != Kind::Hello {
        return Err(invalid("the first frame has to be a hello").into());
    }
    let hello = Hello::from_payload(payload).map_err(malformed)?;
    if hello.generation != GENERATION {
        let why = format!(
            "this agent speaks generation {GENERATION}, not {}",
            hello.generation
        );
        return Err(Failure::new(Code::Generation, None, why).into());
    }
    let (kind, payload) = reader.next().await?;
    if kind != Kind::Control {
        return Err(invalid("the second frame has to be a request").into());
    }
    Request::from_payload(payload).map_err(malformed)
}

async fn carry_out(
    agent: &Rc<Agent>,
    request: Request,
    reader: &mut Reader,
    writer: &mut Writer,
) -> Result<(), Broken> {
    let table = &agent.table;
    let reply = match request {
        Request::Start(start) => return process::start(agent, *start, reader, writer).await,
        Request::Attach(attach) => return process::attach(agent, &attach, reader, writer).await,
        Request::Processes => return list(agent, writer).await,
        Request::Signal { process, signal } => {
            table.find(process)?.signal_number(signal)?;
            Reply::Done
        }
        Request::Resize { process, size } => {
            table.find(process)?.resize(size)?;
            Reply::Done
        }
        Request::Forget { process } => {
            table.forget_ended(process)?;
            Reply::Done
        }
        Request::Read(read) => return files::read(read, reader, writer).await,
        Request::Write(write) => return files::write(write, reader, writer).await,
        Request::List(list) => return files::list(list, reader, writer).await,
        Request::Watch { place, recursive } => {
            return files::watch(agent, place, recursive, reader, writer).await;
        }
        Request::Metrics { path } => Reply::Metrics(metrics::measure(agent, path).await?),
        Request::Shutdown { grace_millis } => {
            writer.send(&Reply::Done).await?;
            agent.end(End {
                why: "ended by its host".into(),
                grace: Duration::from_millis(grace_millis),
            });
            return Ok(());
        }
        Request::PrepareTool(wanted) => return tool::prepare(agent, wanted, reader, writer).await,
        Request::PrepareSession(wanted) => {
            return tool::prepare_session(agent, wanted, reader, writer).await;
        }
        Request::RunTool(wanted) => return tool::run(agent, wanted, reader, writer).await,
        Request::Renew(wanted) => {
            renew::renew(agent, &wanted)?;
            Reply::Done
        }
        change => files::at_once(change).await?,
    };
    Ok(writer.send(&reply).await?)
}

async fn list(agent: &Agent, writer: &mut Writer) -> Result<(), Broken> {
    let mut infos = agent.table.infos();
    while !infos.is_empty() {
        let rest = infos.split_off(infos.len().min(bounds::MAX_BATCH / 2));
        let some: Vec<ProcessInfo> = std::mem::replace(&mut infos, rest);
        writer.send(&Reply::Processes(some)).await?;
    }
    Ok(writer.send(&Reply::Done).await?)
}
