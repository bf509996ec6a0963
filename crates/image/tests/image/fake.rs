//! A server that answers as it is told, for what real registries do not do.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub(crate) struct Answer {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    /// The body is repeated for as long as somebody listens.
    pub(crate) endless: bool,
}

impl Answer {
    pub(crate) fn whole(status: &str, headers: &str, body: &str) -> Self {
        Self::bytes(status, headers, body.as_bytes())
    }

    pub(crate) fn bytes(status: &str, headers: &str, body: &[u8]) -> Self {
        Self {
            head: format!("HTTP/1.1 {status}\r\nConnection: close\r\n{headers}\r\n"),
            body: body.to_vec(),
            endless: false,
        }
    }
}

pub(crate) struct Fake {
    pub(crate) address: String,
    stop: Arc<AtomicBool>,
}

impl Fake {
    pub(crate) fn start(answer: impl Fn(&str) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, answer) = (Arc::clone(&stop), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let answer = Arc::clone(&answer);
                std::thread::spawn(move || serve(stream.unwrap(), &*answer));
            }
        });
        Self { address, stop }
    }
}

fn serve(mut stream: TcpStream, answer: &dyn Fn(&str) -> Answer) {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => request.push(byte[0]),
            _ => return,
        }
    }
    let answer = answer(&String::from_utf8_lossy(&request));
    let _ = stream.write_all(answer.head.as_bytes());
    let mut open = stream.write_all(&answer.body).is_ok();
    let more = vec![b' '; 64 << 10];
    while answer.endless && open {
        open = stream.write_all(&more).is_ok();
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(&self.address);
    }
}
