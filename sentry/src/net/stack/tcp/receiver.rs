//! What has come: bytes to read, pieces behind gaps, and the window that is offered.

use super::queue::{Frame, Pieces, Queue};
use super::segment::BLOCKS_MAX;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Pieces behind gaps that are kept: more than a window has segments. Of smaller ones each costs more than it has.
const PIECES_MAX: usize = 4096;
/// Blocks that are remembered to be told.
const RECENT_MAX: usize = 8;
/// The shortest time over which reading is measured.
const MEASURED_MIN: Duration = Duration::from_micros(200);

/// The receiving half.
#[derive(Debug, Default)]
pub(super) struct Receiver {
    queue: Queue,
    /// Number of the byte that comes next.
    pub(super) next: u64,
    /// End of what was offered.
    pub(super) edge: u64,
    /// Shift of windows.
    pub(super) scale: u8,
    capacity: usize,
    capacity_max: usize,
    /// Pieces behind gaps, which do not overlap.
    pieces: BTreeMap<u64, Vec<u8>>,
    waiting: usize,
    /// What they cover.
    blocks: BTreeMap<u64, u64>,
    /// Beginnings of those that changed last.
    recent: Vec<u64>,
    /// What came twice, to be told once.
    twice: Option<(u64, u64)>,
    /// Number of the other side's end.
    fin: Option<u64>,
    /// Bytes read since then.
    measured: Option<(Instant, usize)>,
}

impl Receiver {
    /// One that takes `capacity` bytes, and up to `most` if they are read fast enough.
    pub(super) fn new(capacity: usize, most: usize) -> Receiver {
        Receiver { capacity, capacity_max: most.max(capacity), ..Receiver::default() }
    }

    /// The other side begins with this number.
    pub(super) fn start(&mut self, next: u64) {
        self.next = next;
        self.edge = next;
    }

    /// The most that it may come to take.
    pub(super) fn capacity_max(&self) -> usize {
        self.capacity_max
    }

    /// How much it takes now.
    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Changes both bounds.
    pub(super) fn resize(&mut self, capacity: usize, most: usize) {
        self.capacity = capacity;
        self.capacity_max = most.max(capacity);
    }

    /// Bytes to read.
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Number of the byte that is read next.
    pub(super) fn position(&self) -> u64 {
        self.next - u64::from(self.has_ended()) - self.queue.len() as u64
    }

    /// Removes the byte that is read next.
    pub(super) fn skip(&mut self) {
        self.queue.discard(1);
    }

    /// Whether the other side's end was reached.
    pub(super) fn has_ended(&self) -> bool {
        self.fin.is_some_and(|fin| self.next > fin)
    }

    /// Whether something came behind a gap.
    pub(super) fn has_gap(&self) -> bool {
        !self.pieces.is_empty()
    }

    /// Room that is offered from now on: never less than before.
    pub(super) fn window(&self) -> u64 {
        let room = self.capacity.saturating_sub(self.queue.len()) as u64;
        // Less than the step of the scale would be lost on the wire.
        let step = (1u64 << self.scale) - 1;
        let offered = self.edge.saturating_sub(self.next);
        offered.max(room & !step)
    }

    /// Takes what came from number `start` on, which may overlap with what is known; whether something new came in
    /// order.
    pub(super) fn take(&mut self, start: u64, data: &[u8], frame: Option<&Frame>) -> bool {
        let end = start + data.len() as u64;
        if end <= self.next || self.is_known(start, end) {
            if !data.is_empty() {
                self.twice = Some((start, end));
            }
            return false;
        }
        let from = start.max(self.next);
        let to = end.min(self.next + self.window());
        let data = data.get((from - start) as usize..to.saturating_sub(start) as usize).unwrap_or_default();
        if data.is_empty() {
            return false;
        }
        if from > self.next {
            self.keep(from, data);
            return false;
        }
        self.queue.push_carried(data, frame);
        self.next = to;
        self.join();
        true
    }

    fn is_known(&self, start: u64, end: u64) -> bool {
        self.blocks.range(..=start).next_back().is_some_and(|(_, known)| end <= *known)
    }

    /// Keeps a piece behind a gap, as far as it is new and no other begins in it.
    fn keep(&mut self, start: u64, data: &[u8]) {
        let known = self.blocks.range(..=start).next_back().map_or(start, |(_, end)| (*end).max(start));
        let end = start + data.len() as u64;
        let end = self.blocks.range(known..).next().map_or(end, |(next, _)| end.min(*next));
        let part = data.get((known - start) as usize..end.saturating_sub(start) as usize).unwrap_or_default();
        if part.is_empty() || self.pieces.len() >= PIECES_MAX {
            return;
        }
        self.pieces.insert(known, part.to_vec());
        self.waiting += part.len();
        self.cover(known, end);
    }

    /// Notes that what is between two numbers has come.
    fn cover(&mut self, mut start: u64, mut end: u64) {
        if let Some((before, known)) = self.blocks.range(..start).next_back().map(|(a, b)| (*a, *b))
            && known == start
        {
            start = before;
        }
        if let Some(behind) = self.blocks.remove(&end) {
            self.recent.retain(|recent| *recent != end);
            end = behind;
        }
        self.blocks.insert(start, end);
        self.recent.retain(|recent| *recent != start);
        self.recent.insert(0, start);
        self.recent.truncate(RECENT_MAX);
    }

    /// Moves pieces to the queue that no gap is before any more.
    fn join(&mut self) {
        while let Some(entry) = self.pieces.first_entry().filter(|entry| *entry.key() <= self.next) {
            let (start, piece) = entry.remove_entry();
            self.waiting -= piece.len();
            let new = piece.get((self.next - start) as usize..).unwrap_or_default();
            self.queue.push(new);
            self.next += new.len() as u64;
        }
        while let Some(entry) = self.blocks.first_entry().filter(|entry| *entry.key() < self.next) {
            let (start, end) = entry.remove_entry();
            self.recent.retain(|recent| *recent != start);
            if end > self.next {
                self.blocks.insert(self.next, end);
            }
        }
    }

    /// The other side's end has a number; it counts once all before it has come.
    pub(super) fn end(&mut self, at: u64) {
        // The first that says so is believed.
        let fin = *self.fin.get_or_insert(at);
        if self.next == fin {
            self.next += 1;
            self.edge = self.edge.max(self.next);
        }
    }

    /// Passes the end, if all before it has come.
    pub(super) fn reach_end(&mut self) {
        if let Some(fin) = self.fin.filter(|fin| *fin == self.next) {
            self.end(fin);
        }
    }

    /// The blocks to tell: what came twice, then what came behind gaps, the latest first.
    pub(super) fn blocks(&mut self) -> impl Iterator<Item = (u64, u64)> {
        let twice = self.twice.take();
        let recent = self.recent.iter().filter_map(|start| Some((*start, *self.blocks.get(start)?)));
        twice.into_iter().chain(recent).take(BLOCKS_MAX)
    }

    /// Whether there is something to tell but how far it has come.
    pub(super) fn has_news(&self) -> bool {
        self.twice.is_some() || !self.blocks.is_empty()
    }

    /// Copies the first bytes.
    pub(super) fn peek(&self, skip: usize, out: &mut [u8]) -> usize {
        self.queue.peek(skip, out)
    }

    /// The first bytes, with the memory that they are in.
    pub(super) fn pieces(&self, most: usize) -> Pieces {
        self.queue.pieces(0, most)
    }

    /// The first bytes, in one piece.
    pub(super) fn front(&self) -> &[u8] {
        self.queue.front()
    }

    /// Removes bytes that were read. Whoever reads more than half the room in a round trip gets more of it.
    pub(super) fn read(&mut self, count: usize, trip: Duration, now: Instant) {
        self.queue.discard(count);
        let (since, before) = *self.measured.get_or_insert((now, 0));
        let sum = before + count;
        if now.saturating_duration_since(since) < trip.max(MEASURED_MIN) {
            self.measured = Some((since, sum));
            return;
        }
        self.measured = Some((now, 0));
        if sum * 2 > self.capacity {
            self.capacity = (sum * 2).clamp(self.capacity, self.capacity_max);
        }
    }

    /// Whether the other side should hear of more room.
    pub(super) fn wants_update(&self, mss: usize) -> bool {
        let offered = self.edge.saturating_sub(self.next);
        let room = self.window();
        let enough = (2 * mss).min(self.capacity / 2) as u64;
        room >= offered * 2 && room >= offered + enough
    }
}
