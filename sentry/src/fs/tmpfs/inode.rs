//! The interface of nodes to the layers above.

use super::dir::OpenDir;
use super::file::TmpFile;
use super::node::{Body, Meta, Node};
use super::xattr::Xattrs;
use crate::errno::{Errno, SysResult};
use crate::fs::attr::{Attr, FileKind, NewNode, Perm, SetAttr, SetTime, now};
use crate::fs::file::FileOps;
use crate::fs::inode::{Caller, Inode, InodeExt, Landing, Moving, Rename};
use crate::fs::special;
use std::any::Any;
use std::sync::Arc;

/// What an entry adds to a directory's size, as tmpfs shows it.
const DIR_SIZE: u64 = 4096;

impl Inode for Node {
    fn attr(&self) -> SysResult<Attr> {
        let (size, blocks) = match &self.body {
            Body::Regular(regular) => regular.read().usage()?,
            Body::Directory(_) => (DIR_SIZE, 0),
            Body::Symlink(target) => (self.link_size(target.get().map(|target| &**target))?, 0),
            Body::Special => (0, 0),
        };
        let meta = self.meta.lock();
        Ok(Attr {
            dev: self.fs.dev,
            ino: self.ino,
            mode: self.kind.bits() | meta.mode,
            nlink: meta.nlink,
            uid: meta.uid,
            gid: meta.gid,
            rdev: self.rdev,
            size,
            blksize: 4096,
            blocks,
            atime: meta.atime,
            mtime: meta.mtime,
            ctime: meta.ctime,
            btime: meta.btime,
        })
    }

    fn perm(&self) -> SysResult<Perm> {
        let meta = self.meta.lock();
        Ok(Perm { mode: self.kind.bits() | meta.mode, uid: meta.uid, gid: meta.gid })
    }

    fn kind(&self) -> FileKind {
        self.kind
    }

    fn ino(&self) -> u64 {
        self.ino
    }

    fn ext(&self) -> &InodeExt {
        &self.ext
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn open(self: Arc<Self>, caller: &Caller<'_>, flags: i32) -> SysResult<Box<dyn FileOps>> {
        match self.kind {
            FileKind::Regular => Ok(Box::new(TmpFile::open(self, caller, flags)?)),
            FileKind::Directory => Ok(Box::new(OpenDir::new(self))),
            FileKind::CharDevice | FileKind::BlockDevice => special::open_device(caller, self.kind, self.rdev, flags),
            FileKind::Symlink => Err(Errno::LOOP),
            FileKind::Fifo | FileKind::Socket => Err(Errno::NXIO),
        }
    }

    fn set_attr(&self, change: &SetAttr) -> SysResult<()> {
        self.keep();
        if let Some(size) = change.size {
            let Body::Regular(regular) = &self.body else { return Err(Errno::INVAL) };
            regular.write().set_len(&self.fs, size)?;
        }
        let now = now();
        let time = |set: Option<SetTime>| set.map(SetTime::value);
        let mut meta = self.meta.lock();
        let Meta { mode, uid, gid, atime, mtime, ctime, .. } = &mut *meta;
        *mode = change.mode.unwrap_or(*mode) & 0o7777;
        *uid = change.uid.unwrap_or(*uid);
        *gid = change.gid.unwrap_or(*gid);
        *atime = time(change.atime).unwrap_or(*atime);
        *mtime = time(change.mtime).unwrap_or(*mtime);
        *ctime = now;
        Ok(())
    }

    fn accessed(&self) {
        let now = now();
        let mut meta = self.meta.lock();
        let is_stale = meta.atime <= meta.mtime || meta.atime <= meta.ctime || meta.atime.sec + 86_400 <= now.sec;
        // A node of the lower directory is not kept for the sake of its access time.
        if is_stale && self.lower.is_none() {
            meta.atime = now;
        }
    }

    fn lookup(&self, caller: &Caller<'_>, name: &[u8]) -> SysResult<Arc<dyn Inode>> {
        self.dir_lookup(caller, name)
    }

    fn create(&self, name: &[u8], new: &NewNode) -> SysResult<Arc<dyn Inode>> {
        self.dir_create(name, new)
    }

    fn tmpfile(&self, new: &NewNode) -> SysResult<Arc<dyn Inode>> {
        self.dir()?;
        let node = Node::make(&self.fs, new, now())?;
        node.lose_name();
        Ok(node)
    }

    fn link(&self, name: &[u8], target: &dyn Inode) -> SysResult<()> {
        self.dir_link(name, target)
    }

    fn unlink(&self, name: &[u8], target: &dyn Inode) -> SysResult<()> {
        self.dir_unlink(name, target)
    }

    fn rmdir(&self, name: &[u8], target: &dyn Inode) -> SysResult<()> {
        self.dir_rmdir(name, target)
    }

    fn rename(&self, old: Moving<'_>, new_dir: &dyn Inode, new: Landing<'_>, how: Rename) -> SysResult<()> {
        self.dir_rename(old, new_dir, new, how)
    }

    fn readlink(&self, caller: &Caller<'_>) -> SysResult<Vec<u8>> {
        let Body::Symlink(target) = &self.body else { return Err(Errno::INVAL) };
        if let Some(target) = target.get() {
            return Ok(target.to_vec());
        }
        let read = self.lower.as_ref().ok_or(Errno::INVAL)?.readlink(caller)?;
        Ok(target.get_or_init(|| read.into()).to_vec())
    }

    fn get_xattr(&self, name: &[u8]) -> SysResult<Vec<u8>> {
        Xattrs::check_name(name)?;
        if let Some(xattrs) = &self.meta.lock().xattrs {
            return xattrs.get(name);
        }
        self.lower.as_ref().ok_or(Errno::NODATA)?.get_xattr(name)
    }

    fn set_xattr(&self, name: &[u8], value: &[u8], flags: i32) -> SysResult<()> {
        Xattrs::check_name(name)?;
        self.own_xattrs()?;
        let most = (name.len() + value.len()) as u64;
        self.fs.xattrs.take(most)?;
        let mut meta = self.meta.lock();
        let xattrs = meta.xattrs.get_or_insert_default();
        let before = xattrs.total();
        let done = xattrs.set(name, value, flags);
        self.fs.xattrs.give(most + before - xattrs.total());
        if done.is_ok() {
            meta.ctime = now();
        }
        done
    }

    fn list_xattr(&self) -> SysResult<Vec<Vec<u8>>> {
        if let Some(xattrs) = &self.meta.lock().xattrs {
            return Ok(xattrs.names());
        }
        self.lower.as_ref().map_or(Ok(Vec::new()), |lower| lower.list_xattr())
    }

    fn remove_xattr(&self, name: &[u8]) -> SysResult<()> {
        Xattrs::check_name(name)?;
        self.own_xattrs()?;
        let mut meta = self.meta.lock();
        let xattrs = meta.xattrs.get_or_insert_default();
        let before = xattrs.total();
        xattrs.remove(name)?;
        self.fs.xattrs.give(before - xattrs.total());
        meta.ctime = now();
        Ok(())
    }
}

impl Node {
    /// The length of a symbolic link, whose text need not have been read for that.
    fn link_size(&self, target: Option<&[u8]>) -> SysResult<u64> {
        match (target, &self.lower) {
            (Some(target), _) => Ok(target.len() as u64),
            (None, Some(lower)) => Ok(lower.attr()?.size),
            (None, None) => Ok(0),
        }
    }

    /// Copies the extended attributes of the lower directory, once, so that they can be changed.
    fn own_xattrs(&self) -> SysResult<()> {
        self.keep();
        let Some(lower) = &self.lower else { return Ok(()) };
        if self.meta.lock().xattrs.is_some() {
            return Ok(());
        }
        let copy = Xattrs::copy(&**lower)?;
        let mut meta = self.meta.lock();
        if meta.xattrs.is_none() {
            self.fs.xattrs.take(copy.total())?;
            meta.xattrs = Some(Box::new(copy));
        }
        Ok(())
    }
}
