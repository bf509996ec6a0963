//! A real registry on loopback, and a proxy that misbehaves before it.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Child;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axo_image::{Auth, Digest, InsecureHttp, PullOptions};
use tempfile::TempDir;

use crate::support::{Made, make_layout, run};

/// `me` and `secret`.
const HTPASSWD: &str = "me:$2b$04$FsWf/m0pZRHC.z9r7FMIBuw8EeKEU.luyG5fEOy2uPuU1F4LnLzXq\n";

pub(crate) struct Registry {
    process: Child,
    directory: TempDir,
    pub(crate) address: String,
    password: bool,
}

impl Registry {
    pub(crate) fn start() -> Self {
        Self::start_with(false)
    }

    #[expect(clippy::disallowed_methods, reason = "the registry is a program")]
    pub(crate) fn start_with(password: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().display().to_string();
        // Free a moment ago; the registry takes no socket.
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap().to_string();
        drop(free);
        let auth = format!("auth:\n  htpasswd:\n    realm: test\n    path: {path}/htpasswd\n");
        let config = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {path}/data\n\
             http:\n  addr: {address}\n{}",
            if password { auth.as_str() } else { "" }
        );
        std::fs::write(directory.path().join("htpasswd"), HTPASSWD).unwrap();
        std::fs::write(directory.path().join("config.yml"), config).unwrap();
        let process = std::process::Command::new("docker-registry")
            .args(["serve", &format!("{path}/config.yml")])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{error}; apt-get install docker-registry"));
        let registry = Self {
            process,
            directory,
            address,
            password,
        };
        let start = Instant::now();
        while TcpStream::connect(&registry.address).is_err() {
            assert!(
                start.elapsed() < Duration::from_secs(20),
                "the registry does not start"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        registry
    }

    /// Pushes an image of these layers as `name`, and says the digest of its manifest.
    pub(crate) fn push(&self, name: &str, layers: &[Vec<u8>], made: &Made) -> Digest {
        let layout = self.directory.path().join("layout");
        let digest = make_layout(&layout, layers, made);
        let mut arguments = vec!["--insecure-policy", "copy", "--dest-tls-verify=false"];
        if self.password {
            arguments.push("--dest-creds=me:secret");
        }
        let source = format!("oci:{}", layout.display());
        let target = format!("docker://{}/{name}", self.address);
        arguments.extend([source.as_str(), target.as_str()]);
        run("skopeo", "skopeo", &arguments);
        std::fs::remove_dir_all(&layout).unwrap();
        digest
    }

    /// Puts an index of what is there already.
    pub(crate) fn put_index(&self, name: &str, tag: &str, index: &str) {
        let answer = self.ask(&format!(
            "PUT /v2/{name}/manifests/{tag} HTTP/1.0\r\nHost: {}\r\nContent-Length: {}\r\n\
             Content-Type: application/vnd.oci.image.index.v1+json\r\n\r\n{index}",
            self.address,
            index.len()
        ));
        assert!(answer.contains(" 201 "), "{answer}");
    }

    /// The bytes of a manifest.
    pub(crate) fn manifest(&self, name: &str, tag: &str) -> Vec<u8> {
        let answer = self.ask(&format!(
            "GET /v2/{name}/manifests/{tag} HTTP/1.0\r\nHost: {}\r\n\
             Accept: application/vnd.oci.image.manifest.v1+json\r\n\r\n",
            self.address
        ));
        answer.split_once("\r\n\r\n").unwrap().1.as_bytes().to_vec()
    }

    fn ask(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Every blob it keeps, by the digits of its digest.
    pub(crate) fn blobs(&self) -> std::collections::HashMap<String, Vec<u8>> {
        let root = self
            .directory
            .path()
            .join("data/docker/registry/v2/blobs/sha256");
        crate::support::names(&root)
            .iter()
            .flat_map(|two| {
                let directory = root.join(two);
                let hexes = crate::support::names(&directory);
                hexes.into_iter().map(move |hex| {
                    let bytes = std::fs::read(directory.join(&hex).join("data")).unwrap();
                    (hex, bytes)
                })
            })
            .collect()
    }

    /// Where the registry keeps a blob.
    pub(crate) fn blob(&self, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        let blobs = self
            .directory
            .path()
            .join("data/docker/registry/v2/blobs/sha256");
        blobs.join(&hex[..2]).join(hex).join("data")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub(crate) fn options() -> PullOptions {
    PullOptions {
        insecure_http: InsecureHttp::Loopback,
        auth: Auth::Anonymous,
        connect_timeout: Duration::from_secs(5),
        idle_timeout: Duration::from_secs(5),
        retries: 1,
        ..PullOptions::default()
    }
}

/// What the proxy does to what the registry says.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Cuts the connection.
    Cut,
    /// Says nothing more.
    Stall,
}

/// Passes bytes on until so many came from the registry; then its fault happens to every
/// connection, until it is mended.
pub(crate) struct Proxy {
    pub(crate) address: String,
    left: Arc<AtomicI64>,
    stop: Arc<AtomicBool>,
    requests: Arc<Mutex<Vec<u8>>>,
}

impl Proxy {
    pub(crate) fn start(to: &str, bytes: i64, fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Self {
            address: listener.local_addr().unwrap().to_string(),
            left: Arc::new(AtomicI64::new(bytes)),
            stop: Arc::new(AtomicBool::new(false)),
            requests: Arc::default(),
        };
        let (left, stop, requests) = (
            proxy.left.clone(),
            proxy.stop.clone(),
            proxy.requests.clone(),
        );
        let to = to.to_owned();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let client = client.unwrap();
                let Ok(server) = TcpStream::connect(&to) else {
                    return;
                };
                let (mut from, mut into) =
                    (client.try_clone().unwrap(), server.try_clone().unwrap());
                let requests = requests.clone();
                std::thread::spawn(move || {
                    let mut buffer = [0; 4096];
                    while let Ok(count @ 1..) = from.read(&mut buffer) {
                        requests.lock().unwrap().extend_from_slice(&buffer[..count]);
                        if into.write_all(&buffer[..count]).is_err() {
                            break;
                        }
                    }
                    let _ = into.shutdown(Shutdown::Both);
                });
                let left = left.clone();
                let stop = stop.clone();
                std::thread::spawn(move || answer(server, client, &left, &stop, fault));
            }
        });
        proxy
    }

    /// From now on it behaves.
    pub(crate) fn mend(&self) {
        self.left.store(i64::MAX, Ordering::SeqCst);
    }

    /// Everything that was asked.
    pub(crate) fn requests(&self) -> String {
        String::from_utf8_lossy(&self.requests.lock().unwrap()).to_lowercase()
    }
}

fn answer(
    mut server: TcpStream,
    mut client: TcpStream,
    left: &AtomicI64,
    stop: &AtomicBool,
    fault: Fault,
) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = server.read(&mut buffer) {
        let before = left.fetch_sub(i64::try_from(count).unwrap(), Ordering::SeqCst);
        if before <= 0 {
            while fault == Fault::Stall && !stop.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(20));
            }
            break;
        }
        if client.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(&self.address);
    }
}
