//! How long a call may wait.

use crate::errno::Errno;
use std::time::{Duration, Instant};

/// The end of a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deadline {
    /// The call does not wait.
    Now,
    /// It waits until then.
    At(Instant),
    /// It waits for ever.
    Never,
}

impl Deadline {
    /// After `duration`; what the clock cannot express is never.
    pub fn after(duration: Duration) -> Deadline {
        if duration.is_zero() {
            return Deadline::Now;
        }
        Instant::now().checked_add(duration).map_or(Deadline::Never, Deadline::At)
    }

    /// As `poll` and `epoll_wait` give it: milliseconds, negative for ever.
    pub fn from_millis(millis: i32) -> Deadline {
        u64::try_from(millis).map_or(Deadline::Never, |millis| Deadline::after(Duration::from_millis(millis)))
    }

    /// For [`Task::block_on`](crate::kernel::Task::block_on). `Now` has passed already.
    pub fn instant(self) -> Option<Instant> {
        match self {
            Deadline::Now => Some(Instant::now()),
            Deadline::At(at) => Some(at),
            Deadline::Never => None,
        }
    }

    /// What remains; `None` for ever.
    pub fn remaining(self) -> Option<Duration> {
        match self {
            Deadline::Now => Some(Duration::ZERO),
            Deadline::At(at) => Some(at.saturating_duration_since(Instant::now())),
            Deadline::Never => None,
        }
    }
}

/// The error of a call that fails with `EINTR` whatever `SA_RESTART` says.
pub fn never_restarted(error: Errno) -> Errno {
    if error == Errno::RESTARTSYS { Errno::INTR } else { error }
}

/// The error of a call that goes on after a signal only if no handler ran.
pub fn restarted_without_handler(error: Errno) -> Errno {
    if error == Errno::RESTARTSYS { Errno::RESTARTNOHAND } else { error }
}
