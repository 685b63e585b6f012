//! `struct flock`, `struct open_how`, `struct iovec` and other arguments of calls on files.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `struct iovec`.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Iovec {
    /// Where.
    pub base: u64,
    /// How much.
    pub len: u64,
}

/// `struct flock` of x86-64.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[expect(missing_docs, reason = "fcntl(2) documents them")]
pub struct Flock {
    pub kind: i16,
    pub whence: i16,
    pub(crate) pad: u32,
    pub start: i64,
    pub len: i64,
    pub pid: i32,
    pub(crate) pad2: u32,
}

/// `struct f_owner_ex`.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[expect(missing_docs, reason = "fcntl(2) documents them")]
pub struct FOwnerEx {
    pub kind: i32,
    pub pid: i32,
}

/// `struct open_how`.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[expect(missing_docs, reason = "openat2(2) documents them")]
pub struct OpenHow {
    pub flags: u64,
    pub mode: u64,
    pub resolve: u64,
}

/// `struct mount_attr`.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[expect(missing_docs, reason = "mount_setattr(2) documents them")]
pub struct MountAttr {
    pub set: u64,
    pub clear: u64,
    pub propagation: u64,
    pub userns_fd: u64,
}

/// `struct utimbuf`.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[expect(missing_docs, reason = "utime(2) documents them")]
pub struct Utimbuf {
    pub actime: i64,
    pub modtime: i64,
}

/// `struct ustat` of x86-64.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[expect(missing_docs, reason = "ustat(2) documents them")]
pub struct Ustat {
    pub tfree: i32,
    pub(crate) pad: u32,
    pub tinode: u64,
    pub fname: [u8; 6],
    pub fpack: [u8; 6],
    pub(crate) pad2: u32,
}

/// `struct xattr_args`.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[expect(missing_docs, reason = "linux/xattr.h documents them")]
pub struct XattrArgs {
    pub value: u64,
    pub size: u32,
    pub flags: u32,
}
