//! Scheduling: the host's scheduler runs guest threads, so affinity and nice values are passed on to it.

use crate::abi::{SCHED_ATTR_SIZE_VER0, SchedAttr, read_extensible};
use crate::errno::{Errno, SysResult};
use crate::kernel::traits::Traits;
use crate::kernel::{Cap, Task, machine};
use crate::loader::PAGE;
use crate::mm::Addr;
use rustix::process::Pid;
use rustix::thread::CpuSet;
use std::sync::Arc;
use zerocopy::IntoBytes;

/// Policy of programs that schedule; none runs here.
const SCHED_EXT: i32 = 7;

/// Largest mask that is looked at, in bytes.
const MASK_MAX: usize = 1024;

pub(super) fn target(t: &Task, pid: i32) -> SysResult<Arc<Task>> {
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

pub(super) fn host(task: &Task) -> SysResult<Pid> {
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
pub(super) fn targets(t: &Task, which: i32, who: i32) -> SysResult<Vec<Arc<Task>>> {
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
        set_nice(&task, nice)?;
    }
    Ok(())
}

/// What a scheduling call asks for.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    /// `None` keeps what there is.
    policy: Option<i32>,
    priority: u32,
    reset_on_fork: bool,
    nice: Option<i32>,
}

/// `__sched_setscheduler`: real-time policies are refused to all, for they would take the host's cores from others.
fn set_policy(t: &Task, task: &Task, wanted: Wanted) -> SysResult<()> {
    let old = *task.traits.lock();
    let policy = wanted.policy.unwrap_or(old.policy);
    let is_real_time = matches!(policy, libc::SCHED_FIFO | libc::SCHED_RR);
    let is_fair = matches!(policy, libc::SCHED_OTHER | libc::SCHED_BATCH | libc::SCHED_IDLE);
    if !(is_real_time || is_fair || policy == libc::SCHED_DEADLINE) || wanted.priority > PRIORITY_MAX {
        return Err(Errno::INVAL);
    }
    if is_real_time != (wanted.priority != 0) {
        return Err(Errno::INVAL);
    }
    if !is_fair {
        return Err(Errno::PERM);
    }
    let now = nice_of(task)?;
    let may_lower = |nice: i32| nice >= 20 - task.rlimit(libc::RLIMIT_NICE).min(40) as i32;
    let needs_right = wanted.nice.is_some_and(|nice| nice < now && !may_lower(nice))
        || old.policy == libc::SCHED_IDLE && policy != libc::SCHED_IDLE && !may_lower(now)
        || old.reset_on_fork && !wanted.reset_on_fork;
    may_change(t, task)?;
    if needs_right && !t.creds().has(Cap::SysNice) {
        return Err(Errno::PERM);
    }
    if let Some(nice) = wanted.nice {
        set_nice(task, nice)?;
    }
    let mut traits = task.traits.lock();
    traits.policy = policy;
    traits.reset_on_fork = wanted.reset_on_fork;
    Ok(())
}

/// Highest real-time priority.
const PRIORITY_MAX: u32 = 99;

fn nice_of(task: &Task) -> SysResult<i32> {
    Ok(rustix::process::getpriority_process(Some(host(task)?))?)
}

/// A lower value than the sentry itself may set stays what it is: nobody outside may be pushed aside.
pub(crate) fn set_nice(task: &Task, nice: i32) -> SysResult<()> {
    match rustix::process::setpriority_process(Some(host(task)?), nice) {
        Err(rustix::io::Errno::ACCESS | rustix::io::Errno::PERM) => Ok(()),
        other => Ok(other?),
    }
}

/// `sched_getscheduler(2)`.
pub async fn sched_getscheduler(t: &Task, pid: i32) -> SysResult<i32> {
    exists(t, pid)?;
    let traits = target(t, pid).map_or_else(|_| Traits::default(), |task| *task.traits.lock());
    Ok(traits.policy | if traits.reset_on_fork { libc::SCHED_RESET_ON_FORK } else { 0 })
}

/// `sched_setscheduler(2)`.
///
/// # Differences from Linux
/// Policies are kept and told, but the host schedules all alike.
pub async fn sched_setscheduler(t: &Task, pid: i32, policy: i32, param: Addr) -> SysResult<()> {
    if policy < 0 || pid < 0 || param.is_null() {
        return Err(Errno::INVAL);
    }
    let priority: i32 = t.mem().read(param)?;
    let task = target(t, pid)?;
    let reset_on_fork = policy & libc::SCHED_RESET_ON_FORK != 0;
    let policy = Some(policy & !libc::SCHED_RESET_ON_FORK);
    set_policy(t, &task, Wanted { policy, priority: priority.cast_unsigned(), reset_on_fork, nice: None })
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
    let task = target(t, pid)?;
    let reset_on_fork = task.traits.lock().reset_on_fork;
    set_policy(t, &task, Wanted { policy: None, priority: priority.cast_unsigned(), reset_on_fork, nice: None })
}

/// `sched_setattr(2)`.
pub async fn sched_setattr(t: &Task, pid: i32, addr: Addr, flags: u32) -> SysResult<()> {
    if addr.is_null() || pid < 0 || flags != 0 {
        return Err(Errno::INVAL);
    }
    let attr = read_attr(t, addr)?;
    let keep = attr.flags & SCHED_FLAG_KEEP_POLICY != 0;
    if attr.policy.cast_signed() < 0 {
        return Err(Errno::INVAL);
    }
    let task = target(t, pid)?;
    if attr.flags & !SCHED_FLAG_ALL != 0 {
        return Err(Errno::INVAL);
    }
    if attr.flags & SCHED_FLAG_UTIL_CLAMP != 0 {
        return Err(Errno::OPNOTSUPP);
    }
    let keep_params = attr.flags & SCHED_FLAG_KEEP_PARAMS != 0;
    let wanted = Wanted {
        policy: (!keep).then_some(attr.policy.cast_signed()),
        priority: if keep_params { 0 } else { attr.priority },
        reset_on_fork: attr.flags & SCHED_FLAG_RESET_ON_FORK != 0,
        nice: (!keep_params).then_some(attr.nice.clamp(-20, 19)),
    };
    set_policy(t, &task, wanted)
}

const SCHED_FLAG_RESET_ON_FORK: u64 = 1;
const SCHED_FLAG_KEEP_POLICY: u64 = 8;
const SCHED_FLAG_KEEP_PARAMS: u64 = 0x10;
const SCHED_FLAG_UTIL_CLAMP: u64 = 0x60;
const SCHED_FLAG_ALL: u64 = 0x7f;

/// `sched_copy_attr`: a structure of another size is taken if what is beyond ours is zero.
fn read_attr(t: &Task, addr: Addr) -> SysResult<SchedAttr> {
    let given: u32 = t.mem().read(addr)?;
    let size = if given == 0 { SCHED_ATTR_SIZE_VER0 } else { given as usize };
    match read_extensible(t, addr, size, 0) {
        Ok(attr) if size >= SCHED_ATTR_SIZE_VER0 => Ok(attr),
        Ok(_) | Err(Errno::TOOBIG) => t.mem().write(addr, &(size_of::<SchedAttr>() as u32)).and(Err(Errno::TOOBIG)),
        Err(e) => Err(e),
    }
}

/// `sched_getattr(2)`.
pub async fn sched_getattr(t: &Task, pid: i32, addr: Addr, size: u32, flags: u32) -> SysResult<()> {
    let size = size as usize;
    if addr.is_null() || pid < 0 || !(SCHED_ATTR_SIZE_VER0..=PAGE as usize).contains(&size) || flags != 0 {
        return Err(Errno::INVAL);
    }
    let task = target(t, pid)?;
    let traits = *task.traits.lock();
    let size = size.min(size_of::<SchedAttr>());
    let attr = SchedAttr {
        size: size as u32,
        policy: traits.policy.cast_unsigned(),
        flags: if traits.reset_on_fork { SCHED_FLAG_RESET_ON_FORK } else { 0 },
        nice: nice_of(&task)?,
        ..SchedAttr::default()
    };
    t.mem().write_bytes(addr, attr.as_bytes().get(..size).unwrap_or_default())
}

/// `sched_get_priority_max(2)`.
pub async fn sched_get_priority_max(_t: &Task, policy: i32) -> SysResult<i32> {
    match policy {
        libc::SCHED_FIFO | libc::SCHED_RR => Ok(99),
        libc::SCHED_OTHER | libc::SCHED_BATCH | libc::SCHED_IDLE | libc::SCHED_DEADLINE | SCHED_EXT => Ok(0),
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
