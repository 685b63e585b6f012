//! Ids of processes, process groups and sessions.

use crate::errno::{Errno, SysResult};
use crate::kernel::Task;
use crate::mm::Addr;
use platform::Fact;
use std::sync::atomic::Ordering;

/// `getpid(2)`.
pub async fn getpid(t: &Task) -> SysResult<i32> {
    Ok(t.group.tgid)
}

/// `gettid(2)`.
pub async fn gettid(t: &Task) -> SysResult<i32> {
    Ok(t.tid())
}

/// `getppid(2)`.
pub async fn getppid(t: &Task) -> SysResult<i32> {
    Ok(t.kernel.tree.lock().node(t.group.tgid).map_or(0, |n| n.parent))
}

/// `set_tid_address(2)`.
pub async fn set_tid_address(t: &Task, addr: Addr) -> SysResult<i32> {
    t.clear_child_tid.store(addr.0, Ordering::Relaxed);
    Ok(t.tid())
}

/// `getpgrp(2)`.
pub async fn getpgrp(t: &Task) -> SysResult<i32> {
    getpgid(t, 0).await
}

/// `getpgid(2)`.
pub async fn getpgid(t: &Task, pid: i32) -> SysResult<i32> {
    let tgid = resolve(t, pid)?;
    t.kernel.tree.lock().node(tgid).map(|n| n.pgid).ok_or(Errno::SRCH)
}

/// `getsid(2)`.
pub async fn getsid(t: &Task, pid: i32) -> SysResult<i32> {
    let tgid = resolve(t, pid)?;
    t.kernel.tree.lock().node(tgid).map(|n| n.sid).ok_or(Errno::SRCH)
}

/// The process that a pid argument means: 0 is the caller's, a thread's id is its process's.
fn resolve(t: &Task, pid: i32) -> SysResult<i32> {
    if pid == 0 {
        return Ok(t.group.tgid);
    }
    let tree = t.kernel.tree.lock();
    let known = tree.node(pid).map(|_| pid).or_else(|| tree.task(pid).map(|t| t.group.tgid));
    known.ok_or(Errno::SRCH)
}

/// `setpgid(2)`.
pub async fn setpgid(t: &Task, pid: i32, pgid: i32) -> SysResult<()> {
    let me = t.group.tgid;
    let pid = if pid == 0 { me } else { pid };
    let pgid = if pgid == 0 { pid } else { pgid };
    if pgid < 0 {
        return Err(Errno::INVAL);
    }
    let mut tree = t.kernel.tree.lock();
    let my_sid = tree.node(me).map(|n| n.sid);
    let node = tree.node(pid).ok_or(Errno::SRCH)?;
    if node.parent == me && pid != me {
        if Some(node.sid) != my_sid {
            return Err(Errno::PERM);
        }
        if node.group.state.lock().did_exec {
            return Err(Errno::ACCES);
        }
    } else if pid != me {
        return Err(Errno::SRCH);
    }
    let sid = node.sid;
    if sid == pid || pgid != pid && !tree.has_pgrp(pgid, sid) {
        return Err(Errno::PERM);
    }
    let Some(node) = tree.node_mut(pid) else { return Err(Errno::SRCH) };
    node.pgid = pgid;
    let group = node.group.clone();
    drop(tree);
    group.process().forget(Fact::Group);
    Ok(())
}

/// `setsid(2)`.
pub async fn setsid(t: &Task) -> SysResult<i32> {
    let me = t.group.tgid;
    let mut tree = t.kernel.tree.lock();
    if tree.nodes().any(|(_, n)| n.pgid == me) {
        return Err(Errno::PERM);
    }
    let node = tree.node_mut(me).ok_or(Errno::SRCH)?;
    (node.pgid, node.sid) = (me, me);
    drop(tree);
    t.group.process().forget(Fact::Group);
    Ok(me)
}
