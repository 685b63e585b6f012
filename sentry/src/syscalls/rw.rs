//! `read(2)`, `write(2)` and their kin, and `lseek(2)`.

use super::iovec::{Buffers, IoBuffer};
pub(super) use super::seekable::write_at;
pub use super::seekable::{Place, room_below_limit};
use super::seekable::{read_seekable, write_seekable};
use super::{signalfd, socket_msg};
use crate::errno::{Errno, SysResult};
use crate::executor::Events;
use crate::fs::attr::{FileKind, SetAttr, stripped_mode};
use crate::fs::file::File;
use crate::fs::mount::MountFlags;
use crate::fs::notify;
use crate::fs::pipe::{Pipe, PipeEnd};
use crate::fs::signalfd::SignalFd;
use crate::kernel::Task;
use crate::mm::Addr;
use crate::net::socket::Socket;
use crate::spare;
use std::sync::Arc;

/// Bytes offered at once to what is no regular file: a message must not be cut, and none is larger.
const MESSAGE: usize = spare::MESSAGE;

/// `read(2)`.
pub async fn read(t: &Task, fd: i32, buf: Addr, count: usize) -> SysResult<usize> {
    let file = readable(t.file(fd)?)?;
    read_file(t, &file, &Buffers::one(buf, count)?, None, false).await
}

/// `write(2)`.
pub async fn write(t: &Task, fd: i32, buf: Addr, count: usize) -> SysResult<usize> {
    let file = writable(t.file(fd)?)?;
    write_file(t, &file, &Buffers::one(buf, count)?, Place::of(&file, None), false).await
}

/// `pread(2)`.
pub async fn pread64(t: &Task, fd: i32, buf: Addr, count: usize, offset: i64) -> SysResult<usize> {
    let offset = position(offset)?;
    let file = readable(seekable(t.file(fd)?)?)?;
    read_file(t, &file, &Buffers::one(buf, count)?, Some(offset), false).await
}

/// `pwrite(2)`.
pub async fn pwrite64(t: &Task, fd: i32, buf: Addr, count: usize, offset: i64) -> SysResult<usize> {
    let offset = position(offset)?;
    let file = writable(seekable(t.file(fd)?)?)?;
    write_file(t, &file, &Buffers::one(buf, count)?, Place::of(&file, Some(offset)), false).await
}

/// `readv(2)`.
pub async fn readv(t: &Task, fd: i32, iov: Addr, count: usize) -> SysResult<usize> {
    let file = readable(t.file(fd)?)?;
    let buffers = Buffers::vector(t, iov, count)?;
    // Nothing is asked of the file then.
    if buffers.is_empty() {
        return Ok(0);
    }
    read_file(t, &file, &buffers, None, false).await
}

/// `writev(2)`.
pub async fn writev(t: &Task, fd: i32, iov: Addr, count: usize) -> SysResult<usize> {
    let file = writable(t.file(fd)?)?;
    write_file(t, &file, &Buffers::vector(t, iov, count)?, Place::of(&file, None), false).await
}

/// `preadv(2)`.
pub async fn preadv(t: &Task, fd: i32, iov: Addr, count: usize, offset: i64) -> SysResult<usize> {
    let offset = position(offset)?;
    let file = readable(seekable(t.file(fd)?)?)?;
    read_file(t, &file, &Buffers::vector(t, iov, count)?, Some(offset), false).await
}

/// `pwritev(2)`.
pub async fn pwritev(t: &Task, fd: i32, iov: Addr, count: usize, offset: i64) -> SysResult<usize> {
    let offset = position(offset)?;
    let file = writable(seekable(t.file(fd)?)?)?;
    write_file(t, &file, &Buffers::vector(t, iov, count)?, Place::of(&file, Some(offset)), false).await
}

/// `preadv2(2)`: as `preadv`, with flags; offset -1 uses the file's position. The high half of the offset
/// is for 32-bit callers.
pub async fn preadv2(
    t: &Task,
    fd: i32,
    iov: Addr,
    count: usize,
    offset: i64,
    _high: u64,
    flags: i32,
) -> SysResult<usize> {
    let offset = if offset == -1 { None } else { Some(position(offset)?) };
    let file = t.file(fd)?;
    let file = readable(if offset.is_some() { seekable(file)? } else { file })?;
    let buffers = Buffers::vector(t, iov, count)?;
    if buffers.is_empty() {
        return Ok(0);
    }
    let nowait = read_flags(flags)?;
    read_file(t, &file, &buffers, offset, nowait).await
}

/// `pwritev2(2)`: as `pwritev`, with flags; offset -1 uses the file's position.
pub async fn pwritev2(
    t: &Task,
    fd: i32,
    iov: Addr,
    count: usize,
    offset: i64,
    _high: u64,
    flags: i32,
) -> SysResult<usize> {
    let offset = if offset == -1 { None } else { Some(position(offset)?) };
    let file = t.file(fd)?;
    let file = writable(if offset.is_some() { seekable(file)? } else { file })?;
    let buffers = Buffers::vector(t, iov, count)?;
    if buffers.is_empty() {
        return Ok(0);
    }
    write_flags(flags)?;
    write_flagged(t, &file, &buffers, offset, flags).await
}

/// Writes as the flags of `pwritev2` say, which were checked.
pub(super) async fn write_flagged(
    t: &Task,
    file: &File,
    from: &Buffers,
    offset: Option<u64>,
    flags: i32,
) -> SysResult<usize> {
    let mut place = Place::of(file, offset);
    if flags & (libc::RWF_APPEND | RWF_NOAPPEND) != 0 {
        place.appends = flags & libc::RWF_APPEND != 0;
    }
    let count = write_file(t, file, from, place, flags & libc::RWF_NOWAIT != 0).await?;
    if flags & (libc::RWF_DSYNC | libc::RWF_SYNC) != 0 && count > 0 {
        file.ops.sync()?;
    }
    Ok(count)
}

/// As the kernel knows it (6.9); the C library's headers do not yet.
const RWF_NOAPPEND: i32 = 0x20;

/// Checks the flags of a read; whether it may wait for nothing.
pub(super) fn read_flags(flags: i32) -> SysResult<bool> {
    Ok(rwf(flags, libc::RWF_HIPRI | libc::RWF_NOWAIT)? & libc::RWF_NOWAIT != 0)
}

/// Checks the flags of a write.
pub(super) fn write_flags(flags: i32) -> SysResult<()> {
    let allowed =
        libc::RWF_HIPRI | libc::RWF_NOWAIT | libc::RWF_DSYNC | libc::RWF_SYNC | libc::RWF_APPEND | RWF_NOAPPEND;
    let flags = rwf(flags, allowed)?;
    let both = libc::RWF_APPEND | RWF_NOAPPEND;
    if flags & both == both { Err(Errno::INVAL) } else { Ok(()) }
}

fn rwf(flags: i32, allowed: i32) -> SysResult<i32> {
    if flags & !allowed == 0 { Ok(flags) } else { Err(Errno::OPNOTSUPP) }
}

fn readable(file: Arc<File>) -> SysResult<Arc<File>> {
    if file.is_readable() { Ok(file) } else { Err(Errno::BADF) }
}

fn writable(file: Arc<File>) -> SysResult<Arc<File>> {
    if file.is_writable() { Ok(file) } else { Err(Errno::BADF) }
}

fn seekable(file: Arc<File>) -> SysResult<Arc<File>> {
    if file.ops.is_seekable() { Ok(file) } else { Err(Errno::SPIPE) }
}

fn position(offset: i64) -> SysResult<u64> {
    u64::try_from(offset).map_err(|_| Errno::INVAL)
}

/// Reads into guest memory, from `at` or from the file's position.
pub async fn read_file(t: &Task, file: &File, to: &Buffers, at: Option<u64>, nowait: bool) -> SysResult<usize> {
    let count =
        if file.ops.is_seekable() { read_seekable(t, file, to, at) } else { read_stream(t, file, to, nowait).await };
    for io in [&t.io, &t.group.io] {
        io.read(*count.as_ref().unwrap_or(&0));
    }
    let count = count?;
    if let Some(path) = &file.path
        && count > 0
    {
        if file.flags() & libc::O_NOATIME == 0 && !path.mount.has(MountFlags::NOATIME) {
            path.inode()?.accessed();
        }
        notify::path(path, libc::IN_ACCESS);
    }
    Ok(count)
}

async fn read_stream(t: &Task, file: &File, to: &Buffers, nowait: bool) -> SysResult<usize> {
    file.ops.check_io(t, false)?;
    if file.downcast::<Socket>().is_some() {
        return socket_msg::read(t, file, to, nowait).await;
    }
    if file.downcast::<SignalFd>().is_some() {
        return signalfd::read(t, file, to, nowait).await;
    }
    let attempt = || {
        let mut buf = IoBuffer::new(to.len().min(MESSAGE));
        file.ops.read(file, &mut buf, 0).map(|count| (buf, count))
    };
    let (buf, count) = match file.ops.wait_queue() {
        Some(queue) if !file.is_nonblocking() && !nowait => t.block_on(queue, Events::READABLE, None, attempt).await?,
        _ => attempt()?,
    };
    let bytes = buf.get(..count).unwrap_or_default();
    match PipeEnd::of(file) {
        Some(end) => hand_over_pages(t, end.pipe(), to, bytes),
        None => to.copy_out(t, 0, bytes),
    }
}

/// A pipe gives its pages whole or keeps them.
fn hand_over_pages(t: &Task, pipe: &Pipe, to: &Buffers, bytes: &[u8]) -> SysResult<usize> {
    let copied = to.copy_out(t, 0, bytes).unwrap_or(0);
    if copied == bytes.len() {
        return Ok(copied);
    }
    let whole = copied - copied % PIPE_PAGE;
    pipe.unread(bytes.get(whole..).unwrap_or_default());
    if whole > 0 { Ok(whole) } else { Err(Errno::FAULT) }
}

/// What a pipe holds its bytes in.
const PIPE_PAGE: usize = 4096;

/// Writes from guest memory.
pub async fn write_file(t: &Task, file: &File, from: &Buffers, place: Place, nowait: bool) -> SysResult<usize> {
    let is_regular = regular(file);
    if is_regular && !from.is_empty() {
        strip_privileges(t, file)?;
    }
    let is_socket = file.downcast::<Socket>().is_some();
    let count = if is_socket {
        socket_msg::write(t, file, from, nowait).await
    } else if file.ops.is_seekable() {
        write_seekable(t, file, from, place, is_regular)
    } else {
        write_stream(t, file, from, nowait).await
    };
    for io in [&t.io, &t.group.io] {
        io.wrote(*count.as_ref().unwrap_or(&0));
    }
    if count == Err(Errno::PIPE) && !is_socket {
        t.raise(libc::SIGPIPE);
    }
    if let Some(path) = &file.path
        && count.is_ok_and(|count| count > 0)
    {
        notify::path(path, libc::IN_MODIFY);
    }
    count
}

pub(super) fn regular(file: &File) -> bool {
    file.path.as_ref().is_some_and(|path| path.inode().is_ok_and(|inode| inode.kind() == FileKind::Regular))
}

/// Takes set-ID bits from a file that is written by one who may not keep them.
pub fn strip_privileges(t: &Task, file: &File) -> SysResult<()> {
    let Some(path) = &file.path else { return Ok(()) };
    let inode = path.inode()?;
    let perm = inode.perm()?;
    if perm.mode & (libc::S_ISUID | libc::S_ISGID) == 0 {
        return Ok(());
    }
    match stripped_mode(&perm, &t.creds()) {
        None => Ok(()),
        mode => inode.set_attr(&SetAttr { mode, ..SetAttr::default() }),
    }
}

async fn write_stream(t: &Task, file: &File, from: &Buffers, nowait: bool) -> SysResult<usize> {
    file.ops.check_io(t, true)?;
    let mut done = 0;
    loop {
        let mut buf = IoBuffer::new((from.len() - done).min(MESSAGE));
        let got = match from.copy_in(t, done, &mut buf) {
            Err(e) if done == 0 => return Err(e),
            Err(_) => return Ok(done),
            // A pipe takes pages whole or not at all.
            Ok(got) if got < buf.len() => got - got % PIPE_PAGE,
            Ok(got) => got,
        };
        if got == 0 && !buf.is_empty() {
            return if done > 0 { Ok(done) } else { Err(Errno::FAULT) };
        }
        let chunk = buf.get(..got).unwrap_or_default();
        let (sent, ended) = write_chunk(t, file, chunk, nowait).await;
        done += sent;
        match ended {
            Err(e) if done == 0 => return Err(e),
            // A reader that has gone is told of by signal even if something was written before.
            Err(Errno::PIPE) => {
                t.raise(libc::SIGPIPE);
                return Ok(done);
            }
            Err(_) => return Ok(done),
            Ok(()) if done == from.len() || got < buf.len() => return Ok(done),
            Ok(()) => {}
        }
    }
}

/// Writes all of `chunk`, waiting for room; returns how much was written, and why it ended early.
async fn write_chunk(t: &Task, file: &File, chunk: &[u8], nowait: bool) -> (usize, SysResult<()>) {
    let mut sent = 0;
    loop {
        let rest = chunk.get(sent..).unwrap_or_default();
        let attempt = || file.ops.write(file, rest, 0);
        let written = match file.ops.wait_queue() {
            Some(queue) if !file.is_nonblocking() && !nowait => {
                t.block_on(queue, Events::WRITABLE, None, attempt).await
            }
            _ => attempt(),
        };
        match written {
            Err(e) => return (sent, Err(e)),
            Ok(written) => sent += written.count,
        }
        if sent >= chunk.len() {
            return (sent, Ok(()));
        }
    }
}

/// `lseek(2)`.
pub async fn lseek(t: &Task, fd: i32, offset: i64, whence: i32) -> SysResult<i64> {
    let file = t.file(fd)?;
    if !(libc::SEEK_SET..=libc::SEEK_HOLE).contains(&whence) {
        return Err(Errno::INVAL);
    }
    if file.ops.ignores_seek() {
        return Ok(0);
    }
    let file = seekable(file)?;
    let mut pos = file.pos.lock();
    let base = match whence {
        libc::SEEK_SET => 0,
        libc::SEEK_CUR => pos.cast_signed(),
        libc::SEEK_END => file.ops.size()?.cast_signed(),
        libc::SEEK_DATA | libc::SEEK_HOLE => {
            let offset = u64::try_from(offset).map_err(|_| Errno::NXIO)?;
            *pos = file.ops.seek_data(offset, whence == libc::SEEK_DATA)?;
            return Ok(pos.cast_signed());
        }
        _ => return Err(Errno::INVAL),
    };
    let new = base.checked_add(offset).ok_or(Errno::INVAL)?;
    *pos = u64::try_from(new).map_err(|_| Errno::INVAL)?;
    Ok(new)
}
