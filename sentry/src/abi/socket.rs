//! `struct msghdr` and its kin.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `struct msghdr`.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[expect(missing_docs, reason = "recvmsg(2) documents them")]
pub struct Msghdr {
    pub name: u64,
    pub namelen: i32,
    pub pad: u32,
    pub iov: u64,
    pub iovlen: u64,
    pub control: u64,
    pub controllen: u64,
    pub flags: i32,
    pub pad2: u32,
}

/// `struct mmsghdr`.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Mmsghdr {
    /// The message.
    pub hdr: Msghdr,
    /// Bytes sent or received.
    pub len: u32,
    /// Unused.
    pub pad: u32,
}

/// `struct cmsghdr`.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Cmsghdr {
    /// Length with this header, without padding.
    pub len: u64,
    /// Level.
    pub level: i32,
    /// Type.
    pub kind: i32,
}

/// `struct ifreq`: a name and a union.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Ifreq {
    /// `ifr_name`.
    pub name: [u8; 16],
    /// The union.
    pub value: [u8; 24],
}

impl Ifreq {
    /// A name in its form: the last byte stays zero.
    pub fn name_of(text: &str) -> [u8; 16] {
        let mut name = [0; 16];
        for (to, from) in name.iter_mut().take(15).zip(text.bytes()) {
            *to = from;
        }
        name
    }

    /// Puts the union's content in place, cut to what fits.
    pub fn set(&mut self, bytes: &[u8]) {
        self.value = [0; 24];
        for (to, from) in self.value.iter_mut().zip(bytes) {
            *to = *from;
        }
    }
}

/// `struct ifconf`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Ifconf {
    /// Bytes of the buffer.
    pub len: i32,
    /// Unused.
    pub pad: u32,
    /// The buffer.
    pub buf: u64,
}
