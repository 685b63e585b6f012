//! The watcher: parks calls that block long, frees listeners whose receiver is stuck in a guest copy, and kills
//! stubs that do not obey. It sleeps while nothing happens.

use super::process::CopyMark;
use super::receiver::{self, phase_name};
use super::thread::State;
use super::{Family, NotifyThread, Phase, Shared};
use crate::Process;
use crate::host::trim_waste;
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use stub::abi;

/// How often it looks while a call waits.
const TICK: Duration = Duration::from_millis(2);
/// How often it looks while something happens, for receivers that are stuck. It may take the attendant's core.
const LONG_TICK: Duration = Duration::from_millis(10);
/// A sandbox in which nothing has happened for so long is idle, and gives back memory.
const QUIET: Duration = Duration::from_millis(250);
/// How often a sandbox that is never quiet gives back memory.
const TRIM_EVERY: Duration = Duration::from_secs(10);
/// How long a call may stay in its listener before it is parked.
const PARK_AFTER: Duration = Duration::from_millis(4);
/// After this long in the stub, a thread that has used [`ENTRY_CPU`] or sleeps where it should run is killed.
const OBEY_WITHIN: Duration = Duration::from_secs(2);
/// CPU time that no thread needs to enter its stub. Not wall time: a frozen or throttled guest is innocent.
const ENTRY_CPU: u64 = 1_000_000_000;
/// The same for orders: the host takes seconds to fork or unmap hundreds of gigabytes.
const ORDERS_CPU: u64 = 60_000_000_000;

#[derive(Debug, Default)]
struct Inner {
    threads: Vec<Weak<NotifyThread>>,
    receivers: Vec<(Weak<CopyMark>, Weak<Family>, u64)>,
}

#[derive(Debug, Default)]
pub(super) struct Watch {
    inner: Mutex<Inner>,
    wanted: Condvar,
    awake: AtomicBool,
    count: AtomicUsize,
}

impl Watch {
    /// Has the watcher look at a thread until it no longer waits.
    pub(super) fn add(&self, thread: &Arc<NotifyThread>) {
        self.inner.lock().threads.push(Arc::downgrade(thread));
        self.count.fetch_add(1, Ordering::Relaxed);
        self.wake();
    }

    /// How many threads are being watched: about as many as wait in listeners.
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    pub(super) fn add_receiver(&self, mark: &Arc<CopyMark>, family: &Arc<Family>) {
        self.inner.lock().receivers.push((Arc::downgrade(mark), Arc::downgrade(family), 0));
    }

    /// A receiver has work: it may get stuck with it.
    pub(super) fn note_activity(&self) {
        if !self.awake.load(Ordering::Relaxed) {
            self.wake();
        }
    }

    pub(super) fn wake(&self) {
        if !self.awake.swap(true, Ordering::Relaxed) {
            let _inner = self.inner.lock();
            self.wanted.notify_one();
        }
    }
}

pub(super) fn run(shared: Arc<Shared>) {
    let watch = &shared.watch;
    let (mut received, mut is_copying, mut trimmed) = (0, false, Instant::now());
    loop {
        let tick = {
            let mut inner = watch.inner.lock();
            let now = shared.received.load(Ordering::Relaxed);
            if inner.threads.is_empty() && now == received && !is_copying {
                watch.awake.store(false, Ordering::Relaxed);
                if watch.wanted.wait_for(&mut inner, QUIET).timed_out() {
                    MutexGuard::unlocked(&mut inner, || shared.rest());
                    // Somebody may have come meanwhile, whom nobody told.
                    if !watch.awake.load(Ordering::Relaxed) {
                        watch.wanted.wait(&mut inner);
                    }
                }
            }
            received = shared.received.load(Ordering::Relaxed);
            if inner.threads.is_empty() && !is_copying { LONG_TICK } else { TICK }
        };
        std::thread::sleep(tick);
        if trimmed.elapsed() > TRIM_EVERY {
            trim_waste();
            trimmed = Instant::now();
        }
        is_copying = free_listeners(&shared);
        let threads = std::mem::take(&mut watch.inner.lock().threads);
        let keep: Vec<_> = threads.into_iter().filter(|t| t.upgrade().is_some_and(|t| look_at(&t))).collect();
        let mut inner = watch.inner.lock();
        inner.threads.extend(keep);
        watch.count.store(inner.threads.len(), Ordering::Relaxed);
    }
}

/// Whether the thread must be looked at again.
fn look_at(thread: &NotifyThread) -> bool {
    let mut st = thread.lock();
    let waited = st.since.elapsed();
    match st.phase {
        Phase::InCall(_) => {
            if waited >= PARK_AFTER {
                thread.start_parking(&mut st);
                // If it could not be parked there is no point in looking again.
                if matches!(st.phase, Phase::InCall(_)) {
                    st.watched = false;
                    return false;
                }
            }
            true
        }
        Phase::Entering { .. } | Phase::Parking(..) | Phase::Ordered { .. } | Phase::Retiring { .. } => {
            if waited >= OBEY_WITHIN && disobeys(thread, &mut st) {
                tracing::warn!(
                    pid = thread.host.pid,
                    tid = thread.tid,
                    "guest process killed: its stub does not obey ({})",
                    phase_name(&st.phase)
                );
                thread.host.kill();
            }
            true
        }
        _ => {
            st.watched = false;
            false
        }
    }
}

/// Whether a thread that should run its stub has burned CPU time on something else since it was suspected first, or
/// sleeps.
fn disobeys(thread: &NotifyThread, st: &mut State) -> bool {
    let used = thread.host.thread_time(thread.tid);
    let before = match st.suspected {
        Some((since, before)) if since == st.since => before,
        _ => {
            st.suspected = Some((st.since, used));
            return false;
        }
    };
    let most = if matches!(st.phase, Phase::Ordered { .. }) { ORDERS_CPU } else { ENTRY_CPU };
    sleeps(thread) || used.saturating_sub(before) >= most
}

/// Whether it waits for anything but us: a hypercall that no receiver has come to yet is no disobedience.
fn sleeps(thread: &NotifyThread) -> bool {
    let file = |name: &str| {
        let text = thread.host.proc_file(&format!("task/{}/{name}", thread.tid)).unwrap_or_default();
        String::from_utf8_lossy(&text).into_owned()
    };
    let stat = file("stat");
    let asleep = stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('S'));
    asleep && file("syscall").split(' ').next() != Some(&abi::HYPERCALL.to_string())
}

/// Hands the listener of each receiver that is stuck in one copy since the last look to a spare receiver (M5). Whether
/// some may be stuck at the next look.
fn free_listeners(shared: &Arc<Shared>) -> bool {
    let mut is_copying = false;
    let mut stuck = Vec::new();
    shared.watch.inner.lock().receivers.retain_mut(|(mark, family, seen)| {
        let (Some(mark), Some(family)) = (mark.upgrade(), family.upgrade()) else { return false };
        if mark.replaced.load(Ordering::Relaxed) != 0 {
            return false;
        }
        let now = mark.value();
        is_copying |= now % 2 == 1;
        if now % 2 == 1 && now == *seen {
            stuck.push((mark, family));
        }
        *seen = now;
        true
    });
    for (mark, family) in stuck {
        match receiver::start(shared, family) {
            // Not before there is one: a listener that nobody receives from is worse than one that waits for a copy.
            Ok(()) => {
                mark.replaced.store(1, Ordering::Relaxed);
                shared.attendants.replace(&mark);
            }
            Err(e) => tracing::warn!("no spare receiver: {e}"),
        }
    }
    is_copying
}
