//! `AF_NETLINK` (`netlink(7)`): `rtnetlink(7)`, `sock_diag(7)`, and the events of devices, of which there are none.

pub(super) mod announce;
mod diag;
pub(in crate::net) mod message;
pub(super) use message::Origin;
mod route;
pub(super) use route::set_link::{set_mac, set_mtu};
mod socket;

use super::options::{BUFFER_DEFAULT, Options};
use super::socket::Socket;
use crate::errno::{Errno, SysResult};
use crate::kernel::Task;
pub(super) use socket::Ids;
use socket::NetlinkSocket;
use std::sync::Arc;

/// `MAX_LINKS`.
const PROTOCOL_MAX: i32 = 32;

/// A new socket of one of three protocols.
pub(super) fn create(t: &Task, kind: i32, protocol: i32) -> SysResult<Socket> {
    if !matches!(kind, libc::SOCK_RAW | libc::SOCK_DGRAM) {
        return Err(Errno::SOCKTNOSUPPORT);
    }
    if !(0..PROTOCOL_MAX).contains(&protocol)
        || !matches!(protocol, libc::NETLINK_ROUTE | libc::NETLINK_SOCK_DIAG | libc::NETLINK_KOBJECT_UEVENT)
    {
        return Err(Errno::PROTONOSUPPORT);
    }
    let options = Arc::new(Options::new(BUFFER_DEFAULT, BUFFER_DEFAULT));
    let net = t.net();
    let ops = NetlinkSocket::new(&net, protocol, options.clone());
    Ok(Socket::new(&net, (libc::AF_NETLINK, kind, protocol), options, ops))
}
