//! Opening a FIFO: each side waits for the other.

use super::{Pipe, PipeEnd};
use crate::errno::{Errno, SysResult};
use crate::executor::Events;
use crate::kernel::{Registration, Task};
use crate::sync::Mutex;
use std::sync::{Arc, Weak};

/// Where an inode keeps its FIFO's pipe while someone has it open.
#[derive(Debug, Default)]
pub struct FifoSlot {
    pipe: Mutex<Weak<Pipe>>,
}

impl FifoSlot {
    /// The pipe; a new one if nobody has the FIFO open.
    fn pipe(&self, t: &Task) -> Arc<Pipe> {
        let mut slot = self.pipe.lock();
        if let Some(pipe) = slot.upgrade() {
            return pipe;
        }
        let pipe = Pipe::new(&t.creds());
        *slot = Arc::downgrade(&pipe);
        pipe
    }

    /// Opens the FIFO with the access mode and `O_NONBLOCK` of `flags`, waiting for the other side if need be.
    pub async fn open(&self, t: &Task, flags: i32) -> SysResult<PipeEnd> {
        let pipe = self.pipe(t);
        let nonblocking = flags & libc::O_NONBLOCK != 0;
        match flags & libc::O_ACCMODE {
            libc::O_RDONLY => open_reader(t, pipe, nonblocking).await,
            libc::O_WRONLY => open_writer(t, pipe, nonblocking).await,
            libc::O_RDWR => Ok(PipeEnd::new(pipe, true, true)),
            _ => Err(Errno::INVAL),
        }
    }
}

async fn open_reader(t: &Task, pipe: Arc<Pipe>, nonblocking: bool) -> SysResult<PipeEnd> {
    let mut end = PipeEnd::new(pipe.clone(), true, false);
    pipe.queue.notify(Events::OUT);
    let (writers, seen) = {
        let state = pipe.state.lock();
        (state.writers, state.writer_opens)
    };
    if writers > 0 {
        return Ok(end);
    }
    if nonblocking {
        end.opened_before = Some(seen);
        return Ok(end);
    }
    wait_for_partner(t, &pipe, || pipe.state.lock().writer_opens != seen).await?;
    Ok(end)
}

async fn open_writer(t: &Task, pipe: Arc<Pipe>, nonblocking: bool) -> SysResult<PipeEnd> {
    if nonblocking && pipe.state.lock().readers == 0 {
        return Err(Errno::NXIO);
    }
    let end = PipeEnd::new(pipe.clone(), false, true);
    pipe.queue.notify(Events::IN);
    let (readers, seen) = {
        let state = pipe.state.lock();
        (state.readers, state.reader_opens)
    };
    if readers == 0 {
        wait_for_partner(t, &pipe, || pipe.state.lock().reader_opens != seen).await?;
    }
    Ok(end)
}

/// Waits until `came`: it is enough that the other side opened, even if it has left again.
async fn wait_for_partner(t: &Task, pipe: &Pipe, came: impl Fn() -> bool) -> SysResult<()> {
    let _registered = Registration::new(&pipe.queue, Events::IN | Events::OUT, t.observer());
    t.wait_for(None, || came().then_some(())).await.map(|_| ())
}
