//! Directories: `getdents(2)`, `mkdir(2)`, `rmdir(2)`, `chdir(2)`, `getcwd(2)`, `chroot(2)`.

use super::at::{self, Target};
use crate::errno::{Errno, SysResult};
use crate::fs::access::may_search;
use crate::fs::attr::FileKind;
use crate::fs::inode::Caller;
use crate::fs::namei::{self, Make};
use crate::fs::path::PathRef;
use crate::fs::walk::Last;
use crate::kernel::{Cap, Task};
use crate::mm::Addr;

/// Most bytes of entries given at once, whatever room there is.
const LIST_MAX: usize = 256 * 1024;

/// How entries are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// `struct linux_dirent`: the type is the last byte.
    Old,
    /// `struct linux_dirent64`.
    New,
}

/// `getdents(2)`.
pub async fn getdents(t: &Task, fd: i32, buf: Addr, count: u32) -> SysResult<usize> {
    list(t, fd, buf, count, Layout::Old)
}

/// `getdents64(2)`.
pub async fn getdents64(t: &Task, fd: i32, buf: Addr, count: u32) -> SysResult<usize> {
    list(t, fd, buf, count, Layout::New)
}

fn list(t: &Task, fd: i32, buf: Addr, count: u32, layout: Layout) -> SysResult<usize> {
    let file = t.file(fd)?;
    let path = file.path.as_ref().filter(|path| path.is_dir()).ok_or(Errno::NOTDIR)?;
    if path.dentry.is_unlinked() {
        return Err(Errno::NOENT);
    }
    let room = (count as usize).min(LIST_MAX);
    let mut bytes = Vec::with_capacity(room);
    let mut full = false;
    {
        let mut pos = file.pos.lock();
        file.ops.readdir(&file, &mut pos, &mut |name, ino, dtype, next| {
            full = !put_entry(&mut bytes, room, layout, name, ino, dtype, next);
            !full
        })?;
    }
    if bytes.is_empty() && full {
        return Err(Errno::INVAL);
    }
    path.inode()?.accessed();
    t.mem().write_bytes(buf, &bytes)?;
    Ok(bytes.len())
}

fn put_entry(bytes: &mut Vec<u8>, room: usize, layout: Layout, name: &[u8], ino: u64, dtype: u8, next: u64) -> bool {
    let fixed = if layout == Layout::New { 19 } else { 18 };
    // Old entries have room for the type behind the name's NUL.
    let len = (fixed + name.len() + 1 + usize::from(layout == Layout::Old)).next_multiple_of(8);
    if bytes.len() + len > room {
        return false;
    }
    let end = bytes.len() + len;
    bytes.extend_from_slice(&ino.to_ne_bytes());
    bytes.extend_from_slice(&next.to_ne_bytes());
    bytes.extend_from_slice(&(len as u16).to_ne_bytes());
    if layout == Layout::New {
        bytes.push(dtype);
    }
    bytes.extend_from_slice(name);
    bytes.resize(end, 0);
    if layout == Layout::Old
        && let Some(last) = bytes.last_mut()
    {
        *last = dtype;
    }
    true
}

/// `mkdir(2)`.
pub async fn mkdir(t: &Task, path: Addr, mode: u32) -> SysResult<()> {
    mkdirat(t, libc::AT_FDCWD, path, mode).await
}

/// `mkdirat(2)`.
pub async fn mkdirat(t: &Task, dirfd: i32, path: Addr, mode: u32) -> SysResult<()> {
    let path = t.mem().read_path(path)?;
    let caller = Caller::of(t);
    let (dir, last) = at::parent(t, &caller, dirfd, &path)?;
    let Last::Name(name, _) = last else { return Err(Errno::EXIST) };
    let mode = mode & 0o1777 & !t.fs().umask();
    namei::make(&caller, &dir, &name, &Make::new(FileKind::Directory, mode)).map(drop)
}

/// `rmdir(2)`.
pub async fn rmdir(t: &Task, path: Addr) -> SysResult<()> {
    remove_dir(t, libc::AT_FDCWD, path)
}

/// Removes a directory (`rmdir(2)`, `unlinkat(2)` with `AT_REMOVEDIR`).
pub(super) fn remove_dir(t: &Task, dirfd: i32, path: Addr) -> SysResult<()> {
    let path = t.mem().read_path(path)?;
    let caller = Caller::of(t);
    let (dir, last) = at::parent(t, &caller, dirfd, &path)?;
    match last {
        Last::Name(name, slash) => namei::remove(&caller, &dir, &name, slash, true),
        Last::Dot => Err(Errno::INVAL),
        Last::DotDot => Err(Errno::NOTEMPTY),
        Last::Root => Err(Errno::BUSY),
    }
}

/// `chdir(2)`.
pub async fn chdir(t: &Task, path: Addr) -> SysResult<()> {
    let caller = Caller::of(t);
    let path = at::lookup_user(t, &caller, libc::AT_FDCWD, path, true)?;
    may_search(&caller, &**path.inode()?)?;
    t.fs().set_cwd(path);
    Ok(())
}

/// `fchdir(2)`.
pub async fn fchdir(t: &Task, fd: i32) -> SysResult<()> {
    let path = Target::of(t.files().get_any(fd)?).path_or(Errno::NOTDIR)?;
    may_search(&Caller::of(t), &**path.inode()?)?;
    t.fs().set_cwd(path);
    Ok(())
}

/// `getcwd(2)`: returns the length with its NUL.
pub async fn getcwd(t: &Task, buf: Addr, size: usize) -> SysResult<usize> {
    let fs = t.fs();
    let cwd = fs.cwd();
    if cwd.dentry.is_unlinked() {
        return Err(Errno::NOENT);
    }
    let mut text = visible(&cwd, &fs.root());
    text.push(0);
    if text.len() > libc::PATH_MAX as usize {
        return Err(Errno::NAMETOOLONG);
    }
    if text.len() > size {
        return Err(Errno::RANGE);
    }
    t.mem().write_bytes(buf, &text)?;
    Ok(text.len())
}

/// A path as `getcwd(2)` shows it: marked if it cannot be reached from the root.
fn visible(path: &PathRef, root: &PathRef) -> Vec<u8> {
    let (text, reached) = path.text(root);
    if reached { text } else { [b"(unreachable)".as_slice(), &text].concat() }
}

/// `chroot(2)`.
pub async fn chroot(t: &Task, path: Addr) -> SysResult<()> {
    let caller = Caller::of(t);
    let path = at::lookup_user(t, &caller, libc::AT_FDCWD, path, true)?;
    may_search(&caller, &**path.inode()?)?;
    if !caller.creds.has(Cap::SysChroot) {
        return Err(Errno::PERM);
    }
    t.fs().set_root(path);
    Ok(())
}
