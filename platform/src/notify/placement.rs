//! Which core guest threads wake on, where the host's own choice costs more than the work itself.
//!
//! A wake-up on another core that sleeps takes longer than all of a program's mappings. So a process that is handed
//! its program stays on the core of who hands it, a new thread or process starts on its creator's (where the answer to
//! its first hypercall would bring it anyway), and a program dies elsewhere, out of the way of its parent.

use super::process::HostProcess;
use super::sys;
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
use std::sync::atomic::{AtomicI32, AtomicIsize, Ordering};
use std::sync::{Arc, OnceLock};

/// The cores that the sandbox may use: those of the sentry, whose threads never change theirs.
fn allowed() -> Option<CpuSet> {
    static ALLOWED: OnceLock<Option<CpuSet>> = OnceLock::new();
    *ALLOWED.get_or_init(|| sched_getaffinity(None).ok())
}

/// How many they are.
pub(super) fn core_count() -> usize {
    allowed().map_or(1, |cores| cores.count() as usize)
}

/// The core of the calling thread.
pub(super) fn current_cpu() -> usize {
    sched_getcpu()
}

/// Has a sleeping thread of `host`, and what it clones, wake on the calling thread's core until the guard is dropped.
pub(super) fn keep_here(host: &Arc<HostProcess>, tid: i32) -> Option<Kept> {
    keep(host, tid, |_| only(sched_getcpu()))
}

/// Keeps a thread of `host` off a core until the guard is dropped. `None` if it may run nowhere else. Until then it takes
/// no core from others like it when it wakes, but waits until they sleep: who wakes it on another core need not interrupt
/// that one, which takes as long as some calls, and what they have for one another comes together.
pub(super) fn keep_off(host: &Arc<HostProcess>, tid: i32, cpu: usize) -> Option<Kept> {
    let mut kept = keep(host, tid, |mut cores| {
        cores.unset(cpu);
        cores
    })?;
    host.with_pid(|_| sys::set_policy(tid, libc::SCHED_BATCH));
    kept.is_batch = true;
    Some(kept)
}

fn keep(host: &Arc<HostProcess>, tid: i32, place: impl FnOnce(CpuSet) -> CpuSet) -> Option<Kept> {
    if core_count() == 1 {
        return None;
    }
    let before = host.with_pid(|_| {
        let tid = Pid::from_raw(tid);
        let before = sched_getaffinity(tid).ok()?;
        let here = place(before);
        sched_setaffinity(tid, &here).ok()?;
        Some((before, here))
    });
    let (before, here) = before??;
    Some(Kept { host: host.clone(), tid, before, here, is_batch: false })
}

fn only(cpu: usize) -> CpuSet {
    let mut set = CpuSet::new();
    set.set(cpu);
    set
}

/// See [`keep_here`] and [`keep_off`].
#[derive(Debug)]
pub(super) struct Kept {
    host: Arc<HostProcess>,
    tid: i32,
    before: CpuSet,
    here: CpuSet,
    is_batch: bool,
}

impl Kept {
    /// Lets a clone go where it may.
    pub(super) fn release(&self, host: &HostProcess, tid: i32) {
        host.with_pid(|_| {
            let _ = sched_setaffinity(Pid::from_raw(tid), &self.before);
        });
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // Unless somebody has changed it meanwhile.
        let is_here = |_| sched_getaffinity(Pid::from_raw(self.tid)).is_ok_and(|now| now == self.here);
        if self.host.with_pid(is_here) == Some(true) {
            self.release(&self.host, self.tid);
        }
        if self.is_batch {
            self.host.with_pid(|_| sys::set_policy(self.tid, libc::SCHED_OTHER));
        }
    }
}

/// The thread that reaps, and where it is to wake: a core, or (its complement) the others.
static REAPER: AtomicI32 = AtomicI32::new(0);
static REAPS_ON: AtomicIsize = AtomicIsize::new(isize::MAX);

/// The calling thread reaps.
pub(super) fn i_am_the_reaper() {
    // Before its own affinity changes.
    allowed();
    REAPER.store(rustix::thread::gettid().as_raw_nonzero().get(), Ordering::Relaxed);
}

fn reap_on(place: isize, cores: &CpuSet) {
    if REAPS_ON.swap(place, Ordering::Relaxed) != place {
        let _ = sched_setaffinity(Pid::from_raw(REAPER.load(Ordering::Relaxed)), cores);
    }
}

/// A process is about to die on this core. To wake the reaper on another one would wake that core, for the host to
/// spread on it what is quicker on one.
pub(super) fn die_here() {
    let cpu = sched_getcpu();
    reap_on(cpu.cast_signed(), &only(cpu));
}

/// Has a thread that is about to die wake on another core, if there is one. It must not have been reaped.
pub(super) fn die_elsewhere(tid: i32) {
    let (Some(mut others), Some(tid)) = (allowed(), Pid::from_raw(tid)) else { return };
    let cpu = sched_getcpu();
    others.unset(cpu);
    if others.count() > 0 {
        let _ = sched_setaffinity(Some(tid), &others);
        reap_on(!cpu.cast_signed(), &others);
    }
}
