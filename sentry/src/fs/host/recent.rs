//! Files opened lately: programs and libraries are opened again and again, and what was just made is opened next.

use super::inode::HostInode;
use crate::sync::Mutex;
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};

/// Descriptors kept beyond their use: the programs and libraries of a busy shell script, twice over.
const RECENT_MAX: usize = 256;

/// Descriptors of files that nobody changes, opened for reading, the latest last.
#[derive(Debug, Default)]
pub(super) struct RecentFiles {
    files: Mutex<VecDeque<Arc<OwnedFd>>>,
}

impl RecentFiles {
    /// Keeps `fd` for a while.
    pub(super) fn keep(&self, fd: &Arc<OwnedFd>) {
        let mut files = self.files.lock();
        files.push_back(fd.clone());
        let old = if files.len() > RECENT_MAX { files.pop_front() } else { None };
        drop(files);
        drop(old);
    }
}

/// The file made last, open for reading and writing as it was made. Whoever made it opens it next, as a rule.
#[derive(Debug, Default)]
pub(super) struct MadeLast {
    file: Mutex<Option<(Weak<HostInode>, OwnedFd)>>,
}

impl MadeLast {
    /// Has `fd` wait for `inode` to be opened, in place of what was made before.
    pub(super) fn put(&self, inode: &Arc<HostInode>, fd: OwnedFd) {
        let old = self.file.lock().replace((Arc::downgrade(inode), fd));
        drop(old);
    }

    /// The descriptor, if it is that of `inode`. Once it is asked for it waits no longer.
    pub(super) fn take(&self, inode: &HostInode) -> Option<OwnedFd> {
        let mut file = self.file.lock();
        match &*file {
            Some((made, _)) if std::ptr::eq(made.as_ptr(), inode) => file.take().map(|(_, fd)| fd),
            _ => None,
        }
    }
}
