//! Directories of the host.
//!
//! The sentry has no path to the host: everything is reached from a descriptor it was given, one component at
//! a time, without following links. Only regular files and directories are ever opened; other kinds appear
//! but cannot be used. [`inode`] holds what is known of each file, [`change`] what writes through, [`file`]
//! what is open, [`dirs`] the bounded set of descriptors of directories.

mod change;
mod dirs;
mod file;
mod inode;
mod recent;

pub use inode::HostInode;

use super::attr::FsStat;
use super::dentry::Dentry;
use super::inode::{FileSystem, Inode};
use super::superblock::{SuperBlock, alloc_dev};
use crate::errno::{Errno, SysResult};
use dirs::Dirs;
use recent::{MadeLast, RecentFiles};
use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags};
use std::any::Any;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, OnceLock};

/// What to ask of `statx`.
const WANTED: StatxFlags = StatxFlags::BASIC_STATS.union(StatxFlags::BTIME);

/// What all inodes below one directory share.
#[derive(Debug)]
pub(super) struct Shared {
    /// The directory.
    root: Arc<OwnedFd>,
    dev: u64,
    /// The host's number of the device that the root is on.
    host_dev: u64,
    writable: bool,
    /// Nobody changes it meanwhile, so that what was learned once stays true.
    exclusive: bool,
    dirs: Dirs,
    files: RecentFiles,
    made: MadeLast,
}

/// How a directory of the host is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nobody changes it (the lower directory of an overlay, an image).
    Immutable,
    /// Others may change it; guests may not.
    ReadOnly,
    /// Guests' changes go to the host.
    Writable,
}

/// The file system.
#[derive(Debug)]
pub struct HostFs {
    shared: Arc<Shared>,
}

impl HostFs {
    /// A file system that shows the directory or regular file behind `fd` (opened with `O_PATH` or more).
    pub fn mount(source: &str, fd: OwnedFd, access: Access) -> SysResult<Arc<Dentry>> {
        let (fs, root) = HostFs::new(fd, access)?;
        let readonly = access == Access::ReadOnly;
        let dentry = SuperBlock::make(fs, root, source);
        dentry.sb.readonly.store(readonly, std::sync::atomic::Ordering::Relaxed);
        Ok(dentry)
    }

    /// What is behind `fd`, for an overlay that stands on it.
    pub fn lower(fd: OwnedFd) -> SysResult<Lower> {
        let (fs, root) = HostFs::new(fd, Access::Immutable)?;
        let stat = fs.statfs()?;
        let used = stat.blocks.saturating_sub(stat.bfree).saturating_mul(stat.bsize);
        Ok(Lower { root, used })
    }

    fn new(fd: OwnedFd, access: Access) -> SysResult<(HostFs, Arc<dyn Inode>)> {
        let stat = inode::statx_fd(&fd)?;
        let shared = Arc::new(Shared {
            root: Arc::new(fd),
            dev: alloc_dev(),
            host_dev: inode::device(&stat),
            writable: access == Access::Writable,
            exclusive: access == Access::Immutable,
            dirs: Dirs::default(),
            files: RecentFiles::default(),
            made: MadeLast::default(),
        });
        let root = HostInode::root(&shared, &stat)?;
        Ok((HostFs { shared }, root))
    }
}

/// A directory of the host that an overlay stands on.
#[derive(Debug)]
pub struct Lower {
    /// The directory.
    pub root: Arc<dyn Inode>,
    /// Bytes in use in its file system when the overlay was mounted; it does not change afterwards.
    pub used: u64,
}

impl FileSystem for HostFs {
    fn fstype(&self) -> &'static str {
        "9p"
    }

    fn dev(&self) -> u64 {
        self.shared.dev
    }

    fn statfs(&self) -> SysResult<FsStat> {
        let stat = rustix::fs::fstatfs(&self.shared.root)?;
        Ok(FsStat {
            magic: stat.f_type.cast_unsigned(),
            bsize: stat.f_bsize.unsigned_abs(),
            blocks: stat.f_blocks,
            bfree: stat.f_bfree,
            bavail: stat.f_bavail,
            files: stat.f_files,
            ffree: stat.f_ffree,
            namelen: stat.f_namelen.unsigned_abs(),
        })
    }

    fn is_exclusive(&self) -> bool {
        self.shared.exclusive
    }

    fn sync(&self) -> SysResult<()> {
        if !self.shared.writable {
            return Ok(());
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::openat(&self.shared.root, ".", flags, Mode::empty())?;
        Ok(rustix::fs::syncfs(dir)?)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// `/proc/self/fd` of the host, through which a descriptor can be had with fewer rights.
static SELF_FD: OnceLock<OwnedFd> = OnceLock::new();

/// Opens `self/fd` of a procfs that knows the sentry. To be called by the sentry itself, at start.
pub fn open_self_fd(procfs: &OwnedFd) -> SysResult<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(procfs, "self/fd", flags, Mode::empty())?;
    let _ = SELF_FD.set(fd);
    Ok(())
}

/// Sets the mode of what `fd` stands for, of whatever kind and without opening it.
fn chmod(fd: &OwnedFd, mode: Mode) -> SysResult<()> {
    let dir = SELF_FD.get().ok_or(Errno::PERM)?;
    Ok(rustix::fs::chmodat(dir, fd.as_raw_fd().to_string(), mode, AtFlags::empty())?)
}

/// Gives what `fd` stands for another name.
fn link_held(fd: &OwnedFd, dir: &OwnedFd, name: &[u8]) -> SysResult<()> {
    let from = SELF_FD.get().ok_or(Errno::NOENT)?;
    let number = fd.as_raw_fd().to_string();
    Ok(rustix::fs::linkat(from, number, dir, name, AtFlags::SYMLINK_FOLLOW)?)
}

/// The same file, opened for reading only.
pub fn reopen_readonly(fd: &OwnedFd) -> SysResult<Arc<OwnedFd>> {
    reopen(fd, OFlags::RDONLY)
}

/// The same file, opened anew.
fn reopen(fd: &OwnedFd, flags: OFlags) -> SysResult<Arc<OwnedFd>> {
    let dir = SELF_FD.get().ok_or(Errno::ACCES)?;
    let name = fd.as_raw_fd().to_string();
    let flags = flags.difference(OFlags::NOFOLLOW) | OFlags::CLOEXEC;
    Ok(Arc::new(rustix::fs::openat(dir, name, flags, Mode::empty())?))
}
