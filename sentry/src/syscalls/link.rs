//! Names: `link(2)`, `symlink(2)`, `unlink(2)`, `rename(2)`, `readlink(2)`, `mknod(2)`.

use super::at::{self, Target, check_flags};
use crate::errno::{Errno, SysResult};
use crate::fs::attr::FileKind;
use crate::fs::inode::{Caller, Rename};
use crate::fs::namei::{self, Make, Side};
use crate::fs::walk::Last;
use crate::kernel::Task;
use crate::mm::Addr;

/// `link(2)`.
pub async fn link(t: &Task, old: Addr, new: Addr) -> SysResult<()> {
    linkat(t, libc::AT_FDCWD, old, libc::AT_FDCWD, new, 0).await
}

/// `linkat(2)`.
pub async fn linkat(t: &Task, olddir: i32, old: Addr, newdir: i32, new: Addr, flags: i32) -> SysResult<()> {
    check_flags(flags, libc::AT_SYMLINK_FOLLOW | libc::AT_EMPTY_PATH)?;
    let caller = Caller::of(t);
    let follows = flags & libc::AT_SYMLINK_FOLLOW != 0;
    let walk_flags = flags & libc::AT_EMPTY_PATH | if follows { 0 } else { libc::AT_SYMLINK_NOFOLLOW };
    let old = at::target(t, &caller, olddir, old, walk_flags)?.path_or(Errno::XDEV)?;
    let path = t.mem().read_path(new)?;
    let (dir, last) = at::parent(t, &caller, newdir, &path)?;
    match last {
        Last::Name(name, false) => namei::link(&caller, &old, &dir, &name),
        Last::Name(name, true) => Err(absent_error(&caller, &dir, &name)),
        _ => Err(Errno::EXIST),
    }
}

/// The error for a name with a slash behind it that is to become something other than a directory.
fn absent_error(caller: &Caller<'_>, dir: &crate::fs::path::PathRef, name: &[u8]) -> Errno {
    match dir.dentry.lookup(caller, name) {
        Ok(None) => Errno::NOENT,
        Ok(Some(_)) => Errno::EXIST,
        Err(e) => e,
    }
}

/// `symlink(2)`.
pub async fn symlink(t: &Task, target: Addr, path: Addr) -> SysResult<()> {
    symlinkat(t, target, libc::AT_FDCWD, path).await
}

/// `symlinkat(2)`.
pub async fn symlinkat(t: &Task, target: Addr, dirfd: i32, path: Addr) -> SysResult<()> {
    let target = t.mem().read_path(target)?;
    if target.is_empty() {
        return Err(Errno::NOENT);
    }
    make(t, dirfd, path, &Make { kind: FileKind::Symlink, mode: 0o777, rdev: 0, target: &target })
}

fn make(t: &Task, dirfd: i32, path: Addr, what: &Make<'_>) -> SysResult<()> {
    let path = t.mem().read_path(path)?;
    let caller = Caller::of(t);
    let (dir, last) = at::parent(t, &caller, dirfd, &path)?;
    match last {
        Last::Name(name, false) => namei::make(&caller, &dir, &name, what).map(drop),
        Last::Name(name, true) => Err(absent_error(&caller, &dir, &name)),
        _ => Err(Errno::EXIST),
    }
}

/// `mknod(2)`.
pub async fn mknod(t: &Task, path: Addr, mode: u32, dev: u32) -> SysResult<()> {
    mknodat(t, libc::AT_FDCWD, path, mode, dev).await
}

/// `mknodat(2)`.
pub async fn mknodat(t: &Task, dirfd: i32, path: Addr, mode: u32, dev: u32) -> SysResult<()> {
    let kind = match mode & libc::S_IFMT {
        0 => FileKind::Regular,
        libc::S_IFDIR => return Err(Errno::PERM),
        libc::S_IFLNK => return Err(Errno::INVAL),
        _ => FileKind::from_mode(mode).ok_or(Errno::INVAL)?,
    };
    let mode = mode & 0o7777 & !t.fs().umask();
    make(t, dirfd, path, &Make { kind, mode, rdev: u64::from(dev), target: b"" })
}

/// `unlink(2)`.
pub async fn unlink(t: &Task, path: Addr) -> SysResult<()> {
    unlinkat(t, libc::AT_FDCWD, path, 0).await
}

/// `unlinkat(2)`.
pub async fn unlinkat(t: &Task, dirfd: i32, path: Addr, flags: i32) -> SysResult<()> {
    check_flags(flags, libc::AT_REMOVEDIR)?;
    if flags & libc::AT_REMOVEDIR != 0 {
        return super::dir::remove_dir(t, dirfd, path);
    }
    let path = t.mem().read_path(path)?;
    let caller = Caller::of(t);
    match at::parent(t, &caller, dirfd, &path)? {
        (dir, Last::Name(name, slash)) => namei::remove(&caller, &dir, &name, slash, false),
        _ => Err(Errno::ISDIR),
    }
}

/// `rename(2)`.
pub async fn rename(t: &Task, old: Addr, new: Addr) -> SysResult<()> {
    renameat2(t, libc::AT_FDCWD, old, libc::AT_FDCWD, new, 0).await
}

/// `renameat(2)`.
pub async fn renameat(t: &Task, olddir: i32, old: Addr, newdir: i32, new: Addr) -> SysResult<()> {
    renameat2(t, olddir, old, newdir, new, 0).await
}

/// `renameat2(2)`. `RENAME_WHITEOUT` is for overlays only and refused, as file systems without it do.
pub async fn renameat2(t: &Task, olddir: i32, old: Addr, newdir: i32, new: Addr, flags: u32) -> SysResult<()> {
    let how = match flags {
        0 => Rename::Replace,
        libc::RENAME_NOREPLACE => Rename::NoReplace,
        libc::RENAME_EXCHANGE => Rename::Exchange,
        _ => return Err(Errno::INVAL),
    };
    let (old, new) = (t.mem().read_path(old)?, t.mem().read_path(new)?);
    let caller = Caller::of(t);
    let (old_dir, old_last) = at::parent(t, &caller, olddir, &old)?;
    let (new_dir, new_last) = at::parent(t, &caller, newdir, &new)?;
    if !std::sync::Arc::ptr_eq(&old_dir.mount, &new_dir.mount) {
        return Err(Errno::XDEV);
    }
    let Last::Name(old_name, old_slash) = old_last else { return Err(Errno::BUSY) };
    let Last::Name(new_name, new_slash) = new_last else {
        return Err(if how == Rename::NoReplace { Errno::EXIST } else { Errno::BUSY });
    };
    let old = Side { dir: &old_dir, name: &old_name, slash: old_slash };
    let new = Side { dir: &new_dir, name: &new_name, slash: new_slash };
    namei::rename(&caller, &old, &new, how)
}

/// `readlink(2)`.
pub async fn readlink(t: &Task, path: Addr, buf: Addr, size: i32) -> SysResult<usize> {
    readlinkat(t, libc::AT_FDCWD, path, buf, size).await
}

/// `readlinkat(2)`: an empty path means the link that `dirfd` was opened on.
pub async fn readlinkat(t: &Task, dirfd: i32, path: Addr, buf: Addr, size: i32) -> SysResult<usize> {
    let size = usize::try_from(size).ok().filter(|size| *size > 0).ok_or(Errno::INVAL)?;
    let caller = Caller::of(t);
    let text = t.mem().read_path(path)?;
    let by_fd = text.is_empty();
    let link = if by_fd {
        Target::of(t.files().get_any(dirfd)?).path_or(Errno::NOENT)?
    } else {
        at::lookup(t, &caller, dirfd, &text, false)?
    };
    let inode = link.inode()?;
    if inode.kind() != FileKind::Symlink {
        return Err(if by_fd { Errno::NOENT } else { Errno::INVAL });
    }
    let target = inode.readlink(&caller)?;
    let shown = target.get(..size.min(target.len())).unwrap_or_default();
    t.mem().write_bytes(buf, shown)?;
    Ok(shown.len())
}
