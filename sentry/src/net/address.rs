//! Socket addresses as guests give and get them.

use crate::errno::{Errno, SysResult};
use smallvec::SmallVec;

/// `sizeof(struct sockaddr_storage)`: no address is longer.
pub const MAX_LEN: usize = 128;

/// A `struct sockaddr` of any family: bytes of which the first two are the family, if there are as many.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SockAddr {
    bytes: SmallVec<[u8; 32]>,
}

impl SockAddr {
    /// From bytes a guest gave.
    pub fn from_bytes(bytes: &[u8]) -> SockAddr {
        SockAddr { bytes: bytes.into() }
    }

    /// From a family and what follows it.
    pub fn new(family: i32, rest: &[u8]) -> SockAddr {
        let mut bytes: SmallVec<[u8; 32]> = (family as u16).to_ne_bytes().as_slice().into();
        bytes.extend_from_slice(rest);
        SockAddr { bytes }
    }

    /// All bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The family: `EINVAL` if the address is too short to have one.
    pub fn family(&self) -> SysResult<i32> {
        let family = self.bytes.first_chunk::<2>().ok_or(Errno::INVAL)?;
        Ok(i32::from(u16::from_ne_bytes(*family)))
    }

    /// What follows the family.
    pub fn rest(&self) -> &[u8] {
        self.bytes.get(2..).unwrap_or_default()
    }
}
