//! What is known of an inode (`inode(7)`), and how it is changed.

use crate::abi::Timespec;
use crate::kernel::Cap;
use crate::kernel::Creds;

/// The kind of an inode: the `S_IFMT` bits of its mode, which never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// `S_IFREG`.
    Regular,
    /// `S_IFDIR`.
    Directory,
    /// `S_IFLNK`.
    Symlink,
    /// `S_IFCHR`.
    CharDevice,
    /// `S_IFBLK`.
    BlockDevice,
    /// `S_IFIFO`.
    Fifo,
    /// `S_IFSOCK`.
    Socket,
}

impl FileKind {
    /// The kind that a mode names; `None` if it names none.
    pub fn from_mode(mode: u32) -> Option<FileKind> {
        Some(match mode & libc::S_IFMT {
            libc::S_IFREG => FileKind::Regular,
            libc::S_IFDIR => FileKind::Directory,
            libc::S_IFLNK => FileKind::Symlink,
            libc::S_IFCHR => FileKind::CharDevice,
            libc::S_IFBLK => FileKind::BlockDevice,
            libc::S_IFIFO => FileKind::Fifo,
            libc::S_IFSOCK => FileKind::Socket,
            _ => return None,
        })
    }

    /// The `S_IFMT` bits.
    pub fn bits(self) -> u32 {
        match self {
            FileKind::Regular => libc::S_IFREG,
            FileKind::Directory => libc::S_IFDIR,
            FileKind::Symlink => libc::S_IFLNK,
            FileKind::CharDevice => libc::S_IFCHR,
            FileKind::BlockDevice => libc::S_IFBLK,
            FileKind::Fifo => libc::S_IFIFO,
            FileKind::Socket => libc::S_IFSOCK,
        }
    }

    /// The `DT_*` value of a directory entry.
    pub fn dtype(self) -> u8 {
        (self.bits() >> 12) as u8
    }

    /// A character or block device.
    pub fn is_device(self) -> bool {
        matches!(self, FileKind::CharDevice | FileKind::BlockDevice)
    }
}

/// All attributes of an inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "inode(7) documents them")]
pub struct Attr {
    pub dev: u64,
    pub ino: u64,
    /// Kind and permissions.
    pub mode: u32,
    pub nlink: u32,
    pub uid: u32,
    pub gid: u32,
    pub rdev: u64,
    pub size: u64,
    pub blksize: u32,
    /// In units of 512 bytes.
    pub blocks: u64,
    pub atime: Timespec,
    pub mtime: Timespec,
    pub ctime: Timespec,
    pub btime: Timespec,
}

impl Attr {
    /// Attributes of something made of nothing: zero times, one link, no size.
    pub fn new(dev: u64, ino: u64, mode: u32, uid: u32, gid: u32) -> Attr {
        let zero = Timespec::default();
        Attr {
            dev,
            ino,
            mode,
            nlink: 1,
            uid,
            gid,
            rdev: 0,
            size: 0,
            blksize: 4096,
            blocks: 0,
            atime: zero,
            mtime: zero,
            ctime: zero,
            btime: zero,
        }
    }

    /// The same with all times set to `time`.
    #[must_use]
    pub fn at(self, time: Timespec) -> Attr {
        Attr { atime: time, mtime: time, ctime: time, btime: time, ..self }
    }
}

/// The part of the attributes that permission checks look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "inode(7) documents them")]
pub struct Perm {
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

impl From<&Attr> for Perm {
    fn from(attr: &Attr) -> Perm {
        Perm { mode: attr.mode, uid: attr.uid, gid: attr.gid }
    }
}

/// How a time stamp is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetTime {
    /// To the present.
    Now,
    /// To this.
    To(Timespec),
}

impl SetTime {
    /// The time it stands for.
    pub fn value(self) -> Timespec {
        match self {
            SetTime::Now => now(),
            SetTime::To(time) => time,
        }
    }
}

/// A change of attributes; `None` leaves one as it is. The change time always becomes the present.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SetAttr {
    /// Permission bits (07777).
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Length of a regular file.
    pub size: Option<u64>,
    /// Access time.
    pub atime: Option<SetTime>,
    /// Modification time.
    pub mtime: Option<SetTime>,
}

/// What a new directory entry is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewNode {
    /// Its kind.
    pub kind: FileKind,
    /// Permission bits (07777); the umask is already applied.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number, for devices.
    pub rdev: u64,
    /// Target, for symbolic links.
    pub target: Vec<u8>,
}

impl NewNode {
    /// A node owned by `creds` in a directory with `dir`'s attributes (set-group-ID directories hand on
    /// their group, and to directories the bit as well).
    pub fn new(kind: FileKind, mode: u32, creds: &Creds, dir: &Perm) -> NewNode {
        let mut mode = mode & 0o7777;
        let mut gid = creds.fsgid;
        if dir.mode & libc::S_ISGID != 0 {
            gid = dir.gid;
            if kind == FileKind::Directory {
                mode |= libc::S_ISGID;
            } else if mode & (libc::S_ISGID | libc::S_IXGRP) == libc::S_ISGID | libc::S_IXGRP
                && !creds.in_group(gid)
                && !creds.has(Cap::Fsetid)
            {
                mode &= !libc::S_ISGID;
            }
        }
        NewNode { kind, mode, uid: creds.fsuid, gid, rdev: 0, target: Vec::new() }
    }
}

/// Usage of a file system (`statfs(2)`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "statfs(2) documents them")]
pub struct FsStat {
    pub magic: u64,
    pub bsize: u64,
    pub blocks: u64,
    pub bfree: u64,
    pub bavail: u64,
    pub files: u64,
    pub ffree: u64,
    pub namelen: u64,
}

impl FsStat {
    /// A file system that has no blocks to count.
    pub fn pseudo(magic: u64) -> FsStat {
        FsStat { magic, bsize: 4096, namelen: 255, ..FsStat::default() }
    }
}

/// A device number as `stat(2)` shows it.
pub const fn makedev(major: u32, minor: u32) -> u64 {
    libc::makedev(major, minor)
}

/// The present, as coarse as Linux stamps files.
pub fn now() -> Timespec {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    Timespec { sec: now.tv_sec, nsec: now.tv_nsec }
}

/// The mode after a write by `creds`: set-ID bits go, unless it may keep them. `None` if nothing changes.
pub fn stripped_mode(perm: &Perm, creds: &Creds) -> Option<u32> {
    if perm.mode & (libc::S_ISUID | libc::S_ISGID) == 0 || creds.has(Cap::Fsetid) {
        return None;
    }
    let mut mode = perm.mode & 0o7777 & !libc::S_ISUID;
    if perm.mode & libc::S_IXGRP != 0 || !creds.in_group(perm.gid) {
        mode &= !libc::S_ISGID;
    }
    (mode != perm.mode & 0o7777).then_some(mode)
}
