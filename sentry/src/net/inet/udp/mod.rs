//! UDP. Between sockets of the sandbox a datagram goes straight into the receiver's queue, or nowhere; others come and go
//! over interfaces.

mod endpoint;
mod remote;
mod send;
mod socket;
mod way;

use super::ports::Ports;
use crate::net::namespace::Net;
use crate::net::options::{BUFFER_DEFAULT, Options};
use crate::net::socket::Socket;
use crate::sync::Mutex;
use endpoint::Udp;
pub(in crate::net::inet) use remote::datagram;
pub(in crate::net) use remote::{failed, input, too_big};
use socket::UdpSocket;
use std::sync::Arc;

/// Who has which port in a namespace.
#[derive(Debug, Default)]
pub(super) struct Table {
    ports: Mutex<Ports<Udp>>,
}

/// A new socket of user `uid`.
pub(super) fn create(net: &Arc<Net>, family: i32, uid: u32) -> Socket {
    let options = Arc::new(Options::new(BUFFER_DEFAULT, BUFFER_DEFAULT));
    let end = Udp::new(net, family, uid, options.clone());
    Socket::new(net, (family, libc::SOCK_DGRAM, libc::IPPROTO_UDP), options, UdpSocket::new(end))
}

#[cfg(test)]
mod tests;
