//! The `ioctl`s on network devices.

use crate::errno::{Errno, SysResult};
use crate::kernel::Task;
use crate::mm::Addr;

/// `ioctl(2)` on any socket.
pub fn ioctl(t: &Task, cmd: u32, arg: Addr) -> SysResult {
    let _ = (t, cmd, arg);
    Err(Errno::NOTTY)
}
