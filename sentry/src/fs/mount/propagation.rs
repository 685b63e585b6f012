//! Propagation of mounts between peers (`mount_namespaces(7)`, "shared subtrees").

use super::Mount;
use super::tree::{self, Copied};
use crate::fs::path::PathRef;
use crate::sync::Mutex;
use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// What happens to events below a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// They go to and come from its peers.
    Shared,
    /// They come from its master.
    Slave,
    /// Neither.
    Private,
    /// Neither, and it cannot be bind mounted.
    Unbindable,
}

impl Propagation {
    /// From the `MS_*` flags of `mount(2)`; `None` unless they name exactly one.
    pub fn from_mount(flags: u64) -> Option<Propagation> {
        match flags & (libc::MS_SHARED | libc::MS_SLAVE | libc::MS_PRIVATE | libc::MS_UNBINDABLE) {
            libc::MS_SHARED => Some(Propagation::Shared),
            libc::MS_SLAVE => Some(Propagation::Slave),
            libc::MS_PRIVATE => Some(Propagation::Private),
            libc::MS_UNBINDABLE => Some(Propagation::Unbindable),
            _ => None,
        }
    }
}

/// The groups a mount belongs to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Peers {
    /// Its peer group, if shared.
    pub(super) group: Option<u64>,
    /// The peer group it receives from, if a slave.
    pub(super) master: Option<u64>,
    unbindable: bool,
}

type Groups = BTreeMap<u64, Vec<Weak<Mount>>>;

/// Members and slaves of each group. Only ever locked briefly, under the lock of the trees.
static MEMBERS: Mutex<Groups> = Mutex::new(BTreeMap::new());
static SLAVES: Mutex<Groups> = Mutex::new(BTreeMap::new());

fn enter(groups: &Mutex<Groups>, group: u64, mount: &Arc<Mount>) {
    groups.lock().entry(group).or_default().push(Arc::downgrade(mount));
}

fn exit(groups: &Mutex<Groups>, group: u64, mount: *const Mount) {
    let mut groups = groups.lock();
    if let Some(list) = groups.get_mut(&group) {
        list.retain(|m| m.strong_count() > 0 && m.as_ptr() != mount);
        if list.is_empty() {
            groups.remove(&group);
        }
    }
}

fn list(groups: &Mutex<Groups>, group: u64) -> Vec<Arc<Mount>> {
    groups.lock().get(&group).map(|list| list.iter().filter_map(Weak::upgrade).collect()).unwrap_or_default()
}

pub(super) fn is_shared(mount: &Arc<Mount>) -> bool {
    mount.peers.lock().group.is_some()
}

pub(super) fn is_unbindable(mount: &Arc<Mount>) -> bool {
    mount.peers.lock().unbindable
}

/// Gives `mount` a peer group if it has none.
pub(super) fn make_shared(mount: &Arc<Mount>) {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let group = {
        let mut peers = mount.peers.lock();
        peers.unbindable = false;
        if peers.group.is_some() {
            return;
        }
        let group = NEXT.fetch_add(1, Ordering::Relaxed);
        peers.group = Some(group);
        group
    };
    enter(&MEMBERS, group, mount);
}

/// Makes `copy` a peer of `mount`, or a slave of the same master.
pub(super) fn join(mount: &Arc<Mount>, copy: &Arc<Mount>) {
    let peers = *mount.peers.lock();
    *copy.peers.lock() = Peers { unbindable: false, ..peers };
    if let Some(group) = peers.group {
        enter(&MEMBERS, group, copy);
    }
    if let Some(master) = peers.master {
        enter(&SLAVES, master, copy);
    }
}

/// Takes a mount out of its groups. Slaves of a group that ends so follow its own master, if any.
pub(super) fn leave(mount: &Arc<Mount>) {
    let peers = std::mem::take(&mut *mount.peers.lock());
    leave_groups(Arc::as_ptr(mount), peers);
}

/// As [`leave`], for a mount that is being dropped.
pub(super) fn forget(mount: &mut Mount) {
    let peers = std::mem::take(mount.peers.get_mut());
    if peers != Peers::default() {
        leave_groups(mount, peers);
    }
}

fn leave_groups(mount: *const Mount, peers: Peers) {
    if let Some(master) = peers.master {
        exit(&SLAVES, master, mount);
    }
    let Some(group) = peers.group else { return };
    exit(&MEMBERS, group, mount);
    if !list(&MEMBERS, group).is_empty() {
        return;
    }
    let orphans = SLAVES.lock().remove(&group).unwrap_or_default();
    for orphan in orphans.iter().filter_map(Weak::upgrade) {
        orphan.peers.lock().master = peers.master;
        if let Some(master) = peers.master {
            enter(&SLAVES, master, &orphan);
        }
    }
}

/// Changes the type of a mount.
pub(super) fn change(mount: &Arc<Mount>, to: Propagation) {
    match to {
        Propagation::Shared => make_shared(mount),
        Propagation::Private => leave(mount),
        Propagation::Unbindable => {
            leave(mount);
            mount.peers.lock().unbindable = true;
        }
        Propagation::Slave => make_slave(mount),
    }
}

fn make_slave(mount: &Arc<Mount>) {
    let peers = *mount.peers.lock();
    let Some(group) = peers.group else { return };
    let has_others = list(&MEMBERS, group).iter().any(|peer| !Arc::ptr_eq(peer, mount));
    leave(mount);
    let master = if has_others { Some(group) } else { peers.master };
    *mount.peers.lock() = Peers { group: None, master, unbindable: false };
    if let Some(master) = master {
        enter(&SLAVES, master, mount);
    }
}

/// Every mount that receives events from `mount`: its peers, their slaves, those slaves' peers, and so on.
fn receivers(mount: &Arc<Mount>) -> Vec<Arc<Mount>> {
    let mut seen = HashSet::from([mount.id]);
    let mut found = Vec::new();
    let mut groups: Vec<u64> = mount.peers.lock().group.into_iter().collect();
    let mut visited: HashSet<u64> = groups.iter().copied().collect();
    while let Some(group) = groups.pop() {
        for receiver in list(&MEMBERS, group).into_iter().chain(list(&SLAVES, group)) {
            if let Some(next) = receiver.peers.lock().group
                && visited.insert(next)
            {
                groups.push(next);
            }
            if seen.insert(receiver.id) {
                found.push(receiver);
            }
        }
    }
    found
}

/// The copies of `mount` that its arrival at `place` makes elsewhere, with their places.
pub(super) fn copies_for(place: &PathRef, mount: &Arc<Mount>) -> Vec<(PathRef, Arc<Mount>)> {
    let targets = receivers(&place.mount);
    if targets.is_empty() {
        return Vec::new();
    }
    for mount in mount.subtree() {
        make_shared(&mount);
    }
    let source_group = place.mount.peers.lock().group;
    let mut copies = Vec::new();
    for target in targets.into_iter().filter(|target| place.dentry.is_below(&target.root)) {
        let map = tree::copy_subtree(mount, Copied::Bindable);
        let Some(top) = map.get(&mount.id).cloned() else { continue };
        let target_group = target.peers.lock().group;
        if target_group != source_group {
            for copy in top.subtree() {
                make_slave(&copy);
                if target_group.is_some() {
                    make_shared(&copy);
                }
            }
        }
        copies.push((PathRef { mount: target, dentry: place.dentry.clone() }.topmost(), top));
    }
    copies
}

/// The mounts elsewhere that go when what is at `place` goes.
pub(super) fn mounted_copies(place: &PathRef) -> Vec<Arc<Mount>> {
    receivers(&place.mount).into_iter().filter_map(|receiver| receiver.mounted_on(&place.dentry)).collect()
}
