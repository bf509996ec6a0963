//! A stand-in for Firecracker that runs no guest: it listens where Firecracker does, and behaves as
//! the file `/kernel` in its jail says. Static, because there is nothing else in a jail.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

fn main() {
    if std::env::args().any(|argument| argument == "--chroot-base-dir") {
        eprintln!("Jailer error: there is no room in here");
        std::process::exit(3);
    }
    if std::env::args().any(|argument| argument == "--child") {
        println!("a child");
        forever();
    }
    let mode = std::fs::read_to_string("/kernel").unwrap_or_else(|_| "stored".to_owned());
    let mode = mode.trim().to_owned();
    println!("in the mode {mode}");
    match mode.as_str() {
        "exits at once" => std::process::exit(7),
        "children" => {
            for _ in 0..3 {
                let child = std::process::Command::new("/firecracker").arg("--child").spawn();
                println!("{:?}", child.map(drop));
            }
        }
        _ => {}
    }
    let listener = UnixListener::bind("/api.sock").expect("the API's socket is made");
    for stream in listener.incoming().flatten() {
        let mode = mode.clone();
        std::thread::spawn(move || serve(stream, &mode));
    }
}

fn forever() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn serve(mut stream: UnixStream, mode: &str) {
    while let Some((line, body)) = request(&mut stream) {
        println!("{line}: {body}");
        let says = |status: &str, body: &str| {
            format!("HTTP/1.1 {status}\r\nServer: Firecracker API\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        };
        let answer = match mode {
            "silent" => forever(),
            "no HTTP" => "SSH-2.0-OpenSSH\r\n\r\n".to_owned(),
            "hangs up" => return,
            "refuses" => says("400 Bad Request", r#"{"fault_message":"The kernel is \u001b[31mbad"}"#),
            "refuses oddly" => says("500 Odd", "<html>"),
            "long" => says("400 Bad Request", &"x".repeat(1 << 20)),
            "endless" => {
                let _ = stream.write_all(b"HTTP/1.1 400 Bad\r\nTransfer-Encoding: chunked\r\n\r\n");
                while stream.write_all(b"1000\r\n").is_ok() && stream.write_all(&[b'x'; 4096]).is_ok() {
                    let _ = stream.write_all(b"\r\n");
                }
                return;
            }
            _ if line.starts_with("GET /version") => says("200 OK", r#"{"firecracker_version":"0.0.1"}"#),
            _ => "HTTP/1.1 204 \r\nServer: Firecracker API\r\n\r\n".to_owned(),
        };
        if body.contains("InstanceStart") || line.contains("/snapshot/load") {
            start(mode);
        }
        if line.contains("/snapshot/create") {
            std::fs::write("/memory", "the memory").expect("the memory is written");
            std::fs::write("/state", "the state").expect("the state is written");
        }
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// A request's first line and its body.
fn request(stream: &mut UnixStream) -> Option<(String, String)> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).ok()?;
    let length = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok())
        .unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some((head.lines().next()?.to_owned(), String::from_utf8(body).ok()?))
}

/// What a guest would do.
fn start(mode: &str) {
    match mode {
        "powers off" => std::process::exit(0),
        "forbidden call" => std::process::exit(148),
        "crashes" => std::process::abort(),
        "eats memory" => {
            let mut eaten = Vec::new();
            loop {
                eaten.push(vec![1_u8; 1 << 20]);
            }
        }
        "fills the jail" => {
            let written = (0..100_000)
                .take_while(|number| std::fs::write(format!("/file{number}"), [1; 4096]).is_ok())
                .count();
            println!("filled with {written}");
            let _ = std::fs::remove_file("/file0");
        }
        "floods" => {
            std::thread::spawn(|| {
                let line = [b'z'; 4096];
                while std::io::stdout().write_all(&line).is_ok() {}
            });
        }
        _ => {}
    }
    let listener = UnixListener::bind("/v.sock").expect("the vsock's socket is made");
    let mode = mode.to_owned();
    std::thread::spawn(move || {
        let mut tries = 0;
        for stream in listener.incoming().flatten() {
            tries += 1;
            let mode = mode.clone();
            std::thread::spawn(move || guest(stream, &mode, tries));
        }
    });
}

fn guest(mut stream: UnixStream, mode: &str, tries: u32) {
    let mut line = Vec::new();
    let mut byte = [0];
    while byte[0] != b'\n' {
        if stream.read_exact(&mut byte).is_err() {
            return;
        }
        line.push(byte[0]);
    }
    println!("{}", String::from_utf8_lossy(&line).trim());
    let answer: &[u8] = match mode {
        // A guest whose agent does not listen yet.
        "slow guest" if tries < 5 => return,
        "no agent" => return,
        "goes" => {
            println!("its last words");
            std::process::exit(0);
        }
        "lies" => b"NO WAY\n",
        "endless line" => &[b'O'; 4096],
        "mute" => forever(),
        _ => b"OK 1073741824\nfirst bytes",
    };
    let _ = stream.write_all(answer);
    let mut chunk = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut chunk) {
        if stream.write_all(&chunk[..read]).is_err() {
            return;
        }
    }
}
