//! Changes of the tree: what makes, removes and moves names, checked as Linux checks it (`fs/namei.c`).

use super::access::{self, MAY_EXEC, MAY_READ, MAY_WRITE};
use super::attr::{FileKind, NewNode, Perm};
use super::dentry::{Children, Dentry};
use super::inode::{Caller, Inode, Landing, Moving, Rename};
use super::mount::MountFlags;
use super::notify::{self, Happening};
use super::path::PathRef;
use crate::errno::{Errno, SysResult};
use crate::kernel::Cap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Most links an inode may have, where the file system sets no lower bound.
const LINK_MAX: u32 = 65_000;

/// What to make.
#[derive(Debug, Clone)]
pub struct Make<'a> {
    /// Kind.
    pub kind: FileKind,
    /// Permission bits, the umask applied.
    pub mode: u32,
    /// Device number, for devices.
    pub rdev: u64,
    /// Target, for symbolic links.
    pub target: &'a [u8],
}

impl Make<'_> {
    /// Something that needs no more than a kind and a mode.
    pub fn new(kind: FileKind, mode: u32) -> Make<'static> {
        Make { kind, mode, rdev: 0, target: b"" }
    }

    fn node(&self, caller: &Caller<'_>, dir: &Perm) -> NewNode {
        let mut node = NewNode::new(self.kind, self.mode, &caller.creds, dir);
        node.rdev = self.rdev;
        node.target = self.target.to_vec();
        node
    }
}

/// Makes `name` in `dir`; `EEXIST` if it is there already.
pub fn make(caller: &Caller<'_>, dir: &PathRef, name: &[u8], what: &Make<'_>) -> SysResult<PathRef> {
    let mut children = dir.dentry.children.write();
    if dir.dentry.lookup_locked(&mut children, caller, name)?.is_some() {
        return Err(Errno::EXIST);
    }
    make_locked(caller, dir, &mut children, name, what)
}

/// As [`make`], for one who has just looked and tries again if the name is there after all. Who shares the file
/// system with the host does not ask it twice.
pub(super) fn make_missing(caller: &Caller<'_>, dir: &PathRef, name: &[u8], what: &Make<'_>) -> SysResult<PathRef> {
    if dir.dentry.sb.exclusive {
        return make(caller, dir, name, what);
    }
    let mut children = dir.dentry.children.write();
    if children.has(name) {
        return Err(Errno::EXIST);
    }
    make_locked(caller, dir, &mut children, name, what)
}

/// Whether `name` can be made in `dir` without a look whether it is there: nothing is known of it, nothing but the
/// host speaks against it, and the host will say so.
pub(super) fn may_make_unseen(caller: &Caller<'_>, dir: &PathRef, name: &[u8]) -> bool {
    !dir.dentry.sb.exclusive
        && dir.want_write().is_ok()
        && may_create(caller, dir).is_ok()
        && !dir.dentry.children.read().has(name)
}

/// As [`make`], for one who holds the directory and has seen that the name is free.
pub(super) fn make_locked(
    caller: &Caller<'_>,
    dir: &PathRef,
    children: &mut Children,
    name: &[u8],
    what: &Make<'_>,
) -> SysResult<PathRef> {
    dir.want_write()?;
    may_create(caller, dir)?;
    // Whiteouts of overlayfs (0:0) may be made by anyone.
    let is_whiteout = what.kind == FileKind::CharDevice && what.rdev == 0;
    if what.kind.is_device() && !is_whiteout && !caller.creds.has(Cap::Mknod) {
        return Err(Errno::PERM);
    }
    let inode = dir.inode()?.clone();
    let made = inode.create(name, &what.node(caller, &inode.perm()?))?;
    let dentry = dir.dentry.add(children, name, Some(made));
    let flags = if what.kind == FileKind::Directory { libc::IN_ISDIR } else { 0 };
    notify::entry(&dir.dentry, name, libc::IN_CREATE | flags);
    Ok(PathRef { mount: dir.mount.clone(), dentry })
}

fn may_create(caller: &Caller<'_>, dir: &PathRef) -> SysResult<()> {
    if dir.dentry.is_unlinked() {
        return Err(Errno::NOENT);
    }
    access::may(caller, dir, MAY_WRITE | MAY_EXEC)
}

/// Makes a regular file without a name in the file system of `dir`; `linkable` if it may get one later.
pub fn tmpfile(caller: &Caller<'_>, dir: &PathRef, mode: u32, linkable: bool) -> SysResult<PathRef> {
    dir.want_write()?;
    access::may(caller, dir, MAY_WRITE | MAY_EXEC)?;
    let inode = dir.inode()?;
    let new = NewNode::new(FileKind::Regular, mode, &caller.creds, &inode.perm()?);
    let made = inode.tmpfile(&new)?;
    made.ext().linkable.store(linkable, Ordering::Relaxed);
    let name = format!("#{}", made.ino());
    let dentry = Dentry::unnamed(dir.dentry.sb.clone(), made, dir.dentry.clone(), name.as_bytes());
    Ok(PathRef { mount: dir.mount.clone(), dentry })
}

/// Makes `name` in `dir` another name of `old`.
pub fn link(caller: &Caller<'_>, old: &PathRef, dir: &PathRef, name: &[u8]) -> SysResult<()> {
    let target = old.inode()?.clone();
    let mut children = dir.dentry.children.write();
    if dir.dentry.lookup_locked(&mut children, caller, name)?.is_some() {
        return Err(Errno::EXIST);
    }
    dir.want_write()?;
    if !Arc::ptr_eq(&old.mount, &dir.mount) {
        return Err(Errno::XDEV);
    }
    may_create(caller, dir)?;
    if target.kind() == FileKind::Directory {
        return Err(Errno::PERM);
    }
    let nlink = target.attr()?.nlink;
    if nlink >= LINK_MAX {
        return Err(Errno::MLINK);
    }
    if nlink == 0 && !target.ext().linkable.load(Ordering::Relaxed) {
        return Err(Errno::NOENT);
    }
    dir.inode()?.link(name, &*target)?;
    target.ext().linkable.store(false, Ordering::Relaxed);
    dir.dentry.add(&mut children, name, Some(target));
    drop(children);
    notify::linked(&old.dentry);
    notify::entry(&dir.dentry, name, libc::IN_CREATE);
    Ok(())
}

/// Removes `name` from `dir`: a directory if `is_dir` (`rmdir(2)`), else anything but.
pub fn remove(caller: &Caller<'_>, dir: &PathRef, name: &[u8], slash: bool, is_dir: bool) -> SysResult<()> {
    let mut children = dir.dentry.children.write();
    dir.want_write()?;
    let child = match known_victim(dir, &children, name, is_dir)? {
        Some(child) => child,
        None => dir.dentry.lookup_locked(&mut children, caller, name)?.ok_or(Errno::NOENT)?,
    };
    let inode = child.inode()?;
    let victim_is_dir = inode.kind() == FileKind::Directory;
    if slash && !is_dir {
        return Err(if victim_is_dir { Errno::ISDIR } else { Errno::NOTDIR });
    }
    may_delete(caller, dir, &**inode, is_dir)?;
    if child.mounts.load(Ordering::Acquire) > 0 {
        return Err(Errno::BUSY);
    }
    let parent = dir.inode()?;
    child.before_removal();
    if is_dir {
        // Holding the victim's own children keeps anyone from making something in it meanwhile.
        let mut inner = child.children.write();
        parent.rmdir(name, &**inode)?;
        dir.dentry.removed(&mut children, &child);
        *inner = Children::default();
    } else {
        parent.unlink(name, &**inode)?;
        dir.dentry.removed(&mut children, &child);
    }
    drop(children);
    notify::removed(&dir.dentry, name, &child);
    Ok(())
}

/// What was found as `name` earlier, if removing that name does not depend on what it is by now: the host will say if
/// it is gone, or a directory.
fn known_victim(dir: &PathRef, children: &Children, name: &[u8], is_dir: bool) -> SysResult<Option<Arc<Dentry>>> {
    if is_dir || dir.dentry.sb.exclusive || dir.inode()?.perm()?.mode & libc::S_ISVTX != 0 {
        return Ok(None);
    }
    let is_plain = |child: &Arc<Dentry>| {
        child.mounts.load(Ordering::Acquire) == 0 && child.inode().is_ok_and(|i| i.kind() != FileKind::Directory)
    };
    Ok(children.get(name).filter(is_plain))
}

fn may_delete(caller: &Caller<'_>, dir: &PathRef, victim: &dyn Inode, is_dir: bool) -> SysResult<()> {
    access::may(caller, dir, MAY_WRITE | MAY_EXEC)?;
    access::check_sticky(&dir.inode()?.perm()?, victim, &caller.creds)?;
    match (is_dir, victim.kind() == FileKind::Directory) {
        (true, false) => Err(Errno::NOTDIR),
        (false, true) => Err(Errno::ISDIR),
        _ => Ok(()),
    }
}

/// One side of a rename: a directory, a name in it, and whether slashes followed the name.
#[derive(Debug)]
pub struct Side<'a> {
    /// The directory.
    pub dir: &'a PathRef,
    /// The name.
    pub name: &'a [u8],
    /// Slashes followed.
    pub slash: bool,
}

/// Moves a name (`renameat2(2)`).
pub fn rename(caller: &Caller<'_>, old: &Side<'_>, new: &Side<'_>, how: Rename) -> SysResult<()> {
    if !Arc::ptr_eq(&old.dir.mount, &new.dir.mount) {
        return Err(Errno::XDEV);
    }
    old.dir.want_write()?;
    let sb = old.dir.dentry.sb.clone();
    let (from, to) = (&old.dir.dentry, &new.dir.dentry);
    let moved = if Arc::ptr_eq(from, to) {
        let mut children = from.children.write();
        rename_locked(caller, old, new, how, (&mut children, None))
    } else {
        let _ancestry = sb.rename.lock();
        if to.is_below(from) || !from.is_below(to) && Arc::as_ptr(from) < Arc::as_ptr(to) {
            let mut first = from.children.write();
            let mut second = to.children.write();
            rename_locked(caller, old, new, how, (&mut first, Some(&mut second)))
        } else {
            let mut second = to.children.write();
            let mut first = from.children.write();
            rename_locked(caller, old, new, how, (&mut first, Some(&mut second)))
        }
    }?;
    if let Some(happening) = moved {
        notify::renamed(&happening);
    }
    Ok(())
}

type Locked<'l> = (&'l mut Children, Option<&'l mut Children>);

fn rename_locked(
    caller: &Caller<'_>,
    old: &Side<'_>,
    new: &Side<'_>,
    how: Rename,
    (from, mut to): Locked<'_>,
) -> SysResult<Option<Happening>> {
    let source = old.dir.dentry.lookup_locked(from, caller, old.name)?.ok_or(Errno::NOENT)?;
    let target = match &mut to {
        Some(to) => new.dir.dentry.lookup_locked(to, caller, new.name)?,
        None => new.dir.dentry.lookup_locked(from, caller, new.name)?,
    };
    let inode = source.inode()?.clone();
    match (how, &target) {
        (Rename::NoReplace, Some(_)) => return Err(Errno::EXIST),
        (Rename::Exchange, None) => return Err(Errno::NOENT),
        _ => {}
    }
    let is_dir = |inode: &Arc<dyn Inode>| inode.kind() == FileKind::Directory;
    let exchange = how == Rename::Exchange;
    let target_is_dir = target.as_ref().is_some_and(|t| t.inode().is_ok_and(is_dir));
    if !is_dir(&inode) && (old.slash || !exchange && new.slash) || exchange && new.slash && !target_is_dir {
        return Err(Errno::NOTDIR);
    }
    if new.dir.dentry.is_below(&source) {
        return Err(Errno::INVAL);
    }
    if let Some(target) = &target
        && old.dir.dentry.is_below(target)
    {
        return Err(if exchange { Errno::INVAL } else { Errno::NOTEMPTY });
    }
    if let Some(target) = &target
        && same_inode(&inode, target.inode()?)
    {
        return Ok(None);
    }
    check_rename(caller, old, new, &inode, target.as_ref(), exchange)?;
    if source.mounts.load(Ordering::Acquire) > 0
        || target.as_ref().is_some_and(|t| t.mounts.load(Ordering::Acquire) > 0)
    {
        return Err(Errno::BUSY);
    }
    let inner = target.as_ref().filter(|_| target_is_dir && !exchange).map(|t| t.children.write());
    if let Some(target) = target.as_ref().filter(|_| !exchange) {
        target.before_removal();
    }
    let moving = Moving { name: old.name, inode: &*inode };
    let replaced = target.as_ref().map(|t| t.inode()).transpose()?.map(|inode| &**inode);
    old.dir.inode()?.rename(moving, &**new.dir.inode()?, Landing { name: new.name, inode: replaced }, how)?;
    drop(inner);
    if let Some(target) = &target
        && !exchange
    {
        match &mut to {
            Some(to) => new.dir.dentry.removed(to, target),
            None => new.dir.dentry.removed(from, target),
        }
    }
    Dentry::moved(&source, (&old.dir.dentry, from), (&new.dir.dentry, to.as_deref_mut()), new.name);
    match (&target, to) {
        (Some(target), Some(to)) if exchange => {
            Dentry::moved(target, (&new.dir.dentry, to), (&old.dir.dentry, Some(from)), old.name);
        }
        (Some(target), None) if exchange => {
            Dentry::moved(target, (&new.dir.dentry, from), (&old.dir.dentry, None), old.name);
        }
        _ => {}
    }
    Ok(Some(Happening::new(old, new, source, target.filter(|_| !exchange))))
}

fn same_inode(a: &Arc<dyn Inode>, b: &Arc<dyn Inode>) -> bool {
    Arc::ptr_eq(a, b) || a.ino() == b.ino() && a.kind() != FileKind::Directory
}

fn check_rename(
    caller: &Caller<'_>,
    old: &Side<'_>,
    new: &Side<'_>,
    inode: &Arc<dyn Inode>,
    target: Option<&Arc<Dentry>>,
    exchange: bool,
) -> SysResult<()> {
    let is_dir = inode.kind() == FileKind::Directory;
    may_delete(caller, old.dir, &**inode, is_dir)?;
    let mut other_is_dir = false;
    match target {
        None => may_create(caller, new.dir)?,
        Some(target) => {
            let target = target.inode()?;
            other_is_dir = target.kind() == FileKind::Directory;
            may_delete(caller, new.dir, &**target, if exchange { other_is_dir } else { is_dir })?;
        }
    }
    if old.dir == new.dir {
        return Ok(());
    }
    // A directory's `..` is written when it gets another parent.
    if is_dir {
        access::check(&inode.perm()?, &caller.creds, MAY_WRITE)?;
    }
    if exchange
        && other_is_dir
        && let Some(target) = target
    {
        access::check(&target.inode()?.perm()?, &caller.creds, MAY_WRITE)?;
    }
    Ok(())
}

/// What `access(2)` asks.
pub fn check_access(caller: &Caller<'_>, path: &PathRef, mode: u32) -> SysResult<()> {
    let inode = path.inode()?;
    if mode & MAY_EXEC != 0 && inode.kind() == FileKind::Regular && path.mount.has(MountFlags::NOEXEC) {
        return Err(Errno::ACCES);
    }
    let mask = mode & (MAY_READ | MAY_WRITE | MAY_EXEC);
    access::check(&inode.perm()?, &caller.creds, mask)?;
    access::may(caller, path, mask)
}
