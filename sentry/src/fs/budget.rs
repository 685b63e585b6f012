//! How many of the host's descriptors files may take.

use crate::errno::{Errno, SysResult};
use rustix::process::{Resource, getrlimit};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::OnceLock;

/// What a descriptor is for. Each may use up to a part of the sentry's descriptors, in quarters; the last quarter
/// is for what keeps the sandbox going: listeners, processes, sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// Content of files in memory: what guests can make most of.
    Memory = 2,
    /// Open files of the host, without which no program starts.
    Host = 3,
}

/// `RLIMIT_NOFILE` where the host says none.
const UNLIMITED: u64 = 1 << 20;

/// Keeps `fd` unless its kind has used up its share; then `full` is the error. The host gives out the lowest
/// free number, so a number tells how many there are.
pub fn within(share: Share, fd: OwnedFd, full: Errno) -> SysResult<OwnedFd> {
    static LIMIT: OnceLock<u64> = OnceLock::new();
    let limit = *LIMIT.get_or_init(|| getrlimit(Resource::Nofile).current.unwrap_or(UNLIMITED));
    if u64::from(fd.as_raw_fd().unsigned_abs()) < limit / 4 * share as u64 { Ok(fd) } else { Err(full) }
}
