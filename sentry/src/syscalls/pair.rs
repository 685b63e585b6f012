//! Two descriptors at once, for `pipe2(2)` and `socketpair(2)`.

use crate::errno::SysResult;
use crate::fs::File;
use crate::kernel::Task;
use crate::mm::Addr;
use std::sync::Arc;

/// Installs both files and writes their numbers to `fds`; neither if anything fails.
pub(super) fn install(t: &Task, fds: Addr, files: (Arc<File>, Arc<File>), cloexec: bool) -> SysResult<()> {
    let table = t.files();
    let first = t.install(files.0, cloexec)?;
    let second = t.install(files.1, cloexec).inspect_err(|_| drop(table.remove(first)))?;
    t.mem().write(fds, &[first, second]).inspect_err(|_| {
        drop(table.remove(first));
        drop(table.remove(second));
    })
}
