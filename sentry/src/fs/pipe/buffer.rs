//! What is inside a pipe: bytes, and the page slots that Linux would hold them in.
//!
//! How full a pipe is, which writes are atomic and where packets end all follow from slots: each holds up to
//! a page, and a write fills up the last slot only if its odd part (length modulo page) fits there whole.

use crate::fs::ring::ByteRing;
use std::collections::VecDeque;

/// Bytes per slot; also `PIPE_BUF`, up to which a write is atomic.
pub(super) const PAGE: usize = 4096;

#[derive(Debug, Clone, Copy)]
struct Slot {
    /// Where in its page the data ends.
    end: usize,
    len: usize,
    /// Written with `O_DIRECT`: a read takes from this slot alone and drops what it leaves.
    packet: bool,
}

/// The content of a pipe.
#[derive(Debug)]
pub(super) struct PipeBuffer {
    bytes: ByteRing,
    slots: VecDeque<Slot>,
    max_slots: usize,
}

impl PipeBuffer {
    /// An empty one of `max_slots` pages.
    pub(super) fn new(max_slots: usize) -> PipeBuffer {
        PipeBuffer { bytes: ByteRing::default(), slots: VecDeque::new(), max_slots }
    }

    /// Bytes in it.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Nothing to read.
    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// No slot is free. (A small write may still fit into the last one.)
    pub(super) fn is_full(&self) -> bool {
        self.slots.len() >= self.max_slots
    }

    /// How many slots are free.
    pub(super) fn free_slots(&self) -> usize {
        self.max_slots.saturating_sub(self.slots.len())
    }

    /// How many slots there are.
    pub(super) fn max_slots(&self) -> usize {
        self.max_slots
    }

    /// Changes the number of slots; false if more are in use.
    pub(super) fn resize(&mut self, max_slots: usize) -> bool {
        let fits = self.slots.len() <= max_slots;
        if fits {
            self.max_slots = max_slots;
        }
        fits
    }

    /// Appends what fits of `data`; returns how much that was. Up to [`PAGE`] bytes go in whole or not at all.
    pub(super) fn push(&mut self, data: &[u8], packet: bool) -> usize {
        let mut done = self.merge(data, packet);
        while done < data.len() && !self.is_full() {
            let len = (data.len() - done).min(PAGE);
            self.slots.push_back(Slot { end: len, len, packet });
            done += len;
        }
        self.bytes.push(data.get(..done).unwrap_or_default());
        done
    }

    /// Accounts the odd part of `data` to the last slot, if that is allowed.
    fn merge(&mut self, data: &[u8], packet: bool) -> usize {
        let odd = data.len() % PAGE;
        match self.slots.back_mut() {
            Some(last) if odd > 0 && !packet && !last.packet && last.end + odd <= PAGE => {
                last.end += odd;
                last.len += odd;
                odd
            }
            _ => 0,
        }
    }

    /// Moves bytes into `out`; returns how many. Of a packet, what does not fit is dropped.
    pub(super) fn pop(&mut self, out: &mut [u8]) -> usize {
        let mut taken = 0;
        let mut dropped = 0;
        while taken < out.len()
            && let Some(front) = self.slots.front_mut()
        {
            let part = front.len.min(out.len() - taken);
            let packet = front.packet;
            if packet && taken > 0 {
                break;
            }
            taken += part;
            front.len -= part;
            if packet {
                dropped = front.len;
            }
            if front.len == 0 || packet {
                self.slots.pop_front();
            }
            if packet {
                break;
            }
        }
        self.bytes.peek(0, out.get_mut(..taken).unwrap_or_default());
        self.bytes.discard(taken + dropped);
        taken
    }

    /// Appends all of `data`, however full it is.
    pub(super) fn push_all(&mut self, data: &[u8]) {
        for page in data.chunks(PAGE) {
            self.slots.push_back(Slot { end: page.len(), len: page.len(), packet: false });
        }
        self.bytes.push(data);
    }

    /// Puts bytes back that were taken, however full it is.
    pub(super) fn push_front(&mut self, data: &[u8]) {
        for page in data.rchunks(PAGE) {
            self.slots.push_front(Slot { end: PAGE, len: page.len(), packet: false });
        }
        self.bytes.push_front(data);
    }

    /// Removes up to `count` bytes from the front.
    pub(super) fn discard(&mut self, count: usize) {
        let mut left = count;
        while left > 0
            && let Some(front) = self.slots.front_mut()
        {
            let part = front.len.min(left);
            front.len -= part;
            left -= part;
            if front.len == 0 {
                self.slots.pop_front();
            }
        }
        self.bytes.discard(count - left);
    }

    /// Copies bytes from the front into `out` without removing them, as `tee(2)` does; returns how many.
    pub(super) fn peek(&self, out: &mut [u8]) -> usize {
        self.bytes.peek(0, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_writes_share_a_slot() {
        let mut buffer = PipeBuffer::new(2);
        for _ in 0..2 * PAGE {
            assert_eq!(buffer.push(b"x", false), 1);
        }
        assert_eq!(buffer.push(b"x", false), 0);
        assert_eq!(buffer.len(), 2 * PAGE);
    }

    #[test]
    fn up_to_a_page_goes_in_whole_or_not_at_all() {
        let mut buffer = PipeBuffer::new(2);
        assert_eq!(buffer.push(&[1; 4000], false), 4000);
        assert_eq!(buffer.push(&[2; 200], false), 200);
        assert!(buffer.is_full());
        assert_eq!(buffer.push(&[3; 4000], false), 0);
        assert_eq!(buffer.push(&[3; 3896], false), 3896);
        let mut out = [0; 4100];
        assert_eq!(buffer.pop(&mut out), 4100);
        assert_eq!((out[3999], out[4000]), (1, 2));
        assert_eq!(buffer.len(), 4000 + 200 + 3896 - 4100);
    }

    #[test]
    fn larger_writes_go_in_by_pages() {
        let mut buffer = PipeBuffer::new(3);
        assert_eq!(buffer.push(&[0; 10], false), 10);
        assert_eq!(buffer.push(&vec![1; 5 * PAGE], false), 2 * PAGE);
    }

    #[test]
    fn a_packet_is_read_alone_and_its_rest_is_lost() {
        let mut buffer = PipeBuffer::new(16);
        buffer.push(b"first", true);
        buffer.push(b"second", true);
        buffer.push(b"bytes", false);
        let mut out = [0; 3];
        assert_eq!(buffer.pop(&mut out), 3);
        assert_eq!(&out, b"fir");
        let mut out = [0; 100];
        assert_eq!(buffer.pop(&mut out), 6);
        assert_eq!(&out[..6], b"second");
        assert_eq!(buffer.pop(&mut out), 5);
        assert!(buffer.is_empty());
        assert_eq!(buffer.len(), 0);
    }

    #[test]
    fn shrinking_below_what_is_used_is_refused() {
        let mut buffer = PipeBuffer::new(4);
        buffer.push(&[0; 2 * PAGE], false);
        assert!(!buffer.resize(1));
        assert!(buffer.resize(2));
        assert!(buffer.is_full());
    }
}
