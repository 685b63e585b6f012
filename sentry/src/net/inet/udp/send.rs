//! Sending: which way a datagram goes, and the parts that one is made of (`MSG_MORE`, `UDP_CORK`).

use super::super::addr;
use super::super::errors::Failed;
use super::super::raw;
use super::endpoint::{Envelope, MAX_LEN, Marks, Udp, receivers};
use super::remote::datagram;
use super::way::Way;
use crate::errno::{Errno, SysResult};
use crate::executor::Events;
use crate::net::counters::count;
use crate::net::options::Stage;
use crate::net::stack::link::Link;
use crate::net::stack::packet::{Head, UDP, VNET_LEN};
use crate::net::stack::route::Query;
use crate::net::stack::scope;
use std::net::SocketAddr;
use std::sync::Arc;

/// Where a datagram goes, and from where: settled before there is one.
#[derive(Debug, Clone, Copy)]
struct Route {
    from: SocketAddr,
    to: SocketAddr,
    marks: Marks,
    query: Query,
    /// It stays on the loopback interface, although it is for many.
    over_lo: bool,
    /// It goes to where the socket is connected.
    is_peer: bool,
}

/// A datagram to which more is to come.
#[derive(Debug)]
pub(super) struct Pending {
    route: Route,
    data: Vec<u8>,
}

impl Udp {
    /// Sends `data` to `to`, or to where the socket is connected; with what is pending. `more`: others follow.
    pub(super) fn send(
        self: &Arc<Self>,
        data: &[u8],
        to: Option<SocketAddr>,
        marks: Marks,
        way: Way,
        more: bool,
    ) -> SysResult<usize> {
        if data.len() > MAX_LEN {
            return Err(Errno::MSGSIZE);
        }
        let route = self.way(to, marks, way)?;
        if !more {
            return self.put_out(&route, data);
        }
        self.state.lock().pending = Some(Pending { route, data: data.to_vec() });
        Ok(data.len())
    }

    /// Adds `data` to what is pending, if something is; sends it if no `more` follows.
    pub(super) fn add(self: &Arc<Self>, data: &[u8], more: bool) -> Option<SysResult<usize>> {
        let mut state = self.state.lock();
        let pending = state.pending.as_mut()?;
        if pending.data.len() + data.len() > MAX_LEN {
            state.pending = None;
            return Some(Err(Errno::MSGSIZE));
        }
        pending.data.extend_from_slice(data);
        drop(state);
        Some(if more { Ok(data.len()) } else { self.push().map(|()| data.len()) })
    }

    /// Sends what is pending.
    pub(super) fn push(self: &Arc<Self>) -> SysResult<()> {
        let pending = self.state.lock().pending.take();
        pending.map_or(Ok(()), |Pending { route, data }| self.put_out(&route, &data).map(|_| ()))
    }

    /// Finds the way to `to`.
    fn way(self: &Arc<Self>, to: Option<SocketAddr>, marks: Marks, way: Way) -> SysResult<Route> {
        let (remote, snd_shut) = {
            let state = self.state.lock();
            (state.remote, state.snd_shut)
        };
        let to = to.or(remote).ok_or(Errno::DESTADDRREQ)?;
        self.options.take_error()?;
        if snd_shut {
            return Err(Errno::PIPE);
        }
        let scope = Some(scope::interface(&to)).filter(|index| *index > 0);
        if scope.is_some() && way.interface.is_some() && scope != way.interface {
            return Err(Errno::INVAL);
        }
        let named = way.interface.or(scope);
        let asked = named.map(|index| (index, None)).or_else(|| self.groups.out());
        let out = asked.filter(|_| to.ip().is_multicast());
        // Who names an interface is heeded for others than groups too.
        let query = Query { oif: named.unwrap_or(self.query().oif), ..self.query() };
        let to = if out.is_some() { to } else { addr::route(self.net(), to, &query)? };
        if addr::is_broadcast(self.net(), to.ip()) && !self.options.is_on(libc::SO_BROADCAST) {
            return Err(Errno::ACCES);
        }
        let local = self.autobind()?;
        let ip = match out {
            _ if let Some(source) = way.source.filter(|ip| ip.is_ipv4() == to.is_ipv4()) => source,
            _ if !local.ip().is_unspecified() && !local.ip().is_multicast() => local.ip(),
            Some((interface, _)) if scope.is_some() => {
                addr::source_by(self.net(), to.ip(), &Query { oif: interface, ..query })?
            }
            Some((interface, address)) => addr::address_of(self.net(), interface, address, to.ip())?,
            None => addr::source_by(self.net(), to.ip(), &query)?,
        };
        let over_lo = out.is_some_and(|(interface, _)| interface == Link::LOOPBACK);
        if over_lo && to.is_ipv6() {
            // As on Linux it has no route there.
            return Err(Errno::NETUNREACH);
        }
        let oif = out.map_or(0, |(interface, _)| interface);
        let query = if oif > 0 { Query { oif, ..query } } else { query };
        let from = addr::own(self.net(), ip, local.port(), query.oif);
        Ok(Route { from, to, marks, query, over_lo, is_peer: remote == Some(to) })
    }

    /// Puts a datagram on its way, and tells its sender when.
    fn put_out(self: &Arc<Self>, route: &Route, data: &[u8]) -> SysResult<usize> {
        let count = self.put_on_way(route, data)?;
        if self.options.wants_sent() {
            let Route { from, to, marks, .. } = *route;
            let frame = || {
                let head = Head { src: from.ip(), dst: to.ip(), protocol: UDP, hops: marks.hops, class: marks.class };
                let frame = head.frame(&datagram(&head, from.port(), to.port(), data), None);
                frame.get(VNET_LEN..).unwrap_or_default().to_vec()
            };
            let number = self.options.number_of_datagram();
            if self.options.stamp_sent(&[Stage::Queued, Stage::Sent], number, &frame) {
                self.queue.notify(Events::ERR);
            }
        }
        Ok(count)
    }

    fn put_on_way(self: &Arc<Self>, route: &Route, data: &[u8]) -> SysResult<usize> {
        let Route { from, to, marks, query, over_lo, is_peer } = *route;
        count(&self.net().counters.udp_out, to.is_ipv4());
        if over_lo || addr::is_loopback_broadcast(to.ip()) {
            self.deliver_to_all(data, (from, to), marks, Link::LOOPBACK);
            return Ok(data.len());
        }
        if !addr::is_local(self.net(), to.ip()) {
            if to.ip().is_multicast() && self.loops(to) {
                self.deliver_to_all(data, (from, to), marks, query.oif);
            }
            return self.send_out(data, from, to, marks, query);
        }
        if self.ask_resolver(data, to) {
            return Ok(data.len());
        }
        self.net().counters.loopback(data.len());
        raw::show_datagram(self.net(), from, to, (marks.hops, marks.class), data);
        let target = self.net().inet.udp.ports.lock().find(to, from, |end| end.score(from));
        match target {
            Some(target) => {
                target.deliver(data, Envelope { len: data.len(), from, to: to.ip(), interface: 0, marks, time: None });
            }
            None => self.nobody_there(data, to, is_peer),
        }
        Ok(data.len())
    }

    /// What is sent to groups comes back to members here (`IP_MULTICAST_LOOP`).
    fn loops(&self, to: SocketAddr) -> bool {
        if to.is_ipv4() {
            self.ints.is_on(libc::IPPROTO_IP, libc::IP_MULTICAST_LOOP)
        } else {
            self.ints.is_on(libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_LOOP)
        }
    }

    /// Delivers what is for many.
    fn deliver_to_all(&self, data: &[u8], (from, to): (SocketAddr, SocketAddr), marks: Marks, interface: u32) {
        self.net().counters.loopback(data.len());
        for target in receivers(self.net(), (from, to), interface) {
            target.deliver(data, Envelope { len: data.len(), from, to: to.ip(), interface, marks, time: None });
        }
    }

    /// Nobody has the port that a datagram was for: what comes back is an ICMP error, of which a connected socket hears,
    /// and one that asked for errors.
    fn nobody_there(&self, data: &[u8], to: SocketAddr, is_peer: bool) {
        /// Type and code of "port unreachable", of ICMP and ICMPv6.
        const UNREACHABLE: [(u8, u8); 2] = [(3, 3), (1, 4)];
        count(&self.net().counters.udp_no_port, to.is_ipv4());
        let [v4, v6] = UNREACHABLE;
        let icmp = if to.is_ipv4() { v4 } else { v6 };
        let failed = Failed { errno: Errno::CONNREFUSED, icmp, to, from: to.ip(), info: 0, data: data.to_vec() };
        self.heard(failed, is_peer, true);
    }
}
