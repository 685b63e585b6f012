//! Rings of blocks (`TPACKET_V3`): frames follow on each other in a block, which the guest gets whole, when it is full or
//! has waited long enough.
//!
//! As with the other rings, of what stands in the memory only the status of a block is ever read.

use super::Frame;
use super::ring::{Losing, Memory, Shape};
use crate::errno::{Errno, SysResult};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `struct tpacket3_hdr`, with the `struct sockaddr_ll` behind it.
const ADDRESS_AT: usize = 48;
pub(super) const HEADER_LEN: usize = ADDRESS_AT + 20;
/// `struct tpacket_block_desc`, behind which the guest may have some room of its own.
const BLOCK_HEADER: usize = 48;
/// Frames begin at multiples of this.
const ALIGNMENT: usize = 8;
/// The block is the guest's; because it has waited long enough.
const TP_STATUS_USER: u32 = 1;
const TP_STATUS_LOSING: u32 = 4;
const TP_STATUS_BLK_TMO: u32 = 1 << 5;
const TP_STATUS_TS_SOFTWARE: u32 = 1 << 29;
/// How long a block waits if the guest does not say (`DEFAULT_PRB_RETIRE_TOV`).
const PATIENCE: Duration = Duration::from_millis(8);

/// What `struct tpacket_req3` has beyond `struct tpacket_req`.
#[derive(Debug, Clone, Copy, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Request {
    shape: [u32; 4],
    retire: u32,
    private: u32,
    features: u32,
}

/// `struct tpacket3_hdr`; names are Linux's, without `tp_`.
#[derive(Debug, Default, IntoBytes, Immutable)]
#[repr(C)]
struct Header {
    next_offset: u32,
    sec: u32,
    nsec: u32,
    snaplen: u32,
    len: u32,
    status: u32,
    mac: u16,
    net: u16,
    rxhash: u32,
    vlan_tci: u32,
    vlan: u32,
    padding: [u8; 8],
}

/// `struct tpacket_block_desc`, behind the status.
#[derive(Debug, IntoBytes, Immutable)]
#[repr(C)]
struct Rest {
    num_pkts: u32,
    offset_to_first_pkt: u32,
    blk_len: u32,
    seq_num: [u32; 2],
    ts_first_pkt: [u32; 2],
    ts_last_pkt: [u32; 2],
}

/// The block that is being filled.
#[derive(Debug, Default, Clone, Copy)]
struct Open {
    frames: u32,
    /// Where the last frame is, and where the next one goes.
    last: usize,
    next: usize,
    first_time: [u32; 2],
    last_time: [u32; 2],
}

/// A ring.
#[derive(Debug)]
pub(super) struct Blocks {
    memory: Memory,
    reserve: usize,
    size: usize,
    count: usize,
    /// Length of a block's header with the guest's room.
    head: usize,
    patience: Duration,
    current: usize,
    /// `None` while the guest has all blocks.
    open: Option<Open>,
    sequence: u64,
    /// How often the guest had all blocks, since somebody asked.
    frozen: u32,
}

/// What has become of a frame.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Put {
    /// It has a place.
    pub(super) taken: bool,
    /// The guest has got a block.
    pub(super) shows: bool,
    /// It is the first of a block with this number, which is not to wait longer than that.
    pub(super) begins: Option<(u64, Duration)>,
}

impl Blocks {
    /// As `PACKET_RX_RING` asks; `None` if it asks for none.
    pub(super) fn new(request: &[u8], reserve: u32) -> SysResult<Option<Blocks>> {
        let (request, _) = Request::read_from_prefix(request).map_err(|_| Errno::INVAL)?;
        let reserve = reserve as usize;
        let head = BLOCK_HEADER + (request.private as usize).next_multiple_of(ALIGNMENT);
        let Some(shape) = Shape::new(request.shape, HEADER_LEN + reserve, head)? else { return Ok(None) };
        let memory = Memory::new(&shape)?;
        let patience = if request.retire == 0 { PATIENCE } else { Duration::from_millis(request.retire.into()) };
        let (size, count) = (shape.block_size, shape.block_nr);
        let open = Some(Open { next: head, ..Open::default() });
        Ok(Some(Blocks { memory, reserve, size, count, head, patience, current: 0, open, sequence: 1, frozen: 0 }))
    }

    /// What a guest maps.
    pub(super) fn memory(&self) -> Arc<OwnedFd> {
        self.memory.file()
    }

    /// How often the guest had all blocks, since somebody asked.
    pub(super) fn take_frozen(&mut self) -> u32 {
        std::mem::take(&mut self.frozen)
    }

    fn at(&self, block: usize, offset: usize) -> u64 {
        (block * self.size + offset) as u64
    }

    /// Whether the guest has a block.
    fn is_given(&self, block: usize) -> bool {
        /// Behind version and place of the guest's room.
        const STATUS_AT: usize = 8;
        self.memory.word(self.at(block, STATUS_AT)) != 0
    }

    /// Whether the guest has not yet given back the last block.
    pub(super) fn is_readable(&self) -> bool {
        self.is_given(self.current.checked_sub(1).unwrap_or(self.count - 1))
    }

    /// Puts a frame behind the others.
    pub(super) fn put(&mut self, frame: &Frame, address: &[u8], link: usize, losing: Losing) -> Put {
        let mut put = Put::default();
        if self.open.is_none() && !self.begin() {
            return put;
        }
        let bytes = self.frame(frame, address, link);
        let room = bytes.len().next_multiple_of(ALIGNMENT);
        if self.open.is_some_and(|open| open.frames > 0 && open.next + room >= self.size) {
            put.shows = true;
            if !self.give(0, losing) {
                return put;
            }
        }
        let place = self.open.map_or(self.head, |open| open.next);
        put.taken = self.memory.write(&bytes, self.at(self.current, place)).is_ok();
        let time = time_of(frame);
        if let Some(open) = &mut self.open {
            if open.frames == 0 {
                open.first_time = time;
                put.begins = Some((self.sequence, self.patience));
            }
            open.frames += 1;
            (open.last, open.next, open.last_time) = (place, place + room, time);
        }
        put
    }

    /// The block with this number has waited long enough; whether the guest gets it.
    pub(super) fn retire(&mut self, number: u64, losing: Losing) -> bool {
        let is_due = number == self.sequence && self.open.is_some_and(|open| open.frames > 0);
        if is_due {
            self.give(TP_STATUS_BLK_TMO, losing);
        }
        is_due
    }

    /// Begins the current block, if the guest has given it back.
    fn begin(&mut self) -> bool {
        let is_free = !self.is_given(self.current);
        if is_free {
            self.open = Some(Open { next: self.head, ..Open::default() });
        }
        is_free
    }

    /// Gives the guest the current block; whether there is another.
    fn give(&mut self, status: u32, Losing(losing): Losing) -> bool {
        let Some(open) = self.open.take() else { return false };
        let rest = Rest {
            num_pkts: open.frames,
            offset_to_first_pkt: self.head as u32,
            blk_len: open.next as u32,
            seq_num: [self.sequence as u32, (self.sequence >> 32) as u32],
            ts_first_pkt: open.first_time,
            ts_last_pkt: open.last_time,
        };
        // Version, and where the guest's room is; then the status, which is written last.
        const VERSION: u32 = 2;
        let at = |offset| self.at(self.current, offset);
        let status = status | TP_STATUS_USER | if losing { TP_STATUS_LOSING } else { 0 };
        let _ = self.memory.write(&0u32.to_ne_bytes(), at(open.last));
        let _ = self.memory.write([VERSION, BLOCK_HEADER as u32].as_bytes(), at(0));
        let _ = self.memory.write(rest.as_bytes(), at(12));
        let _ = self.memory.write(&status.to_ne_bytes(), at(8));
        self.current = (self.current + 1) % self.count;
        self.sequence += 1;
        let goes_on = self.begin();
        self.frozen = self.frozen.wrapping_add(u32::from(!goes_on));
        goes_on
    }

    /// A frame with its headers, as long as a block has room for.
    fn frame(&self, frame: &Frame, address: &[u8], link: usize) -> Vec<u8> {
        let (mac, net) = super::ring::places(HEADER_LEN, link, self.reserve);
        let most = self.size - self.head;
        let data = frame.data.get(..most.saturating_sub(mac + ALIGNMENT).min(frame.data.len())).unwrap_or_default();
        let mac = mac.min(most - ALIGNMENT);
        let [sec, nsec] = time_of(frame);
        let header = Header {
            next_offset: (mac + data.len()).next_multiple_of(ALIGNMENT) as u32,
            sec,
            nsec,
            snaplen: data.len() as u32,
            len: frame.len as u32,
            status: TP_STATUS_USER | TP_STATUS_TS_SOFTWARE,
            mac: mac as u16,
            net: net as u16,
            ..Header::default()
        };
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend_from_slice(address);
        bytes.resize(mac, 0);
        bytes.extend_from_slice(data);
        bytes
    }
}

fn time_of(frame: &Frame) -> [u32; 2] {
    let time = frame.time.duration_since(UNIX_EPOCH).unwrap_or_default();
    [time.as_secs() as u32, time.subsec_nanos()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    fn ring(numbers: [u32; 7]) -> SysResult<Option<Blocks>> {
        Blocks::new(numbers.as_bytes(), 0)
    }

    fn frame(len: usize) -> Frame {
        let data = vec![7; len];
        Frame { data, len, protocol: 0x800, interface: 1, kind: 0, from: [0; 6], time: SystemTime::now() }
    }

    #[test]
    fn requests_are_checked_as_linux_does() {
        assert!(matches!(ring([0; 7]), Ok(None)));
        for numbers in [
            [4096, 1, 2048, 3, 0, 0, 0],
            [4096, 1, 64, 64, 0, 0, 0],
            [4096, 1, 2048, 2, 0, 4000, 0],
            [4096, 1, 2048, 2, 0, u32::MAX, 0],
        ] {
            assert_eq!(ring(numbers).err(), Some(Errno::INVAL), "{numbers:?}");
        }
        assert_eq!(Blocks::new(&[0; 16], 0).err(), Some(Errno::INVAL));
    }

    #[test]
    fn blocks_are_given_when_they_are_full_or_old() {
        let mut ring = ring([4096, 2, 2048, 4, 20, 8, 0]).unwrap().unwrap();
        let first = ring.put(&frame(60), &[0; 20], 14, Losing(false));
        assert_eq!(first, Put { taken: true, shows: false, begins: Some((1, Duration::from_millis(20))) });
        assert!(!ring.is_readable());
        assert!(ring.retire(1, Losing(false)) && ring.is_readable());
        assert!(!ring.retire(1, Losing(false)));
        let mut bytes = vec![0u8; 8192];
        rustix::io::pread(ring.memory(), &mut bytes, 0).unwrap();
        let word = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
        assert_eq!([word(0), word(4), word(8), word(12), word(16), word(24)], [2, 48, 33, 1, 56, 1]);
        assert_eq!((word(56), word(56 + 12), bytes[56 + 82]), (0, 60, 7));
        // The second block fills; then the guest has both.
        assert!(ring.put(&frame(3000), &[0; 20], 14, Losing(false)).taken);
        let last = ring.put(&frame(3000), &[0; 20], 14, Losing(true));
        assert_eq!((last.taken, last.shows, ring.take_frozen()), (false, true, 1));
        assert!(!ring.put(&frame(60), &[0; 20], 14, Losing(true)).taken);
        rustix::io::pwrite(ring.memory(), &[0; 4], 8).unwrap();
        assert!(ring.put(&frame(60_000), &[0; 20], 0, Losing(true)).taken);
    }
}
