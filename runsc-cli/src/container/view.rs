//! The container's files as the host sees them in its monitor's mount namespace: engines enter it to copy files, to
//! look at `/proc`, to find mounts. The sentry does not use it, and no guest can reach it.

use crate::plan::{Mount, Source};
use anyhow::{Context, Result};
use platform::host;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::mount::{MoveMountFlags, OpenTreeFlags, UnmountFlags, move_mount, open_tree, unmount};
use rustix::process::{chdir, fchdir, pivot_root};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

/// What is to be seen.
#[derive(Debug, Default)]
pub(super) struct View {
    root: Option<PathBuf>,
    /// Files and directories of the host, and where.
    binds: Vec<(PathBuf, Vec<u8>)>,
    /// Where process file systems are.
    procs: Vec<Vec<u8>>,
}

impl View {
    /// Of a container with these mounts.
    pub(super) fn of(mounts: &[Mount]) -> View {
        let mut view = View::default();
        for mount in mounts {
            match (&mount.source, mount.dest.as_slice()) {
                (Source::Host { path, .. } | Source::Overlay(path), b"/") => view.root = Some(path.clone()),
                (Source::Host { path, .. }, dest) => view.binds.push((path.clone(), dest.to_vec())),
                (Source::Proc, dest) => view.procs.push(dest.to_vec()),
                _ => {}
            }
        }
        view
    }

    /// Makes it this process's root. Of a mount whose place is not there nothing is seen.
    pub(super) fn enter(&self) -> Result<()> {
        let Some(root) = &self.root else { return Ok(()) };
        let binds: Vec<(OwnedFd, &[u8])> =
            self.binds.iter().filter_map(|(path, dest)| Some((tree(path).ok()?, dest.as_slice()))).collect();
        let root_tree = tree(root)?;
        move_mount(root_tree.as_fd(), "", CWD, root, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
            .context("cannot mount the root")?;
        fchdir(&root_tree).context("cannot enter the root")?;
        for (tree, dest) in &binds {
            attach(root_tree.as_fd(), tree, dest);
        }
        for dest in &self.procs {
            if let Ok(proc) = host::procfs() {
                attach(root_tree.as_fd(), &proc, dest);
            }
        }
        // With the same directory twice the old root is stacked upon the new one, and unmounted from there.
        pivot_root(".", ".").context("cannot change the root")?;
        unmount(".", UnmountFlags::DETACH).context("cannot leave the host's root")?;
        chdir("/").context("cannot enter the root")
    }
}

fn tree(path: &PathBuf) -> Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    open_tree(CWD, path, flags).with_context(|| format!("cannot see {}", path.display()))
}

/// Mounts at a place of the container, in which links may lead anywhere but out.
fn attach(root: BorrowedFd<'_>, tree: &OwnedFd, dest: &[u8]) {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    if let Ok(place) = openat2(root, dest, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve) {
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        // A file on a directory, or the reverse, cannot be: then it is not seen.
        let _ = move_mount(tree.as_fd(), "", &place, "", flags);
    }
}
