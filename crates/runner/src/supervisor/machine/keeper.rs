//! A machine that outlives who had it made: who can still ask for it, and until when it lives.
//!
//! ```text
//! maker ──Keep──▶          from now on the machine is not the maker's
//! anyone of our user ──Ask──▶  one packet a connection: the jail's root, or the machine's end
//! ```

use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use axo_runner::{Account, Ask, EndedBy, Keep, MachineEnded, Reply, Request, Told, receive, send};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::socket_peercred;
use rustix::net::{SocketFlags, accept_with};
use rustix::process::geteuid;

use crate::supervisor::hear;
use crate::supervisor::process::FirstProcess;
use crate::supervisor::step::{Failed, Step as _};

/// Connections that have not asked yet, at once. Further ones wait in the socket's own queue.
const MAX_CLIENTS: usize = 16;
/// Connections that wait for the end, at once.
const MAX_WAITING: usize = 64;
/// How long one may take to ask.
const ASK_TIME: Duration = Duration::from_secs(10);
/// How long the socket or the console is left alone after it was looked at: a guest that writes without
/// end, or a host without descriptors, takes no more of the processor than this lets it.
const PAUSE: Duration = Duration::from_millis(20);
/// What is read of a console at once: what a pipe holds.
const CONSOLE_BYTES: usize = 64 << 10;

/// What comes with a machine that may be kept.
pub(super) struct Keeping {
    listener: OwnedFd,
    account: File,
    console: OwnedFd,
    until: Instant,
}

/// The one who answers for a machine that may be kept.
pub(crate) struct Keeper {
    keeping: Keeping,
    root: OwnedFd,
    clients: Vec<Client>,
    /// Who waits for the end.
    waiting: Vec<OwnedFd>,
    /// Who has ended it, if somebody has.
    by: Option<EndedBy>,
    ended: Option<MachineEnded>,
    /// The end of what its console said.
    last: Vec<u8>,
}

/// A connection that has not asked yet.
struct Client {
    socket: OwnedFd,
    until: Instant,
}

/// What is waited for.
#[derive(Clone, Copy)]
enum Source {
    Machine,
    Maker,
    Listener,
    Console,
    Client(usize),
}

impl Keeping {
    pub(super) fn take(
        keep: &Keep,
        descriptors: &mut impl Iterator<Item = OwnedFd>,
    ) -> Result<Self, Failed> {
        const DOING: &str = "taking over what a machine is kept with";
        let mut next = || {
            let next = descriptors.next();
            next.ok_or_else(|| Failed::new(DOING, "a descriptor is missing"))
        };
        let (listener, account, console) = (next()?, next()?, next()?);
        for descriptor in [&listener, &console] {
            rustix::io::ioctl_fionbio(descriptor, true).step(DOING)?;
        }
        let until = Instant::now().checked_add(Duration::from_secs(keep.total_seconds));
        Ok(Self {
            listener,
            account: account.into(),
            console,
            until: until.ok_or_else(|| Failed::new(DOING, "its time has no end"))?,
        })
    }

    pub(super) fn of(self, root: OwnedFd) -> Keeper {
        Keeper {
            keeping: self,
            root,
            clients: Vec::new(),
            waiting: Vec::new(),
            by: None,
            ended: None,
            last: Vec::new(),
        }
    }
}

impl Keeper {
    /// Until the machine has ended, of itself or because somebody who may has ended it.
    pub(super) fn attend(&mut self, maker: &OwnedFd, machine: &FirstProcess) -> Result<(), Failed> {
        let pidfd = machine.pidfd();
        // Whether the maker is heard, and whether it may go.
        let (mut listens, mut kept) = (true, false);
        // Until then neither the socket nor the console is looked at.
        let (mut deaf, mut blind) = (Instant::now(), Instant::now());
        loop {
            let now = Instant::now();
            if now >= self.keeping.until {
                self.end(machine, EndedBy::TotalTime);
            }
            self.clients.retain(|client| client.until > now);
            let mut sources = vec![Source::Machine];
            let mut waits = vec![PollFd::new(&pidfd, PollFlags::IN)];
            let mut wait_for = |source, descriptor| {
                sources.push(source);
                waits.push(PollFd::from_borrowed_fd(descriptor, PollFlags::IN));
            };
            if listens {
                wait_for(Source::Maker, maker.as_fd());
            } else if now >= blind {
                // As long as the maker lives, it reads it.
                wait_for(Source::Console, self.keeping.console.as_fd());
            }
            if self.clients.len() < MAX_CLIENTS && now >= deaf {
                wait_for(Source::Listener, self.keeping.listener.as_fd());
            }
            for (number, client) in self.clients.iter().enumerate() {
                wait_for(Source::Client(number), client.socket.as_fd());
            }
            let pauses = [deaf, blind].into_iter().filter(|time| *time > now);
            let due = self.clients.iter().map(|client| client.until);
            let due = due
                .chain(pauses)
                .chain(self.by.is_none().then_some(self.keeping.until));
            let timeout = due.min().map(|due| due.saturating_duration_since(now));
            // A timeout that the kernel cannot take is as good as none.
            let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
            match poll(&mut waits, timeout.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(e) => return Err(e).step("waiting for the end of the machine"),
            }
            let ready: Vec<Source> = sources
                .iter()
                .zip(&waits)
                .filter(|(_, wait)| !wait.revents().is_empty())
                .map(|(source, _)| *source)
                .collect();
            drop(waits);
            // The last first, so that the numbers of those before it stay.
            for source in ready.into_iter().rev() {
                match source {
                    Source::Machine => return Ok(()),
                    Source::Maker => match hear(maker) {
                        Ok(Some((Request::Keep, _))) => {
                            // It hears that, or is gone, which is as well now.
                            kept = true;
                            let _ = send(maker, &Reply::Kept, &[]);
                        }
                        Ok(None) if kept => listens = false,
                        // As for every machine: whatever it is, it ends it.
                        _ => {
                            listens = false;
                            self.end(machine, EndedBy::Maker);
                        }
                    },
                    Source::Console => {
                        self.drain();
                        blind = Instant::now() + PAUSE;
                    }
                    Source::Listener => {
                        if !self.accept() {
                            deaf = Instant::now() + PAUSE;
                        }
                    }
                    Source::Client(number) => {
                        let client = self.clients.swap_remove(number);
                        self.answer(client.socket, machine);
                    }
                }
            }
        }
    }

    /// The first who does it has done it.
    fn end(&mut self, machine: &FirstProcess, by: EndedBy) {
        self.by.get_or_insert(by);
        machine.kill();
    }

    /// Whether somebody was accepted. Only who is of our user is heard.
    fn accept(&mut self) -> bool {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let Ok(socket) = accept_with(&self.keeping.listener, flags) else {
            return false;
        };
        if socket_peercred(&socket).is_ok_and(|peer| peer.uid == geteuid()) {
            self.clients.push(Client {
                socket,
                until: Instant::now() + ASK_TIME,
            });
        }
        true
    }

    fn answer(&mut self, socket: OwnedFd, machine: &FirstProcess) {
        match receive::<Ask>(&socket) {
            Ok((Ask::Root, _)) => {
                // Who takes no answer gets none.
                let _ = send(&socket, &Told::Root, &[self.root.as_fd()]);
            }
            Ok((Ask::End, _)) => {
                self.end(machine, EndedBy::Asked);
                if self.waiting.len() < MAX_WAITING {
                    self.waiting.push(socket);
                }
            }
            Err(_) => {}
        }
    }

    /// Takes what the machine has written, so that whoever writes does not wait. Its end is kept.
    fn drain(&mut self) {
        let mut bytes = vec![0; CONSOLE_BYTES];
        let read = rustix::io::read(&self.keeping.console, bytes.as_mut_slice()).unwrap_or(0);
        self.last.extend_from_slice(&bytes[..read]);
        let over = self.last.len().saturating_sub(Account::MAX_LAST_BYTES);
        self.last.drain(..over);
    }

    /// Notes how it ended.
    pub(super) fn ended(&mut self, ended: MachineEnded) {
        self.ended = Some(ended);
    }

    /// Gives account, and tells who waits. Nothing of the machine lives any more.
    pub(crate) fn conclude(mut self, failed: Option<&Failed>, removed: bool) {
        let failed = match (failed, removed) {
            (Some(failed), _) => Some(format!("{}: {}", failed.doing, failed.why)),
            (None, false) => Some("its cgroup could not be removed".to_owned()),
            (None, true) => None,
        };
        self.drain();
        let account = Account {
            by: self.by.unwrap_or(EndedBy::Itself),
            ended: self.ended,
            failed,
            last: String::from_utf8_lossy(&self.last).into_owned(),
        };
        if let Ok(text) = serde_json::to_vec(&account) {
            // On a disk that is full there is none, and it is taken for killed.
            let _ = self.keeping.account.write_all(&text);
        }
        for socket in &self.waiting {
            let _ = send(socket, &Told::Ended, &[]);
        }
    }
}
