//! Descriptors that travel with the message that names them.
//!
//! In JSON a [`Handle`] is its place among the message's descriptors. While a message is written or read, those are
//! in the hands of its thread.

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::cell::RefCell;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

thread_local! {
    static CARRIED: RefCell<Vec<Option<OwnedFd>>> = const { RefCell::new(Vec::new()) };
}

/// A descriptor that may be part of a message.
#[derive(Debug)]
pub struct Handle(OwnedFd);

impl Handle {
    /// The descriptor.
    pub fn into_fd(self) -> OwnedFd {
        self.0
    }
}

impl From<OwnedFd> for Handle {
    fn from(fd: OwnedFd) -> Handle {
        Handle(fd)
    }
}

impl AsFd for Handle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Handle {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Serialize for Handle {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let copy = self.0.try_clone().map_err(S::Error::custom)?;
        CARRIED.with_borrow_mut(|carried| {
            carried.push(Some(copy));
            serializer.serialize_u64(carried.len() as u64 - 1)
        })
    }
}

impl<'de> Deserialize<'de> for Handle {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Handle, D::Error> {
        let at = usize::deserialize(deserializer)?;
        let found = CARRIED.with_borrow_mut(|carried| carried.get_mut(at).and_then(Option::take));
        found.map(Handle).ok_or_else(|| D::Error::custom("a descriptor is missing"))
    }
}

/// Writes a message that has `before` descriptors besides its handles; what comes behind these.
pub(super) fn collect<T>(before: usize, write: impl FnOnce() -> T) -> (T, Vec<OwnedFd>) {
    CARRIED.with_borrow_mut(|carried| {
        carried.clear();
        carried.resize_with(before, || None);
    });
    let written = write();
    (written, CARRIED.take().into_iter().flatten().collect())
}

/// Reads a message that came with descriptors; those that no handle was.
pub(super) fn provide<T>(fds: Vec<OwnedFd>, read: impl FnOnce() -> T) -> (T, Vec<OwnedFd>) {
    CARRIED.set(fds.into_iter().map(Some).collect());
    let message = read();
    (message, CARRIED.take().into_iter().flatten().collect())
}
