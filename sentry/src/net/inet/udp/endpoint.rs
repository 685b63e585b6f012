//! One socket's state, and how datagrams reach it.

use super::super::addr;
use super::super::errors::{Errors, Failed};
use super::super::multicast::Groups;
use super::super::options::IntOptions;
use super::super::ports::{Claim, Holder};
use super::send::Pending;
use crate::errno::{Errno, SysResult};
use crate::executor::{Events, WaitQueue};
use crate::fs::ring::ByteRing;
use crate::net::counters::count;
use crate::net::filter::View;
use crate::net::message::Incoming;
use crate::net::namespace::Net;
use crate::net::options::Options;
use crate::net::stack::packet::{Head, UDP};
use crate::net::stack::route::Query;
use crate::net::stack::scope;
use crate::sync::Mutex;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::SystemTime;

/// Longest datagram: 65535 less the headers.
pub(super) const MAX_LEN: usize = 65507;
/// What a datagram is charged beyond its data.
const OVERHEAD: usize = 768;

/// A received datagram's envelope.
#[derive(Debug, Clone, Copy)]
pub(super) struct Envelope {
    pub(super) len: usize,
    pub(super) from: SocketAddr,
    pub(super) to: IpAddr,
    /// The interface that it came over; 0 if that is the one with its destination.
    pub(super) interface: u32,
    pub(super) marks: Marks,
    /// When it came, if that was of interest.
    pub(super) time: Option<SystemTime>,
}

/// What an IP header carries beside the addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Marks {
    /// Time to live, or hop limit.
    pub(super) hops: u8,
    /// Type of service, or traffic class.
    pub(super) class: u8,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) local: Option<SocketAddr>,
    /// It was bound to a port of the guest's choice: disconnecting leaves it bound.
    bound: bool,
    pub(super) remote: Option<SocketAddr>,
    bytes: ByteRing,
    pub(super) envelopes: VecDeque<Envelope>,
    pub(super) errors: Errors,
    /// A datagram to which more is to come.
    pub(super) pending: Option<Pending>,
    /// Datagrams for which there was no room.
    pub(super) lost: u32,
    pub(super) rcv_shut: bool,
    pub(super) snd_shut: bool,
}

impl State {
    /// What the receive buffer is charged.
    pub(super) fn used(&self) -> usize {
        self.bytes.len() + self.envelopes.len() * OVERHEAD
    }
}

/// One socket.
#[derive(Debug)]
pub(super) struct Udp {
    pub(super) family: i32,
    pub(super) uid: u32,
    pub(super) options: Arc<Options>,
    pub(super) ints: IntOptions,
    pub(super) groups: Groups,
    pub(super) queue: WaitQueue,
    pub(super) state: Mutex<State>,
}

impl Holder for Udp {
    fn listens(&self) -> bool {
        false
    }
}

impl Udp {
    pub(super) fn new(net: &Arc<Net>, family: i32, uid: u32, options: Arc<Options>) -> Arc<Udp> {
        Arc::new(Udp {
            family,
            uid,
            options,
            ints: IntOptions::of(net, family),
            groups: Groups::default(),
            queue: WaitQueue::new(),
            state: Mutex::default(),
        })
    }

    /// The namespace it is in.
    pub(super) fn net(&self) -> &Arc<Net> {
        &self.ints.net
    }

    /// What its options say of routes.
    pub(super) fn query(&self) -> Query {
        self.ints.query(&self.options, self.family)
    }

    pub(super) fn is_v6only(&self) -> bool {
        self.ints.is_on(libc::IPPROTO_IPV6, libc::IPV6_V6ONLY)
    }

    /// Binds to `address`, which is local.
    pub(super) fn bind(self: &Arc<Self>, address: SocketAddr) -> SysResult<()> {
        self.take_port(address)?;
        self.state.lock().bound = address.port() != 0;
        Ok(())
    }

    fn take_port(self: &Arc<Self>, address: SocketAddr) -> SysResult<()> {
        let claim = Claim {
            ip: address.ip(),
            v6only: self.is_v6only(),
            reuse_addr: self.options.is_on(libc::SO_REUSEADDR),
            reuse_port: self.options.is_on(libc::SO_REUSEPORT),
            range: self.ints.port_range(),
            uid: self.uid,
        };
        let mut ports = self.net().inet.udp.ports.lock();
        if self.state.lock().local.is_some() {
            return Err(Errno::INVAL);
        }
        let port = ports.bind(&self.net().sysctl, address.port(), claim, self)?;
        self.state.lock().local = Some(addr::with_port(address, port));
        Ok(())
    }

    /// A socket that sends must have a port.
    pub(super) fn autobind(self: &Arc<Self>) -> SysResult<SocketAddr> {
        loop {
            if let Some(local) = self.state.lock().local {
                return Ok(local);
            }
            match self.take_port(SocketAddr::new(addr::any(self.family), 0)) {
                // Another thread was faster.
                Ok(()) | Err(Errno::INVAL) => {}
                Err(_) => return Err(Errno::ADDRNOTAVAIL),
            }
        }
    }

    /// Sets where datagrams go and from whom they come.
    pub(super) fn connect(self: &Arc<Self>, to: SocketAddr) -> SysResult<()> {
        let local = self.autobind()?;
        let mut own = local;
        if own.ip().is_unspecified() {
            let source = addr::source_by(self.net(), to.ip(), &self.query())?;
            self.net().inet.udp.ports.lock().narrow(local.port(), self, source);
            own = addr::own(self.net(), source, local.port(), scope::interface(&to));
        }
        let mut state = self.state.lock();
        state.local = Some(own);
        state.remote = Some(to);
        Ok(())
    }

    /// Undoes [`connect`](Self::connect).
    pub(super) fn disconnect(&self) {
        self.options.bind_interface(0);
        let mut state = self.state.lock();
        state.remote = None;
        if !state.bound
            && let Some(local) = state.local.take()
        {
            drop(state);
            self.net().inet.udp.ports.lock().release(local.port(), self);
        }
    }

    /// An ICMP error came back for a datagram.
    pub(super) fn heard(&self, failed: Failed, is_peer: bool, hard: bool) {
        let (level, name) = if self.family == libc::AF_INET {
            (libc::IPPROTO_IP, libc::IP_RECVERR)
        } else {
            (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)
        };
        let queues = self.ints.is_on(level, name);
        let tells = queues || (is_peer && hard);
        if !tells {
            return;
        }
        self.options.set_error(failed.errno);
        if queues {
            self.state.lock().errors.push(failed);
        }
        self.queue.notify(Events::ALWAYS | Events::IN | Events::OUT);
    }

    /// `MSG_ERRQUEUE`.
    pub(super) fn receive_error(&self, buf: &mut [u8]) -> SysResult<Incoming> {
        let (failed, next) = self.state.lock().errors.pop().ok_or(Errno::AGAIN)?;
        // The pending error goes with the last of them.
        let _ = self.options.take_error();
        if let Some(next) = next {
            self.options.set_error(next);
        }
        Ok(failed.into_incoming(self.family, buf))
    }

    /// How well datagrams from `from` fit: those connected there are preferred, those connected elsewhere
    /// do not take them.
    pub(super) fn score(&self, from: SocketAddr) -> Option<u32> {
        match self.state.lock().remote {
            None => Some(0),
            Some(remote) if remote == from => Some(1),
            Some(_) => None,
        }
    }

    /// Puts a datagram into the queue; without room it is lost.
    pub(super) fn deliver(&self, data: &[u8], envelope: Envelope) {
        let Some(data) = self.filtered(data, &envelope) else {
            count(&self.net().counters.udp_full, envelope.to.is_ipv4());
            return;
        };
        let time = self.options.wants_stamps().then(SystemTime::now);
        let envelope = Envelope { time, len: data.len(), ..envelope };
        let mut state = self.state.lock();
        if state.used() > self.options.rcvbuf() as usize {
            state.lost = state.lost.wrapping_add(1);
            count(&self.net().counters.udp_full, envelope.to.is_ipv4());
            return;
        }
        count(&self.net().counters.udp_in, envelope.to.is_ipv4());
        state.bytes.push(data);
        state.envelopes.push_back(envelope);
        drop(state);
        self.queue.notify(Events::IN | Events::RDNORM);
    }

    /// What the socket's filter lets through: it sees the datagram with its header.
    fn filtered<'a>(&self, data: &'a [u8], envelope: &Envelope) -> Option<&'a [u8]> {
        const HEADER: usize = 8;
        let port = self.state.lock().local.map_or(0, |local| local.port());
        let Envelope { from, to, .. } = *envelope;
        let mut datagram = Vec::new();
        let kind = if to.is_ipv4() { libc::ETH_P_IP } else { libc::ETH_P_IPV6 };
        let taken = self.options.filter.admit(HEADER + data.len(), || {
            let head = Head { src: from.ip(), dst: to, protocol: UDP, hops: 64, class: 0 };
            datagram = super::datagram(&head, from.port(), port, data);
            View::of(&datagram, kind)
        })?;
        data.get(..taken.saturating_sub(HEADER))
    }

    /// Takes a datagram; `None` at the end. What does not fit is lost.
    pub(super) fn receive(&self, buf: &mut [u8], peek: bool) -> SysResult<Option<(usize, Envelope)>> {
        self.options.take_error()?;
        let mut state = self.state.lock();
        let Some(envelope) = state.envelopes.front().copied() else {
            return if state.rcv_shut { Ok(None) } else { Err(Errno::AGAIN) };
        };
        let fits = envelope.len.min(buf.len());
        let count = state.bytes.peek(0, buf.get_mut(..fits).unwrap_or_default());
        if !peek {
            state.envelopes.pop_front();
            state.bytes.discard(envelope.len);
        }
        Ok(Some((count, envelope)))
    }

    pub(super) fn shutdown(&self, how: i32) -> SysResult<()> {
        let mut state = self.state.lock();
        // As on Linux it takes effect even if it fails.
        state.rcv_shut |= how != libc::SHUT_WR;
        state.snd_shut |= how != libc::SHUT_RD;
        let connected = state.remote.is_some();
        drop(state);
        self.queue.notify(Events::READABLE | Events::WRITABLE);
        if connected { Ok(()) } else { Err(Errno::NOTCONN) }
    }

    pub(super) fn close(self: &Arc<Self>) {
        self.forget_resolver();
        self.groups.leave(self.net());
        let local = self.state.lock().local.take();
        if let Some(local) = local {
            self.net().inet.udp.ports.lock().release(local.port(), self);
        }
    }

    /// What is ready (`datagram_poll`).
    pub(super) fn poll(&self) -> Events {
        let state = self.state.lock();
        let has_input = state.rcv_shut || !state.envelopes.is_empty();
        let mut ready = Events::of_datagrams(has_input, self.options.has_error() || !state.errors.is_empty());
        ready.set(Events::HUP, state.rcv_shut && state.snd_shut);
        ready.set(Events::RDHUP, state.rcv_shut);
        ready
    }
}

/// Who receives a datagram to many: for a group its members, and those that did not say that they want to be told only of
/// groups they joined, as long as anybody here is a member.
pub(super) fn receivers(net: &Net, (from, to): (SocketAddr, SocketAddr), interface: u32) -> Vec<Arc<Udp>> {
    let mut all = net.inet.udp.ports.lock().all(to);
    all.retain(|end| end.score(from).is_some());
    if !to.ip().is_multicast() {
        return all;
    }
    let hears_all = |end: &Udp| {
        if to.is_ipv4() {
            end.ints.is_on(libc::IPPROTO_IP, libc::IP_MULTICAST_ALL)
        } else {
            end.ints.is_on(libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_ALL)
        }
    };
    let wants = |end: &Arc<Udp>| end.groups.wants(to.ip(), from.ip(), interface) == Some(true);
    let somebody = all.iter().any(wants) || addr::is_all_hosts(to.ip());
    all.retain(|end| match end.groups.wants(to.ip(), from.ip(), interface) {
        Some(wants) => wants,
        None => somebody && hears_all(end),
    });
    all
}
