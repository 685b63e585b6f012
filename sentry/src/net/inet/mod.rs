//! `AF_INET` and `AF_INET6` over the loopback interface.
//!
//! There are no packets: the two ends of a connection know each other, and a datagram goes straight into the
//! receiver's queue.

mod addr;
pub mod device;
mod options;
mod ports;
mod tcp;
mod udp;

use super::socket::Socket;
use crate::errno::{Errno, SysResult};
use crate::kernel::{Cap, Task};

/// `IPPROTO_MAX`.
const PROTOCOL_MAX: i32 = 263;
/// Ports below need `CAP_NET_BIND_SERVICE` (`net.ipv4.ip_unprivileged_port_start`).
const UNPRIVILEGED_PORT: u16 = 1024;

/// A new socket.
pub(super) fn create(t: &Task, family: i32, kind: i32, protocol: i32) -> SysResult<Socket> {
    if !(0..PROTOCOL_MAX).contains(&protocol) {
        return Err(Errno::INVAL);
    }
    let creds = t.creds();
    match (kind, protocol) {
        (libc::SOCK_STREAM, 0 | libc::IPPROTO_TCP) => Ok(tcp::create(family, creds.uid)),
        (libc::SOCK_DGRAM, 0 | libc::IPPROTO_UDP) => Ok(udp::create(family, creds.uid)),
        // Nobody is in the default net.ipv4.ping_group_range.
        (libc::SOCK_DGRAM, libc::IPPROTO_ICMP | libc::IPPROTO_ICMPV6) => Err(Errno::ACCES),
        (libc::SOCK_RAW, _) if !creds.has(Cap::NetRaw) => Err(Errno::PERM),
        (libc::SOCK_STREAM | libc::SOCK_DGRAM | libc::SOCK_RAW, _) => Err(Errno::PROTONOSUPPORT),
        _ => Err(Errno::SOCKTNOSUPPORT),
    }
}

/// `EACCES` if `t` may not bind to `port`.
fn may_bind(t: &Task, port: u16) -> SysResult<()> {
    let privileged = port > 0 && port < UNPRIVILEGED_PORT;
    if privileged && !t.creds().has(Cap::NetBindService) { Err(Errno::ACCES) } else { Ok(()) }
}
