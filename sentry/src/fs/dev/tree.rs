//! The tree of `/dev`, as OCI wants it in each container: a tmpfs with device nodes in it.

use crate::errno::SysResult;
use crate::fs::attr::{FileKind, NewNode, makedev};
use crate::fs::dentry::Dentry;
use crate::fs::tmpfs::{Options, Tmpfs};
use std::sync::Arc;

/// Name, major number, minor number.
const DEVICES: &[(&str, u32, u32)] =
    &[("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

const LINKS: &[(&str, &str)] = &[
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
    ("ptmx", "pts/ptmx"),
];

const DIRECTORIES: &[(&str, u32)] = &[("pts", 0o755), ("shm", 0o1777), ("mqueue", 0o1777)];

/// A new tree; its root dentry.
pub fn mount(source: &str, options: Options) -> SysResult<Arc<Dentry>> {
    let root = Tmpfs::mount(source, options);
    let dir = root.inode()?.clone();
    let node = |kind, mode| NewNode { kind, mode, uid: 0, gid: 0, rdev: 0, target: Vec::new() };
    for (name, major, minor) in DEVICES {
        let rdev = makedev(*major, *minor);
        dir.create(name.as_bytes(), &NewNode { rdev, ..node(FileKind::CharDevice, 0o666) })?;
    }
    for (name, target) in LINKS {
        dir.create(name.as_bytes(), &NewNode { target: target.as_bytes().into(), ..node(FileKind::Symlink, 0o777) })?;
    }
    for (name, mode) in DIRECTORIES {
        dir.create(name.as_bytes(), &node(FileKind::Directory, *mode))?;
    }
    Ok(root)
}
