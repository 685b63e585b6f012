//! `mount(2)`, `umount2(2)`, `pivot_root(2)`.

use super::at;
use crate::errno::{Errno, SysResult};
use crate::fs::boot;
use crate::fs::inode::Caller;
use crate::fs::mount::{self, Mount, MountFlags, Propagation};
use crate::fs::path::PathRef;
use crate::kernel::{Cap, Task};
use crate::mm::Addr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Bits that old callers set in the upper half (`MS_MGC_VAL`).
const MAGIC: u64 = 0xC0ED_0000;
/// Options are a page at most.
const OPTIONS_MAX: usize = 4096;
/// Flags that make `mount(2)` do something other than a new mount.
const KINDS_OF_PROPAGATION: u64 = libc::MS_SHARED | libc::MS_SLAVE | libc::MS_PRIVATE | libc::MS_UNBINDABLE;

pub(super) fn may_mount(t: &Task) -> SysResult<()> {
    if t.creds().has(Cap::SysAdmin) { Ok(()) } else { Err(Errno::PERM) }
}

pub(super) fn is_mount_root(path: &PathRef) -> bool {
    Arc::ptr_eq(&path.dentry, &path.mount.root)
}

/// Whether the mount is one of those the task sees.
pub(super) fn is_ours(t: &Task, mount: &Mount) -> bool {
    mount.namespace().is_some_and(|namespace| Arc::ptr_eq(&namespace, &t.fs().namespace()))
}

fn optional_string(t: &Task, addr: Addr) -> SysResult<Vec<u8>> {
    if addr.is_null() { Ok(Vec::new()) } else { t.mem().read_cstr(addr, OPTIONS_MAX, Errno::INVAL) }
}

/// `mount(2)`.
pub async fn mount(t: &Task, source: Addr, target: Addr, fstype: Addr, flags: u64, data: Addr) -> SysResult<()> {
    let fstype = optional_string(t, fstype)?;
    let source = optional_string(t, source)?;
    let options = optional_string(t, data)?;
    let caller = Caller::of(t);
    let place = at::lookup_user(t, &caller, libc::AT_FDCWD, target, true)?;
    may_mount(t)?;
    if !is_ours(t, &place.mount) {
        return Err(Errno::INVAL);
    }
    let flags = if flags & 0xffff_0000 == MAGIC { flags & 0xffff } else { flags };
    if flags & libc::MS_REMOUNT != 0 {
        return remount(&place, flags, &options);
    }
    if flags & libc::MS_BIND != 0 {
        let source = at::lookup(t, &caller, libc::AT_FDCWD, &source, true)?;
        return mount::bind(&source, flags & libc::MS_REC != 0, &place).map(drop);
    }
    if flags & KINDS_OF_PROPAGATION != 0 {
        return set_propagation(&place, flags);
    }
    if flags & libc::MS_MOVE != 0 {
        let source = at::lookup(t, &caller, libc::AT_FDCWD, &source, true)?;
        if !is_mount_root(&source) || !is_ours(t, &source.mount) {
            return Err(Errno::INVAL);
        }
        return mount::attach(&source.mount, &place);
    }
    mount_new(&place, &source, &fstype, flags, &options)
}

fn mount_new(place: &PathRef, source: &[u8], fstype: &[u8], flags: u64, options: &[u8]) -> SysResult<()> {
    if fstype.is_empty() {
        return Err(Errno::INVAL);
    }
    let fstype = std::str::from_utf8(fstype).map_err(|_| Errno::NODEV)?;
    let source = if source.is_empty() { b"none" } else { source };
    let root = boot::make_type(fstype, &String::from_utf8_lossy(source), options)?;
    if root.inode()?.kind() != place.inode()?.kind() {
        return Err(Errno::NOTDIR);
    }
    root.sb.readonly.store(flags & libc::MS_RDONLY != 0, Ordering::Relaxed);
    mount::attach_new(root, MountFlags::from_mount(flags), place).map(drop)
}

fn remount(place: &PathRef, flags: u64, options: &[u8]) -> SysResult<()> {
    if !is_mount_root(place) {
        return Err(Errno::INVAL);
    }
    let mut new = MountFlags::from_mount(flags);
    // Without a word about access times they stay as they are.
    let atime = MountFlags::NOATIME | MountFlags::NODIRATIME | MountFlags::RELATIME;
    if flags & (libc::MS_NOATIME | libc::MS_NODIRATIME | libc::MS_RELATIME | libc::MS_STRICTATIME) == 0 {
        new = new.difference(atime) | place.mount.flags().intersection(atime);
    }
    if flags & libc::MS_BIND == 0 {
        let sb = &place.dentry.sb;
        sb.fs.remount(options)?;
        sb.readonly.store(flags & libc::MS_RDONLY != 0, Ordering::Relaxed);
    }
    mount::reconfigure(&place.mount, new);
    Ok(())
}

fn set_propagation(place: &PathRef, flags: u64) -> SysResult<()> {
    if flags & !(KINDS_OF_PROPAGATION | libc::MS_REC | libc::MS_SILENT) != 0 {
        return Err(Errno::INVAL);
    }
    let to = Propagation::from_mount(flags).ok_or(Errno::INVAL)?;
    if !is_mount_root(place) {
        return Err(Errno::INVAL);
    }
    mount::set_propagation(&place.mount, to, flags & libc::MS_REC != 0);
    Ok(())
}

/// `umount2(2)`.
pub async fn umount2(t: &Task, target: Addr, flags: i32) -> SysResult<()> {
    at::check_flags(flags, libc::MNT_FORCE | libc::MNT_DETACH | libc::MNT_EXPIRE | libc::UMOUNT_NOFOLLOW)?;
    let path = at::lookup_user(t, &Caller::of(t), libc::AT_FDCWD, target, flags & libc::UMOUNT_NOFOLLOW == 0)?;
    may_mount(t)?;
    if !is_mount_root(&path) || !is_ours(t, &path.mount) {
        return Err(Errno::INVAL);
    }
    /// References to a mount that nobody uses: this call's, and the tree's.
    const UNUSED: usize = 2;
    let is_used = |mount: &Arc<Mount>| Arc::strong_count(mount) > UNUSED;
    if flags & libc::MNT_EXPIRE != 0 {
        if flags & (libc::MNT_FORCE | libc::MNT_DETACH) != 0 || Arc::ptr_eq(&path.mount, &t.fs().root().mount) {
            return Err(Errno::INVAL);
        }
        if is_used(&path.mount) {
            return Err(Errno::BUSY);
        }
        if !path.mount.expire() {
            return Err(Errno::AGAIN);
        }
    }
    mount::detach(&path.mount, flags & libc::MNT_DETACH != 0, is_used)
}

/// `pivot_root(2)`.
pub async fn pivot_root(t: &Task, new_root: Addr, put_old: Addr) -> SysResult<()> {
    may_mount(t)?;
    let caller = Caller::of(t);
    let fs = t.fs();
    let new = at::lookup_user(t, &caller, libc::AT_FDCWD, new_root, true)?;
    let put_old = at::lookup_user(t, &caller, libc::AT_FDCWD, put_old, true)?;
    if !new.is_dir() || !put_old.is_dir() {
        return Err(Errno::NOTDIR);
    }
    let root = fs.root();
    mount::pivot_root(&fs.namespace(), &root, &new, &put_old)?;
    // Every process that stood at the old root stands at the new one.
    let groups: Vec<_> = t.kernel.tree.lock().nodes().map(|(_, node)| node.group.clone()).collect();
    for task in groups.iter().flat_map(|group| group.tasks()) {
        task.fs().replace(&root, &new);
    }
    Ok(())
}
