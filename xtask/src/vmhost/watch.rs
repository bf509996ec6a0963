//! Waiting for the end.

use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::shell::say;

use super::machine::Running;
use super::streams::{self, Event, Output};

/// A machine that has not come to the command by then will not. It takes seconds on an idle host.
const BOOT: Duration = Duration::from_secs(300);
/// An idle kernel wakes every few seconds. One that has not for so long never will: QEMU (7.2) now and
/// then loses the interrupt that would wake a processor on which KVM has run a guest.
const STILL: Duration = Duration::from_secs(60);
/// How often QEMU is looked after. What it sends arrives at once.
const INTERVAL: Duration = Duration::from_millis(200);

pub(super) enum End {
    Exited(u8),
    TimedOut {
        started: bool,
    },
    NotBooted,
    /// QEMU ended, or the machine switched itself off.
    Died,
    /// QEMU lives, and its machine does nothing, for ever.
    StoodStill,
    Interrupted(u8),
}

pub(super) struct Watch {
    sender: Sender<Event>,
    events: Receiver<Event>,
}

impl Watch {
    /// From now on SIGINT, SIGTERM and SIGHUP are events.
    pub(super) fn begin() -> Result<Self> {
        let (sender, events) = channel();
        let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP])
            .context("handling signals")?;
        let to = sender.clone();
        std::thread::spawn(move || {
            for signal in signals.forever() {
                let _ = to.send(Event::Signal(signal));
            }
        });
        Ok(Self { sender, events })
    }

    pub(super) fn listen(&self, directory: &Path) -> Result<()> {
        streams::listen(directory, &self.sender)
    }

    /// The machine ends with this.
    pub(super) fn until_the_end(
        self,
        mut machine: Running,
        timeout: Duration,
        verbose: bool,
    ) -> Result<End> {
        let begin = Instant::now();
        let mut progress = Progress::default();
        let mut stillness = Stillness::new(begin);
        loop {
            match self.events.recv_timeout(INTERVAL) {
                Ok(Event::Signal(signal)) => {
                    return Ok(End::Interrupted(u8::try_from(signal).unwrap_or_default()));
                }
                Ok(Event::NotCopied(error)) => {
                    return Err(error).context("passing on what the command writes");
                }
                Ok(event) => {
                    let started = progress.started;
                    progress.take(event)?;
                    if verbose && progress.started && !started {
                        say(format_args!("started after {:.1?}", begin.elapsed()));
                    }
                }
                // All events are in; it has ended and nothing more comes.
                Err(RecvTimeoutError::Timeout) if machine.has_ended()? => {
                    return Ok(if progress.started {
                        End::Died
                    } else {
                        End::NotBooted
                    });
                }
                Err(_) if stillness.is_for_ever(machine.switches(), Instant::now()) => {
                    return Ok(End::StoodStill);
                }
                Err(_) => {}
            }
            if let Some(status) = progress.end() {
                if verbose {
                    say(format_args!("ended after {:.1?}", begin.elapsed()));
                }
                return Ok(End::Exited(status));
            }
            if begin.elapsed() >= timeout {
                let started = progress.started;
                return Ok(End::TimedOut { started });
            }
            if !progress.started && begin.elapsed() >= BOOT {
                return Ok(End::NotBooted);
            }
        }
    }
}

/// How long a machine has done nothing.
struct Stillness {
    switches: u64,
    since: Instant,
}

impl Stillness {
    fn new(since: Instant) -> Self {
        Self { switches: 0, since }
    }

    /// Takes what [`Running::switches`] says now.
    fn is_for_ever(&mut self, switches: u64, now: Instant) -> bool {
        if switches != self.switches {
            *self = Self {
                switches,
                since: now,
            };
        }
        now.duration_since(self.since) >= STILL
    }
}

/// What has come from the machine so far.
#[derive(Default)]
struct Progress {
    started: bool,
    exited: Option<Exited>,
    stdout: u64,
    stderr: u64,
}

/// The machine's last words: the command's exit status, and what it had written.
struct Exited {
    status: u8,
    stdout: u64,
    stderr: u64,
}

impl Progress {
    fn take(&mut self, event: Event) -> Result<()> {
        match event {
            Event::Line(line) => match line.split(' ').collect::<Vec<_>>()[..] {
                ["started"] => self.started = true,
                ["exited", status, stdout, stderr] => {
                    self.exited = Some(Exited {
                        status: status.parse().context("the machine's exit status")?,
                        stdout: stdout.parse().context("the machine's count")?,
                        stderr: stderr.parse().context("the machine's count")?,
                    });
                }
                _ => bail!("the machine says `{line}`"),
            },
            Event::Copied(Output::Stdout, size) => self.stdout += size,
            Event::Copied(Output::Stderr, size) => self.stderr += size,
            Event::NotCopied(_) | Event::Signal(_) => {}
        }
        Ok(())
    }

    /// The exit status, once all that was written has been passed on.
    fn end(&self) -> Option<u8> {
        let exited = self.exited.as_ref()?;
        (self.stdout >= exited.stdout && self.stderr >= exited.stderr).then_some(exited.status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_never_moves_stands_still() {
        let begin = Instant::now();
        let mut stillness = Stillness::new(begin);
        let mut after = |seconds, switches| {
            stillness.is_for_ever(switches, begin + Duration::from_secs(seconds))
        };
        assert!(!after(1, 5) && !after(60, 5) && !after(61, 6));
        assert!(!after(120, 6) && after(121, 6));
    }

    #[test]
    fn the_end_waits_for_bytes_that_are_under_way() {
        let mut progress = Progress::default();
        let mut take = |event| {
            progress.take(event).unwrap();
            progress.end()
        };
        assert_eq!(take(Event::Line("started".into())), None);
        assert_eq!(take(Event::Copied(Output::Stdout, 3)), None);
        assert_eq!(take(Event::Line("exited 7 5 1".into())), None);
        assert_eq!(take(Event::Copied(Output::Stderr, 1)), None);
        assert_eq!(take(Event::Copied(Output::Stdout, 2)), Some(7));
    }

    #[test]
    fn words_that_are_not_the_machines_are_errors() {
        let take = |line: &str| Progress::default().take(Event::Line(line.into()));
        assert!(take("exited 300 0 0").is_err());
        assert!(take("exited 0 0").is_err());
        assert!(take("Kernel panic").is_err());
    }
}
