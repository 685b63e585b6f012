//! Interfaces: what is set of one ([`Link`]), and what is behind it ([`Device`]).

use super::cable::{self, Cable};
use super::neighbour::{Neighbours, Outgoing};
use super::packet::{HEADROOM, PACKET_MAX, VNET_LEN};
use super::route::Address;
use super::{random, veth};
use crate::boot::config::InterfaceSpec;
use crate::errno::{Errno, SysResult};
use crate::net::bridge::{self, Bridge};
use crate::net::namespace::Net;
use crate::net::packet;
use crate::spare;
use crate::sync::{Mutex, RwLock};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

/// A hardware address.
pub type Mac = [u8; 6];

/// Means all on a link.
pub const BROADCAST: Mac = [0xff; 6];
/// A frame with all that may come before and behind a packet.
pub const FRAME_MAX: usize = HEADROOM + PACKET_MAX + 64;
const _: () = assert!(FRAME_MAX <= spare::FRAME);
/// Devices of a sandbox: each has a table of neighbours and, of a pair, frames that wait.
const DEVICES_MAX: usize = 1024;
/// `IFNAMSIZ`, with the NUL.
pub const NAME_MAX: usize = 16;
/// What TCP needs for its headers and some data, whatever the host says.
const MTU_MIN: usize = 576;
/// Length of an interface's queue, which is only a number.
const TXQLEN: u32 = 1000;

/// `IFF_…`.
pub mod flag {
    #![expect(missing_docs, reason = "netdevice(7) documents them")]
    pub const UP: u32 = 1;
    pub const BROADCAST: u32 = 2;
    pub const LOOPBACK: u32 = 8;
    pub const RUNNING: u32 = 0x40;
    pub const NOARP: u32 = 0x80;
    pub const PROMISC: u32 = 0x100;
    pub const ALLMULTI: u32 = 0x200;
    pub const MULTICAST: u32 = 0x1000;
    pub const LOWER_UP: u32 = 0x10000;
}

/// What is left to do for a packet that goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Offload {
    /// Nothing.
    #[default]
    None,
    /// The checksum of TCP, of which the pseudo-header is in place; with a size, cutting into segments too.
    Tcp {
        /// Length of the IP header.
        ip: u16,
        /// Length of both headers.
        headers: u16,
        /// Bytes of data in a segment.
        segment: Option<u16>,
    },
}

/// What a received frame is.
#[derive(Debug, Clone, Copy)]
pub struct Received<'a> {
    /// `ETH_P_…`.
    pub kind: u16,
    /// What follows the Ethernet header.
    pub payload: &'a [u8],
    /// Nobody need look at checksums of transport protocols.
    pub checksum_done: bool,
    /// It was sent to all of the link, or to several.
    pub is_group: bool,
    /// What somebody else was to do for it: the start of a `virtio_net_hdr`.
    pub vnet: [u8; VNET_LEN],
    /// Several datagrams in one: each has so many bytes, the last may have fewer.
    pub datagrams: Option<usize>,
}

/// What has passed an interface.
#[derive(Debug, Default)]
pub struct Counters {
    /// Bytes received.
    pub rx_bytes: AtomicU64,
    /// Frames received.
    pub rx_packets: AtomicU64,
    /// Frames that came and were lost.
    pub rx_dropped: AtomicU64,
    /// Bytes sent.
    pub tx_bytes: AtomicU64,
    /// Frames sent.
    pub tx_packets: AtomicU64,
    /// Frames that nobody took.
    pub tx_dropped: AtomicU64,
}

/// What has passed, as it is shown.
#[derive(Debug, Default, Clone, Copy)]
#[expect(missing_docs, reason = "named as `Counters` are")]
pub struct Passed {
    pub rx_bytes: u64,
    pub rx_packets: u64,
    pub rx_dropped: u64,
    pub tx_bytes: u64,
    pub tx_packets: u64,
    pub tx_dropped: u64,
}

/// What is behind an interface.
#[derive(Debug)]
pub enum Kind {
    /// Packets come back.
    Loopback,
    /// Packets get lost.
    Dummy,
    /// A packet socket of the host.
    Host(Cable),
    /// Another interface.
    Veth(veth::End),
    /// The interfaces that are its ports.
    Bridge(Bridge),
}

impl Kind {
    /// As `IFLA_INFO_KIND` names it.
    pub fn name(&self) -> Option<&'static str> {
        match self {
            Kind::Dummy => Some("dummy"),
            Kind::Veth(_) => Some("veth"),
            Kind::Bridge(_) => Some("bridge"),
            Kind::Loopback | Kind::Host(_) => None,
        }
    }
}

/// An interface's identity, which moves with it from namespace to namespace.
#[derive(Debug)]
pub struct Device {
    /// What is behind it.
    pub kind: Kind,
    /// Who is there.
    pub neighbours: Mutex<Neighbours>,
    /// What has passed.
    pub counters: Counters,
    up: AtomicBool,
    was_up: AtomicBool,
    home: RwLock<Weak<Net>>,
}

/// How many there are.
static COUNT: AtomicUsize = AtomicUsize::new(0);

impl Device {
    fn new(kind: Kind, home: &Weak<Net>) -> Arc<Device> {
        COUNT.fetch_add(1, Ordering::Relaxed);
        let (neighbours, counters, home) = (Mutex::default(), Counters::default(), RwLock::new(home.clone()));
        Arc::new(Device { kind, neighbours, counters, up: false.into(), was_up: false.into(), home })
    }

    /// The loopback interface's.
    pub fn loopback(home: &Weak<Net>) -> Arc<Device> {
        Device::new(Kind::Loopback, home)
    }

    /// One that a guest adds: `ENOBUFS` if there are too many.
    fn added(kind: Kind, home: &Weak<Net>) -> SysResult<Arc<Device>> {
        if COUNT.load(Ordering::Relaxed) >= DEVICES_MAX {
            return Err(Errno::NOBUFS);
        }
        Ok(Device::new(kind, home))
    }

    /// One that stands for another which is only looked at.
    pub fn shown(home: &Weak<Net>) -> Arc<Device> {
        Device::new(Kind::Dummy, home)
    }

    /// One that loses all.
    pub fn dummy(home: &Weak<Net>) -> SysResult<Arc<Device>> {
        Device::added(Kind::Dummy, home)
    }

    /// One that has others as its ports.
    pub fn bridge(home: &Weak<Net>) -> SysResult<Arc<Device>> {
        Device::added(Kind::Bridge(Bridge::default()), home)
    }

    /// Two that are joined.
    pub fn pair(home: &Weak<Net>, others: &Weak<Net>) -> SysResult<(Arc<Device>, Arc<Device>)> {
        let a = Device::added(Kind::Veth(Default::default()), home)?;
        let b = Device::added(Kind::Veth(Default::default()), others)?;
        if let (Kind::Veth(end), Kind::Veth(other)) = (&a.kind, &b.kind) {
            end.join(&b);
            other.join(&a);
        }
        Ok((a, b))
    }

    /// The namespace it is in, and what is set of it there.
    pub fn place(&self) -> Option<(Arc<Net>, Arc<Link>)> {
        let net = self.home.read().upgrade()?;
        let link = net.layout().link_of_device(self)?.clone();
        Some((net, link))
    }

    /// The namespace it is in.
    pub fn home(&self) -> Option<Arc<Net>> {
        self.home.read().upgrade()
    }

    /// It has moved.
    pub fn set_home(&self, home: &Arc<Net>) {
        *self.home.write() = Arc::downgrade(home);
    }

    /// It was switched.
    pub fn set_up(&self, up: bool) {
        self.up.store(up, Ordering::Release);
        self.was_up.fetch_or(up, Ordering::Relaxed);
    }

    /// Whether it was ever on.
    pub fn was_up(&self) -> bool {
        self.was_up.load(Ordering::Relaxed)
    }

    /// Shortest and longest packets that it can be set to.
    pub fn mtu_range(&self) -> (usize, usize) {
        match &self.kind {
            Kind::Loopback | Kind::Dummy => (0, i32::MAX as usize),
            Kind::Host(cable) => (MTU_MIN, cable.mtu),
            Kind::Veth(_) | Kind::Bridge(_) => (68, PACKET_MAX),
        }
    }

    /// The other end of a pair.
    pub fn peer(&self) -> Option<Arc<Device>> {
        match &self.kind {
            Kind::Veth(end) => end.peer(),
            _ => None,
        }
    }

    /// Whether frames would arrive over a port of a bridge.
    fn has_working_port(&self) -> bool {
        let Some((net, bridge)) = self.place() else { return false };
        let layout = net.layout();
        layout.links().iter().any(|link| link.master == bridge.index && link.up && link.device.has_carrier())
    }

    /// Whether frames would arrive: both ends are on.
    pub fn has_carrier(&self) -> bool {
        let on = self.up.load(Ordering::Acquire);
        match &self.kind {
            Kind::Bridge(bridge) => on && (!bridge.was_used() || self.has_working_port()),
            Kind::Veth(end) => on && end.peer().is_some_and(|peer| peer.up.load(Ordering::Acquire)),
            _ => on,
        }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        COUNT.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An address of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IfAddress {
    /// It.
    pub ip: IpAddr,
    /// Length of its network's prefix.
    pub prefix: u8,
    /// The other end of a point-to-point link.
    pub peer: Option<IpAddr>,
    /// By which all of the network are reached.
    pub broadcast: Option<IpAddr>,
    /// `RT_SCOPE_…`.
    pub scope: u8,
    /// Its name for `ifconfig`, if not the interface's.
    pub label: Option<String>,
    /// Another one brought the network's route (`IFA_F_SECONDARY`).
    pub secondary: bool,
    /// What guests have set of its flags (`IFA_F_NODAD` and so on).
    pub flags: u32,
}

impl IfAddress {
    /// A plain one.
    pub fn new((ip, prefix): Address) -> IfAddress {
        let scope = match ip {
            _ if ip.is_loopback() => libc::RT_SCOPE_HOST,
            _ if super::route::is_link_local(ip) => libc::RT_SCOPE_LINK,
            _ => libc::RT_SCOPE_UNIVERSE,
        };
        let (peer, broadcast, label) = (None, None, None);
        IfAddress { ip, prefix, peer, broadcast, scope, label, secondary: false, flags: 0 }
    }

    /// Whether it brings no route (`IFA_F_NOPREFIXROUTE`).
    pub fn is_without_route(&self) -> bool {
        const NOPREFIXROUTE: u32 = 0x200;
        self.flags & NOPREFIXROUTE != 0
    }

    /// The network it is in.
    pub fn network(&self) -> Address {
        let ip = self.peer.unwrap_or(self.ip);
        (super::route::network(ip, self.prefix), self.prefix)
    }
}

/// What is set of an interface.
#[derive(Debug, Clone)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// Its index.
    pub index: u32,
    /// Its hardware address; zeros for the loopback.
    pub mac: Mac,
    /// Somebody has set that: it does not follow from ports any more.
    pub has_set_mac: bool,
    /// Longest packet.
    pub mtu: usize,
    /// Somebody has set that.
    pub has_set_mtu: bool,
    /// Whether it is on.
    pub up: bool,
    /// Length of its queue, which is only a number.
    pub txqlen: u32,
    /// Its group, which is only a number.
    pub group: u32,
    /// The bridge that it is a port of: its index; 0 if none.
    pub master: u32,
    /// What kind of network it is on: `BROADCAST`, `NOARP` and so on.
    pub flags: u32,
    /// What somebody notes of it.
    pub alias: String,
    /// Its addresses.
    pub addresses: Vec<IfAddress>,
    /// What is behind it.
    pub device: Arc<Device>,
}

impl Link {
    /// Index of the loopback interface.
    pub const LOOPBACK: u32 = 1;

    /// The loopback interface.
    pub fn loopback(device: Arc<Device>) -> Link {
        Link { mtu: 65536, index: Link::LOOPBACK, flags: flag::LOOPBACK, ..Link::new("lo".into(), [0; 6], device) }
    }

    /// An Ethernet interface, which is off and has no index yet.
    pub fn new(name: String, mac: Mac, device: Arc<Device>) -> Link {
        let no_arp = if matches!(device.kind, Kind::Dummy) { flag::NOARP } else { flag::MULTICAST };
        Link {
            name,
            index: 0,
            mac,
            has_set_mac: false,
            mtu: 1500,
            has_set_mtu: false,
            up: false,
            txqlen: TXQLEN,
            group: 0,
            master: 0,
            flags: flag::BROADCAST | no_arp,
            alias: String::new(),
            addresses: Vec::new(),
            device,
        }
    }

    /// One that the engine gave.
    pub(super) fn given(spec: InterfaceSpec, home: &Weak<Net>) -> Link {
        let InterfaceSpec { name, index, mac, mtu, addresses, socket, waits } = spec;
        let mtu = (mtu as usize).clamp(MTU_MIN, PACKET_MAX);
        let device = Device::new(Kind::Host(Cable::new(socket, waits, mtu)), home);
        let told = |own: Address| IfAddress { broadcast: super::route::broadcast(own), ..IfAddress::new(own) };
        let addresses = addresses.into_iter().map(told).collect();
        Link { index, mtu, addresses, ..Link::new(name, mac, device) }
    }

    /// A hardware address given by nobody in particular.
    pub fn random_mac() -> Mac {
        let ([a, b, c, d], [e, f, ..]) = (random().to_ne_bytes(), random().to_ne_bytes());
        [a & 0xfc | 2, b, c, d, e, f]
    }

    /// Whether it is the loopback interface.
    pub fn is_loopback(&self) -> bool {
        matches!(self.device.kind, Kind::Loopback)
    }

    /// Whether `ip` is an address of this interface.
    pub fn has(&self, ip: IpAddr) -> bool {
        self.addresses.iter().any(|own| own.ip == ip)
    }

    /// `IFF_…`, as all ways to ask say it.
    pub fn all_flags(&self) -> u32 {
        let on = if self.up { flag::UP } else { 0 };
        let running = if self.device.has_carrier() { flag::RUNNING | flag::LOWER_UP } else { 0 };
        self.flags | on | running
    }

    /// The address of use on the link alone that follows from the hardware address (RFC 4291, appendix A).
    pub fn link_local(&self) -> IpAddr {
        let [a, b, c, d, e, f] = self.mac;
        let bytes = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f];
        Ipv6Addr::from(bytes).into()
    }

    /// What has passed.
    pub fn passed(&self, net: &Net) -> Passed {
        if self.is_loopback() {
            let (bytes, packets) = (net.counters.lo_bytes.get(), net.counters.lo_packets.get());
            let (rx_bytes, rx_packets, tx_bytes, tx_packets) = (bytes, packets, bytes, packets);
            return Passed { rx_bytes, rx_packets, tx_bytes, tx_packets, ..Passed::default() };
        }
        let c = &self.device.counters;
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Passed {
            rx_bytes: get(&c.rx_bytes),
            rx_packets: get(&c.rx_packets),
            rx_dropped: get(&c.rx_dropped),
            tx_bytes: get(&c.tx_bytes),
            tx_packets: get(&c.tx_packets),
            tx_dropped: get(&c.tx_dropped),
        }
    }

    /// Sends a packet, which has [`HEADROOM`] before it. What nobody takes is lost.
    pub fn send(&self, net: &Net, mut packet: Outgoing<'_>, to: Mac, kind: u16) {
        if let Some(head) = packet.frame.first_chunk_mut::<HEADROOM>() {
            let (vnet, ethernet) = head.split_at_mut(VNET_LEN);
            vnet.copy_from_slice(&cable::vnet_header(packet.offload, kind));
            ethernet.copy_from_slice(&cable::ethernet_header(to, self.mac, kind));
        }
        self.put(net, packet);
    }

    /// Sends a frame that has its header.
    pub fn send_whole(&self, net: &Net, frame: &[u8]) {
        self.put(net, Outgoing::whole([[0; VNET_LEN].as_slice(), frame].concat()));
    }

    /// The same with what is left to do for it before that.
    pub(in crate::net) fn put_frame(&self, net: &Net, frame: Vec<u8>) {
        self.put(net, Outgoing::whole(frame));
    }

    fn put(&self, net: &Net, mut packet: Outgoing<'_>) {
        if packet::is_watched(net) {
            packet = packet.into_owned();
            packet::passed(net, self, packet.frame.get(VNET_LEN..).unwrap_or_default(), true);
        }
        let bytes = packet.size().saturating_sub(VNET_LEN) as u64;
        let counters = &self.device.counters;
        let taken = self.up
            && match &self.device.kind {
                Kind::Loopback => false,
                Kind::Dummy => true,
                Kind::Bridge(bridge) => bridge::output(net, self, bridge, &packet.into_owned().frame),
                Kind::Host(cable) => cable.put(packet),
                Kind::Veth(end) => end
                    .peer()
                    .is_some_and(|peer| self.device.has_carrier() && veth::push(&peer, packet.into_owned().frame)),
            };
        if taken {
            counters.tx_bytes.fetch_add(bytes, Ordering::Relaxed);
            counters.tx_packets.fetch_add(1, Ordering::Relaxed);
        } else {
            counters.tx_dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Reads a frame that came; `None` if it is not for this interface.
    pub(super) fn take<'a>(&self, net: &Net, frame: &'a [u8]) -> Option<Received<'a>> {
        let counters = &self.device.counters;
        if !self.up {
            counters.rx_dropped.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        counters.rx_bytes.fetch_add(frame.len().saturating_sub(VNET_LEN) as u64, Ordering::Relaxed);
        counters.rx_packets.fetch_add(1, Ordering::Relaxed);
        packet::passed(net, self, frame.get(VNET_LEN..).unwrap_or_default(), false);
        cable::parse(frame, self.mac)
    }
}
