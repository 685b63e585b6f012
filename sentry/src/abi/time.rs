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

/// `struct timex`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[expect(missing_docs, reason = "adjtimex(2) documents them")]
pub struct Timex {
    pub modes: u32,
    pub pad1: u32,
    pub offset: i64,
    pub freq: i64,
    pub maxerror: i64,
    pub esterror: i64,
    pub status: i32,
    pub pad2: u32,
    pub constant: i64,
    pub precision: i64,
    pub tolerance: i64,
    pub sec: i64,
    pub usec: i64,
    pub tick: i64,
    pub pps: [i64; 3],
    pub shift: i32,
    pub pad3: u32,
    pub counts: [i64; 5],
    pub tai: i32,
    pub pad4: [i32; 11],
}

impl Timex {
    /// What Linux starts with, and keeps where nothing disciplines the clock: `STA_UNSYNC`, the largest errors,
    /// 10 ms ticks, at most 500 parts in a million.
    pub const UNDISCIPLINED: Timex = Timex {
        modes: 0,
        pad1: 0,
        offset: 0,
        freq: 0,
        maxerror: 16_000_000,
        esterror: 16_000_000,
        status: 0x40,
        pad2: 0,
        constant: 2,
        precision: 1,
        tolerance: 32_768_000,
        sec: 0,
        usec: 0,
        tick: 10_000,
        pps: [0; 3],
        shift: 0,
        pad3: 0,
        counts: [0; 5],
        tai: 0,
        pad4: [0; 11],
    };
}
