//! `stat(2)`, `statx(2)`, `access(2)`, `statfs(2)`.

use super::at::{self, Target, check_flags};
use crate::abi::{Stat, Statfs, Statx, Ustat};
use crate::errno::{Errno, SysResult};
use crate::fs::inode::Caller;
use crate::fs::namei;
use crate::fs::path::PathRef;
use crate::kernel::{Creds, Task};
use crate::mm::Addr;
use std::sync::Arc;

/// Flags of every call that walks a path by `AT_*`.
const AT_WALK: i32 = libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH | libc::AT_NO_AUTOMOUNT;

/// `stat(2)`.
pub async fn stat(t: &Task, path: Addr, buf: Addr) -> SysResult<()> {
    newfstatat(t, libc::AT_FDCWD, path, buf, 0).await
}

/// `lstat(2)`.
pub async fn lstat(t: &Task, path: Addr, buf: Addr) -> SysResult<()> {
    newfstatat(t, libc::AT_FDCWD, path, buf, libc::AT_SYMLINK_NOFOLLOW).await
}

/// `fstat(2)`.
pub async fn fstat(t: &Task, fd: i32, buf: Addr) -> SysResult<()> {
    let attr = Target::of(t.files().get_any(fd)?).attr()?;
    t.mem().write(buf, &Stat::from(&attr))
}

/// `fstatat(2)`.
pub async fn newfstatat(t: &Task, dirfd: i32, path: Addr, buf: Addr, flags: i32) -> SysResult<()> {
    check_flags(flags, AT_WALK)?;
    let (_, attr) = at::target_attr(t, &Caller::of(t), dirfd, path, flags)?;
    t.mem().write(buf, &Stat::from(&attr))
}

/// `statx(2)`.
pub async fn statx(t: &Task, dirfd: i32, path: Addr, flags: i32, mask: u32, buf: Addr) -> SysResult<()> {
    /// `STATX__RESERVED`.
    const RESERVED: u32 = 0x8000_0000;
    check_flags(flags, AT_WALK | libc::AT_STATX_SYNC_TYPE)?;
    if mask & RESERVED != 0 || flags & libc::AT_STATX_SYNC_TYPE == libc::AT_STATX_SYNC_TYPE {
        return Err(Errno::INVAL);
    }
    let (target, attr) = at::target_attr(t, &Caller::of(t), dirfd, path, flags)?;
    let mut statx = Statx::from(&attr);
    if attr.btime != crate::abi::Timespec::default() {
        statx.mask |= mask & libc::STATX_BTIME;
    }
    if let Target::Path(path) = &target {
        statx.mask |= mask & libc::STATX_MNT_ID;
        statx.mnt_id = path.mount.id;
        statx.attributes_mask = libc::STATX_ATTR_MOUNT_ROOT as u64;
        if Arc::ptr_eq(&path.dentry, &path.mount.root) {
            statx.attributes = libc::STATX_ATTR_MOUNT_ROOT as u64;
        }
    }
    t.mem().write(buf, &statx)
}

/// `access(2)`.
pub async fn access(t: &Task, path: Addr, mode: u32) -> SysResult<()> {
    faccessat2(t, libc::AT_FDCWD, path, mode, 0).await
}

/// `faccessat(2)` as the kernel has it: without flags.
pub async fn faccessat(t: &Task, dirfd: i32, path: Addr, mode: u32) -> SysResult<()> {
    faccessat2(t, dirfd, path, mode, 0).await
}

/// `faccessat2(2)`.
pub async fn faccessat2(t: &Task, dirfd: i32, path: Addr, mode: u32, flags: i32) -> SysResult<()> {
    if mode & !0o7 != 0 {
        return Err(Errno::INVAL);
    }
    check_flags(flags, libc::AT_EACCESS | libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH)?;
    let mut caller = Caller::of(t);
    if flags & libc::AT_EACCESS == 0 {
        caller.creds = Arc::new(real(&caller.creds));
    }
    match at::target(t, &caller, dirfd, path, flags)? {
        Target::Path(path) => namei::check_access(&caller, &path, mode),
        Target::File(_) => Ok(()),
    }
}

/// Credentials that act with the real ids, and with the capabilities those would have.
fn real(creds: &Creds) -> Creds {
    /// `SECURE_NO_SETUID_FIXUP`.
    const NO_SETUID_FIXUP: u32 = 1 << 2;
    let effective = match creds.securebits & NO_SETUID_FIXUP {
        0 if creds.uid != 0 => 0,
        0 => creds.permitted,
        _ => creds.effective,
    };
    Creds { fsuid: creds.uid, fsgid: creds.gid, effective, ..creds.clone() }
}

fn write_statfs(t: &Task, path: &PathRef, buf: Addr) -> SysResult<()> {
    let sb = &path.dentry.sb;
    let statfs = Statfs::new(&sb.fs.statfs()?, sb.dev, path.mount.flags().bits() | u32::from(path.is_readonly()));
    t.mem().write(buf, &statfs)
}

/// `statfs(2)`.
pub async fn statfs(t: &Task, path: Addr, buf: Addr) -> SysResult<()> {
    let path = at::lookup_user(t, &Caller::of(t), libc::AT_FDCWD, path, true)?;
    write_statfs(t, &path, buf)
}

/// `fstatfs(2)`.
pub async fn fstatfs(t: &Task, fd: i32, buf: Addr) -> SysResult<()> {
    match Target::of(t.files().get_any(fd)?) {
        Target::Path(path) => write_statfs(t, &path, buf),
        Target::File(file) => {
            let stat = crate::fs::attr::FsStat::pseudo(file.ops.fs_magic());
            t.mem().write(buf, &Statfs::new(&stat, 0, 0))
        }
    }
}

/// `ustat(2)`: of the file system with device number `dev`, if a mount here has it.
pub async fn ustat(t: &Task, dev: u32, buf: Addr) -> SysResult<()> {
    let mounts = t.fs().namespace().root().subtree();
    let sb = mounts.iter().map(|mount| &mount.root.sb).find(|sb| sb.dev == u64::from(dev)).ok_or(Errno::INVAL)?;
    let stat = sb.fs.statfs()?;
    t.mem().write(buf, &Ustat { tfree: stat.bfree as i32, tinode: stat.ffree, ..Ustat::default() })
}
