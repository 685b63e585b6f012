//! The packet socket that frames of an interface of the host go through, and the header that it wants before each.

use super::link::{Mac, Offload, Received};
use super::neighbour::Outgoing;
use super::packet::{ETHERNET_LEN, VNET_LEN, u16_at};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, sendmsg};
use smallvec::SmallVec;
use std::io::IoSlice;
use std::os::fd::OwnedFd;

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

/// Pieces of a frame that the host puts together.
const PIECES_MAX: usize = 64;

/// The socket.
#[derive(Debug)]
pub struct Cable {
    pub(super) socket: OwnedFd,
    /// Longest packet of the interface.
    pub(super) mtu: usize,
    waits: bool,
}

impl Cable {
    /// `waits`: who is at the other end always reads, so a frame for which there is no room waits.
    pub(super) fn new(socket: OwnedFd, waits: bool, mtu: usize) -> Cable {
        Cable { socket, mtu, waits }
    }

    /// Gives a frame to the host; whether it took it.
    pub(super) fn put(&self, mut frame: Outgoing<'_>) -> bool {
        if frame.data.len() > PIECES_MAX {
            frame = frame.into_owned();
        }
        let pieces = std::iter::once(frame.frame.as_slice()).chain(frame.data.iter().copied());
        let pieces: SmallVec<[IoSlice<'_>; 6]> = pieces.map(IoSlice::new).collect();
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        for _ in 0..PATIENCE {
            match sendmsg(&self.socket, &pieces, &mut SendAncillaryBuffer::default(), flags) {
                Ok(_) => return true,
                Err(Errno::AGAIN) if self.waits => {
                    let _ = poll(&mut [PollFd::new(&self.socket, PollFlags::OUT)], Some(&ROUND));
                }
                Err(_) => return false,
            }
        }
        false
    }

    /// Takes the next frame, if there is one; how long it is.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> Option<usize> {
        rustix::net::recv(&self.socket, buffer, RecvFlags::DONTWAIT).ok().map(|(_, count)| count)
    }
}

/// What is left to do for a frame of this Ethernet type.
pub(super) fn vnet_header(offload: Offload, kind: u16) -> [u8; VNET_LEN] {
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

pub(super) fn ethernet_header(to: Mac, from: Mac, kind: u16) -> [u8; ETHERNET_LEN] {
    let ([a, b, c, d, e, f], [g, h, i, j, k, l], [m, n]) = (to, from, kind.to_be_bytes());
    [a, b, c, d, e, f, g, h, i, j, k, l, m, n]
}

/// Reads a frame; `None` if it is for others than `own`.
pub(super) fn parse(frame: &[u8], own: Mac) -> Option<Received<'_>> {
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
        kind: u16_at(ethernet, 12)?,
        payload,
        is_group,
        vnet: *vnet,
        checksum_done: flags & (NEEDS_CSUM | DATA_VALID) != 0,
        datagrams: Some(size).filter(|size| gso & 0x7f == GSO_UDP_L4 && *size > 0),
    })
}

/// What is left to do for a frame that goes on.
#[derive(Debug, Clone, Copy)]
pub struct Rest {
    /// Only the pseudo-header is under the checksum.
    pub needs_checksum: bool,
    /// Segments of TCP in one, with so many bytes each.
    pub segment: Option<u16>,
}

/// What is left to do for a frame that was received.
pub fn rest(received: &Received<'_>) -> Rest {
    let [flags, gso, _, _, size_low, size_high, ..] = received.vnet;
    let size = u16::from_ne_bytes([size_low, size_high]);
    let is_tcp = matches!(gso & 0x7f, GSO_TCPV4 | GSO_TCPV6);
    Rest { needs_checksum: flags & NEEDS_CSUM != 0, segment: Some(size).filter(|size| is_tcp && *size > 0) }
}

#[cfg(test)]
mod tests {
    use super::super::packet::HEADROOM;
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
