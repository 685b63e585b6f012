//! What watchers are told (`inotify(7)`).
//!
//! Nothing is looked at while nobody watches anything.

use super::attr::FileKind;
use super::dentry::Dentry;
use super::inode::Inode;
use super::inotify::{self, WatchSet, Watchable, next_cookie, notify_child};
use super::namei::Side;
use super::path::PathRef;
use crate::errno::SysResult;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A place that is watched.
#[derive(Debug)]
pub struct Watched {
    /// Kept so that a lookup finds the inode that is watched, not another that stands for the same file.
    _dentry: Arc<Dentry>,
    inode: Arc<dyn Inode>,
}

impl Watched {
    /// What is at `path`.
    pub fn new(path: &PathRef) -> SysResult<Arc<Watched>> {
        let inode = path.inode()?.clone();
        inode.ext().watch_pins.fetch_add(1, Ordering::Relaxed);
        Ok(Arc::new(Watched { _dentry: path.dentry.clone(), inode }))
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.inode.ext().watch_pins.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Watchable for Watched {
    fn watch_set(&self) -> &WatchSet {
        &self.inode.ext().watches
    }
}

fn is_dir(dentry: &Dentry) -> bool {
    dentry.inode().is_ok_and(|inode| inode.kind() == FileKind::Directory)
}

fn tell(dentry: &Dentry, mask: u32, cookie: u32, name: Option<&[u8]>) {
    if let Ok(inode) = dentry.inode() {
        inode.ext().watches.notify(mask, cookie, name);
    }
}

/// `mask` happened to the entry `name` of `dir`.
pub fn entry(dir: &Arc<Dentry>, name: &[u8], mask: u32) {
    if inotify::is_used() {
        tell(dir, mask, 0, Some(name));
    }
}

/// `mask` happened to what `dentry` leads to: told to its watchers and to those of its directory.
pub fn inode(dentry: &Arc<Dentry>, mask: u32) {
    if !inotify::is_used() {
        return;
    }
    let Ok(inode) = dentry.inode() else { return };
    let child = &inode.ext().watches;
    match dentry.place().filter(|_| !dentry.is_unlinked()) {
        Some((parent, name)) => {
            let parent = parent.inode().ok().map(|inode| &inode.ext().watches);
            notify_child(parent, child, &name, mask, is_dir(dentry));
        }
        None => notify_child(None, child, b"", mask, is_dir(dentry)),
    }
}

/// As [`inode`], by place.
pub fn path(path: &PathRef, mask: u32) {
    inode(&path.dentry, mask);
}

/// What `dentry` leads to has got another name.
pub fn linked(dentry: &Arc<Dentry>) {
    if inotify::is_used() {
        tell(dentry, libc::IN_ATTRIB, 0, None);
    }
}

/// `name` was removed from `dir`; it led to `child`.
pub fn removed(dir: &Arc<Dentry>, name: &[u8], child: &Arc<Dentry>) {
    if !inotify::is_used() {
        return;
    }
    let flag = if is_dir(child) { libc::IN_ISDIR } else { 0 };
    if flag == 0 {
        tell(child, libc::IN_ATTRIB, 0, None);
    }
    ended(child, 1);
    entry(dir, name, libc::IN_DELETE | flag);
}

/// A user of what `dentry` leads to is gone; if it was the last, and no name is left, its watches end.
/// `users` are references to the dentry that the caller knows of.
pub fn ended(dentry: &Arc<Dentry>, users: usize) {
    if !inotify::is_used() || !dentry.is_unlinked() {
        return;
    }
    let Ok(inode) = dentry.inode() else { return };
    let pins = inode.ext().watch_pins.load(Ordering::Relaxed) as usize;
    if Arc::strong_count(dentry) <= users + pins && inode.attr().map_or(true, |attr| attr.nlink == 0) {
        inode.ext().watches.deleted();
    }
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
    if !inotify::is_used() {
        return;
    }
    let Happening { old, new, moved, replaced } = happening;
    let cookie = next_cookie();
    let flag = if is_dir(moved) { libc::IN_ISDIR } else { 0 };
    tell(&old.0, libc::IN_MOVED_FROM | flag, cookie, Some(&old.1));
    tell(&new.0, libc::IN_MOVED_TO | flag, cookie, Some(&new.1));
    tell(moved, libc::IN_MOVE_SELF, 0, None);
    if let Some(replaced) = replaced {
        tell(replaced, libc::IN_ATTRIB, 0, None);
        ended(replaced, 1);
    }
}
