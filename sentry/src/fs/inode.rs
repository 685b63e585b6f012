//! Inodes: what file systems implement.

use super::attr::{Attr, FileKind, FsStat, NewNode, Perm, SetAttr};
use super::file::FileOps;
use super::inotify::WatchSet;
use super::path::PathRef;
use crate::errno::{Errno, SysResult};
use crate::kernel::{CAP_ALL, Creds, Task};
use crate::sync::Mutex;
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32};

/// On whose behalf something is done.
#[derive(Debug, Clone)]
pub struct Caller<'a> {
    /// The task; `None` for the sentry itself at start.
    pub task: Option<&'a Task>,
    /// Its credentials, taken once so that a call sees one state of them.
    pub creds: Arc<Creds>,
}

impl<'a> Caller<'a> {
    /// The task `t` with the credentials it has now.
    pub fn of(t: &'a Task) -> Caller<'a> {
        Caller { task: Some(t), creds: t.creds() }
    }

    /// The sentry itself: may do anything.
    pub fn kernel() -> Caller<'static> {
        Caller { task: None, creds: Arc::new(Creds::new(0, 0, &[], CAP_ALL)) }
    }
}

/// Where a symbolic link leads.
#[derive(Debug)]
pub enum Link {
    /// To a path, walked from the link's directory.
    Path(Vec<u8>),
    /// Straight to a place, whatever it is called now (`/proc/PID/fd/N` and its kin).
    Jump(PathRef),
}

/// How [`Inode::rename`] treats what is at the new name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rename {
    /// Takes its place. The caller has checked that kinds fit.
    Replace,
    /// There is nothing; an entry that appears meanwhile is an error (`RENAME_NOREPLACE`).
    NoReplace,
    /// Swaps (`RENAME_EXCHANGE`).
    Exchange,
}

/// What [`Inode::rename`] moves.
#[derive(Debug, Clone, Copy)]
pub struct Moving<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// What the name leads to.
    pub inode: &'a dyn Inode,
}

/// Where [`Inode::rename`] moves to.
#[derive(Debug, Clone, Copy)]
pub struct Landing<'a> {
    /// The name.
    pub name: &'a [u8],
    /// What the name leads to now, if anything.
    pub inode: Option<&'a dyn Inode>,
}

/// State that layers above file systems attach to an inode.
#[derive(Default)]
pub struct InodeExt {
    /// What is behind a FIFO or a bound socket while it is in use.
    pub object: Mutex<Option<Arc<dyn Any + Send + Sync>>>,
    /// Open for writing (positive) or running as programs (negative): the two exclude each other.
    pub writers: AtomicI32,
    /// Descriptions of it that only read.
    pub readers: AtomicI32,
    /// Has no name yet but may get one (`O_TMPFILE`).
    pub linkable: AtomicBool,
    /// Who watches it.
    pub watches: WatchSet,
    /// Watches that keep a dentry of it.
    pub watch_pins: AtomicU32,
}

impl std::fmt::Debug for InodeExt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("InodeExt")
    }
}

/// A file system object. Permissions, read-only mounts and name rules have been checked by the caller;
/// changes below one directory come one at a time. Names are single components, never `.` or `..`.
pub trait Inode: Any + Send + Sync {
    /// All attributes.
    fn attr(&self) -> SysResult<Attr>;

    /// All attributes, as of the lookup by name that has just found it.
    fn attr_found(&self) -> SysResult<Attr> {
        self.attr()
    }

    /// The name it was found under is about to go, and someone goes on using it.
    fn hold(&self) {}

    /// What permission checks need. Cheap: called for each component of a path.
    fn perm(&self) -> SysResult<Perm> {
        Ok(Perm::from(&self.attr()?))
    }

    /// Its kind.
    fn kind(&self) -> FileKind;

    /// Its number.
    fn ino(&self) -> u64;

    /// State of layers above.
    fn ext(&self) -> &InodeExt;

    /// For downcasts to the file system's own type.
    fn as_any(&self) -> &dyn Any;

    /// Opens it. `flags` are those of `open(2)`; creation and truncation are done by the caller.
    fn open(self: Arc<Self>, caller: &Caller<'_>, flags: i32) -> SysResult<Box<dyn FileOps>>;

    /// Changes attributes.
    fn set_attr(&self, change: &SetAttr) -> SysResult<()> {
        let _ = change;
        Err(Errno::PERM)
    }

    /// Its data were read: the access time may move (`relatime`).
    fn accessed(&self) {}

    /// The entry `name`, or `ENOENT`.
    fn lookup(&self, caller: &Caller<'_>, name: &[u8]) -> SysResult<Arc<dyn Inode>> {
        let _ = (caller, name);
        Err(Errno::NOTDIR)
    }

    /// Whether `child`, found earlier under `name`, is still what a lookup would find. Asked only where the
    /// file system does not cache exclusively.
    fn revalidate(&self, caller: &Caller<'_>, name: &[u8], child: &dyn Inode) -> bool {
        let _ = (caller, name, child);
        true
    }

    /// Makes the entry `name`, which does not exist.
    fn create(&self, name: &[u8], new: &NewNode) -> SysResult<Arc<dyn Inode>> {
        let _ = (name, new);
        Err(Errno::PERM)
    }

    /// Makes a regular file without a name (`O_TMPFILE`).
    fn tmpfile(&self, new: &NewNode) -> SysResult<Arc<dyn Inode>> {
        let _ = new;
        Err(Errno::OPNOTSUPP)
    }

    /// Makes the entry `name` for `target`, an inode of the same file system.
    fn link(&self, name: &[u8], target: &dyn Inode) -> SysResult<()> {
        let _ = (name, target);
        Err(Errno::PERM)
    }

    /// Removes the entry `name`, which is `target` and no directory.
    fn unlink(&self, name: &[u8], target: &dyn Inode) -> SysResult<()> {
        let _ = (name, target);
        Err(Errno::PERM)
    }

    /// Removes the directory `name`, which is `target`; `ENOTEMPTY` if it has entries.
    fn rmdir(&self, name: &[u8], target: &dyn Inode) -> SysResult<()> {
        let _ = (name, target);
        Err(Errno::PERM)
    }

    /// Moves the entry `old` to `new` in `new_dir` of the same file system.
    fn rename(&self, old: Moving<'_>, new_dir: &dyn Inode, new: Landing<'_>, how: Rename) -> SysResult<()> {
        let _ = (old, new_dir, new, how);
        Err(Errno::PERM)
    }

    /// The text of a symbolic link.
    fn readlink(&self, caller: &Caller<'_>) -> SysResult<Vec<u8>> {
        let _ = caller;
        Err(Errno::INVAL)
    }

    /// Where a symbolic link leads.
    fn follow(&self, caller: &Caller<'_>) -> SysResult<Link> {
        Ok(Link::Path(self.readlink(caller)?))
    }

    /// The value of an extended attribute; `ENODATA` if it has none.
    fn get_xattr(&self, name: &[u8]) -> SysResult<Vec<u8>> {
        let _ = name;
        Err(Errno::OPNOTSUPP)
    }

    /// Sets an extended attribute (`flags`: `XATTR_CREATE`, `XATTR_REPLACE`).
    fn set_xattr(&self, name: &[u8], value: &[u8], flags: i32) -> SysResult<()> {
        let _ = (name, value, flags);
        Err(Errno::OPNOTSUPP)
    }

    /// The names of all extended attributes.
    fn list_xattr(&self) -> SysResult<Vec<Vec<u8>>> {
        Ok(Vec::new())
    }

    /// Removes an extended attribute.
    fn remove_xattr(&self, name: &[u8]) -> SysResult<()> {
        let _ = name;
        Err(Errno::OPNOTSUPP)
    }
}

impl std::fmt::Debug for dyn Inode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Inode({:?} {})", self.kind(), self.ino())
    }
}

/// A file system: what its inodes share.
pub trait FileSystem: Any + Send + Sync {
    /// Its type, as `/proc/mounts` shows it.
    fn fstype(&self) -> &'static str;

    /// Its device number (`st_dev`); see [`alloc_dev`](super::superblock::alloc_dev).
    fn dev(&self) -> u64;

    /// `statfs(2)`.
    fn statfs(&self) -> SysResult<FsStat>;

    /// Whether nobody else changes it, so that what a lookup found or did not find stays true.
    fn is_exclusive(&self) -> bool {
        true
    }

    /// Whether names are kept beyond their use. Not where they keep something alive: a process, an open file.
    fn keeps_names(&self) -> bool {
        true
    }

    /// Its own options as `/proc/mounts` shows them, each with a leading comma.
    fn options(&self) -> String {
        String::new()
    }

    /// Forgets what it can learn again: memory is short.
    fn shrink(&self) {}

    /// Takes new options of its own at a remount.
    fn remount(&self, options: &[u8]) -> SysResult<()> {
        let _ = options;
        Ok(())
    }

    /// `syncfs(2)`.
    fn sync(&self) -> SysResult<()> {
        Ok(())
    }

    /// For downcasts to the file system's own type.
    fn as_any(&self) -> &dyn Any;
}

/// `EOPNOTSUPP` for what is not a file system object that has data to open.
pub fn not_openable() -> SysResult<Box<dyn FileOps>> {
    Err(Errno::NXIO)
}
