//! Interval timers (`setitimer(2)`) and POSIX timers (`timer_create(2)`) of a process.
//!
//! Real-time timers sit in the sandbox's timer queue. CPU-time timers sit there too, for the earliest moment at
//! which the process can have used enough, and look again then.

use super::signal::SigInfo;
use super::{Kernel, Task, ThreadGroup};
use crate::errno::{Errno, SysResult};
use crate::executor::{Events, Observer, TimerId, Timers};
use crate::sync::Mutex;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// Most POSIX timers of a process. Linux counts them against `RLIMIT_SIGPENDING`.
pub const TIMERS_MAX: usize = 1024;

/// Threads of a process up to which the busiest is looked for, which is to take the signal of a timer that counts CPU
/// time.
const LOOKED_AT: usize = 64;

/// What a timer counts.
#[derive(Debug, Clone)]
pub enum Counts {
    /// Time on the host's monotonic clock.
    Time,
    /// User time of a process.
    User(Weak<ThreadGroup>),
    /// User and system time of a process.
    Cpu(Weak<ThreadGroup>),
    /// User and system time of a thread.
    Thread(Weak<Task>),
}

impl Counts {
    /// CPU time so far; `None` if the clock is not of that, or nobody's any more.
    fn used(&self) -> Option<Duration> {
        let ns = match self {
            Counts::Time => return None,
            Counts::User(group) => group.upgrade()?.usage().utime,
            Counts::Cpu(group) => {
                let usage = group.upgrade()?.usage();
                usage.utime + usage.stime
            }
            Counts::Thread(task) => task.upgrade()?.thread().cpu_time(),
        };
        Some(Duration::from_nanos(ns))
    }

    /// How many threads may use it at the same time.
    fn threads(&self) -> u32 {
        match self {
            Counts::Thread(_) => 1,
            _ => std::thread::available_parallelism().map_or(1, |n| n.get() as u32),
        }
    }
}

/// Whom a timer tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notify {
    /// Nobody (`SIGEV_NONE`).
    None,
    /// The process, with this signal and value.
    Process(i32, u64),
    /// A thread, with this signal and value (`SIGEV_THREAD_ID`).
    Thread(i32, i32, u64),
}

#[derive(Debug)]
struct Timer {
    counts: Counts,
    notify: Notify,
    /// POSIX timers send `SI_TIMER` with their id; interval timers `SI_KERNEL`.
    id: Option<i32>,
    clock: i32,
    interval: Duration,
    /// When it expires: on the monotonic clock, or as CPU time used.
    expires: Option<Expiry>,
    /// Its place in the queue.
    queued: Option<TimerId>,
    overrun: i32,
    /// The CPU time that each thread had used when it expired last, in nanoseconds, if it counts that of all.
    threads: Vec<(i32, u64)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expiry {
    At(Instant),
    Used(Duration),
}

/// What remains, and the interval.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Setting {
    /// Until it expires; zero if it is disarmed.
    pub value: Duration,
    /// Between further expirations; zero for none.
    pub interval: Duration,
}

#[derive(Debug, Default)]
struct Inner {
    /// ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF under -1, -2, -3; POSIX timers under their ids.
    timers: BTreeMap<i32, Timer>,
    next: i32,
}

/// The timers of a process.
#[derive(Debug, Default)]
pub struct ProcessTimers {
    /// Held while a timer expires, until its signal is sent, and while one is set: what was disarmed sends none.
    expiring: Mutex<()>,
    inner: Mutex<Inner>,
}

struct Expired {
    kernel: Weak<Kernel>,
    group: Weak<ThreadGroup>,
    key: i32,
}

impl Observer for Expired {
    fn notify(&self, _: Events) {
        if let (Some(kernel), Some(group)) = (self.kernel.upgrade(), self.group.upgrade()) {
            expire(&kernel, &group, self.key);
        }
    }
}

impl Timer {
    fn new(counts: Counts, notify: Notify, id: Option<i32>, clock: i32) -> Timer {
        let (interval, expires, queued, overrun) = (Duration::ZERO, None, None, 0);
        Timer { counts, notify, id, clock, interval, expires, queued, overrun, threads: Vec::new() }
    }

    /// The thread that has used most of the CPU time since this was asked last: on Linux it is the one that runs when
    /// the time is up. `None` if there is no choice, or too much.
    fn busiest(&mut self, group: &ThreadGroup) -> Option<i32> {
        let tasks = group.tasks();
        if matches!(self.counts, Counts::Time | Counts::Thread(_)) || !(2..=LOOKED_AT).contains(&tasks.len()) {
            return None;
        }
        let now: Vec<_> = tasks.iter().map(|task| (task.tid(), task.thread().cpu_time())).collect();
        let old = std::mem::replace(&mut self.threads, now);
        let before = |tid| old.iter().find(|(known, _)| *known == tid).map_or(0, |(_, used)| *used);
        let busiest = self.threads.iter().max_by_key(|(tid, used)| used.saturating_sub(before(*tid)));
        busiest.map(|(tid, _)| *tid)
    }

    fn setting(&self) -> Setting {
        let value = match self.expires {
            None => Duration::ZERO,
            // One that is due but not delivered yet shows the least that is not "disarmed".
            Some(Expiry::At(at)) => at.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1)),
            Some(Expiry::Used(at)) => {
                let left = self.counts.used().map(|used| at.saturating_sub(used).max(Duration::from_nanos(1)));
                left.unwrap_or_default()
            }
        };
        Setting { value, interval: self.interval }
    }

    /// Queues it for when it can expire at the earliest.
    fn queue(&mut self, kernel: &Arc<Kernel>, group: &Arc<ThreadGroup>, key: i32) {
        let at = match self.expires {
            None => return,
            Some(Expiry::At(at)) => at,
            Some(Expiry::Used(used)) => {
                /// All threads together cannot use CPU time faster than the machine has cores.
                const LOOK_AGAIN: Duration = Duration::from_millis(1);
                let Some(now) = self.counts.used() else { return };
                Instant::now() + (used.saturating_sub(now) / self.counts.threads()).max(LOOK_AGAIN)
            }
        };
        let observer = Expired { kernel: Arc::downgrade(kernel), group: Arc::downgrade(group), key };
        self.queued = Some(Timers::get().add(at, Arc::new(observer)));
    }

    fn dequeue(&mut self) {
        if let Some(id) = self.queued.take() {
            Timers::get().cancel(id);
        }
    }
}

fn expire(kernel: &Arc<Kernel>, group: &Arc<ThreadGroup>, key: i32) {
    let _expiring = group.timers.expiring.lock();
    let (notify, info, busiest) = {
        let mut inner = group.timers.inner.lock();
        let Some(timer) = inner.timers.get_mut(&key) else { return };
        timer.queued = None;
        let late = match timer.expires {
            None => return,
            Some(Expiry::At(at)) => Instant::now().checked_duration_since(at),
            Some(Expiry::Used(at)) => timer.counts.used().and_then(|used| used.checked_sub(at)),
        };
        let Some(late) = late else {
            timer.queue(kernel, group, key);
            return;
        };
        let periods = if timer.interval.is_zero() { 0 } else { late.as_nanos() / timer.interval.as_nanos() };
        let periods = u32::try_from(periods).unwrap_or(u32::MAX - 1);
        let overrun = i32::try_from(periods).unwrap_or(i32::MAX);
        timer.expires = match timer.expires {
            Some(Expiry::At(at)) if !timer.interval.is_zero() => {
                Some(Expiry::At(at + timer.interval.saturating_mul(periods + 1)))
            }
            Some(Expiry::Used(at)) if !timer.interval.is_zero() => {
                Some(Expiry::Used(at + timer.interval.saturating_mul(periods + 1)))
            }
            _ => None,
        };
        timer.queue(kernel, group, key);
        let (signo, value) = match timer.notify {
            Notify::None => return,
            Notify::Process(signo, value) | Notify::Thread(_, signo, value) => (signo, value),
        };
        let info = match timer.id {
            Some(id) => SigInfo::timer(signo, id, overrun, value),
            None => SigInfo::kernel(signo),
        };
        (timer.notify, info, timer.busiest(group))
    };
    match notify {
        Notify::Thread(tid, ..) => {
            if let Some(task) = kernel.task(tid)
                && !task.overrun(&info)
            {
                task.send_signal(info);
            }
        }
        _ if group.pending.lock().overrun(&info) => {}
        _ => group.send_signal_first(kernel, info, busiest),
    }
}

/// Key and signal of an interval timer of a process, and what it counts.
fn itimer(group: &Arc<ThreadGroup>, which: i32) -> SysResult<(i32, i32, Counts)> {
    match which {
        libc::ITIMER_REAL => Ok((-1, libc::SIGALRM, Counts::Time)),
        libc::ITIMER_VIRTUAL => Ok((-2, libc::SIGVTALRM, Counts::User(Arc::downgrade(group)))),
        libc::ITIMER_PROF => Ok((-3, libc::SIGPROF, Counts::Cpu(Arc::downgrade(group)))),
        _ => Err(Errno::INVAL),
    }
}

impl ThreadGroup {
    /// `getitimer(2)`.
    pub fn itimer(self: &Arc<Self>, which: i32) -> SysResult<Setting> {
        let (key, ..) = itimer(self, which)?;
        let inner = self.timers.inner.lock();
        Ok(inner.timers.get(&key).map(Timer::setting).unwrap_or_default())
    }

    /// `setitimer(2)`; returns the old setting.
    pub fn set_itimer(self: &Arc<Self>, kernel: &Arc<Kernel>, which: i32, new: Setting) -> SysResult<Setting> {
        let (key, signo, counts) = itimer(self, which)?;
        let _expiring = self.timers.expiring.lock();
        let mut inner = self.timers.inner.lock();
        let timer = inner.timers.entry(key).or_insert_with(|| Timer::new(counts, Notify::Process(signo, 0), None, 0));
        let old = timer.setting();
        arm(timer, kernel, self, key, new, false);
        Ok(old)
    }

    /// `timer_create(2)`.
    pub fn create_timer(&self, clock: i32, counts: Counts, notify: impl FnOnce(i32) -> Notify) -> SysResult<i32> {
        let mut inner = self.timers.inner.lock();
        if inner.timers.len() >= TIMERS_MAX {
            return Err(Errno::AGAIN);
        }
        let id = inner.next;
        inner.next = (inner.next + 1) & i32::MAX;
        inner.timers.insert(id, Timer::new(counts, notify(id), Some(id), clock));
        Ok(id)
    }

    /// `timer_settime(2)`; `absolute` says that the value is what the clock will show. Returns the old setting.
    pub fn set_timer(
        self: &Arc<Self>,
        kernel: &Arc<Kernel>,
        id: i32,
        new: impl FnOnce(i32) -> SysResult<Setting>,
        absolute: bool,
    ) -> SysResult<Setting> {
        let _expiring = self.timers.expiring.lock();
        let mut inner = self.timers.inner.lock();
        let timer = inner.timers.get_mut(&id).filter(|_| id >= 0).ok_or(Errno::INVAL)?;
        let new = new(timer.clock)?;
        let old = timer.setting();
        arm(timer, kernel, self, id, new, absolute);
        Ok(old)
    }

    /// `timer_gettime(2)`.
    pub fn timer(&self, id: i32) -> SysResult<Setting> {
        let inner = self.timers.inner.lock();
        inner.timers.get(&id).filter(|_| id >= 0).map(Timer::setting).ok_or(Errno::INVAL)
    }

    /// The signal of a timer was taken: what it says of expirations before it is what `timer_getoverrun` tells.
    pub(super) fn timer_told(&self, id: i32, overrun: i32) {
        if let Some(timer) = self.timers.inner.lock().timers.get_mut(&id).filter(|_| id >= 0) {
            timer.overrun = overrun;
        }
    }

    /// `timer_getoverrun(2)`.
    pub fn timer_overrun(&self, id: i32) -> SysResult<i32> {
        let inner = self.timers.inner.lock();
        inner.timers.get(&id).filter(|_| id >= 0).map(|t| t.overrun).ok_or(Errno::INVAL)
    }

    /// `timer_delete(2)`.
    pub fn delete_timer(&self, id: i32) -> SysResult<()> {
        let _expiring = self.timers.expiring.lock();
        let mut inner = self.timers.inner.lock();
        let mut timer = inner.timers.remove(&id).filter(|_| id >= 0).ok_or(Errno::INVAL)?;
        timer.dequeue();
        Ok(())
    }
}

/// For a CPU timer that is absolute, `new.value` counts from the start of the process; for others the caller has
/// made it relative.
fn arm(timer: &mut Timer, kernel: &Arc<Kernel>, group: &Arc<ThreadGroup>, key: i32, new: Setting, absolute: bool) {
    timer.dequeue();
    timer.interval = new.interval;
    timer.overrun = 0;
    timer.expires = (!new.value.is_zero()).then(|| match timer.counts {
        Counts::Time => Expiry::At(Instant::now() + new.value.min(FAR)),
        _ if absolute => Expiry::Used(new.value),
        _ => Expiry::Used(timer.counts.used().unwrap_or_default() + new.value.min(FAR)),
    });
    timer.queue(kernel, group, key);
}

/// Later than any sandbox lives, and still within what clocks can add.
const FAR: Duration = Duration::from_secs(1 << 32);

impl ProcessTimers {
    /// `execve`: POSIX timers go, interval timers stay.
    pub(super) fn exec(&self) {
        let mut inner = self.inner.lock();
        inner.timers.retain(|key, timer| {
            if *key >= 0 {
                timer.dequeue();
            }
            *key < 0
        });
    }

    /// The process is dead.
    pub(super) fn stop(&self) {
        let mut inner = self.inner.lock();
        inner.timers.values_mut().for_each(Timer::dequeue);
        inner.timers.clear();
    }
}
