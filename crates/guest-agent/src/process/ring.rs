//! The last bytes of two streams, in the order they came.

use std::collections::VecDeque;

use axo_guest_proto::{HEADER_BYTES, Kind};

use crate::client::put_header;

/// What a change of stream costs in memory, beside its bytes.
const RUN_COST: usize = size_of::<Run>();

/// Memory that an emptied ring keeps, in bytes.
const SLACK: usize = 128 << 10;

/// Bytes of a stream, up to where the next run starts.
#[derive(Clone, Copy)]
struct Run {
    start: u64,
    kind: Kind,
}

/// The ring. Offsets count the bytes of both streams since the start.
pub(super) struct Ring {
    bytes: VecDeque<u8>,
    runs: VecDeque<Run>,
    oldest: u64,
    capacity: usize,
}

impl Ring {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            bytes: VecDeque::new(),
            runs: VecDeque::new(),
            oldest: 0,
            capacity,
        }
    }

    pub(super) fn oldest(&self) -> u64 {
        self.oldest
    }

    pub(super) fn newest(&self) -> u64 {
        self.oldest + self.bytes.len() as u64
    }

    /// Memory in use.
    pub(super) fn cost(&self) -> usize {
        self.bytes.len() + self.runs.len() * RUN_COST
    }

    /// Memory in use from an offset on.
    pub(super) fn cost_from(&self, offset: u64) -> usize {
        let bytes = self.newest().saturating_sub(offset.max(self.oldest));
        if bytes == 0 {
            return 0;
        }
        let runs = self.runs.len() - self.run_at(offset);
        usize::try_from(bytes).unwrap_or(usize::MAX) + runs * RUN_COST
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Appends, and gives up the oldest that has no room, but nothing from `keep` on.
    pub(super) fn push(&mut self, kind: Kind, bytes: &[u8], keep: u64) {
        if self.runs.back().is_none_or(|run| run.kind != kind) {
            let start = self.newest();
            self.runs.push_back(Run { start, kind });
        }
        let needed = self.bytes.len() + bytes.len();
        if needed > self.bytes.capacity() {
            // Doubling would take up to twice the capacity.
            let more = (needed * 2).min(self.capacity.max(needed)) - self.bytes.len();
            self.bytes.reserve_exact(more);
        }
        self.bytes.extend(bytes);
        while self.cost() > self.capacity && self.oldest < keep {
            self.give_up(self.cost() - self.capacity, keep);
        }
    }

    /// Gives up about so much memory of the oldest, but nothing from `keep` on. Says how much.
    pub(super) fn give_up(&mut self, cost: usize, keep: u64) -> usize {
        let before = self.cost();
        let free = usize::try_from(keep.saturating_sub(self.oldest)).unwrap_or(usize::MAX);
        let bytes = cost.min(free).min(self.bytes.len());
        self.bytes.drain(..bytes);
        self.oldest += bytes as u64;
        while self.runs.get(1).is_some_and(|run| run.start <= self.oldest) || self.bytes.is_empty()
        {
            if self.runs.pop_front().is_none() {
                break;
            }
        }
        if self.bytes.capacity() > 2 * self.bytes.len() + SLACK {
            self.bytes.shrink_to_fit();
        }
        before - self.cost()
    }

    /// Appends frames of what is there from `offset` on, `most` bytes of buffer or what there is.
    /// Returns the offset after it.
    pub(super) fn frames(&self, offset: u64, most: usize, buffer: &mut Vec<u8>) -> u64 {
        let mut at = offset.max(self.oldest);
        let mut index = self.run_at(at);
        while let Some(run) = self.runs.get(index) {
            let end = self
                .runs
                .get(index + 1)
                .map_or(self.newest(), |next| next.start);
            let room = most.saturating_sub(buffer.len() + HEADER_BYTES);
            let length = usize::try_from(end.saturating_sub(at))
                .unwrap_or(usize::MAX)
                .min(room);
            if length == 0 {
                break;
            }
            put_header(buffer, run.kind, length);
            let skip = usize::try_from(at - self.oldest).unwrap_or(usize::MAX);
            let (front, back) = self.bytes.as_slices();
            let from_front = front.get(skip..).unwrap_or_default();
            let from_front = &from_front[..from_front.len().min(length)];
            buffer.extend_from_slice(from_front);
            let skip = skip.saturating_sub(front.len());
            let missing = length - from_front.len();
            buffer.extend_from_slice(back.get(skip..skip + missing).unwrap_or_default());
            at += length as u64;
            index += 1;
        }
        at
    }

    /// Index of the run that has the byte at an offset.
    fn run_at(&self, offset: u64) -> usize {
        self.runs
            .partition_point(|run| run.start <= offset)
            .saturating_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axo_guest_proto::Frame;

    fn read(ring: &Ring, from: u64) -> Vec<(Kind, Vec<u8>)> {
        let mut buffer = Vec::new();
        ring.frames(from, 1 << 20, &mut buffer);
        let mut rest = &buffer[..];
        let mut all = Vec::new();
        while let Some((frame, more)) = Frame::split(rest).unwrap() {
            all.push((frame.kind, frame.payload.to_vec()));
            rest = more;
        }
        all
    }

    #[test]
    fn streams_come_out_in_the_order_they_came() {
        let mut ring = Ring::new(1000);
        ring.push(Kind::Output, b"ab", u64::MAX);
        ring.push(Kind::Output, b"c", u64::MAX);
        ring.push(Kind::Error, b"d", u64::MAX);
        ring.push(Kind::Output, b"e", u64::MAX);
        let all = [
            (Kind::Output, b"abc".to_vec()),
            (Kind::Error, b"d".to_vec()),
            (Kind::Output, b"e".to_vec()),
        ];
        assert_eq!(read(&ring, 0), all);
        assert_eq!(read(&ring, 1)[0].1, b"bc");
        assert_eq!(read(&ring, 3), all[1..]);
        assert_eq!(read(&ring, 5), []);
    }

    #[test]
    fn the_oldest_is_given_up_and_what_is_kept_is_not() {
        let mut ring = Ring::new(100);
        for byte in 0..200_u8 {
            ring.push(Kind::Output, &[byte], u64::MAX);
        }
        assert!(ring.cost() <= 100);
        assert_eq!(ring.newest(), 200);
        let kept = read(&ring, 0).remove(0).1;
        assert_eq!(
            kept,
            (u8::try_from(ring.oldest()).unwrap()..200).collect::<Vec<_>>()
        );
        let oldest = ring.oldest();
        ring.push(Kind::Output, &[0; 200], oldest);
        assert_eq!((ring.oldest(), ring.newest()), (oldest, 400));
    }

    #[test]
    fn single_bytes_of_changing_streams_cost_what_they_cost() {
        let mut ring = Ring::new(1 << 10);
        for at in 0..10_000 {
            ring.push([Kind::Output, Kind::Error][at % 2], b"x", u64::MAX);
        }
        assert!(ring.cost() <= 1 << 10);
        assert!(ring.runs.len() <= 1024 / RUN_COST);
        assert_eq!(ring.cost_from(ring.oldest()), ring.cost());
    }

    #[test]
    fn a_buffer_is_filled_as_far_as_it_goes() {
        let mut ring = Ring::new(1 << 10);
        ring.push(Kind::Output, &[1; 100], u64::MAX);
        ring.push(Kind::Error, &[2; 100], u64::MAX);
        let mut buffer = Vec::new();
        let at = ring.frames(0, 60, &mut buffer);
        assert_eq!((at, buffer.len()), (55, 60));
        buffer.clear();
        assert_eq!(ring.frames(at, 400, &mut buffer), 200);
    }
}
