//! UDP and echo requests: a socket of the host for each pair of addresses, for as long as datagrams pass.

use super::icmp::{self, Reason};
use super::link::Link;
use super::world::{GUEST4, World};
use super::{Poller, Token};
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use sentry::net::stack::icmp::echo_answer;
use sentry::net::stack::packet::{Head, ICMP, Packet, UDP, put_checksum, u16_at};
use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// Pairs of addresses at a time; the one that was silent longest makes room.
const FLOWS_MAX: usize = 512;
/// How long one is kept that nothing passes.
const IDLE: Duration = Duration::from_secs(60);
/// How long a resolver may take before another is asked.
const RESOLVER_PATIENCE: Duration = Duration::from_secs(1);
/// Datagrams taken from one socket before others get their turn.
const BATCH: usize = 64;
/// Length of UDP's header, and of an echo message's.
const HEADER: usize = 8;
/// The longest datagram that fits into a packet of either kind.
const DATAGRAM_MAX: usize = 65535 - 40 - HEADER;

/// Both ends, as the guest sees them; an echo message's id is its sender's port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    protocol: u8,
    guest: SocketAddr,
    remote: SocketAddr,
}

#[derive(Debug)]
enum Via {
    /// A socket of its own, connected.
    Own(OwnedFd),
    /// The published port of this number, to this peer.
    Published(usize, SocketAddr),
}

#[derive(Debug)]
struct Flow {
    key: Key,
    via: Via,
    /// When something passed last.
    last: Instant,
    /// When the oldest query was sent that has no answer.
    unanswered: Option<Instant>,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Flows {
    flows: HashMap<u64, Flow>,
    by_key: HashMap<Key, u64>,
    by_age: BTreeSet<(Instant, u64)>,
    published: Vec<(OwnedFd, u16)>,
    last_id: u64,
}

impl Flows {
    pub(super) fn new(published: Vec<(OwnedFd, u16)>) -> Flows {
        Flows { published, ..Flows::default() }
    }

    /// When the one that is silent longest ends.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.by_age.first().map(|(last, _)| *last + IDLE)
    }

    /// Those that were silent too long end.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some((_, id)) = self.by_age.first().copied().filter(|(last, _)| now >= *last + IDLE) {
            self.remove(id);
        }
    }

    /// A datagram or an ICMP message of a guest's.
    pub(super) fn input(&mut self, packet: &Packet<'_>, world: &mut World, link: &mut Link, poller: &Poller) {
        let message = packet.payload();
        let key = match packet.protocol {
            UDP => {
                let (Some(from), Some(to)) = (u16_at(message, 0), u16_at(message, 2)) else { return };
                Key { protocol: UDP, guest: (packet.src, from).into(), remote: (packet.dst, to).into() }
            }
            protocol => {
                let Some(id) = u16_at(message, 4).filter(|_| echo_answer(packet).is_some()) else { return };
                Key { protocol, guest: (packet.src, id).into(), remote: (packet.dst, 0).into() }
            }
        };
        if key.protocol != UDP && World::is_gateway(packet.dst) {
            // The router answers by itself.
            return echo_answer(packet).into_iter().for_each(|(head, answer)| link.send(&head, &answer));
        }
        let sent = match self.flow(key, world, poller) {
            Ok(id) => self.send(id, message),
            Err(reason) => Err(reason),
        };
        if let Err(Some(reason)) = sent {
            icmp::unreachable(link, packet.bytes, reason);
        }
    }

    /// The number of the flow between two ends, which begins if there is none.
    fn flow(&mut self, key: Key, world: &mut World, poller: &Poller) -> Result<u64, Option<Reason>> {
        if let Some(id) = self.by_key.get(&key).copied() {
            let since = self.flows.get(&id).and_then(|flow| flow.unanswered);
            let is_silent = since.is_some_and(|since| since.elapsed() > RESOLVER_PATIENCE);
            if !is_silent || !World::is_resolver(key.remote) {
                return Ok(id);
            }
            world.asked += 1;
            self.remove(id);
        }
        let to = world.lead(key.remote).map_err(Reason::closed)?;
        let socket = if key.protocol == UDP { super::connect(to, true) } else { super::ping(to) };
        let socket = socket.map_err(Reason::of)?;
        self.add(key, Via::Own(socket), poller).ok_or(None)
    }

    fn add(&mut self, key: Key, via: Via, poller: &Poller) -> Option<u64> {
        if self.flows.len() >= FLOWS_MAX {
            let oldest = self.by_age.first().map(|(_, id)| *id);
            oldest.into_iter().for_each(|id| self.remove(id));
        }
        self.last_id += 1;
        let id = self.last_id;
        if let Via::Own(socket) = &via {
            poller.add(socket, Token::Datagrams(id), EventFlags::IN).ok()?;
        }
        let last = Instant::now();
        self.flows.insert(id, Flow { key, via, last, unanswered: None });
        self.by_key.insert(key, id);
        self.by_age.insert((last, id));
        Some(id)
    }

    fn remove(&mut self, id: u64) {
        let Some(flow) = self.flows.remove(&id) else { return };
        self.by_key.remove(&flow.key);
        self.by_age.remove(&(flow.last, id));
    }

    fn touch(&mut self, id: u64) {
        if let Some(flow) = self.flows.get_mut(&id) {
            self.by_age.remove(&(flow.last, id));
            flow.last = Instant::now();
            self.by_age.insert((flow.last, id));
        }
    }

    /// Sends what a guest has sent. What the host does not take is lost, as on any way.
    fn send(&mut self, id: u64, message: &[u8]) -> Result<(), Option<Reason>> {
        self.touch(id);
        let Some(flow) = self.flows.get_mut(&id) else { return Ok(()) };
        flow.unanswered.get_or_insert_with(Instant::now);
        let data = match flow.key.protocol {
            UDP => {
                let len = u16_at(message, 4).map_or(0, usize::from);
                message.get(HEADER..len).ok_or(None)?
            }
            _ => message,
        };
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let send = || match &flow.via {
            Via::Own(socket) => rustix::net::send(socket, data, flags),
            Via::Published(at, peer) => match self.published.get(*at) {
                Some((socket, _)) => rustix::net::sendto(socket, data, flags, peer),
                None => Ok(0),
            },
        };
        match send() {
            // An error of one before was taken off the socket by that: it is told, and this one goes.
            Err(e @ (Errno::CONNREFUSED | Errno::HOSTUNREACH | Errno::NETUNREACH)) => {
                let _ = send();
                Err(Reason::of(e))
            }
            Err(e) => Err(Reason::of(e)),
            Ok(_) => Ok(()),
        }
    }

    /// Answers may have come for a guest.
    pub(super) fn ready(&mut self, id: u64, buffer: &mut [u8], world: &mut World, link: &mut Link) {
        for _ in 0..BATCH {
            if link.is_full() {
                return;
            }
            let Some(Flow { key, via: Via::Own(socket), .. }) = self.flows.get(&id) else { return };
            let key = *key;
            match rustix::net::recv(socket, &mut *buffer, RecvFlags::DONTWAIT) {
                Ok((_, count)) => {
                    deliver(key, buffer.get(..count).unwrap_or_default(), link);
                    self.touch(id);
                    self.flows.entry(id).and_modify(|flow| flow.unanswered = None);
                }
                Err(Errno::AGAIN | Errno::INTR) => return,
                Err(e) => {
                    world.asked += usize::from(World::is_resolver(key.remote));
                    Reason::of(e).into_iter().for_each(|reason| report(key, reason, link));
                    return self.remove(id);
                }
            }
        }
    }

    /// Datagrams may have come to a published port.
    pub(super) fn published(&mut self, at: usize, buffer: &mut [u8], link: &mut Link, poller: &Poller) {
        for _ in 0..BATCH {
            if link.is_full() {
                return;
            }
            let Some((socket, port)) = self.published.get(at) else { return };
            let (count, peer) = match rustix::net::recvfrom(socket, &mut *buffer, RecvFlags::DONTWAIT) {
                Ok((_, count, peer)) => (count, peer.and_then(|peer| SocketAddr::try_from(peer).ok())),
                Err(Errno::AGAIN) => return,
                // Of a datagram that a peer did not get.
                Err(_) => continue,
            };
            let Some(peer) = peer else { continue };
            let guest = SocketAddr::from((GUEST4, *port));
            let Some((key, id)) = self.of_peer(guest, at, peer) else { continue };
            match id.or_else(|| self.add(key, Via::Published(at, peer), poller)) {
                Some(id) => self.touch(id),
                None => continue,
            }
            deliver(key, buffer.get(..count).unwrap_or_default(), link);
        }
    }

    /// The ends between which datagrams of a peer pass, and the number of their flow if there is one.
    fn of_peer(&self, guest: SocketAddr, at: usize, peer: SocketAddr) -> Option<(Key, Option<u64>)> {
        let mut remote = World::seen(peer);
        for _ in 0..FLOWS_MAX {
            let key = Key { protocol: UDP, guest, remote };
            let id = self.by_key.get(&key).copied();
            let flow = id.and_then(|id| self.flows.get(&id));
            let is_theirs =
                |flow: &Flow| matches!(flow.via, Via::Published(port, theirs) if port == at && theirs == peer);
            if flow.is_none_or(is_theirs) && remote.port() != 0 {
                return Some((key, id));
            }
            // The port is another's here.
            remote.set_port(remote.port().wrapping_add(1));
        }
        None
    }
}

/// Gives a guest what came from the other end.
fn deliver(key: Key, data: &[u8], link: &mut Link) {
    if data.len() > DATAGRAM_MAX {
        return;
    }
    let head = Head { src: key.remote.ip(), dst: key.guest.ip(), protocol: key.protocol, hops: 64, class: 0 };
    let mut message = if key.protocol == UDP { udp_header(key.remote, key.guest, data.len()) } else { Vec::new() };
    message.extend_from_slice(data);
    let at = if key.protocol == UDP {
        6
    } else {
        // The host has put its socket's number in the place of the guest's.
        let Some(id) = message.get_mut(4..6) else { return };
        id.copy_from_slice(&key.guest.port().to_be_bytes());
        message[2..4].fill(0);
        2
    };
    put_checksum(&head, &mut message, at);
    link.send(&head, &message);
}

/// Tells a guest that what it sent did not arrive.
fn report(key: Key, reason: Reason, link: &mut Link) {
    let head = Head { src: key.guest.ip(), dst: key.remote.ip(), protocol: key.protocol, hops: 64, class: 0 };
    let start = match key.protocol {
        UDP => udp_header(key.guest, key.remote, 0),
        protocol => {
            let [high, low] = key.guest.port().to_be_bytes();
            vec![if protocol == ICMP { 8 } else { 128 }, 0, 0, 0, high, low, 0, 0]
        }
    };
    icmp::unreachable_flow(link, &head, &start, reason);
}

fn udp_header(from: SocketAddr, to: SocketAddr, len: usize) -> Vec<u8> {
    let numbers = [from.port(), to.port(), (HEADER + len) as u16, 0];
    numbers.into_iter().flat_map(u16::to_be_bytes).collect()
}
