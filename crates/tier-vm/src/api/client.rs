//! The client: a connection a request, each within its time.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::fault::ApiError;
use super::types::{
    ActionType, BootSource, Drive, FaultBody, InstanceAction, MachineSize, SnapshotCreate,
    SnapshotLoad, Version, VmState, VmUpdate, Vsock,
};
use crate::machine::JailRoot;

/// Longest body of an answer, in bytes: Firecracker's are a few hundred.
const MAX_BODY_BYTES: usize = 64 << 10;
/// Most room for the head of an answer, in bytes.
const MAX_HEAD_BYTES: usize = 16 << 10;
/// Longest message of a fault that is passed on, in characters.
const MAX_MESSAGE: usize = 4096;

/// How long Firecracker may take to note a setting.
const SETTING_TIME: Duration = Duration::from_secs(10);
/// How long it may take to read the kernel and start the guest, on a busy host with a slow disk.
const START_TIME: Duration = Duration::from_secs(60);
/// How long it may take to write the guest's memory.
const SNAPSHOT_TIME: Duration = Duration::from_secs(120);

/// Firecracker's API, in a jail.
#[derive(Clone)]
pub(crate) struct Api {
    root: Arc<JailRoot>,
}

/// A request.
struct Ask {
    method: Method,
    path: String,
    body: Bytes,
    /// What it asks for, in words.
    asked: &'static str,
    within: Duration,
}

impl Api {
    pub(crate) fn new(root: Arc<JailRoot>) -> Self {
        Self { root }
    }

    /// Firecracker's version.
    pub(crate) async fn version(&self) -> Result<String, ApiError> {
        const ASKED: &str = "say its version";
        let answer = self
            .ask(Ask {
                method: Method::GET,
                path: "/version".to_owned(),
                body: Bytes::new(),
                asked: ASKED,
                within: SETTING_TIME,
            })
            .await?;
        let malformed = |_| ApiError::Malformed {
            asked: ASKED,
            problem: "has no version",
        };
        let version: Version = serde_json::from_slice(&answer).map_err(malformed)?;
        Ok(version.firecracker_version)
    }

    pub(crate) async fn size(&self, size: &MachineSize) -> Result<(), ApiError> {
        let asked = "set the machine's size";
        self.put("/machine-config", size, asked, SETTING_TIME).await
    }

    pub(crate) async fn boot_source(&self, source: &BootSource) -> Result<(), ApiError> {
        self.put("/boot-source", source, "take a kernel", SETTING_TIME)
            .await
    }

    pub(crate) async fn drive(&self, drive: &Drive) -> Result<(), ApiError> {
        let path = format!("/drives/{}", drive.drive_id);
        self.put(&path, drive, "take a disk", SETTING_TIME).await
    }

    pub(crate) async fn vsock(&self, vsock: &Vsock) -> Result<(), ApiError> {
        self.put("/vsock", vsock, "make a vsock", SETTING_TIME)
            .await
    }

    pub(crate) async fn start(&self) -> Result<(), ApiError> {
        let action = InstanceAction {
            action_type: ActionType::InstanceStart,
        };
        self.put("/actions", &action, "start the guest", START_TIME)
            .await
    }

    pub(crate) async fn pause(&self) -> Result<(), ApiError> {
        let update = VmUpdate {
            state: VmState::Paused,
        };
        self.send(Method::PATCH, "/vm", &update, "pause", SETTING_TIME)
            .await
    }

    pub(crate) async fn create_snapshot(&self, snapshot: &SnapshotCreate) -> Result<(), ApiError> {
        let asked = "write a snapshot";
        self.put("/snapshot/create", snapshot, asked, SNAPSHOT_TIME)
            .await
    }

    pub(crate) async fn load_snapshot(&self, snapshot: &SnapshotLoad) -> Result<(), ApiError> {
        let asked = "restore a snapshot";
        self.put("/snapshot/load", snapshot, asked, START_TIME)
            .await
    }

    async fn put(
        &self,
        path: &str,
        body: &impl Serialize,
        asked: &'static str,
        within: Duration,
    ) -> Result<(), ApiError> {
        self.send(Method::PUT, path, body, asked, within).await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
        asked: &'static str,
        within: Duration,
    ) -> Result<(), ApiError> {
        let body = serde_json::to_vec(body).map_err(|_| ApiError::Malformed {
            asked,
            problem: "was not waited for: the request cannot be written as JSON",
        })?;
        let ask = Ask {
            method,
            path: path.to_owned(),
            body: body.into(),
            asked,
            within,
        };
        self.ask(ask).await.map(drop)
    }

    /// The body of the answer, if that is a good one.
    async fn ask(&self, ask: Ask) -> Result<Bytes, ApiError> {
        let (asked, within) = (ask.asked, ask.within);
        let silent = |_| ApiError::Silent { asked, within };
        let (status, body) = tokio::time::timeout(within, self.exchange(ask))
            .await
            .map_err(silent)??;
        judged(asked, status, body)
    }

    async fn exchange(&self, ask: Ask) -> Result<(StatusCode, Bytes), ApiError> {
        let asked = ask.asked;
        let stream = self
            .root
            .connect(axo_runner::API_SOCKET)
            .await
            .map_err(|source| ApiError::Connect { asked, source })?;
        over(stream, ask).await
    }
}

/// Asks over a connection of its own.
async fn over(stream: UnixStream, ask: Ask) -> Result<(StatusCode, Bytes), ApiError> {
    let asked = ask.asked;
    let broken = |source| ApiError::Broken { asked, source };
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_HEAD_BYTES)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    let request = Request::builder()
        .method(ask.method)
        .uri(ask.path)
        .header("Host", "localhost")
        .header("Accept", "application/json")
        .header("Content-Type", "application/json")
        .body(Full::new(ask.body))
        .map_err(|_| ApiError::Malformed {
            asked,
            problem: "was not waited for: the request is no HTTP",
        })?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(broken)?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MAX_BODY_BYTES).collect().await;
        let body = body.map_err(|error| match error.downcast::<hyper::Error>() {
            Ok(source) => broken(*source),
            Err(error) => ApiError::Malformed {
                asked,
                problem: match error.is::<LengthLimitError>() {
                    true => "is too long",
                    false => "cannot be read",
                },
            },
        })?;
        Ok((head.status, body.to_bytes()))
    };
    tokio::pin!(answer, connection);
    tokio::select! {
        biased;
        answer = &mut answer => return answer,
        // It says to `answer`, too, how it ended.
        _ = &mut connection => {}
    }
    answer.await
}

/// The body of a good answer; of another, what Firecracker says is wrong.
fn judged(asked: &'static str, status: StatusCode, body: Bytes) -> Result<Bytes, ApiError> {
    if status.is_success() {
        return Ok(body);
    }
    let message = match serde_json::from_slice::<FaultBody>(&body) {
        Ok(fault) => fault.fault_message.chars().take(MAX_MESSAGE).collect(),
        Err(_) => "it does not say why".to_owned(),
    };
    Err(ApiError::Refused {
        asked,
        status: status.as_u16(),
        message,
    })
}

/// What becomes of a request that a Firecracker answers with these bytes, and then closes.
pub(crate) async fn answered(bytes: &[u8]) -> Result<Bytes, ApiError> {
    const ASKED: &str = "answer";
    let connect = |source| ApiError::Connect {
        asked: ASKED,
        source,
    };
    let (ours, mut theirs) = UnixStream::pair().map_err(connect)?;
    let ask = Ask {
        method: Method::GET,
        path: "/version".to_owned(),
        body: Bytes::new(),
        asked: ASKED,
        within: SETTING_TIME,
    };
    let answers = async move {
        // Not before it was asked.
        let mut first = [0];
        let _ = theirs.read_exact(&mut first).await;
        let _ = theirs.write_all(bytes).await;
        let _ = theirs.shutdown().await;
        // What else is asked is read, until we have hung up.
        let mut rest = [0; 1024];
        while theirs.read(&mut rest).await.is_ok_and(|read| read > 0) {}
    };
    let (answer, ()) = tokio::join!(
        async { tokio::time::timeout(ask.within, over(ours, ask)).await },
        answers
    );
    let (status, body) = answer.map_err(|_| ApiError::Silent {
        asked: ASKED,
        within: SETTING_TIME,
    })??;
    judged(ASKED, status, body)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &[u8] = b"HTTP/1.1 200 \r\nServer: Firecracker API\r\nContent-Length: 2\r\n\r\n{}";

    /// Neither taken for whole nor waited for.
    #[tokio::test]
    async fn an_answer_that_is_cut_off_is_none() {
        assert_eq!(answered(GOOD).await.unwrap(), "{}");
        for end in 0..GOOD.len() {
            let error = answered(&GOOD[..end]).await.unwrap_err();
            assert!(matches!(error, ApiError::Broken { .. }), "{end}: {error}");
        }
    }

    /// Each way to break a byte of it: an answer or an error, and nothing else.
    #[tokio::test]
    async fn an_answer_that_is_damaged_is_one_or_an_error() {
        let mut refused = 0;
        for at in 0..GOOD.len() {
            for bit in 0..8 {
                let mut bad = GOOD.to_vec();
                bad[at] ^= 1 << bit;
                match answered(&bad).await {
                    Ok(body) => assert!(body.len() <= 2, "{body:?}"),
                    Err(error) => {
                        assert!(!axo_core::chain(&error).is_empty());
                        refused += 1;
                    }
                }
            }
        }
        assert!(refused > 100, "{refused}");
    }

    #[tokio::test]
    async fn a_fault_is_told_in_part_at_most() {
        let body = format!(r#"{{"fault_message":"{}"}}"#, "x".repeat(10_000));
        let length = body.len();
        let answer = format!("HTTP/1.1 400 \r\nContent-Length: {length}\r\n\r\n{body}");
        let Err(ApiError::Refused { message, .. }) = answered(answer.as_bytes()).await else {
            panic!("it is no fault");
        };
        assert_eq!(message.len(), MAX_MESSAGE);
    }
}
