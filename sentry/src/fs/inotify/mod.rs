//! Notification of changes to files (`inotify(7)`).
//!
//! Each inode has a [`WatchSet`]; the file system layer calls [`WatchSet::notify`] after each operation, which is
//! one load when nobody watches. An [`Inotify`] instance owns watches and queues their events.

mod queue;
mod watch;

pub use queue::Event;
pub use watch::{WatchSet, Watchable, next_cookie, notify_child};

use crate::errno::{Errno, SysResult};
use crate::executor::{Events, WaitQueue};
use crate::fs::{File, FileOps};
use crate::kernel::Task;
use crate::mm::Addr;
use crate::sync::Mutex;
use queue::Queue;
use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use watch::Watch;

/// `fs.inotify.max_user_instances`.
const MAX_INSTANCES: u32 = 128;
/// `fs.inotify.max_user_watches`, for all users together: each watch pins an inode.
const MAX_WATCHES: usize = 1 << 17;

static WATCHES: AtomicUsize = AtomicUsize::new(0);
static INSTANCES: LazyLock<Mutex<HashMap<u32, u32>>> = LazyLock::new(Mutex::default);

/// An instance, as a file.
#[derive(Debug)]
pub struct Inotify {
    uid: u32,
    core: Arc<Core>,
}

#[derive(Debug)]
struct Core {
    watches: Mutex<Table>,
    events: Mutex<Queue>,
    wait: WaitQueue,
}

#[derive(Debug)]
struct Table {
    by_wd: BTreeMap<i32, Arc<Watch>>,
    next: i32,
}

impl Table {
    /// A watch descriptor: never soon the one of a removed watch.
    fn allocate(&mut self) -> i32 {
        loop {
            let wd = self.next;
            self.next = self.next.checked_add(1).unwrap_or(1);
            if !self.by_wd.contains_key(&wd) {
                return wd;
            }
        }
    }
}

impl Core {
    /// Queues an event and tells readers.
    fn post(&self, event: Event) {
        if self.events.lock().push(event) {
            self.wait.notify(Events::IN | Events::RDNORM);
        }
    }

    /// Ends a watch; false if it had ended already.
    fn remove(&self, watch: &Watch) -> bool {
        if self.watches.lock().by_wd.remove(&watch.wd).is_none() {
            return false;
        }
        WATCHES.fetch_sub(1, Ordering::Relaxed);
        watch.detach();
        self.post(Event::new(watch.wd, libc::IN_IGNORED, 0, None));
        true
    }
}

/// Whether anyone watches anything.
pub fn is_used() -> bool {
    WATCHES.load(Ordering::Relaxed) != 0
}

impl Inotify {
    /// An open description of a new instance of user `uid`.
    pub fn open(uid: u32, flags: i32) -> SysResult<Arc<File>> {
        let mut instances = INSTANCES.lock();
        let count = instances.entry(uid).or_default();
        if *count >= MAX_INSTANCES {
            return Err(Errno::MFILE);
        }
        *count += 1;
        drop(instances);
        let core = Core {
            watches: Mutex::new(Table { by_wd: BTreeMap::new(), next: 1 }),
            events: Mutex::default(),
            wait: WaitQueue::new(),
        };
        Ok(File::anonymous(Inotify { uid, core: Arc::new(core) }, flags | libc::O_RDONLY))
    }

    /// Watches `target` for the events in `mask`, or changes the watch there is; returns its descriptor.
    pub fn add(&self, target: Arc<dyn Watchable>, mask: u32) -> SysResult<i32> {
        let mut table = self.core.watches.lock();
        if let Some(watch) = target.watch_set().find(&self.core) {
            if mask & libc::IN_MASK_CREATE != 0 {
                return Err(Errno::EXIST);
            }
            watch.change(mask);
            return Ok(watch.wd);
        }
        if WATCHES.fetch_add(1, Ordering::Relaxed) >= MAX_WATCHES {
            WATCHES.fetch_sub(1, Ordering::Relaxed);
            return Err(Errno::NOSPC);
        }
        let wd = table.allocate();
        let watch = Watch::new(&self.core, wd, mask, target);
        table.by_wd.insert(wd, watch.clone());
        watch.attach();
        Ok(wd)
    }

    /// Ends the watch `wd`.
    pub fn remove(&self, wd: i32) -> SysResult<()> {
        let watch = self.core.watches.lock().by_wd.get(&wd).cloned().ok_or(Errno::INVAL)?;
        if self.core.remove(&watch) { Ok(()) } else { Err(Errno::INVAL) }
    }
}

impl FileOps for Inotify {
    fn read(&self, _: &File, buf: &mut [u8], _: u64) -> SysResult<usize> {
        self.core.events.lock().read(buf)
    }

    fn ioctl(&self, t: &Task, _: &File, cmd: u32, arg: u64) -> SysResult {
        match u64::from(cmd) {
            libc::FIONREAD => {
                let bytes = self.core.events.lock().bytes() as i32;
                t.mem().write(Addr(arg), &bytes).map(|()| 0)
            }
            _ => Err(Errno::NOTTY),
        }
    }

    fn poll(&self, _: &File) -> Events {
        if self.core.events.lock().is_empty() { Events::empty() } else { Events::IN | Events::RDNORM }
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.core.wait)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn ignores_seek(&self) -> bool {
        true
    }

    fn describe(&self) -> String {
        "anon_inode:inotify".into()
    }
}

impl Drop for Inotify {
    fn drop(&mut self) {
        let watches = std::mem::take(&mut self.core.watches.lock().by_wd);
        WATCHES.fetch_sub(watches.len(), Ordering::Relaxed);
        for watch in watches.values() {
            watch.detach();
        }
        let mut instances = INSTANCES.lock();
        if let Some(count) = instances.get_mut(&self.uid) {
            *count -= 1;
            if *count == 0 {
                instances.remove(&self.uid);
            }
        }
    }
}

#[cfg(test)]
mod tests;
