//! TCP: between sockets of the sandbox by memory, with others over interfaces.
//!
//! Of the first, each [`Tcp`](endpoint::Tcp) has a queue of received bytes; its peer puts bytes there. What on a wire would be a FIN
//! or a RST is a call of [`Tcp::fin`](endpoint::Tcp::fin) or [`Tcp::reset`](endpoint::Tcp::reset) on the peer. Connections of
//! the second kind are [`Flow`](flow::Flow)s. Lock order: the ports, then one endpoint; no two endpoints at once; the table of
//! flows, then a flow; no endpoint's lock with a flow's.

mod closing;
mod connect;
mod cork;
mod defer;
mod endpoint;
mod flow;
mod flows;
mod info;
mod lingering;
mod socket;
mod transfer;
mod wire;

use super::options::IntOptions;
use super::ports::Ports;
use crate::net::namespace::Net;
use crate::net::options::Options;
use crate::net::socket::Socket;
use crate::sync::Mutex;
use endpoint::Tcp;
pub(in crate::net) use flow::Flow;
pub(in crate::net) use flows::{failed, input, lingering as count_lingering, too_big};
use socket::TcpSocket;
use std::sync::Arc;

/// `net.ipv4.tcp_wmem`, second number.
const SNDBUF_DEFAULT: u32 = 16384;
/// `net.ipv4.tcp_rmem`, second number.
const RCVBUF_DEFAULT: u32 = 131_072;

/// Who has which port in a namespace, and the connections over its interfaces.
#[derive(Debug, Default)]
pub(super) struct Table {
    ports: Mutex<Ports<Tcp>>,
    flows: Mutex<flows::Flows>,
}

/// A new socket of user `uid`.
pub(super) fn create(net: &Arc<Net>, family: i32, uid: u32) -> Socket {
    let options = Arc::new(Options::new(SNDBUF_DEFAULT, RCVBUF_DEFAULT));
    wrap(Tcp::new(family, uid, options, IntOptions::of(net, family)))
}

fn wrap(end: Arc<Tcp>) -> Socket {
    let options = end.options.clone();
    Socket::new(&end.net().clone(), (end.family, libc::SOCK_STREAM, libc::IPPROTO_TCP), options, TcpSocket::new(end))
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
