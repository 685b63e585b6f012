//! Messages between the socket calls and the families.

use super::address::SockAddr;
use super::rights::Rights;
use crate::fs::File;
use crate::kernel::Task;
use std::sync::Arc;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `struct ucred`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Ucred {
    /// Process.
    pub pid: i32,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl Ucred {
    /// What a socket without a peer says: process 0, nobody.
    pub const NONE: Ucred = Ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
    /// What a message without credentials says.
    pub const UNKNOWN: Ucred = Ucred { pid: 0, uid: 65534, gid: 65534 };

    /// Those of a task: real ids, as messages carry them.
    pub fn of(t: &Task) -> Ucred {
        let creds = t.creds();
        Ucred { pid: t.group.tgid, uid: creds.uid, gid: creds.gid }
    }

    /// Those of a task: effective ids, as `SO_PEERCRED` tells them.
    pub fn effective(t: &Task) -> Ucred {
        let creds = t.creds();
        Ucred { pid: t.group.tgid, uid: creds.euid, gid: creds.egid }
    }
}

/// A message to send, or a part of one for streams.
#[derive(Debug)]
pub struct Outgoing<'a> {
    /// Who sends; not known to a plain `write`.
    pub task: Option<&'a Task>,
    /// The data.
    pub data: &'a [u8],
    /// Where to, if the call says.
    pub to: Option<&'a SockAddr>,
    /// Descriptions to pass. Taken by the first part that goes out.
    pub rights: &'a mut Rights,
    /// Credentials that the sender set itself, checked.
    pub creds: Option<Ucred>,
    /// Family-specific ancillary data: level, type, content.
    pub control: &'a [Control],
    /// `MSG_…` flags.
    pub flags: i32,
}

/// One item of ancillary data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    /// Level.
    pub level: i32,
    /// Type.
    pub kind: i32,
    /// Content.
    pub data: Vec<u8>,
}

/// What was received, beside the data.
#[derive(Debug, Default)]
pub struct Incoming {
    /// Bytes put into the buffer.
    pub count: usize,
    /// Length of the whole message (`MSG_TRUNC`); as `count` for streams.
    pub full: usize,
    /// Who sent it, if the family says.
    pub from: Option<SockAddr>,
    /// Descriptions that came with it.
    pub rights: Vec<Arc<File>>,
    /// Credentials, if the receiver asked for them.
    pub creds: Option<Ucred>,
    /// The process that sent it, if the receiver asked for a descriptor of it.
    pub pidfd: Option<i32>,
    /// Other ancillary data.
    pub control: Vec<Control>,
    /// `MSG_TRUNC`, `MSG_EOR`, `MSG_OOB`.
    pub flags: i32,
    /// The end of a stream was reached, or a message's: further parts do not belong to it.
    pub ends: bool,
}
