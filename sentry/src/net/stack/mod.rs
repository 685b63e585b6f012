//! IP over the interfaces that the sandbox was given: Ethernet frames, neighbours, routes, ICMP.
//!
//! One thread sleeps until frames come, reads them in batches, and hands what is for a socket to
//! [`inet`]. Packets go out on the thread that caused them. Without interfaces
//! ([`get`] is `None`) there is loopback, which has no packets and no part in this.

mod arp;
mod fragment;
pub mod icmp;
pub mod link;
mod neighbour;
pub mod packet;
pub mod resolver;
pub mod route;
pub mod show;
pub mod tcp;

pub use neighbour::Outgoing;

use crate::boot::config::{NetworkSpec, RouteSpec};
use crate::errno::{Errno, SysResult};
use crate::executor;
use crate::net::inet;
use crate::sync::Mutex;
use fragment::Fragments;
use link::{FRAME_MAX, Link, Mac, Offload, Received};
use neighbour::Resolved;
use packet::{Fragment, HEADROOM, Head, Packet};
use resolver::Resolver;
use route::{Address, Hop};
use rustix::event::{PollFd, PollFlags};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// Frames taken from one interface before others get their turn and what came is acted on.
const BATCH: usize = 64;

/// The interfaces and what is known of their networks.
#[derive(Debug)]
pub struct Stack {
    links: Vec<Link>,
    routes: Mutex<Arc<Vec<RouteSpec>>>,
    fragments: Mutex<Fragments>,
    /// Docker's.
    pub resolver: Resolver,
    /// Ids of packets that are cut.
    next_id: AtomicU32,
}

static STACK: OnceLock<Stack> = OnceLock::new();

/// The stack, if the sandbox has a network.
pub fn get() -> Option<&'static Stack> {
    STACK.get()
}

/// Takes over what the engine gave, and starts to serve it.
pub fn start(spec: NetworkSpec) -> std::io::Result<()> {
    if spec.interfaces.is_empty() && spec.resolver.is_empty() {
        return Ok(());
    }
    let links: Vec<Link> = spec.interfaces.into_iter().map(Link::new).collect();
    for (ip, interface, mac) in spec.neighbours {
        if let Some(link) = links.iter().find(|link| link.index == interface) {
            link.neighbours.lock().set_permanent(ip, mac);
        }
    }
    let resolver = Resolver::new(spec.resolver);
    let next_id = AtomicU32::new(random());
    let stack =
        Stack { links, routes: Mutex::new(Arc::new(spec.routes)), fragments: Mutex::default(), resolver, next_id };
    let stack = STACK.get_or_init(|| stack);
    std::thread::Builder::new().name("network".into()).spawn(|| serve(stack)).map(|_| ())
}

/// A number that nobody can guess.
pub fn random() -> u32 {
    let mut bytes = [0; 4];
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    u32::from_ne_bytes(bytes)
}

fn serve(stack: &'static Stack) {
    let mut buffer = vec![0; FRAME_MAX];
    loop {
        let alive: Vec<&Link> = stack.links.iter().filter(|link| link.is_alive()).collect();
        let sockets = alive.iter().map(|link| &link.socket).chain(stack.resolver.sockets());
        let mut fds: Vec<PollFd<'_>> = sockets.map(|socket| PollFd::new(socket, PollFlags::IN)).collect();
        if rustix::event::poll(&mut fds, None).is_err() {
            continue;
        }
        let ready = fds.iter().enumerate().filter(|(_, fd)| !fd.revents().is_empty());
        for (at, events) in ready.map(|(at, fd)| (at, fd.revents())) {
            // A packet that finds a mistake in what reads it costs itself, not the network.
            let work = std::panic::AssertUnwindSafe(|| match alive.get(at) {
                Some(link) if events.contains(PollFlags::HUP) => link.hang_up(),
                Some(link) => stack.receive(link, &mut buffer),
                None => stack.resolver.input(at - alive.len()),
            });
            let _ = std::panic::catch_unwind(work);
        }
        executor::run_local();
    }
}

impl Stack {
    /// All interfaces.
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// The routes that the engine and guests set.
    pub fn routes(&self) -> Arc<Vec<RouteSpec>> {
        self.routes.lock().clone()
    }

    /// Changes them. Connections keep the way that they have.
    pub fn change_routes(&self, change: impl FnOnce(&mut Vec<RouteSpec>) -> SysResult<()>) -> SysResult<()> {
        change(Arc::make_mut(&mut self.routes.lock()))
    }

    /// A guest has said where a neighbour is: what has waited for it goes.
    pub fn release(&self, link: &Link, ip: IpAddr, mac: Mac, waited: Vec<Outgoing>) {
        arp::release(link, ip, mac, waited);
    }

    /// The interface with an index.
    pub fn link(&self, index: u32) -> Option<&Link> {
        self.links.iter().find(|link| link.index == index)
    }

    /// The interface that has an address.
    pub fn link_of(&self, ip: IpAddr) -> Option<&Link> {
        self.links.iter().find(|link| link.has(ip))
    }

    /// Whether `ip` is an address of this host.
    pub fn is_own(&self, ip: IpAddr) -> bool {
        self.link_of(ip).is_some()
    }

    /// Whether packets to `ip` reach all of a network.
    pub fn is_broadcast(&self, ip: IpAddr) -> bool {
        let all = |link: &Link| link.addresses.iter().any(|address| route::broadcast(*address) == Some(ip));
        ip == IpAddr::V4(std::net::Ipv4Addr::BROADCAST) || self.links.iter().any(all)
    }

    /// The step towards `to`.
    pub fn route(&self, to: IpAddr) -> SysResult<Hop> {
        let links = self.links.iter().map(|link| -> (u32, &[Address]) { (link.index, &link.addresses) });
        route::lookup(links, &self.routes(), to).ok_or(Errno::NETUNREACH)
    }

    fn receive(&self, link: &Link, buffer: &mut [u8]) {
        let mut batch = inet::Batch::default();
        for _ in 0..BATCH {
            let Some(received) = link.receive(buffer) else { break };
            if let Some(received) = received {
                self.frame(link, &received, &mut batch);
            }
        }
        batch.finish();
    }

    fn frame(&self, link: &Link, received: &Received<'_>, batch: &mut inet::Batch) {
        match i32::from(received.kind) {
            libc::ETH_P_ARP => {
                arp::input(link, received.payload);
            }
            libc::ETH_P_IP | libc::ETH_P_IPV6 => {
                if let Some(packet) = Packet::parse(received.payload) {
                    self.packet(link, &packet, received, batch);
                }
            }
            _ => {}
        }
    }

    fn packet(&self, link: &Link, packet: &Packet<'_>, received: &Received<'_>, batch: &mut inet::Batch) {
        let for_us = self.is_own(packet.dst) || packet.dst.is_multicast() || self.is_broadcast(packet.dst);
        // Nobody else's packets come from here, nor from many at once.
        let forged = packet.src.is_loopback() || packet.src.is_multicast() || self.is_own(packet.src);
        if !for_us || forged {
            return;
        }
        let Some(fragment) = packet.fragment else {
            return self.whole(link, packet, received, batch);
        };
        let whole = self.fragments.lock().add(packet, fragment, Instant::now());
        if let Some(payload) = whole {
            let Packet { src, dst, protocol, hops, class, .. } = *packet;
            let frame = Head { src, dst, protocol, hops, class }.frame(&payload, None);
            if let Some(packet) = frame.get(HEADROOM..).and_then(Packet::parse) {
                self.whole(link, &packet, received, batch);
            }
        }
    }

    fn whole(&self, link: &Link, packet: &Packet<'_>, received: &Received<'_>, batch: &mut inet::Batch) {
        if !received.checksum_done && !packet.has_valid_checksum() {
            return;
        }
        inet::raw::input(packet);
        match packet.protocol {
            packet::TCP => inet::tcp::input(self, packet, batch),
            packet::UDP if inet::udp::input(packet, received.datagrams) => {}
            packet::UDP => icmp::port_unreachable(self, packet),
            packet::ICMPV6 if arp::input_ndp(link, packet) => {}
            packet::ICMP | packet::ICMPV6 if packet.dst.is_ipv4() == (packet.protocol == packet::ICMP) => {
                icmp::input(self, packet);
            }
            _ => {}
        }
    }

    /// Sends `payload` behind an IP header, in parts if it is too long for one packet.
    pub fn send(&self, head: &Head, payload: &[u8]) -> SysResult<()> {
        let hop = self.route(head.dst)?;
        let mtu = self.link(hop.interface).ok_or(Errno::NETUNREACH)?.mtu;
        if head.header_len() + payload.len() <= mtu {
            self.transmit(&hop, Outgoing { frame: head.frame(payload, None), offload: Offload::None });
            return Ok(());
        }
        // Each part but the last has a multiple of 8 bytes; IPv6 needs room for one more header.
        let size = (mtu - head.header_len() - 8) & !7;
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        for (n, part) in payload.chunks(size).enumerate() {
            let offset = n * size;
            let fragment = Fragment { id, offset, more: offset + part.len() < payload.len() };
            self.transmit(&hop, Outgoing { frame: head.frame(part, Some(fragment)), offload: Offload::None });
        }
        Ok(())
    }

    /// Puts a packet on its way.
    pub fn transmit(&self, hop: &Hop, packet: Outgoing) {
        let Some(link) = self.link(hop.interface) else { return };
        let kind = Stack::kind_of(hop.via);
        let send = |mac: Mac, Outgoing { mut frame, offload }: Outgoing| link.send(&mut frame, mac, kind, offload);
        if self.is_broadcast(hop.via) {
            return send(link::BROADCAST, packet);
        }
        if hop.via.is_multicast() {
            return send(arp::multicast_mac(hop.via), packet);
        }
        let resolved = link.neighbours.lock().resolve(hop.via, packet, Instant::now());
        let ask = match resolved {
            Resolved::Send { mac, packet, ask } => {
                send(mac, packet);
                ask
            }
            Resolved::Wait { ask } => ask,
        };
        if ask {
            arp::ask(link, hop.via);
        }
    }

    /// The Ethernet type of packets with such addresses.
    fn kind_of(ip: IpAddr) -> u16 {
        if ip.is_ipv4() { libc::ETH_P_IP as u16 } else { libc::ETH_P_IPV6 as u16 }
    }

    /// A packet did not reach the neighbour it was for.
    fn failed(&self, packet: &Outgoing) {
        if let Some(quoted) = packet.frame.get(HEADROOM..).and_then(icmp::Quoted::parse) {
            inet::failed(&quoted, Errno::HOSTUNREACH, true);
        }
    }
}
