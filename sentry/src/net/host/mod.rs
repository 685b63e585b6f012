//! `--network=host`: sockets of the internet are sockets of the host, in the network namespace that the sentry was
//! started in.
//!
//! A guest's socket is a [`socket`] around one of the sentry's own. Waiting is the sentry's: the host's never block, and
//! [`host_events`](crate::fs::host_events) tells when they are ready. Of [`options`] and [`control`] messages those
//! reach the host that are known to be harmless. Interfaces and routes are a [`view`] of the host's that nobody can
//! change; sockets of other families are the sentry's as ever.

mod control;
pub mod device;
mod options;
mod socket;
pub mod view;

use super::namespace::Net;
use super::socket::Socket;
use crate::errno::{Errno, SysResult};
use crate::kernel::{Cap, Task};
use std::sync::OnceLock;
use view::View;

static VIEW: OnceLock<View> = OnceLock::new();

/// Has sockets made in this process's network namespace from now on.
pub fn start() -> std::io::Result<()> {
    let view = View::open()?;
    let _ = VIEW.set(view);
    Ok(())
}

/// What is seen of the host's interfaces in a network namespace: nothing, if it has a network of its own. Those that
/// guests make have.
pub fn of(net: &Net) -> Option<&'static View> {
    VIEW.get().filter(|_| net.is_first())
}

/// A new socket of an internet family.
pub(super) fn create(t: &Task, family: i32, kind: i32, protocol: i32) -> SysResult<Socket> {
    if kind == libc::SOCK_RAW && !t.creds().has(Cap::NetRaw) {
        return Err(Errno::PERM);
    }
    let known = [libc::SOCK_STREAM, libc::SOCK_DGRAM, libc::SOCK_RAW];
    if !known.contains(&kind) {
        return Err(Errno::SOCKTNOSUPPORT);
    }
    let fd = platform::host::socket::socket(family, kind, protocol)?;
    socket::wrap(&t.net(), fd, (family, kind, protocol))
}
