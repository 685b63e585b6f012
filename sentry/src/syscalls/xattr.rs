//! Extended attributes: `setxattr(2)`, `getxattr(2)`, `listxattr(2)`, `removexattr(2)`.

use super::at::{self, Target, check_flags};
use crate::abi::{XattrArgs, read_extensible};
use crate::errno::{Errno, SysResult};
use crate::fs::access::{self, MAY_READ, MAY_WRITE};
use crate::fs::attr::FileKind;
use crate::fs::inode::{Caller, Inode};
use crate::fs::notify;
use crate::kernel::{Cap, Task};
use crate::mm::Addr;
use std::sync::Arc;

/// Longest name (`XATTR_NAME_MAX`).
const NAME_MAX: usize = 255;
/// Longest value (`XATTR_SIZE_MAX`).
const VALUE_MAX: usize = 65536;
/// Longest list of names (`XATTR_LIST_MAX`).
const LIST_MAX: usize = 65536;

const NOFOLLOW: i32 = libc::AT_SYMLINK_NOFOLLOW;
/// For calls that look at what a descriptor refers to.
const OF_FD: i32 = libc::AT_EMPTY_PATH;

/// What an attribute is set to.
#[derive(Debug, Clone, Copy)]
struct Value {
    addr: Addr,
    size: usize,
    flags: i32,
}

fn read_name(t: &Task, addr: Addr) -> SysResult<Vec<u8>> {
    let name = t.mem().read_cstr(addr, NAME_MAX + 1, Errno::RANGE)?;
    if name.is_empty() { Err(Errno::RANGE) } else { Ok(name) }
}

fn fd_target(t: &Task, fd: i32) -> SysResult<Target> {
    Ok(Target::of(t.file(fd)?))
}

fn inode_of(target: &Target) -> SysResult<Arc<dyn Inode>> {
    match target {
        Target::Path(path) => path.inode().cloned(),
        Target::File(file) => file.inode().ok_or(Errno::OPNOTSUPP),
    }
}

/// Whether `caller` may read or write the attribute (`xattr_permission`).
fn check_access(caller: &Caller<'_>, target: &Target, inode: &dyn Inode, name: &[u8], mask: u32) -> SysResult<()> {
    let writes = mask & MAY_WRITE != 0;
    if let (Target::Path(path), true) = (target, writes) {
        path.want_write()?;
    }
    if name.starts_with(b"security.") || name.starts_with(b"system.") {
        return if writes { check_security(caller, name) } else { Ok(()) };
    }
    if name.starts_with(b"trusted.") {
        let refused = if writes { Errno::PERM } else { Errno::NODATA };
        return if caller.creds.has(Cap::SysAdmin) { Ok(()) } else { Err(refused) };
    }
    let perm = inode.perm()?;
    if name.starts_with(b"user.") {
        match inode.kind() {
            FileKind::Regular => {}
            FileKind::Directory => {
                if writes && perm.mode & libc::S_ISVTX != 0 && !access::is_owner(&perm, &caller.creds) {
                    return Err(Errno::PERM);
                }
            }
            _ => return Err(if writes { Errno::PERM } else { Errno::NODATA }),
        }
    }
    access::check(&perm, &caller.creds, mask)
}

fn check_security(caller: &Caller<'_>, name: &[u8]) -> SysResult<()> {
    let needed = match name {
        b"security.capability" => Cap::Setfcap,
        name if name.starts_with(b"security.") => Cap::SysAdmin,
        _ => return Ok(()),
    };
    if caller.creds.has(needed) { Ok(()) } else { Err(Errno::PERM) }
}

fn set(t: &Task, target: impl FnOnce(&Caller<'_>) -> SysResult<Target>, name: Addr, value: Value) -> SysResult<()> {
    check_flags(value.flags, libc::XATTR_CREATE | libc::XATTR_REPLACE)?;
    let name = read_name(t, name)?;
    if value.size > VALUE_MAX {
        return Err(Errno::TOOBIG);
    }
    let mut bytes = vec![0; value.size];
    t.mem().read_bytes(value.addr, &mut bytes)?;
    let caller = Caller::of(t);
    let target = target(&caller)?;
    let inode = inode_of(&target)?;
    check_access(&caller, &target, &*inode, &name, MAY_WRITE)?;
    inode.set_xattr(&name, &bytes, value.flags)?;
    announce(&target);
    Ok(())
}

fn announce(target: &Target) {
    if let Target::Path(path) = target {
        notify::path(path, libc::IN_ATTRIB);
    }
}

fn get(
    t: &Task,
    target: impl FnOnce(&Caller<'_>) -> SysResult<Target>,
    name: Addr,
    to: Addr,
    size: usize,
) -> SysResult<usize> {
    let name = read_name(t, name)?;
    let caller = Caller::of(t);
    let target = target(&caller)?;
    let inode = inode_of(&target)?;
    check_access(&caller, &target, &*inode, &name, MAY_READ)?;
    give(t, &inode.get_xattr(&name)?, to, size.min(VALUE_MAX))
}

/// Hands out `bytes`, or only their number if there is no room at all.
fn give(t: &Task, bytes: &[u8], to: Addr, size: usize) -> SysResult<usize> {
    if size != 0 {
        if bytes.len() > size {
            return Err(Errno::RANGE);
        }
        t.mem().write_bytes(to, bytes)?;
    }
    Ok(bytes.len())
}

fn list(t: &Task, target: impl FnOnce(&Caller<'_>) -> SysResult<Target>, to: Addr, size: usize) -> SysResult<usize> {
    let caller = Caller::of(t);
    let inode = inode_of(&target(&caller)?)?;
    let shows_trusted = caller.creds.has(Cap::SysAdmin);
    let mut names = inode.list_xattr()?;
    names.retain(|name| shows_trusted || !name.starts_with(b"trusted."));
    let text: Vec<u8> = names.iter().flat_map(|name| name.iter().copied().chain([0])).collect();
    give(t, &text, to, size.min(LIST_MAX))
}

fn remove(t: &Task, target: impl FnOnce(&Caller<'_>) -> SysResult<Target>, name: Addr) -> SysResult<()> {
    let name = read_name(t, name)?;
    let caller = Caller::of(t);
    let target = target(&caller)?;
    let inode = inode_of(&target)?;
    check_access(&caller, &target, &*inode, &name, MAY_WRITE)?;
    inode.remove_xattr(&name)?;
    announce(&target);
    Ok(())
}

/// `setxattr(2)`.
pub async fn setxattr(t: &Task, path: Addr, name: Addr, addr: Addr, size: usize, flags: i32) -> SysResult<()> {
    set(t, |c| at::target(t, c, libc::AT_FDCWD, path, 0), name, Value { addr, size, flags })
}

/// `lsetxattr(2)`.
pub async fn lsetxattr(t: &Task, path: Addr, name: Addr, addr: Addr, size: usize, flags: i32) -> SysResult<()> {
    set(t, |c| at::target(t, c, libc::AT_FDCWD, path, NOFOLLOW), name, Value { addr, size, flags })
}

/// `fsetxattr(2)`.
pub async fn fsetxattr(t: &Task, fd: i32, name: Addr, addr: Addr, size: usize, flags: i32) -> SysResult<()> {
    set(t, |_| fd_target(t, fd), name, Value { addr, size, flags })
}

/// `getxattr(2)`.
pub async fn getxattr(t: &Task, path: Addr, name: Addr, to: Addr, size: usize) -> SysResult<usize> {
    get(t, |c| at::target(t, c, libc::AT_FDCWD, path, 0), name, to, size)
}

/// `lgetxattr(2)`.
pub async fn lgetxattr(t: &Task, path: Addr, name: Addr, to: Addr, size: usize) -> SysResult<usize> {
    get(t, |c| at::target(t, c, libc::AT_FDCWD, path, NOFOLLOW), name, to, size)
}

/// `fgetxattr(2)`.
pub async fn fgetxattr(t: &Task, fd: i32, name: Addr, to: Addr, size: usize) -> SysResult<usize> {
    get(t, |_| fd_target(t, fd), name, to, size)
}

/// `listxattr(2)`.
pub async fn listxattr(t: &Task, path: Addr, to: Addr, size: usize) -> SysResult<usize> {
    list(t, |c| at::target(t, c, libc::AT_FDCWD, path, 0), to, size)
}

/// `llistxattr(2)`.
pub async fn llistxattr(t: &Task, path: Addr, to: Addr, size: usize) -> SysResult<usize> {
    list(t, |c| at::target(t, c, libc::AT_FDCWD, path, NOFOLLOW), to, size)
}

/// `flistxattr(2)`.
pub async fn flistxattr(t: &Task, fd: i32, to: Addr, size: usize) -> SysResult<usize> {
    list(t, |_| fd_target(t, fd), to, size)
}

/// `removexattr(2)`.
pub async fn removexattr(t: &Task, path: Addr, name: Addr) -> SysResult<()> {
    remove(t, |c| at::target(t, c, libc::AT_FDCWD, path, 0), name)
}

/// `lremovexattr(2)`.
pub async fn lremovexattr(t: &Task, path: Addr, name: Addr) -> SysResult<()> {
    remove(t, |c| at::target(t, c, libc::AT_FDCWD, path, NOFOLLOW), name)
}

/// `fremovexattr(2)`.
pub async fn fremovexattr(t: &Task, fd: i32, name: Addr) -> SysResult<()> {
    remove(t, |_| fd_target(t, fd), name)
}

/// `struct xattr_args`, whose size the caller gives.
fn read_args(t: &Task, addr: Addr, size: usize) -> SysResult<XattrArgs> {
    read_extensible(t, addr, size, size_of::<XattrArgs>())
}

/// `setxattrat(2)`.
pub async fn setxattrat(
    t: &Task,
    dirfd: i32,
    path: Addr,
    flags: i32,
    name: Addr,
    args: Addr,
    size: usize,
) -> SysResult<()> {
    check_flags(flags, NOFOLLOW | OF_FD)?;
    let args = read_args(t, args, size)?;
    let value = Value { addr: Addr(args.value), size: args.size as usize, flags: args.flags.cast_signed() };
    set(t, |c| at::target(t, c, dirfd, path, flags), name, value)
}

/// `getxattrat(2)`.
pub async fn getxattrat(
    t: &Task,
    dirfd: i32,
    path: Addr,
    flags: i32,
    name: Addr,
    args: Addr,
    size: usize,
) -> SysResult<usize> {
    check_flags(flags, NOFOLLOW | OF_FD)?;
    let args = read_args(t, args, size)?;
    if args.flags != 0 {
        return Err(Errno::INVAL);
    }
    get(t, |c| at::target(t, c, dirfd, path, flags), name, Addr(args.value), args.size as usize)
}

/// `listxattrat(2)`.
pub async fn listxattrat(t: &Task, dirfd: i32, path: Addr, flags: i32, to: Addr, size: usize) -> SysResult<usize> {
    check_flags(flags, NOFOLLOW | OF_FD)?;
    list(t, |c| at::target(t, c, dirfd, path, flags), to, size)
}

/// `removexattrat(2)`.
pub async fn removexattrat(t: &Task, dirfd: i32, path: Addr, flags: i32, name: Addr) -> SysResult<()> {
    check_flags(flags, NOFOLLOW | OF_FD)?;
    remove(t, |c| at::target(t, c, dirfd, path, flags), name)
}
