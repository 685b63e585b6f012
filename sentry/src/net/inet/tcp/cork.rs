//! What a sender holds back over `lo` because more is to come (`TCP_CORK`, `MSG_MORE`): bytes at the end of the
//! receiver's queue that it does not see.

use super::endpoint::{State, Tcp};
use crate::executor::{Events, Observer, TimerId, Timers};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// A full segment over `lo`, which is not held back: half the first window, as Linux has it.
const SEGMENT: usize = 32_741;
/// The longest that anything is.
const HELD: Duration = Duration::from_millis(200);

/// Bytes that are held back, and until when.
#[derive(Debug)]
pub(super) struct Held {
    bytes: usize,
    timer: TimerId,
}

impl State {
    /// Bytes that the receiver sees.
    pub(super) fn shown(&self) -> usize {
        self.inbox.len().saturating_sub(self.held())
    }

    /// Bytes that it does not.
    pub(super) fn held(&self) -> usize {
        self.held.as_ref().map_or(0, |held| held.bytes)
    }

    /// Holds the last `count` bytes of `end`'s queue back, with those that are; 0 for none. Whether `end` sees more than
    /// before.
    pub(super) fn hold(&mut self, end: &Arc<Tcp>, count: usize) -> bool {
        let all = self.held() + count;
        if count > 0 && all < SEGMENT {
            match &mut self.held {
                Some(held) => held.bytes = all,
                None => {
                    let timer = Timers::get().add(Instant::now() + HELD, Arc::new(Due(Arc::downgrade(end))));
                    self.held = Some(Held { bytes: all, timer });
                }
            }
            return false;
        }
        self.show();
        if count > 0 && !all.is_multiple_of(SEGMENT) {
            self.hold(end, all % SEGMENT);
        }
        true
    }

    /// Holds nothing back any more; whether it did.
    pub(super) fn show(&mut self) -> bool {
        let held = self.held.take();
        if let Some(held) = &held {
            Timers::get().cancel(held.timer);
        }
        held.is_some()
    }
}

impl Tcp {
    /// Has its reader see all that came.
    pub(super) fn show_all(&self) {
        let shows = self.state.lock().show();
        if shows {
            self.queue.notify(Events::IN | Events::RDNORM);
        }
    }

    /// `TCP_CORK` was set.
    pub(super) fn cork(&self, on: bool) {
        self.is_corked.store(on, Ordering::Relaxed);
        if !on {
            self.push();
        }
    }

    /// Bytes that it has sent and holds back.
    pub(super) fn held_back(&self) -> usize {
        let peer = self.state.lock().peer.clone();
        peer.map_or(0, |peer| peer.state.lock().held())
    }

    /// Sends what waits for more to come.
    pub(super) fn push(&self) {
        if let Some(flow) = self.flow() {
            return flow.push();
        }
        let peer = self.state.lock().peer.clone();
        if let Some(peer) = peer {
            peer.show_all();
        }
    }
}

struct Due(Weak<Tcp>);

impl Observer for Due {
    fn notify(&self, _: Events) {
        if let Some(end) = self.0.upgrade() {
            end.show_all();
        }
    }
}
