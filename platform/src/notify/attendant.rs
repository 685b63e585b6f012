//! The attendant: a receiver that, while a guest makes many calls, does not sleep between them but looks at channels.
//!
//! Looking costs a core. There is at most one attendant, it attends only while a core idles, and leaves as soon as
//! nobody calls for some time or others want its core; the calls then come as notifications again. An idle sandbox
//! has none. Guests that it attends stay off its core.

use super::placement::{self, Kept};
use super::process::CopyMark;
use super::slots::Channel;
use super::thread::NotifyThread;
use super::{Family, Shared, process, receiver};
use parking_lot::Mutex;
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How many threads it attends: each look takes time for each.
const GUESTS_MAX: usize = 8;
/// How long it waits for a call before it goes.
const PATIENCE: Duration = Duration::from_micros(30);
/// How often it looks at its own listener.
const LISTEN_EVERY: Duration = Duration::from_micros(5);
/// How often it looks whether it pays, and whether the host has a core to spare.
const LOAD_EVERY: Duration = Duration::from_micros(500);
/// It pays if so many calls come meanwhile: what is gained is some 2 us each, at the price of a core.
const PAYS: u64 = 40;
/// An attendant that nothing kept busy lost its core if a look took so long.
const LOST: Duration = Duration::from_micros(300);
/// How long nobody attends after it was of no use: doubled each time, up to the second.
const PAUSE: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(64));
/// It was of use when it has taken so many calls.
const USEFUL: u64 = 64;

thread_local! {
    /// Number of the attendance that the calling receiver is to begin; 0 if none.
    static MINE: Cell<u64> = const { Cell::new(0) };
}

/// Who is attended.
#[derive(Debug)]
pub(super) struct Attendants {
    /// How many cores the sandbox may use at once.
    cores: usize,
    /// Attend whatever the load is.
    always: bool,
    inner: Mutex<Inner>,
    /// Changes with the list of guests.
    version: AtomicU64,
}

#[derive(Debug, Default)]
struct Inner {
    /// Number of the attendance under way; 0 if none.
    current: u64,
    /// The last one's.
    last: u64,
    /// The core of the attendant.
    cpu: usize,
    guests: Vec<Guest>,
    not_before: Option<Instant>,
    pause: Duration,
}

#[derive(Debug)]
struct Guest {
    thread: Arc<NotifyThread>,
    channel: Channel,
    _kept: Kept,
}

impl Attendants {
    /// For a sandbox that may use so many cores. `always`: whatever the load is.
    pub(super) fn new(cores: usize, always: bool) -> Attendants {
        let can_set_gs = crate::auxv(AT_HWCAP2) & HWCAP2_FSGSBASE != 0;
        let cores = if can_set_gs { cores.min(placement::core_count()) } else { 0 };
        Attendants { cores, always, inner: Mutex::default(), version: AtomicU64::new(0) }
    }

    /// Whether there can be an attendant at all.
    pub(super) fn is_possible(&self) -> bool {
        self.cores > 1
    }

    /// No longer attends a thread.
    pub(super) fn forget(&self, thread: &NotifyThread) {
        let mut inner = self.inner.lock();
        let gone = inner.guests.extract_if(.., |guest| std::ptr::eq(guest.thread.as_ref(), thread)).next();
        self.version.fetch_add(1, Ordering::Release);
        drop(inner);
        drop(gone);
    }

    /// Whether there would be more to run on the host than cores, with so many `more`.
    fn is_crowded(&self, shared: &Shared, more: usize) -> bool {
        !self.always && running(shared).is_none_or(|running| running + more > self.cores)
    }

    /// The channels to look at, if there was a change since `version`.
    fn look_at(&self, version: &mut u64, channels: &mut Vec<(Arc<NotifyThread>, Channel)>) {
        if self.version.load(Ordering::Acquire) != *version {
            let inner = self.inner.lock();
            *version = self.version.load(Ordering::Acquire);
            *channels = inner.guests.iter().map(|guest| (guest.thread.clone(), guest.channel.clone())).collect();
        }
    }

    /// Ends attendance `number`, if it is still that one; the guests' calls are theirs again.
    fn end(&self, number: u64, was_useful: bool) {
        let guests: Vec<Arc<NotifyThread>> = {
            let mut inner = self.inner.lock();
            if inner.current != number {
                return;
            }
            inner.current = 0;
            let (least, most) = PAUSE;
            inner.pause = if was_useful || self.always { Duration::ZERO } else { (inner.pause * 2).clamp(least, most) };
            inner.not_before = Some(Instant::now() + inner.pause);
            inner.guests.iter().map(|guest| guest.thread.clone()).collect()
        };
        for guest in guests {
            guest.end_attention(&mut guest.lock());
        }
    }

    /// Takes its guests from an attendant that is stuck in a guest's memory.
    pub(super) fn replace(&self, mark: &CopyMark) {
        let number = mark.attendance.load(Ordering::Relaxed);
        if number != 0 {
            self.end(number, false);
        }
    }
}

const AT_HWCAP2: u64 = 26;
const HWCAP2_FSGSBASE: u64 = 1 << 1;

/// A busy `thread` is in a call, with the calling receiver: whether it is attended from now on. Without an attendant the
/// caller becomes one.
pub(super) fn invite(shared: &Arc<Shared>, thread: &Arc<NotifyThread>, channel: &Channel) -> bool {
    let attendants = &shared.attendants;
    let mut inner = attendants.inner.lock();
    let now = Instant::now();
    if !attendants.is_possible() || inner.guests.len() >= GUESTS_MAX || inner.not_before.is_some_and(|at| now < at) {
        return false;
    }
    if inner.current == 0 {
        // The caller, and the guest once it is answered.
        if attendants.is_crowded(shared, 1) {
            inner.not_before = Some(now + PAUSE.0);
            return false;
        }
        inner.last += 1;
        inner.current = inner.last;
        inner.cpu = placement::current_cpu();
        MINE.set(inner.current);
    }
    let Some(kept) = placement::keep_off(&thread.host, thread.tid, inner.cpu) else { return false };
    inner.guests.push(Guest { thread: thread.clone(), channel: channel.clone(), _kept: kept });
    attendants.version.fetch_add(1, Ordering::Release);
    true
}

/// How many threads of the host run or want to.
fn running(shared: &Shared) -> Option<usize> {
    let text = process::read_proc(&shared.procfs, "loadavg").ok()?;
    let text = String::from_utf8(text).ok()?;
    text.split_ascii_whitespace().nth(3)?.split_once('/')?.0.parse().ok()
}

/// Attends, if the calling receiver is to.
pub(super) fn attend(shared: &Arc<Shared>, family: &Arc<Family>, mark: &CopyMark) {
    let number = MINE.take();
    if number == 0 {
        return;
    }
    mark.attendance.store(number, Ordering::Relaxed);
    let taken = look(shared, family, mark);
    shared.attendants.end(number, taken >= USEFUL);
    mark.attendance.store(0, Ordering::Relaxed);
    (shared.run_ready)();
}

/// Takes calls until nobody makes any; how many it took.
fn look(shared: &Arc<Shared>, family: &Arc<Family>, mark: &CopyMark) -> u64 {
    let (mut version, mut channels, mut taken) = (u64::MAX, Vec::new(), 0);
    let start = Instant::now();
    let (mut called, mut listened, mut looked, mut load_at, mut was_crowded) = (start, start, start, start, false);
    let mut taken_before = 0;
    while mark.replaced.load(Ordering::Relaxed) == 0 {
        shared.attendants.look_at(&mut version, &mut channels);
        let mut has_called = false;
        for (thread, channel) in &channels {
            has_called |= channel.has_request() && serve(shared, thread);
        }
        let now = Instant::now();
        if has_called {
            taken += 1;
            called = now;
        } else {
            let is_lost = now - looked > LOST && !shared.attendants.always;
            if now - called > PATIENCE || is_lost {
                break;
            }
            std::hint::spin_loop();
        }
        looked = now;
        if now - listened > LISTEN_EVERY {
            if !receiver::serve_waiting(shared, family) {
                break;
            }
            listened = now;
            looked = Instant::now();
        }
        if now - load_at > LOAD_EVERY {
            let is_crowded = shared.attendants.is_crowded(shared, 0);
            if is_crowded && was_crowded || taken - taken_before < PAYS {
                return 0;
            }
            (load_at, was_crowded, taken_before) = (now, is_crowded, taken);
            looked = Instant::now();
        }
    }
    taken
}

/// Takes a call and has the sentry see to it.
fn serve(shared: &Arc<Shared>, thread: &Arc<NotifyThread>) -> bool {
    if !thread.take_request(&mut thread.lock()) {
        return false;
    }
    shared.received.fetch_add(1, Ordering::Relaxed);
    shared.watch.note_activity();
    (shared.run_ready)();
    thread.after_request();
    true
}
