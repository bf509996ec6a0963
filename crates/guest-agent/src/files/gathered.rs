//! Events that wait to be told.

use axo_guest_proto::bounds;
use axo_guest_proto::files::{Event, EventKind};

/// Events of one reply.
const BATCH: usize = 256;

/// Bytes of their paths.
const BATCH_BYTES: usize = 64 << 10;

/// Most replies that wait. A directory that comes with more files in it is one to look at.
const MOST: usize = 64;

/// Events, in replies that fit.
#[derive(Default)]
pub(super) struct Gathered {
    batches: Vec<Vec<Event>>,
    /// Bytes of the paths of the last.
    bytes: usize,
    /// Whether there were more than are kept.
    lost: bool,
    pub(super) ended: bool,
}

impl Gathered {
    pub(super) fn push(&mut self, kind: EventKind, path: &[u8], directory: bool) {
        if path.len() > bounds::MAX_PATH_BYTES {
            self.lost = true;
            return;
        }
        let fits = self.bytes + path.len() <= BATCH_BYTES;
        if !fits || self.batches.last().is_none_or(|last| last.len() >= BATCH) {
            if self.batches.len() >= MOST {
                self.lost = true;
                return;
            }
            self.batches.push(Vec::new());
            self.bytes = 0;
        }
        self.bytes += path.len();
        if let Some(last) = self.batches.last_mut() {
            last.push(Event {
                kind,
                path: path.to_vec(),
                directory,
            });
        }
    }

    /// Whether to tell these before gathering more.
    pub(super) fn is_full(&self) -> bool {
        self.batches.len() > 1
    }

    /// Replies to be told, in order.
    pub(super) fn take(self) -> Vec<Vec<Event>> {
        let mut batches = self.batches;
        let about_all = |kind| {
            vec![Event {
                kind,
                path: Vec::new(),
                directory: false,
            }]
        };
        if self.lost {
            batches.push(about_all(EventKind::Overflow));
        }
        if self.ended {
            batches.push(about_all(EventKind::Ended));
        }
        batches
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axo_guest_proto::{Message as _, Reply};

    #[test]
    fn every_reply_fits_and_what_is_lost_is_told() {
        let mut gathered = Gathered::default();
        for length in (0..40_000).map(|at| at % 5000) {
            gathered.push(EventKind::Created, &vec![b'x'; length], false);
        }
        gathered.ended = true;
        let batches = gathered.take();
        assert_eq!(batches.len(), MOST + 2);
        assert_eq!(batches[MOST][0].kind, EventKind::Overflow);
        assert_eq!(batches[MOST + 1][0].kind, EventKind::Ended);
        for batch in batches {
            Reply::Events(batch).to_frame().unwrap();
        }
    }
}
