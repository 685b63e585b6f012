//! Limits and usage: `getrlimit(2)`, `getrusage(2)`, `times(2)`.

use crate::abi::Rusage;
use crate::errno::{Errno, SysResult};
use crate::fs::fd_table::NR_OPEN;
use crate::kernel::{Cap, Limit, Task, ThreadGroup};
use crate::mm::Addr;
use std::sync::Arc;

/// Limits that the host enforces, for what guests do natively.
const ON_HOST: [u32; 3] = [libc::RLIMIT_AS, libc::RLIMIT_DATA, libc::RLIMIT_MEMLOCK];

/// Clock ticks per second (`USER_HZ`), in nanoseconds.
const TICK: u64 = 10_000_000;

/// `getrlimit(2)`.
pub async fn getrlimit(t: &Task, resource: u32, limit: Addr) -> SysResult<()> {
    let l = get(&t.group, resource)?;
    t.mem().write(limit, &[l.soft, l.hard])
}

/// `setrlimit(2)`.
pub async fn setrlimit(t: &Task, resource: u32, limit: Addr) -> SysResult<()> {
    let [soft, hard] = t.mem().read(limit)?;
    set(t, &t.group, resource, Limit { soft, hard })
}

/// `prlimit64(2)`.
pub async fn prlimit64(t: &Task, pid: i32, resource: u32, new: Addr, old: Addr) -> SysResult<()> {
    let group = target(t, pid)?;
    let was = get(&group, resource)?;
    if !new.is_null() {
        let [soft, hard] = t.mem().read(new)?;
        set(t, &group, resource, Limit { soft, hard })?;
    }
    t.mem().write_opt(old, &[was.soft, was.hard])
}

fn target(t: &Task, pid: i32) -> SysResult<Arc<ThreadGroup>> {
    if pid == 0 || pid == t.group.tgid {
        return Ok(t.group.clone());
    }
    let other = t.kernel.task(pid).ok_or(Errno::SRCH)?;
    let (me, it) = (t.creds(), other.creds());
    let same = [it.uid, it.euid, it.suid].iter().all(|u| *u == me.uid)
        && [it.gid, it.egid, it.sgid].iter().all(|g| *g == me.gid);
    if same || me.has(Cap::SysResource) { Ok(other.group.clone()) } else { Err(Errno::PERM) }
}

fn get(group: &ThreadGroup, resource: u32) -> SysResult<Limit> {
    group.limits.lock().get(resource as usize).copied().ok_or(Errno::INVAL)
}

fn set(t: &Task, group: &ThreadGroup, resource: u32, new: Limit) -> SysResult<()> {
    {
        let mut limits = group.limits.lock();
        let limit = limits.get_mut(resource as usize).ok_or(Errno::INVAL)?;
        if new.soft > new.hard {
            return Err(Errno::INVAL);
        }
        if resource == libc::RLIMIT_NOFILE && new.hard > NR_OPEN
            || new.hard > limit.hard && !t.creds().has(Cap::SysResource)
        {
            return Err(Errno::PERM);
        }
        *limit = new;
    }
    if ON_HOST.contains(&resource) {
        group.process().set_rlimit(resource, new.soft, new.hard);
    }
    Ok(())
}

/// `getrusage(2)`.
pub async fn getrusage(t: &Task, who: i32, usage: Addr) -> SysResult<()> {
    let u = match who {
        libc::RUSAGE_SELF => t.group.usage(),
        libc::RUSAGE_CHILDREN => t.group.state.lock().children_usage.get(),
        libc::RUSAGE_THREAD => t.thread().usage(),
        _ => return Err(Errno::INVAL),
    };
    t.mem().write(usage, &Rusage::from(u))
}

/// `times(2)`.
pub async fn times(t: &Task, buf: Addr) -> SysResult {
    if !buf.is_null() {
        let (own, children) = (t.group.usage(), t.group.state.lock().children_usage.get());
        let ticks = [own.utime, own.stime, children.utime, children.stime].map(|ns| (ns / TICK) as i64);
        t.mem().write(buf, &ticks)?;
    }
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Ok(now.tv_sec * 100 + now.tv_nsec / TICK as i64)
}
