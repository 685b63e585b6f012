//! `open(2)`, `openat2(2)`, `creat(2)`, `memfd_create(2)`.

use super::at;
use crate::abi::{OpenHow, read_extensible};
use crate::errno::{Errno, SysResult};
use crate::fs::file::File;
use crate::fs::inode::Caller;
use crate::fs::lease;
use crate::fs::memfd;
use crate::fs::open::{self, How, Opened, VALID_FLAGS};
use crate::fs::walk::Resolve;
use crate::kernel::Task;
use crate::mm::Addr;
use std::sync::Arc;

/// `open(2)`.
pub async fn open(t: &Task, path: Addr, flags: i32, mode: u32) -> SysResult<i32> {
    openat(t, libc::AT_FDCWD, path, flags, mode).await
}

/// `creat(2)`.
pub async fn creat(t: &Task, path: Addr, mode: u32) -> SysResult<i32> {
    openat(t, libc::AT_FDCWD, path, libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC, mode).await
}

/// `openat(2)`.
pub async fn openat(t: &Task, dirfd: i32, path: Addr, flags: i32, mode: u32) -> SysResult<i32> {
    let creates = flags & (libc::O_CREAT | libc::O_TMPFILE & !libc::O_DIRECTORY) != 0;
    let how = How::new(flags, if creates { mode } else { 0 }, Resolve::empty())?;
    do_open(t, dirfd, path, &how, flags & libc::O_CLOEXEC != 0).await
}

/// `openat2(2)`.
pub async fn openat2(t: &Task, dirfd: i32, path: Addr, how: Addr, size: usize) -> SysResult<i32> {
    let OpenHow { flags, mode, resolve } = read_extensible(t, how, size, size_of::<OpenHow>())?;
    let flags = i32::try_from(flags).ok().filter(|flags| flags & !VALID_FLAGS == 0).ok_or(Errno::INVAL)?;
    let resolve = Resolve::from_bits(resolve).ok_or(Errno::INVAL)?;
    if resolve.contains(Resolve::BENEATH | Resolve::IN_ROOT) || mode & !0o7777 != 0 {
        return Err(Errno::INVAL);
    }
    let creates = flags & (libc::O_CREAT | libc::O_TMPFILE & !libc::O_DIRECTORY) != 0;
    if mode != 0 && !creates {
        return Err(Errno::INVAL);
    }
    let path_flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_CLOEXEC;
    if flags & libc::O_PATH != 0 && flags & !path_flags != 0 {
        return Err(Errno::INVAL);
    }
    if resolve.contains(Resolve::CACHED) && flags & (libc::O_TRUNC | libc::O_CREAT | libc::O_TMPFILE) != 0 {
        return Err(Errno::AGAIN);
    }
    let how = How::new(flags, mode as u32, resolve)?;
    do_open(t, dirfd, path, &how, flags & libc::O_CLOEXEC != 0).await
}

async fn do_open(t: &Task, dirfd: i32, path: Addr, how: &How, cloexec: bool) -> SysResult<i32> {
    let path = t.mem().read_path(path)?;
    let file = open_file(t, dirfd, &path, how).await?;
    t.install(file, cloexec)
}

/// Opens `path` for the task; waits for the other end of a FIFO.
pub async fn open_file(t: &Task, dirfd: i32, path: &[u8], how: &How) -> SysResult<Arc<File>> {
    if path.is_empty() {
        return Err(Errno::NOENT);
    }
    let mut opened = {
        let caller = Caller::of(t);
        let fs = t.fs();
        open::open(&caller, fs.root(), at::start(t, dirfd, path)?, fs.umask(), path, how)?
    };
    while let Opened::Leased(path, leases) = opened {
        lease::wait(t, &leases, how.writes()).await?;
        opened = open::open_found(&Caller::of(t), &path, how)?;
    }
    match opened {
        Opened::File(file) => Ok(file),
        // Waited for above.
        Opened::Leased(..) => Err(Errno::AGAIN),
        Opened::Fifo(path) => {
            let end = open::fifo(&**path.inode()?)?.open(t, how.flags).await?;
            Ok(File::new(Box::new(end), Some(path), open::description_flags(how)))
        }
    }
}

/// `memfd_create(2)`: makes a file that lives in memory only.
pub async fn memfd_create(t: &Task, name: Addr, flags: u32) -> SysResult<i32> {
    let name = t.mem().read_cstr(name, memfd::NAME_MAX + 1, Errno::INVAL);
    let file = memfd::create(&t.creds(), flags, name)?;
    t.install(file, flags & libc::MFD_CLOEXEC != 0)
}
