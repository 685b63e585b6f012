//! `pipe(2)`, `pipe2(2)`.

use super::pair;
use crate::errno::{Errno, SysResult};
use crate::fs::pipe::Pipe;
use crate::kernel::Task;
use crate::mm::Addr;

/// `pipe(2)`: makes a pipe.
pub async fn pipe(t: &Task, fds: Addr) -> SysResult<()> {
    pipe2(t, fds, 0).await
}

/// `pipe2(2)`: makes a pipe with flags for both its descriptors.
pub async fn pipe2(t: &Task, fds: Addr, flags: i32) -> SysResult<()> {
    // O_EXCL (notification pipes) is known to Linux but not configured in most kernels: ENOPKG there.
    if flags & !(libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_DIRECT) != 0 {
        return Err(Errno::INVAL);
    }
    let ends = Pipe::pair(&t.creds(), flags & (libc::O_NONBLOCK | libc::O_DIRECT));
    pair::install(t, fds, ends, flags & libc::O_CLOEXEC != 0)
}
