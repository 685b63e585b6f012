//! How a connection's packets go out, and what follows from that.

use super::super::flows;
use super::super::wire::transmit;
use super::{Flow, Inner, Seen, fin_wait};
use crate::errno::Errno;
use crate::executor::{Events, Observer, Timers};
use crate::net::stack::tcp::State;
use crate::sync::MutexGuard;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::time::Instant;

/// Packets that one call puts out before others get their turn: a window's worth.
const BURST: usize = 256;

impl Flow {
    /// Sends what can be sent, sets the timer, and tells the owner what has changed; or leaves all that to whoever is at
    /// it.
    pub(super) fn pump(self: &Arc<Self>, mut inner: MutexGuard<'_, Inner>) {
        if std::mem::replace(&mut inner.pumping, true) {
            return;
        }
        for _ in 0..BURST {
            if !self.put_out(&mut inner) {
                break;
            }
        }
        inner.pumping = false;
        let now = Instant::now();
        let state = inner.machine().state();
        let seen = Seen {
            state,
            received: inner.machine().received(),
            writable: inner.is_writable(),
            urgent: inner.has_urgent(),
        };
        let urgent_news = inner.machine.take_urgent_news();
        let is_stamped = inner.stamp(&self.options);
        let events = events(inner.seen, seen) | if is_stamped { Events::ERR } else { Events::empty() };
        inner.seen = seen;
        let gone = matches!(state, State::Closed | State::Listen) && !inner.ended;
        let is_left = inner.orphan.is_some() && !inner.ended;
        let late = if is_left { inner.machine().late(now) } else { None };
        inner.ended |= gone || late.is_some();
        self.arm(&mut inner, now);
        let born = inner.embryo && matches!(state, State::Established | State::CloseWait);
        // Of a closed socket it is who waits in `close`, if anybody.
        let owner = inner.owner.upgrade();
        if born {
            inner.embryo = false;
            inner.owner = Weak::new();
        }
        let still_embryo = inner.embryo;
        drop(inner);
        if urgent_news {
            self.options.signal_urgent();
        }
        if gone {
            flows::remove(self);
        } else if let Some((end, late)) = late {
            flows::linger(self, end, late);
        }
        match owner {
            Some(listener) if born => {
                let end = listener.adopt(self);
                self.inner.lock().owner = Arc::downgrade(&end);
                listener.arrived(end);
            }
            Some(owner) if !still_embryo && !events.is_empty() => owner.queue.notify(events),
            // The listener is gone.
            None if born => self.close(true),
            _ => {}
        }
    }

    /// Puts out the next packet that is to be sent now, without the lock; whether there was one.
    fn put_out(&self, inner: &mut MutexGuard<'_, Inner>) -> bool {
        let now = Instant::now();
        inner.adjust(now, &self.net);
        let before = inner.machine().state();
        let goes_on = inner.machine.output(now);
        let timed_out = inner.machine().state() == State::Closed && !matches!(before, State::Closed | State::TimeWait);
        if timed_out {
            self.options.set_error(self.options.take_soft_error().unwrap_or(Errno::TIMEDOUT));
        }
        while let Some(packet) = inner.machine.take() {
            let Some(net) = self.net.upgrade() else { return false };
            // One that finds a mistake in what sends it costs itself, not the connection.
            let send = AssertUnwindSafe(|| transmit(&net, &self.hop, packet));
            let _ = MutexGuard::unlocked(inner, || catch_unwind(send));
        }
        goes_on
    }

    /// Has the machine looked at when its next timer is due.
    fn arm(self: &Arc<Self>, inner: &mut Inner, now: Instant) {
        let next = if inner.ended { None } else { inner.machine().due(now) };
        let end = inner.orphan.filter(|_| !inner.ended).map(|since| since + fin_wait(&self.net));
        let Some(next) = next.into_iter().chain(end).min() else { return };
        // One that comes too early costs less than setting it anew for each packet.
        match inner.timer {
            Some((_, at)) if at <= next && at > now => return,
            Some((id, _)) => {
                Timers::get().cancel(id);
            }
            None => {}
        }
        let id = Timers::get().add(next, Arc::new(Due(Arc::downgrade(self))));
        inner.timer = Some((id, next));
    }
}

struct Due(Weak<Flow>);

impl Observer for Due {
    fn notify(&self, _: Events) {
        if let Some(flow) = self.0.upgrade() {
            let mut inner = flow.inner.lock();
            inner.timer = None;
            flow.pump(inner);
        }
    }
}

/// What the owner is told.
fn events(before: Seen, after: Seen) -> Events {
    let mut events = Events::empty();
    if before.state != after.state {
        events = Events::READABLE | Events::WRITABLE;
    }
    events.set(Events::IN | Events::RDNORM, after.received > before.received);
    events.set(Events::OUT | Events::WRNORM, after.writable && !before.writable);
    events.set(Events::PRI, after.urgent && !before.urgent);
    events
}
