//! Modes, owners and times: `chmod(2)`, `chown(2)`, `utimensat(2)`, `umask(2)`.

use super::at::{self, Target, check_flags};
use crate::abi::{Timespec, Timeval, Utimbuf};
use crate::errno::{Errno, SysResult};
use crate::fs::access::{self, MAY_WRITE};
use crate::fs::attr::{FileKind, Perm, SetAttr, SetTime};
use crate::fs::inode::{Caller, Inode};
use crate::fs::notify;
use crate::kernel::{Cap, Creds, Task};
use crate::mm::Addr;
use std::sync::Arc;

/// The inode of what a call is about; `EROFS` if it may not be changed there.
fn changeable(target: &Target) -> SysResult<Arc<dyn Inode>> {
    match target {
        Target::Path(path) => {
            path.want_write()?;
            path.inode().cloned()
        }
        Target::File(file) => file.inode().ok_or(Errno::PERM),
    }
}

fn change(target: &Target, inode: &dyn Inode, change: &SetAttr) -> SysResult<()> {
    inode.set_attr(change)?;
    if let Target::Path(path) = target {
        notify::path(path, libc::IN_ATTRIB);
    }
    Ok(())
}

/// `umask(2)`.
pub async fn umask(t: &Task, mask: u32) -> SysResult<u32> {
    Ok(t.fs().set_umask(mask))
}

/// `chmod(2)`.
pub async fn chmod(t: &Task, path: Addr, mode: u32) -> SysResult<()> {
    fchmodat2(t, libc::AT_FDCWD, path, mode, 0).await
}

/// `fchmod(2)`.
pub async fn fchmod(t: &Task, fd: i32, mode: u32) -> SysResult<()> {
    set_mode(&Caller::of(t), &Target::of(t.file(fd)?), mode)
}

/// `fchmodat(2)` as the kernel has it: without flags.
pub async fn fchmodat(t: &Task, dirfd: i32, path: Addr, mode: u32) -> SysResult<()> {
    fchmodat2(t, dirfd, path, mode, 0).await
}

/// `fchmodat2(2)`.
pub async fn fchmodat2(t: &Task, dirfd: i32, path: Addr, mode: u32, flags: i32) -> SysResult<()> {
    check_flags(flags, libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH)?;
    let caller = Caller::of(t);
    set_mode(&caller, &at::target(t, &caller, dirfd, path, flags)?, mode)
}

fn set_mode(caller: &Caller<'_>, target: &Target, mode: u32) -> SysResult<()> {
    let inode = changeable(target)?;
    let perm = inode.perm()?;
    if !access::is_owner(&perm, &caller.creds) {
        return Err(Errno::PERM);
    }
    if inode.kind() == FileKind::Symlink {
        return Err(Errno::OPNOTSUPP);
    }
    let mut mode = mode & 0o7777;
    if !caller.creds.in_group(perm.gid) && !caller.creds.has(Cap::Fsetid) {
        mode &= !libc::S_ISGID;
    }
    change(target, &*inode, &SetAttr { mode: Some(mode), ..SetAttr::default() })
}

/// `chown(2)`.
pub async fn chown(t: &Task, path: Addr, uid: u32, gid: u32) -> SysResult<()> {
    fchownat(t, libc::AT_FDCWD, path, uid, gid, 0).await
}

/// `lchown(2)`.
pub async fn lchown(t: &Task, path: Addr, uid: u32, gid: u32) -> SysResult<()> {
    fchownat(t, libc::AT_FDCWD, path, uid, gid, libc::AT_SYMLINK_NOFOLLOW).await
}

/// `fchown(2)`.
pub async fn fchown(t: &Task, fd: i32, uid: u32, gid: u32) -> SysResult<()> {
    set_owner(&Caller::of(t), &Target::of(t.file(fd)?), uid, gid)
}

/// `fchownat(2)`.
pub async fn fchownat(t: &Task, dirfd: i32, path: Addr, uid: u32, gid: u32, flags: i32) -> SysResult<()> {
    check_flags(flags, libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH)?;
    let caller = Caller::of(t);
    set_owner(&caller, &at::target(t, &caller, dirfd, path, flags)?, uid, gid)
}

fn set_owner(caller: &Caller<'_>, target: &Target, uid: u32, gid: u32) -> SysResult<()> {
    let inode = changeable(target)?;
    let perm = inode.perm()?;
    let given = |id: u32| (id != u32::MAX).then_some(id);
    let (uid, gid) = (given(uid), given(gid));
    if !may_chown(&perm, &caller.creds, uid, gid) {
        return Err(Errno::PERM);
    }
    let mode = owner_changed_mode(&perm, &caller.creds);
    change(target, &*inode, &SetAttr { uid, gid, mode, ..SetAttr::default() })
}

fn may_chown(perm: &Perm, creds: &Creds, uid: Option<u32>, gid: Option<u32>) -> bool {
    let is_owner = creds.fsuid == perm.uid;
    let uid_ok = uid.is_none_or(|uid| is_owner && uid == perm.uid);
    let gid_ok = gid.is_none_or(|gid| is_owner && (gid == perm.gid || creds.in_group(gid)));
    uid_ok && gid_ok || creds.has(Cap::Chown)
}

/// The mode after a change of owner, which takes set-ID bits from all but directories.
fn owner_changed_mode(perm: &Perm, creds: &Creds) -> Option<u32> {
    if perm.mode & libc::S_IFMT == libc::S_IFDIR || perm.mode & (libc::S_ISUID | libc::S_ISGID) == 0 {
        return None;
    }
    let mut mode = perm.mode & 0o7777 & !libc::S_ISUID;
    if mode & libc::S_IXGRP != 0 || !creds.in_group(perm.gid) && !creds.has(Cap::Fsetid) {
        mode &= !libc::S_ISGID;
    }
    Some(mode)
}

/// `utime(2)`.
pub async fn utime(t: &Task, path: Addr, times: Addr) -> SysResult<()> {
    let at = |sec| SetTime::To(Timespec { sec, nsec: 0 });
    let times = match times.is_null() {
        true => None,
        false => {
            let Utimbuf { actime, modtime } = t.mem().read(times)?;
            Some([Some(at(actime)), Some(at(modtime))])
        }
    };
    set_times_at(t, libc::AT_FDCWD, path, times, 0)
}

/// `utimes(2)`.
pub async fn utimes(t: &Task, path: Addr, times: Addr) -> SysResult<()> {
    futimesat(t, libc::AT_FDCWD, path, times).await
}

/// `futimesat(2)`: a null path means `dirfd` itself.
pub async fn futimesat(t: &Task, dirfd: i32, path: Addr, times: Addr) -> SysResult<()> {
    let times = if times.is_null() { None } else { Some(read_timevals(t, times)?) };
    set_times_at(t, dirfd, path, times, 0)
}

type Times = Option<[Option<SetTime>; 2]>;

fn read_timevals(t: &Task, addr: Addr) -> SysResult<[Option<SetTime>; 2]> {
    let [atime, mtime]: [Timeval; 2] = t.mem().read(addr)?;
    let valid = |time: Timeval| match time.usec {
        0..1_000_000 => Ok(Some(SetTime::To(Timespec { sec: time.sec, nsec: time.usec * 1000 }))),
        _ => Err(Errno::INVAL),
    };
    Ok([valid(atime)?, valid(mtime)?])
}

/// `utimensat(2)`: a null path means `dirfd` itself.
pub async fn utimensat(t: &Task, dirfd: i32, path: Addr, times: Addr, flags: i32) -> SysResult<()> {
    let times = if times.is_null() { None } else { Some(read_timespecs(t, times)?) };
    if times == Some([None, None]) {
        // Nothing is to be done: not even the path is looked at.
        return Ok(());
    }
    set_times_at(t, dirfd, path, times, flags)
}

fn read_timespecs(t: &Task, addr: Addr) -> SysResult<[Option<SetTime>; 2]> {
    let [atime, mtime]: [Timespec; 2] = t.mem().read(addr)?;
    let valid = |time: Timespec| match time.nsec {
        libc::UTIME_NOW => Ok(Some(SetTime::Now)),
        libc::UTIME_OMIT => Ok(None),
        0..1_000_000_000 => Ok(Some(SetTime::To(time))),
        _ => Err(Errno::INVAL),
    };
    Ok([valid(atime)?, valid(mtime)?])
}

fn set_times_at(t: &Task, dirfd: i32, path: Addr, times: Times, flags: i32) -> SysResult<()> {
    check_flags(flags, libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH)?;
    let caller = Caller::of(t);
    let target = if path.is_null() && dirfd != libc::AT_FDCWD {
        if flags != 0 {
            return Err(Errno::INVAL);
        }
        Target::of(t.file(dirfd)?)
    } else {
        at::target(t, &caller, dirfd, path, flags)?
    };
    set_times(&caller, &target, times)
}

fn set_times(caller: &Caller<'_>, target: &Target, times: Times) -> SysResult<()> {
    let inode = changeable(target)?;
    let perm = inode.perm()?;
    let is_owner = access::is_owner(&perm, &caller.creds);
    let [atime, mtime] = times.unwrap_or([Some(SetTime::Now); 2]);
    if [atime, mtime] == [Some(SetTime::Now); 2] {
        // The present is what whoever may write could set by writing.
        if !is_owner {
            access::check(&perm, &caller.creds, MAY_WRITE)?;
        }
    } else if !is_owner {
        return Err(Errno::PERM);
    }
    change(target, &*inode, &SetAttr { atime, mtime, ..SetAttr::default() })
}
