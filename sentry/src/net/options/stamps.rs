//! Times of messages, as ancillary data (`SO_TIMESTAMP` and its kin).

use super::Options;
use crate::errno::{Errno, SysResult};
use crate::net::message::Control;
use crate::net::socket::Socket;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use zerocopy::IntoBytes;

/// What receivers are told of times: `SO_TIMESTAMP`, `SO_TIMESTAMPNS`, and both with the newer layout.
pub(super) const STAMPS: [i32; 4] = [libc::SO_TIMESTAMP, libc::SO_TIMESTAMPNS, SO_TIMESTAMP_NEW, SO_TIMESTAMPNS_NEW];
const SO_TIMESTAMP_NEW: i32 = 63;
const SO_TIMESTAMPNS_NEW: i32 = 64;
/// Flags of `SO_TIMESTAMPING`.
pub(super) mod stamping {
    pub(in super::super) const TX_SOFTWARE: u32 = 1 << 1;
    pub(in super::super) const TX_SCHED: u32 = 1 << 8;
    pub(in super::super) const TX_ACK: u32 = 1 << 9;
    /// Of what is sent.
    pub(in super::super) const TX: u32 = TX_SOFTWARE | TX_SCHED | TX_ACK;
    pub(in super::super) const OPT_TSONLY: u32 = 1 << 11;
    pub(in super::super) const OPT_STATS: u32 = 1 << 12;
    pub(in super::super) const RX_SOFTWARE: u32 = 1 << 3;
    pub(in super::super) const SOFTWARE: u32 = 1 << 4;
    pub(in super::super) const OPT_ID: u32 = 1 << 7;
    pub(in super::super) const OPT_ID_TCP: u32 = 1 << 16;
    /// All that there are.
    pub(in super::super) const MASK: u32 = (1 << 19) - 1;
}

impl Options {
    /// One kind of time stamp at a time.
    pub(super) fn set_stamp(&self, name: i32, on: bool) {
        self.stamp.store(if on { name } else { 0 }, Ordering::Relaxed);
    }

    /// `SO_TIMESTAMPING`: what is asked of hardware is taken, as by drivers that have none.
    pub(super) fn set_stamping(&self, socket: &Socket, flags: i32) -> SysResult<()> {
        let flags = flags.cast_unsigned();
        if flags & !stamping::MASK != 0 || flags & stamping::OPT_ID_TCP != 0 && flags & stamping::OPT_ID == 0 {
            return Err(Errno::INVAL);
        }
        self.begin_numbers(flags, socket.ops.positions())?;
        self.stamping.store(flags, Ordering::Relaxed);
        Ok(())
    }

    /// Whether `SO_TIMESTAMPING` asks when messages came.
    fn is_stamping(&self) -> bool {
        const BOTH: u32 = stamping::RX_SOFTWARE | stamping::SOFTWARE;
        self.stamping.load(Ordering::Relaxed) & BOTH == BOTH
    }

    /// Whether messages are to have the time of their arrival.
    pub fn wants_stamps(&self) -> bool {
        self.stamp.load(Ordering::Relaxed) != 0 || self.is_stamping()
    }

    /// The ancillary data that tells when a message came.
    pub fn stamps(&self, time: Option<SystemTime>) -> impl Iterator<Item = Control> {
        let time = time.unwrap_or_else(SystemTime::now);
        let all = self.is_stamping().then(|| times(time));
        self.stamp(time.duration_since(UNIX_EPOCH).unwrap_or_default()).into_iter().chain(all)
    }

    fn stamp(&self, time: Duration) -> Option<Control> {
        let kind = self.stamp.load(Ordering::Relaxed);
        if kind == 0 {
            return None;
        }
        let part = if matches!(kind, libc::SO_TIMESTAMP | SO_TIMESTAMP_NEW) {
            i64::from(time.subsec_micros())
        } else {
            i64::from(time.subsec_nanos())
        };
        let data = [time.as_secs() as i64, part].as_bytes().to_vec();
        Some(Control { level: libc::SOL_SOCKET, kind, data })
    }
}

/// The ancillary data that tells a time: of the three that it has room for that of the software.
pub(super) fn times(time: SystemTime) -> Control {
    let time = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let data = [time.as_secs() as i64, i64::from(time.subsec_nanos()), 0, 0, 0, 0].as_bytes().to_vec();
    Control { level: libc::SOL_SOCKET, kind: libc::SO_TIMESTAMPING, data }
}
