//! A mounted file system: its dentries' cache and what serialises renames in it.

use super::dentry::Dentry;
use super::inode::{FileSystem, Inode};
use super::room;
use crate::sync::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

/// A device number for a file system without a device, as Linux gives them out (major 0).
pub fn alloc_dev() -> u64 {
    static NEXT: AtomicU32 = AtomicU32::new(32);
    libc::makedev(0, NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Removed names that are known to lead nowhere: those of locks and journals are soon made again, those of temporary
/// files never.
const REMOVED_MAX: usize = 64;

/// One instance of a file system, shared by all its mounts.
pub struct SuperBlock {
    /// The file system.
    pub fs: Box<dyn FileSystem>,
    /// What `/proc/mounts` shows as source.
    pub source: String,
    /// Device number.
    pub dev: u64,
    /// See [`FileSystem::is_exclusive`].
    pub exclusive: bool,
    /// Mounted read-only as a whole.
    pub readonly: AtomicBool,
    /// Held while a directory moves to another parent, so that ancestry stands still.
    pub rename: Mutex<()>,
    cache: Mutex<Cache>,
    mounts: AtomicUsize,
}

#[derive(Default)]
struct Cache {
    slots: Vec<Arc<Dentry>>,
    hand: usize,
    /// Names that were removed last.
    removed: VecDeque<Arc<Dentry>>,
    closed: bool,
}

impl std::fmt::Debug for SuperBlock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SuperBlock({} {:#x})", self.fs.fstype(), self.dev)
    }
}

impl SuperBlock {
    /// Makes an instance and its root dentry.
    pub fn make(fs: impl FileSystem, root: Arc<dyn Inode>, source: &str) -> Arc<Dentry> {
        let dev = fs.dev();
        let exclusive = fs.is_exclusive();
        let sb = Arc::new(SuperBlock {
            fs: Box::new(fs),
            source: source.to_owned(),
            dev,
            exclusive,
            readonly: AtomicBool::new(false),
            rename: Mutex::new(()),
            cache: Mutex::default(),
            mounts: AtomicUsize::new(0),
        });
        room::note(&sb);
        Dentry::root(sb, root)
    }

    /// Keeps a dentry beyond its use, in place of one that was not used for long.
    pub(super) fn cache(&self, dentry: &Arc<Dentry>) {
        if !self.fs.keeps_names() {
            return;
        }
        let mut cache = self.cache.lock();
        if cache.closed {
            return;
        }
        let old = cache.put(dentry.clone());
        drop(cache);
        // Dropped without the lock: it may be the last reference to a long chain.
        drop(old);
    }

    /// Keeps what says that a name was removed, for a while.
    pub(super) fn cache_removed(&self, absence: Arc<Dentry>) {
        if !self.fs.keeps_names() {
            return;
        }
        let mut cache = self.cache.lock();
        if cache.closed {
            return;
        }
        let old = if cache.removed.len() < REMOVED_MAX { None } else { cache.removed.pop_front() };
        cache.removed.push_back(absence);
        drop(cache);
        drop(old);
    }

    /// Forgets a dentry, because what it names is gone.
    pub(super) fn uncache(&self, dentry: &Dentry) {
        let old = self.cache.lock().take(dentry);
        drop(old);
    }

    /// Forgets every cached dentry that nobody uses.
    pub fn shrink(&self) {
        let mut cache = self.cache.lock();
        let (old, removed) = (std::mem::take(&mut cache.slots), std::mem::take(&mut cache.removed));
        cache.hand = 0;
        drop(cache);
        room::give_names(old.len());
        drop((old, removed));
    }

    /// A mount of it begins.
    pub(super) fn mounted(&self) {
        self.mounts.fetch_add(1, Ordering::Relaxed);
    }

    /// A mount of it is gone. With the last one the cache ends: dentries hold their superblock, so it would
    /// keep itself alive.
    pub(super) fn unmounted(&self) {
        if self.mounts.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.cache.lock().closed = true;
            self.shrink();
        }
    }
}

impl Cache {
    /// Adds a dentry; returns one that had to make way.
    fn put(&mut self, dentry: Arc<Dentry>) -> Option<Arc<Dentry>> {
        if room::take_name(self.slots.len()) {
            dentry.slot.store(self.slots.len(), Ordering::Relaxed);
            self.slots.push(dentry);
            return None;
        }
        let at = self.victim();
        dentry.slot.store(at, Ordering::Relaxed);
        self.slots.get_mut(at).map(|slot| std::mem::replace(slot, dentry))
    }

    /// Removes a dentry, if it is there; the last one moves to its place.
    fn take(&mut self, dentry: &Dentry) -> Option<Arc<Dentry>> {
        let at = dentry.slot.load(Ordering::Relaxed);
        self.slots.get(at).filter(|slot| std::ptr::eq(Arc::as_ptr(slot), dentry))?;
        let old = self.slots.swap_remove(at);
        if let Some(moved) = self.slots.get(at) {
            moved.slot.store(at, Ordering::Relaxed);
        }
        room::give_names(1);
        Some(old)
    }

    /// The next slot whose dentry was not used since the hand last passed.
    fn victim(&mut self) -> usize {
        let count = self.slots.len().max(1);
        for _ in 0..2 * count {
            let at = self.hand % count;
            self.hand = (at + 1) % count;
            match self.slots.get(at) {
                Some(dentry) if dentry.used.swap(false, Ordering::Relaxed) => {}
                _ => return at,
            }
        }
        self.hand
    }
}

impl Drop for SuperBlock {
    fn drop(&mut self) {
        room::give_names(self.cache.get_mut().slots.len());
    }
}
