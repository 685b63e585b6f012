//! Changes of the tree of mounts, one at a time.

use super::propagation::{self, Propagation};
use super::{Mount, MountFlags, MountNamespace};
use crate::errno::{Errno, SysResult};
use crate::fs::dentry::Dentry;
use crate::fs::path::PathRef;
use crate::sync::{Mutex, MutexGuard};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

static TREE: Mutex<()> = Mutex::new(());

/// Lets nobody else change any tree.
pub(super) fn lock() -> MutexGuard<'static, ()> {
    TREE.lock()
}

/// Copies of mounts, by the id of the original.
pub(super) type Copies = HashMap<u64, Arc<Mount>>;

/// What [`copy_subtree`] copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Copied {
    /// All of it (a new namespace).
    Everything,
    /// Only the top.
    TopOnly,
    /// All but what is unbindable (a recursive bind mount, propagation).
    Bindable,
}

/// Copies of `top` and of what stands on it, by the id of the original.
pub(super) fn copy_subtree(top: &Arc<Mount>, what: Copied) -> Copies {
    copy_below(top, &top.root, what)
}

/// As [`copy_subtree`], of the part of `top` below `root`.
pub(super) fn copy_below(top: &Arc<Mount>, root: &Arc<Dentry>, what: Copied) -> Copies {
    let mut copies = HashMap::new();
    let copy = clone_mount(top, root);
    copies.insert(top.id, copy);
    if what == Copied::TopOnly {
        return copies;
    }
    for mount in top.subtree().into_iter().skip(1) {
        let Some(place) = mount.mountpoint() else { continue };
        let skipped = what == Copied::Bindable && propagation::is_unbindable(&mount);
        let outside = Arc::ptr_eq(&place.mount, top) && !place.dentry.is_below(root);
        if let Some(parent) = copies.get(&place.mount.id).cloned()
            && !skipped
            && !outside
        {
            let copy = clone_mount(&mount, &mount.root);
            parent.put(&copy, &place.dentry);
            copies.insert(mount.id, copy);
        }
    }
    copies
}

fn clone_mount(mount: &Arc<Mount>, root: &Arc<Dentry>) -> Arc<Mount> {
    let copy = Mount::new(root.clone(), mount.flags());
    propagation::join(mount, &copy);
    copy
}

/// Takes a whole tree apart.
pub(super) fn scatter(top: &Arc<Mount>) {
    for mount in top.subtree().iter().rev() {
        mount.take_away();
        propagation::leave(mount);
        *mount.namespace.write() = std::sync::Weak::new();
    }
}

/// Puts a new mount of `root` at `place`.
pub fn attach_new(root: Arc<Dentry>, flags: MountFlags, place: &PathRef) -> SysResult<Arc<Mount>> {
    let mount = Mount::new(root, flags);
    let _lock = lock();
    attach_locked(&mount, place)?;
    Ok(mount)
}

/// Moves a mount, with what stands on it, to `place` (`MS_MOVE`).
pub fn attach(mount: &Arc<Mount>, place: &PathRef) -> SysResult<()> {
    let _lock = lock();
    let old = mount.mountpoint().ok_or(Errno::INVAL)?;
    if propagation::is_shared(&old.mount) {
        return Err(Errno::INVAL);
    }
    if mount.root.inode()?.kind() != place.inode()?.kind() {
        return Err(Errno::NOTDIR);
    }
    let mut at = Some(place.clone());
    while let Some(path) = at {
        if Arc::ptr_eq(&path.mount, mount) {
            return Err(Errno::LOOP);
        }
        at = path.mount.mountpoint();
    }
    let ns = old.mount.namespace().ok_or(Errno::INVAL)?;
    mount.take_away();
    ns.release(mount.subtree().len());
    attach_locked(mount, place)
}

/// Puts a tree that stood nowhere at `place`.
pub fn attach_detached(mount: &Arc<Mount>, place: &PathRef) -> SysResult<()> {
    let _lock = lock();
    // Another one may have been first.
    if mount.namespace().is_some() || mount.mountpoint().is_some() {
        return Err(Errno::INVAL);
    }
    attach_locked(mount, place)
}

fn attach_locked(mount: &Arc<Mount>, place: &PathRef) -> SysResult<()> {
    let ns = place.mount.namespace().ok_or(Errno::INVAL)?;
    if place.dentry.is_unlinked() {
        return Err(Errno::NOENT);
    }
    let place = place.clone().topmost();
    let copies = propagation::copies_for(&place, mount);
    ns.reserve(mount.subtree().len())?;
    if propagation::is_shared(&place.mount) {
        for mount in mount.subtree() {
            propagation::make_shared(&mount);
        }
    }
    put_subtree(&place, mount);
    for (target, copy) in copies {
        if let Some(ns) = target.mount.namespace()
            && ns.reserve(copy.subtree().len()).is_ok()
        {
            put_subtree(&target, &copy);
            ns.announce();
        }
    }
    ns.announce();
    Ok(())
}

fn put_subtree(place: &PathRef, mount: &Arc<Mount>) {
    place.mount.put(mount, &place.dentry);
    let ns = place.mount.namespace.read().clone();
    for mount in mount.subtree() {
        *mount.namespace.write() = ns.clone();
    }
}

/// Makes what is at `source` seen at `place` as well (`MS_BIND`, `MS_REC`).
pub fn bind(source: &PathRef, recursive: bool, place: &PathRef) -> SysResult<Arc<Mount>> {
    let _lock = lock();
    if propagation::is_unbindable(&source.mount) {
        return Err(Errno::INVAL);
    }
    let is_dir = |path: &PathRef| path.is_dir();
    if is_dir(source) != is_dir(place) {
        return Err(Errno::NOTDIR);
    }
    let what = if recursive { Copied::Bindable } else { Copied::TopOnly };
    let copies = copy_below(&source.mount, &source.dentry, what);
    let top = copies.get(&source.mount.id).cloned().ok_or(Errno::INVAL)?;
    let done = attach_locked(&top, place);
    if done.is_err() {
        scatter(&top);
    }
    done.map(|()| top)
}

/// Takes a mount away (`umount2(2)`): `EBUSY` if something stands on it or uses it, unless `lazy`.
pub fn detach(mount: &Arc<Mount>, lazy: bool, is_used: impl Fn(&Arc<Mount>) -> bool) -> SysResult<()> {
    let dropped = {
        let _lock = lock();
        let ns = mount.namespace().ok_or(Errno::INVAL)?;
        let place = mount.mountpoint().ok_or(Errno::INVAL)?;
        if !lazy && (!mount.children().is_empty() || is_used(mount)) {
            return Err(Errno::BUSY);
        }
        let mut gone = mount.subtree();
        for copy in propagation::mounted_copies(&place) {
            if lazy || copy.children().is_empty() {
                gone.extend(copy.subtree());
            }
        }
        for mount in &gone {
            if let Some(ns) = mount.namespace() {
                ns.release(1);
                ns.announce();
            }
        }
        for mount in gone.iter().rev() {
            mount.take_away();
            propagation::leave(mount);
            *mount.namespace.write() = std::sync::Weak::new();
        }
        ns.announce();
        gone
    };
    // Without the lock: the last reference may end a file system.
    drop(dropped);
    Ok(())
}

/// Changes the options of a mount (`MS_REMOUNT | MS_BIND`).
pub fn reconfigure(mount: &Arc<Mount>, flags: MountFlags) {
    let _lock = lock();
    mount.flags.store(flags.bits(), Ordering::Relaxed);
    if let Some(ns) = mount.namespace() {
        ns.announce();
    }
}

/// Changes how events propagate (`MS_SHARED` and its kin).
pub fn set_propagation(mount: &Arc<Mount>, to: Propagation, recursive: bool) {
    let _lock = lock();
    let mounts = if recursive { mount.subtree() } else { vec![mount.clone()] };
    for mount in &mounts {
        propagation::change(mount, to);
    }
}

/// Makes `new` the root of the namespace, and puts the old root at `put_old` (`pivot_root(2)`).
pub fn pivot_root(namespace: &Arc<MountNamespace>, root: &PathRef, new: &PathRef, put_old: &PathRef) -> SysResult<()> {
    let _lock = lock();
    let (old_mount, new_mount) = (&root.mount, &new.mount);
    let ours = |mount: &Arc<Mount>| mount.namespace().is_some_and(|ns| Arc::ptr_eq(&ns, namespace));
    let shares = |place: Option<PathRef>| place.is_some_and(|place| propagation::is_shared(&place.mount));
    let root_place = old_mount.mountpoint();
    if propagation::is_shared(&put_old.mount) || shares(new_mount.mountpoint()) || shares(root_place.clone()) {
        return Err(Errno::INVAL);
    }
    if !ours(old_mount) || !ours(new_mount) || !ours(&put_old.mount) {
        return Err(Errno::INVAL);
    }
    if new.dentry.is_unlinked() {
        return Err(Errno::NOENT);
    }
    if Arc::ptr_eq(old_mount, new_mount) || Arc::ptr_eq(old_mount, &put_old.mount) {
        return Err(Errno::BUSY);
    }
    let is_mount_root = |path: &PathRef| Arc::ptr_eq(&path.dentry, &path.mount.root);
    if !is_mount_root(root) || !is_mount_root(new) || new_mount.mountpoint().is_none() {
        return Err(Errno::INVAL);
    }
    if !is_reachable(put_old, new) || !is_reachable(new, root) {
        return Err(Errno::INVAL);
    }
    new_mount.take_away();
    match &root_place {
        Some(place) => {
            old_mount.take_away();
            place.mount.put(new_mount, &place.dentry);
        }
        None => namespace.set_root(new_mount.clone()),
    }
    let put_old = if put_old == new { new_mount.root_path() } else { put_old.clone() };
    put_old.mount.put(old_mount, &put_old.dentry);
    namespace.announce();
    Ok(())
}

/// Whether `path` is `root` or below it, through mounts.
fn is_reachable(path: &PathRef, root: &PathRef) -> bool {
    let mut at = path.clone();
    while !Arc::ptr_eq(&at.mount, &root.mount) {
        match at.mount.mountpoint() {
            Some(place) => at = place,
            None => return false,
        }
    }
    at.dentry.is_below(&root.dentry)
}
