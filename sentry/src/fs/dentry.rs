//! Dentries: names in directories, and the cache of what they lead to.
//!
//! A dentry is alive while someone uses it or the cache of its file system keeps it; directories know their
//! children weakly. `children` is locked for writing over every change below a directory, in the sentry and
//! in the file system, so that the two agree. Locks of several directories are taken from ancestor to
//! descendant, or under [`SuperBlock::rename`] in the order of addresses.

use super::counters::{NAMES_FOUND, NAMES_KNOWN};
use super::inode::{Caller, Inode};
use super::superblock::SuperBlock;
use crate::errno::{Errno, SysResult};
use crate::sync::RwLock;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

/// Longest name of a directory entry.
pub const NAME_MAX: usize = 255;

/// The children of a directory that are in use or cached.
#[derive(Default, Debug)]
pub struct Children(Option<Box<Names>>);

/// What is known of a directory; most dentries are none.
#[derive(Default, Debug)]
struct Names {
    map: HashMap<Arc<[u8]>, Weak<Dentry>>,
    /// Entries whose dentry is gone are swept out when the map grows to this size.
    sweep_at: usize,
}

/// A name in a directory.
pub struct Dentry {
    /// The file system.
    pub sb: Arc<SuperBlock>,
    inode: Option<Arc<dyn Inode>>,
    place: RwLock<Place>,
    pub(super) children: RwLock<Children>,
    /// How many mounts sit on it, in all namespaces.
    pub(super) mounts: AtomicU32,
    unlinked: AtomicBool,
    /// Used since the cache's hand last passed.
    pub(super) used: AtomicBool,
    /// Where the cache keeps it.
    pub(super) slot: AtomicUsize,
}

struct Place {
    parent: Option<Arc<Dentry>>,
    name: Arc<[u8]>,
}

impl std::fmt::Debug for Dentry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Dentry({:?})", String::from_utf8_lossy(&self.name()))
    }
}

impl Dentry {
    fn make(
        sb: Arc<SuperBlock>,
        inode: Option<Arc<dyn Inode>>,
        parent: Option<Arc<Dentry>>,
        name: &[u8],
    ) -> Arc<Dentry> {
        Arc::new(Dentry {
            sb,
            inode,
            place: RwLock::new(Place { parent, name: name.into() }),
            children: RwLock::default(),
            mounts: AtomicU32::new(0),
            unlinked: AtomicBool::new(false),
            used: AtomicBool::new(false),
            slot: AtomicUsize::new(usize::MAX),
        })
    }

    /// The root of a file system.
    pub(super) fn root(sb: Arc<SuperBlock>, inode: Arc<dyn Inode>) -> Arc<Dentry> {
        Dentry::make(sb, Some(inode), None, b"/")
    }

    /// A dentry that no directory lists: a file without a name.
    pub(super) fn unnamed(sb: Arc<SuperBlock>, inode: Arc<dyn Inode>, parent: Arc<Dentry>, name: &[u8]) -> Arc<Dentry> {
        let dentry = Dentry::make(sb, Some(inode), Some(parent), name);
        dentry.unlinked.store(true, Ordering::Relaxed);
        dentry
    }

    /// What it leads to; `ENOENT` for a cached absence.
    pub fn inode(&self) -> SysResult<&Arc<dyn Inode>> {
        self.inode.as_ref().ok_or(Errno::NOENT)
    }

    /// Its name now.
    pub fn name(&self) -> Arc<[u8]> {
        self.place.read().name.clone()
    }

    /// Its directory now; `None` for the root of a file system.
    pub fn parent(&self) -> Option<Arc<Dentry>> {
        self.place.read().parent.clone()
    }

    /// Its directory and name, as one.
    pub fn place(&self) -> Option<(Arc<Dentry>, Arc<[u8]>)> {
        let place = self.place.read();
        Some((place.parent.clone()?, place.name.clone()))
    }

    /// Whether the name was removed (and the dentry lives on in open files).
    pub fn is_unlinked(&self) -> bool {
        self.unlinked.load(Ordering::Acquire)
    }

    /// Whether it is `other` or below it.
    pub fn is_below(self: &Arc<Self>, other: &Arc<Dentry>) -> bool {
        let mut at = self.clone();
        loop {
            if Arc::ptr_eq(&at, other) {
                return true;
            }
            match at.parent() {
                Some(parent) => at = parent,
                None => return false,
            }
        }
    }

    /// The entry `name`; `None` if there is none.
    pub fn lookup(self: &Arc<Self>, caller: &Caller<'_>, name: &[u8]) -> SysResult<Option<Arc<Dentry>>> {
        let cached = self.children.read().get(name);
        if let Some(child) = cached {
            if self.sb.exclusive {
                NAMES_KNOWN.add();
                child.used.store(true, Ordering::Relaxed);
                return Ok(child.inode.is_some().then_some(child));
            }
            if let Some(inode) = &child.inode
                && self.inode()?.revalidate(caller, name, &**inode)
            {
                NAMES_KNOWN.add();
                return Ok(Some(child));
            }
        }
        self.lookup_locked(&mut self.children.write(), caller, name)
    }

    /// As [`lookup`](Self::lookup), for one who has locked the children to change them.
    pub(super) fn lookup_locked(
        self: &Arc<Self>,
        children: &mut Children,
        caller: &Caller<'_>,
        name: &[u8],
    ) -> SysResult<Option<Arc<Dentry>>> {
        let dir = self.inode()?;
        if let Some(child) = children.get(name) {
            match &child.inode {
                _ if self.sb.exclusive => return Ok(child.inode.is_some().then_some(child)),
                Some(inode) if dir.revalidate(caller, name, &**inode) => return Ok(Some(child)),
                _ => self.forget(children, &child),
            }
        }
        if self.is_unlinked() {
            return Ok(None);
        }
        NAMES_FOUND.add();
        match dir.lookup(caller, name) {
            Ok(inode) => Ok(Some(self.add(children, name, Some(inode)))),
            Err(Errno::NOENT) => {
                if self.sb.exclusive {
                    self.add(children, name, None);
                }
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }

    /// Notes that `name` leads to `inode` (or nowhere), in place of what was noted before.
    pub(super) fn add(
        self: &Arc<Self>,
        children: &mut Children,
        name: &[u8],
        inode: Option<Arc<dyn Inode>>,
    ) -> Arc<Dentry> {
        let child = self.list(children, name, inode);
        self.sb.cache(&child);
        child
    }

    fn list(self: &Arc<Self>, children: &mut Children, name: &[u8], inode: Option<Arc<dyn Inode>>) -> Arc<Dentry> {
        let child = Dentry::make(self.sb.clone(), inode, Some(self.clone()), name);
        if let Some(old) = children.insert(child.name(), &child) {
            self.sb.uncache(&old);
        }
        child
    }

    /// Takes a dentry out of the cache; it stays valid for those who have it.
    pub(super) fn forget(&self, children: &mut Children, child: &Arc<Dentry>) {
        let name = child.name();
        if children.get(&name).is_some_and(|c| Arc::ptr_eq(&c, child)) {
            children.remove(&name);
        }
        self.sb.uncache(child);
    }

    /// The name is about to go: has those who use what it leads to keep a way there. Called with the directory's
    /// children locked, so that no further users come.
    pub(super) fn before_removal(self: &Arc<Self>) {
        if self.sb.exclusive {
            return;
        }
        self.sb.uncache(self);
        if let Some(inode) = &self.inode
            && (Arc::strong_count(self) > 1 || Arc::strong_count(inode) > 1)
        {
            inode.hold();
        }
    }

    /// Notes that the entry of `child` was removed.
    pub(super) fn removed(self: &Arc<Self>, children: &mut Children, child: &Arc<Dentry>) {
        child.unlinked.store(true, Ordering::Release);
        self.forget(children, child);
        if self.sb.exclusive {
            let absence = self.list(children, &child.name(), None);
            self.sb.cache_removed(absence);
        }
    }

    /// Notes that `child` moved from `old` to `name` in `new`. `new` is `None` if both are `old`.
    pub(super) fn moved(
        child: &Arc<Dentry>,
        old: (&Arc<Dentry>, &mut Children),
        new: (&Arc<Dentry>, Option<&mut Children>),
        name: &[u8],
    ) {
        let old_name = child.name();
        let (old_dir, old_children) = old;
        if old_children.get(&old_name).is_some_and(|c| Arc::ptr_eq(&c, child)) {
            old_children.remove(&old_name);
        }
        let into = match new.1 {
            Some(children) => children,
            None => &mut *old_children,
        };
        let name: Arc<[u8]> = name.into();
        if let Some(negative) = into.insert(name.clone(), child) {
            old_dir.sb.uncache(&negative);
        }
        *child.place.write() = Place { parent: Some(new.0.clone()), name };
    }
}

impl Children {
    /// Whether something was found under `name` and is in use or cached.
    pub(super) fn has(&self, name: &[u8]) -> bool {
        self.get(name).is_some()
    }

    /// What was found under `name` and is in use or cached; of a file system that others change it may be gone.
    pub(super) fn get(&self, name: &[u8]) -> Option<Arc<Dentry>> {
        self.0.as_ref()?.map.get(name)?.upgrade()
    }

    fn insert(&mut self, name: Arc<[u8]>, child: &Arc<Dentry>) -> Option<Arc<Dentry>> {
        let names = self.0.get_or_insert_default();
        if names.map.len() >= names.sweep_at {
            names.map.retain(|_, child| child.strong_count() > 0);
            names.sweep_at = (2 * names.map.len()).max(16);
        }
        names.map.insert(name, Arc::downgrade(child)).and_then(|old| old.upgrade())
    }

    fn remove(&mut self, name: &[u8]) {
        if let Some(names) = &mut self.0 {
            names.map.remove(name);
        }
    }
}

impl Drop for Dentry {
    /// Drops ancestors in a loop: a guest can nest directories deeper than the stack allows to recurse.
    fn drop(&mut self) {
        let mut next = self.place.get_mut().parent.take();
        while let Some(dentry) = next.and_then(Arc::into_inner) {
            let mut dentry = dentry;
            next = dentry.place.get_mut().parent.take();
        }
    }
}
