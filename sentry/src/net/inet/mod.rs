//! `AF_INET` and `AF_INET6`.

pub mod device;

use super::socket::Socket;
use crate::errno::{Errno, SysResult};
use crate::kernel::Task;

pub(super) fn create(t: &Task, family: i32, kind: i32, protocol: i32) -> SysResult<Socket> {
    let _ = (t, family, kind, protocol);
    Err(Errno::AFNOSUPPORT)
}
