//! One watched descriptor, and a file's links to those who watch it.

use super::{Core, EXCLUSIVE, PRIVATE};
use crate::executor::{Events, Observer, WaitKey, WaitQueue};
use crate::fs::{File, FileOps};
use crate::sync::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// A watched descriptor. What changes is changed with the epoll's lock held, but for `events` and `data`,
/// which `EPOLL_CTL_MOD` replaces one after the other as Linux does.
pub(super) struct Item {
    me: Weak<Item>,
    core: Weak<Core>,
    fd: i32,
    file_id: u64,
    file: Weak<File>,
    events: AtomicU32,
    data: AtomicU64,
    /// On the ready list.
    queued: AtomicBool,
    /// No longer watched.
    removed: AtomicBool,
    key: Mutex<Option<WaitKey>>,
}

impl std::fmt::Debug for Item {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Item({}, {:#x})", self.fd, self.events())
    }
}

impl Item {
    pub(super) fn new(core: &Arc<Core>, fd: i32, file: &Arc<File>, events: u32, data: u64) -> Arc<Item> {
        Arc::new_cyclic(|me| Item {
            me: me.clone(),
            core: Arc::downgrade(core),
            fd,
            file_id: file.id,
            file: Arc::downgrade(file),
            events: AtomicU32::new(events | Events::ALWAYS.bits()),
            data: AtomicU64::new(data),
            queued: AtomicBool::new(false),
            removed: AtomicBool::new(false),
            key: Mutex::new(None),
        })
    }

    pub(super) fn key(&self) -> (i32, u64) {
        (self.fd, self.file_id)
    }

    pub(super) fn core(&self) -> Option<Arc<Core>> {
        self.core.upgrade()
    }

    pub(super) fn file(&self) -> Option<Arc<File>> {
        self.file.upgrade()
    }

    pub(super) fn events(&self) -> u32 {
        self.events.load(Ordering::Acquire)
    }

    pub(super) fn data(&self) -> u64 {
        self.data.load(Ordering::Acquire)
    }

    /// Replaces what is watched for.
    pub(super) fn change(&self, events: u32, data: u64) {
        self.data.store(data, Ordering::Release);
        self.events.store(events | Events::ALWAYS.bits(), Ordering::Release);
    }

    /// Reports nothing until changed: what a one-shot item does after it fired.
    pub(super) fn disarm(&self) {
        self.events.fetch_and(PRIVATE, Ordering::Release);
    }

    pub(super) fn is_queued(&self) -> bool {
        self.queued.load(Ordering::Relaxed)
    }

    /// Returns what it was.
    pub(super) fn set_queued(&self, on: bool) -> bool {
        self.queued.swap(on, Ordering::Relaxed)
    }

    pub(super) fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Relaxed)
    }

    pub(super) fn set_removed(&self) {
        self.removed.store(true, Ordering::Relaxed);
    }

    /// Starts to observe. For all events: which ones matter changes with `EPOLL_CTL_MOD`.
    pub(super) fn register(self: &Arc<Self>, queue: &WaitQueue) {
        let key = if self.events() & EXCLUSIVE != 0 {
            queue.add_exclusive(Events::all(), self.clone())
        } else {
            queue.add(Events::all(), self.clone())
        };
        *self.key.lock() = Some(key);
    }

    /// Stops to observe.
    fn unregister(&self, ops: &dyn FileOps) {
        if let Some(key) = self.key.lock().take()
            && let Some(queue) = ops.wait_queue()
        {
            queue.remove(key);
        }
    }

    /// Cuts all that leads from the file to this item.
    pub(super) fn unlink(&self, file: &File) {
        file.links.remove(self);
        self.unregister(&*file.ops);
    }
}

impl Observer for Item {
    fn notify(&self, events: Events) {
        let wanted = self.events();
        if wanted & !PRIVATE == 0 || (!events.is_empty() && events.bits() & wanted == 0) {
            return;
        }
        let (Some(core), Some(me)) = (self.core.upgrade(), self.me.upgrade()) else { return };
        {
            let mut inner = core.inner.lock();
            if self.is_removed() {
                return;
            }
            inner.enqueue(&me);
        }
        core.queue.notify(Events::IN | Events::RDNORM);
    }
}

/// The items that watch an open file description: they go when it does.
#[derive(Debug, Default)]
pub struct Links {
    items: Mutex<BTreeMap<usize, Weak<Item>>>,
}

impl Links {
    pub(super) fn insert(&self, item: &Arc<Item>) {
        self.items.lock().insert(Arc::as_ptr(item) as usize, Arc::downgrade(item));
    }

    fn remove(&self, item: &Item) {
        self.items.lock().remove(&(std::ptr::from_ref(item) as usize));
    }

    pub(super) fn len(&self) -> usize {
        self.items.lock().len()
    }

    /// The epolls that watch the file.
    pub(super) fn watchers(&self) -> Vec<Arc<Core>> {
        let items: Vec<Arc<Item>> = self.items.lock().values().filter_map(Weak::upgrade).collect();
        items.iter().filter_map(|item| item.core()).collect()
    }

    /// The last descriptor of the file is gone: nobody watches it any more.
    pub fn release(&mut self, ops: &dyn FileOps) {
        for item in std::mem::take(self.items.get_mut()).into_values() {
            let Some(item) = item.upgrade() else { continue };
            if let Some(core) = item.core() {
                core.inner.lock().remove(&item);
            }
            item.unregister(ops);
        }
    }
}
