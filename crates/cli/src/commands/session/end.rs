//! `session stop` and `session rm`.

use std::time::Duration;

use serde_json::json;

use super::{Failed, sessions};
use crate::exit::Exit;
use crate::printer::Printer;

pub(super) async fn stop(
    names: &[String],
    grace: Duration,
    printer: &Printer,
) -> Result<Exit, Failed> {
    let (sessions, _) = sessions()?;
    let mut stopped = Vec::new();
    for name in names {
        let session = sessions.find(name).await?;
        session.stop(grace).await?;
        stopped.push(session.record().called().to_owned());
    }
    printer.result(|| json!({"stopped": stopped}), || stopped.join("\n"));
    Ok(Exit::Success)
}

pub(super) async fn remove(names: &[String], printer: &Printer) -> Result<Exit, Failed> {
    let (sessions, _) = sessions()?;
    let mut removed = Vec::new();
    for name in names {
        let session = sessions.find(name).await?;
        sessions.remove(&session).await?;
        removed.push(session.record().called().to_owned());
    }
    printer.result(|| json!({"removed": removed}), || removed.join("\n"));
    Ok(Exit::Success)
}
