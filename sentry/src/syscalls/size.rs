//! Lengths and contents as a whole: `truncate(2)`, `fallocate(2)`, `fsync(2)` and its kin, `posix_fadvise(2)`,
//! `copy_file_range(2)`.

use super::at;
use super::iovec::IoBuffer;
use super::rw::{room_below_limit, strip_privileges};
use crate::errno::{Errno, SysResult};
use crate::fs::access::{self, MAY_WRITE};
use crate::fs::attr::{FileKind, SetAttr, SetTime, stripped_mode};
use crate::fs::file::File;
use crate::fs::inode::Caller;
use crate::fs::pipe::PipeEnd;
use crate::fs::{lease, notify, open};
use crate::kernel::Task;
use crate::mm::Addr;
use std::sync::Arc;

/// Bytes copied by one `copy_file_range(2)` at most, so that a thread of the sentry is not kept for long.
const COPY_MAX: usize = 8 << 20;
/// Bytes copied at once.
const COPY_CHUNK: usize = 128 * 1024;

fn kind(file: &File) -> Option<FileKind> {
    file.inode().map(|inode| inode.kind())
}

/// With a name or without.
fn is_pipe(file: &File) -> bool {
    kind(file) == Some(FileKind::Fifo) || PipeEnd::of(file).is_some()
}

fn check_limit(t: &Task, length: u64) -> SysResult<()> {
    if length == 0 { Ok(()) } else { room_below_limit(t, length - 1).map(drop) }
}

/// `truncate(2)`.
pub async fn truncate(t: &Task, path: Addr, length: i64) -> SysResult<()> {
    let length = u64::try_from(length).map_err(|_| Errno::INVAL)?;
    let caller = Caller::of(t);
    let path = at::lookup_user(t, &caller, libc::AT_FDCWD, path, true)?;
    let inode = path.inode()?;
    match inode.kind() {
        FileKind::Regular => {}
        FileKind::Directory => return Err(Errno::ISDIR),
        _ => return Err(Errno::INVAL),
    }
    path.want_write()?;
    access::may(&caller, &path, MAY_WRITE)?;
    if length > inode.attr()?.size {
        check_limit(t, length)?;
    }
    if let Some(leases) = lease::conflict(t, (path.dentry.sb.dev, inode.ino()), true) {
        lease::wait(t, &leases, true).await?;
    }
    open::begin_write(&**inode)?;
    let mode = stripped_mode(&inode.perm()?, &caller.creds);
    let done = inode.set_attr(&SetAttr { size: Some(length), mode, mtime: Some(SetTime::Now), ..SetAttr::default() });
    open::end_write(&**inode);
    notify::path(&path, libc::IN_MODIFY);
    done
}

/// `ftruncate(2)`.
pub async fn ftruncate(t: &Task, fd: i32, length: i64) -> SysResult<()> {
    let length = u64::try_from(length).map_err(|_| Errno::INVAL)?;
    let file = t.file(fd)?;
    if kind(&file) != Some(FileKind::Regular) || !file.is_writable() {
        return Err(Errno::INVAL);
    }
    if length > file.ops.size()? {
        check_limit(t, length)?;
    }
    strip_privileges(t, &file)?;
    file.ops.truncate(length)?;
    if let Some(path) = &file.path {
        notify::path(path, libc::IN_MODIFY);
    }
    Ok(())
}

/// `fallocate(2)`.
pub async fn fallocate(t: &Task, fd: i32, mode: i32, offset: i64, length: i64) -> SysResult<()> {
    /// Everything that Linux knows of.
    const KNOWN: i32 = 0x7f;
    let file = t.file(fd)?;
    let offset = u64::try_from(offset).map_err(|_| Errno::INVAL)?;
    let length = u64::try_from(length).ok().filter(|length| *length > 0).ok_or(Errno::INVAL)?;
    if mode & !KNOWN != 0 {
        return Err(Errno::OPNOTSUPP);
    }
    let punches = mode & libc::FALLOC_FL_PUNCH_HOLE != 0;
    if punches && mode & libc::FALLOC_FL_KEEP_SIZE == 0 {
        return Err(Errno::OPNOTSUPP);
    }
    if !file.is_writable() {
        return Err(Errno::BADF);
    }
    match kind(&file) {
        Some(FileKind::Regular) => {}
        Some(FileKind::Directory) => return Err(Errno::ISDIR),
        _ if is_pipe(&file) => return Err(Errno::SPIPE),
        _ => return Err(Errno::NODEV),
    }
    let end = offset.checked_add(length).filter(|end| i64::try_from(*end).is_ok()).ok_or(Errno::FBIG)?;
    if !punches && mode & libc::FALLOC_FL_KEEP_SIZE == 0 && end > file.ops.size()? {
        check_limit(t, end)?;
    }
    strip_privileges(t, &file)?;
    file.ops.fallocate(mode, offset, length)
}

/// `fsync(2)`.
pub async fn fsync(t: &Task, fd: i32) -> SysResult<()> {
    t.file(fd)?.ops.sync()
}

/// `fdatasync(2)`.
pub async fn fdatasync(t: &Task, fd: i32) -> SysResult<()> {
    fsync(t, fd).await
}

/// `sync(2)`.
pub async fn sync(t: &Task) -> SysResult<()> {
    for mount in t.fs().namespace().root().subtree() {
        // Linux has nobody to tell of a failure here either.
        let _ = mount.root.sb.fs.sync();
    }
    Ok(())
}

/// `syncfs(2)`.
pub async fn syncfs(t: &Task, fd: i32) -> SysResult<()> {
    match &t.file(fd)?.path {
        Some(path) => path.dentry.sb.fs.sync(),
        None => Ok(()),
    }
}

/// `sync_file_range(2)`.
pub async fn sync_file_range(t: &Task, fd: i32, offset: i64, length: i64, flags: u32) -> SysResult<()> {
    let file = t.file(fd)?;
    let known = libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    if flags & !known != 0 || offset < 0 || length < 0 || offset.checked_add(length).is_none() {
        return Err(Errno::INVAL);
    }
    match kind(&file) {
        Some(FileKind::Regular | FileKind::Directory | FileKind::BlockDevice | FileKind::Symlink) => file.ops.sync(),
        _ => Err(Errno::SPIPE),
    }
}

/// `posix_fadvise(2)`: advice is taken note of and not followed.
pub async fn fadvise64(t: &Task, fd: i32, _offset: i64, length: i64, advice: i32) -> SysResult<()> {
    let file = t.file(fd)?;
    if is_pipe(&file) {
        return Err(Errno::SPIPE);
    }
    if length < 0 || !(libc::POSIX_FADV_NORMAL..=libc::POSIX_FADV_NOREUSE).contains(&advice) {
        return Err(Errno::INVAL);
    }
    Ok(())
}

/// `readahead(2)`: the host reads ahead by itself.
pub async fn readahead(t: &Task, fd: i32, _offset: i64, _count: usize) -> SysResult<()> {
    let file = t.file(fd)?;
    if !file.is_readable() {
        return Err(Errno::BADF);
    }
    if kind(&file) == Some(FileKind::Regular) { Ok(()) } else { Err(Errno::INVAL) }
}

/// One side of a copy: a file and where in it.
struct End {
    file: Arc<File>,
    /// Where the offset is in guest memory; null for the file's position.
    addr: Addr,
    offset: u64,
}

impl End {
    fn new(t: &Task, fd: i32, addr: Addr) -> SysResult<End> {
        let file = t.file(fd)?;
        let offset = if addr.is_null() {
            *file.pos.lock()
        } else {
            let offset: i64 = t.mem().read(addr)?;
            u64::try_from(offset).map_err(|_| Errno::INVAL)?
        };
        Ok(End { file, addr, offset })
    }

    fn advance(&self, t: &Task, count: usize) -> SysResult<()> {
        let offset = self.offset + count as u64;
        if self.addr.is_null() {
            *self.file.pos.lock() = offset;
            return Ok(());
        }
        t.mem().write(self.addr, &offset)
    }
}

/// `copy_file_range(2)`.
pub async fn copy_file_range(
    t: &Task,
    from_fd: i32,
    from_at: Addr,
    to_fd: i32,
    to_at: Addr,
    length: usize,
    flags: u32,
) -> SysResult<usize> {
    let from = End::new(t, from_fd, from_at)?;
    let to = End::new(t, to_fd, to_at)?;
    if flags != 0 {
        return Err(Errno::INVAL);
    }
    for end in [&from, &to] {
        match kind(&end.file) {
            Some(FileKind::Regular) => {}
            Some(FileKind::Directory) => return Err(Errno::ISDIR),
            _ => return Err(Errno::INVAL),
        }
    }
    if !from.file.is_readable() || !to.file.is_writable() || to.file.flags() & libc::O_APPEND != 0 {
        return Err(Errno::BADF);
    }
    let overflows = |offset: u64| offset.checked_add(length as u64).is_none_or(|end| i64::try_from(end).is_err());
    if overflows(from.offset) || overflows(to.offset) {
        return Err(Errno::OVERFLOW);
    }
    if same_file(&from.file, &to.file) && from.offset.abs_diff(to.offset) < length as u64 {
        return Err(Errno::INVAL);
    }
    let count = copy(t, &from, &to, length.min(COPY_MAX))?;
    from.advance(t, count)?;
    to.advance(t, count)?;
    Ok(count)
}

fn same_file(a: &File, b: &File) -> bool {
    match (a.inode(), b.inode()) {
        (Some(a), Some(b)) => Arc::ptr_eq(&a, &b),
        _ => false,
    }
}

fn copy(t: &Task, from: &End, to: &End, length: usize) -> SysResult<usize> {
    if length > 0 {
        strip_privileges(t, &to.file)?;
    }
    let mut done = 0;
    while done < length {
        let mut buf = IoBuffer::new((length - done).min(COPY_CHUNK));
        let at = to.offset + done as u64;
        let step = from.file.ops.read(&from.file, &mut buf, from.offset + done as u64).and_then(|count| {
            let chunk = buf.get(..count).unwrap_or_default();
            if chunk.is_empty() {
                return Ok(0);
            }
            let room = usize::try_from(room_below_limit(t, at)?).unwrap_or(usize::MAX);
            let chunk = chunk.get(..chunk.len().min(room)).unwrap_or_default();
            to.file.ops.write(&to.file, chunk, at).map(|written| written.count)
        });
        match step {
            Err(e) if done == 0 => return Err(e),
            Err(_) | Ok(0) => break,
            Ok(count) => done += count,
        }
    }
    Ok(done)
}
