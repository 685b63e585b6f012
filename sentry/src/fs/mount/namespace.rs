//! Mount namespaces (`mount_namespaces(7)`).

use super::tree::{self, Copies};
use super::{MOUNT_MAX, Mount, MountInfo};
use crate::errno::{Errno, SysResult};
use crate::executor::WaitQueue;
use crate::fs::path::PathRef;
use crate::sync::RwLock;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// One tree of mounts.
pub struct MountNamespace {
    /// Unique number, for `/proc/PID/ns/mnt`.
    pub id: u64,
    root: RwLock<Arc<Mount>>,
    pub(super) count: AtomicUsize,
    /// Told when the tree changes: `/proc/mounts` is ready then.
    pub changed: WaitQueue,
    /// Counts changes of the tree.
    pub generation: AtomicU64,
}

impl std::fmt::Debug for MountNamespace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MountNamespace({})", self.id)
    }
}

impl MountNamespace {
    /// A namespace whose tree is `root` and all that stands on it.
    pub fn new(root: Arc<Mount>) -> Arc<MountNamespace> {
        /// Where Linux starts to number namespaces that are not the first of their kind.
        static NEXT: AtomicU64 = AtomicU64::new(0xF000_0100);
        let all = root.subtree();
        let namespace = Arc::new(MountNamespace {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            root: RwLock::new(root),
            count: AtomicUsize::new(all.len()),
            changed: WaitQueue::new(),
            generation: AtomicU64::new(0),
        });
        for mount in all {
            *mount.namespace.write() = Arc::downgrade(&namespace);
        }
        namespace
    }

    /// The mount at the root.
    pub fn root(&self) -> Arc<Mount> {
        self.root.read().clone()
    }

    pub(super) fn set_root(&self, root: Arc<Mount>) {
        *self.root.write() = root;
    }

    /// What is seen at the root.
    pub fn root_path(&self) -> PathRef {
        self.root().root_path().topmost()
    }

    /// A copy, and which of its mounts stands for which one here (by [`Mount::id`]).
    pub fn copy(&self) -> SysResult<(Arc<MountNamespace>, Copies)> {
        let _lock = tree::lock();
        let map = tree::copy_subtree(&self.root(), tree::Copied::Everything);
        let root = map.get(&self.root().id).cloned().ok_or(Errno::INVAL)?;
        Ok((MountNamespace::new(root), map))
    }

    /// Room for `more` mounts, or `ENOSPC`.
    pub(super) fn reserve(&self, more: usize) -> SysResult<()> {
        let fits = |n: usize| n.checked_add(more).filter(|n| *n <= MOUNT_MAX);
        self.count.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits).map(drop).map_err(|_| Errno::NOSPC)
    }

    pub(super) fn release(&self, fewer: usize) {
        self.count.fetch_sub(fewer, Ordering::AcqRel);
    }

    pub(super) fn announce(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.changed.notify(crate::executor::Events::PRI | crate::executor::Events::ERR);
    }

    /// All mounts that can be reached from `root`, the oldest first as of Linux 6.8, for `/proc/PID/mountinfo`.
    pub fn list(&self, root: &PathRef) -> Vec<MountInfo> {
        let _lock = tree::lock();
        let mut mounts: Vec<_> = self.root().subtree().iter().filter_map(|mount| MountInfo::of(mount, root)).collect();
        mounts.sort_by_key(|mount| mount.id);
        mounts
    }
}

impl Drop for MountNamespace {
    /// Without the lock of the trees: whoever holds that may drop the last reference. Nobody else can reach
    /// these mounts but by propagation, which stops at mounts without a namespace.
    fn drop(&mut self) {
        tree::scatter(self.root.get_mut());
    }
}
