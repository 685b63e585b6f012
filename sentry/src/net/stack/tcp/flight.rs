//! What is under way: which segments were sent when, which of them arrived behind gaps, and which must be taken for lost
//! (RACK, RFC 8985; without blocks from the other side, duplicate acknowledgements).

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

/// Segments behind a gap after which it is no reordering.
const THRESHOLD: usize = 3;
/// Room for so many segments is kept while nothing is under way.
const KEEP: usize = 64;
/// How much reordering is borne at most: quarters of the shortest round trip.
const PATIENCE_MAX: u32 = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    Flying,
    Arrived,
    Lost,
}

/// A segment that was sent and not acknowledged.
#[derive(Debug, Clone, Copy)]
struct Record {
    start: u64,
    end: u64,
    sent: Instant,
    repeated: bool,
    mark: Mark,
}

impl Record {
    fn len(&self) -> usize {
        self.end.saturating_sub(self.start) as usize
    }
}

/// What an acknowledgement told.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct News {
    /// Bytes of which it is now known that they arrived.
    pub(super) arrived: usize,
    /// A round trip, if one could be measured.
    pub(super) trip: Option<Duration>,
    /// Something that was repeated has arrived.
    pub(super) repeated: bool,
}

/// All that is under way.
#[derive(Debug, Default)]
pub(super) struct Flight {
    records: VecDeque<Record>,
    /// Transmissions in the order of time, with what they began with. Some are no longer true.
    order: VecDeque<(Instant, u64)>,
    lost: BTreeSet<u64>,
    flying: usize,
    arrived: usize,
    /// The latest transmission that arrived, the end of what it had, and how long it took.
    latest: Option<(Instant, u64, Duration)>,
    /// End of the farthest segment that arrived.
    farthest: u64,
    least: Option<Duration>,
    reordered: bool,
    patience: u32,
}

impl Flight {
    /// Whether nothing is under way.
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// How many segments are.
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// Bytes that are taken to be in the network.
    pub(super) fn flying(&self) -> usize {
        self.flying
    }

    /// Bytes that arrived behind gaps.
    pub(super) fn arrived(&self) -> usize {
        self.arrived
    }

    /// Segments that are taken for lost.
    pub(super) fn lost(&self) -> usize {
        self.lost.len()
    }

    /// New bytes were sent.
    pub(super) fn sent(&mut self, start: u64, end: u64, now: Instant) {
        self.records.push_back(Record { start, end, sent: now, repeated: false, mark: Mark::Flying });
        self.order.push_back((now, start));
        self.flying += end.saturating_sub(start) as usize;
    }

    /// The first that is to be repeated, if any.
    pub(super) fn next_lost(&self) -> Option<(u64, u64)> {
        let start = *self.lost.first()?;
        let record = self.records.get(self.find(start)?)?;
        Some((record.start, record.end))
    }

    /// The last segment, which may be repeated to see what comes back.
    pub(super) fn last(&self) -> Option<(u64, u64)> {
        self.records.back().map(|record| (record.start, record.end))
    }

    /// What began at `start` was sent again.
    pub(super) fn repeated(&mut self, start: u64, now: Instant) {
        let Some(record) = self.find(start).and_then(|at| self.records.get_mut(at)) else { return };
        if record.mark == Mark::Lost {
            self.flying += record.len();
        }
        record.mark = Mark::Flying;
        record.repeated = true;
        record.sent = now;
        self.lost.remove(&start);
        self.order.push_back((now, start));
        // Those that are no longer true go from the front; if one there stays for long, from everywhere.
        if self.order.len() > 2 * self.records.len() + 64 {
            let records = std::mem::take(&mut self.order);
            self.order = records.into_iter().filter(|(sent, start)| self.flies(*start, *sent).is_some()).collect();
        }
    }

    /// The record that has the number `at`.
    fn find(&self, at: u64) -> Option<usize> {
        let behind = self.records.partition_point(|record| record.start <= at);
        let index = behind.checked_sub(1)?;
        self.records.get(index).filter(|record| at < record.end).map(|_| index)
    }

    /// The record of a transmission, if it is still the last one of it and on its way.
    fn flies(&self, start: u64, sent: Instant) -> Option<usize> {
        // A part of it may have been acknowledged.
        let start = start.max(self.records.front()?.start);
        let index = self.find(start)?;
        self.records.get(index).filter(|record| record.mark == Mark::Flying && record.sent == sent).map(|_| index)
    }

    /// All before `end` arrived.
    pub(super) fn acknowledged(&mut self, end: u64, now: Instant, news: &mut News) {
        while let Some(record) = self.records.front_mut().filter(|record| record.start < end) {
            if record.end > end {
                let part = (end - record.start) as usize;
                match record.mark {
                    Mark::Flying => self.flying -= part,
                    Mark::Arrived => self.arrived -= part,
                    Mark::Lost => {
                        self.lost.remove(&record.start);
                        self.lost.insert(end);
                    }
                }
                news.arrived += if record.mark == Mark::Arrived { 0 } else { part };
                record.start = end;
                break;
            }
            let Some(record) = self.records.pop_front() else { break };
            match record.mark {
                Mark::Arrived => self.arrived -= record.len(),
                Mark::Flying => self.flying -= record.len(),
                Mark::Lost => {
                    self.lost.remove(&record.start);
                }
            }
            if record.mark != Mark::Arrived {
                self.arrives(&record, now, news);
            }
        }
        if self.records.is_empty() {
            // A connection that lingers, or says nothing for hours, has carried much before.
            self.order.clear();
            self.order.shrink_to(KEEP);
            self.records.shrink_to(KEEP);
        }
    }

    /// What is between `start` and `end` arrived behind a gap.
    pub(super) fn arrived_between(&mut self, start: u64, end: u64, now: Instant, news: &mut News) {
        let first = self.records.partition_point(|record| record.start < start);
        for at in first..self.records.len() {
            let Some(record) = self.records.get_mut(at).filter(|record| record.end <= end) else { break };
            if record.mark == Mark::Arrived {
                continue;
            }
            if record.mark == Mark::Lost {
                self.lost.remove(&record.start);
            } else {
                self.flying -= record.len();
            }
            record.mark = Mark::Arrived;
            self.arrived += record.len();
            let record = *record;
            self.arrives(&record, now, news);
        }
    }

    fn arrives(&mut self, record: &Record, now: Instant, news: &mut News) {
        news.arrived += record.len();
        news.repeated |= record.repeated;
        let trip = now.saturating_duration_since(record.sent);
        if !record.repeated {
            news.trip = Some(trip);
            self.least = Some(self.least.map_or(trip, |least| least.min(trip)));
            self.reordered |= record.end < self.farthest;
        } else if self.least.is_some_and(|least| trip < least) {
            // It is what was sent first that arrived.
            return;
        }
        self.farthest = self.farthest.max(record.end);
        if self.latest.is_none_or(|(sent, end, _)| (record.sent, record.end) > (sent, end)) {
            self.latest = Some((record.sent, record.end, trip));
        }
    }

    /// The other side got something twice: it was only late.
    pub(super) fn was_late(&mut self) {
        self.reordered = true;
        self.patience = (self.patience + 1).min(PATIENCE_MAX);
    }

    /// Takes for lost what was sent before something that arrived, and long enough ago; when to look again, if more
    /// may follow. `hasty`: there are losses already.
    pub(super) fn find_lost(&mut self, mss: usize, least: Duration, hasty: bool, now: Instant) -> Option<Instant> {
        let (latest, end, trip) = self.latest?;
        let clear = !self.reordered && (hasty || self.arrived >= THRESHOLD * mss);
        let borne = if clear { Duration::ZERO } else { least / 4 * (1 + self.patience) };
        while let Some((sent, start)) = self.order.front().copied() {
            let Some(record) = self.flies(start, sent).and_then(|at| self.records.get_mut(at)) else {
                self.order.pop_front();
                continue;
            };
            if (record.sent, record.end) >= (latest, end) {
                return None;
            }
            let due = sent + trip + borne;
            if due > now {
                return Some(due);
            }
            record.mark = Mark::Lost;
            self.lost.insert(record.start);
            self.flying -= record.len();
            self.order.pop_front();
        }
        None
    }

    /// Takes the first for lost, for want of better knowledge.
    pub(super) fn lose_first(&mut self) {
        if let Some(record) = self.records.front_mut().filter(|record| record.mark == Mark::Flying) {
            record.mark = Mark::Lost;
            self.flying -= record.len();
            self.lost.insert(record.start);
        }
    }

    /// Takes all for lost that is not known to have arrived.
    pub(super) fn lose_all(&mut self) {
        for record in self.records.iter_mut().filter(|record| record.mark == Mark::Flying) {
            record.mark = Mark::Lost;
            self.lost.insert(record.start);
        }
        self.flying = 0;
        self.order.clear();
    }

    /// Cuts what is under way into segments of at most `mss` bytes.
    pub(super) fn cut(&mut self, mss: usize) {
        let step = mss.max(1) as u64;
        let mut cut = VecDeque::with_capacity(self.records.len() * 2);
        for record in std::mem::take(&mut self.records) {
            let mut start = record.start;
            while start < record.end {
                let end = record.end.min(start + step);
                cut.push_back(Record { start, end, ..record });
                start = end;
            }
        }
        self.records = cut;
        // Those that were taken for lost are so in all their parts.
        let lost = self.records.iter().filter(|record| record.mark == Mark::Lost);
        self.lost = lost.map(|record| record.start).collect();
    }

    /// Takes nothing for lost any more.
    pub(super) fn find_all(&mut self) {
        for record in self.records.iter_mut().filter(|record| record.mark == Mark::Lost) {
            record.mark = Mark::Flying;
            self.flying += record.len();
        }
        self.lost.clear();
    }

    /// Nothing is under way any more.
    pub(super) fn clear(&mut self) {
        *self = Flight::default();
    }
}
