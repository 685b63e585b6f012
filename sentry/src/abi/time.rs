//! `struct timespec` and `struct timeval`.

use crate::errno::{Errno, SysResult};
use std::time::Duration;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `struct timespec`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Timespec {
    /// Seconds.
    pub sec: i64,
    /// Nanoseconds.
    pub nsec: i64,
}

impl Timespec {
    /// As a duration; `EINVAL` if negative or not normalised.
    pub fn to_duration(self) -> SysResult<Duration> {
        if self.sec < 0 || !(0..1_000_000_000).contains(&self.nsec) {
            return Err(Errno::INVAL);
        }
        Ok(Duration::new(self.sec.unsigned_abs(), self.nsec as u32))
    }
}

impl From<Duration> for Timespec {
    fn from(d: Duration) -> Timespec {
        Timespec { sec: i64::try_from(d.as_secs()).unwrap_or(i64::MAX), nsec: i64::from(d.subsec_nanos()) }
    }
}

/// `struct timeval`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Timeval {
    /// Seconds.
    pub sec: i64,
    /// Microseconds.
    pub usec: i64,
}

impl Timeval {
    /// As a duration; `EINVAL` if negative or not normalised.
    pub fn to_duration(self) -> SysResult<Duration> {
        if self.sec < 0 || !(0..1_000_000).contains(&self.usec) {
            return Err(Errno::INVAL);
        }
        Ok(Duration::new(self.sec.unsigned_abs(), self.usec as u32 * 1000))
    }
}

impl From<Duration> for Timeval {
    fn from(d: Duration) -> Timeval {
        Timeval { sec: i64::try_from(d.as_secs()).unwrap_or(i64::MAX), usec: i64::from(d.subsec_micros()) }
    }
}
