//! What a segment does to a connection.

use super::flight::News;
use super::segment::{ACK, FIN, RST, SYN, Segment, near};
use super::{MSS_DEFAULT, MSS_MIN, Machine, Recovery, State, Undo, Window};
use std::time::{Duration, Instant};

/// How long late segments are waited for (`TCP_TIMEWAIT_LEN`).
const TIME_WAIT: Duration = Duration::from_secs(60);
/// Time between two answers to segments that have no place in a window: two who believe to be right must not answer
/// each other for ever.
const CHALLENGE: Duration = Duration::from_millis(500);
/// Half of what a clock of milliseconds tells apart.
const CLOCK_WRAPS: Duration = Duration::from_secs(24 * 86400);
/// Repeated acknowledgements that mean a loss.
const DUPLICATES: u32 = 3;

impl Machine {
    /// Takes a segment.
    pub fn input(&mut self, segment: &Segment<'_>, now: Instant) {
        self.counts.segments_in = self.counts.segments_in.wrapping_add(1);
        match self.state {
            State::Closed => {}
            State::Listen => self.begin(segment, now),
            State::SynSent => self.answered(segment, now),
            _ => self.go_on(segment, now),
        }
    }

    /// Somebody wants to begin.
    fn begin(&mut self, segment: &Segment<'_>, now: Instant) {
        if !segment.opens() {
            return;
        }
        self.remote = segment.remote;
        self.offer();
        self.meet(segment);
        self.meet_marks(segment, false);
        self.state = State::SynReceived;
        self.stuck = now;
        self.opens = true;
    }

    /// Takes over what the other side's first segment says.
    fn meet(&mut self, segment: &Segment<'_>) {
        let first = super::ORIGIN + u64::from(segment.sequence);
        self.rx.start(first + 1);
        self.told = (first, self.una);
        let options = &segment.options;
        self.stamps = options.stamps.is_some();
        self.echo = (options.stamps.map_or(0, |(theirs, _)| theirs), self.rx.next);
        self.may_sack = options.may_sack;
        match options.scale {
            Some(scale) => self.shift = scale,
            None => (self.shift, self.rx.scale) = (0, 0),
        }
        let most = self.mtu.saturating_sub(self.header_len());
        let theirs = usize::from(options.mss.unwrap_or(MSS_DEFAULT)) - self.stamps_len().min(MSS_DEFAULT.into());
        let wanted = self.tuning.mss.map_or(usize::MAX, |mss| usize::from(mss).saturating_sub(self.stamps_len()));
        self.mss = most.min(theirs).min(wanted).max(MSS_MIN);
        self.window = Window::new(self.mss);
        // The window of a first segment is never scaled.
        self.largest_window = segment.window.into();
        self.edge = self.first + 1 + u64::from(segment.window);
    }

    fn stamps_len(&self) -> usize {
        if self.stamps { super::segment::STAMPS_LEN } else { 0 }
    }

    /// Something came in answer to the first segment.
    fn answered(&mut self, segment: &Segment<'_>, now: Instant) {
        let acknowledged = segment.has(ACK).then(|| near(self.una, segment.acknowledged));
        if acknowledged.is_some_and(|number| number != self.first + 1 || self.next == self.first) {
            if !segment.has(RST) {
                self.resets = Some(near(self.una, segment.acknowledged));
            }
            return;
        }
        if segment.has(RST) {
            if acknowledged.is_some() {
                self.die();
            }
            return;
        }
        if !segment.has(SYN) {
            return;
        }
        self.meet(segment);
        if acknowledged.is_some() {
            self.meet_marks(segment, true);
            self.establish(now);
            self.acknowledge = true;
        } else {
            // Both began at once.
            self.state = State::SynReceived;
            self.opens = true;
        }
    }

    /// The other side knows this one's first segment.
    fn establish(&mut self, now: Instant) {
        // If it was repeated, nobody knows which one was answered.
        if self.trip.backoff == 0 {
            self.trip.measured(now.saturating_duration_since(self.spoke));
        }
        self.trip.backoff = 0;
        self.una = self.first + 1;
        self.next = self.una;
        self.peak.1 = self.una;
        self.small = self.una;
        self.opens = false;
        self.alarms.repeat = None;
        self.heard = now;
        self.asked = 0;
        self.state = if self.fin { State::FinWait1 } else { State::Established };
    }

    /// A segment of a connection that both sides know.
    fn go_on(&mut self, segment: &Segment<'_>, now: Instant) {
        let start = near(self.rx.next, segment.sequence);
        // After so long a silence its clock may have wrapped.
        let is_recent = now.saturating_duration_since(self.heard) < CLOCK_WRAPS;
        let is_old_clock = self.stamps
            && is_recent
            && segment.options.stamps.is_some_and(|(theirs, _)| theirs.wrapping_sub(self.echo.0).cast_signed() < 0);
        if is_old_clock && !segment.has(RST) {
            return self.challenge(now);
        }
        if !self.fits(start, segment) {
            return self.unexpected(start, segment, now);
        }
        if segment.has(RST) {
            if start == self.rx.next {
                self.die();
            } else {
                self.challenge(now);
            }
            return;
        }
        if segment.has(SYN) {
            return self.challenge(now);
        }
        if !segment.has(ACK) {
            return;
        }
        self.heard = now;
        self.asked = 0;
        if self.state == State::SynReceived {
            if near(self.una, segment.acknowledged) != self.first + 1 {
                self.resets = Some(near(self.una, segment.acknowledged));
                return;
            }
            self.establish(now);
            self.edge = self.una + (u64::from(segment.window) << self.shift);
        }
        if let Some((theirs, _)) = segment.options.stamps.filter(|_| self.stamps && start <= self.echo.1) {
            self.echo.0 = theirs;
        }
        if self.acknowledged(start, segment, now) {
            self.data(start, segment, now);
        }
    }

    /// Whether a segment has a place in the window.
    fn fits(&self, start: u64, segment: &Segment<'_>) -> bool {
        let end = start + segment.len() as u64;
        let edge = self.rx.next + self.rx.window();
        if segment.is_empty() {
            start >= self.rx.next.min(self.echo.1) && start <= edge
        } else {
            end > self.rx.next && start < edge
        }
    }

    /// A segment without a place in the window: the other side is told what the place is.
    fn unexpected(&mut self, start: u64, segment: &Segment<'_>, now: Instant) {
        if segment.has(RST) {
            return;
        }
        if segment.has(SYN) && self.state == State::SynReceived {
            if segment.has(ACK) && near(self.una, segment.acknowledged) == self.first + 1 {
                // Both began at once, and both have answered.
                self.establish(now);
                self.edge = self.una + (u64::from(segment.window) << self.shift);
                self.acknowledge = true;
            } else {
                // It did not get the answer.
                self.opens = true;
            }
            return;
        }
        if self.state == State::TimeWait && segment.has(FIN) {
            self.alarms.wait = Some(now + TIME_WAIT);
        }
        // An answer to a question, or data that came twice: its acknowledgement was lost, or the window is closed.
        if segment.has(ACK) {
            self.heard = now;
            self.asked = 0;
            self.acknowledged(start, segment, now);
        }
        if segment.is_empty() {
            return self.challenge(now);
        }
        self.rx.take(start, segment.data, segment.frame);
        self.acknowledge = true;
    }

    /// Tells what is expected, but not too often.
    fn challenge(&mut self, now: Instant) {
        if self.challenged.is_none_or(|last| now.saturating_duration_since(last) >= CHALLENGE) {
            self.challenged = Some(now);
            self.acknowledge = true;
        }
    }

    /// What a segment acknowledges; whether the rest of it counts.
    fn acknowledged(&mut self, start: u64, segment: &Segment<'_>, now: Instant) -> bool {
        let number = near(self.una, segment.acknowledged);
        if number > self.next {
            self.challenge(now);
            return false;
        }
        if number < self.una {
            // It was overtaken. From before all windows it is a guess.
            return number + self.largest_window.max(u64::from(u16::MAX)) >= self.una;
        }
        let mut news = News::default();
        self.arrived_behind_gaps(number, segment, now, &mut news);
        let before = self.una;
        let (had_recovery, was_full) = (self.recovery.is_some(), self.uses_window());
        if number > self.una {
            self.forward(number, now, &mut news);
        } else if segment.is_empty() && !self.flight.is_empty() && self.edge == self.promised(number, segment) {
            self.duplicates += 1;
        }
        self.update_window(start, number, segment);
        if let Some(trip) = news.trip {
            self.trip.measured(trip);
        }
        if number > before && self.was_late(segment) {
            self.take_back();
        }
        self.find_losses(number > before, now);
        self.hear_echo(number, segment);
        let grows = self.recovery.is_none_or(|recovery| recovery.timed_out);
        if news.arrived > 0 && grows && was_full {
            let trip = self.trip.smooth().unwrap_or_default();
            self.window.acknowledged(news.arrived, trip, now);
        }
        if number > before || had_recovery || news.arrived > 0 {
            self.set_probe(now);
        }
        self.end_of_sending(number, now);
        true
    }

    /// Blocks of what arrived behind gaps, or twice.
    fn arrived_behind_gaps(&mut self, number: u64, segment: &Segment<'_>, now: Instant, news: &mut News) {
        if !self.may_sack {
            return;
        }
        let mut blocks = segment.options.blocks.iter().map(|(a, b)| (near(self.una, *a), near(self.una, *b)));
        let first = blocks.next();
        let second = blocks.next();
        let is_twice =
            |(start, end): (u64, u64)| end <= number || second.is_some_and(|(from, to)| from <= start && end <= to);
        if first.is_some_and(is_twice) {
            self.flight.was_late();
        }
        for (start, end) in first.into_iter().chain(second).chain(blocks) {
            if start < end && start >= number && end <= self.next {
                self.flight.arrived_between(start, end, now, news);
            }
        }
    }

    /// All before `number` arrived.
    fn forward(&mut self, number: u64, now: Instant, news: &mut News) {
        self.flight.acknowledged(number, now, news);
        let data = number.min(self.end()).saturating_sub(self.base);
        self.queue.discard(data as usize);
        self.base += data;
        self.counts.acknowledged += data;
        self.una = number;
        self.duplicates = 0;
        self.trip.backoff = 0;
        self.stuck = now;
        self.probes = false;
        self.alarms.persist = None;
        self.alarms.repeat = if self.flight.is_empty() { None } else { Some(now + self.trip.timeout()) };
        if number > self.peak.1 {
            self.peak = (self.flight.flying(), self.next);
        }
    }

    fn promised(&self, number: u64, segment: &Segment<'_>) -> u64 {
        number + (u64::from(segment.window) << self.shift)
    }

    /// How much room the other side has; the latest segment counts.
    fn update_window(&mut self, start: u64, number: u64, segment: &Segment<'_>) {
        if (start, number) >= self.told || number > self.told.1 {
            self.told = (start, number);
            self.edge = self.promised(number, segment);
            self.largest_window = self.largest_window.max(u64::from(segment.window) << self.shift);
            if self.edge > self.next && self.alarms.persist.take().is_some() {
                self.trip.backoff = 0;
            }
        }
    }

    /// Whether what was repeated had only been late: the other side answers to what was sent before.
    fn was_late(&self, segment: &Segment<'_>) -> bool {
        let repeated = self.undo.as_ref().and_then(|undo| undo.stamp);
        let echo = segment.options.stamps.filter(|_| self.stamps).map(|(_, ours)| ours);
        repeated.zip(echo).is_some_and(|(repeated, echo)| echo.wrapping_sub(repeated).cast_signed() < 0)
    }

    /// There was no loss.
    fn take_back(&mut self) {
        if let Some(undo) = self.undo.take() {
            self.window = undo.window;
            self.recovery = None;
            self.flight.find_all();
            self.flight.was_late();
        }
    }

    /// Finds what is lost, and begins or ends to do something about it.
    fn find_losses(&mut self, forward: bool, now: Instant) {
        if self.recovery.is_some_and(|recovery| self.una >= recovery.end) {
            self.recovery = None;
            self.undo = None;
        }
        if self.may_sack {
            let (least, hasty) = (self.trip.least(), self.recovery.is_some());
            self.alarms.look = self.flight.find_lost(self.mss, least, hasty, now);
        } else if self.duplicates == DUPLICATES || (forward && self.recovery.is_some()) {
            self.flight.lose_first();
        }
        if self.flight.lost() > 0 && self.recovery.is_none() {
            self.recover(false);
        }
    }

    /// Begins to repeat what was lost.
    pub(super) fn recover(&mut self, timed_out: bool) {
        if self.recovery.is_none() {
            self.undo = Some(Undo { window: self.window.clone(), stamp: None });
        }
        if timed_out {
            self.window.timed_out();
        } else {
            self.window.lost();
        }
        self.recovery = Some(Recovery { end: self.next, timed_out });
        self.has_slowed_down();
        self.alarms.probe = None;
    }

    /// Whether the window is what limits this side.
    fn uses_window(&self) -> bool {
        let (peak, _) = self.peak;
        if self.window.is_in_slow_start() {
            self.window.size() < 2 * peak
        } else {
            self.window.size() <= peak + 2 * self.mss
        }
    }

    /// The other side has acknowledged this one's end.
    fn end_of_sending(&mut self, number: u64, now: Instant) {
        if !self.fin || number <= self.end() {
            return;
        }
        match self.state {
            State::FinWait1 => self.state = State::FinWait2,
            State::Closing => self.linger(now),
            State::LastAck => self.die(),
            _ => {}
        }
    }

    fn linger(&mut self, now: Instant) {
        self.state = State::TimeWait;
        self.alarms = super::Alarms { wait: Some(now + TIME_WAIT), ..super::Alarms::default() };
    }

    /// What a segment carries.
    fn data(&mut self, start: u64, segment: &Segment<'_>, now: Instant) {
        let takes = matches!(self.state, State::Established | State::FinWait1 | State::FinWait2);
        if takes {
            self.points(start, segment);
        }
        if segment.is_empty() || !takes {
            return;
        }
        self.look_for_mark(segment);
        let had_gap = self.rx.has_gap();
        let before = self.rx.next;
        let in_order = self.rx.take(start, segment.data, segment.frame);
        if segment.has(FIN) {
            self.rx.end(start + segment.data.len() as u64);
        }
        self.rx.reach_end();
        let count = self.rx.next.saturating_sub(before) as usize;
        self.counts.received += count.saturating_sub(usize::from(self.rx.has_ended())) as u64;
        self.unacknowledged += count;
        let at_once = !in_order || had_gap || self.rx.has_gap() || segment.has(FIN);
        if at_once || self.quick > 0 || self.unacknowledged >= 2 * self.mss {
            self.quick = self.quick.saturating_sub(1);
            self.acknowledge = true;
        } else {
            self.alarms.acknowledge.get_or_insert(now + self.tuning.ack_delay);
        }
        if self.rx.has_ended() {
            match self.state {
                State::Established => self.state = State::CloseWait,
                State::FinWait1 => self.state = State::Closing,
                State::FinWait2 => self.linger(now),
                _ => {}
            }
            self.acknowledge = true;
        }
    }

    /// Acknowledges at once, for a while (`TCP_QUICKACK`).
    pub fn hurry(&mut self) {
        self.quick = super::QUICK;
        if self.unacknowledged > 0 {
            self.acknowledge = true;
        }
    }
}
