//! Times of what was sent (`SO_TIMESTAMPING`), which senders find in the error queue.

use super::Options;
use super::stamps::{stamping, times};
use crate::errno::{Errno, SysResult};
use crate::net::message::Control;
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

/// Times that wait to be read, and bytes that come with them; whoever does not read them gets no more.
const WAITING_MAX: usize = 512;
const BYTES_MAX: usize = 64 << 10;

/// What has become of a message (`SCM_TSTAMP_SND`, `SCM_TSTAMP_SCHED`, `SCM_TSTAMP_ACK`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// An interface has it.
    Sent = 0,
    /// It waits for the interface.
    Queued = 1,
    /// The other side has it.
    Acknowledged = 2,
}

/// When a message came to a stage.
#[derive(Debug)]
pub struct SentStamp {
    /// Which stage.
    pub stage: Stage,
    /// The message's number, if senders want to tell them apart.
    pub id: u32,
    /// The message, if they want it back.
    pub data: Vec<u8>,
    time: SystemTime,
}

/// What waits to be read.
#[derive(Debug, Default)]
pub(super) struct Sent {
    queue: VecDeque<SentStamp>,
    bytes: usize,
    /// Number of the next datagram; or the place in a stream that places are told from.
    next: u32,
}

impl Options {
    /// Numbers messages from now on: datagrams from 0, bytes of a stream from `place`.
    pub(super) fn number_sent(&self, place: u32) {
        self.sent.lock().next = place;
    }

    /// Whether times of what is sent are wanted.
    pub fn wants_sent(&self) -> bool {
        self.stamping.load(Ordering::Relaxed) & stamping::TX != 0
    }

    /// Number of a datagram that is sent now.
    pub fn number_of_datagram(&self) -> u32 {
        let mut sent = self.sent.lock();
        let number = sent.next;
        sent.next = number.wrapping_add(1);
        number
    }

    /// Number of what ends before `place` in a stream.
    pub fn number_of_bytes(&self, place: u32) -> u32 {
        place.wrapping_sub(self.sent.lock().next).wrapping_sub(1)
    }

    /// A message has come to some stages; whether its sender wants to know.
    pub fn stamp_sent(&self, stages: &[Stage], id: u32, data: &dyn Fn() -> Vec<u8>) -> bool {
        let flags = self.stamping.load(Ordering::Relaxed);
        let wanted = |stage: &&Stage| {
            let flag = match stage {
                Stage::Sent => stamping::TX_SOFTWARE,
                Stage::Queued => stamping::TX_SCHED,
                Stage::Acknowledged => stamping::TX_ACK,
            };
            flags & flag != 0
        };
        let id = if flags & stamping::OPT_ID == 0 { 0 } else { id };
        let time = SystemTime::now();
        let mut sent = self.sent.lock();
        let before = sent.queue.len();
        for stage in stages.iter().filter(wanted) {
            let data = if flags & stamping::OPT_TSONLY == 0 { data() } else { Vec::new() };
            if sent.queue.len() >= WAITING_MAX || sent.bytes + data.len() > BYTES_MAX {
                break;
            }
            sent.bytes += data.len();
            sent.queue.push_back(SentStamp { stage: *stage, id, data, time });
        }
        self.stamps_waiting.store(sent.queue.len(), Ordering::Relaxed);
        sent.queue.len() > before
    }

    /// Whether times wait to be read.
    pub fn has_sent_stamps(&self) -> bool {
        self.stamps_waiting.load(Ordering::Relaxed) > 0
    }

    /// Takes the oldest, with the ancillary data that tells the time if that is wanted.
    pub fn take_sent_stamp(&self) -> Option<(SentStamp, Option<Control>)> {
        let mut sent = self.sent.lock();
        let stamp = sent.queue.pop_front()?;
        sent.bytes -= stamp.data.len();
        self.stamps_waiting.store(sent.queue.len(), Ordering::Relaxed);
        let reports = self.stamping.load(Ordering::Relaxed) & stamping::SOFTWARE != 0;
        let time = reports.then(|| times(stamp.time));
        Some((stamp, time))
    }

    /// Checks flags: `positions` are where a stream is acknowledged and written up to, `None` of what is none.
    pub(super) fn begin_numbers(&self, flags: u32, positions: Option<SysResult<(u32, u32)>>) -> SysResult<()> {
        if flags & stamping::OPT_STATS != 0 && flags & stamping::OPT_TSONLY == 0 {
            return Err(Errno::INVAL);
        }
        let begins = flags & stamping::OPT_ID != 0 && self.stamping.load(Ordering::Relaxed) & stamping::OPT_ID == 0;
        if begins {
            let (acknowledged, written) = positions.unwrap_or(Ok((0, 0)))?;
            self.number_sent(if flags & stamping::OPT_ID_TCP != 0 { written } else { acknowledged });
        }
        Ok(())
    }
}
