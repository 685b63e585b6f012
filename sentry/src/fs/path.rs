//! Places in the tree of mounts, and a process's point of view on it.

use super::attr::FileKind;
use super::dentry::Dentry;
use super::inode::Inode;
use super::mount::{Mount, MountFlags, MountNamespace};
use crate::errno::{Errno, SysResult};
use crate::sync::RwLock;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// A mount and a dentry in it.
#[derive(Clone)]
pub struct PathRef {
    /// The mount.
    pub mount: Arc<Mount>,
    /// The dentry.
    pub dentry: Arc<Dentry>,
}

impl std::fmt::Debug for PathRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} in mount {}", self.dentry, self.mount.id)
    }
}

impl PartialEq for PathRef {
    fn eq(&self, other: &PathRef) -> bool {
        Arc::ptr_eq(&self.dentry, &other.dentry) && Arc::ptr_eq(&self.mount, &other.mount)
    }
}

impl PathRef {
    /// What is there.
    pub fn inode(&self) -> SysResult<&Arc<dyn Inode>> {
        self.dentry.inode()
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.inode().is_ok_and(|inode| inode.kind() == FileKind::Directory)
    }

    /// Whether nothing may be changed through this mount.
    pub fn is_readonly(&self) -> bool {
        self.mount.has(MountFlags::READONLY) || self.dentry.sb.readonly.load(Ordering::Relaxed)
    }

    /// `EROFS` if nothing may be changed through this mount.
    pub fn want_write(&self) -> SysResult<()> {
        if self.is_readonly() { Err(Errno::ROFS) } else { Ok(()) }
    }

    /// What is mounted here, through any number of mounts on top of each other.
    #[must_use]
    pub fn topmost(self) -> PathRef {
        let mut at = self;
        while at.dentry.mounts.load(Ordering::Acquire) > 0 {
            let Some(mount) = at.mount.mounted_on(&at.dentry) else { break };
            mount.visited();
            at = mount.root_path();
        }
        at
    }

    /// The directory above, through mounts, but not out of `root`. A mount's root without a place is its own.
    #[must_use]
    pub fn parent(&self, root: &PathRef) -> PathRef {
        let mut at = self.clone();
        loop {
            if at == *root {
                return at;
            }
            if !Arc::ptr_eq(&at.dentry, &at.mount.root) {
                break;
            }
            match at.mount.mountpoint() {
                Some(place) => at = place,
                None => return at,
            }
        }
        match at.dentry.parent() {
            Some(dentry) => PathRef { mount: at.mount, dentry }.topmost(),
            None => at,
        }
    }

    /// Its path as seen from `root`: the text, and whether `root` was reached (else it is outside).
    pub fn text(&self, root: &PathRef) -> (Vec<u8>, bool) {
        let mut names: Vec<Arc<[u8]>> = Vec::new();
        let mut at = self.clone();
        let reached = loop {
            if at == *root {
                break true;
            }
            if Arc::ptr_eq(&at.dentry, &at.mount.root) {
                match at.mount.mountpoint() {
                    Some(place) => at = place,
                    None => break at.mount.is_namespace_root(),
                }
                continue;
            }
            let Some((parent, name)) = at.dentry.place() else { break false };
            names.push(name);
            at.dentry = parent;
        };
        let mut text = Vec::new();
        for name in names.iter().rev() {
            text.push(b'/');
            text.extend_from_slice(name);
        }
        if text.is_empty() {
            text.push(b'/');
        }
        (text, reached)
    }

    /// Its path as `/proc/PID/fd/N` and `/proc/PID/maps` show it: ` (deleted)` follows when the name is gone.
    pub fn display(&self, root: &PathRef) -> Vec<u8> {
        let (mut text, _) = self.text(root);
        if self.dentry.is_unlinked() {
            text.extend_from_slice(b" (deleted)");
        }
        text
    }
}

/// Root, working directory and umask of a process (`CLONE_FS` shares it).
pub struct FsContext {
    places: RwLock<Places>,
    umask: AtomicU32,
}

#[derive(Clone)]
struct Places {
    root: PathRef,
    cwd: PathRef,
    namespace: Arc<MountNamespace>,
}

impl std::fmt::Debug for FsContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let places = self.places.read();
        write!(f, "FsContext(root {:?}, cwd {:?})", places.root, places.cwd)
    }
}

impl FsContext {
    /// The context of a first process: everything at the root of `namespace`.
    pub fn new(namespace: Arc<MountNamespace>) -> Arc<FsContext> {
        let root = namespace.root_path();
        FsContext::at(Places { cwd: root.clone(), root, namespace }, 0o022)
    }

    fn at(places: Places, umask: u32) -> Arc<FsContext> {
        Arc::new(FsContext { places: RwLock::new(places), umask: AtomicU32::new(umask) })
    }

    /// A copy, as `fork` makes it.
    pub fn fork(&self) -> Arc<FsContext> {
        FsContext::at(self.places.read().clone(), self.umask())
    }

    /// A copy in a copy of the mount namespace (`CLONE_NEWNS`), at the same places there.
    pub fn fork_namespace(&self) -> SysResult<Arc<FsContext>> {
        let places = self.places.read().clone();
        let (namespace, map) = places.namespace.copy()?;
        let moved = |path: &PathRef| PathRef {
            mount: map.get(&path.mount.id).cloned().unwrap_or_else(|| path.mount.clone()),
            dentry: path.dentry.clone(),
        };
        let places = Places { root: moved(&places.root), cwd: moved(&places.cwd), namespace };
        Ok(FsContext::at(places, self.umask()))
    }

    /// The root directory.
    pub fn root(&self) -> PathRef {
        self.places.read().root.clone()
    }

    /// The working directory.
    pub fn cwd(&self) -> PathRef {
        self.places.read().cwd.clone()
    }

    /// The mounts it sees.
    pub fn namespace(&self) -> Arc<MountNamespace> {
        self.places.read().namespace.clone()
    }

    /// `chdir(2)`, checked.
    pub fn set_cwd(&self, path: PathRef) {
        self.places.write().cwd = path;
    }

    /// `chroot(2)`, checked.
    pub fn set_root(&self, path: PathRef) {
        self.places.write().root = path;
    }

    /// Goes to another namespace (`setns(2)`); root and working directory become its root.
    pub fn set_namespace(&self, namespace: Arc<MountNamespace>) {
        let root = namespace.root_path();
        *self.places.write() = Places { cwd: root.clone(), root, namespace };
    }

    /// `pivot_root(2)`: what stood at `old` now stands at `new`.
    pub fn replace(&self, old: &PathRef, new: &PathRef) {
        let mut places = self.places.write();
        if places.root == *old {
            places.root = new.clone();
        }
        if places.cwd == *old {
            places.cwd = new.clone();
        }
    }

    /// Bits that new files do not get.
    pub fn umask(&self) -> u32 {
        self.umask.load(Ordering::Relaxed)
    }

    /// Sets the umask; returns the old one.
    pub fn set_umask(&self, mask: u32) -> u32 {
        self.umask.swap(mask & 0o777, Ordering::Relaxed)
    }
}
