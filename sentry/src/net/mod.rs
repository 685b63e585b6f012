//! Sockets.
//!
//! A [`Socket`](socket::Socket) is the file; below it each family implements [`SocketOps`](socket::SocketOps):
//! [`unix`], [`inet`] (over the [`stack`] where the sandbox has a network), [`netlink`] and `packet`.

pub mod address;
mod bridge;
pub mod counters;
pub mod diag;
pub mod filter;
mod forward;
#[cfg(test)]
mod fuzz;
pub mod host;
pub mod inet;
pub mod layout;
pub mod message;
pub mod namespace;
pub mod netlink;
pub mod options;
mod packet;
pub mod registry;
pub mod rights;
pub mod show;
pub mod socket;
pub mod stack;
pub mod sysctl;
pub mod unix;

use crate::errno::{Errno, SysResult};
use crate::fs::File;
use crate::kernel::Task;
use socket::Socket;
use std::sync::Arc;

/// `socket(2)`: a new socket of a family, type and protocol. `kind` has no flags.
pub fn create(t: &Task, family: i32, kind: i32, protocol: i32, flags: i32) -> SysResult<Arc<File>> {
    if !(0..AF_MAX).contains(&family) {
        return Err(Errno::AFNOSUPPORT);
    }
    if !(0..SOCK_MAX).contains(&kind) {
        return Err(Errno::INVAL);
    }
    let socket = match family {
        libc::AF_UNIX => unix::create(t, kind, protocol)?,
        libc::AF_INET | libc::AF_INET6 => inet::create(t, family, kind, protocol)?,
        libc::AF_NETLINK => netlink::create(t, kind, protocol)?,
        // Frames of the host's interfaces are not for guests to read.
        libc::AF_PACKET if host::of(&t.net()).is_some() => return Err(Errno::AFNOSUPPORT),
        libc::AF_PACKET => packet::create(t, kind, protocol)?,
        _ => return Err(Errno::AFNOSUPPORT),
    };
    Ok(Socket::open(t, socket, flags))
}

/// One above the highest family.
const AF_MAX: i32 = 46;
/// One above the highest socket type.
const SOCK_MAX: i32 = 11;
