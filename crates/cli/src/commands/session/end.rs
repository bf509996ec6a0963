//! `session stop` and `session rm`.

use std::time::Duration;

use axocoatl_isolation::sessions::{Session, SessionError, Sessions};
use serde_json::json;

use super::{Failed, sessions};
use crate::convert;
use crate::exit::Exit;
use crate::printer::Printer;

pub(super) async fn stop(
    names: &[String],
    discard: bool,
    grace: Duration,
    printer: &Printer,
) -> Result<Exit, Failed> {
    each(names, "stopped", printer, async |_, session| {
        check_brought_back(session, discard).await?;
        session.stop(grace).await
    })
    .await
}

pub(super) async fn remove(
    names: &[String],
    discard: bool,
    printer: &Printer,
) -> Result<Exit, Failed> {
    each(names, "removed", printer, async |sessions, session| {
        check_brought_back(session, discard).await?;
        sessions.remove(session).await
    })
    .await
}

/// What a machine has of a directory goes with it. Unless somebody says that it may, nothing is lost.
async fn check_brought_back(session: &Session, discard: bool) -> Result<(), SessionError> {
    match discard {
        true => Ok(()),
        false => session.check_brought_back().await,
    }
}

/// Ends each of the sessions. One that cannot be ended does not keep the others; the last such one
/// is our status.
async fn each(
    names: &[String],
    done: &str,
    printer: &Printer,
    end: impl AsyncFn(&Sessions, &Session) -> Result<(), SessionError>,
) -> Result<Exit, Failed> {
    let sessions = sessions()?;
    let (mut ended, mut failed, mut exit) = (Vec::new(), Vec::new(), Exit::Success);
    for name in names {
        let one = async {
            let session = sessions.find(name).await?;
            end(&sessions, &session).await?;
            Ok::<_, SessionError>(session.record().called().to_owned())
        };
        match one.await {
            Ok(called) => ended.push(called),
            Err(error) => {
                printer.problem(&error);
                exit = Exit::from(&error);
                let mut told = convert::error(&error, exit)["error"].take();
                told["session"] = json!(name);
                failed.push(told);
            }
        }
    }
    if printer.is_json() || !ended.is_empty() {
        printer.result(
            || json!({ done: ended, "failed": failed }),
            || ended.join("\n"),
        );
    }
    Ok(exit)
}
