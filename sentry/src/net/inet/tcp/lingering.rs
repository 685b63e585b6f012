//! Connections of closed sockets that only wait for late packets.

use super::flow::Key;
use crate::executor::{Events, Observer, TimerId, Timers};
use crate::net::namespace::Net;
use crate::net::stack::packet::Head;
use crate::net::stack::tcp::late::{Late, Verdict};
use crate::net::stack::tcp::segment::Segment;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// How many there may be (`tcp_max_tw_buckets`; each takes about 300 bytes): more push out those that end first.
const MOST: usize = 4096;
/// How long they wait (`TCP_TIMEWAIT_LEN`).
const TIME: Duration = Duration::from_secs(60);
/// Those that end within so much time go together.
const ROUND: Duration = Duration::from_secs(1);

/// Those of a namespace. Of the tables of a load that is over nothing stays.
#[derive(Debug, Default)]
pub(super) struct Lingering {
    all: BTreeMap<Key, (Instant, Late)>,
    /// In the order of their ends.
    ends: BTreeSet<(Instant, Key)>,
    alarm: Option<TimerId>,
}

/// What becomes of a segment.
#[derive(Debug)]
pub(super) enum Heard {
    /// It belongs to none of them, or to no old one any more.
    Unknown,
    /// Nothing.
    Taken,
    /// It is answered.
    Answer(Head, Vec<u8>),
}

impl Lingering {
    /// Adds one that is there until `end`.
    pub(super) fn add(&mut self, net: &Net, key: Key, end: Instant, late: Late) {
        self.remove(&key);
        if self.all.len() >= MOST
            && let Some((_, key)) = self.ends.pop_first()
        {
            self.all.remove(&key);
        }
        self.all.insert(key, (end, late));
        self.ends.insert((end, key));
        if self.alarm.is_none() {
            self.set_alarm(net.weak());
        }
    }

    /// Forgets one.
    pub(super) fn remove(&mut self, key: &Key) {
        if let Some((end, _)) = self.all.remove(key) {
            self.ends.remove(&(end, *key));
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Takes a segment between the ends of `key`.
    pub(super) fn input(&mut self, key: &Key, segment: &Segment<'_>) -> Heard {
        let Some((end, late)) = self.all.get_mut(key) else { return Heard::Unknown };
        let now = Instant::now();
        let verdict = late.input(segment, now);
        if matches!(verdict, Verdict::Renewed | Verdict::Answered { renewed: true }) {
            self.ends.remove(&(*end, *key));
            *end = now + TIME;
            self.ends.insert((*end, *key));
        }
        match verdict {
            Verdict::Ignored | Verdict::Renewed => Heard::Taken,
            Verdict::Answered { .. } => {
                let (head, answer) = late.answer(segment, now);
                Heard::Answer(head, answer)
            }
            Verdict::Over => {
                self.remove(key);
                Heard::Taken
            }
            Verdict::Follows => {
                self.remove(key);
                Heard::Unknown
            }
        }
    }

    fn set_alarm(&mut self, net: Weak<Net>) {
        let first = self.ends.first().map(|(end, _)| *end + ROUND);
        self.alarm = first.map(|at| Timers::get().add(at, Arc::new(Alarm(net))));
    }

    fn forget_past(&mut self, now: Instant) {
        while let Some((_, key)) = self.ends.first().filter(|(end, _)| *end <= now).copied() {
            self.ends.pop_first();
            self.all.remove(&key);
        }
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        if let Some(alarm) = self.alarm {
            Timers::get().cancel(alarm);
        }
    }
}

struct Alarm(Weak<Net>);

impl Observer for Alarm {
    fn notify(&self, _: Events) {
        let Some(net) = self.0.upgrade() else { return };
        let mut table = net.inet.tcp.flows.lock();
        table.lingering.forget_past(Instant::now());
        table.lingering.set_alarm(self.0.clone());
    }
}
