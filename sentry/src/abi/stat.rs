//! `struct stat`, `struct statx`, `struct statfs`.

use super::Timespec;
use crate::fs::attr::{Attr, FsStat};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `struct stat` of x86-64.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[expect(missing_docs, reason = "stat(2) documents them")]
pub struct Stat {
    pub dev: u64,
    pub ino: u64,
    pub nlink: u64,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pad: u32,
    pub rdev: u64,
    pub size: i64,
    pub blksize: i64,
    pub blocks: i64,
    pub atime: Timespec,
    pub mtime: Timespec,
    pub ctime: Timespec,
    unused: [i64; 3],
}

impl From<&Attr> for Stat {
    fn from(attr: &Attr) -> Stat {
        Stat {
            dev: attr.dev,
            ino: attr.ino,
            nlink: u64::from(attr.nlink),
            mode: attr.mode,
            uid: attr.uid,
            gid: attr.gid,
            pad: 0,
            rdev: attr.rdev,
            size: attr.size.cast_signed(),
            blksize: i64::from(attr.blksize),
            blocks: attr.blocks.cast_signed(),
            atime: attr.atime,
            mtime: attr.mtime,
            ctime: attr.ctime,
            unused: [0; 3],
        }
    }
}

/// `struct statx_timestamp`.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[expect(missing_docs, reason = "statx(2) documents them")]
pub struct StatxTimestamp {
    pub sec: i64,
    pub nsec: u32,
    pad: u32,
}

impl From<Timespec> for StatxTimestamp {
    fn from(time: Timespec) -> StatxTimestamp {
        StatxTimestamp { sec: time.sec, nsec: time.nsec as u32, pad: 0 }
    }
}

/// `struct statx`.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[expect(missing_docs, reason = "statx(2) documents them")]
pub struct Statx {
    pub mask: u32,
    pub blksize: u32,
    pub attributes: u64,
    pub nlink: u32,
    pub uid: u32,
    pub gid: u32,
    pub mode: u16,
    pad: u16,
    pub ino: u64,
    pub size: u64,
    pub blocks: u64,
    pub attributes_mask: u64,
    pub atime: StatxTimestamp,
    pub btime: StatxTimestamp,
    pub ctime: StatxTimestamp,
    pub mtime: StatxTimestamp,
    pub rdev_major: u32,
    pub rdev_minor: u32,
    pub dev_major: u32,
    pub dev_minor: u32,
    pub mnt_id: u64,
    pub dio_mem_align: u32,
    pub dio_offset_align: u32,
    unused: [u64; 12],
}

impl From<&Attr> for Statx {
    fn from(attr: &Attr) -> Statx {
        Statx {
            mask: libc::STATX_BASIC_STATS,
            blksize: attr.blksize,
            nlink: attr.nlink,
            uid: attr.uid,
            gid: attr.gid,
            mode: attr.mode as u16,
            ino: attr.ino,
            size: attr.size,
            blocks: attr.blocks,
            atime: attr.atime.into(),
            btime: attr.btime.into(),
            ctime: attr.ctime.into(),
            mtime: attr.mtime.into(),
            rdev_major: libc::major(attr.rdev),
            rdev_minor: libc::minor(attr.rdev),
            dev_major: libc::major(attr.dev),
            dev_minor: libc::minor(attr.dev),
            ..Statx::default()
        }
    }
}

/// `struct statfs` of x86-64.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[expect(missing_docs, reason = "statfs(2) documents them")]
pub struct Statfs {
    pub kind: u64,
    pub bsize: u64,
    pub blocks: u64,
    pub bfree: u64,
    pub bavail: u64,
    pub files: u64,
    pub ffree: u64,
    pub fsid: [u32; 2],
    pub namelen: u64,
    pub frsize: u64,
    pub flags: u64,
    spare: [u64; 4],
}

impl Statfs {
    /// Of a file system with device number `dev`, mounted with `flags`.
    pub fn new(stat: &FsStat, dev: u64, flags: u32) -> Statfs {
        /// `ST_VALID`: the flags mean something.
        const ST_VALID: u64 = 0x20;
        Statfs {
            kind: stat.magic,
            bsize: stat.bsize,
            blocks: stat.blocks,
            bfree: stat.bfree,
            bavail: stat.bavail,
            files: stat.files,
            ffree: stat.ffree,
            fsid: [dev as u32, (dev >> 32) as u32],
            namelen: stat.namelen,
            frsize: stat.bsize,
            flags: u64::from(flags) | ST_VALID,
            spare: [0; 4],
        }
    }
}
