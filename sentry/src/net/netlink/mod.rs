//! `AF_NETLINK` (`netlink(7)`): the questions of `rtnetlink(7)` about links, addresses and routes.

mod message;
mod route;
mod socket;

use super::options::{BUFFER_DEFAULT, Options};
use super::socket::Socket;
use crate::errno::{Errno, SysResult};
use crate::kernel::Task;
use socket::NetlinkSocket;
use std::sync::Arc;

/// A new socket. Of all protocols there is `NETLINK_ROUTE`.
pub(super) fn create(t: &Task, kind: i32, protocol: i32) -> SysResult<Socket> {
    let _ = t;
    if !matches!(kind, libc::SOCK_RAW | libc::SOCK_DGRAM) {
        return Err(Errno::SOCKTNOSUPPORT);
    }
    if protocol != libc::NETLINK_ROUTE {
        return Err(Errno::PROTONOSUPPORT);
    }
    let options = Arc::new(Options::new(BUFFER_DEFAULT, BUFFER_DEFAULT));
    Ok(Socket::new((libc::AF_NETLINK, kind, protocol), options.clone(), NetlinkSocket::new(options)))
}
