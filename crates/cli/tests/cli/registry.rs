//! A registry on this machine with one image: just enough of the distribution API, over HTTP.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// Serves an OCI layout as `team/box:1` for as long as the test runs.
pub(crate) struct Registry {
    address: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Registry {
    /// `manifest` is the digest of the layout's manifest.
    pub(crate) fn serve(layout: &Path, manifest: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (blobs, manifest) = (layout.join("blobs/sha256"), manifest.to_owned());
        let log = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                // A client that goes away is its own business.
                let (blobs, manifest, log) = (blobs.clone(), manifest.clone(), Arc::clone(&log));
                std::thread::spawn(move || answer(stream.unwrap(), &blobs, &manifest, &log));
            }
        });
        Self { address, asked }
    }

    /// The image's name, with `tag`.
    pub(crate) fn reference(&self, tag: &str) -> String {
        format!("{}/team/box:{tag}", self.address)
    }

    /// How often a blob was asked for.
    pub(crate) fn blobs_asked(&self) -> usize {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|path| path.contains("/blobs/")).count()
    }
}

fn answer(
    stream: TcpStream,
    blobs: &Path,
    manifest: &str,
    asked: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let mut stream = stream;
    let Ok(request) = lines.next().unwrap_or(Ok(String::new())) else {
        // TLS, as others answer it who have none.
        return stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
    };
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
    asked.lock().unwrap().push(path.clone());
    let (status, kind, body) = match file(&path, blobs, manifest).map(fs::read) {
        Some(Ok(body)) if path.contains("/manifests/") => {
            ("200 OK", "application/vnd.oci.image.manifest.v1+json", body)
        }
        Some(Ok(body)) => ("200 OK", "application/octet-stream", body),
        None if path == "/v2/" => ("200 OK", "application/json", b"{}".to_vec()),
        _ => ("404 Not Found", "application/json", b"{}".to_vec()),
    };
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    )?;
    stream.write_all(&body)
}

/// The file that answers `path`.
fn file(path: &str, blobs: &Path, manifest: &str) -> Option<PathBuf> {
    let rest = path.strip_prefix("/v2/team/box/")?;
    let digest = match rest {
        "manifests/1" => manifest,
        _ => rest.rsplit('/').next()?,
    };
    Some(blobs.join(digest.strip_prefix("sha256:")?))
}
