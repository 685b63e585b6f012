//! `AF_UNIX` sockets (`unix(7)`).
//!
//! An [`Endpoint`](endpoint::Endpoint) is one socket's state: what it received, whom it talks to. Sending
//! locks the own endpoint to find the peer, lets go, then locks the peer to put the message into its inbox: no two endpoints
//! are ever locked at once.

mod connect;
mod endpoint;
mod inbox;
mod name;
mod path;
mod receive;
mod send;
mod socket;

use super::message::Ucred;
use super::namespace::Net;
use super::socket::Socket;
use crate::errno::{Errno, SysResult};
use crate::kernel::{Task, ThreadGroup};
use endpoint::Endpoint;
pub(super) use name::Names;
use socket::UnixSocket;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

/// What a kind of socket does with boundaries and connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Stream,
    Datagram,
    Seqpacket,
}

impl Kind {
    fn new(kind: i32, protocol: i32) -> SysResult<Kind> {
        if protocol != 0 && protocol != libc::PF_UNIX {
            return Err(Errno::PROTONOSUPPORT);
        }
        match kind {
            libc::SOCK_STREAM => Ok(Kind::Stream),
            // Believe it or not, BSD has AF_UNIX, SOCK_RAW though nothing uses it: Linux says this too.
            libc::SOCK_DGRAM | libc::SOCK_RAW => Ok(Kind::Datagram),
            libc::SOCK_SEQPACKET => Ok(Kind::Seqpacket),
            _ => Err(Errno::SOCKTNOSUPPORT),
        }
    }

    fn raw(self) -> i32 {
        match self {
            Kind::Stream => libc::SOCK_STREAM,
            Kind::Datagram => libc::SOCK_DGRAM,
            Kind::Seqpacket => libc::SOCK_SEQPACKET,
        }
    }

    fn is_connected(self) -> bool {
        self != Kind::Datagram
    }
}

/// Who is at the other end, as `SO_PEERCRED`, `SO_PEERGROUPS` and `SO_PEERPIDFD` tell it.
#[derive(Debug, Clone)]
struct Identity {
    creds: Ucred,
    groups: Arc<[u32]>,
    process: Weak<ThreadGroup>,
}

impl Identity {
    fn of(t: &Task) -> Identity {
        let (creds, process) = (Ucred::effective(t), Arc::downgrade(&t.group));
        Identity { creds, groups: t.creds().groups.clone(), process }
    }
}

/// A new socket.
pub(super) fn create(t: &Task, kind: i32, protocol: i32) -> SysResult<Socket> {
    let kind = Kind::new(kind, protocol)?;
    Ok(wrap(Endpoint::new(&t.net(), kind, Ucred::of(t))))
}

/// Two new sockets connected to each other.
pub fn pair(t: &Task, kind: i32, protocol: i32) -> SysResult<(Socket, Socket)> {
    let kind = Kind::new(kind, protocol)?;
    let (a, b) = pair_of(&t.net(), kind, Ucred::of(t), &Identity::of(t));
    Ok((wrap(a), wrap(b)))
}

fn pair_of(net: &Arc<Net>, kind: Kind, creds: Ucred, peer: &Identity) -> (Arc<Endpoint>, Arc<Endpoint>) {
    let (a, b) = (Endpoint::new(net, kind, creds), Endpoint::new(net, kind, creds));
    a.join(&b, Some(peer.clone()));
    b.join(&a, Some(peer.clone()));
    (a, b)
}

fn wrap(end: Arc<Endpoint>) -> Socket {
    let options = end.options.clone();
    let socket = Socket::new(&end.net, (libc::AF_UNIX, end.kind.raw(), 0), options, UnixSocket::new(end.clone()));
    end.ino.store(socket.ino(), Ordering::Relaxed);
    socket
}

#[cfg(test)]
mod tests;
