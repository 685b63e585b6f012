//! `TCP_DEFER_ACCEPT`: a listener is told of a connection when there is something to read, or it has waited in vain.

use super::endpoint::{Phase, Tcp};
use crate::executor::{self, Events, Observer, Timers, WaitKey};
use crate::sync::Mutex;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// A connection that is kept back.
struct Deferred {
    listener: Weak<Tcp>,
    /// With its place in the connection's queue; `None` once it was passed on.
    end: Mutex<Option<(Arc<Tcp>, Option<WaitKey>)>>,
}

impl Observer for Deferred {
    fn notify(&self, _: Events) {
        let Some((end, key)) = self.end.lock().take() else { return };
        let listener = self.listener.upgrade();
        // The connection may be locked by whoever notifies.
        executor::spawn(async move {
            if let Some(key) = key {
                end.queue.remove(key);
            }
            match listener {
                Some(listener) => {
                    listener.deferred.fetch_sub(1, Ordering::Relaxed);
                    listener.offer(end);
                }
                None => end.close(),
            }
        });
    }
}

/// Keeps a connection back if the listener wants that; else gives it back. No more are kept than may wait for `accept`:
/// each takes memory that nobody but its peer knows of.
pub(super) fn until_data(listener: &Arc<Tcp>, end: Arc<Tcp>) -> Option<Arc<Tcp>> {
    let seconds = listener.ints.value(libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT);
    let seconds = u64::try_from(seconds).ok().filter(|seconds| *seconds > 0);
    let Some(seconds) = seconds else { return Some(end) };
    let most = match &listener.state.lock().phase {
        Phase::Listening { backlog, .. } => *backlog,
        _ => 0,
    };
    if listener.deferred.load(Ordering::Relaxed) >= most {
        return Some(end);
    }
    listener.deferred.fetch_add(1, Ordering::Relaxed);
    let deferred =
        Arc::new(Deferred { listener: Arc::downgrade(listener), end: Mutex::new(Some((end.clone(), None))) });
    let key = end.queue.add(Events::READABLE, deferred.clone());
    if let Some((_, place)) = &mut *deferred.end.lock() {
        *place = Some(key);
    }
    Timers::get().add(Instant::now() + Duration::from_secs(seconds), deferred.clone());
    // What came before anybody watched.
    if end.poll().intersects(Events::IN | Events::HUP | Events::ERR) {
        deferred.notify(Events::IN);
    }
    None
}
