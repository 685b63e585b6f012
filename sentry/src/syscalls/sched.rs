//! Scheduling: the host's scheduler runs guest threads, so affinity and nice values are passed on to it.

use crate::errno::{Errno, SysResult};
use crate::kernel::{Cap, Task, machine};
use crate::mm::Addr;
use rustix::process::Pid;
use rustix::thread::CpuSet;
use std::sync::Arc;

/// Largest mask that is looked at, in bytes.
const MASK_MAX: usize = 1024;

fn target(t: &Task, pid: i32) -> SysResult<Arc<Task>> {
    match pid {
        0 => t.arc().ok_or(Errno::SRCH),
        pid if pid < 0 => Err(Errno::INVAL),
        pid => t.kernel.task(pid).ok_or(Errno::SRCH),
    }
}

/// Whether there is such a thread or process; one without threads of its own (process 1, a zombie) counts.
fn exists(t: &Task, pid: i32) -> SysResult<()> {
    match target(t, pid) {
        Err(Errno::SRCH) if t.kernel.group(pid).is_some() => Ok(()),
        found => found.map(drop),
    }
}

fn host(task: &Task) -> SysResult<Pid> {
    Pid::from_raw(task.thread().host_tid()).ok_or(Errno::SRCH)
}

fn may_change(t: &Task, task: &Task) -> SysResult<()> {
    let (me, it) = (t.creds(), task.creds());
    if [it.uid, it.euid].contains(&me.euid) || me.has(Cap::SysNice) { Ok(()) } else { Err(Errno::PERM) }
}

/// `sched_getaffinity(2)`.
pub async fn sched_getaffinity(t: &Task, pid: i32, len: usize, mask: Addr) -> SysResult<usize> {
    let task = target(t, pid).map_err(|_| Errno::SRCH)?;
    let cpus = std::thread::available_parallelism().map_or(1, |n| n.get()).max(1);
    if !len.is_multiple_of(8) || len.saturating_mul(8) < cpus {
        return Err(Errno::INVAL);
    }
    let set = rustix::thread::sched_getaffinity(Some(host(&task)?))?;
    // Linux writes as much as its own mask has: whole words.
    let words = len.min(8 * cpus.div_ceil(64).max(1));
    // No more of them than a quota is worth.
    let most = machine::processors() as usize;
    let shown: Vec<usize> =
        (0..words * 8).filter(|cpu| *cpu < CpuSet::MAX_CPU && set.is_set(*cpu)).take(most).collect();
    let mut bytes = vec![0u8; words];
    for cpu in shown {
        if let Some(byte) = bytes.get_mut(cpu / 8) {
            *byte |= 1 << (cpu % 8);
        }
    }
    t.mem().write_bytes(mask, &bytes)?;
    Ok(bytes.len())
}

/// `sched_setaffinity(2)`.
pub async fn sched_setaffinity(t: &Task, pid: i32, len: usize, mask: Addr) -> SysResult<()> {
    let mut bytes = vec![0u8; len.min(MASK_MAX)];
    t.mem().read_bytes(mask, &mut bytes)?;
    let task = target(t, pid).map_err(|_| Errno::SRCH)?;
    may_change(t, &task)?;
    let mut set = CpuSet::new();
    for (n, byte) in bytes.iter().enumerate() {
        for bit in (0..8).filter(|bit| byte & 1 << bit != 0) {
            if n * 8 + bit < CpuSet::MAX_CPU {
                set.set(n * 8 + bit);
            }
        }
    }
    Ok(rustix::thread::sched_setaffinity(Some(host(&task)?), &set)?)
}

/// The threads that `getpriority` and `setpriority` mean.
fn targets(t: &Task, which: i32, who: i32) -> SysResult<Vec<Arc<Task>>> {
    let mut found: Vec<Arc<Task>> = match which as u32 {
        libc::PRIO_PROCESS => target(t, who).into_iter().collect(),
        libc::PRIO_PGRP => {
            let tree = t.kernel.tree.lock();
            let pgid = if who == 0 { tree.node(t.group.tgid).map_or(0, |n| n.pgid) } else { who };
            tree.pgrp(pgid).iter().flat_map(|g| g.tasks()).collect()
        }
        libc::PRIO_USER => {
            let uid = if who == 0 { t.creds().uid } else { who as u32 };
            let groups: Vec<_> = t.kernel.tree.lock().nodes().map(|(_, n)| n.group.clone()).collect();
            groups.iter().flat_map(|g| g.tasks()).filter(|x| x.creds().uid == uid).collect()
        }
        _ => return Err(Errno::INVAL),
    };
    found.retain(|task| !task.thread().process().is_gone());
    if found.is_empty() { Err(Errno::SRCH) } else { Ok(found) }
}

/// `getpriority(2)`; the kernel's answer is 20 minus the nice value.
pub async fn getpriority(t: &Task, which: i32, who: i32) -> SysResult<i32> {
    let all = targets(t, which, who)?;
    let nices = all.iter().filter_map(|x| rustix::process::getpriority_process(Some(host(x).ok()?)).ok());
    nices.min().map(|nice| 20 - nice).ok_or(Errno::SRCH)
}

/// `setpriority(2)`.
pub async fn setpriority(t: &Task, which: i32, who: i32, nice: i32) -> SysResult<()> {
    let nice = nice.clamp(-20, 19);
    for task in targets(t, which, who)? {
        may_change(t, &task)?;
        let now = rustix::process::getpriority_process(Some(host(&task)?))?;
        let floor = 20 - t.rlimit(libc::RLIMIT_NICE).min(40) as i32;
        if nice < now && nice < floor && !t.creds().has(Cap::SysNice) {
            return Err(Errno::ACCES);
        }
        // A lower value than the sentry itself may set stays what it is: nobody outside may be pushed aside.
        match rustix::process::setpriority_process(Some(host(&task)?), nice) {
            Err(rustix::io::Errno::ACCESS | rustix::io::Errno::PERM) => {}
            other => other?,
        }
    }
    Ok(())
}

/// `sched_getscheduler(2)`: everything runs as `SCHED_OTHER`.
pub async fn sched_getscheduler(t: &Task, pid: i32) -> SysResult<i32> {
    exists(t, pid)?;
    Ok(libc::SCHED_OTHER)
}

/// `sched_setscheduler(2)`: real-time policies would take the host's cores from others.
pub async fn sched_setscheduler(t: &Task, pid: i32, policy: i32, param: Addr) -> SysResult<()> {
    if pid < 0 || param.is_null() {
        return Err(Errno::INVAL);
    }
    let priority: i32 = t.mem().read(param)?;
    let task = target(t, pid)?;
    may_change(t, &task)?;
    match policy & !libc::SCHED_RESET_ON_FORK {
        libc::SCHED_OTHER | libc::SCHED_BATCH | libc::SCHED_IDLE if priority == 0 => Ok(()),
        libc::SCHED_FIFO | libc::SCHED_RR if (1..=99).contains(&priority) => Err(Errno::PERM),
        _ => Err(Errno::INVAL),
    }
}

/// `sched_getparam(2)`.
pub async fn sched_getparam(t: &Task, pid: i32, param: Addr) -> SysResult<()> {
    if param.is_null() {
        return Err(Errno::INVAL);
    }
    exists(t, pid)?;
    t.mem().write(param, &0i32)
}

/// `sched_setparam(2)`.
pub async fn sched_setparam(t: &Task, pid: i32, param: Addr) -> SysResult<()> {
    if pid < 0 || param.is_null() {
        return Err(Errno::INVAL);
    }
    let priority: i32 = t.mem().read(param)?;
    target(t, pid)?;
    if priority == 0 { Ok(()) } else { Err(Errno::INVAL) }
}

/// `sched_get_priority_max(2)`.
pub async fn sched_get_priority_max(_t: &Task, policy: i32) -> SysResult<i32> {
    match policy {
        libc::SCHED_FIFO | libc::SCHED_RR => Ok(99),
        libc::SCHED_OTHER | libc::SCHED_BATCH | libc::SCHED_IDLE | libc::SCHED_DEADLINE => Ok(0),
        _ => Err(Errno::INVAL),
    }
}

/// `sched_get_priority_min(2)`.
pub async fn sched_get_priority_min(t: &Task, policy: i32) -> SysResult<i32> {
    sched_get_priority_max(t, policy).await.map(|max| i32::from(max > 0))
}

/// `sched_rr_get_interval(2)`.
pub async fn sched_rr_get_interval(t: &Task, pid: i32, tp: Addr) -> SysResult<()> {
    exists(t, pid)?;
    t.mem().write(tp, &crate::abi::Timespec { sec: 0, nsec: 4_000_000 })
}
