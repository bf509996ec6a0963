//! A release of upstream's: one archive with both programs.

use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, Read as _};
use std::net::IpAddr;
use std::time::Duration;

use flate2::read::GzDecoder;
use reqwest::Url;
use tokio::time::timeout;

use super::SetupError;
use super::programs::{MAX_PROGRAM_BYTES, Program};
use crate::digest;
use crate::files;

/// Where upstream puts its releases.
const UPSTREAM: &str = "https://github.com/firecracker-microvm/firecracker/releases/download";

/// The machines that releases are taken for.
const MACHINE: &str = "x86_64";

/// An archive, in bytes. They have some ten million, most of it debug information.
const MAX_ARCHIVE_BYTES: u64 = 256 << 20;

/// What an archive unpacks to, in bytes.
const MAX_UNPACKED_BYTES: u64 = 2 << 30;

/// Files of an archive. They have some thirty.
const MAX_ENTRIES: usize = 10_000;

/// How long to wait for a connection, and for the next bytes.
const CONNECT: Duration = Duration::from_secs(15);
const IDLE: Duration = Duration::from_secs(30);

/// How long a download may take in all, however steadily it comes.
const WHOLE: Duration = Duration::from_secs(30 * 60);

/// A release of Firecracker.
#[derive(Clone, Debug)]
pub struct Release {
    /// As `1.14.1`.
    pub version: String,
    /// SHA-256 of its archive, in hexadecimal. Without it nothing is downloaded.
    pub sha256: Option<String>,
    /// What to put before `/v<version>/<archive>` instead of upstream's address: a mirror. Without TLS only
    /// on this machine.
    pub base_url: Option<String>,
}

impl Release {
    fn archive(&self) -> String {
        format!("firecracker-v{}-{MACHINE}.tgz", self.version)
    }

    fn url(&self) -> String {
        let base = self.base_url.as_deref().unwrap_or(UPSTREAM);
        let base = base.trim_end_matches('/');
        format!("{base}/v{}/{}", self.version, self.archive())
    }

    /// The path of a program in the archive.
    fn member(&self, program: &str) -> String {
        let version = &self.version;
        format!("release-v{version}-{MACHINE}/{program}-v{version}-{MACHINE}")
    }
}

/// Firecracker and jailer of a release.
pub(super) async fn fetch(release: &Release) -> Result<(Program, Program), SetupError> {
    let url = release.url();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-".contains(&byte);
    if release.version.is_empty() || !release.version.bytes().all(plain) {
        return Err(SetupError::Download {
            url,
            problem: "that is no version".to_owned(),
            fix: "give one like 1.14.1",
        });
    }
    let expected = release.sha256.clone().ok_or_else(|| SetupError::NoDigest {
        version: release.version.clone(),
        archive: release.archive(),
    })?;
    let Some(wanted) = digest::checked(&expected).map(str::to_owned) else {
        return Err(SetupError::Download {
            url,
            problem: "the digest that was given is no SHA-256 in small hexadecimal digits"
                .to_owned(),
            fix: "give the one that upstream publishes beside the archive",
        });
    };
    let archive = timeout(WHOLE, download(&url, MAX_ARCHIVE_BYTES))
        .await
        .unwrap_or_else(|_| {
            let problem = format!("it took more than {} s", WHOLE.as_secs());
            Err(failed(&url, problem))
        })?;
    let release = release.clone();
    tokio::task::spawn_blocking(move || {
        let actual = digest::of(&archive);
        if actual != wanted {
            return Err(SetupError::Digest {
                url,
                actual,
                expected: wanted,
            });
        }
        unpack(&release, &url, &archive)
    })
    .await?
}

fn failed(url: &str, problem: String) -> SetupError {
    SetupError::Download {
        url: url.to_owned(),
        problem,
        fix: "check the network and the address and try again, or download the release yourself and \
              give its two programs",
    }
}

/// What is at `url`. Nothing of it is trusted yet.
async fn download(url: &str, limit: u64) -> Result<Vec<u8>, SetupError> {
    let parsed = Url::parse(url).map_err(|error| failed(url, error.to_string()))?;
    // One for the process; where somebody has set one already, that is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder()
        .connect_timeout(CONNECT)
        .read_timeout(IDLE)
        .user_agent("axocoatl")
        // Nobody sends us from TLS to somewhere without.
        .https_only(!is_loopback(&parsed))
        .build()
        .map_err(|error| failed(url, chain(&error)))?;
    // Where it leads to may be an address with a signature in it, which is not to be shown.
    let transport = |error: reqwest::Error| failed(url, chain(&error.without_url()));
    let mut response = client.get(parsed).send().await.map_err(transport)?;
    if !response.status().is_success() {
        let status = response.status().as_u16();
        return Err(failed(url, format!("it answered with status {status}")));
    }
    let too_long = || failed(url, format!("it has more than {limit} bytes"));
    if response
        .content_length()
        .is_some_and(|length| length > limit)
    {
        return Err(too_long());
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(transport)? {
        if (bytes.len() + chunk.len()) as u64 > limit {
            return Err(too_long());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let address = host.parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// An error of the transport with its causes: alone it says only that something failed.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Writing to a String does not fail.
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}

fn unpack(release: &Release, url: &str, archive: &[u8]) -> Result<(Program, Program), SetupError> {
    let malformed = |problem: String| SetupError::Archive {
        url: url.to_owned(),
        problem,
    };
    let unread = |error: io::Error| malformed(format!("it cannot be read: {error}"));
    let (mut firecracker, mut jailer) = (None, None);
    let mut tar = tar::Archive::new(GzDecoder::new(archive).take(MAX_UNPACKED_BYTES));
    // Raw: long names are not collected for us, and none of ours is long.
    for (count, entry) in tar.entries().map_err(unread)?.raw(true).enumerate() {
        let mut entry = entry.map_err(unread)?;
        if count >= MAX_ENTRIES {
            return Err(malformed("it has too many files".to_owned()));
        }
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let path = path.trim_start_matches("./");
        let slot = if path == release.member("firecracker") {
            &mut firecracker
        } else if path == release.member("jailer") {
            &mut jailer
        } else {
            continue;
        };
        if entry.header().entry_type() != tar::EntryType::Regular {
            return Err(malformed(format!("{path} is no file")));
        }
        let bytes = files::read_to(&mut entry, MAX_PROGRAM_BYTES).map_err(unread)?;
        if bytes.len() as u64 > MAX_PROGRAM_BYTES {
            return Err(malformed(format!(
                "{path} has more than {MAX_PROGRAM_BYTES} bytes"
            )));
        }
        *slot = Some(Program {
            bytes,
            from: url.to_owned(),
        });
    }
    let missing = |program| malformed(format!("it has no {}", release.member(program)));
    Ok((
        firecracker.ok_or_else(|| missing("firecracker"))?,
        jailer.ok_or_else(|| missing("jailer"))?,
    ))
}

#[cfg(test)]
mod tests;
