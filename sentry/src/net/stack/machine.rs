//! One connection's protocol machine: smoltcp, which sees an interface with one socket and one packet at a time.

use super::packet::{HEADROOM, PACKET_MAX};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Checksum, Device, DeviceCapabilities, Medium, PacketMeta, RxToken, TxToken};
pub use smoltcp::socket::tcp::State;
use smoltcp::socket::tcp::{Socket, SocketBuffer};
pub use smoltcp::time::Duration;
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpCidr};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::LazyLock;
use std::time;

static START: LazyLock<time::Instant> = LazyLock::new(time::Instant::now);

/// The machine's clock.
pub fn now() -> Instant {
    Instant::from_micros(i64::try_from(START.elapsed().as_micros()).unwrap_or(i64::MAX))
}

/// A time of the machine's clock on ours.
pub fn deadline(at: Instant) -> time::Instant {
    *START + time::Duration::from_micros(u64::try_from(at.total_micros()).unwrap_or(0))
}

/// A packet that a machine has sent: a frame with room for the link's headers, without TCP's checksum; and the size of
/// segments to cut it into, if it is to be cut.
pub type Sent = (Vec<u8>, Option<u16>);

/// The machine. What it sends stays in it until it is [taken](Self::take).
pub struct Machine {
    interface: Interface,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    port: Port,
}

impl std::fmt::Debug for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Machine({})", self.look().state())
    }
}

impl Machine {
    /// A machine for packets from `local`; `mtu` is that of the link, `buffers` what fits into each direction: received,
    /// sent.
    pub fn new(local: IpAddr, mtu: usize, buffers: (usize, usize)) -> Machine {
        let mut port = Port { mtu, sent: Vec::new(), received: None };
        let mut config = Config::new(HardwareAddress::Ip);
        // A seed for each connection: its initial sequence number says nothing of another's.
        config.random_seed = u64::from(super::random()) << 32 | u64::from(super::random());
        let mut interface = Interface::new(config, &mut port, now());
        // All are neighbours: the way has been chosen already.
        interface.update_ip_addrs(|addresses| {
            let _ = addresses.push(IpCidr::new(local.into(), 0));
        });
        let buffer = |size| SocketBuffer::new(vec![0; size]);
        let mut sockets = SocketSet::new(Vec::with_capacity(1));
        let handle = sockets.add(Socket::new(buffer(buffers.0), buffer(buffers.1)));
        Machine { interface, sockets, handle, port }
    }

    /// The machine's socket.
    pub fn tcp(&mut self) -> &mut Socket<'static> {
        self.sockets.get_mut(self.handle)
    }

    /// The machine's socket, to look at.
    pub fn look(&self) -> &Socket<'static> {
        self.sockets.get(self.handle)
    }

    /// Begins to connect.
    pub fn connect(&mut self, local: SocketAddr, remote: SocketAddr) -> bool {
        let socket: &mut Socket<'_> = self.sockets.get_mut(self.handle);
        socket.connect(self.interface.context(), remote, local).is_ok()
    }

    /// Takes a packet in, and makes the answer that cannot wait: to one that nobody expects that is a reset.
    pub fn input(&mut self, packet: &[u8]) {
        self.port.received = Some(packet.to_vec());
        self.interface.poll_ingress_single(now(), &mut self.port, &mut self.sockets);
    }

    /// Makes some of the packets that are to be sent now; whether there were any.
    pub fn output(&mut self) -> bool {
        self.interface.poll_egress(now(), &mut self.port, &mut self.sockets);
        !self.port.sent.is_empty()
    }

    /// What it has sent.
    pub fn take(&mut self) -> std::vec::Drain<'_, Sent> {
        self.port.sent.drain(..)
    }

    /// When there will be something to do without being asked.
    pub fn due(&mut self) -> Option<Instant> {
        self.interface.poll_at(now(), &self.sockets)
    }
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
