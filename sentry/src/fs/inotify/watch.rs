//! Watches, and the inode's side of them.

use super::{Core, Event};
use crate::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock, Weak};

/// Events that reach a watch whatever its mask is.
const UNMASKED: u32 = libc::IN_UNMOUNT | libc::IN_IGNORED;

/// Something that can be watched: an inode.
pub trait Watchable: Send + Sync {
    /// Who watches it.
    fn watch_set(&self) -> &WatchSet;
}

/// The watches of one inode. Small as long as there are none.
#[derive(Debug, Default)]
pub struct WatchSet {
    watches: OnceLock<Box<Mutex<Vec<Arc<Watch>>>>>,
}

impl WatchSet {
    /// Tells who watches of an event; `name` is that of the entry concerned, for events of a directory.
    pub fn notify(&self, mask: u32, cookie: u32, name: Option<&[u8]>) {
        let Some(watches) = self.watches.get() else { return };
        let told: Vec<Arc<Watch>> = {
            let watches = watches.lock();
            watches.iter().filter(|watch| watch.wants(mask)).cloned().collect()
        };
        for watch in told {
            watch.post(mask, cookie, name);
        }
    }

    /// The inode's last name and user are gone: `IN_DELETE_SELF`, and all watches end.
    pub fn deleted(&self) {
        self.notify(libc::IN_DELETE_SELF, 0, None);
        self.end();
    }

    /// Its file system was unmounted: `IN_UNMOUNT`, and all watches end.
    pub fn unmounted(&self) {
        self.notify(libc::IN_UNMOUNT, 0, None);
        self.end();
    }

    /// Whether anyone watches.
    pub fn is_watched(&self) -> bool {
        self.watches.get().is_some_and(|watches| !watches.lock().is_empty())
    }

    fn end(&self) {
        let Some(watches) = self.watches.get() else { return };
        let ended = std::mem::take(&mut *watches.lock());
        for watch in ended {
            if let Some(core) = watch.owner.upgrade() {
                core.remove(&watch);
            }
        }
    }

    /// The watch of one instance.
    pub(super) fn find(&self, core: &Arc<Core>) -> Option<Arc<Watch>> {
        let watches = self.watches.get()?.lock();
        watches.iter().find(|watch| std::ptr::eq(watch.owner.as_ptr(), Arc::as_ptr(core))).cloned()
    }
}

/// Tells who watches `directory` and who watches `child` in it of something that happened to the child.
pub fn notify_child(directory: Option<&WatchSet>, child: &WatchSet, name: &[u8], mask: u32, is_dir: bool) {
    let mask = if is_dir { mask | libc::IN_ISDIR } else { mask };
    if let Some(directory) = directory {
        directory.notify(mask, 0, Some(name));
    }
    child.notify(mask, 0, None);
}

/// A number that ties `IN_MOVED_FROM` to its `IN_MOVED_TO`.
pub fn next_cookie() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// One instance's interest in one inode, which it pins.
pub(super) struct Watch {
    pub(super) wd: i32,
    mask: AtomicU32,
    owner: Weak<Core>,
    target: Arc<dyn Watchable>,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Watch({})", self.wd)
    }
}

impl Watch {
    pub(super) fn new(core: &Arc<Core>, wd: i32, mask: u32, target: Arc<dyn Watchable>) -> Arc<Watch> {
        Arc::new(Watch { wd, mask: AtomicU32::new(mask), owner: Arc::downgrade(core), target })
    }

    /// Replaces the mask, or adds to it if told so.
    pub(super) fn change(&self, mask: u32) {
        if mask & libc::IN_MASK_ADD != 0 {
            self.mask.fetch_or(mask, Ordering::Relaxed);
        } else {
            self.mask.store(mask, Ordering::Relaxed);
        }
    }

    pub(super) fn attach(self: &Arc<Self>) {
        self.target.watch_set().watches.get_or_init(Box::default).lock().push(self.clone());
    }

    pub(super) fn detach(&self) {
        if let Some(watches) = self.target.watch_set().watches.get() {
            watches.lock().retain(|watch| !std::ptr::eq(&**watch, self));
        }
    }

    fn wants(&self, event: u32) -> bool {
        event & (self.mask.load(Ordering::Relaxed) & libc::IN_ALL_EVENTS | UNMASKED) != 0
    }

    fn post(&self, mask: u32, cookie: u32, name: Option<&[u8]>) {
        let Some(core) = self.owner.upgrade() else { return };
        core.post(Event::new(self.wd, mask, cookie, name));
        if self.mask.load(Ordering::Relaxed) & libc::IN_ONESHOT != 0 {
            core.remove(self);
        }
    }
}
