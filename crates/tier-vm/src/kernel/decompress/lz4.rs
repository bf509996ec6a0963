//! The legacy format of LZ4: a magic number, then blocks, each with its compressed length before it.
//!
//! From <https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md>, section "Legacy frame".

use std::io::{self, BufRead, Read};

pub(super) const MAGIC: [u8; 4] = [0x02, 0x21, 0x4c, 0x18];

/// What a block unpacks to at most, in bytes: fixed by the format.
const BLOCK_BYTES: usize = 8 << 20;

/// What a block has at most, in bytes: one that cannot be compressed gets this much longer.
const MAX_PACKED_BYTES: usize = BLOCK_BYTES + BLOCK_BYTES / 255 + 16;

/// Unpacks one block after the other.
pub(super) struct Reader<R> {
    from: R,
    block: Vec<u8>,
    /// How much of the block there is, and how much of that was read.
    filled: usize,
    read: usize,
}

impl<R: BufRead> Reader<R> {
    /// `from` begins with the magic number.
    pub(super) fn new(mut from: R) -> io::Result<Self> {
        from.read_exact(&mut [0; MAGIC.len()])?;
        Ok(Self {
            from,
            block: vec![0; BLOCK_BYTES],
            filled: 0,
            read: 0,
        })
    }

    /// The next block, if there is one.
    fn fill(&mut self) -> io::Result<()> {
        (self.filled, self.read) = (0, 0);
        if self.from.fill_buf()?.is_empty() {
            return Ok(());
        }
        let mut length = [0; 4];
        self.from.read_exact(&mut length)?;
        let length = u32::from_le_bytes(length) as usize;
        if length == 0 || length > MAX_PACKED_BYTES {
            return Err(invalid("a block of a length that none can have"));
        }
        let mut packed = vec![0; length];
        self.from.read_exact(&mut packed)?;
        self.filled = lz4_flex::block::decompress_into(&packed, &mut self.block)
            .map_err(|error| invalid(&error.to_string()))?;
        Ok(())
    }
}

fn invalid(problem: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem)
}

impl<R: BufRead> Read for Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.read == self.filled {
            self.fill()?;
        }
        let there = self.block.get(self.read..self.filled).unwrap_or_default();
        let count = there.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), there.get(..count)) {
            to.copy_from_slice(from);
        }
        self.read += count;
        Ok(count)
    }
}

#[cfg(test)]
pub(in crate::kernel) mod tests {
    use super::*;

    pub(in crate::kernel) fn pack(bytes: &[u8]) -> Vec<u8> {
        let mut packed = MAGIC.to_vec();
        for block in bytes.chunks(BLOCK_BYTES) {
            let block = lz4_flex::block::compress(block);
            packed.extend(u32::try_from(block.len()).unwrap().to_le_bytes());
            packed.extend(block);
        }
        packed
    }

    fn unpack(packed: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        Reader::new(packed)?.read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn blocks_follow_each_other() {
        let bytes: Vec<u8> = (0..BLOCK_BYTES + 12345)
            .map(|at| u8::try_from(at % 251).unwrap())
            .collect();
        assert!(unpack(&pack(&bytes)).unwrap() == bytes);
    }

    #[test]
    fn a_lying_length_costs_nothing() {
        for length in [0, u32::MAX, 9 << 20] {
            let mut packed = MAGIC.to_vec();
            packed.extend(length.to_le_bytes());
            packed.extend([0; 64]);
            assert!(unpack(&packed).is_err(), "{length}");
        }
        // More than a block may unpack to.
        let mut packed = MAGIC.to_vec();
        let block = lz4_flex::block::compress(&vec![0; BLOCK_BYTES + 1]);
        packed.extend(u32::try_from(block.len()).unwrap().to_le_bytes());
        packed.extend(block);
        assert!(unpack(&packed).is_err());
    }
}
