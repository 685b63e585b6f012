//! A queue of bytes that is filled and emptied in bulk: the store of pipes and stream sockets.

use std::collections::VecDeque;

/// Capacity that an emptied queue may keep. Larger ones give their memory back, for a guest that filled a
/// thousand buffers once must not hold that memory for ever.
const KEEP: usize = 64 << 10;

/// A first-in, first-out queue of bytes. Bounds are the owner's business.
#[derive(Debug, Default)]
pub struct ByteRing {
    bytes: VecDeque<u8>,
}

impl ByteRing {
    /// How many bytes are queued.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether none are.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Appends all of `data`.
    pub fn push(&mut self, data: &[u8]) {
        self.bytes.extend(data);
    }

    /// Puts all of `data` before what is there.
    pub fn push_front(&mut self, data: &[u8]) {
        for byte in data.iter().rev() {
            self.bytes.push_front(*byte);
        }
    }

    /// Copies what starts `skip` bytes behind the front into `out`; returns how much.
    pub fn peek(&self, skip: usize, out: &mut [u8]) -> usize {
        let (front, back) = self.bytes.as_slices();
        let from_front = front.get(skip..).unwrap_or_default();
        let from_back = back.get(skip.saturating_sub(front.len())..).unwrap_or_default();
        let first = copy(from_front, out);
        first + copy(from_back, out.get_mut(first..).unwrap_or_default())
    }

    /// The first bytes, as many as are in one piece.
    pub fn front(&self) -> &[u8] {
        self.bytes.as_slices().0
    }

    /// What starts `skip` bytes behind the front, `len` bytes at most, in two pieces.
    pub fn parts(&self, skip: usize, len: usize) -> (&[u8], &[u8]) {
        let (front, back) = self.bytes.as_slices();
        let first = front.get(skip.min(front.len())..).unwrap_or_default();
        let first = first.get(..len.min(first.len())).unwrap_or_default();
        let rest = back.get(skip.saturating_sub(front.len()).min(back.len())..).unwrap_or_default();
        (first, rest.get(..(len - first.len()).min(rest.len())).unwrap_or_default())
    }

    /// Removes up to `count` bytes from the front.
    pub fn discard(&mut self, count: usize) {
        self.bytes.drain(..count.min(self.bytes.len()));
        if self.bytes.is_empty() && self.bytes.capacity() > KEEP {
            self.bytes = VecDeque::new();
        }
    }

    /// Moves bytes from the front into `out`; returns how many.
    pub fn pop(&mut self, out: &mut [u8]) -> usize {
        let count = self.peek(0, out);
        self.discard(count);
        count
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.bytes = VecDeque::new();
    }
}

/// Copies as much of `from` as fits into `to`.
fn copy(from: &[u8], to: &mut [u8]) -> usize {
    let count = from.len().min(to.len());
    if let (Some(to), Some(from)) = (to.get_mut(..count), from.get(..count)) {
        to.copy_from_slice(from);
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_in_order_across_the_wrap() {
        let mut ring = ByteRing::default();
        let (mut next_in, mut next_out) = (0u8, 0u8);
        for round in 1..500usize {
            let data: Vec<u8> = (0..round % 37).map(|n| next_in.wrapping_add(n as u8)).collect();
            next_in = next_in.wrapping_add(data.len() as u8);
            ring.push(&data);
            let mut out = [0u8; 29];
            let got = ring.pop(&mut out[..round % 29]);
            for byte in &out[..got] {
                assert_eq!(*byte, next_out);
                next_out = next_out.wrapping_add(1);
            }
        }
        assert_eq!(ring.len() % 256, usize::from(next_in.wrapping_sub(next_out)));
    }

    #[test]
    fn peek_skips_without_removing() {
        let mut ring = ByteRing::default();
        ring.push(b"hello world");
        let mut out = [0u8; 5];
        assert_eq!(ring.peek(6, &mut out), 5);
        assert_eq!(&out, b"world");
        assert_eq!(ring.peek(11, &mut out), 0);
        assert_eq!(ring.len(), 11);
    }
}
