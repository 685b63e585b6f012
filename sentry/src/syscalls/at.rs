//! What calls that take paths have in common: where a walk starts, and what it comes to.

use crate::errno::{Errno, SysResult};
use crate::fs::attr::Attr;
use crate::fs::file::File;
use crate::fs::inode::Caller;
use crate::fs::path::PathRef;
use crate::fs::walk::{Last, Resolve, Walk};
use crate::kernel::Task;
use crate::mm::Addr;
use std::sync::Arc;

/// What a call is about: a place, or a description that has none.
#[derive(Debug, Clone)]
pub enum Target {
    /// A place in the tree.
    Path(PathRef),
    /// A pipe, a socket, an anonymous inode.
    File(Arc<File>),
}

impl Target {
    /// What a descriptor refers to.
    pub fn of(file: Arc<File>) -> Target {
        match &file.path {
            Some(path) => Target::Path(path.clone()),
            None => Target::File(file),
        }
    }

    /// The place; `error` if it has none.
    pub fn path_or(self, error: Errno) -> SysResult<PathRef> {
        match self {
            Target::Path(path) => Ok(path),
            Target::File(_) => Err(error),
        }
    }

    /// Its attributes.
    pub fn attr(&self) -> SysResult<Attr> {
        match self {
            Target::Path(path) => path.inode()?.attr(),
            Target::File(file) => Ok(anonymous_attr(file)),
        }
    }
}

/// What `fstat(2)` shows of a description without a path.
fn anonymous_attr(file: &File) -> Attr {
    /// The device of anonymous inodes (`anon_inodefs`), as a fresh Linux numbers it.
    const ANON_DEV: u64 = libc::makedev(0, 15);
    file.ops.attr().unwrap_or_else(|| Attr::new(ANON_DEV, 1, 0o600, 0, 0))
}

/// Where a walk of `path` from `dirfd` starts.
pub fn start(t: &Task, dirfd: i32, path: &[u8]) -> SysResult<PathRef> {
    let fs = t.fs();
    if path.first() == Some(&b'/') {
        return Ok(fs.root());
    }
    if dirfd == libc::AT_FDCWD {
        return Ok(fs.cwd());
    }
    t.files().get_any(dirfd)?.path.clone().ok_or(Errno::NOTDIR)
}

/// A walk of `path` from `dirfd`.
pub fn walk<'a>(t: &Task, caller: &'a Caller<'a>, dirfd: i32, path: &[u8]) -> SysResult<Walk<'a>> {
    if path.is_empty() {
        return Err(Errno::NOENT);
    }
    Ok(Walk::new(caller, t.fs().root(), start(t, dirfd, path)?, Resolve::empty()))
}

/// What `path` names.
pub fn lookup(t: &Task, caller: &Caller<'_>, dirfd: i32, path: &[u8], follow: bool) -> SysResult<PathRef> {
    walk(t, caller, dirfd, path)?.to(path, follow)
}

/// As [`lookup`], with the path in guest memory.
pub fn lookup_user(t: &Task, caller: &Caller<'_>, dirfd: i32, path: Addr, follow: bool) -> SysResult<PathRef> {
    lookup(t, caller, dirfd, &t.mem().read_path(path)?, follow)
}

/// As [`lookup_user`], with `AT_SYMLINK_NOFOLLOW` and `AT_EMPTY_PATH` in `flags`.
pub fn target(t: &Task, caller: &Caller<'_>, dirfd: i32, path: Addr, flags: i32) -> SysResult<Target> {
    let empty_is_fd = flags & libc::AT_EMPTY_PATH != 0;
    let path = if path.is_null() && empty_is_fd { Vec::new() } else { t.mem().read_path(path)? };
    if path.is_empty() && empty_is_fd {
        return of_descriptor(t, dirfd);
    }
    let follow = flags & libc::AT_SYMLINK_NOFOLLOW == 0;
    lookup(t, caller, dirfd, &path, follow).map(Target::Path)
}

/// As [`target`], with the attributes of what it has come to.
pub fn target_attr(t: &Task, caller: &Caller<'_>, dirfd: i32, path: Addr, flags: i32) -> SysResult<(Target, Attr)> {
    let text = if path.is_null() && flags & libc::AT_EMPTY_PATH != 0 { Vec::new() } else { t.mem().read_path(path)? };
    if text.is_empty() && flags & libc::AT_EMPTY_PATH != 0 {
        let target = of_descriptor(t, dirfd)?;
        let attr = target.attr()?;
        return Ok((target, attr));
    }
    let mut walk = walk(t, caller, dirfd, &text)?;
    let place = walk.to(&text, flags & libc::AT_SYMLINK_NOFOLLOW == 0)?;
    Ok((Target::Path(place), walk.attr()?))
}

/// What a descriptor refers to, or the working directory.
fn of_descriptor(t: &Task, dirfd: i32) -> SysResult<Target> {
    match dirfd {
        libc::AT_FDCWD => Ok(Target::Path(t.fs().cwd())),
        fd => Ok(Target::of(t.files().get_any(fd)?)),
    }
}

/// The directory that the last component of `path` is to be looked up in, and that component.
pub fn parent(t: &Task, caller: &Caller<'_>, dirfd: i32, path: &[u8]) -> SysResult<(PathRef, Last)> {
    let mut walk = walk(t, caller, dirfd, path)?;
    let last = walk.to_parent(path)?;
    Ok((walk.at().clone(), last))
}

/// `EINVAL` for flags outside `allowed`.
pub fn check_flags(flags: i32, allowed: i32) -> SysResult<()> {
    if flags & !allowed == 0 { Ok(()) } else { Err(Errno::INVAL) }
}
