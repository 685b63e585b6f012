//! `epoll_create(2)`, `epoll_ctl(2)`, `epoll_wait(2)` and their kin.

use super::deadline::{self, Deadline};
use crate::abi::{EpollEvent, Timespec};
use crate::errno::{Errno, SysResult};
use crate::executor::Events;
use crate::fs::epoll::Epoll;
use crate::kernel::Task;
use crate::mm::Addr;
use zerocopy::IntoBytes;

/// `EP_MAX_EVENTS`: as many events as fit into `INT_MAX` bytes.
const MAX_EVENTS: i32 = i32::MAX / size_of::<EpollEvent>() as i32;

/// `epoll_create(2)`: makes an epoll; `size` must be positive and means nothing.
pub async fn epoll_create(t: &Task, size: i32) -> SysResult<i32> {
    if size <= 0 {
        return Err(Errno::INVAL);
    }
    epoll_create1(t, 0).await
}

/// `epoll_create1(2)`: makes an epoll.
pub async fn epoll_create1(t: &Task, flags: i32) -> SysResult<i32> {
    if flags & !libc::EPOLL_CLOEXEC != 0 {
        return Err(Errno::INVAL);
    }
    t.install(Epoll::open(), flags & libc::EPOLL_CLOEXEC != 0)
}

/// `epoll_ctl(2)`: adds, changes or removes a watched descriptor.
pub async fn epoll_ctl(t: &Task, epfd: i32, op: i32, fd: i32, event: Addr) -> SysResult<()> {
    let event = if op == libc::EPOLL_CTL_DEL { EpollEvent::default() } else { t.mem().read(event)? };
    let epoll_file = t.file(epfd)?;
    let file = t.file(fd)?;
    if file.ops.wait_queue().is_none() {
        return Err(Errno::PERM);
    }
    let epoll = epoll_file.downcast::<Epoll>().ok_or(Errno::INVAL)?;
    if std::sync::Arc::ptr_eq(&file, &epoll_file) {
        return Err(Errno::INVAL);
    }
    epoll.control(op, fd, &file, event)
}

/// `epoll_wait(2)`: waits for events; `timeout` in milliseconds, negative for ever.
pub async fn epoll_wait(t: &Task, epfd: i32, events: Addr, max: i32, timeout: i32) -> SysResult<usize> {
    wait(t, epfd, events, max, Deadline::from_millis(timeout)).await
}

/// `epoll_pwait(2)`: as `epoll_wait`, with another signal mask meanwhile.
pub async fn epoll_pwait(
    t: &Task,
    epfd: i32,
    events: Addr,
    max: i32,
    timeout: i32,
    mask: Addr,
    size: usize,
) -> SysResult<usize> {
    super::sigmask::set_temporary(t, mask, size)?;
    super::sigmask::restore(t, wait(t, epfd, events, max, Deadline::from_millis(timeout)).await)
}

/// `epoll_pwait2(2)`: as `epoll_pwait`, with a timeout in nanoseconds.
pub async fn epoll_pwait2(
    t: &Task,
    epfd: i32,
    events: Addr,
    max: i32,
    timeout: Addr,
    mask: Addr,
    size: usize,
) -> SysResult<usize> {
    let deadline = if timeout.is_null() {
        Deadline::Never
    } else {
        Deadline::after(t.mem().read::<Timespec>(timeout)?.to_duration()?)
    };
    super::sigmask::set_temporary(t, mask, size)?;
    super::sigmask::restore(t, wait(t, epfd, events, max, deadline).await)
}

async fn wait(t: &Task, epfd: i32, events: Addr, max: i32, deadline: Deadline) -> SysResult<usize> {
    let file = t.file(epfd)?;
    if max <= 0 || max > MAX_EVENTS {
        return Err(Errno::INVAL);
    }
    let epoll = file.downcast::<Epoll>().ok_or(Errno::INVAL)?;
    let attempt = || epoll.collect(max as usize);
    let found = match deadline {
        Deadline::Now => attempt(),
        _ => t.block_on(epoll.queue(), Events::READABLE, deadline.instant(), attempt).await,
    };
    match found {
        Ok(found) => t.mem().write_bytes(events, found.as_bytes()).map(|()| found.len()),
        Err(Errno::AGAIN) => Ok(0),
        Err(error) => Err(deadline::never_restarted(error)),
    }
}
