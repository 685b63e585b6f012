//! `eventfd(2)`.

use crate::errno::{Errno, SysResult};
use crate::fs::eventfd::EventFd;
use crate::kernel::Task;

/// `eventfd(2)`: makes an event counter.
pub async fn eventfd(t: &Task, initial: u32) -> SysResult<i32> {
    eventfd2(t, initial, 0).await
}

/// `eventfd2(2)`: makes an event counter, with flags.
pub async fn eventfd2(t: &Task, initial: u32, flags: i32) -> SysResult<i32> {
    if flags & !(libc::EFD_CLOEXEC | libc::EFD_NONBLOCK | libc::EFD_SEMAPHORE) != 0 {
        return Err(Errno::INVAL);
    }
    let file = EventFd::open(initial, flags & libc::EFD_SEMAPHORE != 0, flags & libc::EFD_NONBLOCK);
    t.install(file, flags & libc::EFD_CLOEXEC != 0)
}
