//! Clocks, sleeping and timers: `clock_gettime(2)`, `nanosleep(2)`, `timer_create(2)`.
//!
//! Clocks that read the same inside as outside run natively (vDSO or filter) and come here only for their other
//! calls.

use crate::abi::{Timespec, Timeval, Timex};
use crate::errno::{Errno, SysResult};
use crate::kernel::task::Restart;
use crate::kernel::timers::{Counts, Notify, Setting};
use crate::kernel::{Cap, Task, ThreadGroup};
use crate::mm::Addr;
use rustix::time::{ClockId, DynamicClockId, Timespec as HostTime, clock_gettime_dynamic};
use std::sync::Arc;
use std::time::{Duration, Instant};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A clock as its number says.
#[derive(Debug, Clone)]
enum Clock {
    Host(ClockId),
    Tai,
    Process(Arc<ThreadGroup>),
    /// Only what it spent in its own code.
    User(Arc<ThreadGroup>),
    Thread(Arc<Task>),
}

/// The kind of CPU clock that counts user time.
const CPUCLOCK_VIRT: i32 = 1;

fn clock(t: &Task, id: i32) -> SysResult<Clock> {
    Ok(match id {
        libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_ALARM => Clock::Host(ClockId::Realtime),
        libc::CLOCK_MONOTONIC => Clock::Host(ClockId::Monotonic),
        libc::CLOCK_MONOTONIC_RAW => Clock::Host(ClockId::MonotonicRaw),
        libc::CLOCK_REALTIME_COARSE => Clock::Host(ClockId::RealtimeCoarse),
        libc::CLOCK_MONOTONIC_COARSE => Clock::Host(ClockId::MonotonicCoarse),
        libc::CLOCK_BOOTTIME | libc::CLOCK_BOOTTIME_ALARM => Clock::Host(ClockId::Boottime),
        libc::CLOCK_TAI => Clock::Tai,
        libc::CLOCK_PROCESS_CPUTIME_ID => Clock::Process(t.group.clone()),
        libc::CLOCK_THREAD_CPUTIME_ID => Clock::Thread(t.arc().ok_or(Errno::INVAL)?),
        // CPU clocks of others (linux/posix-timers.h): the id inverted in the upper bits, then thread or process
        // in bit 2, the kind (3 is a descriptor, none of ours) below.
        id if id < 0 && id & 3 != 3 => {
            let pid = !(id >> 3);
            if pid == 0 && id & 4 != 0 {
                return Ok(Clock::Thread(t.arc().ok_or(Errno::INVAL)?));
            }
            let pid = if pid == 0 { t.group.tgid } else { pid };
            if id & 4 != 0 {
                Clock::Thread(t.kernel.task(pid).filter(|x| Arc::ptr_eq(&x.group, &t.group)).ok_or(Errno::INVAL)?)
            } else if id & 3 == CPUCLOCK_VIRT {
                Clock::User(t.kernel.group(pid).ok_or(Errno::INVAL)?)
            } else {
                Clock::Process(t.kernel.group(pid).ok_or(Errno::INVAL)?)
            }
        }
        _ => return Err(Errno::INVAL),
    })
}

fn read(clock: &Clock) -> Duration {
    let cpu = |u: platform::Usage| Duration::from_nanos(u.utime + u.stime);
    match clock {
        Clock::Host(id) => since_epoch(rustix::time::clock_gettime(*id)),
        Clock::Tai => clock_gettime_dynamic(DynamicClockId::Tai).map(since_epoch).unwrap_or_default(),
        Clock::Process(group) => cpu(group.usage()),
        Clock::User(group) => Duration::from_nanos(group.usage().utime),
        Clock::Thread(task) => Duration::from_nanos(task.thread().cpu_time()),
    }
}

fn since_epoch(ts: HostTime) -> Duration {
    Duration::new(ts.tv_sec.max(0) as u64, ts.tv_nsec as u32)
}

/// `clock_gettime(2)`.
pub async fn clock_gettime(t: &Task, id: i32, tp: Addr) -> SysResult<()> {
    let now = read(&clock(t, id)?);
    t.mem().write(tp, &Timespec::from(now))
}

/// `clock_getres(2)`.
pub async fn clock_getres(t: &Task, id: i32, res: Addr) -> SysResult<()> {
    const COARSE: Duration = Duration::from_millis(4);
    clock(t, id)?;
    let resolution = match id {
        libc::CLOCK_REALTIME_COARSE | libc::CLOCK_MONOTONIC_COARSE => COARSE,
        _ => Duration::from_nanos(1),
    };
    t.mem().write_opt(res, &Timespec::from(resolution))
}

/// `clock_settime(2)`: no sandbox may change the host's time.
pub async fn clock_settime(t: &Task, id: i32, tp: Addr) -> SysResult<()> {
    if id >= 0 && id != libc::CLOCK_REALTIME {
        return Err(Errno::INVAL);
    }
    let time: Timespec = t.mem().read(tp)?;
    if id < 0 {
        // Clocks of processor time that there are.
        clock(t, id)?;
    } else {
        time.to_duration()?;
    }
    Err(Errno::PERM)
}

/// `settimeofday(2)`: no sandbox may change the host's time.
pub async fn settimeofday(t: &Task, tv: Addr, tz: Addr) -> SysResult<()> {
    const MICROSECONDS: i64 = 1_000_000;
    if !tv.is_null() {
        let [seconds, micros] = t.mem().read::<[i64; 2]>(tv)?;
        if !(0..=MICROSECONDS).contains(&micros) || seconds < 0 {
            return Err(Errno::INVAL);
        }
    }
    if !tz.is_null() {
        t.mem().read::<[i32; 2]>(tz)?;
    }
    let changes_nothing = tv.is_null() && tz.is_null() && t.creds().has(Cap::SysTime);
    if changes_nothing { Ok(()) } else { Err(Errno::PERM) }
}

/// `adjtimex(2)`: asking shows a clock that nobody disciplines; the time is the host's to change.
pub async fn adjtimex(t: &Task, buf: Addr) -> SysResult<i32> {
    const ADJ_ADJTIME: u32 = 0x8000;
    const ADJ_OFFSET_SINGLESHOT: u32 = 1;
    const ADJ_OFFSET_READONLY: u32 = 0x2000;
    /// `TIME_ERROR`: not synchronized.
    const TIME_ERROR: i32 = 5;
    let asked: Timex = t.mem().read(buf)?;
    let changes = if asked.modes & ADJ_ADJTIME != 0 {
        if asked.modes & ADJ_OFFSET_SINGLESHOT == 0 {
            return Err(Errno::INVAL);
        }
        asked.modes & ADJ_OFFSET_READONLY == 0
    } else {
        asked.modes != 0
    };
    if changes {
        return Err(Errno::PERM);
    }
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    let shown = Timex { modes: asked.modes, sec: now.tv_sec, usec: now.tv_nsec / 1000, ..Timex::UNDISCIPLINED };
    t.mem().write(buf, &shown)?;
    Ok(TIME_ERROR)
}

/// `clock_adjtime(2)`.
pub async fn clock_adjtime(t: &Task, id: i32, buf: Addr) -> SysResult<i32> {
    clock(t, id)?;
    if id != libc::CLOCK_REALTIME {
        return Err(Errno::OPNOTSUPP);
    }
    adjtimex(t, buf).await
}

/// `nanosleep(2)`.
pub async fn nanosleep(t: &Task, request: Addr, remaining: Addr) -> SysResult<()> {
    let duration = t.mem().read::<Timespec>(request)?.to_duration()?;
    sleep(t, Instant::now().checked_add(duration), remaining).await
}

/// `clock_nanosleep(2)`.
pub async fn clock_nanosleep(t: &Task, id: i32, flags: i32, request: Addr, remaining: Addr) -> SysResult<()> {
    let clock = match clock(t, id)? {
        clock @ (Clock::Host(_) | Clock::Tai) => clock,
        _ => return Err(Errno::OPNOTSUPP),
    };
    if matches!(id, libc::CLOCK_REALTIME_COARSE | libc::CLOCK_MONOTONIC_COARSE | libc::CLOCK_MONOTONIC_RAW) {
        return Err(Errno::OPNOTSUPP);
    }
    let value = t.mem().read::<Timespec>(request)?.to_duration()?;
    if flags & libc::TIMER_ABSTIME == 0 {
        return sleep(t, Instant::now().checked_add(value), remaining).await;
    }
    let deadline = Instant::now().checked_add(value.saturating_sub(read(&clock)));
    match t.wait_for(deadline, || None::<()>).await {
        Ok(_) => Ok(()),
        Err(_) => Err(Errno::RESTARTNOHAND),
    }
}

/// When a clock shows `time`; `None` if that is longer than anyone waits.
pub(super) fn deadline_at(clock: ClockId, time: Timespec) -> SysResult<Option<Instant>> {
    let value = time.to_duration()?;
    Ok(Instant::now().checked_add(value.saturating_sub(read(&Clock::Host(clock)))))
}

/// Sleeps until `deadline` (`None`: longer than anyone waits). Interrupted by a signal without a handler, it goes
/// on for what remains.
async fn sleep(t: &Task, deadline: Option<Instant>, remaining: Addr) -> SysResult<()> {
    let resumed = t.restart.lock().take().map(|r| r.deadline);
    let deadline = resumed.or(deadline);
    if t.wait_for(deadline, || None::<()>).await.is_ok() {
        return Ok(());
    }
    let Some(deadline) = deadline else { return Err(Errno::RESTARTNOHAND) };
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Ok(());
    }
    t.mem().write_opt(remaining, &Timespec::from(left))?;
    *t.restart.lock() = Some(Restart { deadline });
    Err(Errno::RESTART_RESTARTBLOCK)
}

/// `struct itimerval`.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Itimerval {
    interval: Timeval,
    value: Timeval,
}

impl From<Setting> for Itimerval {
    fn from(s: Setting) -> Itimerval {
        // Rounded up: what is left must not look like nothing.
        let up = |d: Duration| Timeval::from(d + Duration::from_nanos(999));
        Itimerval { interval: s.interval.into(), value: up(s.value).min_zero(s.value) }
    }
}

impl Timeval {
    fn min_zero(self, of: Duration) -> Timeval {
        if of.is_zero() { Timeval::default() } else { self }
    }
}

/// `getitimer(2)`.
pub async fn getitimer(t: &Task, which: i32, value: Addr) -> SysResult<()> {
    let setting = t.group.itimer(which)?;
    t.mem().write(value, &Itimerval::from(setting))
}

/// `setitimer(2)`.
pub async fn setitimer(t: &Task, which: i32, new: Addr, old: Addr) -> SysResult<()> {
    let new: Itimerval = if new.is_null() { Itimerval::default() } else { t.mem().read(new)? };
    let setting = Setting { value: new.value.to_duration()?, interval: new.interval.to_duration()? };
    let was = t.group.set_itimer(&t.kernel, which, setting)?;
    t.mem().write_opt(old, &Itimerval::from(was))
}

/// `alarm(2)`.
pub async fn alarm(t: &Task, seconds: u32) -> SysResult<u32> {
    let setting = Setting { value: Duration::from_secs(seconds.into()), interval: Duration::ZERO };
    let was = t.group.set_itimer(&t.kernel, libc::ITIMER_REAL, setting)?.value;
    // Rounded, but never to 0 while something was left.
    let rounded = was.as_secs() + u64::from(was.subsec_nanos() >= 500_000_000);
    Ok(if was.is_zero() { 0 } else { rounded.max(1) as u32 })
}

/// `struct itimerspec`.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Itimerspec {
    interval: Timespec,
    value: Timespec,
}

impl From<Setting> for Itimerspec {
    fn from(s: Setting) -> Itimerspec {
        Itimerspec { interval: s.interval.into(), value: s.value.into() }
    }
}

/// `struct sigevent`, as far as the kernel reads it.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct SigEvent {
    value: u64,
    signo: i32,
    notify: i32,
    tid: i32,
    pad: [i32; 11],
}

/// `timer_create(2)`.
pub async fn timer_create(t: &Task, clock_id: i32, event: Addr, id: Addr) -> SysResult<()> {
    let event: Option<SigEvent> = if event.is_null() { None } else { Some(t.mem().read(event)?) };
    let counts = match clock(t, clock_id)? {
        Clock::Host(_) | Clock::Tai => match clock_id {
            libc::CLOCK_REALTIME_COARSE | libc::CLOCK_MONOTONIC_COARSE | libc::CLOCK_MONOTONIC_RAW => {
                return Err(Errno::OPNOTSUPP);
            }
            libc::CLOCK_REALTIME_ALARM | libc::CLOCK_BOOTTIME_ALARM if !t.creds().has(Cap::WakeAlarm) => {
                return Err(Errno::PERM);
            }
            _ => Counts::Time,
        },
        Clock::Process(group) => Counts::Cpu(Arc::downgrade(&group)),
        Clock::User(group) => Counts::User(Arc::downgrade(&group)),
        Clock::Thread(task) => Counts::Thread(Arc::downgrade(&task)),
    };
    if let Some(e) = event {
        let valid = (1..=64).contains(&e.signo);
        let known = t.kernel.task(e.tid).is_some_and(|x| Arc::ptr_eq(&x.group, &t.group));
        match e.notify {
            libc::SIGEV_NONE => {}
            libc::SIGEV_SIGNAL | libc::SIGEV_THREAD if valid => {}
            libc::SIGEV_THREAD_ID if valid && known => {}
            _ => return Err(Errno::INVAL),
        }
    }
    let made = t.group.create_timer(clock_id, counts, |id| match event {
        None => Notify::Process(libc::SIGALRM, id as u64),
        Some(e) if e.notify == libc::SIGEV_NONE => Notify::None,
        Some(e) if e.notify == libc::SIGEV_THREAD_ID => Notify::Thread(e.tid, e.signo, e.value),
        Some(e) => Notify::Process(e.signo, e.value),
    })?;
    t.mem().write(id, &made).inspect_err(|_| {
        let _ = t.group.delete_timer(made);
    })
}

/// `timer_settime(2)`.
pub async fn timer_settime(t: &Task, id: i32, flags: i32, new: Addr, old: Addr) -> SysResult<()> {
    if new.is_null() {
        return Err(Errno::INVAL);
    }
    let new: Itimerspec = t.mem().read(new)?;
    let (value, interval) = (new.value.to_duration()?, new.interval.to_duration()?);
    let absolute = flags & libc::TIMER_ABSTIME != 0;
    let setting = |clock_id| {
        let value = match clock(t, clock_id)? {
            // One that has passed expires at once, and does not disarm.
            clock @ (Clock::Host(_) | Clock::Tai) if absolute && !value.is_zero() => {
                value.saturating_sub(read(&clock)).max(Duration::from_nanos(1))
            }
            _ => value,
        };
        Ok(Setting { value, interval })
    };
    let was = t.group.set_timer(&t.kernel, id, setting, absolute)?;
    t.mem().write_opt(old, &Itimerspec::from(was))
}

/// `timer_gettime(2)`.
pub async fn timer_gettime(t: &Task, id: i32, value: Addr) -> SysResult<()> {
    let setting = t.group.timer(id)?;
    t.mem().write(value, &Itimerspec::from(setting))
}

/// `timer_getoverrun(2)`.
pub async fn timer_getoverrun(t: &Task, id: i32) -> SysResult<i32> {
    t.group.timer_overrun(id)
}

/// `timer_delete(2)`.
pub async fn timer_delete(t: &Task, id: i32) -> SysResult<()> {
    t.group.delete_timer(id)
}
