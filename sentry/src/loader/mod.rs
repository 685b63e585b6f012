//! Programs: what `execve(2)` finds in a file, and how it is laid out in memory.

mod elf;
mod headers;
mod script;
mod stack;

pub use elf::{Elf, ElfKind, Segment};
pub use headers::{Headers, headers};
pub use stack::{STRING_MAX, Stack, Strings, build as build_stack};

use crate::errno::{Errno, SysResult};
use crate::fs::File;

/// How much of a file is read to see what it is.
const HEAD: usize = 4096;

/// Page size.
pub const PAGE: u64 = 4096;

/// Rounds up to a page.
pub fn page_up(addr: u64) -> u64 {
    addr.saturating_add(PAGE - 1) & !(PAGE - 1)
}

/// Rounds down to a page.
pub fn page_down(addr: u64) -> u64 {
    addr & !(PAGE - 1)
}

/// The first bytes of a program.
fn head(file: &File) -> SysResult<Vec<u8>> {
    let mut head = vec![0; HEAD];
    let got = read_at(file, &mut head, 0)?;
    head.truncate(got);
    Ok(head)
}

/// Reads until `buf` is full or the file ends.
fn read_at(file: &File, buf: &mut [u8], offset: u64) -> SysResult<usize> {
    let mut done = 0;
    while let Some(rest) = buf.get_mut(done..).filter(|r| !r.is_empty()) {
        match file.ops.read(file, rest, offset + done as u64)? {
            0 => break,
            n => done += n,
        }
    }
    Ok(done)
}

/// 64 random bits, for layouts and `AT_RANDOM`.
pub fn random() -> SysResult<u64> {
    let mut value = [0u8; 8];
    match rustix::rand::getrandom(&mut value, rustix::rand::GetRandomFlags::empty()) {
        Ok(8) => Ok(u64::from_ne_bytes(value)),
        _ => Err(Errno::IO),
    }
}
