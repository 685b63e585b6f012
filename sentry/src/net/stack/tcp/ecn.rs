//! Explicit congestion notification (RFC 3168): a router marks a packet instead of losing it, the other side echoes that
//! until it hears that this one has slowed down.

use super::Machine;
use super::segment::{CWR, ECE, SYN, Segment};

/// In the class of packets: its sender understands marks, and the mark.
const ECT0: u8 = 2;
const MARK: u8 = 3;
const BITS: u8 = 3;

/// Whether marks are used (`net.ipv4.tcp_ecn`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Consent {
    /// To ask the other side for it.
    pub asks: bool,
    /// To grant it if the other side asks.
    pub grants: bool,
}

impl Consent {
    /// As the setting says; what it says of more accurate echoes falls back to these.
    pub fn of(setting: i64) -> Consent {
        Consent { asks: matches!(setting, 1 | 3 | 4), grants: setting > 0 }
    }
}

/// What both sides know of marks.
#[derive(Debug, Default)]
pub(super) struct Ecn {
    /// Both understand them.
    is_on: bool,
    /// The other side's packets can be marked, as was seen.
    is_seen: bool,
    /// One of them was marked, and the other side has not said that it knows.
    echoes: bool,
    /// This side has slowed down, which the other is to be told.
    tells: bool,
    /// What was sent before this is answered by the last slowing down.
    until: u64,
}

impl Machine {
    /// Whether marks are used, and the other side's packets can have them.
    pub(super) fn uses_marks(&self) -> (bool, bool) {
        (self.ecn.is_on, self.ecn.is_seen)
    }

    /// What a first segment says of marks. One that is repeated does not ask: somebody on the way may not bear it.
    pub(super) fn offer_marks(&self, answers: bool) -> u8 {
        match answers {
            true if self.ecn.is_on => ECE,
            false if self.tuning.ecn.asks && self.trip.backoff == 0 => ECE | CWR,
            _ => 0,
        }
    }

    /// The other side's first segment has come.
    pub(super) fn meet_marks(&mut self, segment: &Segment<'_>, answers: bool) {
        let said = segment.flags & (ECE | CWR);
        self.ecn.is_on = match answers {
            true => said == ECE && self.tuning.ecn.asks,
            false => said == ECE | CWR && self.tuning.ecn.grants && segment.class & BITS == 0,
        };
    }

    /// Flags of a segment, and the mark's bits in its packet's class. `fresh`: its data was never sent before.
    pub(super) fn mark(&mut self, fresh: bool) -> (u8, u8) {
        let echo = if self.ecn.echoes { ECE } else { 0 };
        match fresh && self.ecn.is_on {
            true if std::mem::take(&mut self.ecn.tells) => (echo | CWR, ECT0),
            true => (echo, ECT0),
            false => (echo, 0),
        }
    }

    /// Whether the next new segment tells something that only one segment can.
    pub(super) fn tells_of_marks(&self) -> bool {
        self.ecn.tells
    }

    /// A segment with data may have been marked.
    pub(super) fn look_for_mark(&mut self, segment: &Segment<'_>) {
        if !self.ecn.is_on || segment.has(SYN) {
            return;
        }
        if segment.has(CWR) {
            self.ecn.echoes = false;
        }
        self.ecn.is_seen |= segment.class & BITS != 0;
        if segment.class & BITS == MARK {
            self.ecn.echoes = true;
            self.acknowledge = true;
        }
    }

    /// An acknowledgement up to `number` may echo a mark: less from now on, once for what was under way.
    pub(super) fn hear_echo(&mut self, number: u64, segment: &Segment<'_>) {
        if self.ecn.is_on && segment.has(ECE) && number >= self.ecn.until && self.recovery.is_none() {
            self.window.lost();
            self.has_slowed_down();
        }
    }

    /// Less is sent from now on.
    pub(super) fn has_slowed_down(&mut self) {
        self.ecn.until = self.next;
        self.ecn.tells = self.ecn.is_on;
    }
}
