//! `signalfd(2)`.

use super::iovec::Buffers;
use crate::errno::{Errno, SysResult};
use crate::executor::Events;
use crate::fs::File;
use crate::fs::signalfd::{SignalFd, SignalfdSiginfo};
use crate::kernel::Task;
use crate::kernel::signal::SigSet;
use crate::mm::Addr;
use zerocopy::IntoBytes;

/// Size of the kernel's `sigset_t`.
const SIGSET_SIZE: usize = 8;

/// `signalfd(2)`: makes or changes a descriptor that reads signals.
pub async fn signalfd(t: &Task, fd: i32, mask: Addr, size: usize) -> SysResult<i32> {
    signalfd4(t, fd, mask, size, 0).await
}

/// `signalfd4(2)`: makes or changes a descriptor that reads signals, with flags for a new one.
pub async fn signalfd4(t: &Task, fd: i32, mask: Addr, size: usize, flags: i32) -> SysResult<i32> {
    if size != SIGSET_SIZE {
        return Err(Errno::INVAL);
    }
    let mask = t.mem().read::<SigSet>(mask)?.minus(SigSet::UNBLOCKABLE);
    if flags & !(libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) != 0 {
        return Err(Errno::INVAL);
    }
    if fd == -1 {
        let file = SignalFd::open(t, mask, flags & libc::SFD_NONBLOCK);
        return t.install(file, flags & libc::SFD_CLOEXEC != 0);
    }
    let file = t.file(fd)?;
    file.downcast::<SignalFd>().ok_or(Errno::INVAL)?.set_mask(mask);
    Ok(fd)
}

/// `read(2)` of such a descriptor: at least one signal, then as many as are pending and fit.
pub(super) async fn read(t: &Task, file: &File, to: &Buffers, nowait: bool) -> SysResult<usize> {
    const SIZE: usize = size_of::<SignalfdSiginfo>();
    let signals = file.downcast::<SignalFd>().ok_or(Errno::INVAL)?;
    if to.len() < SIZE {
        return Err(Errno::INVAL);
    }
    let first = if file.is_nonblocking() || nowait {
        signals.take(t)?
    } else {
        t.block_on(&t.group.signal_wait, Events::IN, None, || signals.take(t)).await?
    };
    t.recalculate_signals();
    let mut done = to.copy_out(t, 0, first.as_bytes())?;
    while done + SIZE <= to.len()
        && let Ok(next) = signals.take(t)
    {
        done += to.copy_out(t, done, next.as_bytes())?;
    }
    Ok(done)
}
