//! The descriptors of directories: a bounded set, for a guest can look at any number of them.

use super::inode::HostInode;
use crate::sync::Mutex;
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};

/// Descriptors of directories kept open per file system. Enough for the directories of a large build, and a
/// small part of what a sentry may open.
const OPEN_MAX: usize = 2_000;

/// Who has a descriptor, in the order in which they got it.
#[derive(Debug, Default)]
pub(super) struct Dirs {
    open: Mutex<VecDeque<Weak<HostInode>>>,
}

impl Dirs {
    /// Notes that `inode` has opened its descriptor; closes another one if there are too many.
    pub(super) fn opened(&self, inode: &Arc<HostInode>) {
        let mut open = self.open.lock();
        open.push_back(Arc::downgrade(inode));
        let mut closed: Vec<Arc<OwnedFd>> = Vec::new();
        while open.len() > OPEN_MAX {
            match open.pop_front().and_then(|inode| inode.upgrade()) {
                Some(inode) if inode.was_used() => open.push_back(Arc::downgrade(&inode)),
                Some(inode) => closed.extend(inode.close_dir()),
                None => {}
            }
        }
        drop(open);
        drop(closed);
    }
}
