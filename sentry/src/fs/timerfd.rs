//! Timers that are files (`timerfd_create(2)`).
//!
//! A timer knows when it expires next and how often after that; how many expirations a read reports is
//! computed when asked, so a fast timer nobody reads costs one wake-up.

use crate::abi::Timespec;
use crate::errno::{Errno, SysResult};
use crate::executor::{Events, Observer, TimerId, Timers, WaitQueue};
use crate::fs::{File, FileOps};
use crate::sync::Mutex;
use rustix::time::{ClockId, clock_gettime};
use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The clock of a timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// `CLOCK_REALTIME` and its alarm.
    Realtime,
    /// `CLOCK_MONOTONIC`.
    Monotonic,
    /// `CLOCK_BOOTTIME` and its alarm.
    Boottime,
}

impl Clock {
    fn now(self) -> Duration {
        let id = match self {
            Clock::Realtime => ClockId::Realtime,
            Clock::Monotonic => ClockId::Monotonic,
            Clock::Boottime => ClockId::Boottime,
        };
        let now = clock_gettime(id);
        Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec as u32)
    }
}

/// When a timer expires: `struct itimerspec`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Setting {
    /// Between expirations; zero for one expiration only.
    pub interval: Duration,
    /// Until the first, or when; zero for never.
    pub value: Duration,
}

impl Setting {
    /// From `it_interval` and `it_value`.
    pub fn from_abi([interval, value]: [Timespec; 2]) -> SysResult<Setting> {
        Ok(Setting { interval: interval.to_duration()?, value: value.to_duration()? })
    }

    /// As `it_interval` and `it_value`.
    pub fn to_abi(self) -> [Timespec; 2] {
        [self.interval.into(), self.value.into()]
    }
}

#[derive(Debug, Default)]
struct State {
    /// When it expires next, or did and nobody has read it, on its clock.
    next: Option<Duration>,
    interval: Duration,
    armed: Option<TimerId>,
}

impl State {
    /// Takes the expirations up to `now`.
    fn take(&mut self, now: Duration) -> u64 {
        let Some(late) = self.next.and_then(|next| now.checked_sub(next)) else { return 0 };
        if self.interval.is_zero() {
            self.next = None;
            return 1;
        }
        let more = (late.as_nanos() / self.interval.as_nanos()) as u64;
        let rest = (late.as_nanos() % self.interval.as_nanos()) as u64;
        self.next = now.checked_add(self.interval - Duration::from_nanos(rest));
        more.saturating_add(1)
    }

    /// What `timerfd_gettime` says.
    fn setting(&self, now: Duration) -> Setting {
        let value = match self.next {
            None => Duration::ZERO,
            Some(next) => match now.checked_sub(next) {
                None => next - now,
                Some(_) if self.interval.is_zero() => Duration::ZERO,
                Some(late) => self.interval - Duration::from_nanos((late.as_nanos() % self.interval.as_nanos()) as u64),
            },
        };
        Setting { interval: self.interval, value }
    }
}

#[derive(Debug)]
struct Core {
    clock: Clock,
    state: Mutex<State>,
    queue: WaitQueue,
}

impl Core {
    /// Has the executor call when the timer expires.
    fn arm(self: &Arc<Self>, state: &mut State) {
        if let Some(old) = state.armed.take() {
            Timers::get().cancel(old);
        }
        let Some(next) = state.next else { return };
        let wait = next.saturating_sub(self.clock.now());
        if let Some(at) = Instant::now().checked_add(wait) {
            state.armed = Some(Timers::get().add(at, Arc::new(Expiry(self.clone()))));
        }
    }
}

/// What the executor calls.
struct Expiry(Arc<Core>);

impl Observer for Expiry {
    fn notify(&self, _: Events) {
        let mut state = self.0.state.lock();
        if state.next.is_some_and(|next| next > self.0.clock.now()) {
            // The clock was set back, or the timer was set anew meanwhile.
            self.0.arm(&mut state);
            return;
        }
        drop(state);
        self.0.queue.notify(Events::IN);
    }
}

/// A timer, as a file.
#[derive(Debug)]
pub struct TimerFd {
    core: Arc<Core>,
}

impl TimerFd {
    /// An open description of a new, disarmed timer.
    pub fn open(clock: Clock, flags: i32) -> Arc<File> {
        let core = Core { clock, state: Mutex::default(), queue: WaitQueue::new() };
        File::anonymous(TimerFd { core: Arc::new(core) }, flags | libc::O_RDWR)
    }

    /// `timerfd_gettime(2)`.
    pub fn get(&self) -> Setting {
        self.core.state.lock().setting(self.core.clock.now())
    }

    /// `timerfd_settime(2)`; returns what was set before.
    pub fn set(&self, new: Setting, absolute: bool) -> Setting {
        let now = self.core.clock.now();
        let mut state = self.core.state.lock();
        let old = state.setting(now);
        state.interval = new.interval;
        state.next = match new.value {
            Duration::ZERO => None,
            at if absolute => Some(at),
            wait => now.checked_add(wait),
        };
        self.core.arm(&mut state);
        old
    }
}

impl FileOps for TimerFd {
    fn read(&self, _: &File, buf: &mut [u8], _: u64) -> SysResult<usize> {
        let out = buf.first_chunk_mut::<8>().ok_or(Errno::INVAL)?;
        let mut state = self.core.state.lock();
        let count = state.take(self.core.clock.now());
        if count == 0 {
            return Err(Errno::AGAIN);
        }
        self.core.arm(&mut state);
        *out = count.to_ne_bytes();
        Ok(8)
    }

    fn poll(&self, _: &File) -> Events {
        let expired = self.core.state.lock().next.is_some_and(|next| next <= self.core.clock.now());
        if expired { Events::IN } else { Events::empty() }
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.core.queue)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn ignores_seek(&self) -> bool {
        true
    }

    fn describe(&self) -> String {
        "anon_inode:[timerfd]".into()
    }
}

impl Drop for TimerFd {
    fn drop(&mut self) {
        let mut state = self.core.state.lock();
        state.next = None;
        self.core.arm(&mut state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn state(next: u64, interval: Duration) -> State {
        State { next: Some(SECOND * next as u32), interval, armed: None }
    }

    #[test]
    fn expirations_are_counted_when_read() {
        let mut periodic = state(10, SECOND * 2);
        assert_eq!(periodic.take(SECOND * 9), 0);
        assert_eq!(periodic.take(SECOND * 15), 3);
        assert_eq!(periodic.next, Some(SECOND * 16));
        let mut once = state(10, Duration::ZERO);
        assert_eq!((once.take(SECOND * 99), once.take(SECOND * 99)), (1, 0));
    }

    #[test]
    fn the_setting_is_what_remains() {
        assert_eq!(state(10, SECOND * 4).setting(SECOND * 7).value, SECOND * 3);
        assert_eq!(state(10, SECOND * 4).setting(SECOND * 15).value, SECOND * 3);
        assert_eq!(state(10, Duration::ZERO).setting(SECOND * 15).value, Duration::ZERO);
    }
}
