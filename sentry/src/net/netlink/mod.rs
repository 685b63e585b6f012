//! `AF_NETLINK`.

use super::socket::Socket;
use crate::errno::{Errno, SysResult};
use crate::kernel::Task;

pub(super) fn create(t: &Task, kind: i32, protocol: i32) -> SysResult<Socket> {
    let _ = (t, kind, protocol);
    Err(Errno::AFNOSUPPORT)
}
