//! `unshare(2)` and `setns(2)`.

use crate::errno::{Errno, SysResult};
use crate::fs::nsfs;
use crate::fs::pidfd::PidFd;
use crate::ipc;
use crate::kernel::inspect::{Ids, may_inspect};
use crate::kernel::namespaces::{CgroupNamespace, KINDS, Namespace};
use crate::kernel::{Cap, Task};
use crate::net::namespace::Net;
use std::sync::Arc;

const FS: u64 = libc::CLONE_FS as u64;
const FILES: u64 = libc::CLONE_FILES as u64;
const NEWNS: u64 = libc::CLONE_NEWNS as u64;
const NEWUTS: u64 = libc::CLONE_NEWUTS as u64;
const NEWIPC: u64 = libc::CLONE_NEWIPC as u64;
const NEWNET: u64 = libc::CLONE_NEWNET as u64;
const NEWCGROUP: u64 = libc::CLONE_NEWCGROUP as u64;
/// Namespaces that can be unshared.
const NAMESPACES: u64 = NEWNS | NEWUTS | NEWIPC | NEWCGROUP | NEWNET;
const SYSVSEM: u64 = libc::CLONE_SYSVSEM as u64;
/// What a process with one thread does not share anyway.
const THREADS: u64 = (libc::CLONE_THREAD | libc::CLONE_SIGHAND | libc::CLONE_VM) as u64;

/// `unshare(2)`.
///
/// # Differences from Linux
/// Namespaces of users, processes and times cannot be unshared: that fails as on a kernel built without them.
pub async fn unshare(t: &Task, flags: u64) -> SysResult<()> {
    if flags & !(FS | FILES | NAMESPACES | SYSVSEM | THREADS) != 0 {
        return Err(Errno::INVAL);
    }
    if flags & THREADS != 0 && t.group.tasks().len() > 1 {
        return Err(Errno::INVAL);
    }
    if flags & NAMESPACES != 0 && !t.creds().has(Cap::SysAdmin) {
        return Err(Errno::PERM);
    }
    let new_ipc = (flags & NEWIPC != 0).then(|| t.ipc().another()).transpose()?;
    // Before anything has to be undone.
    let net = if flags & NEWNET != 0 { Some(Net::create()?) } else { None };
    if flags & NEWNS != 0 {
        t.set_fs(t.fs().fork_namespace()?);
    } else if flags & FS != 0 {
        t.set_fs(t.fs().fork());
    }
    if flags & NEWUTS != 0 {
        t.set_uts(t.uts().copy());
    }
    if flags & NEWCGROUP != 0 {
        t.set_cgroup(CgroupNamespace::another());
    }
    if let Some(net) = net {
        t.set_net(net);
    }
    if flags & FILES != 0 {
        t.unshare_files();
    }
    match new_ipc {
        Some(namespace) => ipc::enter(t, namespace),
        None if flags & SYSVSEM != 0 => ipc::leave_undo(t),
        None => {}
    }
    Ok(())
}

/// `setns(2)`: enters the namespace behind a descriptor, or those of a process.
pub async fn setns(t: &Task, fd: i32, kinds: i32) -> SysResult<()> {
    let file = t.file(fd)?;
    let kinds = u64::from(kinds.cast_unsigned());
    if let Some(namespace) = nsfs::opened(&file) {
        if kinds != 0 && kinds != namespace.flag() {
            return Err(Errno::INVAL);
        }
        check(t, namespace)?;
        enter(t, namespace.clone());
        return Ok(());
    }
    let target = file.downcast::<PidFd>().ok_or(Errno::INVAL)?;
    let all = KINDS.iter().fold(0, |all, kind| all | kind.flag);
    if kinds == 0 || kinds & !all != 0 {
        return Err(Errno::INVAL);
    }
    let target = target.group.any_task().ok_or(Errno::SRCH)?;
    may_inspect(t, &target, Ids::Real)?;
    let wanted: Vec<_> =
        KINDS.into_iter().filter(|kind| kind.flag & kinds != 0).map(|kind| Namespace::of(&target, kind)).collect();
    // All or none.
    wanted.iter().try_for_each(|namespace| check(t, namespace))?;
    wanted.into_iter().for_each(|namespace| enter(t, namespace));
    Ok(())
}

/// Whether `t` may enter a namespace.
fn check(t: &Task, namespace: &Namespace) -> SysResult<()> {
    let creds = t.creds();
    match namespace {
        // There is no other to come from.
        Namespace::Only(kind) if kind.flag == libc::CLONE_NEWUSER as u64 => return Err(Errno::INVAL),
        Namespace::Mount(_) => {
            if !creds.has(Cap::SysAdmin) || !creds.has(Cap::SysChroot) {
                return Err(Errno::PERM);
            }
            let fs = t.fs();
            let shares = |other: &Arc<Task>| other.tid() != t.tid() && Arc::ptr_eq(&other.fs(), &fs);
            if t.group.tasks().iter().any(shares) {
                return Err(Errno::INVAL);
            }
        }
        _ => {}
    }
    if creds.has(Cap::SysAdmin) { Ok(()) } else { Err(Errno::PERM) }
}

fn enter(t: &Task, namespace: Namespace) {
    match namespace {
        Namespace::Mount(namespace) => {
            let fs = t.fs().fork();
            fs.set_namespace(namespace);
            t.set_fs(fs);
        }
        Namespace::Uts(namespace) => t.set_uts(namespace),
        Namespace::Ipc(namespace) => ipc::enter(t, namespace),
        Namespace::Cgroup(namespace) => t.set_cgroup(namespace),
        Namespace::Net(net) => t.set_net(net),
        Namespace::Only(_) => {}
    }
}
