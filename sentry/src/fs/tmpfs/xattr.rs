//! Extended attributes in memory (`xattr(7)`).

use crate::errno::{Errno, SysResult};
use crate::fs::inode::Inode;
use std::collections::BTreeMap;

/// Bytes of names and values that one inode may have: what ext4 allows with large attributes.
const TOTAL_MAX: usize = 128 * 1024;

/// The attributes of an inode.
#[derive(Debug, Default)]
pub(super) struct Xattrs {
    values: BTreeMap<Vec<u8>, Vec<u8>>,
    total: usize,
}

impl Xattrs {
    /// Whether the file system keeps attributes of this kind. Access control lists are not among them.
    pub(super) fn check_name(name: &[u8]) -> SysResult<()> {
        let kept = [b"user.".as_slice(), b"trusted.", b"security."];
        match kept.iter().find(|prefix| name.starts_with(prefix)) {
            Some(prefix) if name.len() == prefix.len() => Err(Errno::INVAL),
            Some(_) => Ok(()),
            None => Err(Errno::OPNOTSUPP),
        }
    }

    /// A copy of another inode's.
    pub(super) fn copy(from: &dyn Inode) -> SysResult<Xattrs> {
        let mut copy = Xattrs::default();
        for name in from.list_xattr()? {
            if Xattrs::check_name(&name).is_ok() {
                copy.set(&name, &from.get_xattr(&name)?, 0)?;
            }
        }
        Ok(copy)
    }

    /// Bytes of all names and values.
    pub(super) fn total(&self) -> u64 {
        self.total as u64
    }

    pub(super) fn get(&self, name: &[u8]) -> SysResult<Vec<u8>> {
        self.values.get(name).cloned().ok_or(Errno::NODATA)
    }

    pub(super) fn set(&mut self, name: &[u8], value: &[u8], flags: i32) -> SysResult<()> {
        let old = self.values.get(name).map(|old| name.len() + old.len());
        match old {
            Some(_) if flags & libc::XATTR_CREATE != 0 => return Err(Errno::EXIST),
            None if flags & libc::XATTR_REPLACE != 0 => return Err(Errno::NODATA),
            _ => {}
        }
        let total = self.total - old.unwrap_or(0) + name.len() + value.len();
        if total > TOTAL_MAX {
            return Err(Errno::NOSPC);
        }
        self.total = total;
        self.values.insert(name.to_vec(), value.to_vec());
        Ok(())
    }

    pub(super) fn remove(&mut self, name: &[u8]) -> SysResult<()> {
        let old = self.values.remove(name).ok_or(Errno::NODATA)?;
        self.total -= name.len() + old.len();
        Ok(())
    }

    pub(super) fn names(&self) -> Vec<Vec<u8>> {
        self.values.keys().cloned().collect()
    }
}
