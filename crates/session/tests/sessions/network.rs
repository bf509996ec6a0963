//! What a session reaches, and who reaches it.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use axo_core::Policy;
use axo_session::agent::Run;
use axo_session::{Network, PublishedPort, Session, SessionError, Sessions};

use crate::site::{Site, eventually, fails, says, site_with};

/// A port of the session's server.
const SERVER: u16 = 8000;

fn connected() -> Site {
    let mut policy = Policy::default();
    policy.sessions.bridge = true;
    site_with(policy)
}

/// A port of this host that nobody has.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

async fn published(site: &Site, sessions: &Sessions, port: u16) -> Result<Session, SessionError> {
    site.create(sessions, |spec| {
        spec.network = Network::Bridge;
        spec.ports = vec![PublishedPort {
            host: port,
            session: SERVER,
        }];
    })
    .await
}

/// What a server answers to a request for `path`.
fn get(address: impl Into<SocketAddr>, path: &str) -> std::io::Result<Vec<u8>> {
    let limit = Duration::from_secs(5);
    let mut stream = TcpStream::connect_timeout(&address.into(), limit)?;
    stream.set_read_timeout(Some(limit))?;
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

/// Addresses of this host beside its loopback address.
fn other_addresses() -> Vec<Ipv4Addr> {
    // The trie lists each address of the host as "/32 host LOCAL" beneath it.
    let text = std::fs::read_to_string("/proc/net/fib_trie").unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let mut found: Vec<Ipv4Addr> = lines
        .windows(2)
        .filter(|pair| pair[1].trim() == "/32 host LOCAL")
        .filter_map(|pair| pair[0].trim().strip_prefix("|-- ")?.parse().ok())
        .filter(|address: &Ipv4Addr| !address.is_loopback())
        .collect();
    found.sort();
    found.dedup();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_published_port_is_reached_on_the_loopback_address_and_nowhere_else() {
    let site = connected();
    let sessions = site.sessions();
    let port = free_port();
    let session = published(&site, &sessions, port).await.unwrap();
    says(&session, "mkdir /tmp/www; echo served > /tmp/www/page").await;
    let serve = format!("busybox httpd -f -p {SERVER} -h /tmp/www");
    let run = Run::new(["/bin/sh", "-c", &serve]).in_background();
    session.run(run).await.unwrap();
    eventually("the server answers", async || {
        get((Ipv4Addr::LOCALHOST, port), "/page")
            .is_ok_and(|answer| answer.ends_with(b"\r\nserved\n"))
    })
    .await;
    let others = other_addresses();
    // The emulated host has none.
    let expected = std::env::var_os("AXO_EMULATED").is_none();
    assert!(
        !expected || !others.is_empty(),
        "this host has no other address"
    );
    for address in others {
        let answer = get((address, port), "/page");
        assert!(answer.is_err(), "{address} answers {answer:?}");
    }

    // Whoever wants the same port is told which, and nothing of them stays.
    let second = published(&site, &sessions, port).await;
    match second {
        Err(SessionError::Port { port: told, .. }) => assert_eq!(told, port),
        other => panic!("{other:?}"),
    }
    assert_eq!(site.containers(), [session.record().id.container()]);

    sessions.remove(&session).await.unwrap();
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_network_there_is_the_own_loopback_interface_only() {
    let site = connected();
    let sessions = site.sessions();
    let session = site.session(&sessions).await;
    let interfaces = says(&session, "cut -s -d: -f1 /proc/net/dev").await;
    let names: Vec<&str> = interfaces.split_whitespace().collect();
    assert_eq!(names, ["lo"]);
    assert_eq!(says(&session, "tail -n +2 /proc/net/route").await, "");
    // A server of the host's own loopback address is another one's.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    listener.set_nonblocking(true).unwrap();
    let said = fails(&session, &format!("echo | nc -w 2 127.0.0.1 {port}")).await;
    assert!(said.contains("refused"), "{said}");
    let heard = listener.accept().unwrap_err().kind();
    assert_eq!(heard, std::io::ErrorKind::WouldBlock);
}
