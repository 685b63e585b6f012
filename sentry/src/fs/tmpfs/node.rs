//! Nodes: the inodes of tmpfs, and how those of a lower directory begin to be kept.

use super::data::Regular;
use super::dir::{Directory, Entry};
use super::xattr::Xattrs;
use super::{Links, Options, Shared};
use crate::abi::Timespec;
use crate::errno::SysResult;
use crate::fs::attr::{Attr, FileKind, NewNode, now};
use crate::fs::inode::{Inode, InodeExt};
use crate::sync::{Mutex, RwLock};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};

/// An inode.
pub struct Node {
    pub(super) fs: Arc<Shared>,
    me: Weak<Node>,
    pub(super) ino: u64,
    pub(super) kind: FileKind,
    pub(super) rdev: u64,
    pub(super) meta: Mutex<Meta>,
    pub(super) body: Body,
    pub(super) ext: InodeExt,
    /// What it stands for in the lower directory, if anything.
    pub(super) lower: Option<Arc<dyn Inode>>,
    /// Where it stands in the lower directory, as long as no directory in memory keeps it.
    home: Mutex<Option<Home>>,
    /// It counts as an inode of the file system.
    counted: AtomicBool,
}

struct Home {
    parent: Arc<Node>,
    name: Box<[u8]>,
}

/// What changes often.
#[derive(Debug)]
pub(super) struct Meta {
    /// Permission bits only.
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) nlink: u32,
    pub(super) atime: Timespec,
    pub(super) mtime: Timespec,
    pub(super) ctime: Timespec,
    pub(super) btime: Timespec,
    pub(super) xattrs: Option<Box<Xattrs>>,
}

/// What a kind of node contains.
pub(super) enum Body {
    Regular(RwLock<Regular>),
    /// Larger than the others, and rarer.
    Directory(Box<RwLock<Directory>>),
    Symlink(OnceLock<Box<[u8]>>),
    Special,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Node({:?} {})", self.kind, self.ino)
    }
}

impl Node {
    /// A new node in memory.
    pub(super) fn make(fs: &Arc<Shared>, new: &NewNode, now: Timespec) -> SysResult<Arc<Node>> {
        fs.inodes.take(1)?;
        let body = match new.kind {
            FileKind::Regular => Body::Regular(RwLock::new(Regular::empty())),
            FileKind::Directory => Body::Directory(Box::new(RwLock::new(Directory::empty()))),
            FileKind::Symlink => Body::Symlink(OnceLock::from(Box::from(new.target.as_slice()))),
            _ => Body::Special,
        };
        let meta = Meta {
            mode: new.mode & 0o7777,
            uid: new.uid,
            gid: new.gid,
            nlink: if new.kind == FileKind::Directory { 2 } else { 1 },
            atime: now,
            mtime: now,
            ctime: now,
            btime: now,
            xattrs: None,
        };
        let ino = fs.next_ino.fetch_add(1, Ordering::Relaxed);
        let rdev = if new.kind.is_device() { new.rdev } else { 0 };
        Ok(Node::build(fs, ino, new.kind, rdev, meta, body, None, None))
    }

    /// The root of a file system without a lower directory.
    pub(super) fn memory_root(fs: &Arc<Shared>, options: &Options) -> Arc<Node> {
        let now = now();
        let Options { mode, uid, gid, .. } = *options;
        let meta = Meta { mode, uid, gid, nlink: 2, atime: now, mtime: now, ctime: now, btime: now, xattrs: None };
        let ino = fs.next_ino.fetch_add(1, Ordering::Relaxed);
        fs.inodes.force(1);
        let node = Node::build(
            fs,
            ino,
            FileKind::Directory,
            0,
            meta,
            Body::Directory(Box::new(RwLock::new(Directory::empty()))),
            None,
            None,
        );
        node.counted.store(true, Ordering::Relaxed);
        node
    }

    /// A node that stands for `lower`, found as `home` says.
    pub(super) fn over(
        fs: &Arc<Shared>,
        lower: Arc<dyn Inode>,
        home: Option<(Arc<Node>, &[u8])>,
    ) -> SysResult<Arc<Node>> {
        let attr = lower.attr()?;
        let kind = lower.kind();
        let has_links = kind != FileKind::Directory && attr.nlink > 1;
        if has_links && let Some(node) = fs.keeping.lock().find(attr.ino) {
            return Ok(node);
        }
        let body = match kind {
            FileKind::Regular => Body::Regular(RwLock::new(Regular::lower(lower.clone()))),
            FileKind::Directory => Body::Directory(Box::new(RwLock::new(Directory::over(lower.clone())))),
            FileKind::Symlink => Body::Symlink(OnceLock::new()),
            _ => Body::Special,
        };
        let home = home.map(|(parent, name)| Home { parent, name: name.into() });
        let node = Node::build(fs, attr.ino, kind, attr.rdev, Meta::of(&attr), body, Some(lower), home);
        if has_links {
            return Ok(fs.keeping.lock().note(node));
        }
        Ok(node)
    }

    #[expect(clippy::too_many_arguments, reason = "the one place where nodes are put together")]
    fn build(
        fs: &Arc<Shared>,
        ino: u64,
        kind: FileKind,
        rdev: u64,
        meta: Meta,
        body: Body,
        lower: Option<Arc<dyn Inode>>,
        home: Option<Home>,
    ) -> Arc<Node> {
        let counted = lower.is_none();
        Arc::new_cyclic(|me| Node {
            fs: fs.clone(),
            me: me.clone(),
            ino,
            kind,
            rdev,
            meta: Mutex::new(meta),
            body,
            ext: InodeExt::default(),
            lower,
            home: Mutex::new(home),
            counted: AtomicBool::new(counted),
        })
    }

    /// Itself, counted.
    pub(super) fn arc(&self) -> SysResult<Arc<Node>> {
        self.me.upgrade().ok_or(crate::errno::Errno::STALE)
    }

    /// Whether it stands for something in the lower directory and nothing keeps it yet.
    pub(super) fn is_unkept(&self) -> bool {
        self.lower.is_some() && self.home.lock().is_some()
    }

    /// Has its directory keep it, because it is about to change; and so on up to the root.
    pub(super) fn keep(&self) {
        if !self.is_unkept() {
            return;
        }
        let mut links = self.fs.keeping.lock();
        self.keep_links(&mut links);
        let Ok(mut node) = self.arc() else { return };
        loop {
            let home = node.home.lock().take();
            let Some(Home { parent, name }) = home else { return };
            node.count();
            if let Body::Directory(dir) = &parent.body {
                dir.write().keep(&name, Entry::kept(node));
            }
            node = parent;
        }
    }

    /// Its entry is removed or replaced by the caller; `keeps` if it stays in use under another name.
    pub(super) fn leave_home(&self, keeps: bool) {
        if self.lower.is_none() {
            return;
        }
        let mut links = self.fs.keeping.lock();
        self.keep_links(&mut links);
        let home = self.home.lock().take();
        drop(links);
        if keeps && home.is_some() {
            self.count();
        }
    }

    fn keep_links(&self, links: &mut Links) {
        if self.kind != FileKind::Directory
            && let Some(node) = links.known.get(&self.ino).and_then(Weak::upgrade)
        {
            links.kept.insert(self.ino, node);
        }
    }

    /// Counts as an inode from now on.
    fn count(&self) {
        if !self.counted.swap(true, Ordering::Relaxed) {
            self.fs.inodes.force(1);
        }
    }

    /// Has one link less; the last one is forgotten.
    pub(super) fn unlinked(&self) {
        let mut meta = self.meta.lock();
        meta.nlink = meta.nlink.saturating_sub(1);
        meta.ctime = now();
        if meta.nlink == 0 && self.lower.is_some() {
            drop(meta);
            let gone = self.fs.keeping.lock().kept.remove(&self.ino);
            drop(gone);
        }
    }

    /// Never had a name.
    pub(super) fn lose_name(&self) {
        self.meta.lock().nlink = 0;
    }
}

impl Links {
    fn find(&self, ino: u64) -> Option<Arc<Node>> {
        self.known.get(&ino).and_then(Weak::upgrade)
    }

    /// Notes `node`, unless another was noted meanwhile, which is then the one.
    fn note(&mut self, node: Arc<Node>) -> Arc<Node> {
        if let Some(other) = self.find(node.ino) {
            return other;
        }
        // Sweeps when it has doubled, so that it stays as small as what is in use.
        if self.known.len().is_power_of_two() {
            self.known.retain(|_, node| node.strong_count() > 0);
        }
        self.known.insert(node.ino, Arc::downgrade(&node));
        node
    }
}

impl Meta {
    fn of(attr: &Attr) -> Meta {
        Meta {
            mode: attr.mode & 0o7777,
            uid: attr.uid,
            gid: attr.gid,
            nlink: attr.nlink,
            atime: attr.atime,
            mtime: attr.mtime,
            ctime: attr.ctime,
            btime: attr.btime,
            xattrs: None,
        }
    }
}

impl Drop for Node {
    /// Gives back what it used; entries and homes are dropped in loops, for a guest can nest directories
    /// deeper than the stack allows to recurse.
    fn drop(&mut self) {
        if *self.counted.get_mut() {
            self.fs.inodes.give(1);
        }
        if let Some(xattrs) = &self.meta.get_mut().xattrs {
            self.fs.xattrs.give(xattrs.total());
        }
        if let Body::Regular(regular) = &mut self.body {
            self.fs.pages.give(regular.get_mut().charged);
        }
        let mut doomed = self.take_nodes();
        while let Some(node) = doomed.pop() {
            if let Some(mut node) = Arc::into_inner(node) {
                doomed.append(&mut node.take_nodes());
            }
        }
    }
}

impl Node {
    fn take_nodes(&mut self) -> Vec<Arc<Node>> {
        let mut nodes: Vec<_> = self.home.get_mut().take().map(|home| home.parent).into_iter().collect();
        if let Body::Directory(dir) = &mut self.body {
            nodes.append(&mut dir.get_mut().take_nodes());
        }
        nodes
    }
}
