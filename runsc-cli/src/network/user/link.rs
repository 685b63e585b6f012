//! The cable to the sentry: a socket that carries whole frames, behind the header that packet sockets have.

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use sentry::net::stack::packet::{ETHERNET_LEN, HEADROOM, Head, VNET_LEN};
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Hardware addresses of both ends: of those that anybody may use.
pub(super) const GUEST_MAC: [u8; 6] = [0x02, 0, 10, 0, 2, 15];
pub(super) const OWN_MAC: [u8; 6] = [0x02, 0, 10, 0, 2, 2];
/// `VIRTIO_NET_HDR_F_DATA_VALID`: nobody need verify checksums of what never was on a wire.
const DATA_VALID: u8 = 2;
/// Frames that wait for room. Streams stop before; answers to packets that come meanwhile are lost beyond.
const WAITING_MAX: usize = 256;

/// This end of the cable.
#[derive(Debug)]
pub(super) struct Link {
    socket: OwnedFd,
    waiting: VecDeque<Vec<u8>>,
}

/// What there is to read.
pub(super) enum Read<'a> {
    /// An IP packet.
    Packet(&'a [u8]),
    /// A frame that is no business of ours.
    Other,
    /// Nothing now.
    Nothing,
    /// The sentry is gone.
    End,
}

impl Link {
    pub(super) fn new(socket: OwnedFd) -> Link {
        Link { socket, waiting: VecDeque::new() }
    }

    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Reads the next frame.
    pub(super) fn read<'a>(&self, buffer: &'a mut [u8]) -> Read<'a> {
        let count = match recv(&self.socket, &mut *buffer, RecvFlags::DONTWAIT) {
            Ok((_, 0)) => return Read::End,
            Ok((_, count)) => count,
            Err(Errno::AGAIN | Errno::INTR) => return Read::Nothing,
            Err(_) => return Read::End,
        };
        let frame: &'a [u8] = buffer.get(..count).unwrap_or_default();
        let kind = frame.get(HEADROOM - 2..HEADROOM).map(|kind| i32::from(u16::from_be_bytes([kind[0], kind[1]])));
        match (kind, frame.get(HEADROOM..)) {
            (Some(libc::ETH_P_IP | libc::ETH_P_IPV6), Some(packet)) => Read::Packet(packet),
            _ => Read::Other,
        }
    }

    /// Whether frames wait for room: whoever can wait does.
    pub(super) fn is_full(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Sends `payload` behind an IP header.
    pub(super) fn send(&mut self, head: &Head, payload: &[u8]) {
        self.put(head.frame(payload, None));
    }

    /// Sends an IP packet that has [`HEADROOM`] before it.
    pub(super) fn put(&mut self, mut frame: Vec<u8>) {
        let Some((room, packet)) = frame.split_first_chunk_mut::<HEADROOM>() else { return };
        let v4 = packet.first().is_some_and(|first| first >> 4 == 4);
        let kind = if v4 { libc::ETH_P_IP } else { libc::ETH_P_IPV6 } as u16;
        room.fill(0);
        room[0] = DATA_VALID;
        let ethernet = &mut room[VNET_LEN..];
        ethernet[..6].copy_from_slice(&GUEST_MAC);
        ethernet[6..12].copy_from_slice(&OWN_MAC);
        ethernet[12..ETHERNET_LEN].copy_from_slice(&kind.to_be_bytes());
        if self.waiting.len() < WAITING_MAX {
            self.waiting.push_back(frame);
            self.flush();
        }
    }

    /// Sends what waits, as far as there is room.
    pub(super) fn flush(&mut self) {
        while let Some(frame) = self.waiting.front() {
            match send(&self.socket, frame, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Err(Errno::AGAIN | Errno::INTR) => return,
                // The end is seen by reading.
                Ok(_) | Err(_) => self.waiting.pop_front(),
            };
        }
    }
}
