//! Which memory the calls of channels read and write: what the stub copies for them, into and out of the channel.

use crate::Syscall;
use stub::abi::{channel, shape};

const fn reads(arg: u32, len: u32) -> u32 {
    arg << shape::IN_ARG | len << shape::IN_LEN | shape::NONE << shape::OUT_ARG
}

const fn writes(arg: u32, len: u32) -> u32 {
    arg << shape::OUT_ARG | len << shape::OUT_LEN | shape::NONE << shape::IN_ARG
}

const fn both(reads: u32, writes: u32) -> u32 {
    const IN: u32 = (1 << shape::IN_ARG) - 1;
    reads & !IN | writes & IN
}

/// The shape of a call, as its site's code has it. What has none is copied by the sentry.
pub(super) fn shape_of(nr: u32) -> u32 {
    let path = |arg| reads(arg, shape::PATH);
    match i64::from(nr) {
        libc::SYS_read | libc::SYS_pread64 | libc::SYS_recvfrom | libc::SYS_getdents64 => writes(1, shape::NEXT),
        libc::SYS_getcwd => writes(0, shape::NEXT),
        libc::SYS_fstat => writes(1, shape::STAT),
        libc::SYS_epoll_wait | libc::SYS_epoll_pwait => writes(1, shape::NEXT_EVENTS),
        libc::SYS_write | libc::SYS_pwrite64 | libc::SYS_sendto => reads(1, shape::NEXT),
        libc::SYS_readv | libc::SYS_preadv2 => reads(1, shape::NEXT_VECTORS),
        libc::SYS_writev | libc::SYS_pwritev2 => reads(1, shape::NEXT_GATHERED),
        libc::SYS_epoll_ctl => reads(3, shape::EVENT),
        libc::SYS_open | libc::SYS_access | libc::SYS_mkdir | libc::SYS_rmdir | libc::SYS_unlink | libc::SYS_chmod => {
            path(0)
        }
        libc::SYS_openat | libc::SYS_mkdirat | libc::SYS_unlinkat | libc::SYS_faccessat2 => path(1),
        libc::SYS_stat | libc::SYS_lstat => both(path(0), writes(1, shape::STAT)),
        libc::SYS_readlink => both(path(0), writes(1, shape::NEXT)),
        libc::SYS_readlinkat => both(path(1), writes(2, shape::NEXT)),
        libc::SYS_newfstatat => both(path(1), writes(2, shape::STAT)),
        libc::SYS_statx => both(path(1), writes(4, shape::STATX)),
        _ => shape::PLAIN,
    }
}

/// A range of a guest's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    at: u64,
    len: u64,
}

impl Span {
    /// Unless the stub does not copy it.
    fn new(at: u64, len: u64) -> Option<Span> {
        (at != 0 && len != 0 && at.checked_add(len).is_some()).then_some(Span { at, len })
    }

    /// How far into it `addr` is.
    fn offset(self, addr: u64) -> Option<u64> {
        addr.checked_sub(self.at).filter(|offset| *offset < self.len)
    }
}

/// The memory of a call that its channel stands for: what is read from there is what the call brought along, and what
/// is written there is left for its thread to copy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in super::super) struct Window {
    input: Option<Span>,
    /// A string may be asked for by more than its length.
    is_path: bool,
    /// The input is vectors, and what they name follows on it.
    is_gathered: bool,
    output: Option<Span>,
    /// How much of the output has been written.
    written: u64,
}

impl Window {
    /// That of `call`, which says that it brought a path of length `path` along, if it has one.
    pub(in super::super) fn new(call: &Syscall, path: impl FnOnce() -> u64) -> Window {
        let word = shape_of(call.nr);
        if word == shape::PLAIN {
            return Window::default();
        }
        let field = |at, bits: u32| word >> at & ((1 << bits) - 1);
        let arg = |n: u32| call.args.get(n as usize).copied().unwrap_or(0);
        let (input, output) = (field(shape::IN_ARG, 3), field(shape::OUT_ARG, 3));
        let kind = field(shape::IN_LEN, 3);
        let is_path = input != shape::NONE && kind == shape::PATH;
        let is_gathered = input != shape::NONE && kind == shape::NEXT_GATHERED;
        let read = match kind {
            shape::NEXT => arg(input + 1),
            shape::EVENT => shape::EVENT_SIZE.into(),
            shape::PATH => path().min(channel::MOST),
            _ => arg(input + 1).saturating_mul(16),
        };
        let written = match field(shape::OUT_LEN, 2) {
            shape::NEXT => arg(output + 1),
            shape::NEXT_EVENTS => u64::from((arg(output + 1) as u32).wrapping_mul(shape::EVENT_SIZE)),
            shape::STAT => shape::STAT_SIZE.into(),
            _ => shape::STATX_SIZE.into(),
        };
        Window {
            input: Span::new(arg(input), read).filter(|span| span.len <= channel::MOST),
            is_path,
            is_gathered,
            output: Span::new(arg(output), written.min(channel::MOST)),
            written: 0,
        }
    }

    /// How much may be written.
    pub(in super::super) fn room(&self) -> u64 {
        self.output.map_or(0, |output| output.len)
    }

    /// Where in the channel `len` bytes at `addr` are to be had, and how many of them.
    pub(in super::super) fn read(&self, addr: u64, len: u64) -> Option<(u64, u64)> {
        let input = self.input?;
        let offset = input.offset(addr)?;
        let left = input.len - offset;
        (len <= left || self.is_path).then_some((channel::IN + offset, len.min(left)))
    }

    /// The same for what vectors name, each of which `vector` reads from where it is in the channel: an address and a
    /// length. What the guest makes of them meanwhile is its own affair, as long as it stays within the channel.
    pub(in super::super) fn find(&self, addr: u64, len: u64, vector: impl Fn(u64) -> (u64, u64)) -> Option<(u64, u64)> {
        let vectors = self.input.filter(|_| self.is_gathered)?.len;
        let mut at = vectors;
        for n in 0..vectors / 16 {
            let (base, named) = vector(channel::IN + 16 * n);
            if named > channel::MOST - at {
                return None;
            }
            let offset = addr.checked_sub(base).filter(|offset| *offset < named && len <= named - offset);
            if let Some(offset) = offset {
                return Some((channel::IN + at + offset, len));
            }
            at += named;
        }
        None
    }

    /// Where in the channel `len` bytes for `addr` are to be left: at the end of what is there, or in it.
    pub(in super::super) fn write(&mut self, addr: u64, len: u64) -> Option<u64> {
        let output = self.output?;
        let offset = output.offset(addr).filter(|offset| *offset <= self.written && len <= output.len - offset)?;
        self.written = self.written.max(offset + len);
        Some(channel::OUT + offset)
    }

    /// What has been left there: where it belongs, and how much it is.
    pub(in super::super) fn left(&self) -> Option<(u64, u64)> {
        self.output.filter(|_| self.written > 0).map(|output| (output.at, self.written))
    }

    /// Whether some of it belongs into the `len` bytes at `addr`.
    pub(in super::super) fn has_left(&self, addr: u64, len: u64) -> bool {
        self.left().is_some_and(|(at, left)| at < addr.saturating_add(len) && addr < at + left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(nr: i64, args: [u64; 6], path: u64) -> Window {
        Window::new(&Syscall { nr: nr as u32, args, ip: 0 }, || path)
    }

    #[test]
    fn a_buffer_is_read_as_far_as_it_goes() {
        let w = window(libc::SYS_write, [1, 0x1000, 8, 0, 0, 0], 0);
        assert_eq!(w.read(0x1000, 8), Some((channel::IN, 8)));
        assert_eq!(w.read(0x1004, 4), Some((channel::IN + 4, 4)));
        assert_eq!((w.read(0x1004, 5), w.read(0xfff, 1), w.read(0x1008, 1)), (None, None, None));
        assert_eq!((w.output, window(libc::SYS_write, [1, 0x1000, 1025, 0, 0, 0], 0).input), (None, None));
        assert_eq!(window(libc::SYS_writev, [1, 0x1000, u64::MAX, 0, 0, 0], 0).input, None);
        assert_eq!(window(libc::SYS_epoll_ctl, [1, 1, 1, 0, 0, 0], 0).input, None);
        assert_eq!(window(libc::SYS_lseek, [1, 2, 3, 4, 5, 6], 7), Window::default());
    }

    #[test]
    fn what_vectors_name_is_found_behind_them() {
        let vectors = [(0x1000, 10), (0x9000, 0), (0x2000, 900), (0x3000, 67), (0x1000, 1)];
        let w = window(libc::SYS_writev, [1, 0x8000, 5, 0, 0, 0], 0);
        let vector = |at| vectors[((at - channel::IN) / 16) as usize];
        let find = |addr, len| w.find(addr, len, vector).map(|(at, len)| (at - channel::IN, len));
        assert_eq!(w.read(0x8000, 80), Some((channel::IN, 80)));
        assert_eq!([find(0x1000, 10), find(0x1009, 1), find(0x1009, 2)], [Some((80, 10)), Some((89, 1)), None]);
        assert_eq!([find(0x2000, 900), find(0x9000, 1), find(0x3000, 67)], [Some((90, 900)), None, None]);
        assert_eq!(w.find(0x1000, 1, |_| (0x1000, u64::MAX)), None);
        assert_eq!(window(libc::SYS_readv, [1, 0x8000, 5, 0, 0, 0], 0).find(0x1000, 10, vector), None);
        assert_eq!(window(libc::SYS_writev, [1, 0x8000, 65, 0, 0, 0], 0).find(0x1000, 10, vector), None);
    }

    #[test]
    fn a_path_is_read_up_to_its_end() {
        let w = window(libc::SYS_newfstatat, [1, 0x1000, 0x2000, 0, 0, 0], 5);
        assert_eq!(w.read(0x1000, 256), Some((channel::IN, 5)));
        assert_eq!(w.read(0x2000, 1), None);
        assert_eq!(window(libc::SYS_openat, [1, 0x1000, 0, 0, 0, 0], 0).read(0x1000, 1), None);
        let w = window(libc::SYS_openat, [1, 0x1000, 0, 0, 0, 0], u64::MAX);
        assert_eq!(w.read(0x1000, 4096), Some((channel::IN, channel::MOST)));
    }

    #[test]
    fn output_grows_without_holes() {
        let mut w = window(libc::SYS_pread64, [1, 0x1000, 100_000, 0, 0, 0], 0);
        assert_eq!((w.write(0x1001, 1), w.left()), (None, None));
        assert_eq!(w.write(0x1000, 10), Some(channel::OUT));
        assert_eq!(w.write(0x100a, 10), Some(channel::OUT + 10));
        assert_eq!(w.write(0x1002, 2), Some(channel::OUT + 2));
        assert_eq!(w.write(0x1015, 1), None);
        assert_eq!(w.write(0x1014, 1024 - 19), None);
        assert_eq!(w.left(), Some((0x1000, 20)));
        assert_eq!([w.has_left(0xff0, 16), w.has_left(0xff0, 17), w.has_left(0x1014, 1)], [false, true, false]);
        assert_eq!(w.write(0x1014, 1024 - 20), Some(channel::OUT + 20));
    }
}
