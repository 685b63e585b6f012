//! Mounts: where file systems stand in a namespace's tree.
//!
//! Each mount knows its place (weakly) and what stands on it; [`tree`] changes the tree under one global
//! lock, [`propagation`] repeats changes where `mount_namespaces(7)` wants them. Walks only read.

mod context;
mod detached;
mod info;
mod namespace;
mod propagation;
mod tree;

pub use context::{MountContext, Parameter};
pub use detached::Detached;
pub use info::MountInfo;
pub use namespace::MountNamespace;
pub use propagation::Propagation;
pub use tree::{attach, attach_detached, attach_new, bind, detach, pivot_root, reconfigure, set_propagation};

use super::dentry::Dentry;
use super::path::PathRef;
use crate::sync::{Mutex, RwLock};
use bitflags::bitflags;
use propagation::Peers;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// Mounts a namespace may hold (`fs.mount-max`).
pub const MOUNT_MAX: usize = 10_000;

bitflags! {
    /// Options of one mount, with the bits of `statvfs(3)`'s `f_flag`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct MountFlags: u32 {
        /// Nothing can be changed.
        const READONLY = 1;
        /// Set-user-ID bits have no effect.
        const NOSUID = 2;
        /// Devices cannot be opened.
        const NODEV = 4;
        /// Programs cannot be run.
        const NOEXEC = 8;
        /// All writes are synchronous.
        const SYNCHRONOUS = 16;
        /// Access times stay.
        const NOATIME = 1024;
        /// Access times of directories stay.
        const NODIRATIME = 2048;
        /// Access times move only when older than the others.
        const RELATIME = 4096;
        /// Symbolic links are not followed.
        const NOSYMFOLLOW = 8192;
    }
}

impl MountFlags {
    /// From the `MS_*` flags of `mount(2)`. Access times are relative unless flags say otherwise.
    pub fn from_mount(flags: u64) -> MountFlags {
        let mut result = MountFlags::empty();
        for (bit, flag) in [
            (libc::MS_RDONLY, MountFlags::READONLY),
            (libc::MS_NOSUID, MountFlags::NOSUID),
            (libc::MS_NODEV, MountFlags::NODEV),
            (libc::MS_NOEXEC, MountFlags::NOEXEC),
            (libc::MS_SYNCHRONOUS, MountFlags::SYNCHRONOUS),
            (libc::MS_NOATIME, MountFlags::NOATIME),
            (libc::MS_NODIRATIME, MountFlags::NODIRATIME),
            (MS_NOSYMFOLLOW, MountFlags::NOSYMFOLLOW),
        ] {
            result.set(flag, flags & bit != 0);
        }
        result.set(MountFlags::RELATIME, flags & (libc::MS_NOATIME | libc::MS_STRICTATIME) == 0);
        result
    }
}

/// As the kernel knows it (5.10); the C library's headers do not.
const MS_NOSYMFOLLOW: u64 = 256;

/// A file system, or a part of one, at a place in a tree.
pub struct Mount {
    /// Unique number.
    pub id: u64,
    /// What is seen at the place.
    pub root: Arc<Dentry>,
    flags: AtomicU32,
    place: RwLock<Option<MountPlace>>,
    children: RwLock<HashMap<usize, Arc<Mount>>>,
    namespace: RwLock<Weak<MountNamespace>>,
    peers: Mutex<Peers>,
    /// 0, or one more than how often it was entered since it was marked as expiring.
    visits: AtomicU32,
}

#[derive(Clone)]
struct MountPlace {
    parent: Weak<Mount>,
    point: Arc<Dentry>,
}

impl std::fmt::Debug for Mount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mount({} {:?})", self.id, self.root.sb)
    }
}

fn key(dentry: &Arc<Dentry>) -> usize {
    Arc::as_ptr(dentry) as usize
}

impl Mount {
    /// A mount of `root` that stands nowhere yet.
    pub fn new(root: Arc<Dentry>, flags: MountFlags) -> Arc<Mount> {
        static NEXT: AtomicU64 = AtomicU64::new(20);
        root.sb.mounted();
        Arc::new(Mount {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            root,
            flags: AtomicU32::new(flags.bits()),
            place: RwLock::new(None),
            children: RwLock::default(),
            namespace: RwLock::default(),
            peers: Mutex::default(),
            visits: AtomicU32::new(0),
        })
    }

    /// Its options.
    pub fn flags(&self) -> MountFlags {
        MountFlags::from_bits_truncate(self.flags.load(Ordering::Relaxed))
    }

    /// Whether an option is set.
    pub fn has(&self, flag: MountFlags) -> bool {
        self.flags().intersects(flag)
    }

    /// Its root, not what may be mounted on top of it.
    pub fn root_path(self: &Arc<Self>) -> PathRef {
        PathRef { mount: self.clone(), dentry: self.root.clone() }
    }

    /// Where it stands; `None` if nowhere or at the root of a namespace.
    pub fn mountpoint(&self) -> Option<PathRef> {
        let place = self.place.read().clone()?;
        Some(PathRef { mount: place.parent.upgrade()?, dentry: place.point })
    }

    /// What stands on `dentry`.
    pub fn mounted_on(&self, dentry: &Arc<Dentry>) -> Option<Arc<Mount>> {
        self.children.read().get(&key(dentry)).cloned()
    }

    /// Someone goes into it.
    pub(super) fn visited(&self) {
        if self.visits.load(Ordering::Relaxed) != 0 {
            self.visits.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Marks it as expiring (`MNT_EXPIRE`). Whether it was marked already, and nobody but the caller has gone into it
    /// since.
    pub fn expire(&self) -> bool {
        /// The mark, and the caller's way.
        const OWN: u32 = 2;
        (1..=OWN).contains(&self.visits.swap(1, Ordering::Relaxed))
    }

    /// The namespace it is in.
    pub fn namespace(&self) -> Option<Arc<MountNamespace>> {
        self.namespace.read().upgrade()
    }

    /// Whether it is the root of a namespace's tree.
    pub fn is_namespace_root(&self) -> bool {
        self.namespace().is_some_and(|ns| std::ptr::eq(Arc::as_ptr(&ns.root()), self))
    }

    /// What stands directly on it.
    pub fn children(&self) -> Vec<Arc<Mount>> {
        let mut children: Vec<_> = self.children.read().values().cloned().collect();
        children.sort_by_key(|mount| mount.id);
        children
    }

    /// Itself and everything that stands on it, parents first.
    pub fn subtree(self: &Arc<Self>) -> Vec<Arc<Mount>> {
        let mut all = vec![self.clone()];
        let mut at = 0;
        while let Some(mount) = all.get(at).cloned() {
            all.extend(mount.children());
            at += 1;
        }
        all
    }

    fn put(self: &Arc<Self>, child: &Arc<Mount>, point: &Arc<Dentry>) {
        point.mounts.fetch_add(1, Ordering::AcqRel);
        *child.place.write() = Some(MountPlace { parent: Arc::downgrade(self), point: point.clone() });
        *child.namespace.write() = self.namespace.read().clone();
        self.children.write().insert(key(point), child.clone());
    }

    fn take_away(&self) {
        let Some(place) = self.place.write().take() else { return };
        place.point.mounts.fetch_sub(1, Ordering::AcqRel);
        if let Some(parent) = place.parent.upgrade() {
            let mut children = parent.children.write();
            if children.get(&key(&place.point)).is_some_and(|m| std::ptr::eq(Arc::as_ptr(m), self)) {
                children.remove(&key(&place.point));
            }
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Some(place) = self.place.get_mut().take() {
            place.point.mounts.fetch_sub(1, Ordering::AcqRel);
        }
        propagation::forget(self);
        self.root.sb.unmounted();
    }
}
