//! What `/proc/PID/mountinfo` and `/proc/PID/mounts` say of a mount.

use super::{Mount, MountFlags};
use crate::fs::path::PathRef;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// One line of `/proc/PID/mountinfo`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountInfo {
    /// Unique number.
    pub id: u64,
    /// That of the mount it stands on.
    pub parent: u64,
    /// `st_dev`.
    pub dev: u64,
    /// What part of the file system is mounted.
    pub root: Vec<u8>,
    /// Where, as seen from the process's root.
    pub point: Vec<u8>,
    /// Options of the mount.
    pub options: String,
    /// `shared:N`, `master:N`, separated by blanks.
    pub propagation: String,
    /// File system type.
    pub fstype: String,
    /// Source.
    pub source: String,
    /// Options of the file system.
    pub super_options: String,
}

impl MountInfo {
    /// Of `mount` as seen from `root`; `None` if it cannot be reached from there.
    pub(super) fn of(mount: &Arc<Mount>, root: &PathRef) -> Option<MountInfo> {
        let (point, reached) = mount.root_path().text(root);
        if !reached {
            return None;
        }
        let sb = &mount.root.sb;
        let peers = *mount.peers.lock();
        let unbindable = super::propagation::is_unbindable(mount).then(|| "unbindable".to_owned());
        let groups =
            [peers.group.map(|g| format!("shared:{g}")), peers.master.map(|g| format!("master:{g}")), unbindable];
        Some(MountInfo {
            id: mount.id,
            parent: mount.mountpoint().map_or(mount.id, |place| place.mount.id),
            dev: sb.dev,
            root: root_in_fs(mount),
            point,
            options: options(mount.flags()),
            propagation: groups.into_iter().flatten().collect::<Vec<_>>().join(" "),
            fstype: sb.fs.fstype().to_owned(),
            source: sb.source.clone(),
            super_options: super_options(mount),
        })
    }
}

fn root_in_fs(mount: &Arc<Mount>) -> Vec<u8> {
    let mut names = Vec::new();
    let mut at = mount.root.clone();
    while let Some((parent, name)) = at.place() {
        names.push(name);
        at = parent;
    }
    let mut text: Vec<u8> = names.iter().rev().flat_map(|name| [b"/".as_slice(), name].concat()).collect();
    if text.is_empty() {
        text.push(b'/');
    }
    text
}

fn options(flags: MountFlags) -> String {
    let mut text = String::from(if flags.contains(MountFlags::READONLY) { "ro" } else { "rw" });
    for (flag, name) in [
        (MountFlags::NOSUID, ",nosuid"),
        (MountFlags::NODEV, ",nodev"),
        (MountFlags::NOEXEC, ",noexec"),
        (MountFlags::NOATIME, ",noatime"),
        (MountFlags::NODIRATIME, ",nodiratime"),
        (MountFlags::RELATIME, ",relatime"),
        (MountFlags::NOSYMFOLLOW, ",nosymfollow"),
    ] {
        if flags.contains(flag) {
            text.push_str(name);
        }
    }
    text
}

fn super_options(mount: &Arc<Mount>) -> String {
    let sb = &mount.root.sb;
    let mode = if sb.readonly.load(Ordering::Relaxed) { "ro" } else { "rw" };
    format!("{mode}{}", sb.fs.options())
}
