//! What is known of a file of the host.
//!
//! An inode is named by its directory's inode and its name there; its identity is the host's device and inode
//! number, checked whenever it is reached anew. Directories keep a descriptor while there are not too many.

use super::file::{HostDir, HostFile};
use super::{Shared, WANTED};
use crate::abi::Timespec;
use crate::errno::{Errno, SysResult};
use crate::fs::attr::{Attr, FileKind, NewNode, Perm, SetAttr};
use crate::fs::budget::{self, Share};
use crate::fs::counters::{HOST_OPENS, HOST_STATS};
use crate::fs::file::FileOps;
use crate::fs::inode::{Caller, Inode, InodeExt, Landing, Moving, Rename};
use crate::sync::{Mutex, RwLock};
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, Statx};
use std::any::Any;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};

/// Without links, without leaving the directory.
const CONFINED: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_MAGICLINKS).union(ResolveFlags::NO_SYMLINKS);

/// A file of the host.
pub struct HostInode {
    pub(super) fs: Arc<Shared>,
    me: Weak<HostInode>,
    id: (u64, u64),
    ino: u64,
    kind: FileKind,
    attr: RwLock<Attr>,
    place: RwLock<Option<Place>>,
    /// Its descriptor, if a directory.
    dir: Mutex<Option<Arc<OwnedFd>>>,
    dir_used: AtomicBool,
    /// An open file of it.
    open: Mutex<Weak<OwnedFd>>,
    /// The way to it once the name it was found under is gone, or as long as it has had none.
    held: Mutex<Option<Arc<OwnedFd>>>,
    /// Of one below a memory layer nobody asks.
    ext: OnceLock<Box<InodeExt>>,
}

#[derive(Clone)]
struct Place {
    parent: Arc<HostInode>,
    name: Box<[u8]>,
}

impl std::fmt::Debug for HostInode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HostInode({:?} {})", self.kind, self.ino)
    }
}

/// The host's number of the device that a file is on.
pub(super) fn device(stat: &Statx) -> u64 {
    libc::makedev(stat.stx_dev_major, stat.stx_dev_minor)
}

pub(super) fn statx_fd(fd: impl AsFd) -> SysResult<Statx> {
    HOST_STATS.add();
    Ok(rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, WANTED)?)
}

fn statx_at(dir: impl AsFd, name: &[u8]) -> SysResult<Statx> {
    HOST_STATS.add();
    Ok(rustix::fs::statx(dir, component(name)?, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT, WANTED)?)
}

/// `name`, if it is a single component: the only form in which a guest's bytes ever reach a host call.
pub(super) fn component(name: &[u8]) -> SysResult<&[u8]> {
    if name.is_empty() || name == b"." || name == b".." || name.iter().any(|b| matches!(b, b'/' | 0)) {
        return Err(Errno::INVAL);
    }
    Ok(name)
}

fn time(time: &rustix::fs::StatxTimestamp) -> Timespec {
    Timespec { sec: time.tv_sec, nsec: i64::from(time.tv_nsec) }
}

impl HostInode {
    pub(super) fn root(fs: &Arc<Shared>, stat: &Statx) -> SysResult<Arc<HostInode>> {
        HostInode::make(fs, stat, None)
    }

    fn make(fs: &Arc<Shared>, stat: &Statx, place: Option<Place>) -> SysResult<Arc<HostInode>> {
        let kind = FileKind::from_mode(u32::from(stat.stx_mode)).ok_or(Errno::IO)?;
        let id = (device(stat), stat.stx_ino);
        // Numbers of other devices below the same directory are moved away from those of the first.
        let ino = if id.0 == fs.host_dev { id.1 } else { id.1 ^ (id.0 << 40) };
        Ok(Arc::new_cyclic(|me| HostInode {
            fs: fs.clone(),
            me: me.clone(),
            id,
            ino,
            kind,
            attr: RwLock::new(attr_of(fs, ino, stat)),
            place: RwLock::new(place),
            dir: Mutex::new(None),
            dir_used: AtomicBool::new(false),
            open: Mutex::new(Weak::new()),
            held: Mutex::new(None),
            ext: OnceLock::new(),
        }))
    }

    /// Itself, counted.
    pub(super) fn counted(&self) -> SysResult<Arc<HostInode>> {
        self.me.upgrade().ok_or(Errno::STALE)
    }

    /// The inode of a file without a name.
    pub(super) fn nameless(fs: &Arc<Shared>, fd: OwnedFd) -> SysResult<Arc<HostInode>> {
        let inode = HostInode::make(fs, &statx_fd(&fd)?, None)?;
        *inode.held.lock() = Some(Arc::new(fd));
        Ok(inode)
    }

    /// A descriptor that it has already, whatever its name is now.
    pub(super) fn held(&self) -> Option<Arc<OwnedFd>> {
        self.open.lock().upgrade().or_else(|| self.held.lock().clone())
    }

    /// A descriptor that stands for it, if for nothing but its attributes (`O_PATH`).
    pub(super) fn handle(&self) -> SysResult<Arc<OwnedFd>> {
        if let Some(fd) = self.held() {
            return Ok(fd);
        }
        if self.kind == FileKind::Directory {
            return self.dir();
        }
        let Some((parent, name)) = self.place() else { return Ok(self.fs.root.clone()) };
        let fd = open_host(&*parent.dir()?, &name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC)?;
        self.check(&statx_fd(&fd)?)?;
        Ok(Arc::new(fd))
    }

    /// The inode of `name` in this directory, as `stat` describes it.
    pub(super) fn child(&self, name: &[u8], stat: &Statx) -> SysResult<Arc<HostInode>> {
        HostInode::make(&self.fs, stat, Some(Place { parent: self.counted()?, name: name.into() }))
    }

    /// Looks at `name` in this directory.
    pub(super) fn find(&self, name: &[u8]) -> SysResult<Arc<HostInode>> {
        let stat = statx_at(&*self.dir()?, name)?;
        self.child(name, &stat)
    }

    pub(super) fn place(&self) -> Option<(Arc<HostInode>, Box<[u8]>)> {
        self.place.read().as_ref().map(|place| (place.parent.clone(), place.name.clone()))
    }

    /// Its name was changed by way of the sentry.
    pub(super) fn set_place(&self, parent: Arc<HostInode>, name: &[u8]) {
        let old = self.place.write().replace(Place { parent, name: name.into() });
        drop(old);
    }

    fn check(&self, stat: &Statx) -> SysResult<()> {
        if (device(stat), stat.stx_ino) == self.id { Ok(()) } else { Err(Errno::STALE) }
    }

    pub(super) fn update(&self, stat: &Statx) {
        *self.attr.write() = attr_of(&self.fs, self.ino, stat);
    }

    /// The descriptor of this directory.
    pub(super) fn dir(&self) -> SysResult<Arc<OwnedFd>> {
        if self.kind != FileKind::Directory {
            return Err(Errno::NOTDIR);
        }
        self.dir_used.store(true, Ordering::Relaxed);
        if let Some(fd) = &*self.dir.lock() {
            return Ok(fd.clone());
        }
        self.reopen_dir()
    }

    fn reopen_dir(&self) -> SysResult<Arc<OwnedFd>> {
        // Descriptors above it may be closed as well: they are opened from the first open one down.
        let mut closed = vec![self.counted()?];
        let mut fd = loop {
            let Some((parent, _)) = closed.last().and_then(|inode| inode.place()) else {
                break self.fs.root.clone();
            };
            if let Some(fd) = &*parent.dir.lock() {
                break fd.clone();
            }
            closed.push(parent);
        };
        while let Some(inode) = closed.pop() {
            let Some((_, name)) = inode.place() else { continue };
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let opened = open_host(&fd, &name, flags)?;
            if !inode.fs.exclusive {
                inode.check(&statx_fd(&opened)?)?;
            }
            fd = Arc::new(opened);
            *inode.dir.lock() = Some(fd.clone());
            self.fs.dirs.opened(&inode);
        }
        Ok(fd)
    }

    /// Whether the descriptor was used since the last time this was asked.
    pub(super) fn was_used(&self) -> bool {
        self.dir_used.swap(false, Ordering::Relaxed)
    }

    pub(super) fn close_dir(&self) -> Option<Arc<OwnedFd>> {
        self.dir.lock().take()
    }

    /// Opens a regular file for reading. One that nobody changes needs no more than one descriptor, for all
    /// reading names its offset.
    pub(super) fn open_to_read(&self) -> SysResult<Arc<OwnedFd>> {
        if !self.fs.exclusive {
            return self.open_host(OFlags::RDONLY);
        }
        if let Some(fd) = self.open.lock().upgrade() {
            return Ok(fd);
        }
        let fd = self.open_host(OFlags::RDONLY)?;
        self.fs.files.keep(&fd);
        Ok(fd)
    }

    /// Opens a directory for listing. Where it has no descriptor yet the new one serves for both: only listings
    /// look at positions, and each has a description of its own.
    pub(super) fn open_to_list(&self) -> SysResult<Arc<OwnedFd>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let is_open = self.dir.lock().is_some();
        let (false, Some((parent, name))) = (is_open, self.place()) else { return self.open_host(flags) };
        let all = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let fd = Arc::new(self.checked(open_host(&*parent.dir()?, &name, all)?)?);
        self.dir_used.store(true, Ordering::Relaxed);
        let mut dir = self.dir.lock();
        if dir.is_none() {
            *dir = Some(fd.clone());
            drop(dir);
            self.fs.dirs.opened(&self.counted()?);
        }
        Ok(fd)
    }

    /// Opens a regular file or directory, checked to be this one.
    pub(super) fn open_host(&self, flags: OFlags) -> SysResult<Arc<OwnedFd>> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
        let opened = match self.place() {
            _ if self.kind == FileKind::Directory => {
                let dir = self.dir()?;
                HOST_OPENS.add();
                Ok(rustix::fs::openat2(&*dir, c".", flags, Mode::empty(), CONFINED)?)
            }
            Some((parent, name)) => open_host(&*parent.dir()?, &name, flags).and_then(|fd| self.checked(fd)),
            None => return super::reopen(&*self.handle()?, flags),
        };
        match (opened, self.held()) {
            (Ok(fd), _) => Ok(self.opened(fd)),
            (Err(_), Some(held)) => super::reopen(&held, flags),
            (Err(e), None) => Err(e),
        }
    }

    /// Notes a descriptor that it can be reached by, as long as that is open.
    pub(super) fn opened(&self, fd: OwnedFd) -> Arc<OwnedFd> {
        let fd = Arc::new(fd);
        *self.open.lock() = Arc::downgrade(&fd);
        fd
    }

    fn checked(&self, fd: OwnedFd) -> SysResult<OwnedFd> {
        if !self.fs.exclusive {
            self.check(&statx_fd(&fd)?)?;
        }
        Ok(fd)
    }

    /// Asks the host for its attributes.
    pub(super) fn refresh(&self) -> SysResult<()> {
        let stat = match (self.held(), self.place()) {
            (Some(fd), _) => statx_fd(&fd)?,
            (None, None) => statx_fd(&self.fs.root)?,
            (None, Some((parent, name))) => statx_at(&*parent.dir()?, &name)?,
        };
        self.check(&stat)?;
        self.update(&stat);
        Ok(())
    }
}

fn open_host(dir: &OwnedFd, name: &[u8], flags: OFlags) -> SysResult<OwnedFd> {
    HOST_OPENS.add();
    match rustix::fs::openat2(dir, component(name)?, flags, Mode::empty(), CONFINED) {
        Ok(fd) => budget::within(Share::Host, fd, Errno::NFILE),
        Err(rustix::io::Errno::MFILE) => Err(Errno::NFILE),
        Err(e) => Err(e.into()),
    }
}

fn attr_of(fs: &Shared, ino: u64, stat: &Statx) -> Attr {
    Attr {
        dev: fs.dev,
        ino,
        mode: u32::from(stat.stx_mode),
        nlink: stat.stx_nlink,
        uid: stat.stx_uid,
        gid: stat.stx_gid,
        rdev: libc::makedev(stat.stx_rdev_major, stat.stx_rdev_minor),
        size: stat.stx_size,
        blksize: stat.stx_blksize,
        blocks: stat.stx_blocks,
        atime: time(&stat.stx_atime),
        mtime: time(&stat.stx_mtime),
        ctime: time(&stat.stx_ctime),
        btime: time(&stat.stx_btime),
    }
}

impl Inode for HostInode {
    fn attr(&self) -> SysResult<Attr> {
        if !self.fs.exclusive {
            self.refresh()?;
        }
        Ok(*self.attr.read())
    }

    fn attr_found(&self) -> SysResult<Attr> {
        Ok(*self.attr.read())
    }

    /// If it cannot be held it is reached by its open files alone.
    fn hold(&self) {
        if let Ok(fd) = self.handle() {
            *self.held.lock() = Some(fd);
        }
    }

    /// As of the walk that led here, which asked the host.
    fn perm(&self) -> SysResult<Perm> {
        Ok(Perm::from(&*self.attr.read()))
    }

    fn kind(&self) -> FileKind {
        self.kind
    }

    fn ino(&self) -> u64 {
        self.ino
    }

    fn ext(&self) -> &InodeExt {
        self.ext.get_or_init(Box::default)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn open(self: Arc<Self>, _: &Caller<'_>, flags: i32) -> SysResult<Box<dyn FileOps>> {
        match self.kind {
            FileKind::Directory => Ok(Box::new(HostDir::open(self)?)),
            FileKind::Regular => Ok(Box::new(HostFile::open(self, flags)?)),
            _ => Err(Errno::NXIO),
        }
    }

    fn set_attr(&self, change: &SetAttr) -> SysResult<()> {
        self.change_attr(change)
    }

    fn lookup(&self, _: &Caller<'_>, name: &[u8]) -> SysResult<Arc<dyn Inode>> {
        Ok(self.find(name)?)
    }

    fn revalidate(&self, _: &Caller<'_>, name: &[u8], child: &dyn Inode) -> bool {
        let Some(child) = child.as_any().downcast_ref::<HostInode>() else { return false };
        let Ok(stat) = self.dir().and_then(|dir| statx_at(&*dir, name)) else { return false };
        let is_same = child.check(&stat).is_ok();
        if is_same {
            child.update(&stat);
        }
        is_same
    }

    fn create(&self, name: &[u8], new: &NewNode) -> SysResult<Arc<dyn Inode>> {
        Ok(self.make_entry(name, new)?)
    }

    fn tmpfile(&self, new: &NewNode) -> SysResult<Arc<dyn Inode>> {
        Ok(self.make_unnamed(new)?)
    }

    fn link(&self, name: &[u8], target: &dyn Inode) -> SysResult<()> {
        self.link_entry(name, target)
    }

    fn unlink(&self, name: &[u8], target: &dyn Inode) -> SysResult<()> {
        self.remove_entry(name, target, AtFlags::empty())
    }

    fn rmdir(&self, name: &[u8], target: &dyn Inode) -> SysResult<()> {
        self.remove_entry(name, target, AtFlags::REMOVEDIR)
    }

    fn rename(&self, old: Moving<'_>, new_dir: &dyn Inode, new: Landing<'_>, how: Rename) -> SysResult<()> {
        self.rename_entry(old, new_dir, new, how)
    }

    fn readlink(&self, _: &Caller<'_>) -> SysResult<Vec<u8>> {
        if self.kind != FileKind::Symlink {
            return Err(Errno::INVAL);
        }
        let text = match (self.held(), self.place()) {
            (Some(held), _) => rustix::fs::readlinkat(&*held, c"", Vec::new())?,
            (None, Some((parent, name))) => rustix::fs::readlinkat(&*parent.dir()?, component(&name)?, Vec::new())?,
            (None, None) => rustix::fs::readlinkat(&*self.fs.root, c"", Vec::new())?,
        };
        Ok(text.into_bytes())
    }

    fn get_xattr(&self, name: &[u8]) -> SysResult<Vec<u8>> {
        self.read_xattr(name)
    }

    fn set_xattr(&self, name: &[u8], value: &[u8], flags: i32) -> SysResult<()> {
        self.write_xattr(name, value, flags)
    }

    fn list_xattr(&self) -> SysResult<Vec<Vec<u8>>> {
        self.xattr_names()
    }

    fn remove_xattr(&self, name: &[u8]) -> SysResult<()> {
        self.unset_xattr(name)
    }
}

impl Drop for HostInode {
    /// Drops ancestors in a loop: they may be more than the stack allows to recurse.
    fn drop(&mut self) {
        let mut next = self.place.get_mut().take();
        while let Some(mut inode) = next.and_then(|place| Arc::into_inner(place.parent)) {
            next = inode.place.get_mut().take();
        }
    }
}
