//! Rings (`packet_mmap`): memory that a guest maps, where frames appear without a call. Versions 1 and 2; the third has
//! [`blocks`](super::blocks).
//!
//! The memory is a file of the sentry's that cannot change its size. It is written by `pwrite` alone, so what the guest
//! does to it meanwhile is the guest's affair: of what stands there only the status of a place is ever read.

use super::Frame;
use crate::errno::{Errno, SysResult};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::UNIX_EPOCH;
use zerocopy::{FromBytes, IntoBytes};

/// Most memory of a ring: as much as `tcpdump -B 65536` asks for.
const RING_MAX: usize = 64 << 20;
/// Places begin at multiples of this (`TPACKET_ALIGNMENT`).
const ALIGNMENT: usize = 16;
/// `struct tpacket_hdr` and `struct tpacket2_hdr`, aligned, with the `struct sockaddr_ll` behind them.
const HEADER_LEN: usize = ADDRESS_AT + 20;
const ADDRESS_AT: usize = 32;
/// Room for a link's header, if it is shorter.
const LINK_LEN: usize = 16;
const PAGE: usize = 4096;
/// The place is the sentry's, or the guest's.
const TP_STATUS_KERNEL: u32 = 0;
const TP_STATUS_USER: u32 = 1;
/// Others were lost before it.
const TP_STATUS_LOSING: u32 = 4;
/// The time is when it was seen here.
const TP_STATUS_TS_SOFTWARE: u32 = 1 << 29;

/// Others were lost, and nobody has asked how many.
#[derive(Debug, Clone, Copy)]
pub(super) struct Losing(pub(super) bool);

/// How a ring's memory is divided.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) block_size: usize,
    pub(super) block_nr: usize,
    frame_size: usize,
    frame_nr: usize,
}

impl Shape {
    /// As `struct tpacket_req` asks, with frames of a least size and blocks that begin with a header; `None` if it asks for
    /// none.
    pub(super) fn new(request: [u32; 4], least: usize, head: usize) -> SysResult<Option<Shape>> {
        let [block_size, block_nr, frame_size, frame_nr] = request.map(|number| number as usize);
        if block_nr == 0 {
            return if frame_nr == 0 { Ok(None) } else { Err(Errno::INVAL) };
        }
        let is_block = i32::try_from(block_size).is_ok_and(|size| size > 0) && block_size.is_multiple_of(PAGE);
        let has_head = head == 0 || block_size >= head + least;
        if !is_block || !has_head || frame_size < least || !frame_size.is_multiple_of(ALIGNMENT) {
            return Err(Errno::INVAL);
        }
        let per_block = block_size / frame_size;
        if per_block == 0 || per_block.checked_mul(block_nr) != Some(frame_nr) {
            return Err(Errno::INVAL);
        }
        Ok(Some(Shape { block_size, block_nr, frame_size, frame_nr }))
    }
}

/// The memory of a ring, which a guest maps and may write to at any time.
#[derive(Debug)]
pub(super) struct Memory(Arc<OwnedFd>);

impl Memory {
    pub(super) fn new(shape: &Shape) -> SysResult<Memory> {
        let size = shape.block_size.checked_mul(shape.block_nr).filter(|size| *size <= RING_MAX).ok_or(Errno::NOMEM)?;
        let memory = memfd_create("packet-ring", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        ftruncate(&memory, size as u64)?;
        fcntl_add_seals(&memory, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        Ok(Memory(Arc::new(memory)))
    }

    pub(super) fn file(&self) -> Arc<OwnedFd> {
        self.0.clone()
    }

    /// The number that stands somewhere.
    pub(super) fn word(&self, at: u64) -> u32 {
        let mut bytes = [0; 4];
        let _ = rustix::io::pread(&self.0, &mut bytes, at);
        u32::from_ne_bytes(bytes)
    }

    pub(super) fn write(&self, bytes: &[u8], at: u64) -> SysResult<()> {
        rustix::io::pwrite(&self.0, bytes, at)?;
        Ok(())
    }
}

/// Where a frame and its packet begin behind a header. `link`: how long its link's header is, 0 if it was left away.
pub(super) fn places(header: usize, link: usize, reserve: usize) -> (usize, usize) {
    if link == 0 {
        let net = header.next_multiple_of(ALIGNMENT) + LINK_LEN + reserve;
        return (net, net);
    }
    let net = (header + link.max(LINK_LEN)).next_multiple_of(ALIGNMENT) + reserve;
    (net - link, net)
}

/// `PACKET_HDRLEN` of a version: `EINVAL` if it is unknown.
pub(super) fn header_len(version: i32) -> SysResult<i32> {
    match version {
        0 | 1 => Ok(ADDRESS_AT as i32),
        2 => Ok(48),
        _ => Err(Errno::INVAL),
    }
}

/// A ring.
#[derive(Debug)]
pub(super) struct Ring {
    memory: Memory,
    version: i32,
    reserve: usize,
    block_size: usize,
    frame_size: usize,
    per_block: usize,
    count: usize,
    /// Where the next frame goes.
    head: usize,
}

impl Ring {
    /// As `PACKET_RX_RING` asks (`packet_set_ring`); `None` if it asks for none.
    pub(super) fn new(request: &[u8], version: i32, reserve: u32) -> SysResult<Option<Ring>> {
        let (request, _) = <[u32; 4]>::read_from_prefix(request).map_err(|_| Errno::INVAL)?;
        let reserve = reserve as usize;
        let Some(shape) = Shape::new(request, HEADER_LEN + reserve, 0)? else { return Ok(None) };
        let memory = Memory::new(&shape)?;
        let Shape { block_size, frame_size, frame_nr, .. } = shape;
        let per_block = block_size / frame_size;
        Ok(Some(Ring { memory, version, reserve, block_size, frame_size, per_block, count: frame_nr, head: 0 }))
    }

    /// What a guest maps.
    pub(super) fn memory(&self) -> Arc<OwnedFd> {
        self.memory.file()
    }

    fn at(&self, place: usize) -> u64 {
        (place / self.per_block * self.block_size + place % self.per_block * self.frame_size) as u64
    }

    fn status(&self, place: usize) -> u32 {
        self.memory.word(self.at(place))
    }

    /// Whether the guest has not yet given back the last frame.
    pub(super) fn is_readable(&self) -> bool {
        let last = self.head.checked_sub(1).unwrap_or(self.count - 1);
        self.status(last) != TP_STATUS_KERNEL
    }

    /// Puts a frame in place, with its `struct sockaddr_ll`; whether there was room. `link`: how long its link's header
    /// is, 0 if it was left away.
    pub(super) fn put(&mut self, frame: &Frame, address: &[u8], link: usize, Losing(losing): Losing) -> bool {
        if self.status(self.head) != TP_STATUS_KERNEL {
            return false;
        }
        let (mac, net) = places(HEADER_LEN, link, self.reserve);
        let room = self.frame_size.saturating_sub(mac);
        let data = frame.data.get(..room.min(frame.data.len())).unwrap_or_default();
        let mut bytes = self.header(frame, data.len(), (mac as u16, net as u16));
        bytes.resize(ADDRESS_AT, 0);
        bytes.extend_from_slice(address);
        bytes.resize(mac.min(self.frame_size), 0);
        bytes.extend_from_slice(data);
        let losing = if losing { TP_STATUS_LOSING } else { 0 };
        let status = TP_STATUS_USER | TP_STATUS_TS_SOFTWARE | losing;
        let at = self.at(self.head);
        // The status last: what it stands for is there when the guest sees it.
        let done = self.memory.write(&bytes, at).and_then(|()| self.memory.write(&status.to_ne_bytes(), at));
        self.head = (self.head + 1) % self.count;
        done.is_ok()
    }

    /// The header, with a status that says that there is nothing yet.
    fn header(&self, frame: &Frame, snaplen: usize, (mac, net): (u16, u16)) -> Vec<u8> {
        let time = frame.time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let [len, snaplen, seconds] = [frame.len as u32, snaplen as u32, time.as_secs() as u32];
        let places = [mac.to_ne_bytes(), net.to_ne_bytes()].concat();
        let numbers = |all: &[u32]| all.as_bytes().to_vec();
        match self.version {
            // Its status is a long.
            0 => [numbers(&[0, 0, len, snaplen]), places, numbers(&[seconds, time.subsec_micros()])].concat(),
            _ => [numbers(&[0, len, snaplen]), places, numbers(&[seconds, time.subsec_nanos()])].concat(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    fn request(numbers: [u32; 4]) -> Vec<u8> {
        numbers.as_bytes().to_vec()
    }

    fn frame(len: usize) -> Frame {
        let data = vec![7; len];
        Frame { data, len, protocol: 0x800, interface: 1, kind: 0, from: [0; 6], time: SystemTime::now() }
    }

    #[test]
    fn requests_are_checked_as_linux_does() {
        let refused = |numbers, version| Ring::new(&request(numbers), version, 0).err();
        assert!(matches!(Ring::new(&request([0; 4]), 1, 0), Ok(None)));
        for numbers in [
            [0, 0, 0, 1],
            [4095, 1, 2048, 1],
            [4096, 1, 48, 85],
            [4096, 1, 2047, 2],
            [4096, 1, 8192, 0],
            [4096, 2, 2048, 3],
            [0x8000_0000, 1, 2048, 1 << 20],
        ] {
            assert_eq!(refused(numbers, 1), Some(Errno::INVAL), "{numbers:?}");
        }
        assert_eq!(refused([1 << 20, 1 << 10, 2048, 512 << 10], 1), Some(Errno::NOMEM));
        assert_eq!(Ring::new(&[0; 15], 1, 0).err(), Some(Errno::INVAL));
    }

    #[test]
    fn frames_are_put_until_there_is_no_room() {
        let mut ring = Ring::new(&request([4096, 1, 2048, 2]), 1, 0).unwrap().unwrap();
        assert!(!ring.is_readable());
        assert!(ring.put(&frame(60), &[0; 20], 14, Losing(false)));
        assert!(ring.is_readable());
        assert!(ring.put(&frame(4000), &[0; 20], 14, Losing(false)));
        assert!(!ring.put(&frame(60), &[0; 20], 14, Losing(false)));
        let mut bytes = [0u8; 4096];
        rustix::io::pread(ring.memory(), &mut bytes, 0).unwrap();
        let word = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
        assert_eq!((word(0) & 7, word(4), word(8)), (TP_STATUS_USER, 60, 60));
        // Where the frame begins, where its packet does, and the frame.
        assert_eq!((bytes[12], bytes[14], bytes[66]), (66, 80, 7));
        // Cut to what fits.
        assert_eq!((word(2048 + 4), word(2048 + 8)), (4000, 2048 - 66));
        rustix::io::pwrite(ring.memory(), &[0; 4], 0).unwrap();
        assert!(ring.put(&frame(60), &[0; 20], 0, Losing(true)));
        rustix::io::pread(ring.memory(), &mut bytes, 0).unwrap();
        assert_eq!(u32::from_ne_bytes(bytes[..4].try_into().unwrap()) & 7, TP_STATUS_USER | TP_STATUS_LOSING);
    }
}
