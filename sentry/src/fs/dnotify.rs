//! Signals when something changes in a directory (`F_NOTIFY` of `fcntl(2)`), made of `inotify(7)`.

use super::fasync;
use super::file::File;
use super::inotify::Inotify;
use super::notify::Watched;
use crate::errno::{Errno, SysResult};
use crate::executor::{Events, Observer};
use crate::fs::attr::FileKind;
use crate::kernel::{Kernel, Task};
use crate::sync::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

/// Whose wish it is: a table of descriptors and a description. Closing it in that table ends it.
type Key = (u64, u64);

static WISHES: Mutex<BTreeMap<Key, Wish>> = Mutex::new(BTreeMap::new());

#[derive(Debug)]
struct Wish {
    mask: u32,
    /// The instance that watches the directory.
    _watcher: Arc<File>,
}

/// What the flags stand for: `DN_ACCESS`, `DN_MODIFY`, `DN_CREATE`, `DN_DELETE`, `DN_RENAME`, `DN_ATTRIB`.
const EVENTS: [(u32, u32); 6] = [
    (0x01, libc::IN_ACCESS),
    (0x02, libc::IN_MODIFY),
    (0x04, libc::IN_CREATE | libc::IN_MOVED_TO),
    (0x08, libc::IN_DELETE | libc::IN_MOVED_FROM),
    (0x10, libc::IN_MOVED_FROM),
    (0x20, libc::IN_ATTRIB),
];
const DN_MULTISHOT: u32 = 0x8000_0000;

/// Has changes of the kinds in `arg` signalled to the owner of the description `dir`, the next one or all; what was asked
/// for before stays. No kinds end it.
pub fn set(t: &Task, fd: i32, dir: &Arc<File>, arg: u32) -> SysResult<()> {
    let key = (t.files().id, dir.id);
    if arg & !DN_MULTISHOT == 0 {
        WISHES.lock().remove(&key);
        return Ok(());
    }
    let path = dir.path.as_ref().ok_or(Errno::NOTDIR)?;
    if path.inode()?.kind() != FileKind::Directory {
        return Err(Errno::NOTDIR);
    }
    let kinds = EVENTS.iter().filter(|(flag, _)| arg & flag != 0);
    let wanted = kinds.fold(0, |mask, (_, events)| mask | events);
    let _ = dir.owner.compare_exchange(0, t.group.tgid, Ordering::Relaxed, Ordering::Relaxed);
    let mask = wanted | WISHES.lock().get(&key).map_or(0, |wish| wish.mask);
    let watcher = Inotify::open(t.creds().uid, libc::O_NONBLOCK)?;
    let (Some(inotify), Some(queue)) = (watcher.downcast::<Inotify>(), watcher.ops.wait_queue()) else {
        return Err(Errno::INVAL);
    };
    inotify.add(Watched::new(path)?, mask)?;
    queue.add(
        Events::IN,
        Arc::new(Notifier {
            kernel: t.kernel.clone(),
            dir: Arc::downgrade(dir),
            watcher: Arc::downgrade(&watcher),
            key,
            fd,
            again: arg & DN_MULTISHOT != 0,
        }),
    );
    let replaced = WISHES.lock().insert(key, Wish { mask, _watcher: watcher.clone() });
    drop(replaced);
    Ok(())
}

/// A descriptor of `dir` was closed in the table `files`.
pub fn closed(files: u64, dir: &File) {
    let wish = {
        let mut wishes = WISHES.lock();
        if wishes.is_empty() {
            return;
        }
        wishes.remove(&(files, dir.id))
    };
    drop(wish);
}

/// Turns events into signals.
struct Notifier {
    kernel: Arc<Kernel>,
    dir: Weak<File>,
    watcher: Weak<File>,
    key: Key,
    fd: i32,
    again: bool,
}

impl Observer for Notifier {
    fn notify(&self, _: Events) {
        let (Some(dir), Some(watcher)) = (self.dir.upgrade(), self.watcher.upgrade()) else { return };
        let mut buf = [0; 1024];
        let mut concerns = false;
        while let Ok(count @ 1..) = watcher.ops.read(&watcher, &mut buf, 0) {
            concerns |= tells_something(buf.get(..count).unwrap_or_default());
        }
        if !concerns {
            return;
        }
        /// `POLL_MSG` of `asm-generic/siginfo.h`.
        const POLL_MSG: i32 = 3;
        let band = Events::IN | Events::RDNORM | Events::MSG;
        fasync::signal_owner(&self.kernel, &dir, self.fd, POLL_MSG, band);
        if !self.again {
            let wish = WISHES.lock().remove(&self.key);
            drop(wish);
        }
    }
}

/// Whether one of these `struct inotify_event` tells of more than the end of the watch.
fn tells_something(mut events: &[u8]) -> bool {
    const HEAD: usize = 16;
    const MASK_AT: usize = 4;
    const LEN_AT: usize = 12;
    let word = |events: &[u8], at: usize| events.get(at..)?.first_chunk().map(|b| u32::from_ne_bytes(*b));
    while let (Some(mask), Some(len)) = (word(events, MASK_AT), word(events, LEN_AT)) {
        if mask & libc::IN_ALL_EVENTS != 0 {
            return true;
        }
        events = events.get(HEAD + len as usize..).unwrap_or_default();
    }
    false
}
