//! What a connection sends, and when.

use super::segment::{ACK, FIN, Header, Options, PSH, RST, SYN, URG};
use super::{Alarms, Machine, Sent, State};
use crate::net::stack::packet::{Head, PACKET_MAX, TCP};
use std::time::{Duration, Instant};

/// Data that one packet takes before it is cut: less than the longest packet, with all its headers.
const CHUNK_MAX: usize = PACKET_MAX - 120;
/// How long data is repeated without an answer (`tcp_retries2`).
const SILENCE: Duration = Duration::from_secs(924);
/// The same for a socket that is closed (`tcp_orphan_retries`), and for the answer to a first segment.
const ORPHAN: Duration = Duration::from_secs(127);
/// How often the answer to a first segment is repeated (`tcp_synack_retries`).
const ANSWER_RETRIES: u32 = 5;
/// Least time before the last segment is repeated, and what is added if the other side may wait before it answers.
const PROBE_MIN: Duration = Duration::from_millis(2);
const PROBE_ALONE: Duration = Duration::from_millis(200);

/// What goes out next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Reset(u64),
    Open,
    Repeat(u64, u64),
    New(usize),
    /// A segment that must be answered.
    Ask,
    Acknowledge,
}

impl Machine {
    /// Makes the next packet that is to be sent now, if there is one.
    pub fn output(&mut self, now: Instant) -> bool {
        self.expire(now);
        let Some(next) = self.next(now) else {
            self.set_persist(now);
            return false;
        };
        match next {
            Next::Reset(number) => {
                self.resets = None;
                let acknowledged = self.rx.next as u32;
                self.put(
                    Header { sequence: number as u32, acknowledged, flags: RST | ACK, ..Header::default() },
                    0,
                    None,
                    0,
                );
            }
            Next::Open => self.open(now),
            Next::Repeat(start, end) => self.repeat(start, end, now),
            Next::New(len) => self.new_data(len, now),
            Next::Ask => {
                self.alarms.persist = self.alarms.persist.map(|_| now + self.trip.timeout());
                self.asks = false;
                self.segment(self.una.saturating_sub(1), 0, 0, now);
            }
            Next::Acknowledge => self.segment(self.next, 0, 0, now),
        }
        true
    }

    /// The next packet that it has made.
    pub fn take(&mut self) -> Option<Sent> {
        self.sent.pop_front()
    }

    /// When there will be something to do without being asked.
    pub fn due(&self, now: Instant) -> Option<Instant> {
        if self.next(now).is_some() {
            return Some(now);
        }
        let Alarms { repeat, probe, look, persist, acknowledge, uncork, wait } = self.alarms;
        [repeat, probe, look, persist, acknowledge, uncork, wait, self.keep_alive_due()].into_iter().flatten().min()
    }

    fn next(&self, now: Instant) -> Option<Next> {
        if let Some(number) = self.resets {
            return Some(Next::Reset(number));
        }
        if self.opens {
            return Some(Next::Open);
        }
        if matches!(self.state, State::Closed | State::Listen | State::SynSent | State::SynReceived) {
            return None;
        }
        let has_room = self.flying() < self.window.size();
        // After a loss at least one segment goes out.
        if (has_room || self.flight.flying() == 0 || self.probes)
            && let Some((start, end)) = self.flight.next_lost()
        {
            return Some(Next::Repeat(start, end));
        }
        if let Some(len) = self.sendable(now) {
            return Some(Next::New(len));
        }
        if self.asks {
            return Some(Next::Ask);
        }
        let is_due = self.alarms.acknowledge.is_some_and(|at| at <= now);
        (self.acknowledge || is_due).then_some(Next::Acknowledge)
    }

    /// Bytes in the network, as far as is known.
    fn flying(&self) -> usize {
        let gone = if self.may_sack { 0 } else { self.duplicates as usize * self.mss };
        self.flight.flying().saturating_sub(gone)
    }

    /// How many new bytes may go out now; 0 for an end alone.
    fn sendable(&self, now: Instant) -> Option<usize> {
        let unsent = self.end().saturating_sub(self.next) as usize;
        if unsent == 0 {
            return (self.fin && self.next == self.end()).then_some(0);
        }
        let offered = self.edge.saturating_sub(self.next) as usize;
        let allowed = self.window.size().saturating_sub(self.flying());
        // Each segment has a pointer of its own, and one alone says that this side has slowed down.
        let most = if self.has_urgent() || self.tells_of_marks() { 1 } else { (CHUNK_MAX / self.mss).max(1) };
        let len = unsent.min(offered).min(allowed).min(most * self.mss);
        let whole = len - len % self.mss;
        if len == unsent && (whole == len || self.fin || self.sends_small(now)) {
            return Some(len);
        }
        if whole > 0 {
            return Some(whole);
        }
        // A window that is smaller than a segment is filled only if nothing better may come.
        let is_small_window = len == offered && len < unsent;
        let waits = !self.flight.is_empty() && (len as u64) < self.largest_window / 2;
        (is_small_window && len > 0 && !waits).then_some(len)
    }

    /// Whether a segment that is not full may go out (Nagle's rule, with Minshall's change).
    fn sends_small(&self, now: Instant) -> bool {
        if self.has_urgent() {
            return true;
        }
        if let Some(until) = self.alarms.uncork {
            return until <= now;
        }
        self.tuning.nodelay || self.small <= self.una
    }

    /// Acts on timers that have ended.
    fn expire(&mut self, now: Instant) {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if is_due(self.alarms.wait) {
            return self.die();
        }
        if is_due(self.alarms.look) {
            let (least, hasty) = (self.trip.least(), self.recovery.is_some());
            self.alarms.look = self.flight.find_lost(self.mss, least, hasty, now);
            if self.flight.lost() > 0 && self.recovery.is_none() {
                self.recover(false);
            }
        }
        if is_due(self.alarms.repeat) {
            self.timed_out(now);
        } else if is_due(self.alarms.probe) {
            self.probe(now);
        }
        if is_due(self.alarms.persist) {
            self.trip.backoff += 1;
            self.ask(now);
        }
        if is_due(self.keep_alive_due()) {
            self.keep_alive(now);
        }
    }

    /// Nothing came back for long.
    fn timed_out(&mut self, now: Instant) {
        self.trip.backoff += 1;
        if self.is_hopeless(now) {
            return self.die();
        }
        if matches!(self.state, State::SynSent | State::SynReceived) {
            self.opens = true;
        } else {
            if !self.recovery.is_some_and(|recovery| recovery.timed_out) {
                self.recover(true);
            }
            self.flight.lose_all();
            self.probes = true;
        }
        self.alarms.probe = None;
        self.alarms.repeat = Some(now + self.trip.timeout());
    }

    /// Whether nobody is to wait any longer.
    fn is_hopeless(&self, now: Instant) -> bool {
        let waited = now.saturating_duration_since(self.stuck);
        match (self.state, self.tuning.patience) {
            (State::SynSent | State::SynReceived, Some(patience)) => waited >= patience,
            (State::SynSent, None) => self.trip.backoff > self.tuning.syn_retries,
            (State::SynReceived, None) => self.trip.backoff > ANSWER_RETRIES,
            (_, Some(patience)) => waited >= patience,
            (State::FinWait1 | State::LastAck | State::Closing, None) => waited >= ORPHAN,
            _ => waited >= SILENCE,
        }
    }

    /// The end of what was sent may be lost, of which nobody would tell: something goes out that must be answered.
    fn probe(&mut self, now: Instant) {
        self.alarms.probe = None;
        self.alarms.repeat = Some(now + self.trip.timeout());
        if let Some((start, end)) = self.flight.last() {
            self.repeat(start, end, now);
        }
    }

    /// Sets the timer for that.
    pub(super) fn set_probe(&mut self, now: Instant) {
        self.alarms.probe = None;
        let (Some(trip), false) = (self.trip.smooth(), self.flight.is_empty()) else { return };
        if self.recovery.is_some() || self.flight.arrived() > 0 || self.trip.backoff > 0 || !self.may_sack {
            return;
        }
        let alone = if self.flight.len() == 1 { PROBE_ALONE } else { Duration::ZERO };
        let at = now + (2 * trip).max(PROBE_MIN) + alone;
        self.alarms.probe = Some(at).filter(|at| self.alarms.repeat.is_none_or(|repeat| *at < repeat));
    }

    /// Something must come back, or the connection is over.
    fn ask(&mut self, now: Instant) {
        let silent = now.saturating_duration_since(self.heard);
        if silent >= self.tuning.patience.unwrap_or(SILENCE) && self.asked > 0 {
            return self.die();
        }
        self.asked += 1;
        self.asks = true;
    }

    /// When it is to be asked whether the other side lives.
    fn keep_alive_due(&self) -> Option<Instant> {
        let (idle, interval, _) = self.tuning.keep_alive?;
        let is_idle = self.flight.is_empty() && self.queue.is_empty();
        let is_open = matches!(self.state, State::Established | State::CloseWait | State::FinWait2);
        // Questions are counted from the last sign of life on.
        (is_idle && is_open).then(|| self.heard + idle + interval * self.asked)
    }

    fn keep_alive(&mut self, now: Instant) {
        let Some((_, _, most)) = self.tuning.keep_alive else { return };
        let silent = now.saturating_duration_since(self.heard);
        let given_up = match self.tuning.patience {
            Some(patience) => silent >= patience && self.asked > 0,
            None => self.asked >= most,
        };
        if given_up {
            self.resets = Some(self.next);
            return self.die();
        }
        self.asked += 1;
        self.asks = true;
    }

    /// A connection's first segment.
    fn open(&mut self, now: Instant) {
        self.opens = false;
        let answers = self.state == State::SynReceived;
        let header = if self.local.is_ipv4() { 40 } else { 60 };
        let mss = self.mtu.saturating_sub(header).min(usize::from(u16::MAX)) as u16;
        let options = Options {
            mss: Some(self.tuning.mss.map_or(mss, |wanted| wanted.min(mss))),
            scale: (!answers || self.shift > 0 || self.rx.scale > 0).then_some(self.rx.scale),
            may_sack: !answers || self.may_sack,
            stamps: (!answers || self.stamps).then(|| (self.clock(now), self.echo.0)),
            ..Options::default()
        };
        let window = self.rx.window().min(u16::MAX.into());
        self.rx.edge = self.rx.next + window;
        let flags = if answers { SYN | ACK } else { SYN } | self.offer_marks(answers);
        let acknowledged = if answers { self.rx.next as u32 } else { 0 };
        let window = window as u16;
        self.put(Header { sequence: self.first as u32, acknowledged, flags, window, options, urgent: 0 }, 0, None, 0);
        self.next = self.first + 1;
        self.spoke = now;
        self.alarms.repeat = Some(now + self.trip.timeout());
    }

    /// Sends again what begins at `start`.
    fn repeat(&mut self, start: u64, end: u64, now: Instant) {
        let len = end.min(self.end()).saturating_sub(start) as usize;
        let flags = if end > self.end() { FIN } else { 0 };
        if self.undo.as_ref().is_some_and(|undo| undo.stamp.is_none()) {
            let clock = self.clock(now);
            self.undo.iter_mut().for_each(|undo| undo.stamp = Some(clock));
        }
        self.counts.repeated = self.counts.repeated.wrapping_add(1);
        self.flight.repeated(start, now);
        self.probes = false;
        self.segment(start, len, flags | PSH, now);
        self.alarms.repeat.get_or_insert(now + self.trip.timeout());
    }

    /// Sends `len` bytes that were not sent before.
    fn new_data(&mut self, len: usize, now: Instant) {
        if self.flight.is_empty() {
            if now.saturating_duration_since(self.spoke) > self.trip.timeout() {
                self.window.idle();
            }
            self.stuck = now;
        }
        let start = self.next;
        let end = start + len as u64;
        let is_last = end == self.end();
        let ends = is_last && self.fin;
        let flags = if ends { FIN } else { 0 } | if is_last { PSH } else { 0 };
        self.segment(start, len, flags, now);
        let mut at = start;
        while at < end {
            let stop = end.min(at + self.mss as u64);
            self.flight.sent(at, stop, now);
            at = stop;
        }
        if ends {
            self.flight.sent(end, end + 1, now);
        }
        if !len.is_multiple_of(self.mss) {
            self.small = end;
        }
        if is_last {
            self.alarms.uncork = None;
        }
        self.next = end + u64::from(ends);
        // Who answers is not served by acknowledgements of their own.
        self.quick = if len > 0 { 0 } else { self.quick };
        self.peak.0 = self.peak.0.max(self.flight.flying());
        self.alarms.repeat.get_or_insert(now + self.trip.timeout());
        self.alarms.persist = None;
        self.set_probe(now);
    }

    /// Has a closed window asked for, if that is all that keeps data from being sent.
    fn set_persist(&mut self, now: Instant) {
        let knows = !matches!(self.state, State::Closed | State::Listen | State::SynSent | State::SynReceived);
        let is_waiting = knows && self.flight.is_empty() && self.end() > self.next && self.edge <= self.next;
        if is_waiting && self.alarms.persist.is_none() {
            self.alarms.persist = Some(now + self.trip.timeout());
        }
    }

    /// A segment with `len` bytes from number `start` on.
    fn segment(&mut self, start: u64, len: usize, flags: u8, now: Instant) {
        let room = self.rx.window();
        let window = (room >> self.rx.scale).min(u16::MAX.into());
        self.rx.edge = self.rx.edge.max(self.rx.next + (window << self.rx.scale));
        let mut options = Options { stamps: self.stamps.then(|| (self.clock(now), self.echo.0)), ..Options::default() };
        // Beside data there is no room for blocks.
        if len == 0 && self.may_sack && self.rx.has_news() {
            options.blocks = self.rx.blocks().map(|(start, end)| (start as u32, end as u32)).collect();
        }
        self.acknowledge &= len > 0 && self.may_sack && self.rx.has_news();
        self.alarms.acknowledge = None;
        self.unacknowledged = 0;
        self.echo.1 = self.rx.next;
        self.spoke = now;
        let pointer = self.pointer(start);
        let (marks, class) = self.mark(len > 0 && start >= self.next);
        let header = Header {
            sequence: start as u32,
            acknowledged: self.rx.next as u32,
            flags: flags | marks | ACK | if pointer.is_some() { URG } else { 0 },
            window: window as u16,
            urgent: pointer.unwrap_or(0),
            options,
        };
        let offset = start.saturating_sub(self.base) as usize;
        let cut = (len > self.mss).then_some(self.mss as u16);
        self.put(header, len, Some(offset).filter(|_| len > 0).map(|offset| (offset, cut)), class);
    }

    /// Makes a packet: with a header, bytes of the queue, from an offset on, and what its class says of marks.
    fn put(&mut self, header: Header, len: usize, data: Option<(usize, Option<u16>)>, marks: u8) {
        let tcp = header.bytes(self.local.port(), self.remote.port());
        let head = Head {
            src: self.local.ip(),
            dst: self.remote.ip(),
            protocol: TCP,
            hops: self.tuning.hops,
            class: self.tuning.class | marks,
        };
        let mut frame = head.start(tcp.len(), len);
        frame.extend_from_slice(&tcp);
        let (offset, cut) = data.unwrap_or_default();
        let data = self.queue.pieces(offset, len);
        self.counts.segments_out = self.counts.segments_out.wrapping_add(1);
        self.sent.push_back(Sent { frame, data, cut });
    }
}
