//! The machine's serial ports, each a socket that QEMU connects to.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::mpsc::Sender;

use anyhow::{Context as _, Result};

/// The ports, as the machine knows them (`axo.NAME`). The first carries lines, the others bytes.
pub(super) const NAMES: [&str; 3] = ["control", "stdout", "stderr"];

/// The most that is copied at once: what a pipe of Linux holds.
const CHUNK: usize = 64 * 1024;

/// What the machine or the developer does.
pub(super) enum Event {
    Line(String),
    /// So many bytes more have been passed on.
    Copied(Output, u64),
    /// Whoever reads our output does not want it.
    NotCopied(std::io::Error),
    Signal(i32),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Output {
    Stdout,
    Stderr,
}

/// The file name of a port's socket.
pub(super) fn socket(name: &str) -> String {
    format!("{name}.socket")
}

/// Waits for QEMU, then passes on what the machine writes.
pub(super) fn listen(directory: &Path, events: &Sender<Event>) -> Result<()> {
    let listener = |name| {
        let path = directory.join(socket(name));
        UnixListener::bind(&path).with_context(|| {
            format!(
                "listening at {}; a shorter AXO_VMHOST_CACHE helps if that is too long",
                path.display()
            )
        })
    };
    let [control, stdout, stderr] = NAMES;
    let (control, sender) = (listener(control)?, events.clone());
    std::thread::spawn(move || {
        if let Ok((port, _)) = control.accept() {
            for line in BufReader::new(port).lines().map_while(Result::ok) {
                let _ = sender.send(Event::Line(line));
            }
        }
    });
    // Not through the standard library's buffers: bytes are to arrive when they are written.
    let ours = std::io::stdout().as_fd().try_clone_to_owned();
    pass_on(listener(stdout)?, Output::Stdout, File::from(ours?), events);
    let ours = std::io::stderr().as_fd().try_clone_to_owned();
    pass_on(listener(stderr)?, Output::Stderr, File::from(ours?), events);
    Ok(())
}

fn pass_on(listener: UnixListener, output: Output, mut to: File, events: &Sender<Event>) {
    let events = events.clone();
    std::thread::spawn(move || {
        let Ok((port, _)) = listener.accept() else {
            return;
        };
        copy(port, output, &mut to, &events);
    });
}

fn copy(mut from: impl Read, output: Output, to: &mut File, events: &Sender<Event>) {
    let mut chunk = vec![0; CHUNK];
    loop {
        let size = match from.read(&mut chunk) {
            Ok(0) => return,
            Ok(size) => size,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            // QEMU is gone, which the main thread sees.
            Err(_) => return,
        };
        let event = match to.write_all(&chunk[..size]) {
            Ok(()) => Event::Copied(output, size as u64),
            Err(error) => Event::NotCopied(error),
        };
        let ended = matches!(event, Event::NotCopied(_));
        // The main thread may be at its end already.
        if events.send(event).is_err() || ended {
            return;
        }
    }
}
