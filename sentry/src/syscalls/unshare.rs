//! `unshare(2)`.

use crate::errno::{Errno, SysResult};
use crate::kernel::{Cap, Task};

const FS: u64 = libc::CLONE_FS as u64;
const FILES: u64 = libc::CLONE_FILES as u64;
const NEWNS: u64 = libc::CLONE_NEWNS as u64;
const SYSVSEM: u64 = libc::CLONE_SYSVSEM as u64;
/// What a process with one thread does not share anyway.
const THREADS: u64 = (libc::CLONE_THREAD | libc::CLONE_SIGHAND | libc::CLONE_VM) as u64;

/// `unshare(2)`.
///
/// # Differences from Linux
/// Of namespaces only those of mounts can be unshared; the others fail as on a kernel built without them.
pub async fn unshare(t: &Task, flags: u64) -> SysResult<()> {
    if flags & !(FS | FILES | NEWNS | SYSVSEM | THREADS) != 0 {
        return Err(Errno::INVAL);
    }
    if flags & THREADS != 0 && t.group.tasks().len() > 1 {
        return Err(Errno::INVAL);
    }
    if flags & NEWNS != 0 {
        if !t.creds().has(Cap::SysAdmin) {
            return Err(Errno::PERM);
        }
        t.set_fs(t.fs().fork_namespace()?);
    } else if flags & FS != 0 {
        t.set_fs(t.fs().fork());
    }
    if flags & FILES != 0 {
        t.unshare_files();
    }
    Ok(())
}
