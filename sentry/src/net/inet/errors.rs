//! Errors that datagrams came back with, kept for `MSG_ERRQUEUE` (`IP_RECVERR` of `ip(7)`).

use super::addr;
use crate::errno::Errno;
use crate::net::message::{Control, Incoming};
use crate::net::options::SentStamp;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use zerocopy::IntoBytes;

/// What errors may hold in all: they are no use to who does not read them.
const BYTES_MAX: usize = 64 << 10;
/// What one is charged beyond its data.
const OVERHEAD: usize = 512;

/// `SO_EE_ORIGIN_LOCAL`.
const ORIGIN_LOCAL: u8 = 1;
/// `SO_EE_ORIGIN_ICMP` and `SO_EE_ORIGIN_ICMP6`.
const ORIGIN_ICMP: u8 = 2;
const ORIGIN_ICMP6: u8 = 3;

/// `SO_EE_ORIGIN_ZEROCOPY` and `SO_EE_CODE_ZEROCOPY_COPIED`.
const ORIGIN_ZEROCOPY: u8 = 5;
const ZEROCOPY_COPIED: u8 = 1;

/// Tells of messages that were sent with `MSG_ZEROCOPY`, by their first and last number: their data was copied.
pub(in crate::net) fn completed(family: i32, (first, last): (u32, u32)) -> Incoming {
    let mut data = vec![0; 4];
    data.extend([ORIGIN_ZEROCOPY, 0, ZEROCOPY_COPIED, 0]);
    data.extend_from_slice([first, last].as_bytes());
    // Nobody complains.
    data.resize(data.len() + if family == libc::AF_INET { 16 } else { 28 }, 0);
    let control = vec![told(family, data)];
    Incoming { control, flags: libc::MSG_ERRQUEUE, ends: true, ..Incoming::default() }
}

/// `SO_EE_ORIGIN_TIMESTAMPING`.
const ORIGIN_TIMESTAMPING: u8 = 4;

/// Tells when a message that was sent came to a stage.
pub(in crate::net) fn stamped(family: i32, stamp: &SentStamp, time: Option<Control>, buf: &mut [u8]) -> Incoming {
    let count = stamp.data.len().min(buf.len());
    if let (Some(to), Some(from)) = (buf.get_mut(..count), stamp.data.get(..count)) {
        to.copy_from_slice(from);
    }
    let mut data = (libc::ENOMSG as u32).as_bytes().to_vec();
    data.extend([ORIGIN_TIMESTAMPING, 0, 0, 0]);
    data.extend_from_slice([stamp.stage as u32, stamp.id].as_bytes());
    data.resize(data.len() + if family == libc::AF_INET { 16 } else { 28 }, 0);
    let control = time.into_iter().chain([told(family, data)]).collect();
    let truncated = if count < stamp.data.len() { libc::MSG_TRUNC } else { 0 };
    let flags = libc::MSG_ERRQUEUE | truncated;
    Incoming { count, full: count, control, flags, ends: true, ..Incoming::default() }
}

/// `struct sock_extended_err` and an address as ancillary data.
fn told(family: i32, data: Vec<u8>) -> Control {
    let (level, kind) = if family == libc::AF_INET {
        (libc::IPPROTO_IP, libc::IP_RECVERR)
    } else {
        (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)
    };
    Control { level, kind, data }
}

/// A message of ICMP about a datagram.
#[derive(Debug, Clone)]
pub(super) struct Failed {
    pub(super) errno: Errno,
    /// Type and code of the message.
    pub(super) icmp: (u8, u8),
    /// Where the datagram was for.
    pub(super) to: SocketAddr,
    /// Who sent the message.
    pub(super) from: IpAddr,
    /// The number that the message holds.
    pub(super) info: u32,
    /// What is known of the datagram's data.
    pub(super) data: Vec<u8>,
}

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Errors {
    queue: VecDeque<Failed>,
    used: usize,
}

impl Errors {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Adds one; without room it is lost.
    pub(super) fn push(&mut self, failed: Failed) {
        let charge = failed.data.len() + OVERHEAD;
        if self.used + charge <= BYTES_MAX {
            self.used += charge;
            self.queue.push_back(failed);
        }
    }

    /// Takes one, and the error of the one that is next.
    pub(super) fn pop(&mut self) -> Option<(Failed, Option<Errno>)> {
        let failed = self.queue.pop_front()?;
        self.used -= failed.data.len() + OVERHEAD;
        Some((failed, self.queue.front().map(|next| next.errno)))
    }
}

impl Failed {
    /// As a guest receives it on a socket of `family`.
    pub(super) fn into_incoming(self, family: i32, buf: &mut [u8]) -> Incoming {
        let count = self.data.len().min(buf.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..count), self.data.get(..count)) {
            to.copy_from_slice(from);
        }
        let truncated = if count < self.data.len() { libc::MSG_TRUNC } else { 0 };
        Incoming {
            count,
            full: count,
            from: Some(addr::to_guest(family, self.to)),
            control: vec![self.control(family)],
            flags: libc::MSG_ERRQUEUE | truncated,
            ends: true,
            ..Incoming::default()
        }
    }

    /// `struct sock_extended_err` and the address of who complains.
    fn control(&self, family: i32) -> Control {
        let v4 = self.to.is_ipv4();
        let (kind, code) = self.icmp;
        let origin = if v4 { ORIGIN_ICMP } else { ORIGIN_ICMP6 };
        let mut data = (self.errno.raw() as u32).as_bytes().to_vec();
        // No message has a type of 0: it was this host that found it.
        data.extend([if self.icmp == (0, 0) { ORIGIN_LOCAL } else { origin }, kind, code, 0]);
        data.extend_from_slice([self.info, 0].as_bytes());
        if self.icmp == (0, 0) {
            data.resize(data.len() + if family == libc::AF_INET { 16 } else { 28 }, 0);
        } else {
            data.extend_from_slice(addr::to_guest(family, SocketAddr::new(self.from, 0)).as_bytes());
        }
        told(family, data)
    }
}
