//! Namespaces (`namespaces(7)`) that a sandbox has more than one of: those of the machine's names, of mounts (see
//! [`MountNamespace`]), of IPC ([`IpcNamespace`]), of networks ([`Net`]) and of control groups. There is one of each
//! other kind.

use super::{Task, Uts};
use crate::fs::mount::MountNamespace;
use crate::ipc::IpcNamespace;
use crate::net::namespace::Net;
use crate::sync::RwLock;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Names of the machine, as those see them that share them (`uts_namespaces(7)`).
#[derive(Debug)]
pub struct UtsNamespace {
    /// Unique number, for `/proc/PID/ns/uts`.
    pub id: u64,
    /// The names.
    pub names: RwLock<Uts>,
}

impl UtsNamespace {
    /// The first one.
    pub fn first(names: Uts) -> Arc<UtsNamespace> {
        /// `PROC_UTS_INIT_INO`.
        const FIRST: u64 = 0xefff_fffe;
        Arc::new(UtsNamespace { id: FIRST, names: RwLock::new(names) })
    }

    /// A copy with the same names (`CLONE_NEWUTS`).
    #[must_use]
    pub fn copy(&self) -> Arc<UtsNamespace> {
        /// Apart from the numbers of mount namespaces.
        static NEXT: AtomicU64 = AtomicU64::new(0xf800_0000);
        let names = RwLock::new(self.names.read().clone());
        Arc::new(UtsNamespace { id: NEXT.fetch_add(1, Ordering::Relaxed), names })
    }
}

/// Where the tree of control groups begins for those that share it (`cgroup_namespaces(7)`). There is one group, the
/// container's own, so all begin alike.
#[derive(Debug)]
pub struct CgroupNamespace {
    /// Unique number, for `/proc/PID/ns/cgroup`.
    pub id: u64,
}

impl CgroupNamespace {
    /// The first one.
    pub fn first() -> Arc<CgroupNamespace> {
        /// `PROC_CGROUP_INIT_INO`.
        const FIRST: u64 = 0xefff_fffb;
        Arc::new(CgroupNamespace { id: FIRST })
    }

    /// Another (`CLONE_NEWCGROUP`).
    #[must_use]
    pub fn another() -> Arc<CgroupNamespace> {
        /// Apart from the numbers of other kinds.
        static NEXT: AtomicU64 = AtomicU64::new(0xfa00_0000);
        Arc::new(CgroupNamespace { id: NEXT.fetch_add(1, Ordering::Relaxed) })
    }
}

/// A kind of namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// Its name in `/proc/PID/ns`.
    pub name: &'static str,
    /// What it is called in the text of a link.
    pub shown: &'static str,
    /// The flag of `clone(2)`.
    pub flag: u64,
    /// The number of the only one; of the first one, where there may be more.
    first: u64,
}

const fn kind(name: &'static str, shown: &'static str, flag: i32, first: u64) -> Kind {
    Kind { name, shown, flag: flag as u32 as u64, first }
}

/// `CLONE_NEWTIME`, which the C library's headers lack as a number of this type.
const NEWTIME: i32 = 0x80;

/// All kinds, with the numbers that Linux gives the first of each.
pub const KINDS: [Kind; 10] = [
    kind("cgroup", "cgroup", libc::CLONE_NEWCGROUP, 0xefff_fffb),
    kind("ipc", "ipc", libc::CLONE_NEWIPC, 0xefff_ffff),
    kind("mnt", "mnt", libc::CLONE_NEWNS, 0xefff_fff8),
    kind("net", "net", libc::CLONE_NEWNET, 0xefff_fff7),
    kind("pid", "pid", libc::CLONE_NEWPID, 0xefff_fffc),
    kind("pid_for_children", "pid", libc::CLONE_NEWPID, 0xefff_fffc),
    kind("time", "time", NEWTIME, 0xefff_fffa),
    kind("time_for_children", "time", NEWTIME, 0xefff_fffa),
    kind("user", "user", libc::CLONE_NEWUSER, 0xefff_fffd),
    kind("uts", "uts", libc::CLONE_NEWUTS, 0xefff_fffe),
];

/// One namespace.
#[derive(Debug, Clone)]
pub enum Namespace {
    /// Of mounts.
    Mount(Arc<MountNamespace>),
    /// Of names.
    Uts(Arc<UtsNamespace>),
    /// Of IPC.
    Ipc(Arc<IpcNamespace>),
    /// Of control groups.
    Cgroup(Arc<CgroupNamespace>),
    /// Of networks.
    Net(Arc<Net>),
    /// The only one of its kind.
    Only(Kind),
}

impl Namespace {
    /// The one of a kind that `t` is in.
    pub fn of(t: &Task, kind: Kind) -> Namespace {
        match kind.name {
            "mnt" => Namespace::Mount(t.fs().namespace()),
            "uts" => Namespace::Uts(t.uts()),
            "ipc" => Namespace::Ipc(t.ipc()),
            "cgroup" => Namespace::Cgroup(t.cgroup()),
            "net" => Namespace::Net(t.net()),
            _ => Namespace::Only(kind),
        }
    }

    /// Its number.
    pub fn id(&self) -> u64 {
        match self {
            Namespace::Mount(namespace) => namespace.id,
            Namespace::Uts(namespace) => namespace.id,
            Namespace::Ipc(namespace) => namespace.id,
            Namespace::Cgroup(namespace) => namespace.id,
            Namespace::Net(net) => net.id,
            Namespace::Only(kind) => kind.first,
        }
    }

    /// The flag of its kind.
    pub fn flag(&self) -> u64 {
        match self {
            Namespace::Mount(_) => libc::CLONE_NEWNS as u64,
            Namespace::Uts(_) => libc::CLONE_NEWUTS as u64,
            Namespace::Ipc(_) => libc::CLONE_NEWIPC as u64,
            Namespace::Cgroup(_) => libc::CLONE_NEWCGROUP as u64,
            Namespace::Net(_) => libc::CLONE_NEWNET as u64,
            Namespace::Only(kind) => kind.flag,
        }
    }

    /// What a link to it shows.
    pub fn text(&self) -> String {
        let kind = match self {
            Namespace::Mount(_) => "mnt",
            Namespace::Uts(_) => "uts",
            Namespace::Ipc(_) => "ipc",
            Namespace::Cgroup(_) => "cgroup",
            Namespace::Net(_) => "net",
            Namespace::Only(kind) => kind.shown,
        };
        format!("{kind}:[{}]", self.id())
    }
}
