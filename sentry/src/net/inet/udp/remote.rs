//! Datagrams over interfaces, and to an engine's resolver.

use super::super::addr;
use super::super::errors::Failed;
use super::endpoint::{Envelope, Marks, Udp, receivers};
use crate::errno::{Errno, SysResult};
use crate::executor::Events;
use crate::net::namespace::Net;
use crate::net::stack::icmp::{Complaint, Quoted};
use crate::net::stack::packet::{Head, Packet, UDP, put_checksum, u16_at};
use crate::net::stack::resolver::Asker;
use crate::net::stack::route::Query;
use crate::net::stack::scope::scoped;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

/// `IP_PMTUDISC_DONT`, `IP_PMTUDISC_DO` and `IP_PMTUDISC_PROBE`, which minds the first link alone.
const DONT: i32 = 0;
const DO: i32 = 2;
const PROBE: i32 = 3;
/// Length of UDP's header.
const HEADER: usize = 8;
/// Time to live of datagrams to groups.
const GROUP_HOPS: (i32, i32) = (libc::IP_MULTICAST_TTL, libc::IPV6_MULTICAST_HOPS);

impl Udp {
    /// Sends a datagram over an interface.
    pub(super) fn send_out(
        &self,
        data: &[u8],
        from: SocketAddr,
        to: SocketAddr,
        marks: Marks,
        query: Query,
    ) -> SysResult<usize> {
        if addr::is_broadcast(self.net(), to.ip()) && !self.options.is_on(libc::SO_BROADCAST) {
            return Err(Errno::ACCES);
        }
        if from.ip().is_loopback() || from.is_ipv4() != to.is_ipv4() {
            return Err(Errno::INVAL);
        }
        let hops = if to.ip().is_multicast() { self.group_hops(to) } else { marks.hops };
        let head = Head { src: from.ip(), dst: to.ip(), protocol: UDP, hops, class: marks.class };
        let datagram = datagram(&head, from.port(), to.port(), data);
        let mtu = self.net().mtu(to.ip(), &Query { from: Some(from.ip()), ..query });
        let discovery = self.discovery(to.is_ipv4());
        let longest = if discovery == DO { self.net().inet.paths.longest(to.ip(), mtu) } else { mtu };
        if matches!(discovery, DO | PROBE) && head.header_len() + datagram.len() > longest {
            self.refuse(to, longest as u32, data);
            return Err(Errno::MSGSIZE);
        }
        self.net().send_by(&head, &datagram, &query).map(|()| data.len())
    }

    /// A datagram is too long for where it is to go, and may not be cut.
    fn refuse(&self, to: SocketAddr, info: u32, data: &[u8]) {
        let (level, name, from) = match to {
            SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_RECVERR, IpAddr::from(Ipv4Addr::UNSPECIFIED)),
            SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_RECVERR, Ipv6Addr::UNSPECIFIED.into()),
        };
        if self.ints.is_on(level, name) {
            let failed = Failed { errno: Errno::MSGSIZE, icmp: (0, 0), to, from, info, data: data.to_vec() };
            self.state.lock().errors.push(failed);
            self.queue.notify(Events::ERR);
        }
    }

    /// The longest packets that get to where it is connected to.
    pub(super) fn mtu(&self) -> i32 {
        const LOOPBACK: i32 = 65536;
        let remote = self.state.lock().remote.map(|to| to.ip());
        let Some(ip) = remote.filter(|ip| !addr::is_local(self.net(), *ip)) else { return LOOPBACK };
        self.net().inet.paths.longest(ip, self.net().mtu(ip, &self.query())) as i32
    }

    /// Whether longer packets than links carry are cut, or refused (`IP_MTU_DISCOVER`).
    fn discovery(&self, v4: bool) -> i32 {
        match v4 {
            true => self.ints.value(libc::IPPROTO_IP, libc::IP_MTU_DISCOVER),
            false => self.ints.value(libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER),
        }
    }

    fn group_hops(&self, to: SocketAddr) -> u8 {
        let hops = if to.is_ipv4() {
            self.ints.value(libc::IPPROTO_IP, GROUP_HOPS.0)
        } else {
            self.ints.value(libc::IPPROTO_IPV6, GROUP_HOPS.1)
        };
        hops as u8
    }

    /// Sends a query to the engine's resolver, if `to` is where it is.
    pub(super) fn ask_resolver(self: &Arc<Self>, data: &[u8], to: SocketAddr) -> bool {
        let Some(resolver) = self.net().resolver().filter(|resolver| resolver.serves(to)) else { return false };
        resolver.ask(self, data);
        true
    }

    /// The socket is closed: no answer is for it.
    pub(super) fn forget_resolver(self: &Arc<Self>) {
        if let Some(resolver) = self.net().resolver() {
            resolver.forget(self);
        }
    }
}

/// A datagram with its header.
pub(in crate::net::inet) fn datagram(head: &Head, from: u16, to: u16, data: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::with_capacity(HEADER + data.len());
    datagram.extend(from.to_be_bytes());
    datagram.extend(to.to_be_bytes());
    datagram.extend(((HEADER + data.len()) as u16).to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend_from_slice(data);
    put_checksum(head, &mut datagram, 6);
    datagram
}

impl Asker for Udp {
    fn answer(&self, from: SocketAddr, data: &[u8]) {
        let Some(local) = self.state.lock().local else { return };
        if self.score(from).is_some() {
            let to = if local.ip().is_unspecified() { from.ip() } else { local.ip() };
            let marks = Marks { hops: 64, class: 0 };
            self.deliver(data, Envelope { len: data.len(), from, to, interface: 0, marks, time: None });
        }
    }
}

/// A UDP packet to this host, or several datagrams of a size; whether anybody has the port.
pub(in crate::net) fn input(net: &Net, packet: &Packet<'_>, datagrams: Option<usize>) -> bool {
    let udp = packet.payload();
    let (Some(source), Some(port), Some(len)) = (u16_at(udp, 0), u16_at(udp, 2), u16_at(udp, 4)) else { return true };
    // Of several at once only the packet's length counts.
    let end = if datagrams.is_some() { udp.len() } else { usize::from(len) };
    let Some(data) = udp.get(HEADER..end) else { return true };
    let interface = packet.interface;
    let (from, to) = match interface {
        0 => (addr::own(net, packet.src, source, 0), addr::own(net, packet.dst, port, 0)),
        _ => (scoped(packet.src, source, interface), scoped(packet.dst, port, interface)),
    };
    let is_group = addr::is_group(net, packet.dst);
    let targets = if is_group {
        receivers(net, (from, to), interface)
    } else {
        Vec::from_iter(net.inet.udp.ports.lock().find(to, from, |end| end.score(from)))
    };
    let marks = Marks { hops: packet.hops, class: packet.class };
    for target in &targets {
        let size = datagrams.unwrap_or(data.len()).max(1);
        if data.is_empty() {
            target.deliver(data, Envelope { len: 0, from, to: to.ip(), interface, marks, time: None });
        }
        for part in data.chunks(size) {
            target.deliver(part, Envelope { len: part.len(), from, to: to.ip(), interface, marks, time: None });
        }
    }
    is_group || !targets.is_empty()
}

/// A datagram did not arrive: only a socket that is connected to where it went hears of it.
pub(in crate::net) fn failed(net: &Net, quoted: &Quoted<'_>, errno: Errno, hard: bool) {
    tell(net, quoted, (errno, 0), |_| hard);
}

/// A datagram was too long; whether anybody can have sent it.
pub(in crate::net) fn too_big(net: &Net, quoted: &Quoted<'_>, mtu: usize) -> bool {
    let info = u32::try_from(mtu).unwrap_or(u32::MAX);
    tell(net, quoted, (Errno::MSGSIZE, info), |end| end.discovery(quoted.dst.is_ipv4()) != DONT).is_some()
}

/// Tells the socket that sent a datagram what became of it.
fn tell(net: &Net, quoted: &Quoted<'_>, what: (Errno, u32), hard: impl FnOnce(&Udp) -> bool) -> Option<()> {
    let (errno, info) = what;
    let (local, remote) = quoted.ports()?;
    let remote = scoped(quoted.dst, remote, quoted.complaint.interface);
    // The one that is connected there, or else the one that has the port.
    let own = scoped(quoted.src, local, quoted.complaint.interface);
    let found = net.inet.udp.ports.lock().find(own, remote, |end| match end.state.lock().remote {
        Some(to) if to == remote => Some(1),
        Some(_) => None,
        None => Some(0),
    });
    let end = found?;
    let is_peer = end.state.lock().remote == Some(remote);
    let data = quoted.payload.get(HEADER..).unwrap_or_default().to_vec();
    let Complaint { kind, from, .. } = quoted.complaint;
    let from = from.unwrap_or(quoted.src);
    let hard = hard(&end);
    end.heard(Failed { errno, icmp: kind, to: remote, from, info, data }, is_peer, hard);
    Some(())
}
