//! What the host's own procfs says of the machine.

use crate::errno::{Errno, SysResult};
use rustix::fs::{Mode, OFlags, openat};
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::sync::OnceLock;

/// Longest text that is read. `cpuinfo` has about 1.5 KiB for each processor.
const MAX: u64 = 4 << 20;

static HOST: OnceLock<OwnedFd> = OnceLock::new();

/// Gives this module a procfs of the host. The first one stays.
pub fn set_host(procfs: OwnedFd) {
    let _ = HOST.set(procfs);
}

/// The host's memory and what of it can be had without paging, in KiB.
pub fn memory() -> Option<(u64, u64)> {
    let text = String::from_utf8(read("meminfo").ok()?).ok()?;
    let line = |name| text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok());
    Some((line("MemTotal:")?, line("MemAvailable:")?))
}

/// A file of the host's procfs that events come from once `request` was written to it, by a name that is the sentry's
/// own.
pub fn trigger(name: &'static str, request: &'static str) -> SysResult<OwnedFd> {
    let dir = HOST.get().ok_or(Errno::IO)?;
    let file = openat(dir, name, OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, request.as_bytes())?;
    Ok(file)
}

/// A file of the host's procfs, by a name that is the sentry's own.
pub(super) fn read(name: &'static str) -> SysResult<Vec<u8>> {
    let dir = HOST.get().ok_or(Errno::IO)?;
    let file = File::from(openat(dir, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?);
    let mut text = Vec::new();
    file.take(MAX).read_to_end(&mut text)?;
    Ok(text)
}
