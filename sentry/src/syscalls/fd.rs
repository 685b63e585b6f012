//! Descriptors: `close(2)`, `dup(2)`, `fcntl(2)`.

use crate::abi::FOwnerEx;
use crate::errno::{Errno, SysResult};
use crate::fs::FdTable;
use crate::fs::file::{File, SETFL_MASK};
use crate::fs::lock::{self, Owner};
use crate::fs::memfd::MemFile;
use crate::fs::pipe::{Pipe, PipeEnd};
use crate::fs::tmpfs::TmpFile;
use crate::fs::{access, dnotify, fasync, lease, notify};
use crate::kernel::Task;
use crate::mm::Addr;
use crate::net::socket::Socket;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Commands of `fcntl(2)` that the C library's headers lack or hide.
mod cmd {
    pub(super) const F_SETSIG: i32 = 10;
    pub(super) const F_GETSIG: i32 = 11;
    pub(super) const F_SETOWN_EX: i32 = 15;
    pub(super) const F_GETOWN_EX: i32 = 16;
    pub(super) const F_DUPFD_QUERY: i32 = 1027;
}

/// `F_OWNER_TID`, `F_OWNER_PID`, `F_OWNER_PGRP`.
const OWNER_TID: i32 = 0;
const OWNER_PID: i32 = 1;
const OWNER_PGRP: i32 = 2;

impl Task {
    /// What has to happen when `fd` of `files` no longer refers to `file`.
    pub fn closed(&self, files: &FdTable, fd: i32, file: &Arc<File>) {
        self.thread().forget_fd(fd.cast_unsigned());
        dnotify::closed(files.id, file);
        lock::release_ranges(file, Owner::Process(files.id));
        if let Some(path) = &file.path
            && Arc::strong_count(file) == 1
        {
            notify::path(path, if file.is_writable() { libc::IN_CLOSE_WRITE } else { libc::IN_CLOSE_NOWRITE });
            notify::ended(&path.dentry, 1);
        }
        file.ops.on_close(self, file);
    }

    /// Puts `file` at `fd`, whatever was there.
    pub fn install_at(&self, fd: i32, file: Arc<File>, cloexec: bool) -> SysResult<()> {
        let files = self.files();
        if let Some(replaced) = files.install_at(fd, file, cloexec, self.rlimit(libc::RLIMIT_NOFILE))? {
            self.closed(&files, fd, &replaced);
        }
        Ok(())
    }

    /// Gives the process descriptors of its own, if it shares them (`CLONE_FILES`).
    pub fn unshare_files(&self) {
        self.set_files(self.files().fork());
    }
}

/// `close(2)`.
pub async fn close(t: &Task, fd: i32) -> SysResult<()> {
    let files = t.files();
    let file = files.remove(fd)?;
    t.closed(&files, fd, &file);
    let lingering = file.downcast::<Socket>().and_then(Socket::lingering);
    drop(file);
    if let Some((closing, time)) = lingering {
        super::socket::linger(t, &*closing, time).await;
    }
    Ok(())
}

/// `close_range(2)`.
pub async fn close_range(t: &Task, first: u32, last: u32, flags: u32) -> SysResult<()> {
    if flags & !(libc::CLOSE_RANGE_UNSHARE | libc::CLOSE_RANGE_CLOEXEC) != 0 || first > last {
        return Err(Errno::INVAL);
    }
    if flags & libc::CLOSE_RANGE_UNSHARE != 0 {
        t.unshare_files();
    }
    let within = |fd: i32| (first..=last).contains(&fd.cast_unsigned());
    let files = t.files();
    if flags & libc::CLOSE_RANGE_CLOEXEC != 0 {
        for (fd, _) in files.list().into_iter().filter(|(fd, _)| within(*fd)) {
            // Another thread may have closed it meanwhile.
            let _ = files.set_cloexec(fd, true);
        }
        return Ok(());
    }
    for (fd, file) in files.remove_if(|fd, _| within(fd)) {
        t.closed(&files, fd, &file);
    }
    Ok(())
}

/// `dup(2)`.
pub async fn dup(t: &Task, fd: i32) -> SysResult<i32> {
    let file = t.files().get_any(fd)?;
    t.install(file, false)
}

/// `dup2(2)`.
pub async fn dup2(t: &Task, old: i32, new: i32) -> SysResult<i32> {
    if old == new {
        t.files().get_any(old)?;
        return Ok(new);
    }
    dup_to(t, old, new, false)
}

/// `dup3(2)`.
pub async fn dup3(t: &Task, old: i32, new: i32, flags: i32) -> SysResult<i32> {
    if flags & !libc::O_CLOEXEC != 0 || old == new {
        return Err(Errno::INVAL);
    }
    dup_to(t, old, new, flags & libc::O_CLOEXEC != 0)
}

fn dup_to(t: &Task, old: i32, new: i32, cloexec: bool) -> SysResult<i32> {
    let file = t.files().get_any(old)?;
    t.install_at(new, file, cloexec).map(|()| new)
}

/// `fcntl(2)`.
pub async fn fcntl(t: &Task, fd: i32, cmd: i32, arg: u64) -> SysResult<i64> {
    let file = t.files().get_any(fd)?;
    let int = arg as i32;
    match cmd {
        libc::F_DUPFD | libc::F_DUPFD_CLOEXEC => duplicate(t, file, int, cmd == libc::F_DUPFD_CLOEXEC),
        libc::F_GETFD => Ok(i64::from(t.files().cloexec(fd)?)),
        libc::F_SETFD => t.files().set_cloexec(fd, int & libc::FD_CLOEXEC != 0).map(|()| 0),
        libc::F_GETFL => Ok(i64::from(file.flags())),
        cmd::F_DUPFD_QUERY => Ok(i64::from(t.files().get_any(int).is_ok_and(|other| Arc::ptr_eq(&file, &other)))),
        _ if file.flags() & libc::O_PATH != 0 => Err(Errno::BADF),
        libc::F_SETFL => set_flags(t, fd, &file, int).map(|()| 0),
        libc::F_GETLK | libc::F_SETLK | libc::F_SETLKW | libc::F_OFD_GETLK | libc::F_OFD_SETLK | libc::F_OFD_SETLKW => {
            super::lock::fcntl_lock(t, &file, cmd, Addr(arg)).await.map(|()| 0)
        }
        libc::F_GETOWN => Ok(i64::from(file.owner.load(Ordering::Relaxed))),
        libc::F_SETOWN => {
            let owner = if int == i32::MIN { Err(Errno::INVAL) } else { Ok(int) };
            file.owner.store(owner?, Ordering::Relaxed);
            Ok(0)
        }
        cmd::F_GETOWN_EX => t.mem().write(Addr(arg), &owner_ex(file.owner.load(Ordering::Relaxed))).map(|()| 0),
        cmd::F_SETOWN_EX => set_owner_ex(t, &file, Addr(arg)).map(|()| 0),
        cmd::F_GETSIG => Ok(i64::from(file.signal.load(Ordering::Relaxed))),
        cmd::F_SETSIG if (0..=64).contains(&int) => {
            file.signal.store(int, Ordering::Relaxed);
            Ok(0)
        }
        libc::F_GETPIPE_SZ => Ok(pipe(&file)?.capacity() as i64),
        libc::F_SETPIPE_SZ => Ok(pipe(&file)?.set_capacity(&t.creds(), int.cast_unsigned())? as i64),
        libc::F_GET_SEALS => Ok(i64::from(memory(&file)?.seals()?)),
        libc::F_ADD_SEALS => {
            if !file.is_writable() {
                return Err(Errno::PERM);
            }
            memory(&file)?.add_seals(int.cast_unsigned()).map(|()| 0)
        }
        libc::F_NOTIFY => dnotify::set(t, fd, &file, int.cast_unsigned()).map(|()| 0),
        libc::F_GETLEASE => Ok(i64::from(lease::get(&file))),
        libc::F_SETLEASE => lease::set(t, fd, &file, int).map(|()| 0),
        _ => Err(Errno::INVAL),
    }
}

fn duplicate(t: &Task, file: Arc<File>, min: i32, cloexec: bool) -> SysResult<i64> {
    let limit = t.rlimit(libc::RLIMIT_NOFILE);
    if u64::try_from(min).map_or(true, |min| min >= limit) {
        return Err(Errno::INVAL);
    }
    t.files().install_from(min, file, cloexec, limit).map(i64::from)
}

fn set_flags(t: &Task, fd: i32, file: &Arc<File>, flags: i32) -> SysResult<()> {
    let adds_noatime = flags & !file.flags() & libc::O_NOATIME != 0;
    if adds_noatime
        && let Some(path) = &file.path
        && !access::is_owner(&path.inode()?.perm()?, &t.creds())
    {
        return Err(Errno::PERM);
    }
    if (flags ^ file.flags()) & libc::O_ASYNC != 0 {
        fasync::set(t, fd, file, flags & libc::O_ASYNC != 0);
    }
    file.set_flags(SETFL_MASK, flags);
    Ok(())
}

fn owner_ex(owner: i32) -> FOwnerEx {
    if owner < 0 { FOwnerEx { kind: OWNER_PGRP, pid: -owner } } else { FOwnerEx { kind: OWNER_PID, pid: owner } }
}

fn set_owner_ex(t: &Task, file: &File, addr: Addr) -> SysResult<()> {
    let owner: FOwnerEx = t.mem().read(addr)?;
    let value = match owner.kind {
        OWNER_TID | OWNER_PID => owner.pid,
        OWNER_PGRP => owner.pid.checked_neg().ok_or(Errno::INVAL)?,
        _ => return Err(Errno::INVAL),
    };
    file.owner.store(value, Ordering::Relaxed);
    Ok(())
}

fn pipe(file: &File) -> SysResult<&Pipe> {
    PipeEnd::of(file).map(|end| &**end.pipe()).ok_or(Errno::BADF)
}

/// The memory file that seals are about.
fn memory(file: &File) -> SysResult<&TmpFile> {
    match file.downcast::<MemFile>() {
        Some(memory) => Ok(memory.file()),
        None => file.downcast().ok_or(Errno::INVAL),
    }
}
