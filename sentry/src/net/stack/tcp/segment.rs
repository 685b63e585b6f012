//! TCP segments: how they are read, and how their headers are made. Nothing here trusts a length.

use super::Frame;
use crate::net::stack::packet::{Head, Packet, TCP, put_checksum, u16_at, u32_at};
use crate::net::stack::scope::scoped;
use smallvec::SmallVec;
use std::net::SocketAddr;

/// Bits of a header.
pub const FIN: u8 = 1;
/// It begins a connection.
pub const SYN: u8 = 2;
/// It breaks a connection.
pub const RST: u8 = 4;
/// What it has should be handed on.
pub const PSH: u8 = 8;
/// It acknowledges.
pub const ACK: u8 = 16;
/// Its urgent pointer counts.
pub const URG: u8 = 32;

/// Its sender has seen a packet that a router marked.
pub const ECE: u8 = 64;
/// Its sender has slowed down.
pub const CWR: u8 = 128;

/// Length of a header without options.
pub const HEADER_LEN: usize = 20;
/// Bytes that time stamps take in each segment.
pub const STAMPS_LEN: usize = 12;
/// Blocks that are told beside time stamps.
pub const BLOCKS_MAX: usize = 3;
/// Largest shift of a window (RFC 7323).
const SCALE_MAX: u8 = 14;

/// A received segment.
#[derive(Debug, Clone)]
pub struct Segment<'a> {
    /// Who sent it.
    pub remote: SocketAddr,
    /// For whom it is.
    pub local: SocketAddr,
    /// Number of its first byte.
    pub sequence: u32,
    /// Number of the byte that its sender expects next.
    pub acknowledged: u32,
    /// Which of [`FIN`], [`SYN`]… it has.
    pub flags: u8,
    /// Room that its sender has, not scaled.
    pub window: u16,
    /// Where urgent data ends.
    pub urgent: u16,
    /// Its options.
    pub options: Options,
    /// Class of its packet.
    pub class: u8,
    /// What it carries.
    pub data: &'a [u8],
    /// The memory that this is in, if that can be kept.
    pub frame: Option<&'a Frame>,
}

/// The options that are known.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Longest segment that its sender takes.
    pub mss: Option<u16>,
    /// Shift of its sender's windows.
    pub scale: Option<u8>,
    /// Its sender understands blocks.
    pub may_sack: bool,
    /// Its sender's clock, and ours as it was last told.
    pub stamps: Option<(u32, u32)>,
    /// What came behind gaps.
    pub blocks: SmallVec<[(u32, u32); 4]>,
}

impl<'a> Segment<'a> {
    /// Reads what a packet carries; `None` if it is no segment.
    pub fn parse(packet: &Packet<'a>) -> Option<Segment<'a>> {
        let tcp = packet.payload();
        let head = usize::from(tcp.get(12)? >> 4) * 4;
        if head < HEADER_LEN {
            return None;
        }
        let (remote, local) = (u16_at(tcp, 0)?, u16_at(tcp, 2)?);
        if remote == 0 || local == 0 {
            return None;
        }
        Some(Segment {
            remote: scoped(packet.src, remote, packet.interface),
            local: scoped(packet.dst, local, packet.interface),
            sequence: u32_at(tcp, 4)?,
            acknowledged: u32_at(tcp, 8)?,
            flags: *tcp.get(13)?,
            window: u16_at(tcp, 14)?,
            urgent: u16_at(tcp, 18)?,
            options: Options::parse(tcp.get(HEADER_LEN..head)?),
            class: packet.class,
            data: tcp.get(head..)?,
            frame: packet.frame,
        })
    }

    /// Whether it has all of some flags.
    pub fn has(&self, flags: u8) -> bool {
        self.flags & flags == flags
    }

    /// Whether it wants to begin a connection.
    pub fn opens(&self) -> bool {
        self.flags & (SYN | ACK | RST) == SYN
    }

    /// How many numbers it takes.
    pub fn len(&self) -> usize {
        self.data.len() + usize::from(self.has(SYN)) + usize::from(self.has(FIN))
    }

    /// Whether it takes no number.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The reset that answers it, if nobody expects it; `None` if it is one itself.
    pub fn refusal(&self) -> Option<(Head, Vec<u8>)> {
        if self.has(RST) {
            return None;
        }
        let (sequence, acknowledged, flags) = if self.has(ACK) {
            (self.acknowledged, 0, RST)
        } else {
            (0, self.sequence.wrapping_add(self.len() as u32), RST | ACK)
        };
        let head = Head { src: self.local.ip(), dst: self.remote.ip(), protocol: TCP, hops: 64, class: 0 };
        let header = Header { sequence, acknowledged, flags, ..Header::default() };
        let mut reset = header.bytes(self.local.port(), self.remote.port());
        put_checksum(&head, &mut reset, 16);
        Some((head, reset.to_vec()))
    }
}

impl Options {
    fn parse(mut bytes: &[u8]) -> Options {
        let mut options = Options::default();
        while let [kind, rest @ ..] = bytes {
            match (kind, rest) {
                (0, _) => break,
                (1, rest) => bytes = rest,
                (kind, [len, ..]) if *len >= 2 => {
                    let Some(value) = bytes.get(2..usize::from(*len)) else { break };
                    options.take(*kind, value);
                    bytes = bytes.get(usize::from(*len)..).unwrap_or_default();
                }
                _ => break,
            }
        }
        options
    }

    fn take(&mut self, kind: u8, value: &[u8]) {
        match (kind, value.len()) {
            (2, 2) => self.mss = u16_at(value, 0),
            (3, 1) => self.scale = value.first().map(|scale| (*scale).min(SCALE_MAX)),
            (4, 0) => self.may_sack = true,
            (5, 8 | 16 | 24 | 32) => {
                self.blocks = value.chunks(8).filter_map(|b| Some((u32_at(b, 0)?, u32_at(b, 4)?))).collect();
            }
            (8, 8) => self.stamps = u32_at(value, 0).zip(u32_at(value, 4)),
            _ => {}
        }
    }
}

/// What a header says.
#[derive(Debug, Default)]
pub struct Header {
    /// Number of the first byte.
    pub sequence: u32,
    /// Number of the byte that is expected next.
    pub acknowledged: u32,
    /// Which of [`FIN`], [`SYN`]… it has.
    pub flags: u8,
    /// Room for what is received, scaled.
    pub window: u16,
    /// Where urgent data ends.
    pub urgent: u16,
    /// The options.
    pub options: Options,
}

impl Header {
    /// The header's bytes, without a checksum.
    pub fn bytes(&self, from: u16, to: u16) -> SmallVec<[u8; 64]> {
        let mut bytes = SmallVec::new();
        bytes.extend_from_slice(&from.to_be_bytes());
        bytes.extend_from_slice(&to.to_be_bytes());
        bytes.extend_from_slice(&self.sequence.to_be_bytes());
        bytes.extend_from_slice(&self.acknowledged.to_be_bytes());
        bytes.extend_from_slice(&[0, self.flags]);
        bytes.extend_from_slice(&self.window.to_be_bytes());
        bytes.extend_from_slice(&[0, 0]);
        bytes.extend_from_slice(&self.urgent.to_be_bytes());
        self.options.write(&mut bytes);
        let words = (bytes.len() / 4) as u8;
        if let Some(offset) = bytes.get_mut(12) {
            *offset = words << 4;
        }
        bytes
    }
}

impl Options {
    /// Appends the options, filled up to whole words.
    fn write(&self, bytes: &mut SmallVec<[u8; 64]>) {
        if let Some(mss) = self.mss {
            bytes.extend_from_slice(&[2, 4]);
            bytes.extend_from_slice(&mss.to_be_bytes());
        }
        if self.may_sack {
            bytes.extend_from_slice(&[1, 1, 4, 2]);
        }
        if let Some((now, echo)) = self.stamps {
            bytes.extend_from_slice(&[1, 1, 8, 10]);
            bytes.extend_from_slice(&now.to_be_bytes());
            bytes.extend_from_slice(&echo.to_be_bytes());
        }
        if let Some(scale) = self.scale {
            bytes.extend_from_slice(&[1, 3, 3, scale]);
        }
        if !self.blocks.is_empty() {
            bytes.extend_from_slice(&[1, 1, 5, 2 + 8 * self.blocks.len() as u8]);
            for (start, end) in &self.blocks {
                bytes.extend_from_slice(&start.to_be_bytes());
                bytes.extend_from_slice(&end.to_be_bytes());
            }
        }
    }
}

/// The whole number that a wire's 32 bits mean near another.
pub fn near(reference: u64, wire: u32) -> u64 {
    let distance = wire.wrapping_sub(reference as u32).cast_signed();
    reference.wrapping_add_signed(distance.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::stack::packet::HEADROOM;

    #[test]
    fn headers_are_read_as_made() {
        let options = Options {
            mss: Some(1460),
            scale: Some(7),
            may_sack: true,
            stamps: Some((77, 78)),
            blocks: SmallVec::new(),
        };
        for options in
            [options, Options { stamps: Some((1, 2)), blocks: [(9, 12); 3][..].into(), ..Options::default() }]
        {
            let header = Header { sequence: 5, acknowledged: 6, flags: SYN | ACK, window: 7, urgent: 8, options };
            let mut tcp = header.bytes(80, 4000);
            tcp.extend_from_slice(b"data");
            let (src, dst) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
            let frame = Head { src, dst, protocol: TCP, hops: 64, class: 0 }.frame(&tcp, None);
            let segment = Segment::parse(&Packet::parse(&frame[HEADROOM..]).unwrap()).unwrap();
            assert_eq!((segment.sequence, segment.acknowledged, segment.flags), (5, 6, SYN | ACK));
            assert_eq!((segment.window, segment.urgent, segment.data), (7, 8, b"data".as_slice()));
            assert_eq!(format!("{:?}", segment.options), format!("{:?}", header.options));
        }
    }

    #[test]
    fn numbers_wrap() {
        let base = (7 << 32) - 5;
        assert_eq!(near(base, 3), base + 8);
        assert_eq!(near(base + 8, 0u32.wrapping_sub(5)), base);
    }
}
