//! An Ethernet interface of the host: frames in and out of its packet socket.

use super::neighbour::Neighbours;
use super::packet::{ETHERNET_LEN, HEADROOM, PACKET_MAX, VNET_LEN};
use super::route::Address;
use crate::boot::config::InterfaceSpec;
use crate::net::packet;
use crate::sync::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A hardware address.
pub type Mac = [u8; 6];

/// Means all on a link.
pub const BROADCAST: Mac = [0xff; 6];
/// A frame with all that may come before and behind a packet.
pub const FRAME_MAX: usize = HEADROOM + PACKET_MAX + 64;

/// `VIRTIO_NET_HDR_F_NEEDS_CSUM`: the sender left the checksum to whoever puts the frame on a wire.
const NEEDS_CSUM: u8 = 1;
/// `VIRTIO_NET_HDR_F_DATA_VALID`: somebody has verified the checksum.
const DATA_VALID: u8 = 2;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;

/// How often, and how long each time, a frame waits for an end that always reads: as long as that may be kept from a
/// processor. Then it is lost after all.
const PATIENCE: usize = 10;
const ROUND: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

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
    /// Bytes sent.
    pub tx_bytes: AtomicU64,
    /// Frames sent.
    pub tx_packets: AtomicU64,
    /// Frames that the host did not take.
    pub tx_dropped: AtomicU64,
}

/// An interface.
#[derive(Debug)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// Its index.
    pub index: u32,
    /// Its hardware address.
    pub mac: Mac,
    /// Longest packet.
    pub mtu: usize,
    /// Its addresses.
    pub addresses: Vec<Address>,
    /// Who is there.
    pub neighbours: Mutex<Neighbours>,
    /// What has passed.
    pub counters: Counters,
    pub(super) socket: OwnedFd,
    waits: bool,
    /// The other end is gone for ever.
    gone: AtomicBool,
}

impl Link {
    pub(super) fn new(spec: InterfaceSpec) -> Link {
        let InterfaceSpec { name, index, mac, mtu, addresses, socket, waits } = spec;
        // TCP needs room for its headers and some data, whatever the host says.
        let mtu = (mtu as usize).clamp(576, PACKET_MAX);
        let (neighbours, counters) = (Mutex::default(), Counters::default());
        Link { name, index, mac, mtu, addresses, neighbours, counters, socket, waits, gone: AtomicBool::new(false) }
    }

    /// Whether frames may still come.
    pub(super) fn is_alive(&self) -> bool {
        !self.gone.load(Ordering::Relaxed)
    }

    /// Who was at the other end has closed it.
    pub(super) fn hang_up(&self) {
        self.gone.store(true, Ordering::Relaxed);
    }

    /// Whether `ip` is an address of this interface.
    pub fn has(&self, ip: IpAddr) -> bool {
        self.addresses.iter().any(|(own, _)| *own == ip)
    }

    /// Sends a packet, which has [`HEADROOM`] before it. What the host does not take is lost.
    pub fn send(&self, frame: &mut [u8], to: Mac, kind: u16, offload: Offload) {
        let bytes = frame.len().saturating_sub(VNET_LEN) as u64;
        if let Some(head) = frame.first_chunk_mut::<HEADROOM>() {
            let (vnet, ethernet) = head.split_at_mut(VNET_LEN);
            vnet.copy_from_slice(&vnet_header(offload, kind));
            ethernet.copy_from_slice(&ethernet_header(to, self.mac, kind));
        }
        self.count(frame, bytes);
    }

    /// Sends a frame that has its header.
    pub fn send_whole(&self, frame: &[u8]) {
        let whole = [[0; VNET_LEN].as_slice(), frame].concat();
        self.count(&whole, frame.len() as u64);
    }

    fn count(&self, frame: &[u8], bytes: u64) {
        packet::passed(self.index, self.mac, frame.get(VNET_LEN..).unwrap_or_default(), true);
        if self.put(frame) {
            self.counters.tx_bytes.fetch_add(bytes, Ordering::Relaxed);
            self.counters.tx_packets.fetch_add(1, Ordering::Relaxed);
        } else {
            self.counters.tx_dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Gives a frame to the host; whether it took it.
    fn put(&self, frame: &[u8]) -> bool {
        for _ in 0..PATIENCE {
            match rustix::net::send(&self.socket, frame, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(_) => return true,
                Err(Errno::AGAIN) if self.waits => {
                    let _ = poll(&mut [PollFd::new(&self.socket, PollFlags::OUT)], Some(&ROUND));
                }
                Err(_) => return false,
            }
        }
        false
    }

    /// Takes the next frame that is for this interface; `None` if there is none, `Some(None)` if it is for others.
    pub fn receive<'a>(&self, buffer: &'a mut [u8]) -> Option<Option<Received<'a>>> {
        let (_, count) = rustix::net::recv(&self.socket, &mut *buffer, RecvFlags::DONTWAIT).ok()?;
        self.counters.rx_bytes.fetch_add(count.saturating_sub(VNET_LEN) as u64, Ordering::Relaxed);
        self.counters.rx_packets.fetch_add(1, Ordering::Relaxed);
        let frame: &'a [u8] = buffer.get(..count).unwrap_or_default();
        packet::passed(self.index, self.mac, frame.get(VNET_LEN..).unwrap_or_default(), false);
        Some(parse(frame, self.mac))
    }
}

fn vnet_header(offload: Offload, kind: u16) -> [u8; VNET_LEN] {
    let Offload::Tcp { ip, headers, segment } = offload else { return [0; VNET_LEN] };
    /// Where TCP's checksum is in its header.
    const TCP_CHECKSUM: u16 = 16;
    let ethernet = ETHERNET_LEN as u16;
    let gso = match segment {
        None => 0,
        Some(_) if kind == libc::ETH_P_IPV6 as u16 => GSO_TCPV6,
        Some(_) => GSO_TCPV4,
    };
    let numbers = [ethernet + headers, segment.unwrap_or(0), ethernet + ip, TCP_CHECKSUM];
    let [[a, b], [c, d], [e, f], [g, h]] = numbers.map(u16::to_ne_bytes);
    [NEEDS_CSUM, gso, a, b, c, d, e, f, g, h]
}

fn ethernet_header(to: Mac, from: Mac, kind: u16) -> [u8; ETHERNET_LEN] {
    let ([a, b, c, d, e, f], [g, h, i, j, k, l], [m, n]) = (to, from, kind.to_be_bytes());
    [a, b, c, d, e, f, g, h, i, j, k, l, m, n]
}

fn parse(frame: &[u8], own: Mac) -> Option<Received<'_>> {
    let (vnet, frame) = frame.split_first_chunk::<VNET_LEN>()?;
    let (ethernet, payload) = frame.split_first_chunk::<ETHERNET_LEN>()?;
    let to = ethernet.first_chunk::<6>()?;
    let is_group = ethernet.first()? & 1 != 0;
    if *to != own && !is_group {
        return None;
    }
    let [flags, gso, _, _, size_low, size_high, ..] = *vnet;
    let size = usize::from(u16::from_ne_bytes([size_low, size_high]));
    Some(Received {
        kind: super::packet::u16_at(ethernet, 12)?,
        payload,
        checksum_done: flags & (NEEDS_CSUM | DATA_VALID) != 0,
        datagrams: Some(size).filter(|size| gso & 0x7f == GSO_UDP_L4 && *size > 0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_for_others_are_left() {
        let own = [2, 0, 0, 0, 0, 1];
        let mut frame = vec![0; VNET_LEN];
        frame.extend(ethernet_header(own, [9; 6], 0x0800));
        frame.push(7);
        let received = parse(&frame, own).unwrap();
        assert_eq!((received.kind, received.payload, received.checksum_done), (0x0800, [7].as_slice(), false));
        assert!(parse(&frame, [4; 6]).is_none());
        frame[0] = NEEDS_CSUM;
        assert!(parse(&frame, own).unwrap().checksum_done);
        for cut in 0..HEADROOM {
            assert!(parse(&frame[..cut], own).is_none());
        }
    }
}
