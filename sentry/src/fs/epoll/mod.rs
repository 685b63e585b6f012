//! Readiness of many files at once (`epoll(7)`).
//!
//! An [`Epoll`] holds one [`Item`] per watched descriptor. The item observes the file's wait queue; when told, it
//! puts itself on the ready list and wakes who waits on the epoll. `epoll_wait` asks only what is on that
//! list, so its cost depends on what is ready, not on what is watched.
//!
//! Lock order: an object's own lock, then [`Core::inner`]. So no file is asked for its readiness, and no
//! `Arc<File>` dropped, while `inner` is held.

mod item;
mod nesting;

pub use item::Links;

use crate::abi::EpollEvent;
use crate::errno::{Errno, SysResult};
use crate::executor::{Events, WaitQueue};
use crate::fs::{File, FileOps};
use crate::sync::Mutex;
use item::Item;
use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};

/// `EPOLLET`.
pub const ET: u32 = 1 << 31;
/// `EPOLLONESHOT`.
pub const ONESHOT: u32 = 1 << 30;
/// `EPOLLWAKEUP`.
pub const WAKEUP: u32 = 1 << 29;
/// `EPOLLEXCLUSIVE`.
pub const EXCLUSIVE: u32 = 1 << 28;
/// What does not name an event.
const PRIVATE: u32 = ET | ONESHOT | WAKEUP | EXCLUSIVE;
/// What may stand beside `EPOLLEXCLUSIVE`.
const EXCLUSIVE_OK: u32 = Events::IN.union(Events::OUT).union(Events::ALWAYS).bits() | WAKEUP | ET | EXCLUSIVE;
/// `fs.epoll.max_user_watches`: bounds the memory of items (about 200 bytes each).
const MAX_WATCHES: usize = 1 << 20;
/// Removed items that may stay on a ready list before it is swept.
const STALE_MAX: usize = 64;

/// Items of all epolls together.
static WATCHES: AtomicUsize = AtomicUsize::new(0);

/// An epoll instance, as a file.
#[derive(Debug)]
pub struct Epoll {
    core: Arc<Core>,
}

#[derive(Debug)]
struct Core {
    inner: Mutex<Inner>,
    queue: WaitQueue,
    /// The epoll's own description, to find who watches it.
    file: OnceLock<Weak<File>>,
}

#[derive(Debug, Default)]
struct Inner {
    /// By descriptor number and description.
    items: BTreeMap<(i32, u64), Arc<Item>>,
    ready: VecDeque<Arc<Item>>,
    /// How many on `ready` have been removed.
    stale: usize,
}

impl Inner {
    /// Puts `item` at the end of the ready list unless it is on it.
    fn enqueue(&mut self, item: &Arc<Item>) {
        if !item.set_queued(true) {
            self.ready.push_back(item.clone());
        }
    }

    /// Takes the first item of the ready list that is still watched, of the first `left` at most.
    fn dequeue(&mut self, left: &mut usize) -> Option<Arc<Item>> {
        while *left > 0 {
            *left -= 1;
            let item = self.ready.pop_front()?;
            item.set_queued(false);
            if !item.is_removed() {
                return Some(item);
            }
            self.stale = self.stale.saturating_sub(1);
        }
        None
    }

    fn remove(&mut self, item: &Item) {
        if self.items.remove(&item.key()).is_none() {
            return;
        }
        WATCHES.fetch_sub(1, Ordering::Relaxed);
        item.set_removed();
        self.stale += usize::from(item.is_queued());
        if self.stale > STALE_MAX && self.stale * 2 > self.ready.len() {
            self.ready.retain(|item| !item.is_removed());
            self.stale = 0;
        }
    }
}

impl Epoll {
    /// An open description of a new instance.
    pub fn open() -> Arc<File> {
        let core = Arc::new(Core { inner: Mutex::default(), queue: WaitQueue::new(), file: OnceLock::new() });
        let file = File::anonymous(Epoll { core: core.clone() }, libc::O_RDWR);
        let _ = core.file.set(Arc::downgrade(&file));
        file
    }

    /// `epoll_ctl(2)` on `file`, which is behind `fd`. `event` matters for all but `EPOLL_CTL_DEL`.
    pub fn control(&self, op: i32, fd: i32, file: &Arc<File>, event: EpollEvent) -> SysResult<()> {
        let events = event.events & !WAKEUP;
        if op != libc::EPOLL_CTL_DEL && events & EXCLUSIVE != 0 {
            let is_epoll = file.downcast::<Epoll>().is_some();
            if op == libc::EPOLL_CTL_MOD || is_epoll || events & !EXCLUSIVE_OK != 0 {
                return Err(Errno::INVAL);
            }
        }
        match op {
            libc::EPOLL_CTL_ADD => self.add(fd, file, events, event.data),
            libc::EPOLL_CTL_MOD => self.modify(fd, file, events, event.data),
            libc::EPOLL_CTL_DEL => self.delete(fd, file),
            _ => Err(Errno::INVAL),
        }
    }

    fn add(&self, fd: i32, file: &Arc<File>, events: u32, data: u64) -> SysResult<()> {
        let queue = file.ops.wait_queue().ok_or(Errno::PERM)?;
        // Held until the item stands, or two additions could close a loop together.
        let _nesting = match file.downcast::<Epoll>() {
            Some(target) => Some(nesting::check(&self.core, &target.core)?),
            None => None,
        };
        let item = Item::new(&self.core, fd, file, events, data);
        {
            let mut inner = self.core.inner.lock();
            if inner.items.contains_key(&item.key()) {
                return Err(Errno::EXIST);
            }
            if WATCHES.fetch_add(1, Ordering::Relaxed) >= MAX_WATCHES {
                WATCHES.fetch_sub(1, Ordering::Relaxed);
                return Err(Errno::NOSPC);
            }
            inner.items.insert(item.key(), item.clone());
        }
        file.links.insert(&item);
        item.register(queue);
        self.core.enqueue_if_ready(&item, file);
        Ok(())
    }

    fn find(&self, fd: i32, file: &File) -> SysResult<Arc<Item>> {
        self.core.inner.lock().items.get(&(fd, file.id)).cloned().ok_or(Errno::NOENT)
    }

    fn modify(&self, fd: i32, file: &Arc<File>, events: u32, data: u64) -> SysResult<()> {
        let item = self.find(fd, file)?;
        if item.events() & EXCLUSIVE != 0 {
            return Err(Errno::INVAL);
        }
        item.change(events, data);
        self.core.enqueue_if_ready(&item, file);
        Ok(())
    }

    fn delete(&self, fd: i32, file: &File) -> SysResult<()> {
        let item = self.find(fd, file)?;
        self.core.inner.lock().remove(&item);
        item.unlink(file);
        Ok(())
    }

    /// Where to wait for [`collect`](Self::collect).
    pub fn queue(&self) -> &WaitQueue {
        &self.core.queue
    }

    /// Takes up to `max` events; `EAGAIN` if there are none.
    pub fn collect(&self, max: usize) -> SysResult<Vec<EpollEvent>> {
        let mut out = Vec::new();
        // Items that stay ready go to the end of the list: the round ends where it began.
        let mut left = self.core.inner.lock().ready.len();
        while out.len() < max {
            // In separate statements: no file may be asked, or dropped, under the lock.
            let Some(item) = self.core.dequeue(&mut left) else { break };
            let Some(file) = item.file() else { continue };
            let ready = file.ops.poll(&file);
            if let Some(event) = self.core.report(&item, ready) {
                out.push(event);
            }
        }
        if out.is_empty() { Err(Errno::AGAIN) } else { Ok(out) }
    }
}

impl Core {
    fn dequeue(&self, left: &mut usize) -> Option<Arc<Item>> {
        self.inner.lock().dequeue(left)
    }

    /// What `epoll_wait` says of an item whose file is `ready`, and what follows for the item.
    fn report(&self, item: &Arc<Item>, ready: Events) -> Option<EpollEvent> {
        let mut inner = self.inner.lock();
        let events = item.events();
        let reported = ready.bits() & events & !PRIVATE;
        if reported == 0 || item.is_removed() {
            return None;
        }
        if events & ONESHOT != 0 {
            item.disarm();
        } else if events & ET == 0 {
            inner.enqueue(item);
        }
        Some(EpollEvent { events: reported, data: item.data() })
    }

    fn enqueue_if_ready(&self, item: &Arc<Item>, file: &File) {
        let ready = file.ops.poll(file);
        if ready.bits() & item.events() & !PRIVATE != 0 {
            self.inner.lock().enqueue(item);
            self.queue.notify(Events::IN | Events::RDNORM);
        }
    }

    /// Whether any item is ready now. Leaves the list alone: `epoll_wait` sweeps it.
    fn is_ready(&self) -> bool {
        for at in 0.. {
            let Some(item) = self.inner.lock().ready.get(at).cloned() else { break };
            let Some(file) = item.file() else { continue };
            if !item.is_removed() && file.ops.poll(&file).bits() & item.events() & !PRIVATE != 0 {
                return true;
            }
        }
        false
    }
}

impl FileOps for Epoll {
    fn poll(&self, _: &File) -> Events {
        if self.core.is_ready() { Events::IN | Events::RDNORM } else { Events::empty() }
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.core.queue)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn ignores_seek(&self) -> bool {
        true
    }

    fn describe(&self) -> String {
        "anon_inode:[eventpoll]".into()
    }

    fn fdinfo(&self) -> String {
        let items: Vec<Arc<Item>> = self.core.inner.lock().items.values().cloned().collect();
        let mut out = String::new();
        for item in items {
            let (fd, events, data) = (item.key().0, item.events(), item.data());
            let _ = writeln!(out, "tfd: {fd:8} events: {events:8x} data: {data:16x}  pos:0 ino:0 sdev:0");
        }
        out
    }
}

impl Drop for Epoll {
    fn drop(&mut self) {
        let items = {
            let mut inner = self.core.inner.lock();
            inner.ready.clear();
            std::mem::take(&mut inner.items)
        };
        WATCHES.fetch_sub(items.len(), Ordering::Relaxed);
        for item in items.values() {
            item.set_removed();
            if let Some(file) = item.file() {
                item.unlink(&file);
            }
        }
    }
}

#[cfg(test)]
mod tests;
