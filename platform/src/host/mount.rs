//! Mounts of the sandbox's own mount namespace on the host.
//!
//! What the sentry keeps is never attached anywhere: a tree of the host is a detached copy, and its root is the
//! end of every `..`; read-only trees are so by the mount, whatever the sentry may try.

use rustix::fs::CWD;
use rustix::io::{Errno, Result};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags,
    UnmountFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen, mount, mount_change, move_mount, open_tree,
    unmount,
};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

const SAFE: MountAttrFlags =
    MountAttrFlags::MOUNT_ATTR_NOSUID.union(MountAttrFlags::MOUNT_ATTR_NODEV).union(MountAttrFlags::MOUNT_ATTR_NOEXEC);

/// Nothing that is mounted from now on is seen outside the mount namespace.
pub fn private_mounts() -> Result<()> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
}

/// Hides what is below `path` in this mount namespace behind an empty read-only directory.
pub fn cover(path: &Path) -> Result<()> {
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("none", path, "tmpfs", flags, c"mode=0555,nr_inodes=1")
}

/// A detached copy of the tree at `path`; with `recursive` what is mounted below it is there as well.
pub fn detached_tree(path: &Path, writable: bool, recursive: bool) -> Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    let tree = open_tree(CWD, path, flags)?;
    let mut attributes = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
    if !writable {
        attributes |= libc::MOUNT_ATTR_RDONLY;
    }
    set_attributes(tree.as_fd(), attributes)?;
    Ok(tree)
}

/// `mount_setattr(2)` on a mount and all below it.
fn set_attributes(tree: BorrowedFd<'_>, attributes: u64) -> Result<()> {
    let attr = libc::mount_attr { attr_set: attributes, attr_clr: 0, propagation: 0, userns_fd: 0 };
    // SAFETY: the path is a literal, and `attr` is a live structure of the size given; the call changes no memory.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | libc::AT_RECURSIVE,
            &raw const attr,
            size_of::<libc::mount_attr>(),
        )
    };
    if done == 0 { Ok(()) } else { Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL)) }
}

/// A procfs of the pid namespace of the caller, mounted nowhere.
pub fn procfs() -> Result<OwnedFd> {
    let fs = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(fs.as_fd())?;
    fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, SAFE)
}

/// Replaces the root and working directory by an empty read-only directory, and unmounts all else.
pub fn empty_root() -> Result<()> {
    let fs = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(fs.as_fd(), "mode", "0555")?;
    fsconfig_set_string(fs.as_fd(), "nr_inodes", "1")?;
    fsconfig_create(fs.as_fd())?;
    let root = fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, SAFE | MountAttrFlags::MOUNT_ATTR_RDONLY)?;
    // Any directory will do as the place from which the root is pivoted; `/proc` is there on every host.
    move_mount(root.as_fd(), "", CWD, "/proc", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    rustix::process::fchdir(root.as_fd())?;
    // With the same directory twice the old root is stacked upon the new one, and unmounted from there.
    rustix::process::pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    rustix::process::chdir("/")
}
