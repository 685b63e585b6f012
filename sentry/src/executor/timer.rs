//! Timers: one thread that sleeps until the earliest deadline, and not at all when there is none.

use super::{Events, Observer};
use crate::sync::{Condvar, Mutex};
use std::collections::BTreeMap;
use std::future::Future;
use std::io::ErrorKind;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Instant;

/// Names a pending timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimerId(Instant, u64);

#[derive(Default)]
struct Inner {
    next: u64,
    pending: BTreeMap<TimerId, Arc<dyn Observer>>,
    sleep: Sleeping,
}

/// What the thread of the timers does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Sleeping {
    /// It is about to look.
    #[default]
    Not,
    /// It looks again then, whatever happens to the timer that it sleeps for.
    Until(Instant),
    /// It has to be woken.
    Forever,
}

/// All pending timers of the sandbox, on the host's monotonic clock.
#[derive(Default)]
pub struct Timers {
    inner: Mutex<Inner>,
    changed: Condvar,
}

impl std::fmt::Debug for Timers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Timers({})", self.inner.lock().pending.len())
    }
}

impl Timers {
    /// The timers of this process, whose thread has been started.
    pub fn get() -> &'static Timers {
        static TIMERS: OnceLock<Timers> = OnceLock::new();
        let _ = Timers::start();
        TIMERS.get_or_init(Timers::default)
    }

    /// Starts their thread, unless it is. Later there might be no room for one more, and whoever sleeps would for ever.
    pub fn start() -> Result<(), ErrorKind> {
        static STARTED: OnceLock<Result<(), ErrorKind>> = OnceLock::new();
        let thread = || std::thread::Builder::new().name("timers".into()).spawn(|| Timers::get().run());
        *STARTED.get_or_init(|| thread().map(drop).map_err(|e| e.kind()))
    }

    /// Tells `observer` once, at `deadline` or soon after, unless cancelled.
    pub fn add(&self, deadline: Instant, observer: Arc<dyn Observer>) -> TimerId {
        let mut inner = self.inner.lock();
        inner.next += 1;
        let id = TimerId(deadline, inner.next);
        inner.pending.insert(id, observer);
        // Most timers are cancelled and followed by others that are due later: those need no wake-up.
        let is_too_late = match inner.sleep {
            Sleeping::Not => false,
            Sleeping::Until(at) => deadline < at,
            Sleeping::Forever => true,
        };
        drop(inner);
        if is_too_late {
            self.changed.notify_one();
        }
        id
    }

    /// Forgets a timer; whether it was still pending.
    pub fn cancel(&self, id: TimerId) -> bool {
        self.inner.lock().pending.remove(&id).is_some()
    }

    /// A future that is ready at `deadline`.
    pub fn sleep_until(&'static self, deadline: Instant) -> Sleep {
        Sleep { timers: self, deadline, id: None }
    }

    fn run(&self) {
        loop {
            let mut due = Vec::new();
            {
                let mut inner = self.inner.lock();
                loop {
                    let now = Instant::now();
                    while inner.pending.keys().next().is_some_and(|id| id.0 <= now) {
                        due.extend(inner.pending.pop_first().map(|(_, observer)| observer));
                    }
                    if !due.is_empty() {
                        break;
                    }
                    match inner.pending.keys().next().copied() {
                        None => {
                            inner.sleep = Sleeping::Forever;
                            self.changed.wait(&mut inner);
                        }
                        Some(id) => {
                            inner.sleep = Sleeping::Until(id.0);
                            self.changed.wait_until(&mut inner, id.0);
                        }
                    }
                    inner.sleep = Sleeping::Not;
                }
            }
            for observer in due {
                observer.notify(Events::empty());
            }
            super::run_local();
        }
    }
}

/// See [`Timers::sleep_until`].
#[derive(Debug)]
pub struct Sleep {
    timers: &'static Timers,
    deadline: Instant,
    id: Option<TimerId>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if Instant::now() >= self.deadline {
            return Poll::Ready(());
        }
        if self.id.is_none() {
            // A task's waker never changes, so one registration serves all polls.
            self.id = Some(self.timers.add(self.deadline, Arc::new(cx.waker().clone())));
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.timers.cancel(id);
        }
    }
}
