//! Opening (`open(2)`, `openat2(2)`): flags to a description.

use super::access::{self, MAY_EXEC, MAY_READ, MAY_WRITE};
use super::attr::{Attr, FileKind, SetAttr, SetTime, stripped_mode};
use super::file::{File, FileOps};
use super::inode::{Caller, Inode};
use super::lease::{self, Leases};
use super::lock::Key;
use super::mount::MountFlags;
use super::namei::{self, Make};
use super::notify;
use super::path::PathRef;
use super::pipe::FifoSlot;
use super::walk::{Last, Resolve, Walk};
use crate::errno::{Errno, SysResult};
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Flags that mean something; `openat2(2)` refuses all others, its elders ignore them.
pub const VALID_FLAGS: i32 = libc::O_ACCMODE
    | libc::O_CREAT
    | libc::O_EXCL
    | libc::O_NOCTTY
    | libc::O_TRUNC
    | libc::O_APPEND
    | libc::O_NONBLOCK
    | libc::O_SYNC
    | libc::O_DSYNC
    | libc::O_ASYNC
    | libc::O_DIRECT
    | O_LARGEFILE
    | libc::O_DIRECTORY
    | libc::O_NOFOLLOW
    | libc::O_NOATIME
    | libc::O_CLOEXEC
    | libc::O_PATH
    | libc::O_TMPFILE;

/// As the kernel knows it on x86-64 (the C library's is 0 there).
pub const O_LARGEFILE: i32 = 0o100000;

/// The bit of `O_TMPFILE` that is not `O_DIRECTORY`.
const TMPFILE_BIT: i32 = libc::O_TMPFILE & !libc::O_DIRECTORY;

/// Flags that `O_PATH` leaves.
const PATH_FLAGS: i32 = libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_CLOEXEC;

/// Flags that are not part of the open description.
const TRANSIENT: i32 = libc::O_CREAT | libc::O_EXCL | libc::O_NOCTTY | libc::O_TRUNC | libc::O_CLOEXEC;

/// How to open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct How {
    /// `O_*`.
    pub flags: i32,
    /// Permission bits of a new file; the umask is not applied yet.
    pub mode: u32,
    /// `RESOLVE_*`.
    pub resolve: Resolve,
}

impl How {
    /// Checks flags that exclude each other and adds those that others imply.
    pub fn new(flags: i32, mode: u32, resolve: Resolve) -> SysResult<How> {
        let flags = flags & VALID_FLAGS;
        if flags & libc::O_PATH != 0 {
            return Ok(How { flags: flags & PATH_FLAGS, mode: 0, resolve });
        }
        if flags & TMPFILE_BIT != 0 {
            let writable = matches!(flags & libc::O_ACCMODE, libc::O_WRONLY | libc::O_RDWR);
            if flags & libc::O_DIRECTORY == 0 || flags & libc::O_CREAT != 0 || !writable {
                return Err(Errno::INVAL);
            }
        } else if flags & (libc::O_CREAT | libc::O_DIRECTORY) == libc::O_CREAT | libc::O_DIRECTORY {
            return Err(Errno::INVAL);
        }
        Ok(How { flags: flags | O_LARGEFILE, mode: mode & 0o7777, resolve })
    }

    fn has(&self, flag: i32) -> bool {
        self.flags & flag == flag && flag != 0
    }

    /// For more than reading.
    pub fn writes(&self) -> bool {
        self.flags & libc::O_ACCMODE != libc::O_RDONLY
    }

    fn mask(&self) -> u32 {
        let mask = match self.flags & libc::O_ACCMODE {
            libc::O_RDONLY => MAY_READ,
            libc::O_WRONLY => MAY_WRITE,
            _ => MAY_READ | MAY_WRITE,
        };
        if self.has(libc::O_TRUNC) { mask | MAY_WRITE } else { mask }
    }
}

/// What [`open`] has come to.
#[derive(Debug)]
pub enum Opened {
    /// A description.
    File(Arc<File>),
    /// A FIFO, which may have to wait for its other end: see [`fifo`].
    Fifo(PathRef),
    /// A file whose lease keeps it from being opened now: see [`lease::wait`].
    Leased(PathRef, Arc<Leases>),
}

/// The meeting point of those who open a FIFO.
pub fn fifo(inode: &dyn Inode) -> SysResult<Arc<FifoSlot>> {
    let mut object = inode.ext().object.lock();
    let slot = object.get_or_insert_with(|| Arc::new(FifoSlot::default()));
    slot.clone().downcast().map_err(|_| Errno::NXIO)
}

/// The flags that stay with a description.
pub fn description_flags(how: &How) -> i32 {
    how.flags & !TRANSIENT
}

/// Opens `path` from `start`.
pub fn open(
    caller: &Caller<'_>,
    root: PathRef,
    start: PathRef,
    umask: u32,
    path: &[u8],
    how: &How,
) -> SysResult<Opened> {
    let mut walk = Walk::new(caller, root, start, how.resolve);
    if how.flags & TMPFILE_BIT != 0 && !how.has(libc::O_PATH) {
        let dir = walk.to(path, !how.has(libc::O_NOFOLLOW))?;
        if !dir.is_dir() {
            return Err(Errno::NOTDIR);
        }
        let file = namei::tmpfile(caller, &dir, how.mode & !umask, !how.has(libc::O_EXCL))?;
        return open_found(caller, &file, how);
    }
    if how.has(libc::O_CREAT) {
        return create(caller, &mut walk, path, umask, how);
    }
    let found = walk.to(path, !how.has(libc::O_NOFOLLOW))?;
    check(caller, &found, how)?;
    open_found(caller, &found, how)
}

fn create(caller: &Caller<'_>, walk: &mut Walk<'_>, path: &[u8], umask: u32, how: &How) -> SysResult<Opened> {
    let mut target: Vec<u8>;
    let mut path = path;
    loop {
        let name = match walk.to_parent(path)? {
            Last::Name(name, false) => name,
            Last::Name(_, true) => return Err(Errno::ISDIR),
            _ if how.has(libc::O_EXCL) => return Err(Errno::EXIST),
            _ => return Err(Errno::ISDIR),
        };
        let (found, is_new) = find_or_make(caller, walk, &name, how.mode & !umask)?;
        if is_new {
            return open_found(caller, &found, &How { flags: how.flags & !libc::O_TRUNC, ..*how });
        }
        if how.has(libc::O_EXCL) {
            return Err(Errno::EXIST);
        }
        if found.inode()?.kind() == FileKind::Symlink && !how.has(libc::O_NOFOLLOW) {
            match walk.follow(&found)? {
                Some(text) => {
                    target = text;
                    path = &target;
                    continue;
                }
                None => return open_existing(caller, walk.at(), how),
            }
        }
        return open_existing(caller, &found, how);
    }
}

/// What `name` is in the directory that `walk` has come to, and whether it was made for the purpose.
fn find_or_make(caller: &Caller<'_>, walk: &mut Walk<'_>, name: &[u8], mode: u32) -> SysResult<(PathRef, bool)> {
    /// How often others may make and remove the name meanwhile.
    const RETRIES: usize = 16;
    for turn in 0..RETRIES {
        // Where the host has to be asked anyway, it is asked to make the file: it says if there is one.
        let asks_once = turn == 0 && namei::may_make_unseen(caller, walk.at(), name);
        if !asks_once && let Some(found) = walk.child(name)? {
            return Ok((found, false));
        }
        match namei::make_missing(caller, walk.at(), name, &Make::new(FileKind::Regular, mode)) {
            Err(Errno::EXIST) => {}
            made => return Ok((made?, true)),
        }
    }
    Err(Errno::NOENT)
}

fn open_existing(caller: &Caller<'_>, found: &PathRef, how: &How) -> SysResult<Opened> {
    if found.is_dir() {
        return Err(Errno::ISDIR);
    }
    check(caller, found, how)?;
    open_found(caller, found, how)
}

/// Whether `caller` may open what was found (`may_open`).
fn check(caller: &Caller<'_>, found: &PathRef, how: &How) -> SysResult<()> {
    let inode = found.inode()?;
    let kind = inode.kind();
    if how.has(libc::O_DIRECTORY) && kind != FileKind::Directory {
        return Err(Errno::NOTDIR);
    }
    if how.has(libc::O_PATH) {
        return Ok(());
    }
    let mask = how.mask();
    match kind {
        FileKind::Symlink => return Err(Errno::LOOP),
        FileKind::Directory if mask & MAY_WRITE != 0 => return Err(Errno::ISDIR),
        FileKind::CharDevice | FileKind::BlockDevice if found.mount.has(MountFlags::NODEV) => return Err(Errno::ACCES),
        _ => {}
    }
    access::may(caller, found, mask)?;
    if how.has(libc::O_NOATIME) && !access::is_owner(&inode.perm()?, &caller.creds) {
        return Err(Errno::PERM);
    }
    Ok(())
}

/// Opens what was found and checked, or was just made.
pub fn open_found(caller: &Caller<'_>, found: &PathRef, how: &How) -> SysResult<Opened> {
    let inode = found.inode()?;
    let flags = description_flags(how);
    if how.has(libc::O_PATH) {
        return Ok(Opened::File(File::new(Box::new(PathOnly), Some(found.clone()), flags)));
    }
    if inode.kind() == FileKind::Fifo {
        return Ok(Opened::Fifo(found.clone()));
    }
    let is_regular = inode.kind() == FileKind::Regular;
    let writes = is_regular && how.mask() & MAY_WRITE != 0;
    if writes {
        begin_write(&**inode)?;
    }
    let key: Key = (found.dentry.sb.dev, inode.ino());
    let leases = caller.task.filter(|_| is_regular).and_then(|t| lease::conflict(t, key, how.writes()));
    let opened = match leases {
        None => open_inode(caller, inode, how, is_regular),
        Some(_) if how.has(libc::O_NONBLOCK) => Err(Errno::AGAIN),
        Some(leases) => {
            if writes {
                end_write(&**inode);
            }
            return Ok(Opened::Leased(found.clone(), leases));
        }
    };
    if writes && (opened.is_err() || !matches!(how.flags & libc::O_ACCMODE, libc::O_WRONLY | libc::O_RDWR)) {
        end_write(&**inode);
    }
    let file = File::new(opened?, Some(found.clone()), flags);
    if is_regular {
        lease::count_reader(&file, &**inode);
    }
    notify::path(found, libc::IN_OPEN);
    Ok(Opened::File(file))
}

fn open_inode(caller: &Caller<'_>, inode: &Arc<dyn Inode>, how: &How, is_regular: bool) -> SysResult<Box<dyn FileOps>> {
    let ops = inode.clone().open(caller, how.flags)?;
    if is_regular && how.has(libc::O_TRUNC) {
        let mode = stripped_mode(&inode.perm()?, &caller.creds);
        inode.set_attr(&SetAttr { size: Some(0), mtime: Some(SetTime::Now), mode, ..SetAttr::default() })?;
    }
    Ok(ops)
}

/// Counts a description open for writing; `ETXTBSY` for a program that runs.
pub fn begin_write(inode: &dyn Inode) -> SysResult<()> {
    let writers = &inode.ext().writers;
    let more = writers.fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| if n < 0 { None } else { Some(n + 1) });
    more.map(drop).map_err(|_| Errno::TXTBSY)
}

/// Ends what [`begin_write`] began.
pub fn end_write(inode: &dyn Inode) {
    inode.ext().writers.fetch_sub(1, Ordering::AcqRel);
}

/// Keeps a program that runs from being written to.
#[derive(Debug)]
pub struct DenyWrite(Arc<dyn Inode>);

impl DenyWrite {
    /// `ETXTBSY` if someone has it open for writing.
    pub fn new(inode: Arc<dyn Inode>) -> SysResult<DenyWrite> {
        let writers = &inode.ext().writers;
        let fewer =
            writers.fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| if n > 0 { None } else { Some(n - 1) });
        fewer.map_err(|_| Errno::TXTBSY)?;
        Ok(DenyWrite(inode))
    }
}

impl Drop for DenyWrite {
    fn drop(&mut self) {
        self.0.ext().writers.fetch_add(1, Ordering::AcqRel);
    }
}

/// A program found for `execve(2)`.
#[derive(Debug)]
pub struct Program {
    /// Opened for reading.
    pub file: Arc<File>,
    /// Where.
    pub path: PathRef,
    /// Its attributes (set-ID bits; without effect if `nosuid`).
    pub attr: Attr,
    /// The mount ignores set-ID bits.
    pub nosuid: bool,
    /// Held while the program runs.
    pub guard: Arc<DenyWrite>,
}

/// Opens what is at `path` to run it: a regular file, executable, on a mount that allows it.
pub fn open_exec(caller: &Caller<'_>, path: PathRef) -> SysResult<Program> {
    let inode = path.inode()?.clone();
    match inode.kind() {
        FileKind::Symlink => return Err(Errno::LOOP),
        FileKind::Regular if !path.mount.has(MountFlags::NOEXEC) => {}
        _ => return Err(Errno::ACCES),
    }
    access::check(&inode.perm()?, &caller.creds, MAY_EXEC)?;
    let guard = Arc::new(DenyWrite::new(inode.clone())?);
    let ops = inode.clone().open(caller, libc::O_RDONLY)?;
    let attr = inode.attr()?;
    let nosuid = path.mount.has(MountFlags::NOSUID);
    let file = File::new(ops, Some(path.clone()), libc::O_RDONLY | O_LARGEFILE);
    lease::count_reader(&file, &*inode);
    Ok(Program { file, path, attr, nosuid, guard })
}

/// What is behind an `O_PATH` descriptor: nothing that can be read or written.
#[derive(Debug)]
pub struct PathOnly;

impl FileOps for PathOnly {
    fn as_any(&self) -> &dyn Any {
        self
    }
}
