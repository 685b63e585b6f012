//! Sockets bound to paths.

use super::endpoint::Endpoint;
use crate::errno::{Errno, SysResult};
use crate::kernel::Task;
use std::sync::Arc;

/// Makes the socket file `path` for `end`.
pub(super) fn bind(t: &Task, path: &[u8], end: &Arc<Endpoint>) -> SysResult<()> {
    let _ = (t, path, end);
    Err(Errno::ADDRNOTAVAIL)
}

/// The socket bound to `path`.
pub(super) fn find(t: Option<&Task>, path: &[u8]) -> SysResult<Arc<Endpoint>> {
    let _ = (t, path);
    Err(Errno::NOENT)
}
