//! Pipes and FIFOs (`pipe(7)`, `fifo(7)`).
//!
//! A [`Pipe`] is the shared object; each open description holds a [`PipeEnd`] of it. An anonymous pipe has two
//! ends from the start; a FIFO's pipe hangs in its inode's [`FifoSlot`] while anyone has it open.

mod buffer;
mod fifo;

use buffer::{PAGE, PipeBuffer};
pub use fifo::FifoSlot;

use crate::errno::{Errno, SysResult};
use crate::executor::{Events, WaitQueue};
use crate::fs::attr::Attr;
use crate::fs::{Caller, File, FileOps, Written, anon};
use crate::kernel::{Cap, Creds, Task};
use crate::mm::Addr;
use crate::sync::Mutex;

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Slots of a new pipe (64 KiB).
const DEFAULT_SLOTS: usize = 16;
/// Slots of a new pipe when all pipes together exceed [`PAGES_SOFT`].
const MIN_SLOTS: usize = 2;
/// `fs.pipe-user-pages-soft`: pages of all pipes together beyond which the unprivileged get small ones.
const PAGES_SOFT: usize = 16384;
/// `fs.pipe-max-size`: largest capacity without `CAP_SYS_RESOURCE`.
const MAX_SIZE: usize = 1 << 20;
/// Largest capacity for anyone. Linux has 2 GiB; the sentry's memory is dearer.
const MAX_SIZE_PRIVILEGED: usize = 64 << 20;

/// Capacity in pages of all pipes together.
static PAGES: AtomicUsize = AtomicUsize::new(0);

#[derive(Debug)]
struct State {
    buffer: PipeBuffer,
    readers: u32,
    writers: u32,
    /// How often the pipe was opened for reading, ever.
    reader_opens: u64,
    /// How often the pipe was opened for writing, ever.
    writer_opens: u64,
}

/// A pipe.
#[derive(Debug)]
pub struct Pipe {
    ino: u64,
    owner: (u32, u32),
    state: Mutex<State>,
    queue: WaitQueue,
}

impl Pipe {
    /// An empty pipe without ends.
    pub fn new(creds: &Creds) -> Arc<Pipe> {
        let crowded = PAGES.load(Ordering::Relaxed) + DEFAULT_SLOTS > PAGES_SOFT;
        let slots = if crowded && !may_exceed(creds) { MIN_SLOTS } else { DEFAULT_SLOTS };
        PAGES.fetch_add(slots, Ordering::Relaxed);
        Arc::new(Pipe {
            ino: anon::next_ino(),
            owner: (creds.fsuid, creds.fsgid),
            state: Mutex::new(State {
                buffer: PipeBuffer::new(slots),
                readers: 0,
                writers: 0,
                reader_opens: 0,
                writer_opens: 0,
            }),
            queue: WaitQueue::new(),
        })
    }

    /// A pipe's two ends, `flags` as for `pipe2(2)`: reader, writer.
    pub fn pair(creds: &Creds, flags: i32) -> (Arc<File>, Arc<File>) {
        let pipe = Pipe::new(creds);
        let reader = PipeEnd::new(pipe.clone(), true, false);
        let writer = PipeEnd::new(pipe, false, true);
        (File::anonymous(reader, flags | libc::O_RDONLY), File::anonymous(writer, flags | libc::O_WRONLY))
    }

    /// Capacity in bytes (`F_GETPIPE_SZ`).
    pub fn capacity(&self) -> usize {
        self.state.lock().buffer.max_slots() * PAGE
    }

    /// Changes the capacity (`F_SETPIPE_SZ`); returns what it came to.
    pub fn set_capacity(&self, creds: &Creds, size: u32) -> SysResult<usize> {
        let size = (size as usize).max(PAGE).next_power_of_two();
        if size > 1 << 31 {
            return Err(Errno::INVAL);
        }
        let slots = size / PAGE;
        let mut state = self.state.lock();
        let old = state.buffer.max_slots();
        if slots > old {
            if size > MAX_SIZE && !creds.has(Cap::SysResource) {
                return Err(Errno::PERM);
            }
            if size > MAX_SIZE_PRIVILEGED {
                return Err(Errno::NOMEM);
            }
            if PAGES.load(Ordering::Relaxed) + slots - old > PAGES_SOFT && !may_exceed(creds) {
                return Err(Errno::PERM);
            }
        }
        if !state.buffer.resize(slots) {
            return Err(Errno::BUSY);
        }
        PAGES.fetch_add(slots, Ordering::Relaxed);
        PAGES.fetch_sub(old, Ordering::Relaxed);
        drop(state);
        if slots > old {
            self.queue.notify(Events::OUT | Events::WRNORM);
        }
        Ok(size)
    }

    /// Takes bytes out; 0 at the end of file, `EAGAIN` if there may come more.
    pub fn read(&self, buf: &mut [u8]) -> SysResult<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        let mut state = self.state.lock();
        let was_full = state.buffer.is_full();
        let count = state.buffer.pop(buf);
        if count == 0 {
            return if state.writers == 0 { Ok(0) } else { Err(Errno::AGAIN) };
        }
        let has_room = was_full && !state.buffer.is_full();
        drop(state);
        if has_room {
            self.queue.notify(Events::OUT | Events::WRNORM);
        }
        Ok(count)
    }

    /// Puts bytes back that were read and that the reader's memory did not take.
    pub fn unread(&self, bytes: &[u8]) {
        self.state.lock().buffer.push_front(bytes);
        self.queue.notify(Events::IN | Events::RDNORM);
    }

    /// Puts bytes in, as many as there is room for.
    pub fn write(&self, buf: &[u8], packet: bool) -> SysResult<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        let mut state = self.state.lock();
        if state.readers == 0 {
            return Err(Errno::PIPE);
        }
        let count = state.buffer.push(buf, packet);
        drop(state);
        if count == 0 {
            return Err(Errno::AGAIN);
        }
        self.queue.notify(Events::IN | Events::RDNORM);
        Ok(count)
    }

    /// Copies bytes from the front without taking them (`tee(2)`); 0 and `EAGAIN` as [`read`](Self::read).
    pub fn peek(&self, buf: &mut [u8]) -> SysResult<usize> {
        let state = self.state.lock();
        match state.buffer.peek(buf) {
            0 if !buf.is_empty() && state.writers > 0 => Err(Errno::AGAIN),
            count => Ok(count),
        }
    }

    /// Drops what [`peek`](Self::peek) has shown.
    pub fn discard(&self, count: usize) {
        let mut state = self.state.lock();
        let was_full = state.buffer.is_full();
        state.buffer.discard(count);
        let has_room = was_full && !state.buffer.is_full();
        drop(state);
        if has_room {
            self.queue.notify(Events::OUT | Events::WRNORM);
        }
    }

    /// Puts all of `buf` in, beyond the capacity if another writer was faster than one who has asked for
    /// [`room`](Self::room).
    pub fn push_all(&self, buf: &[u8]) {
        if buf.is_empty() {
            return;
        }
        self.state.lock().buffer.push_all(buf);
        self.queue.notify(Events::IN | Events::RDNORM);
    }

    /// Bytes that [`write`](Self::write) takes for certain: free slots, whole.
    pub fn room(&self) -> SysResult<usize> {
        let state = self.state.lock();
        if state.readers == 0 {
            return Err(Errno::PIPE);
        }
        let free = state.buffer.free_slots();
        if free == 0 { Err(Errno::AGAIN) } else { Ok(free * PAGE) }
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        PAGES.fetch_sub(self.state.get_mut().buffer.max_slots(), Ordering::Relaxed);
    }
}

/// Whether the limits on all pipes of a user do not bind.
fn may_exceed(creds: &Creds) -> bool {
    creds.has(Cap::SysResource) || creds.has(Cap::SysAdmin)
}

/// One open description of a pipe.
#[derive(Debug)]
pub struct PipeEnd {
    pipe: Arc<Pipe>,
    reads: bool,
    writes: bool,
    /// A FIFO's reader that came before any writer sees no hang-up until one came and left: the
    /// writers there had been when it opened.
    opened_before: Option<u64>,
}

impl PipeEnd {
    /// Opens `pipe`.
    fn new(pipe: Arc<Pipe>, reads: bool, writes: bool) -> PipeEnd {
        let mut state = pipe.state.lock();
        state.readers += u32::from(reads);
        state.reader_opens += u64::from(reads);
        state.writers += u32::from(writes);
        state.writer_opens += u64::from(writes);
        drop(state);
        PipeEnd { pipe, reads, writes, opened_before: None }
    }

    /// The pipe it is an end of.
    pub fn pipe(&self) -> &Arc<Pipe> {
        &self.pipe
    }

    /// The pipe behind a description, if it is one.
    pub fn of(file: &File) -> Option<&PipeEnd> {
        file.downcast()
    }
}

impl Drop for PipeEnd {
    fn drop(&mut self) {
        let mut state = self.pipe.state.lock();
        state.readers -= u32::from(self.reads);
        state.writers -= u32::from(self.writes);
        let one_side_left = (state.readers == 0) != (state.writers == 0);
        drop(state);
        if one_side_left {
            self.pipe.queue.notify(Events::IN | Events::RDNORM | Events::OUT | Events::WRNORM | Events::ALWAYS);
        }
    }
}

impl FileOps for PipeEnd {
    fn read(&self, _: &File, buf: &mut [u8], _: u64) -> SysResult<usize> {
        self.pipe.read(buf)
    }

    fn write(&self, file: &File, buf: &[u8], _: u64) -> SysResult<Written> {
        let packet = file.flags() & libc::O_DIRECT != 0;
        self.pipe.write(buf, packet).map(|count| Written { count, end: 0 })
    }

    fn ioctl(&self, t: &Task, _: &File, cmd: u32, arg: u64) -> SysResult {
        match u64::from(cmd) {
            libc::FIONREAD => {
                let len = self.pipe.state.lock().buffer.len() as i32;
                t.mem().write(Addr(arg), &len).map(|()| 0)
            }
            _ => Err(Errno::NOTTY),
        }
    }

    fn poll(&self, _: &File) -> Events {
        let state = self.pipe.state.lock();
        let mut ready = Events::empty();
        if self.reads {
            if !state.buffer.is_empty() {
                ready |= Events::IN | Events::RDNORM;
            }
            if state.writers == 0 && self.opened_before != Some(state.writer_opens) {
                ready |= Events::HUP;
            }
        }
        if self.writes {
            if !state.buffer.is_full() {
                ready |= Events::OUT | Events::WRNORM;
            }
            if state.readers == 0 {
                ready |= Events::ERR;
            }
        }
        ready
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.pipe.queue)
    }

    fn reopen(&self, _: &Caller<'_>, flags: i32) -> SysResult<Box<dyn FileOps>> {
        let mode = flags & libc::O_ACCMODE;
        let (reads, writes) = (mode != libc::O_WRONLY, mode != libc::O_RDONLY);
        Ok(Box::new(PipeEnd::new(self.pipe.clone(), reads, writes)))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn attr(&self) -> Option<Attr> {
        let (uid, gid) = self.pipe.owner;
        Some(Attr::new(anon::PIPEFS, self.pipe.ino, libc::S_IFIFO | 0o600, uid, gid))
    }

    fn describe(&self) -> String {
        format!("pipe:[{}]", self.pipe.ino)
    }
}

#[cfg(test)]
mod tests;
