//! Files opened lately: programs and libraries are opened again and again.

use crate::sync::Mutex;
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;

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
