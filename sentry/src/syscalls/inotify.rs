//! `inotify_init(2)`, `inotify_add_watch(2)`, `inotify_rm_watch(2)`.

use super::at;
use crate::errno::{Errno, SysResult};
use crate::fs::access::{self, MAY_READ};
use crate::fs::inode::Caller;
use crate::fs::inotify::Inotify;
use crate::fs::notify::Watched;
use crate::kernel::Task;
use crate::mm::Addr;

/// `inotify_init(2)`.
pub async fn inotify_init(t: &Task) -> SysResult<i32> {
    inotify_init1(t, 0).await
}

/// `inotify_init1(2)`.
pub async fn inotify_init1(t: &Task, flags: i32) -> SysResult<i32> {
    at::check_flags(flags, libc::IN_CLOEXEC | libc::IN_NONBLOCK)?;
    let file = Inotify::open(t.creds().uid, flags & libc::O_NONBLOCK)?;
    t.install(file, flags & libc::O_CLOEXEC != 0)
}

/// `inotify_add_watch(2)`.
pub async fn inotify_add_watch(t: &Task, fd: i32, path: Addr, mask: u32) -> SysResult<i32> {
    let options = libc::IN_DONT_FOLLOW
        | libc::IN_EXCL_UNLINK
        | libc::IN_MASK_ADD
        | libc::IN_MASK_CREATE
        | libc::IN_ISDIR
        | libc::IN_ONESHOT
        | libc::IN_ONLYDIR;
    if mask & libc::IN_ALL_EVENTS == 0 || mask & !(libc::IN_ALL_EVENTS | libc::IN_UNMOUNT | options) != 0 {
        return Err(Errno::INVAL);
    }
    let file = t.file(fd)?;
    if mask & libc::IN_MASK_ADD != 0 && mask & libc::IN_MASK_CREATE != 0 {
        return Err(Errno::INVAL);
    }
    let inotify = file.downcast::<Inotify>().ok_or(Errno::INVAL)?;
    let caller = Caller::of(t);
    let path = at::lookup_user(t, &caller, libc::AT_FDCWD, path, mask & libc::IN_DONT_FOLLOW == 0)?;
    if mask & libc::IN_ONLYDIR != 0 && !path.is_dir() {
        return Err(Errno::NOTDIR);
    }
    access::check(&path.inode()?.perm()?, &caller.creds, MAY_READ)?;
    inotify.add(Watched::new(&path)?, mask)
}

/// `inotify_rm_watch(2)`.
pub async fn inotify_rm_watch(t: &Task, fd: i32, wd: i32) -> SysResult<()> {
    let file = t.file(fd)?;
    file.downcast::<Inotify>().ok_or(Errno::INVAL)?.remove(wd)
}
