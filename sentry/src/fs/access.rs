//! Permission checks (`path_resolution(7)`, `capabilities(7)`).

use super::attr::{FileKind, Perm};
use super::inode::{Caller, Inode};
use super::path::PathRef;
use crate::errno::{Errno, SysResult};
use crate::kernel::{Cap, Creds};

/// Read.
pub const MAY_READ: u32 = 4;
/// Write.
pub const MAY_WRITE: u32 = 2;
/// Execute, or search a directory.
pub const MAY_EXEC: u32 = 1;

/// Whether mode bits and capabilities grant `mask` (`generic_permission`).
pub fn check(perm: &Perm, creds: &Creds, mask: u32) -> SysResult<()> {
    let shift = if creds.fsuid == perm.uid {
        6
    } else if creds.in_group(perm.gid) {
        3
    } else {
        0
    };
    if (perm.mode >> shift) & mask == mask {
        return Ok(());
    }
    let is_dir = perm.mode & libc::S_IFMT == libc::S_IFDIR;
    let searches = if is_dir { mask & MAY_WRITE == 0 } else { mask == MAY_READ };
    if searches && creds.has(Cap::DacReadSearch) {
        return Ok(());
    }
    let overridable = is_dir || mask & MAY_EXEC == 0 || perm.mode & 0o111 != 0;
    if overridable && creds.has(Cap::DacOverride) { Ok(()) } else { Err(Errno::ACCES) }
}

/// Whether `caller` may do `mask` to what is at `path`, read-only file systems included.
pub fn may(caller: &Caller<'_>, path: &PathRef, mask: u32) -> SysResult<()> {
    let inode = path.inode()?;
    if mask & MAY_WRITE != 0
        && matches!(inode.kind(), FileKind::Regular | FileKind::Directory | FileKind::Symlink)
        && path.is_readonly()
    {
        return Err(Errno::ROFS);
    }
    check(&inode.perm()?, &caller.creds, mask)
}

/// Whether `caller` may search the directory.
pub fn may_search(caller: &Caller<'_>, dir: &dyn Inode) -> SysResult<()> {
    if dir.kind() != FileKind::Directory {
        return Err(Errno::NOTDIR);
    }
    check(&dir.perm()?, &caller.creds, MAY_EXEC)
}

/// Whether `caller` owns the inode or may act as if (`inode_owner_or_capable`).
pub fn is_owner(perm: &Perm, creds: &Creds) -> bool {
    creds.fsuid == perm.uid || creds.has(Cap::Fowner)
}

/// Whether `caller` may remove or replace `victim` in `dir`, by the sticky bit.
pub fn check_sticky(dir: &Perm, victim: &dyn Inode, creds: &Creds) -> SysResult<()> {
    if dir.mode & libc::S_ISVTX == 0 || creds.fsuid == dir.uid {
        return Ok(());
    }
    if is_owner(&victim.perm()?, creds) { Ok(()) } else { Err(Errno::PERM) }
}
