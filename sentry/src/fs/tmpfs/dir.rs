//! Directories in memory: names, whiteouts of names below, and listing.

use super::listing::{Below, Listing, Listings};
use super::node::{Body, Node};
use crate::errno::{Errno, SysResult};
use crate::fs::attr::{FileKind, NewNode, now};
use crate::fs::file::{Emit, File, FileOps};
use crate::fs::inode::{Caller, Inode, Landing, Moving, Rename};
use crate::sync::{Mutex, RwLock};
use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};

/// Cookies below this stand for `.`, `..`.
const FIRST_COOKIE: u64 = 2;
/// Cookies from here on stand for names of the lower directory.
const LOWER_COOKIE: u64 = 1 << 62;

/// A name.
pub(super) struct Entry {
    /// What it leads to; `None` hides a name of the lower directory.
    node: Option<Arc<Node>>,
    /// The lower directory has the name too: it is listed in its place there, so that a listing under way
    /// neither repeats nor misses a name that begins to be kept.
    in_lower: bool,
    cookie: u64,
}

impl Entry {
    /// An entry for a node of the lower directory at its old name.
    pub(super) fn kept(node: Arc<Node>) -> Entry {
        Entry { node: Some(node), in_lower: true, cookie: 0 }
    }
}

/// The content of a directory.
pub(super) struct Directory {
    entries: HashMap<Arc<[u8]>, Entry>,
    /// Names that the lower directory does not have, in the order of their cookies.
    order: BTreeMap<u64, Arc<[u8]>>,
    next_cookie: u64,
    lower: Option<Arc<dyn Inode>>,
    /// The names of `lower`, while they are kept.
    listing: Weak<Listing>,
}

impl Directory {
    pub(super) fn empty() -> Directory {
        Directory {
            entries: HashMap::new(),
            order: BTreeMap::new(),
            next_cookie: FIRST_COOKIE,
            lower: None,
            listing: Weak::new(),
        }
    }

    pub(super) fn over(lower: Arc<dyn Inode>) -> Directory {
        Directory { lower: Some(lower), ..Directory::empty() }
    }

    /// Keeps a node of the lower directory, unless the name was changed meanwhile.
    pub(super) fn keep(&mut self, name: &[u8], entry: Entry) {
        self.entries.entry(name.into()).or_insert(entry);
    }

    /// Puts `node` at `name`. `exists` if the name may be one of the lower directory that nothing hides.
    fn put(&mut self, name: &[u8], node: Arc<Node>, in_lower: bool) {
        let cookie = self.next_cookie;
        self.next_cookie += 1;
        let name: Arc<[u8]> = name.into();
        let old = self.entries.insert(name.clone(), Entry { node: Some(node), in_lower, cookie });
        if let Some(old) = old.filter(|old| !old.in_lower) {
            self.order.remove(&old.cookie);
        }
        if !in_lower {
            self.order.insert(cookie, name);
        }
    }

    /// Swaps the node behind a name that exists, at its place in listings.
    fn swap(&mut self, name: &[u8], node: Arc<Node>) {
        match self.entries.get_mut(name) {
            Some(entry) => entry.node = Some(node),
            None => self.put(name, node, true),
        }
    }

    /// Takes `name` away; leaves a whiteout if the lower directory has it.
    fn take(&mut self, name: &[u8]) {
        if self.names_lower(name) {
            self.entries.insert(name.into(), Entry { node: None, in_lower: true, cookie: 0 });
        } else if let Some(old) = self.entries.remove(name) {
            self.order.remove(&old.cookie);
        }
    }

    /// Whether a name that exists, or has an entry, is one of the lower directory.
    fn names_lower(&self, name: &[u8]) -> bool {
        self.entries.get(name).map_or(self.lower.is_some(), |entry| entry.in_lower)
    }

    pub(super) fn take_nodes(&mut self) -> Vec<Arc<Node>> {
        self.order.clear();
        self.entries.drain().filter_map(|(_, entry)| entry.node).collect()
    }

    /// Whether nothing is in it but what `below`, the names of its lower directory, has and it hides.
    fn is_empty(&self, below: &Listing) -> bool {
        self.entries.values().all(|entry| entry.node.is_none())
            && below.from(0).all(|below| self.entries.contains_key(below.name))
    }
}

fn downcast(inode: &dyn Inode) -> SysResult<&Node> {
    inode.as_any().downcast_ref().ok_or(Errno::XDEV)
}

/// What the inode of a directory does; see [`Inode`] for each.
impl Node {
    pub(super) fn dir(&self) -> SysResult<&RwLock<Directory>> {
        match &self.body {
            Body::Directory(dir) => Ok(dir),
            _ => Err(Errno::NOTDIR),
        }
    }

    /// The names of the lower directory; none if there is no such.
    fn below(&self) -> SysResult<Arc<Listing>> {
        let lower = {
            let dir = self.dir()?.read();
            if let Some(listing) = Listings::get(&dir.listing) {
                return Ok(listing);
            }
            dir.lower.clone()
        };
        let Some(lower) = lower else { return Ok(Arc::default()) };
        let listing = Arc::new(Listing::read(&lower)?);
        self.dir()?.write().listing = Arc::downgrade(&listing);
        self.fs.listings.keep(&listing);
        Ok(listing)
    }

    fn is_empty_dir(&self) -> SysResult<bool> {
        let below = self.below()?;
        Ok(self.dir()?.read().is_empty(&below))
    }

    pub(super) fn dir_lookup(&self, caller: &Caller<'_>, name: &[u8]) -> SysResult<Arc<dyn Inode>> {
        let lower = {
            let dir = self.dir()?.read();
            match dir.entries.get(name) {
                Some(Entry { node: Some(node), .. }) => return Ok(node.clone()),
                Some(Entry { node: None, .. }) => return Err(Errno::NOENT),
                None => dir.lower.clone().ok_or(Errno::NOENT)?,
            }
        };
        let child = lower.lookup(caller, name)?;
        Ok(Node::over(&self.fs, child, Some((self.arc()?, name)))?)
    }

    pub(super) fn dir_create(&self, name: &[u8], new: &NewNode) -> SysResult<Arc<dyn Inode>> {
        let now = now();
        let dir = self.dir()?;
        let node = Node::make(&self.fs, new, now)?;
        self.keep();
        let mut dir = dir.write();
        let in_lower = dir.entries.get(name).is_some_and(|entry| entry.in_lower);
        dir.put(name, node.clone(), in_lower);
        drop(dir);
        let more = u32::from(new.kind == FileKind::Directory);
        self.dir_changed(|nlink| nlink.saturating_add(more));
        Ok(node)
    }

    /// A name was changed: stamps the directory and adjusts its link count.
    fn dir_changed(&self, nlink: impl FnOnce(u32) -> u32) {
        let mut meta = self.meta.lock();
        meta.nlink = nlink(meta.nlink);
        meta.mtime = now();
        meta.ctime = meta.mtime;
    }

    pub(super) fn dir_link(&self, name: &[u8], target: &dyn Inode) -> SysResult<()> {
        let target = downcast(target)?.arc()?;
        target.keep();
        self.keep();
        {
            let mut meta = target.meta.lock();
            meta.nlink += 1;
            meta.ctime = now();
        }
        let mut dir = self.dir()?.write();
        let in_lower = dir.entries.get(name).is_some_and(|entry| entry.in_lower);
        dir.put(name, target, in_lower);
        drop(dir);
        self.dir_changed(|nlink| nlink);
        Ok(())
    }

    pub(super) fn dir_unlink(&self, name: &[u8], target: &dyn Inode) -> SysResult<()> {
        let target = downcast(target)?;
        self.keep();
        target.leave_home(false);
        self.dir()?.write().take(name);
        target.unlinked();
        self.dir_changed(|nlink| nlink);
        Ok(())
    }

    pub(super) fn dir_rmdir(&self, name: &[u8], target: &dyn Inode) -> SysResult<()> {
        let target = downcast(target)?;
        if !target.is_empty_dir()? {
            return Err(Errno::NOTEMPTY);
        }
        self.keep();
        target.leave_home(false);
        self.dir()?.write().take(name);
        target.lose_name();
        self.dir_changed(|nlink| nlink.saturating_sub(1));
        Ok(())
    }

    pub(super) fn dir_rename(&self, old: Moving<'_>, to: &dyn Inode, new: Landing<'_>, how: Rename) -> SysResult<()> {
        let to = downcast(to)?;
        let moved = downcast(old.inode)?.arc()?;
        let target = new.inode.map(|inode| downcast(inode)?.arc()).transpose()?;
        let (name, new_name) = (old.name, new.name);
        let is_dir = |node: &Arc<Node>| u32::from(node.kind == FileKind::Directory);
        let (came, went) = (is_dir(&moved), target.as_ref().map_or(0, is_dir));
        if let (Rename::Replace, Some(target)) = (how, &target)
            && went == 1
            && !target.is_empty_dir()?
        {
            return Err(Errno::NOTEMPTY);
        }
        self.keep();
        to.keep();
        moved.leave_home(true);
        if let (Rename::Exchange, Some(target)) = (how, &target) {
            target.leave_home(true);
            to.dir()?.write().swap(new_name, moved.clone());
            self.dir()?.write().swap(name, target.clone());
            self.dir_changed(|nlink| (nlink + went).saturating_sub(came));
            to.dir_changed(|nlink| (nlink + came).saturating_sub(went));
        } else {
            self.dir()?.write().take(name);
            let mut dir = to.dir()?.write();
            let in_lower = match dir.entries.get(new_name) {
                Some(entry) => entry.in_lower,
                None => target.is_some(),
            };
            dir.put(new_name, moved.clone(), in_lower);
            drop(dir);
            self.dir_changed(|nlink| nlink.saturating_sub(came));
            to.dir_changed(|nlink| (nlink + came).saturating_sub(went));
        }
        if let (Rename::Replace, Some(target)) = (how, &target) {
            target.leave_home(false);
            if went == 1 { target.lose_name() } else { target.unlinked() }
        }
        moved.meta.lock().ctime = now();
        Ok(())
    }
}

/// An open directory.
pub(super) struct OpenDir {
    pub(super) node: Arc<Node>,
    /// The names of the lower directory, once a listing has come to them.
    below: Mutex<Option<Arc<Listing>>>,
}

impl OpenDir {
    pub(super) fn new(node: Arc<Node>) -> OpenDir {
        OpenDir { node, below: Mutex::new(None) }
    }

    fn below(&self) -> SysResult<Arc<Listing>> {
        if let Some(below) = &*self.below.lock() {
            return Ok(below.clone());
        }
        let below = self.node.below()?;
        *self.below.lock() = Some(below.clone());
        Ok(below)
    }

    /// Lists what only memory has; false if `emit` has enough.
    fn list_memory(&self, pos: &mut u64, emit: &mut Emit<'_>) -> SysResult<bool> {
        let dir = self.node.dir()?.read();
        for (cookie, name) in dir.order.range(*pos..) {
            let Some(node) = dir.entries.get(name).and_then(|entry| entry.node.as_ref()) else { continue };
            if !emit(name, node.ino, node.kind.dtype(), cookie + 1) {
                return Ok(false);
            }
            *pos = cookie + 1;
        }
        Ok(true)
    }

    fn list_lower(&self, pos: &mut u64, emit: &mut Emit<'_>) -> SysResult<()> {
        let below = self.below()?;
        let dir = self.node.dir()?.read();
        let start = usize::try_from(*pos - LOWER_COOKIE).unwrap_or(usize::MAX);
        for Below { name, ino, dtype } in below.from(start) {
            let next = *pos + 1;
            let goes_on = match dir.entries.get(name) {
                Some(Entry { node: None, .. }) => true,
                Some(Entry { node: Some(node), .. }) => emit(name, node.ino, node.kind.dtype(), next),
                None => emit(name, ino, dtype, next),
            };
            if !goes_on {
                return Ok(());
            }
            *pos = next;
        }
        Ok(())
    }
}

impl FileOps for OpenDir {
    fn read(&self, _: &File, _: &mut [u8], _: u64) -> SysResult<usize> {
        Err(Errno::ISDIR)
    }

    fn is_seekable(&self) -> bool {
        true
    }

    fn size(&self) -> SysResult<u64> {
        Ok(i64::MAX as u64)
    }

    fn readdir(&self, file: &File, pos: &mut u64, emit: &mut Emit<'_>) -> SysResult<()> {
        if *pos < FIRST_COOKIE && !super::super::readdir::emit_dots(file, self.node.ino, pos, emit) {
            return Ok(());
        }
        if *pos < LOWER_COOKIE {
            if !self.list_memory(pos, emit)? {
                return Ok(());
            }
            if self.node.lower.is_none() {
                return Ok(());
            }
            *pos = LOWER_COOKIE;
        }
        self.list_lower(pos, emit)
    }

    fn sync(&self) -> SysResult<()> {
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
