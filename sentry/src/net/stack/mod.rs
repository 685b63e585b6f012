//! IP over interfaces: Ethernet frames, neighbours, routes, ICMP.
//!
//! One thread sleeps until frames come from the host, reads them in batches, and hands what is for a socket to
//! [`inet`]. Packets go out on the thread that caused them, as they do between the ends of a pair of interfaces
//! ([`veth`]). Loopback has no packets and no part in this.

mod arp;
mod cable;
mod fragment;
pub mod icmp;
pub mod lifecycle;
pub mod link;
mod neighbour;
pub mod outbox;
pub mod packet;
pub mod resolver;
pub mod route;
pub mod rule;
pub mod scope;
pub mod show;
pub mod tcp;
mod veth;

pub use arp::multicast_mac;
pub use cable::rest;
pub use neighbour::Outgoing;

use crate::boot::config::NetworkSpec;
use crate::errno::{Errno, SysResult};
use crate::executor;
use crate::net::inet;
use crate::net::layout::V6;
use crate::net::namespace::Net;
use crate::net::{bridge, forward};
use crate::sync::Mutex;
use cable::Cable;
use fragment::Fragments;
use link::{Device, Kind, Link, Mac, Received};
use neighbour::Resolved;
use outbox::Outbox;
use packet::{Fragment, HEADROOM, Head, Packet};
use resolver::Resolver;
use route::{Hop, Query, Route};
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;
use tcp::Frame;

/// Frames taken from one interface before others get their turn and what came is acted on.
const BATCH: usize = 64;
/// The least that a link carries (RFC 791, RFC 8200): nobody cuts packets into smaller parts.
const MTU_MIN: (usize, usize) = (68, 1280);

/// What an event says that is of no socket.
const BELL: u64 = u64::MAX;

/// What packets of a namespace need besides interfaces and routes.
#[derive(Debug)]
pub struct Traffic {
    fragments: Mutex<Fragments>,
    resolver: OnceLock<Resolver>,
    /// Ids of packets that are cut.
    next_id: AtomicU32,
}

impl Traffic {
    /// Of a new namespace.
    pub fn new(first_id: u32) -> Traffic {
        Traffic { fragments: Mutex::default(), resolver: OnceLock::new(), next_id: AtomicU32::new(first_id) }
    }
}

/// Takes over what the engine gave, and starts to serve it.
pub fn start(spec: NetworkSpec) -> std::io::Result<()> {
    if spec.interfaces.is_empty() && spec.resolver.is_empty() {
        return Ok(());
    }
    let net = Net::first();
    let links: Vec<Link> = spec.interfaces.into_iter().map(|spec| Link::given(spec, &net.weak())).collect();
    let devices: Vec<_> = links.iter().map(|link| link.device.clone()).collect();
    let given = net.change(|layout| {
        for link in links {
            let index = layout.add_link(link)?;
            layout.set_up(index, true, V6::Bare)?;
        }
        spec.routes.into_iter().for_each(|route| layout.give_route(Route::given(route)));
        Ok(())
    });
    given.map_err(|error| std::io::Error::from_raw_os_error(error.raw()))?;
    for (ip, interface, mac) in spec.neighbours {
        if let Some(link) = net.layout().link(interface) {
            link.device.neighbours.lock().set_permanent(ip, mac);
        }
    }
    let resolver = net.traffic.resolver.get_or_init(|| Resolver::new(spec.resolver));
    let outbox = outbox::open()?;
    let epoll = watch(&devices, resolver, outbox)?;
    let thread = std::thread::Builder::new().name("network".into());
    thread.spawn(move || serve(&epoll, &devices, resolver, outbox)).map(|_| ())
}

/// A number that nobody can guess.
pub fn random() -> u32 {
    let mut bytes = [0; 4];
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    u32::from_ne_bytes(bytes)
}

/// The packet socket of a device that has one.
fn cable(device: &Device) -> Option<&Cable> {
    match &device.kind {
        Kind::Host(cable) => Some(cable),
        _ => None,
    }
}

fn serve(epoll: &OwnedFd, devices: &[Arc<Device>], resolver: &'static Resolver, outbox: Option<&Outbox>) {
    const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut buffer = Frame::empty();
    let mut ready = Vec::with_capacity(BATCH);
    loop {
        ready.clear();
        let waits = outbox.is_none_or(Outbox::sleep);
        if epoll::wait(epoll, spare_capacity(&mut ready), Some(&AT_ONCE).filter(|_| !waits)).is_err() {
            continue;
        }
        if let Some(outbox) = outbox {
            outbox.serve();
        }
        for Event { data, flags } in ready.iter().copied().filter(|event| event.data.u64() != BELL) {
            let (at, hung_up) = (data.u64() as usize, flags.contains(EventFlags::HUP));
            // A packet that finds a mistake in what reads it costs itself, not the network.
            let work = AssertUnwindSafe(|| match devices.get(at).and_then(|device| Some((device, cable(device)?))) {
                Some((_, cable)) if hung_up => drop(epoll::delete(epoll, &cable.socket)),
                Some((device, cable)) => receive_from(device, cable, &mut buffer),
                None => resolver.input(at.saturating_sub(devices.len())),
            });
            let _ = catch_unwind(work);
        }
        executor::run_local();
    }
}

/// What tells of frames from the host, by the numbers of devices, and of a resolver's answers, by those behind them.
fn watch(devices: &[Arc<Device>], resolver: &Resolver, outbox: Option<&Outbox>) -> std::io::Result<OwnedFd> {
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    if let Some(outbox) = outbox {
        epoll::add(&epoll, &outbox.bell, EventData::new_u64(BELL), EventFlags::IN)?;
    }
    let cables = devices.iter().enumerate().filter_map(|(at, device)| Some((at, &cable(device)?.socket)));
    let answers = resolver.sockets().iter().enumerate().map(|(at, socket)| (devices.len() + at, socket));
    for (at, socket) in cables.chain(answers) {
        epoll::add(&epoll, socket, EventData::new_u64(at as u64), EventFlags::IN)?;
    }
    Ok(epoll)
}

/// Takes in a batch of what came from the host.
fn receive_from(device: &Device, cable: &Cable, buffer: &mut Frame) {
    let mut batch = inet::Batch::default();
    let place = device.place();
    for _ in 0..BATCH {
        let Some(count) = cable.receive(buffer.fresh()) else { break };
        // Without a place it is between two of them, and hears nothing.
        if let Some((net, link)) = &place {
            net.receive(link, buffer.bytes(count), Some(buffer), &mut batch);
        }
    }
    batch.finish();
}

impl Net {
    /// The engine's resolver, if it runs one for this namespace.
    pub fn resolver(&self) -> Option<&Resolver> {
        self.traffic.resolver.get()
    }

    /// The longest packets of the link towards `to`.
    pub fn mtu(&self, to: IpAddr, query: &Query) -> usize {
        let layout = self.layout();
        let link = layout.hop(to, query).ok().and_then(|hop| layout.link(hop.interface).cloned());
        link.map_or(packet::PACKET_MAX, |link| link.mtu)
    }

    /// The step towards `to`.
    pub fn route(&self, to: IpAddr) -> SysResult<Hop> {
        self.layout().hop(to, &Query::default())
    }

    /// Takes in a frame that came over an interface; `memory` is what it is in, if that can be kept.
    pub(in crate::net) fn receive(&self, link: &Link, frame: &[u8], memory: Option<&Frame>, batch: &mut inet::Batch) {
        let received = link.take(self, frame);
        if link.master != 0 && link.up {
            return bridge::input(self, link, frame, batch);
        }
        let Some(received) = received else { return };
        match i32::from(received.kind) {
            libc::ETH_P_ARP => {
                arp::input(self, link, received.payload);
            }
            libc::ETH_P_IP | libc::ETH_P_IPV6 => {
                if let Some(packet) = Packet::parse(received.payload) {
                    self.packet(link, &Packet { frame: memory, ..packet }, &received, batch);
                }
            }
            _ => {}
        }
    }

    fn packet(&self, link: &Link, packet: &Packet<'_>, received: &Received<'_>, batch: &mut inet::Batch) {
        let layout = self.layout();
        let for_us = layout.is_own(packet.dst) || packet.dst.is_multicast() || layout.is_broadcast(packet.dst);
        // Nobody else's packets come from here, nor from many at once.
        let loops = packet.src.is_loopback() || packet.dst.is_loopback();
        let forged = loops || packet.src.is_multicast() || layout.is_own(packet.src);
        if forged {
            return;
        }
        if !for_us {
            return forward::input(self, link, packet, received);
        }
        let Some(fragment) = packet.fragment else {
            return self.whole(link, packet, received, batch);
        };
        let whole = self.traffic.fragments.lock().add(packet, fragment, Instant::now());
        if let Some(payload) = whole {
            let Packet { src, dst, protocol, hops, class, .. } = *packet;
            let frame = Head { src, dst, protocol, hops, class }.frame(&payload, None);
            if let Some(packet) = frame.get(HEADROOM..).and_then(Packet::parse) {
                self.whole(link, &packet, received, batch);
            }
        }
    }

    fn whole(&self, link: &Link, packet: &Packet<'_>, received: &Received<'_>, batch: &mut inet::Batch) {
        let packet = &Packet { interface: link.index, ..*packet };
        // Of other protocols nobody here knows where it is.
        let has_checksum = matches!(packet.protocol, packet::TCP | packet::UDP | packet::ICMP | packet::ICMPV6);
        if has_checksum && !received.checksum_done && !packet.has_valid_checksum() {
            return;
        }
        inet::raw::input(self, packet);
        match packet.protocol {
            packet::TCP => inet::tcp::input(self, packet, batch),
            packet::UDP if inet::udp::input(self, packet, received.datagrams) => {}
            packet::UDP => icmp::port_unreachable(self, packet),
            packet::ICMPV6 if arp::input_ndp(self, link, packet) => {}
            packet::ICMPV6 if packet.payload().first() == Some(&icmp::MLD_QUERY) => {
                inet::multicast::input(self, link, packet);
            }
            inet::multicast::IGMP if packet.dst.is_ipv4() => inet::multicast::input(self, link, packet),
            packet::ICMP | packet::ICMPV6 if packet.dst.is_ipv4() == (packet.protocol == packet::ICMP) => {
                icmp::input(self, packet);
            }
            _ => {}
        }
    }

    /// Sends `payload` behind an IP header, in parts if it is too long for one packet.
    pub fn send(&self, head: &Head, payload: &[u8]) -> SysResult<()> {
        self.send_by(head, payload, &Query::default())
    }

    /// The same, over a route that more than the destination chooses.
    pub fn send_by(&self, head: &Head, payload: &[u8], query: &Query) -> SysResult<()> {
        let layout = self.layout();
        let hop = layout.hop(head.dst, &Query { from: Some(head.src), ..*query })?;
        let link = layout.link(hop.interface).ok_or(Errno::NETUNREACH)?;
        let mtu = link.mtu.max(if head.dst.is_ipv4() { MTU_MIN.0 } else { MTU_MIN.1 });
        let mtu = self.inet.paths.longest(head.dst, mtu);
        if head.header_len() + payload.len() <= mtu {
            self.transmit(&hop, Outgoing::whole(head.frame(payload, None)));
            return Ok(());
        }
        // Each part but the last has a multiple of 8 bytes; IPv6 needs room for one more header.
        let size = (mtu - head.header_len() - 8) & !7;
        let id = self.traffic.next_id.fetch_add(1, Ordering::Relaxed);
        for (n, part) in payload.chunks(size).enumerate() {
            let offset = n * size;
            let fragment = Fragment { id, offset, more: offset + part.len() < payload.len() };
            self.transmit(&hop, Outgoing::whole(head.frame(part, Some(fragment))));
        }
        Ok(())
    }

    /// Puts a packet on its way.
    pub fn transmit(&self, hop: &Hop, packet: Outgoing<'_>) {
        let layout = self.layout();
        let Some(link) = layout.link(hop.interface) else { return };
        let kind = kind_of(hop.via);
        let send = |mac: Mac, packet: Outgoing<'_>| link.send(self, packet, mac, kind);
        if layout.is_broadcast(hop.via) {
            return send(link::BROADCAST, packet);
        }
        if hop.via.is_multicast() {
            return send(arp::multicast_mac(hop.via), packet);
        }
        if link.flags & link::flag::NOARP != 0 {
            return send([0; 6], packet);
        }
        let resolved = link.device.neighbours.lock().resolve(hop.via, packet, Instant::now());
        let ask = match resolved {
            Resolved::Send { mac, packet, ask } => {
                send(mac, packet);
                ask
            }
            Resolved::Wait { ask } => ask,
        };
        if ask {
            arp::ask(self, link, hop.via);
        }
    }

    /// A guest has said where a neighbour is: what has waited for it goes.
    pub fn release(&self, link: &Link, ip: IpAddr, mac: Mac, waited: Vec<Outgoing<'static>>) {
        arp::release(self, link, ip, mac, waited);
    }

    /// A packet did not reach the neighbour it was for.
    fn failed(&self, link: &Link, packet: &Outgoing<'_>) {
        let Some(packet) = packet.frame.get(HEADROOM..) else { return };
        let v4 = packet.first().is_some_and(|first| first >> 4 == 4);
        let complaint = icmp::Complaint::host_unreachable(v4, link.index);
        let Some(quoted) = icmp::Quoted::parse(packet, complaint) else { return };
        if self.layout().is_own(quoted.src) {
            inet::failed(self, &quoted, Errno::HOSTUNREACH, true);
        } else if let Some(packet) = Packet::parse(packet) {
            icmp::refuse(self, &packet, icmp::Refusal::Unreachable(if v4 { 1 } else { 3 }));
        }
    }
}

/// The Ethernet type of packets with such addresses.
pub fn kind_of(ip: IpAddr) -> u16 {
    if ip.is_ipv4() { libc::ETH_P_IP as u16 } else { libc::ETH_P_IPV6 as u16 }
}
