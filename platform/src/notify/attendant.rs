//! The attendant: a receiver that, while a guest makes many calls, does not sleep between them but looks at channels.
//!
//! Looking costs a core. There is at most one attendant, it attends only while that costs less than the calls would
//! cost as notifications, or while the core would idle, and leaves as soon as nobody calls for some time or others want
//! its core; the calls then come as notifications again. An idle sandbox has none. Guests that it attends stay off its
//! core.

use super::listener::no_caller;
use super::placement::{self, Kept};
use super::process::CopyMark;
use super::receiver::{Found, serve_waiting};
use super::slots::Channel;
use super::thread::NotifyThread;
use super::{Family, Shared, process};
use parking_lot::{Mutex, MutexGuard};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How many threads it attends: each look takes time for each.
const GUESTS_MAX: usize = 8;
/// How long it waits for a call before it goes.
const PATIENCE: Duration = Duration::from_micros(60);
/// How long it waits for the first one, whose guest has to wake on another core, which may be asleep; and for any while
/// it lives on what was saved: guests that all sleep for a moment would have to be found anew.
const LONG_PATIENCE: Duration = Duration::from_micros(300);
/// After how many looks it looks at the clock.
const CLOCK_EVERY: u32 = 16;
/// How often it looks at its own listener: while no calls come, or notifications have come lately,
const LISTEN_EVERY: Duration = Duration::from_micros(5);
/// and otherwise: a thread that makes calls the one way makes none the other, and it is most often the only one.
const LISTEN_BUSY: Duration = Duration::from_micros(25);
/// What is lately, and for how long no calls come that do not come.
const LATELY: Duration = Duration::from_millis(1);
const SILENCE: Duration = Duration::from_micros(2);
/// How often it looks whether it pays.
const WINDOW: Duration = Duration::from_micros(500);
/// How much of what attendants have saved may be spent later, on times with fewer calls.
const CREDIT_MAX: Duration = Duration::from_millis(1);
/// What a call costs that comes as a notification: more of the core's time than this is saved by nobody.
const WORTH: Duration = Duration::from_micros(5);
/// If a core would idle otherwise, it pays already if so many calls come meanwhile: each is answered some 2 us sooner.
const PAYS: u64 = 40;
/// It has to share its core if it had to wait so long.
const LOST: Duration = Duration::from_micros(300);
/// How long nobody attends after it was of no use: doubled each time, up to the second.
const PAUSE: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(16));
/// And after it had to wait for its core, likewise: there are others who want it, and meanwhile its guests waited too.
const PAUSE_OF_LOSER: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(128));
/// How often at most the host is asked how much there is to run.
const WEIGH_EVERY: Duration = Duration::from_millis(4);
/// How many threads it keeps off its core: whoever else it has gone on stays behind it otherwise.
const KEPT_MAX: usize = 64;

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
    /// The core of the attendant, [`NOWHERE`] if there is none: a copy, for each answer asks.
    cpu: AtomicUsize,
}

/// No core.
const NOWHERE: usize = usize::MAX;

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
    /// What attendants have saved and not spent.
    credit: Duration,
    /// When the load was looked at last.
    weighed: Option<Instant>,
}

impl Inner {
    /// Nobody attends for a while, which is twice as long as the last one.
    fn wait(&mut self, (least, most): (Duration, Duration)) {
        self.pause = (self.pause * 2).clamp(least, most);
        self.not_before = Some(Instant::now() + self.pause);
    }
}

/// A thread that is kept off the attendant's core.
#[derive(Debug)]
struct Guest {
    thread: Arc<NotifyThread>,
    /// What the attendant looks at, if there is room for one more.
    channel: Option<Channel>,
    _kept: Kept,
}

impl Attendants {
    /// For a sandbox that may use so many cores. `always`: whatever the load is.
    pub(super) fn new(cores: usize, always: bool) -> Attendants {
        let cores = if programs_set_gs() { cores.min(placement::core_count()) } else { 0 };
        let (version, cpu) = (AtomicU64::new(0), AtomicUsize::new(NOWHERE));
        Attendants { cores, always, inner: Mutex::default(), version, cpu }
    }

    /// Whether somebody attends on the calling thread's core.
    pub(super) fn are_here(&self) -> bool {
        let cpu = self.cpu.load(Ordering::Relaxed);
        cpu != NOWHERE && cpu == placement::current_cpu()
    }

    /// Whether there can be an attendant at all.
    pub(super) fn is_possible(&self) -> bool {
        self.cores > 1
    }

    /// Keeps a thread off the attendant's core, and has it looked at `channel` from now on if there is room.
    fn add(
        &self,
        mut inner: MutexGuard<'_, Inner>,
        thread: &Arc<NotifyThread>,
        channel: Option<&Channel>,
    ) -> Attention {
        let has_room = inner.guests.iter().filter(|guest| guest.channel.is_some()).count() < GUESTS_MAX;
        let channel = channel.filter(|_| has_room).cloned();
        let attention = if channel.is_some() { Attention::Full } else { Attention::Kept };
        let (cpu, count) = (inner.cpu, inner.guests.len());
        match inner.guests.iter_mut().find(|guest| Arc::ptr_eq(&guest.thread, thread)) {
            Some(guest) => guest.channel = channel,
            None if count >= KEPT_MAX => return Attention::None,
            None => {
                let Some(kept) = placement::keep_off(&thread.host, thread.tid, cpu) else { return Attention::None };
                inner.guests.push(Guest { thread: thread.clone(), channel, _kept: kept });
            }
        }
        self.version.fetch_add(1, Ordering::Release);
        attention
    }

    /// No longer attends a thread.
    pub(super) fn forget(&self, thread: &NotifyThread) {
        let mut inner = self.inner.lock();
        let gone = inner.guests.extract_if(.., |guest| std::ptr::eq(guest.thread.as_ref(), thread)).next();
        self.version.fetch_add(1, Ordering::Release);
        drop(inner);
        drop(gone);
    }

    /// Whether there is more to run on the host than cores. A guest counts also while it waits for its answer: the
    /// receiver may have taken its place before it slept.
    fn is_crowded(&self, shared: &Shared) -> bool {
        !self.always && running(shared).is_none_or(|running| running > self.cores)
    }

    /// Whether there is so much to run that guests who are kept off a core wait behind others: more than the cores and
    /// one guest, for two that talk with one another can do so on one core while the other one attends. Said at most
    /// each [`WEIGH_EVERY`].
    fn is_overrun(&self, shared: &Shared, inner: &mut Inner, now: Instant) -> bool {
        if self.always || inner.weighed.is_some_and(|at| now - at <= WEIGH_EVERY) {
            return false;
        }
        inner.weighed = Some(now);
        running(shared).is_some_and(|running| running > self.cores + 1)
    }

    /// The channels to look at, if there was a change since `version`.
    fn look_at(&self, version: &mut u64, channels: &mut Vec<(Arc<NotifyThread>, Channel)>) {
        if self.version.load(Ordering::Acquire) != *version {
            let inner = self.inner.lock();
            *version = self.version.load(Ordering::Acquire);
            let attended = |guest: &Guest| Some((guest.thread.clone(), guest.channel.clone()?));
            *channels = inner.guests.iter().filter_map(attended).collect();
        }
    }

    /// Ends attendance `number`, if it is still that one; the guests' calls are theirs again.
    fn end(&self, number: u64, end: End) {
        let guests: Vec<Arc<NotifyThread>> = {
            let mut inner = self.inner.lock();
            if inner.current != number {
                return;
            }
            inner.current = 0;
            self.cpu.store(NOWHERE, Ordering::Relaxed);
            inner.credit = Duration::ZERO;
            match end {
                End::Useful(credit) => (inner.pause, inner.credit) = (Duration::ZERO, credit),
                _ if self.always => {}
                End::Useless => inner.wait(PAUSE),
                End::PushedOut => inner.wait(PAUSE_OF_LOSER),
            }
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
            self.end(number, End::Useless);
        }
    }
}

const AT_HWCAP2: u64 = 26;
const HWCAP2_FSGSBASE: u64 = 1 << 1;

/// Whether the processor and the kernel let programs set GS, in which a thread has the address of its channel.
pub(super) fn programs_set_gs() -> bool {
    crate::auxv(AT_HWCAP2) & HWCAP2_FSGSBASE != 0
}

/// How a thread stands to the attendant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Attention {
    #[default]
    None,
    /// It is kept off the attendant's core.
    Kept,
    /// Its calls are looked for in its channel too.
    Full,
}

/// A busy `thread` is in a call, with the calling receiver: how it is attended from now on. Without an attendant the
/// caller becomes one.
pub(super) fn invite(shared: &Arc<Shared>, thread: &Arc<NotifyThread>, channel: &Channel) -> Attention {
    let attendants = &shared.attendants;
    let mut inner = attendants.inner.lock();
    let now = Instant::now();
    if !attendants.is_possible() || inner.not_before.is_some_and(|at| now < at) {
        return Attention::None;
    }
    if inner.current == 0 {
        if attendants.is_overrun(shared, &mut inner, now) {
            inner.wait(PAUSE_OF_LOSER);
            return Attention::None;
        }
        inner.last += 1;
        inner.current = inner.last;
        inner.cpu = placement::current_cpu();
        attendants.cpu.store(inner.cpu, Ordering::Relaxed);
        MINE.set(inner.current);
    }
    attendants.add(inner, thread, Some(channel))
}

/// The calling receiver is about to let `thread`, which is not attended, go on where the attendant is. It is attended from
/// now on: on that core it would wait until the attendant has gone.
pub(super) fn make_room(shared: &Shared, thread: &Arc<NotifyThread>, channel: Option<&Channel>) -> Attention {
    let inner = shared.attendants.inner.lock();
    if inner.current == 0 { Attention::None } else { shared.attendants.add(inner, thread, channel) }
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
    no_caller();
    let end = look(shared, family, mark);
    shared.attendants.end(number, end);
    mark.attendance.store(0, Ordering::Relaxed);
    (shared.run_ready)();
}

/// How an attendance ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// So much is left of what was saved.
    Useful(Duration),
    Useless,
    /// It had to wait for its core.
    PushedOut,
}

/// Takes calls until nobody makes any.
fn look(shared: &Arc<Shared>, family: &Arc<Family>, mark: &CopyMark) -> End {
    let (mut version, mut channels, mut taken) = (u64::MAX, Vec::new(), 0);
    let start = Instant::now();
    let (mut called, mut listened, mut noticed, mut window) =
        (start, start, start, Window::new(start, shared.attendants.inner.lock().credit));
    let began = window.cpu;
    let (mut looks, mut has_called, mut told) = (0u32, false, 0);
    while mark.replaced.load(Ordering::Relaxed) == 0 {
        shared.attendants.look_at(&mut version, &mut channels);
        let before = taken;
        for (thread, channel) in &channels {
            taken += u64::from(channel.has_request() && serve(shared, thread, channel));
        }
        if taken == before {
            std::hint::spin_loop();
        } else {
            has_called = true;
        }
        looks = looks.wrapping_add(1);
        if !looks.is_multiple_of(CLOCK_EVERY) {
            continue;
        }
        let now = Instant::now();
        if std::mem::take(&mut has_called) {
            called = now;
        } else if now - called > if taken == 0 { LONG_PATIENCE } else { window.patience() } {
            break;
        }
        let is_quiet = now - noticed > LATELY && now - called < SILENCE;
        if now - listened > if is_quiet { LISTEN_BUSY } else { LISTEN_EVERY } {
            shared.received.fetch_add(taken - told, Ordering::Relaxed);
            shared.watch.note_activity();
            told = taken;
            match serve_waiting(shared, family) {
                Found::Gone => break,
                Found::Served => noticed = now,
                Found::None => {}
            }
            listened = now;
        }
        if now - window.start > WINDOW && !shared.attendants.always {
            match window.judge(shared, now, taken) {
                Judgement::Pays => {}
                Judgement::DoesNot => break,
                Judgement::PushedOut => return End::PushedOut,
            }
        }
    }
    let left = window.spend(taken, thread_time());
    // The first call may have been long in coming.
    let left = left.or_else(|| (window.cpu - began < 2 * worth(taken)).then_some(Duration::ZERO));
    left.map_or(End::Useless, End::Useful)
}

/// What a piece of an attendance was worth.
enum Judgement {
    Pays,
    DoesNot,
    PushedOut,
}

/// A piece of an attendance, by which it is judged.
struct Window {
    start: Instant,
    /// The thread's processor time.
    cpu: Duration,
    /// How many calls had been taken before.
    taken: u64,
    /// What was saved before.
    credit: Duration,
}

impl Window {
    fn new(start: Instant, credit: Duration) -> Window {
        Window { start, cpu: thread_time(), taken: 0, credit }
    }

    /// How long to wait for a call.
    fn patience(&self) -> Duration {
        self.credit.clamp(PATIENCE, LONG_PATIENCE)
    }

    /// Whether the core was well spent; begins the next piece.
    fn judge(&mut self, shared: &Shared, now: Instant, taken: u64) -> Judgement {
        let (elapsed, calls, before) = (now - self.start, taken - self.taken, self.cpu);
        let left = self.spend(taken, thread_time());
        self.start = now;
        let attendants = &shared.attendants;
        if elapsed.saturating_sub(self.cpu - before) > LOST
            || attendants.is_overrun(shared, &mut attendants.inner.lock(), now)
        {
            return Judgement::PushedOut;
        }
        let pays = left.is_some() || calls > PAYS && !attendants.is_crowded(shared);
        if pays { Judgement::Pays } else { Judgement::DoesNot }
    }

    /// Counts in the calls and the processor time up to now: what is left of what was saved, if anything.
    fn spend(&mut self, taken: u64, cpu: Duration) -> Option<Duration> {
        let left = (self.credit + worth(taken - self.taken)).checked_sub(cpu - self.cpu);
        (self.taken, self.cpu) = (taken, cpu);
        self.credit = left.unwrap_or_default().min(CREDIT_MAX);
        left.map(|_| self.credit)
    }
}

/// What so many calls cost that come as notifications.
fn worth(calls: u64) -> Duration {
    WORTH * u32::try_from(calls).unwrap_or(u32::MAX)
}

/// Processor time of the calling thread.
fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

/// Takes a call and has the sentry see to it.
fn serve(shared: &Arc<Shared>, thread: &Arc<NotifyThread>, channel: &Channel) -> bool {
    if !thread.take_request(&mut thread.lock()) {
        return false;
    }
    (shared.run_ready)();
    if channel.has_request() {
        // Most likely it was not answered.
        thread.after_request();
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_calls_have_saved_is_spent_on_a_lull() {
        let mut window = Window { start: Instant::now(), cpu: Duration::ZERO, taken: 0, credit: Duration::ZERO };
        let us = Duration::from_micros;
        assert_eq!(window.spend(150, us(500)), Some(us(250)));
        assert_eq!(window.patience(), us(250));
        // Each call counts once, and so does each moment.
        assert_eq!(window.spend(150, us(700)), Some(us(50)));
        assert_eq!(window.patience(), PATIENCE);
        assert_eq!(window.spend(10_000, us(1000)), Some(CREDIT_MAX));
        assert_eq!(window.patience(), LONG_PATIENCE);
        assert_eq!(window.spend(10_000, us(2001)), None);
        assert_eq!(window.spend(10_001, us(2006)), Some(Duration::ZERO));
    }
}
