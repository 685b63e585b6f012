//! `AF_NETLINK` (`netlink(7)`): `rtnetlink(7)`, `sock_diag(7)`, and the events of devices, of which there are none.

mod diag;
mod message;
mod route;
mod socket;

use super::options::{BUFFER_DEFAULT, Options};
use super::socket::Socket;
use crate::errno::{Errno, SysResult};
use crate::kernel::Task;
use socket::NetlinkSocket;
use std::sync::Arc;

/// `MAX_LINKS`.
const PROTOCOL_MAX: i32 = 32;

/// A new socket of one of three protocols.
pub(super) fn create(t: &Task, kind: i32, protocol: i32) -> SysResult<Socket> {
    let _ = t;
    if !matches!(kind, libc::SOCK_RAW | libc::SOCK_DGRAM) {
        return Err(Errno::SOCKTNOSUPPORT);
    }
    if !(0..PROTOCOL_MAX).contains(&protocol)
        || !matches!(protocol, libc::NETLINK_ROUTE | libc::NETLINK_SOCK_DIAG | libc::NETLINK_KOBJECT_UEVENT)
    {
        return Err(Errno::PROTONOSUPPORT);
    }
    let options = Arc::new(Options::new(BUFFER_DEFAULT, BUFFER_DEFAULT));
    Ok(Socket::new((libc::AF_NETLINK, kind, protocol), options.clone(), NetlinkSocket::new(protocol, options)))
}
