//! `splice(2)`, `tee(2)`, `vmsplice(2)`, `sendfile(2)`.
//!
//! Data goes through a buffer of the sentry. What is taken from a pipe is taken only once it has gone out, so that
//! a signal or an error in between loses nothing.

use super::iovec::{Buffers, IoBuffer, MAX_RW_COUNT};
use super::rw::{self, Place};
use crate::errno::{Errno, SysResult};
use crate::executor::Events;
use crate::fs::File;
use crate::fs::pipe::{Pipe, PipeEnd};
use crate::kernel::Task;
use crate::mm::Addr;
use std::sync::Arc;

/// Bytes moved at once.
const CHUNK: usize = 64 << 10;
const SPLICE_ALL: u32 = libc::SPLICE_F_MOVE | libc::SPLICE_F_NONBLOCK | libc::SPLICE_F_MORE | libc::SPLICE_F_GIFT;

/// One side of a transfer: a file, and where in it.
struct Side {
    file: Arc<File>,
    /// Given by the caller; `None` for the file's own position.
    at: Option<u64>,
    /// Whether it may wait.
    waits: bool,
}

impl Side {
    /// `nowait` is for pipes alone: other files wait as their own flags say.
    fn new(file: Arc<File>, at: Option<u64>, nowait: bool) -> Side {
        let nowait = file.is_nonblocking() || (nowait && PipeEnd::of(&file).is_some());
        Side { file, at, waits: !nowait }
    }

    fn pipe(&self) -> Option<&Arc<Pipe>> {
        PipeEnd::of(&self.file).map(PipeEnd::pipe)
    }

    /// Where data is found next.
    fn position(&self, done: u64) -> u64 {
        self.at.map_or_else(|| *self.file.pos.lock(), |at| at.saturating_add(done))
    }

    /// Reads without waiting; does not move the position.
    fn peek(&self, buf: &mut [u8], done: u64) -> SysResult<usize> {
        self.file.ops.read(&self.file, buf, self.position(done))
    }

    fn advance(&self, count: usize) {
        if self.at.is_none() && self.file.ops.is_seekable() {
            let mut pos = self.file.pos.lock();
            *pos = pos.saturating_add(count as u64);
        }
    }

    /// Runs `attempt`, waiting for the file's readiness if both it and the caller may.
    async fn attempt(
        &self,
        t: &Task,
        events: Events,
        wait: bool,
        mut attempt: impl FnMut() -> SysResult<usize>,
    ) -> SysResult<usize> {
        match self.file.ops.wait_queue() {
            Some(queue) if self.waits && wait => t.block_on(queue, events, None, attempt).await,
            _ => attempt(),
        }
    }

    /// Writes all of `data`, waiting if it may; how much was written before an error.
    async fn write_all(&self, t: &Task, data: &[u8], done: u64) -> (usize, SysResult<()>) {
        let mut sent = 0;
        while let Some(rest) = data.get(sent..).filter(|rest| !rest.is_empty()) {
            let attempt = || self.write(t, rest, done + sent as u64);
            match self.attempt(t, Events::WRITABLE, true, attempt).await {
                Ok(count) => sent += count,
                Err(error) => {
                    if error == Errno::PIPE {
                        t.raise(libc::SIGPIPE);
                    }
                    return (sent, Err(error));
                }
            }
        }
        (sent, Ok(()))
    }

    fn write(&self, t: &Task, data: &[u8], done: u64) -> SysResult<usize> {
        let file = &*self.file;
        if !file.ops.is_seekable() {
            return file.ops.write(file, data, 0).map(|written| written.count);
        }
        match self.at {
            Some(at) => {
                rw::write_at(t, file, data, at.saturating_add(done), false, rw::regular(file)).map(|(count, _)| count)
            }
            None => {
                let mut pos = self.file.pos.lock();
                let (count, end) = rw::write_at(t, file, data, *pos, false, rw::regular(file))?;
                *pos = end;
                Ok(count)
            }
        }
    }
}

/// `sendfile(2)`: copies from a file to a descriptor.
pub async fn sendfile(t: &Task, out: i32, input: i32, offset: Addr, count: usize) -> SysResult<usize> {
    let at = read_offset(t, offset)?;
    let input = t.file(input)?;
    if !input.is_readable() {
        return Err(Errno::BADF);
    }
    if !input.ops.is_seekable() {
        return Err(if at.is_some() { Errno::SPIPE } else { Errno::INVAL });
    }
    let out = t.file(out)?;
    check_writable(&out)?;
    let (input, out) = (Side::new(input, at, false), Side::new(out, None, false));
    let count = count.min(MAX_RW_COUNT);
    let done = match out.pipe() {
        Some(pipe) => fill(t, &input, &out, pipe, count).await?,
        None => send(t, &input, &out, count).await?,
    };
    write_offset(t, offset, at, done)?;
    Ok(done)
}

async fn send(t: &Task, input: &Side, out: &Side, count: usize) -> SysResult<usize> {
    let mut done = 0;
    while done < count {
        let mut buf = IoBuffer::new((count - done).min(CHUNK));
        let got = match input.peek(&mut buf, done as u64) {
            Err(error) if done == 0 => return Err(error),
            Err(_) | Ok(0) => break,
            Ok(got) => got,
        };
        let (sent, ended) = out.write_all(t, buf.get(..got).unwrap_or_default(), done as u64).await;
        input.advance(sent);
        done += sent;
        match ended {
            Err(error) if done == 0 => return Err(error),
            Err(_) => break,
            Ok(()) => {}
        }
    }
    Ok(done)
}

fn check_writable(out: &File) -> SysResult<()> {
    if !out.is_writable() {
        return Err(Errno::BADF);
    }
    if out.flags() & libc::O_APPEND != 0 && out.ops.is_seekable() {
        return Err(Errno::INVAL);
    }
    Ok(())
}

fn read_offset(t: &Task, addr: Addr) -> SysResult<Option<u64>> {
    if addr.is_null() {
        return Ok(None);
    }
    let offset: i64 = t.mem().read(addr)?;
    u64::try_from(offset).map(Some).map_err(|_| Errno::INVAL)
}

fn write_offset(t: &Task, addr: Addr, at: Option<u64>, done: usize) -> SysResult<()> {
    at.map_or(Ok(()), |at| t.mem().write(addr, &(at + done as u64)))
}

/// `splice(2)`: moves data between a pipe and something else.
pub async fn splice(
    t: &Task,
    input: i32,
    off_in: Addr,
    out: i32,
    off_out: Addr,
    count: usize,
    flags: u32,
) -> SysResult<usize> {
    if count == 0 {
        return Ok(0);
    }
    if flags & !SPLICE_ALL != 0 {
        return Err(Errno::INVAL);
    }
    let (input, out) = (t.file(input)?, t.file(out)?);
    for (file, offset) in [(&input, off_in), (&out, off_out)] {
        if !offset.is_null() && PipeEnd::of(file).is_some() {
            return Err(Errno::SPIPE);
        }
    }
    let (at_in, at_out) = (read_offset(t, off_in)?, read_offset(t, off_out)?);
    if !input.is_readable() || !out.is_writable() {
        return Err(Errno::BADF);
    }
    if [(&input, at_in), (&out, at_out)].iter().any(|(file, at)| at.is_some() && !file.ops.is_seekable()) {
        return Err(Errno::INVAL);
    }
    let nowait = flags & libc::SPLICE_F_NONBLOCK != 0;
    let (input, out) = (Side::new(input, at_in, nowait), Side::new(out, at_out, nowait));
    let count = count.min(MAX_RW_COUNT);
    let done = match (input.pipe(), out.pipe()) {
        (Some(from), Some(to)) => join(t, (&input, from), (&out, to), count, true).await?,
        (Some(pipe), None) => {
            check_writable(&out.file)?;
            drain(t, &input, pipe, &out, count).await?
        }
        (None, Some(pipe)) => fill(t, &input, &out, pipe, count).await?,
        (None, None) => return Err(Errno::INVAL),
    };
    write_offset(t, off_in, at_in, done)?;
    write_offset(t, off_out, at_out, done)?;
    Ok(done)
}

/// From a pipe to something else: until `count` is reached or the pipe is empty.
async fn drain(t: &Task, input: &Side, pipe: &Pipe, out: &Side, count: usize) -> SysResult<usize> {
    let mut done = 0;
    while done < count {
        let mut buf = IoBuffer::new((count - done).min(CHUNK));
        let peek = || pipe.peek(&mut buf);
        let got = input.attempt(t, Events::READABLE, done == 0, peek).await;
        let got = match got {
            Err(error) if done == 0 => return Err(error),
            Err(_) | Ok(0) => break,
            Ok(got) => got,
        };
        let (sent, ended) = out.write_all(t, buf.get(..got).unwrap_or_default(), done as u64).await;
        pipe.discard(sent);
        done += sent;
        match ended {
            Err(error) if done == 0 => return Err(error),
            Err(_) => break,
            Ok(()) => {}
        }
    }
    Ok(done)
}

/// From something else into a pipe: until `count` is reached, the pipe is full, or there is no more.
async fn fill(t: &Task, input: &Side, out: &Side, pipe: &Pipe, count: usize) -> SysResult<usize> {
    let mut done = 0;
    while done < count {
        let room = out.attempt(t, Events::WRITABLE, done == 0, || pipe.room()).await;
        let moved = match room {
            Err(error) => Err(error),
            Ok(room) => {
                let mut buf = IoBuffer::new((count - done).min(CHUNK).min(room));
                let at = done as u64;
                let read_and_push = || {
                    let got = input.peek(&mut buf, at)?;
                    pipe.push_all(buf.get(..got).unwrap_or_default());
                    Ok(got)
                };
                input.attempt(t, Events::READABLE, done == 0, read_and_push).await
            }
        };
        match moved {
            Err(Errno::PIPE) if done == 0 => {
                t.raise(libc::SIGPIPE);
                return Err(Errno::PIPE);
            }
            Err(error) if done == 0 => return Err(error),
            Err(_) | Ok(0) => break,
            Ok(got) => {
                input.advance(got);
                done += got;
            }
        }
    }
    Ok(done)
}

/// From pipe to pipe, once; `moves`: what was copied leaves the first one.
async fn join(
    t: &Task,
    (input, from): (&Side, &Arc<Pipe>),
    (out, to): (&Side, &Arc<Pipe>),
    count: usize,
    moves: bool,
) -> SysResult<usize> {
    if Arc::ptr_eq(from, to) {
        return Err(Errno::INVAL);
    }
    let mut buf = IoBuffer::new(count.min(CHUNK));
    loop {
        let got = input.attempt(t, Events::READABLE, true, || from.peek(&mut buf)).await?;
        if got == 0 {
            return Ok(0);
        }
        let transfer = || {
            let got = from.peek(&mut buf)?;
            let copied = to.write(buf.get(..got).unwrap_or_default(), false)?;
            if moves {
                from.discard(copied);
            }
            Ok(copied)
        };
        match out.attempt(t, Events::WRITABLE, true, transfer).await {
            Err(Errno::PIPE) => {
                t.raise(libc::SIGPIPE);
                return Err(Errno::PIPE);
            }
            // Another reader was faster.
            Ok(0) => {}
            done => return done,
        }
    }
}

/// `tee(2)`: copies from one pipe to another.
pub async fn tee(t: &Task, input: i32, out: i32, count: usize, flags: u32) -> SysResult<usize> {
    if flags & !SPLICE_ALL != 0 {
        return Err(Errno::INVAL);
    }
    if count == 0 {
        return Ok(0);
    }
    let (input, out) = (t.file(input)?, t.file(out)?);
    if !input.is_readable() || !out.is_writable() {
        return Err(Errno::BADF);
    }
    let nowait = flags & libc::SPLICE_F_NONBLOCK != 0;
    let (input, out) = (Side::new(input, None, nowait), Side::new(out, None, nowait));
    let (Some(from), Some(to)) = (input.pipe(), out.pipe()) else { return Err(Errno::INVAL) };
    join(t, (&input, from), (&out, to), count, false).await
}

/// `vmsplice(2)`: from memory into a pipe, or from a pipe into memory. Always copies.
pub async fn vmsplice(t: &Task, fd: i32, iov: Addr, count: usize, flags: u32) -> SysResult<usize> {
    if flags & !SPLICE_ALL != 0 {
        return Err(Errno::INVAL);
    }
    let file = t.file(fd)?;
    if PipeEnd::of(&file).is_none() {
        return Err(Errno::BADF);
    }
    let buffers = Buffers::vector(t, iov, count)?;
    let nowait = flags & libc::SPLICE_F_NONBLOCK != 0;
    if file.is_writable() {
        rw::write_file(t, &file, &buffers, Place::of(&file, None), nowait).await
    } else {
        rw::read_file(t, &file, &buffers, None, nowait).await
    }
}
