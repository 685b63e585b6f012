//! `AF_INET` and `AF_INET6`.
//!
//! On the loopback interface, and to own addresses, there are no packets: the two ends of a connection know each other,
//! and a datagram goes straight into the receiver's queue. What is for others goes through the [`stack`](super::stack),
//! and comes from it.

mod addr;
pub mod device;
pub(super) mod errors;
pub(super) mod ethtool;
pub(super) mod multicast;
mod options;
mod paths;
mod ports;
pub(super) mod raw;
pub(super) mod tcp;
pub(super) mod udp;

use super::host;
use super::namespace::Net;
use super::socket::Socket;
use super::stack::icmp::Quoted;
use super::stack::packet;
use crate::errno::{Errno, SysResult};
use crate::kernel::{Cap, Task};
use std::sync::Arc;
pub(super) use tcp::Flow;

/// Who has which port and gets which packets, in a namespace.
#[derive(Debug, Default)]
pub(super) struct Tables {
    tcp: tcp::Table,
    udp: udp::Table,
    raw: raw::Table,
    groups: multicast::Table,
    pub(super) paths: paths::Paths,
}

/// `IPPROTO_MAX`.
const PROTOCOL_MAX: i32 = 263;
/// Ports below need `CAP_NET_BIND_SERVICE`, if the configuration does not say otherwise
/// (`net.ipv4.ip_unprivileged_port_start`).
const UNPRIVILEGED_PORT: i64 = 1024;

/// A new socket.
pub(super) fn create(t: &Task, family: i32, kind: i32, protocol: i32) -> SysResult<Socket> {
    if !(0..PROTOCOL_MAX).contains(&protocol) {
        return Err(Errno::INVAL);
    }
    if host::of(&t.net()).is_some() {
        return host::create(t, family, kind, protocol);
    }
    let creds = t.creds();
    match (kind, protocol) {
        (libc::SOCK_STREAM, 0 | libc::IPPROTO_TCP) => Ok(tcp::create(&t.net(), family, creds.uid)),
        (libc::SOCK_DGRAM, 0 | libc::IPPROTO_UDP) => Ok(udp::create(&t.net(), family, creds.uid)),
        (libc::SOCK_DGRAM, libc::IPPROTO_ICMP | libc::IPPROTO_ICMPV6) => raw::create(t, family, kind, protocol),
        (libc::SOCK_RAW, _) => raw::create(t, family, kind, protocol),
        (libc::SOCK_STREAM | libc::SOCK_DGRAM, _) => Err(Errno::PROTONOSUPPORT),
        _ => Err(Errno::SOCKTNOSUPPORT),
    }
}

/// `EACCES` if `t` may not bind to `port`.
fn may_bind(net: &Net, t: &Task, port: u16) -> SysResult<()> {
    let first = net.sysctl.number("net/ipv4/ip_unprivileged_port_start", UNPRIVILEGED_PORT);
    let privileged = port > 0 && i64::from(port) < first;
    if privileged && !t.creds().has(Cap::NetBindService) { Err(Errno::ACCES) } else { Ok(()) }
}

/// What reading an option of another protocol gets, which depends on who looks for it last.
fn not_ours(family: i32) -> Errno {
    if family == libc::AF_INET6 { Errno::NOPROTOOPT } else { Errno::OPNOTSUPP }
}

/// Connections that packets came for, of which each is acted on once for all of them.
#[derive(Debug, Default)]
pub(super) struct Batch {
    flows: Vec<Arc<Flow>>,
}

impl Batch {
    fn add(&mut self, flow: Arc<Flow>) {
        if !self.flows.iter().any(|known| Arc::ptr_eq(known, &flow)) {
            self.flows.push(flow);
        }
    }

    /// All packets are in.
    pub(super) fn finish(self) {
        self.flows.iter().for_each(Flow::settle);
    }
}

/// A packet that a socket sent did not arrive. `hard`: nor will the next one.
pub(super) fn failed(net: &Net, quoted: &Quoted<'_>, errno: Errno, hard: bool) {
    match quoted.protocol {
        packet::TCP => tcp::failed(net, quoted, errno),
        packet::UDP => udp::failed(net, quoted, errno, hard),
        _ => {}
    }
}

/// A packet that a socket sent was longer than a link on its way carries.
pub(super) fn too_big(net: &Net, quoted: &Quoted<'_>, mtu: usize) {
    match quoted.protocol {
        packet::TCP => tcp::too_big(net, quoted, mtu),
        packet::UDP if udp::too_big(net, quoted, mtu) => net.inet.paths.learn(quoted.dst, mtu),
        // Of echoes nobody keeps account.
        packet::ICMP | packet::ICMPV6 if net.layout().is_own(quoted.src) => net.inet.paths.learn(quoted.dst, mtu),
        _ => {}
    }
}
