//! One connection's protocol machine: smoltcp, which sees an interface with one socket and one packet at a time.
//!
//! The machine's packets go out behind the headers of the link, with the checksum and the cutting into segments left to
//! the host.

use crate::net::stack::link::Offload;
use crate::net::stack::packet::{HEADROOM, PACKET_MAX, TCP, fold, pseudo_sum};
use crate::net::stack::{self, Outgoing, Stack, route::Hop};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Checksum, Device, DeviceCapabilities, Medium, PacketMeta, RxToken, TxToken};
use smoltcp::socket::tcp::{Socket, SocketBuffer};
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpCidr};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::LazyLock;
use std::time;

/// Segments that one call puts out before others get their turn: a window's worth.
const BURST: usize = 256;

static START: LazyLock<time::Instant> = LazyLock::new(time::Instant::now);

/// The machine's clock.
pub(super) fn now() -> Instant {
    Instant::from_micros(i64::try_from(START.elapsed().as_micros()).unwrap_or(i64::MAX))
}

/// A time of the machine's clock on ours.
pub(super) fn deadline(at: Instant) -> time::Instant {
    *START + time::Duration::from_micros(u64::try_from(at.total_micros()).unwrap_or(0))
}

/// The machine.
pub(super) struct Wire {
    interface: Interface,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    port: Port,
    hop: Hop,
}

impl Wire {
    /// A machine for packets from `local` over `hop`; `mtu` is that of the link, `buffers` what fits into each
    /// direction: received, sent.
    pub(super) fn new(local: IpAddr, hop: Hop, mtu: usize, buffers: (usize, usize)) -> Wire {
        let mut port = Port { mtu, sent: Vec::new(), received: None };
        let mut config = Config::new(HardwareAddress::Ip);
        // A seed for each connection: its initial sequence number says nothing of another's.
        config.random_seed = u64::from(stack::random()) << 32 | u64::from(stack::random());
        let mut interface = Interface::new(config, &mut port, now());
        // All are neighbours: the way has been chosen already.
        interface.update_ip_addrs(|addresses| {
            let _ = addresses.push(IpCidr::new(local.into(), 0));
        });
        let buffer = |size| SocketBuffer::new(vec![0; size]);
        let mut sockets = SocketSet::new(Vec::with_capacity(1));
        let handle = sockets.add(Socket::new(buffer(buffers.0), buffer(buffers.1)));
        Wire { interface, sockets, handle, port, hop }
    }

    /// The machine's socket.
    pub(super) fn tcp(&mut self) -> &mut Socket<'static> {
        self.sockets.get_mut(self.handle)
    }

    /// The machine's socket, to look at.
    pub(super) fn look(&self) -> &Socket<'static> {
        self.sockets.get(self.handle)
    }

    /// Begins to connect.
    pub(super) fn connect(&mut self, local: SocketAddr, remote: SocketAddr) -> bool {
        let socket: &mut Socket<'_> = self.sockets.get_mut(self.handle);
        socket.connect(self.interface.context(), remote, local).is_ok()
    }

    /// Takes a packet in. Answers that cannot wait go out.
    pub(super) fn input(&mut self, packet: &[u8]) {
        self.port.received = Some(packet.to_vec());
        self.interface.poll_ingress_single(now(), &mut self.port, &mut self.sockets);
        self.transmit();
    }

    /// Sends what is to be sent now.
    pub(super) fn output(&mut self) {
        for _ in 0..BURST {
            self.interface.poll_egress(now(), &mut self.port, &mut self.sockets);
            if self.port.sent.is_empty() {
                return;
            }
            self.transmit();
        }
    }

    /// When there will be something to do without being asked.
    pub(super) fn next(&mut self) -> Option<Instant> {
        self.interface.poll_at(now(), &self.sockets)
    }

    fn transmit(&mut self) {
        let Some(stack) = stack::get() else { return };
        for packet in self.port.sent.drain(..) {
            transmit(stack, &self.hop, packet);
        }
    }
}

/// Completes a packet as far as the host does not, and puts it on its way.
fn transmit(stack: &Stack, hop: &Hop, (mut frame, segment): (Vec<u8>, Option<u16>)) {
    let Some(ip) = frame.get(HEADROOM..) else { return };
    let head = if ip.first().is_some_and(|first| first >> 4 == 4) { 20 } else { 40 };
    let Some(quoted) = stack::icmp::Quoted::parse(ip) else { return };
    let tcp = ip.get(head + 12).map_or(20, |offset| usize::from(offset >> 4) * 4);
    let len = ip.len() - head;
    // The host adds up the rest.
    let partial = fold(pseudo_sum(quoted.src, quoted.dst, TCP, len));
    if let Some(place) = frame.get_mut(HEADROOM + head + 16..).and_then(|rest| rest.first_chunk_mut()) {
        *place = partial.to_be_bytes();
    }
    let offload = Offload::Tcp { ip: head as u16, headers: (head + tcp) as u16, segment };
    stack.transmit(hop, Outgoing { frame, offload });
}

/// The interface as the machine sees it.
struct Port {
    mtu: usize,
    received: Option<Vec<u8>>,
    /// What the machine has sent: frames, and the size of segments to cut them into.
    sent: Vec<(Vec<u8>, Option<u16>)>,
}

impl Device for Port {
    type RxToken<'a> = Received;
    type TxToken<'a> = Slot<'a>;

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = self.mtu;
        // Verified before, or nobody need.
        capabilities.checksum.ipv4 = Checksum::Tx;
        capabilities.checksum.tcp = Checksum::None;
        capabilities.segmentation.tcpv4 = NonZeroUsize::new(PACKET_MAX);
        // Of IPv6 smoltcp drops what is longer than a link's packets.
        capabilities.segmentation.tcpv6 = None;
        capabilities
    }

    fn receive(&mut self, _: Instant) -> Option<(Received, Slot<'_>)> {
        let received = self.received.take()?;
        Some((Received(received), Slot { sent: &mut self.sent, segment: None }))
    }

    fn transmit(&mut self, _: Instant) -> Option<Slot<'_>> {
        Some(Slot { sent: &mut self.sent, segment: None })
    }
}

struct Received(Vec<u8>);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

struct Slot<'a> {
    sent: &'a mut Vec<(Vec<u8>, Option<u16>)>,
    segment: Option<u16>,
}

impl TxToken for Slot<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = vec![0; HEADROOM + len];
        let result = f(frame.get_mut(HEADROOM..).unwrap_or_default());
        self.sent.push((frame, self.segment));
        result
    }

    fn set_meta(&mut self, meta: PacketMeta) {
        self.segment = meta.segmentation_offload_size.map(Into::into);
    }
}
