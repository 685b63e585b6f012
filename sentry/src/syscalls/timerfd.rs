//! `timerfd_create(2)`, `timerfd_settime(2)`, `timerfd_gettime(2)`.

use crate::abi::Timespec;
use crate::errno::{Errno, SysResult};
use crate::fs::timerfd::{Clock, Setting, TimerFd};
use crate::kernel::{Cap, Task};
use crate::mm::Addr;

/// `timerfd_create(2)`: makes a timer that is a file.
///
/// # Differences from Linux
/// Alarm clocks do not wake a sleeping machine.
pub async fn timerfd_create(t: &Task, clock: i32, flags: i32) -> SysResult<i32> {
    if flags & !(libc::TFD_CLOEXEC | libc::TFD_NONBLOCK) != 0 {
        return Err(Errno::INVAL);
    }
    let is_alarm = matches!(clock, libc::CLOCK_REALTIME_ALARM | libc::CLOCK_BOOTTIME_ALARM);
    let clock = match clock {
        libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_ALARM => Clock::Realtime,
        libc::CLOCK_MONOTONIC => Clock::Monotonic,
        libc::CLOCK_BOOTTIME | libc::CLOCK_BOOTTIME_ALARM => Clock::Boottime,
        _ => return Err(Errno::INVAL),
    };
    if is_alarm && !t.creds().has(Cap::WakeAlarm) {
        return Err(Errno::PERM);
    }
    t.install(TimerFd::open(clock, flags & libc::TFD_NONBLOCK), flags & libc::TFD_CLOEXEC != 0)
}

/// `timerfd_settime(2)`: arms or disarms a timer.
///
/// # Differences from Linux
/// `TFD_TIMER_CANCEL_ON_SET` never cancels: a sandbox cannot set the clock.
pub async fn timerfd_settime(t: &Task, fd: i32, flags: i32, new: Addr, old: Addr) -> SysResult<()> {
    let new: [Timespec; 2] = t.mem().read(new)?;
    if flags & !(libc::TFD_TIMER_ABSTIME | libc::TFD_TIMER_CANCEL_ON_SET) != 0 {
        return Err(Errno::INVAL);
    }
    let new = Setting::from_abi(new)?;
    let file = t.file(fd)?;
    let timer = file.downcast::<TimerFd>().ok_or(Errno::INVAL)?;
    let previous = timer.set(new, flags & libc::TFD_TIMER_ABSTIME != 0);
    t.mem().write_opt(old, &previous.to_abi())
}

/// `timerfd_gettime(2)`: what remains, and the interval.
pub async fn timerfd_gettime(t: &Task, fd: i32, current: Addr) -> SysResult<()> {
    let file = t.file(fd)?;
    let timer = file.downcast::<TimerFd>().ok_or(Errno::INVAL)?;
    t.mem().write(current, &timer.get().to_abi())
}
