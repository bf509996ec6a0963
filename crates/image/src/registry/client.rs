//! Requests to a registry: each with deadlines, bounds, and a few tries.
//!
//! `oci-client` logs in. Manifests and blobs are fetched here, because it reads manifests, and what
//! comes in place of a blob, whole however long they are.

use std::time::Duration;

use oci_client::RegistryOperation;
use oci_client::client::{Client, ClientConfig, ClientProtocol};
use oci_client::secrets::RegistryAuth;
use reqwest::header::{ACCEPT, CONTENT_RANGE, RANGE};
use tokio::sync::RwLock;
use tokio::time::{sleep, timeout};

use super::access::Access;
use super::blocking;
use super::failure::{Failure, by_status, classify, of_transport};
use super::options::{InsecureHttp, PullOptions, is_loopback};
use crate::bounds::MAX_MANIFEST_BYTES;
use crate::manifest::ACCEPTED;
use crate::{BoxError, Digest, ImageError, Reference};

/// Before the second try; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(300);

pub(super) struct Registry {
    client: Client,
    http: reqwest::Client,
    reference: Reference,
    access: Access,
    scheme: &'static str,
    /// For a time: registries give them for some minutes.
    token: RwLock<Option<String>>,
    pub(super) idle: Duration,
    pub(super) retries: u32,
}

impl Registry {
    pub(super) async fn new(
        reference: &Reference,
        options: &PullOptions,
    ) -> Result<Self, ImageError> {
        let host = reference.resolve_registry();
        let plain = match options.insecure_http {
            InsecureHttp::Never => false,
            InsecureHttp::Loopback => is_loopback(host),
            InsecureHttp::Everywhere => true,
        };
        let access = {
            let (auth, reference) = (options.auth.clone(), reference.clone());
            blocking(move || Access::of(&auth, &reference)).await?
        };
        // One for the process; where somebody has set one already, that is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let failed = |source: BoxError| ImageError::Registry {
            registry: host.to_owned(),
            doing: "preparing to connect".to_owned(),
            fix: "check that the system has certificates (package ca-certificates)".to_owned(),
            source,
        };
        let client = Client::try_from(ClientConfig {
            protocol: if plain {
                ClientProtocol::HttpsExcept(vec![host.to_owned()])
            } else {
                ClientProtocol::Https
            },
            connect_timeout: Some(options.connect_timeout),
            read_timeout: Some(options.idle_timeout),
            user_agent: "axocoatl",
            ..ClientConfig::default()
        })
        .map_err(|error| failed(error.into()))?;
        let http = reqwest::Client::builder()
            .connect_timeout(options.connect_timeout)
            .read_timeout(options.idle_timeout)
            .user_agent("axocoatl")
            // Nobody sends us from TLS to somewhere without.
            .https_only(!plain)
            .build()
            .map_err(|error| failed(error.into()))?;
        Ok(Self {
            client,
            http,
            reference: reference.clone(),
            access,
            scheme: if plain { "http" } else { "https" },
            token: RwLock::new(None),
            idle: options.idle_timeout,
            retries: options.retries,
        })
    }

    /// Gets a token where the registry wants one.
    pub(super) async fn log_in(&self) -> Result<(), ImageError> {
        self.tries("logging in", || self.log_in_once()).await
    }

    async fn log_in_once(&self) -> Result<(), Failure> {
        let operation = RegistryOperation::Pull;
        let login = self
            .client
            .auth(&self.reference, &self.access.auth, operation);
        let token = timeout(self.idle, login)
            .await
            .map_err(|_| Failure::Stalled)?
            .map_err(classify)?;
        *self.token.write().await = token;
        Ok(())
    }

    /// Asks for something of the repository. What comes has a good status.
    async fn get(
        &self,
        what: &str,
        headers: &[(reqwest::header::HeaderName, &str)],
    ) -> Result<reqwest::Response, Failure> {
        let url = format!(
            "{}://{}/v2/{}/{what}",
            self.scheme,
            self.reference.resolve_registry(),
            self.reference.repository()
        );
        let mut request = self.http.get(url);
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        match (&*self.token.read().await, &self.access.auth) {
            (Some(token), _) => request = request.bearer_auth(token),
            (None, RegistryAuth::Basic(user, password)) => {
                request = request.basic_auth(user, Some(password));
            }
            (None, _) => {}
        }
        let response = timeout(self.idle, request.send())
            .await
            .map_err(|_| Failure::Stalled)?
            .map_err(of_transport)?;
        match response.status().as_u16() {
            200 | 206 => Ok(response),
            status => Err(by_status(status)),
        }
    }

    /// Fetches a manifest by tag or digest.
    pub(super) async fn manifest(
        &self,
        which: &str,
        expected: Option<&Digest>,
    ) -> Result<Vec<u8>, ImageError> {
        let bytes = self
            .tries("fetching the manifest", || self.manifest_once(which))
            .await?;
        match expected {
            Some(expected) if Digest::of(&bytes) != *expected => Err(ImageError::Digest {
                what: format!("manifest of {}", self.reference),
                expected: expected.to_string(),
                actual: Digest::of(&bytes).to_string(),
                fix: "do not trust this registry; tell whoever runs it".to_owned(),
            }),
            _ => Ok(bytes),
        }
    }

    async fn manifest_once(&self, which: &str) -> Result<Vec<u8>, Failure> {
        let what = format!("manifests/{which}");
        let mut response = self.get(&what, &[(ACCEPT, ACCEPTED)]).await?;
        let mut bytes = Vec::new();
        while let Some(chunk) = timeout(self.idle, response.chunk())
            .await
            .map_err(|_| Failure::Stalled)?
            .map_err(of_transport)?
        {
            if (bytes.len() + chunk.len()) as u64 > MAX_MANIFEST_BYTES {
                return Err(Failure::Ours(ImageError::TooLarge {
                    what: format!("the manifest of {}", self.reference),
                    limit: MAX_MANIFEST_BYTES,
                    unit: "bytes",
                    fix: "name an image with a smaller one".to_owned(),
                }));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    /// Begins to fetch a blob, from `offset` where the registry can.
    pub(super) async fn blob(&self, digest: &Digest, offset: u64) -> Result<Body, Failure> {
        let what = format!("blobs/{digest}");
        let range = format!("bytes={offset}-");
        let headers = [(RANGE, range.as_str())];
        let headers = if offset > 0 { &headers[..] } else { &[] };
        let response = match self.get(&what, headers).await {
            // The token was for a time.
            Err(Failure::Refused) => {
                self.log_in_once().await?;
                self.get(&what, headers).await?
            }
            other => other?,
        };
        let begins = format!("bytes {offset}-");
        let resumed = response.status().as_u16() == 206
            && response
                .headers()
                .get(CONTENT_RANGE)
                .is_some_and(|range| range.as_bytes().starts_with(begins.as_bytes()));
        if response.status().as_u16() == 206 && !resumed {
            return Err(Failure::Range);
        }
        Ok(Body {
            response,
            resumed,
            idle: self.idle,
        })
    }

    /// Tries a few times, as long as what fails may pass.
    async fn tries<T, F: Future<Output = Result<T, Failure>>>(
        &self,
        doing: &str,
        mut once: impl FnMut() -> F,
    ) -> Result<T, ImageError> {
        let mut tries = 0;
        loop {
            match once().await {
                Ok(done) => return Ok(done),
                Err(failure) if failure.passes() && tries < self.retries => {
                    self.pause(tries, doing, &failure).await;
                    tries += 1;
                }
                Err(failure) => return Err(self.failed(doing, failure)),
            }
        }
    }

    pub(super) async fn pause(&self, tries: u32, doing: &str, failure: &Failure) {
        tracing::debug!(
            registry = self.reference.registry(),
            doing,
            ?failure,
            "trying again"
        );
        sleep(FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(tries))).await;
    }

    pub(super) fn stalled(&self, doing: &str, waited: Duration) -> ImageError {
        ImageError::Stalled {
            registry: self.reference.registry().to_owned(),
            doing: doing.to_owned(),
            seconds: waited.as_secs(),
            fix: AGAIN.to_owned(),
        }
    }

    pub(super) fn failed(&self, doing: &str, failure: Failure) -> ImageError {
        let registry = self.reference.registry().to_owned();
        match failure {
            Failure::Ours(error) => error,
            Failure::Refused => self.access.refused(&self.reference),
            Failure::Missing => ImageError::NoSuchImage {
                registry,
                image: self.reference.to_string(),
            },
            Failure::Stalled => self.stalled(doing, self.idle),
            Failure::Plain => ImageError::InsecureRegistry { registry },
            Failure::Downgrade => ImageError::Registry {
                registry,
                doing: doing.to_owned(),
                fix: "tell whoever runs it".to_owned(),
                source: "it leads to a place without TLS".into(),
            },
            Failure::Passing(source) => ImageError::Registry {
                registry,
                doing: doing.to_owned(),
                fix: AGAIN.to_owned(),
                source,
            },
            Failure::Range => ImageError::Registry {
                registry,
                doing: doing.to_owned(),
                fix: "tell whoever runs it".to_owned(),
                source: "it has fewer bytes of the layer than announced".into(),
            },
            Failure::Final(source) => ImageError::Registry {
                registry,
                doing: doing.to_owned(),
                fix: "check the name of the registry and of the image".to_owned(),
                source,
            },
        }
    }
}

const AGAIN: &str =
    "check the network and the registry, then pull again: it goes on where it stopped";

/// The bytes of a blob as they come.
pub(super) struct Body {
    response: reqwest::Response,
    /// They begin where it was asked, not at the beginning.
    pub(super) resumed: bool,
    idle: Duration,
}

impl Body {
    /// The next of them; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        let chunk = timeout(self.idle, self.response.chunk())
            .await
            .map_err(|_| Failure::Stalled)?
            .map_err(of_transport)?;
        Ok(chunk.map(|chunk| chunk.to_vec()))
    }
}
