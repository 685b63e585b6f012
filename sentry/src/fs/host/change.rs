//! Changes that go through to the host.

use super::inode::{HostInode, component, statx_fd};
use crate::errno::{Errno, SysResult};
use crate::fs::attr::{FileKind, NewNode, SetAttr, SetTime};
use crate::fs::budget::{self, Share};
use crate::fs::counters::HOST_OPENS;
use crate::fs::inode::{Inode, Landing, Moving, Rename};
use rustix::fs::{AtFlags, Gid, Mode, OFlags, RenameFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags};
use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock};

/// Longest value of an extended attribute, and longest list of names (`XATTR_SIZE_MAX`, `XATTR_LIST_MAX`).
const XATTR_MAX: usize = 64 * 1024;

fn downcast(inode: &dyn Inode) -> SysResult<&HostInode> {
    inode.as_any().downcast_ref().ok_or(Errno::XDEV)
}

/// Whose the first file was that the sentry made, and so most others will be.
static MADE_FOR: OnceLock<(u32, u32)> = OnceLock::new();

/// A rootless sandbox cannot give a file to an id that the host does not let it use; the file stays its own.
fn unless_refused(done: rustix::io::Result<()>) -> SysResult<()> {
    match done {
        Err(rustix::io::Errno::PERM | rustix::io::Errno::INVAL) => Ok(()),
        done => Ok(done?),
    }
}

fn timespec(time: Option<SetTime>) -> Timespec {
    match time {
        None => Timespec { tv_sec: 0, tv_nsec: libc::UTIME_OMIT },
        Some(SetTime::Now) => Timespec { tv_sec: 0, tv_nsec: libc::UTIME_NOW },
        Some(SetTime::To(time)) => Timespec { tv_sec: time.sec, tv_nsec: time.nsec },
    }
}

impl HostInode {
    fn writable_dir(&self) -> SysResult<Arc<OwnedFd>> {
        if self.fs.writable { self.dir() } else { Err(Errno::ROFS) }
    }

    pub(super) fn make_entry(&self, name: &[u8], new: &NewNode) -> SysResult<Arc<HostInode>> {
        let dir = self.writable_dir()?;
        let name = component(name)?;
        let mode = Mode::from_raw_mode(new.mode);
        match new.kind {
            FileKind::Regular => return self.make_regular(&dir, name, new),
            FileKind::Directory => rustix::fs::mkdirat(&*dir, name, mode)?,
            FileKind::Symlink => rustix::fs::symlinkat(new.target.as_slice(), &*dir, name)?,
            FileKind::Fifo => rustix::fs::mknodat(&*dir, name, rustix::fs::FileType::Fifo, mode, 0)?,
            FileKind::Socket => rustix::fs::mknodat(&*dir, name, rustix::fs::FileType::Socket, mode, 0)?,
            FileKind::CharDevice | FileKind::BlockDevice => return Err(Errno::PERM),
        }
        let (uid, gid) = (Uid::from_raw(new.uid), Gid::from_raw(new.gid));
        unless_refused(rustix::fs::chownat(&*dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW))?;
        let made = self.find(name)?;
        if new.kind == FileKind::Directory && made.perm()?.mode & 0o7777 != new.mode {
            // The host's umask, or a change of owner, took bits away.
            made.change_attr(&SetAttr { mode: Some(new.mode), ..SetAttr::default() })?;
        }
        Ok(made)
    }

    /// Makes a regular file, and keeps its descriptor for the one who opens it next.
    fn make_regular(&self, dir: &OwnedFd, name: &[u8], new: &NewNode) -> SysResult<Arc<HostInode>> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::RDWR | OFlags::CLOEXEC;
        HOST_OPENS.add();
        let fd = rustix::fs::openat2(dir, name, flags, Mode::from_raw_mode(new.mode), ResolveFlags::BENEATH)?;
        let owner = (new.uid, new.gid);
        let give =
            || unless_refused(rustix::fs::fchown(&fd, Some(Uid::from_raw(owner.0)), Some(Gid::from_raw(owner.1))));
        let is_foreign = MADE_FOR.get().is_some_and(|made_for| *made_for != owner);
        if is_foreign {
            give()?;
        }
        let mut stat = statx_fd(&fd)?;
        if !is_foreign && (stat.stx_uid, stat.stx_gid) != owner {
            MADE_FOR.get_or_init(|| (stat.stx_uid, stat.stx_gid));
            give()?;
            stat = statx_fd(&fd)?;
        }
        if u32::from(stat.stx_mode) & 0o7777 != new.mode {
            // The host's umask, or the change of owner, took bits away.
            rustix::fs::fchmod(&fd, Mode::from_raw_mode(new.mode))?;
            stat = statx_fd(&fd)?;
        }
        let made = self.child(name, &stat)?;
        if let Ok(fd) = budget::within(Share::Host, fd, Errno::NFILE) {
            self.fs.made.put(&made, fd);
        }
        Ok(made)
    }

    pub(super) fn make_unnamed(&self, new: &NewNode) -> SysResult<Arc<HostInode>> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let dir = self.writable_dir()?;
        HOST_OPENS.add();
        let fd = rustix::fs::openat2(&*dir, c".", flags, Mode::from_raw_mode(new.mode), ResolveFlags::BENEATH)?;
        unless_refused(rustix::fs::fchown(&fd, Some(Uid::from_raw(new.uid)), Some(Gid::from_raw(new.gid))))?;
        rustix::fs::fchmod(&fd, Mode::from_raw_mode(new.mode))?;
        HostInode::nameless(&self.fs, fd)
    }

    pub(super) fn link_entry(&self, name: &[u8], target: &dyn Inode) -> SysResult<()> {
        let target = downcast(target)?;
        if let Some(fd) = target.held() {
            super::link_held(&fd, &*self.writable_dir()?, component(name)?)?;
            if target.place().is_none() {
                target.set_place(self.counted()?, name);
            }
            return Ok(());
        }
        let (parent, old_name) = target.place().ok_or(Errno::XDEV)?;
        let (from, to) = (parent.dir()?, self.writable_dir()?);
        Ok(rustix::fs::linkat(&*from, component(&old_name)?, &*to, component(name)?, AtFlags::empty())?)
    }

    pub(super) fn remove_entry(&self, name: &[u8], target: &dyn Inode, flags: AtFlags) -> SysResult<()> {
        // A file that is gone must not keep its room on the host.
        let made = self.fs.made.take(downcast(target)?);
        drop(made);
        Ok(rustix::fs::unlinkat(&*self.writable_dir()?, component(name)?, flags)?)
    }

    pub(super) fn rename_entry(
        &self,
        old: Moving<'_>,
        new_dir: &dyn Inode,
        new: Landing<'_>,
        how: Rename,
    ) -> SysResult<()> {
        let to = downcast(new_dir)?;
        let flags = match how {
            Rename::Replace => RenameFlags::empty(),
            Rename::NoReplace => RenameFlags::NOREPLACE,
            Rename::Exchange => RenameFlags::EXCHANGE,
        };
        let (from_fd, to_fd) = (self.writable_dir()?, to.writable_dir()?);
        if let Some(target) = new.inode {
            let made = self.fs.made.take(downcast(target)?);
            drop(made);
        }
        rustix::fs::renameat_with(&*from_fd, component(old.name)?, &*to_fd, component(new.name)?, flags)?;
        downcast(old.inode)?.set_place(to.counted()?, new.name);
        if let (Rename::Exchange, Some(other)) = (how, new.inode) {
            downcast(other)?.set_place(self.counted()?, old.name);
        }
        Ok(())
    }

    pub(super) fn change_attr(&self, change: &SetAttr) -> SysResult<()> {
        if !self.fs.writable {
            return Err(Errno::ROFS);
        }
        if let Some(size) = change.size {
            rustix::fs::ftruncate(self.open_host(OFlags::WRONLY)?, size)?;
        }
        if change.uid.is_some() || change.gid.is_some() {
            self.change_owner(change.uid.map(Uid::from_raw), change.gid.map(Gid::from_raw))?;
        }
        if let Some(mode) = change.mode {
            super::chmod(&*self.handle()?, Mode::from_raw_mode(mode))?;
        }
        // A change of length has stamped the file already.
        let mtime = change.mtime.filter(|mtime| change.size.is_none() || *mtime != SetTime::Now);
        if change.atime.is_some() || mtime.is_some() {
            let times = Timestamps { last_access: timespec(change.atime), last_modification: timespec(mtime) };
            self.change_times(&times)?;
        }
        self.refresh()
    }

    fn change_owner(&self, uid: Option<Uid>, gid: Option<Gid>) -> SysResult<()> {
        Ok(rustix::fs::chownat(&*self.handle()?, c"", uid, gid, AtFlags::EMPTY_PATH)?)
    }

    fn change_times(&self, times: &Timestamps) -> SysResult<()> {
        Ok(rustix::fs::utimensat(&*self.handle()?, c"", times, AtFlags::EMPTY_PATH)?)
    }

    /// A descriptor to reach extended attributes by; other kinds than these have none that matter.
    fn xattr_fd(&self) -> SysResult<Arc<OwnedFd>> {
        match self.kind() {
            FileKind::Regular | FileKind::Directory => self.open_host(OFlags::RDONLY),
            _ => Err(Errno::OPNOTSUPP),
        }
    }

    pub(super) fn read_xattr(&self, name: &[u8]) -> SysResult<Vec<u8>> {
        // What the sentry may not open has none as far as anyone in here can know.
        let fd = self.xattr_fd().map_err(|e| if e == Errno::ACCES { Errno::NODATA } else { e })?;
        let mut value = vec![0; XATTR_MAX];
        let len = rustix::fs::fgetxattr(fd, name, &mut value)?;
        value.truncate(len);
        Ok(value)
    }

    pub(super) fn write_xattr(&self, name: &[u8], value: &[u8], flags: i32) -> SysResult<()> {
        if !self.fs.writable {
            return Err(Errno::ROFS);
        }
        let flags = XattrFlags::from_bits_retain(flags.cast_unsigned());
        Ok(rustix::fs::fsetxattr(self.xattr_fd()?, name, value, flags)?)
    }

    pub(super) fn xattr_names(&self) -> SysResult<Vec<Vec<u8>>> {
        let Ok(fd) = self.xattr_fd() else { return Ok(Vec::new()) };
        let mut names = vec![0; XATTR_MAX];
        let len = match rustix::fs::flistxattr(fd, &mut names) {
            Err(rustix::io::Errno::OPNOTSUPP) => 0,
            len => len?,
        };
        names.truncate(len);
        Ok(names.split(|b| *b == 0).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect())
    }

    pub(super) fn unset_xattr(&self, name: &[u8]) -> SysResult<()> {
        if !self.fs.writable {
            return Err(Errno::ROFS);
        }
        Ok(rustix::fs::fremovexattr(self.xattr_fd()?, name)?)
    }
}
