//! What the file systems tell watchers (`inotify(7)`).
//!
//! Nothing is built while nobody watches: a counter says whether anyone does.

use super::dentry::Dentry;
use super::namei::Side;
use super::path::PathRef;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

/// Something that happened to an inode, or to an entry of a directory.
#[derive(Debug)]
pub struct Event<'a> {
    /// What it happened to: the watched inode is its inode.
    pub dentry: &'a Arc<Dentry>,
    /// The entry, if `dentry` is the directory.
    pub name: Option<&'a [u8]>,
    /// `IN_*`.
    pub mask: u32,
    /// Pairs `IN_MOVED_FROM` with `IN_MOVED_TO`.
    pub cookie: u32,
}

/// Takes events.
pub type Listener = fn(&Event<'_>);

static LISTENER: OnceLock<Listener> = OnceLock::new();
static WATCHES: AtomicU32 = AtomicU32::new(0);

/// Sets who is told; the first one stays.
pub fn set_listener(listener: Listener) {
    let _ = LISTENER.set(listener);
}

/// A watch begins.
pub fn watch_added() {
    WATCHES.fetch_add(1, Ordering::Relaxed);
}

/// A watch ends.
pub fn watch_removed() {
    WATCHES.fetch_sub(1, Ordering::Relaxed);
}

fn listener() -> Option<&'static Listener> {
    if WATCHES.load(Ordering::Relaxed) == 0 { None } else { LISTENER.get() }
}

/// `mask` happened to the entry `name` of `dir`.
pub fn entry(dir: &Arc<Dentry>, name: &[u8], mask: u32) {
    if let Some(tell) = listener() {
        tell(&Event { dentry: dir, name: Some(name), mask, cookie: 0 });
    }
}

/// `mask` happened to what `dentry` leads to: told to its watchers and to those of its directory.
pub fn inode(dentry: &Arc<Dentry>, mask: u32) {
    let Some(tell) = listener() else { return };
    let is_dir = dentry.inode().is_ok_and(|i| i.kind() == super::attr::FileKind::Directory);
    let mask = if is_dir { mask | libc::IN_ISDIR } else { mask };
    if let Some((parent, name)) = dentry.place()
        && !dentry.is_unlinked()
    {
        tell(&Event { dentry: &parent, name: Some(&name), mask, cookie: 0 });
    }
    tell(&Event { dentry, name: None, mask, cookie: 0 });
}

/// As [`inode`], by place.
pub fn path(path: &PathRef, mask: u32) {
    inode(&path.dentry, mask);
}

/// The last or another name of what `dentry` leads to was removed.
pub fn removed(dentry: &Arc<Dentry>) {
    let Some(tell) = listener() else { return };
    let gone = dentry.inode().and_then(|i| i.attr()).is_ok_and(|attr| attr.nlink == 0);
    tell(&Event { dentry, name: None, mask: if gone { libc::IN_DELETE_SELF } else { libc::IN_ATTRIB }, cookie: 0 });
}

/// A rename that was done.
#[derive(Debug)]
pub struct Happening {
    old: (Arc<Dentry>, Vec<u8>),
    new: (Arc<Dentry>, Vec<u8>),
    moved: Arc<Dentry>,
    replaced: Option<Arc<Dentry>>,
}

impl Happening {
    /// `moved` went from `old` to `new`, in place of `replaced`.
    pub(super) fn new(old: &Side<'_>, new: &Side<'_>, moved: Arc<Dentry>, replaced: Option<Arc<Dentry>>) -> Happening {
        Happening {
            old: (old.dir.dentry.clone(), old.name.to_vec()),
            new: (new.dir.dentry.clone(), new.name.to_vec()),
            moved,
            replaced,
        }
    }
}

/// Tells of a rename.
pub(super) fn renamed(happening: &Happening) {
    static COOKIE: AtomicU32 = AtomicU32::new(1);
    let Some(tell) = listener() else { return };
    let cookie = COOKIE.fetch_add(1, Ordering::Relaxed);
    let is_dir = happening.moved.inode().is_ok_and(|i| i.kind() == super::attr::FileKind::Directory);
    let flag = if is_dir { libc::IN_ISDIR } else { 0 };
    let Happening { old, new, moved, replaced } = happening;
    tell(&Event { dentry: &old.0, name: Some(&old.1), mask: libc::IN_MOVED_FROM | flag, cookie });
    tell(&Event { dentry: &new.0, name: Some(&new.1), mask: libc::IN_MOVED_TO | flag, cookie });
    tell(&Event { dentry: moved, name: None, mask: libc::IN_MOVE_SELF, cookie: 0 });
    if let Some(replaced) = replaced {
        removed(replaced);
    }
}
