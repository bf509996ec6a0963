//! Releases from a server on this machine.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use super::*;

/// A server that gives the same answer to everybody, and says what it was asked for.
struct Server {
    base: String,
    asked: std::sync::mpsc::Receiver<String>,
}

impl Server {
    fn new(answer: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}/mirror", listener.local_addr().unwrap());
        let (send, asked) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    if stream.read(&mut byte).unwrap_or(0) == 0 {
                        break;
                    }
                    request.extend(byte);
                }
                let line = String::from_utf8_lossy(&request)
                    .lines()
                    .next()
                    .map(str::to_owned);
                let _ = send.send(line.unwrap_or_default());
                // A client that has enough goes away.
                let _ = stream.write_all(&answer);
            }
        });
        Self { base, asked }
    }

    fn with(status: &str, body: &[u8]) -> Self {
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        Self::new([head.as_bytes(), body].concat())
    }

    fn release(&self, sha256: &str) -> Release {
        Release {
            version: "1.14.4".to_owned(),
            sha256: Some(sha256.to_owned()),
            base_url: Some(self.base.clone()),
        }
    }
}

fn archive(files: &[(&str, tar::EntryType, &[u8])]) -> Vec<u8> {
    let gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut tar = tar::Builder::new(gzip);
    for (path, kind, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_entry_type(*kind);
        tar.append_data(&mut header, path, *bytes).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

const FIRECRACKER: &str = "release-v1.14.4-x86_64/firecracker-v1.14.4-x86_64";
const JAILER: &str = "release-v1.14.4-x86_64/jailer-v1.14.4-x86_64";

fn good() -> Vec<u8> {
    use tar::EntryType::{Directory, Regular};
    archive(&[
        ("release-v1.14.4-x86_64/", Directory, b""),
        (
            "release-v1.14.4-x86_64/firecracker-v1.14.4-x86_64.debug",
            Regular,
            b"debug",
        ),
        (FIRECRACKER, Regular, b"the machine"),
        (JAILER, Regular, b"the jail"),
    ])
}

async fn refused(release: &Release) -> String {
    let result = fetch(release).await;
    result
        .map(|(firecracker, _)| firecracker.from)
        .unwrap_err()
        .to_string()
}

#[tokio::test]
async fn a_release_that_is_what_was_named_is_unpacked() {
    let archive = good();
    let server = Server::with("200 OK", &archive);
    let digest = digest::of(&archive);
    for digest in [digest.clone(), format!("sha256:{digest}")] {
        let (firecracker, jailer) = fetch(&server.release(&digest)).await.unwrap();
        assert_eq!(firecracker.bytes, b"the machine");
        assert_eq!(jailer.bytes, b"the jail");
        assert!(
            jailer
                .from
                .ends_with("/mirror/v1.14.4/firecracker-v1.14.4-x86_64.tgz")
        );
        let asked = server.asked.recv().unwrap();
        assert_eq!(
            asked,
            "GET /mirror/v1.14.4/firecracker-v1.14.4-x86_64.tgz HTTP/1.1"
        );
    }
}

#[tokio::test]
async fn without_a_digest_nothing_is_asked() {
    let server = Server::with("200 OK", &good());
    let mut release = server.release("");
    assert!(refused(&release).await.contains("is no SHA-256"));
    release.sha256 = None;
    let said = refused(&release).await;
    assert!(
        said.contains("firecracker-v1.14.4-x86_64.tgz.sha256.txt"),
        "{said}"
    );
    release = server.release(&digest::of(&good()));
    for version in ["", "../../x", "1.14.4?x", "1.14.4 x"] {
        version.clone_into(&mut release.version);
        assert!(refused(&release).await.contains("no version"), "{version}");
    }
    assert!(server.asked.try_recv().is_err());
}

#[tokio::test]
async fn another_archive_is_refused() {
    let server = Server::with("200 OK", &good());
    let said = refused(&server.release(&digest::of(b"other"))).await;
    assert!(
        said.contains(&digest::of(&good())) && said.contains("do not trust"),
        "{said}"
    );
}

#[tokio::test]
async fn an_archive_without_the_programs_is_refused() {
    use tar::EntryType::{Regular, Symlink};
    for (archive, problem) in [
        (archive(&[]), "has no release-v1.14.4-x86_64/firecracker"),
        (
            archive(&[(FIRECRACKER, Regular, b"x")]),
            "has no release-v1.14.4-x86_64/jailer",
        ),
        (archive(&[(FIRECRACKER, Symlink, b"")]), "is no file"),
        (b"no archive".to_vec(), "cannot be read"),
        (good()[..good().len() / 2].to_vec(), "cannot be read"),
    ] {
        let server = Server::with("200 OK", &archive);
        let said = refused(&server.release(&digest::of(&archive))).await;
        assert!(said.contains(problem), "{problem}: {said}");
    }
}

#[tokio::test]
async fn what_a_server_does_wrong_is_said() {
    let digest = digest::of(&good());
    for (server, problem) in [
        (Server::with("404 Not Found", b"no"), "status 404"),
        (
            Server::new(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nx".to_vec()),
            "downloading",
        ),
        (Server::new(b"SSH-2.0-OpenSSH\r\n".to_vec()), "downloading"),
        // Nobody is sent from this machine to a place without TLS elsewhere.
        (
            Server::new(
                b"HTTP/1.1 302 Found\r\nlocation: https://0.0.0.0:1/\r\ncontent-length: 0\r\n\r\n"
                    .to_vec(),
            ),
            "downloading",
        ),
    ] {
        let said = refused(&server.release(&digest)).await;
        assert!(said.contains(problem), "{problem}: {said}");
    }
    let release = Release {
        base_url: Some("http://192.0.2.1".to_owned()),
        ..Server::with("200 OK", b"").release(&digest)
    };
    let said = refused(&release).await;
    assert!(said.contains("scheme") || said.contains("URL"), "{said}");
}

#[tokio::test]
async fn what_never_ends_is_ended() {
    let mut endless = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    endless.resize(4 << 20, 0);
    let server = Server::new(endless);
    let said = download(&server.base, 1 << 20)
        .await
        .unwrap_err()
        .to_string();
    assert!(said.contains("more than 1048576 bytes"), "{said}");
    let announced = Server::new(b"HTTP/1.1 200 OK\r\ncontent-length: 2000000\r\n\r\n".to_vec());
    let said = download(&announced.base, 1 << 20)
        .await
        .unwrap_err()
        .to_string();
    assert!(said.contains("more than 1048576 bytes"), "{said}");
}
