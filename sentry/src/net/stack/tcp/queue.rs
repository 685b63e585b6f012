//! The bytes of a connection's directions, in pieces that packets and readers share: of much at a time each byte is
//! copied once, to or from the host, and once to or from the guest.

use crate::spare;
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

/// Room for small writes, of which several share a piece: at first, and at most.
const SMALL: (usize, usize) = (512, 32 << 10);

/// Bytes that are rather copied than kept with all of the frame that they came in.
const LARGE: usize = 48 << 10;

/// Memory that goes back to where large buffers are kept.
#[derive(Debug)]
struct Buffer(Vec<u8>);

impl Drop for Buffer {
    fn drop(&mut self) {
        spare::give(std::mem::take(&mut self.0));
    }
}

/// A buffer for a frame that comes, which may be kept for what it carries.
#[derive(Debug)]
pub struct Frame(Arc<Buffer>);

impl Frame {
    /// An empty one.
    pub fn empty() -> Frame {
        Frame(Arc::new(Buffer(spare::take(spare::FRAME))))
    }

    /// All of it, for the next frame: other memory, if the last one's is kept.
    pub fn fresh(&mut self) -> &mut [u8] {
        if Arc::get_mut(&mut self.0).is_none() {
            *self = Frame::empty();
        }
        Arc::get_mut(&mut self.0).map_or(&mut [], |buffer| buffer.0.as_mut_slice())
    }

    /// The first `len` bytes.
    pub fn bytes(&self, len: usize) -> &[u8] {
        self.0.0.get(..len).unwrap_or_default()
    }

    /// Keeps a part of it, if that is worth it.
    fn keep(&self, data: &[u8]) -> Option<Piece> {
        let start = data.as_ptr().addr().checked_sub(self.0.0.as_ptr().addr())?;
        let range = start..start + data.len();
        (data.len() >= LARGE && range.end <= self.0.0.len()).then(|| Piece { buffer: self.0.clone(), range })
    }
}

/// Bytes of a queue, which stay what they are however that goes on.
#[derive(Debug, Clone)]
pub struct Piece {
    buffer: Arc<Buffer>,
    range: Range<usize>,
}

impl std::ops::Deref for Piece {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.buffer.0.get(self.range.clone()).unwrap_or_default()
    }
}

/// What a packet carries.
pub type Pieces = SmallVec<[Piece; 2]>;

/// A buffer of which some bytes are queued.
#[derive(Debug)]
struct Chunk {
    /// Position of the first of them.
    at: u64,
    piece: Piece,
}

impl Chunk {
    fn end(&self) -> u64 {
        self.at + self.piece.range.len() as u64
    }

    /// What is between two positions.
    fn part(&self, from: u64, to: u64) -> Range<usize> {
        let start = self.piece.range.start;
        let place = |position: u64| start + position.clamp(self.at, self.end()).saturating_sub(self.at) as usize;
        place(from)..place(to)
    }

    /// Appends as much of `data` as there is room for, unless a packet has the buffer; returns how much.
    fn append(&mut self, data: &[u8]) -> usize {
        let Some(Buffer(bytes)) = Arc::get_mut(&mut self.piece.buffer) else { return 0 };
        let room = bytes.get_mut(self.piece.range.end..).unwrap_or_default();
        let count = room.len().min(data.len());
        if let (Some(room), Some(data)) = (room.get_mut(..count), data.get(..count)) {
            room.copy_from_slice(data);
        }
        self.piece.range.end += count;
        count
    }
}

/// The bytes between two positions of a stream.
#[derive(Debug, Default)]
pub(super) struct Queue {
    chunks: VecDeque<Chunk>,
    start: u64,
    end: u64,
}

impl Queue {
    /// How many bytes are queued.
    pub(super) fn len(&self) -> usize {
        (self.end - self.start) as usize
    }

    /// Whether none are.
    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Appends all of `data`.
    pub(super) fn push(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            let mut count = self.chunks.back_mut().map_or(0, |chunk| chunk.append(data));
            if count == 0 {
                let before = self.chunks.back().map_or(0, |chunk| 2 * chunk.piece.buffer.0.len());
                let buffer = match data.len() {
                    large if large > SMALL.1 => spare::take(spare::WRITTEN),
                    small => vec![0; small.max(before).clamp(SMALL.0, SMALL.1)],
                };
                self.add(Piece { buffer: Arc::new(Buffer(buffer)), range: 0..0 });
                count = self.chunks.back_mut().map_or(data.len(), |chunk| chunk.append(data));
            }
            self.end += count as u64;
            data = data.get(count..).unwrap_or_default();
        }
    }

    /// Appends the first `len` bytes of a buffer.
    pub(super) fn push_buffer(&mut self, buffer: Vec<u8>, len: usize) {
        let range = 0..len.min(buffer.len());
        self.add(Piece { buffer: Arc::new(Buffer(buffer)), range });
    }

    /// Appends what a frame carries, with its memory if that is worth it.
    pub(super) fn push_carried(&mut self, data: &[u8], frame: Option<&Frame>) {
        match frame.and_then(|frame| frame.keep(data)) {
            Some(piece) => self.add(piece),
            None => self.push(data),
        }
    }

    fn add(&mut self, piece: Piece) {
        let at = self.end;
        self.end += piece.range.len() as u64;
        self.chunks.push_back(Chunk { at, piece });
    }

    /// Removes up to `count` bytes from the front.
    pub(super) fn discard(&mut self, count: usize) {
        self.start = self.end.min(self.start.saturating_add(count as u64));
        while self.chunks.front().is_some_and(|chunk| chunk.end() <= self.start) {
            self.chunks.pop_front();
        }
        if self.chunks.is_empty() {
            // A connection that says nothing for hours has carried much before.
            self.chunks.shrink_to(1);
        }
    }

    fn touched(&self, from: u64, to: u64) -> impl Iterator<Item = &Chunk> {
        let first = self.chunks.partition_point(|chunk| chunk.end() <= from);
        self.chunks.range(first..).take_while(move |chunk| chunk.at < to)
    }

    /// What starts `skip` bytes behind the front, `len` bytes at most.
    pub(super) fn pieces(&self, skip: usize, len: usize) -> Pieces {
        if len == 0 {
            return Pieces::new();
        }
        let from = self.start + skip as u64;
        let to = self.end.min(from + len as u64);
        let piece = |chunk: &Chunk| Piece { buffer: chunk.piece.buffer.clone(), range: chunk.part(from, to) };
        self.touched(from, to).map(piece).collect()
    }

    /// Copies what starts `skip` bytes behind the front into `out`; returns how much.
    pub(super) fn peek(&self, skip: usize, out: &mut [u8]) -> usize {
        let from = self.start + skip as u64;
        let to = self.end.min(from + out.len() as u64);
        let mut done = 0;
        for chunk in self.touched(from, to) {
            let part = chunk.piece.buffer.0.get(chunk.part(from, to)).unwrap_or_default();
            if let Some(out) = out.get_mut(done..done + part.len()) {
                out.copy_from_slice(part);
            }
            done += part.len();
        }
        done
    }

    /// The first bytes, as many as are in one piece.
    pub(super) fn front(&self) -> &[u8] {
        let Some(chunk) = self.chunks.front() else { return &[] };
        chunk.piece.buffer.0.get(chunk.part(self.start, self.end)).unwrap_or_default()
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        *self = Queue::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(range: Range<usize>) -> Vec<u8> {
        range.map(|n| (n * 31 + n / 256) as u8).collect()
    }

    #[test]
    fn pieces_are_what_was_pushed() {
        let (mut queue, mut given, mut gone, mut seed) = (Queue::default(), 0, 0, 1usize);
        let mut held = Vec::new();
        for round in 0..3000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let count = [1, 100, 3000, 60_000, 200_000][(seed >> 33) % 5];
            let data = bytes(given..given + count);
            match round % 7 {
                0 => queue.push_buffer(data, count),
                1 if count <= spare::FRAME - 100 => {
                    let mut frame = Frame::empty();
                    frame.fresh()[100..100 + count].copy_from_slice(&data);
                    queue.push_carried(&frame.bytes(100 + count)[100..], Some(&frame));
                    frame.fresh().fill(0);
                }
                _ => queue.push(&data),
            }
            given += count;
            assert_eq!(queue.len(), given - gone);
            let (skip, len) = ((seed >> 13) % (given - gone), (seed >> 7) % 70_000);
            let (from, to) = (gone + skip, given.min(gone + skip + len));
            let pieces = queue.pieces(skip, len);
            held.push((pieces.clone(), from..to));
            assert_eq!(pieces.iter().map(|piece| &**piece).collect::<Vec<_>>().concat(), bytes(from..to));
            let mut peeked = vec![0; len];
            assert_eq!(queue.peek(skip, &mut peeked), to - from);
            assert_eq!(peeked[..to - from], bytes(from..to));
            let front = queue.front().len();
            assert!(front > 0 && queue.front() == bytes(gone..gone + front));
            let least = (given - gone).saturating_sub(1 << 20);
            let drop = least.max((seed >> 3) % (given - gone + 1));
            queue.discard(drop);
            gone += drop;
        }
        // What a packet has stays, whatever has happened to the queue.
        for (pieces, range) in held.into_iter().step_by(100) {
            assert_eq!(pieces.iter().map(|piece| &**piece).collect::<Vec<_>>().concat(), bytes(range));
        }
        queue.discard(usize::MAX);
        assert!(queue.is_empty() && queue.pieces(0, 10).is_empty() && queue.chunks.is_empty());
        queue.clear();
    }
}
