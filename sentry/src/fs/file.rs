//! Open file descriptions and what they can do.

use crate::errno::{Errno, SysResult};
use crate::executor::{Events, WaitQueue};
use crate::fs::attr::{Attr, FileKind};
use crate::fs::epoll::Links;
use crate::fs::fasync;
use crate::fs::inode::{Caller, Inode};
use crate::fs::lease;
use crate::fs::lock;
use crate::fs::open;
use crate::fs::path::PathRef;
use crate::fs::view::View;
use crate::kernel::Task;
use crate::sync::Mutex;
use std::any::Any;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};

/// Status flags that `fcntl(F_SETFL)` may change.
pub const SETFL_MASK: i32 = libc::O_APPEND | libc::O_ASYNC | libc::O_DIRECT | libc::O_NOATIME | libc::O_NONBLOCK;

/// Takes an entry of a directory: its name, inode number, `DT_*` type and the position after it. False if there is
/// no room for it.
pub type Emit<'a> = dyn FnMut(&[u8], u64, u8, u64) -> bool + 'a;

/// What a kind of file does. Nothing here waits: what would block returns `EAGAIN`, and the caller waits on
/// [`wait_queue`](Self::wait_queue) if its descriptor is a blocking one.
pub trait FileOps: Send + Sync + Any {
    /// Reads into `buf`; `offset` is meaningful only for seekable files. 0 is end of file.
    fn read(&self, file: &File, buf: &mut [u8], offset: u64) -> SysResult<usize> {
        let _ = (file, buf, offset);
        Err(Errno::INVAL)
    }

    /// Writes from `buf`. For seekable files opened with `O_APPEND` the caller passes [`OFFSET_APPEND`], and
    /// the file appends atomically.
    fn write(&self, file: &File, buf: &[u8], offset: u64) -> SysResult<Written> {
        let _ = (file, buf, offset);
        Err(Errno::INVAL)
    }

    /// What the file has at `offset`, up to `len` bytes, if that can be copied to a guest where it lies; or, with
    /// `writes`, from a guest. When it was copied, [`copied`](Self::copied) is told.
    fn view(&self, offset: u64, len: usize, writes: bool) -> Option<View> {
        let _ = (offset, len, writes);
        None
    }

    /// A [`view`](Self::view) up to `end` was copied from or to.
    fn copied(&self, end: u64) {
        let _ = end;
    }

    /// Whether the file has a position (`lseek`, `pread`, `pwrite` work).
    fn is_seekable(&self) -> bool {
        false
    }

    /// Whether `lseek` succeeds and does nothing, though there is no position.
    fn ignores_seek(&self) -> bool {
        false
    }

    /// Current size, for `SEEK_END`; seekable files only.
    fn size(&self) -> SysResult<u64> {
        Err(Errno::SPIPE)
    }

    /// `lseek` with `SEEK_DATA` (true) or `SEEK_HOLE` (false).
    fn seek_data(&self, offset: u64, data: bool) -> SysResult<u64> {
        let size = self.size()?;
        if offset >= size {
            return Err(Errno::NXIO);
        }
        Ok(if data { offset } else { size })
    }

    /// Lists a directory from `*pos` on (an opaque cookie, 0 at the start): calls `emit(name, ino, d_type,
    /// next_pos)` per entry until it returns false (buffer full; that entry is to be given again).
    fn readdir(&self, file: &File, pos: &mut u64, emit: &mut Emit<'_>) -> SysResult<()> {
        let _ = (file, pos, emit);
        Err(Errno::NOTDIR)
    }

    /// Asked before a read (or write): whether the caller may, now. A terminal stops who is in the background.
    fn check_io(&self, t: &Task, writes: bool) -> SysResult<()> {
        let _ = (t, writes);
        Ok(())
    }

    /// `ioctl(2)`.
    fn ioctl(&self, t: &Task, file: &File, cmd: u32, arg: u64) -> SysResult {
        let _ = (t, file, cmd, arg);
        Err(Errno::NOTTY)
    }

    /// What is ready now.
    fn poll(&self, file: &File) -> Events {
        let _ = file;
        Events::IN | Events::OUT | Events::RDNORM | Events::WRNORM
    }

    /// Where readiness is announced; `None` for files that are always ready (epoll refuses those).
    fn wait_queue(&self) -> Option<&WaitQueue> {
        None
    }

    /// `fsync(2)` and `fdatasync(2)`.
    fn sync(&self) -> SysResult<()> {
        Err(Errno::INVAL)
    }

    /// Sets the length; regular files only.
    fn truncate(&self, length: u64) -> SysResult<()> {
        let _ = length;
        Err(Errno::INVAL)
    }

    /// `fallocate(2)`.
    fn fallocate(&self, mode: i32, offset: u64, length: u64) -> SysResult<()> {
        let _ = (mode, offset, length);
        Err(Errno::NODEV)
    }

    /// A host descriptor for `mmap` with no more rights than `writable` (a shared, writable mapping) says.
    /// For private or read-only mappings a read-only descriptor suffices.
    fn mmap(&self, file: &File, shared: bool, writable: bool) -> SysResult<Arc<OwnedFd>> {
        let _ = (file, shared, writable);
        Err(Errno::NODEV)
    }

    /// A descriptor of the description was closed by a process (`flush` in Linux; e.g. releases POSIX locks).
    fn on_close(&self, t: &Task, file: &File) {
        let _ = (t, file);
    }

    /// What `fstat(2)` shows of a file without a path; `None` for a plain anonymous inode.
    fn attr(&self) -> Option<Attr> {
        None
    }

    /// The inode behind a file without a path, if its attributes can be changed.
    fn inode(&self) -> Option<Arc<dyn Inode>> {
        None
    }

    /// A new description of the same object, for `/proc/PID/fd/N` of files without a path.
    fn reopen(&self, caller: &Caller<'_>, flags: i32) -> SysResult<Box<dyn FileOps>> {
        let _ = (caller, flags);
        Err(Errno::NXIO)
    }

    /// The type of file system that `fstatfs(2)` shows for a file without a path.
    fn fs_magic(&self) -> u64 {
        /// `ANON_INODE_FS_MAGIC`.
        const ANON_INODE: u64 = 0x0904_1934;
        ANON_INODE
    }

    /// For downcasts to a concrete kind (socket, epoll, pipe…).
    fn as_any(&self) -> &dyn Any;

    /// What `/proc/PID/fd/N` shows for files without a path: `pipe:[12]`, `anon_inode:[eventpoll]`…
    fn describe(&self) -> String {
        "anon_inode:[file]".into()
    }

    /// Extra lines of `/proc/PID/fdinfo/N`.
    fn fdinfo(&self) -> String {
        String::new()
    }
}

/// What [`FileOps::write`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Bytes written.
    pub count: usize,
    /// Offset after the write (seekable files).
    pub end: u64,
}

/// Offset that stands for "at the end, atomically".
pub const OFFSET_APPEND: u64 = u64::MAX;

/// An open file description (`open(2)`): what descriptors refer to.
pub struct File {
    /// The kind.
    pub ops: Box<dyn FileOps>,
    /// Where it was opened, for files that have a path.
    pub path: Option<PathRef>,
    /// Access mode and creation flags as opened; status flags as they are now. No `O_CLOEXEC`.
    flags: AtomicI32,
    /// File position. Held over a read or write as Linux does (`f_pos_lock`), but never over a guest copy.
    pub pos: Mutex<u64>,
    /// `F_SETOWN`: pid, or negative pgid.
    pub owner: AtomicI32,
    /// `F_SETSIG`.
    pub signal: AtomicI32,
    /// Unique, for lock ownership and `/proc`.
    pub id: u64,
    /// Epolls that watch this description.
    pub links: Links,
    /// Bits for the families' own use (e.g. write-access accounting).
    pub tag: AtomicU32,
}

impl File {
    /// The inode behind it, whether it has a path or not.
    pub fn inode(&self) -> Option<Arc<dyn Inode>> {
        match &self.path {
            Some(path) => path.inode().ok().cloned(),
            None => self.ops.inode(),
        }
    }
}

impl Drop for File {
    fn drop(&mut self) {
        self.links.release(&*self.ops);
        lock::release_description(self);
        lease::release(self);
        fasync::release(self);
        if let Some(path) = &self.path
            && let Ok(inode) = path.inode()
            && inode.kind() == FileKind::Regular
            && self.is_writable()
        {
            open::end_write(&**inode);
        }
    }
}

impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "File({}, {:#x})", self.ops.describe(), self.flags())
    }
}

impl File {
    /// A description without a path (pipe, socket, anonymous inode).
    pub fn anonymous(ops: impl FileOps, flags: i32) -> Arc<File> {
        File::new(Box::new(ops), None, flags)
    }

    /// A description of what was found at `path`.
    pub fn new(ops: Box<dyn FileOps>, path: Option<PathRef>, flags: i32) -> Arc<File> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Arc::new(File {
            ops,
            path,
            flags: AtomicI32::new(flags & !libc::O_CLOEXEC),
            pos: Mutex::new(0),
            owner: AtomicI32::new(0),
            signal: AtomicI32::new(0),
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            links: Links::default(),
            tag: AtomicU32::new(0),
        })
    }

    /// Access mode and status flags.
    pub fn flags(&self) -> i32 {
        self.flags.load(Ordering::Relaxed)
    }

    /// Replaces the flags in `mask`.
    pub fn set_flags(&self, mask: i32, flags: i32) {
        let _ =
            self.flags.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |old| Some((old & !mask) | (flags & mask)));
    }

    /// Opened for reading.
    pub fn is_readable(&self) -> bool {
        let flags = self.flags();
        flags & libc::O_PATH == 0 && flags & libc::O_ACCMODE != libc::O_WRONLY
    }

    /// Opened for writing.
    pub fn is_writable(&self) -> bool {
        let flags = self.flags();
        flags & libc::O_PATH == 0 && matches!(flags & libc::O_ACCMODE, libc::O_WRONLY | libc::O_RDWR)
    }

    /// `O_NONBLOCK` is set.
    pub fn is_nonblocking(&self) -> bool {
        self.flags() & libc::O_NONBLOCK != 0
    }

    /// The concrete kind, if it is `T`.
    pub fn downcast<T: FileOps>(&self) -> Option<&T> {
        self.ops.as_any().downcast_ref()
    }
}
