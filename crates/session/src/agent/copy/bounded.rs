//! A file that a session fills, as far as it may.

use std::fs::File;
use std::io::{self, SeekFrom};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncSeek as _, AsyncWrite};

/// Takes so many bytes and then fails: a session could send without end. A run of zeros is a hole, and
/// takes no room.
pub(super) struct Bounded {
    to: tokio::fs::File,
    /// Bytes that it takes still, and those of them that are none of a hole.
    left: u64,
    store_left: u64,
    /// All that were taken, and those that have room of the disk.
    taken: u64,
    stored: u64,
    /// Whether a hole is before what comes next, and whether it is being gone over.
    hole: bool,
    seeking: bool,
    full: bool,
}

impl Bounded {
    pub(super) fn new(to: File, bytes: u64, stored: u64) -> Self {
        Self {
            to: tokio::fs::File::from_std(to),
            left: bytes,
            store_left: stored,
            taken: 0,
            stored: 0,
            hole: false,
            seeking: false,
            full: false,
        }
    }

    /// Whether it was to take more than it may.
    pub(super) const fn is_full(&self) -> bool {
        self.full
    }

    /// Bytes that it has taken.
    pub(super) const fn taken(&self) -> u64 {
        self.taken
    }

    /// Those of them that are none of a hole.
    pub(super) const fn stored(&self) -> u64 {
        self.stored
    }

    /// The length of the file, which it has then.
    pub(super) async fn finish(self) -> io::Result<u64> {
        if self.hole {
            self.to.set_len(self.taken).await?;
        }
        Ok(self.taken)
    }

    /// To where the next bytes belong.
    fn go_over_hole(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.seeking {
            // What was written before has to be done first.
            ready!(Pin::new(&mut self.to).poll_complete(context))?;
            Pin::new(&mut self.to).start_seek(SeekFrom::Start(self.taken))?;
            self.seeking = true;
        }
        ready!(Pin::new(&mut self.to).poll_complete(context))?;
        (self.hole, self.seeking) = (false, false);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Bounded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let length = bytes.len() as u64;
        let empty = bytes.iter().all(|byte| *byte == 0);
        if length > this.left || (!empty && length > this.store_left) {
            this.full = true;
            return Poll::Ready(Err(io::ErrorKind::FileTooLarge.into()));
        }
        if empty && !this.seeking {
            this.hole = true;
            this.left -= length;
            this.taken += length;
            return Poll::Ready(Ok(bytes.len()));
        }
        if this.hole {
            ready!(this.go_over_hole(context))?;
        }
        let written = ready!(Pin::new(&mut this.to).poll_write(context, bytes))?;
        this.left -= written as u64;
        this.store_left -= written as u64;
        this.taken += written as u64;
        this.stored += written as u64;
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.to).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.to).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn zeros_are_holes_wherever_they_are() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("f");
        let (zeros, ones) = (vec![0; 200 << 10], vec![1; 100 << 10]);
        for parts in [
            &[&zeros, &ones, &zeros][..],
            &[&ones, &zeros, &zeros, &ones],
            &[&zeros],
            &[],
        ] {
            let file = File::create(&path).unwrap();
            let mut bounded = Bounded::new(file, 1 << 20, 200 << 10);
            for part in parts {
                bounded.write_all(part).await.unwrap();
            }
            bounded.flush().await.unwrap();
            let length = bounded.finish().await.unwrap();
            let expected: Vec<u8> = parts.iter().copied().flatten().copied().collect();
            assert_eq!(length, expected.len() as u64);
            assert!(std::fs::read(&path).unwrap() == expected);
            let most = expected.iter().filter(|byte| **byte != 0).count() as u64 + 8192;
            assert!(std::fs::metadata(&path).unwrap().blocks() * 512 <= most);
        }
    }

    #[tokio::test]
    async fn there_is_an_end_of_holes_and_one_of_bytes() {
        let file = || tempfile::tempfile().unwrap();
        let mut bounded = Bounded::new(file(), 1 << 20, 1 << 10);
        bounded.write_all(&[0; 2 << 10]).await.unwrap();
        bounded.write_all(&[1; 2 << 10]).await.unwrap_err();
        assert!(bounded.is_full());
        let mut bounded = Bounded::new(file(), 1 << 20, 1 << 30);
        bounded.write_all(&vec![0; 1 << 20]).await.unwrap();
        assert!(!bounded.is_full());
        bounded.write_all(&[0]).await.unwrap_err();
        assert!(bounded.is_full());
    }
}
