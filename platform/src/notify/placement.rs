//! Which core guest threads wake on, where the host's own choice costs more than the work itself.
//!
//! A wake-up on another core that sleeps takes longer than all of a program's mappings. So a process that is handed
//! its program stays on the core of who hands it, and one that dies does so elsewhere, out of the way of its parent.

use super::process::HostProcess;
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
use std::sync::{Arc, OnceLock};

/// The cores that the sandbox may use: those of the sentry, whose threads never change theirs.
fn allowed() -> Option<CpuSet> {
    static ALLOWED: OnceLock<Option<CpuSet>> = OnceLock::new();
    *ALLOWED.get_or_init(|| sched_getaffinity(None).ok())
}

/// Has a sleeping process of one thread wake on the calling thread's core until the guard is dropped.
pub(super) fn keep_here(host: &Arc<HostProcess>) -> Option<Kept> {
    let before = host.with_pid(|pid| {
        let pid = Pid::from_raw(pid);
        let before = sched_getaffinity(pid).ok()?;
        let mut here = CpuSet::new();
        here.set(sched_getcpu());
        sched_setaffinity(pid, &here).ok()?;
        Some(before)
    });
    Some(Kept { host: host.clone(), before: before?? })
}

/// See [`keep_here`].
#[derive(Debug)]
pub(super) struct Kept {
    host: Arc<HostProcess>,
    before: CpuSet,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.host.with_pid(|pid| {
            let _ = sched_setaffinity(Pid::from_raw(pid), &self.before);
        });
    }
}

/// Has a thread that is about to die wake on another core, if there is one. It must not have been reaped.
pub(super) fn die_elsewhere(tid: i32) {
    let (Some(mut others), Some(tid)) = (allowed(), Pid::from_raw(tid)) else { return };
    others.unset(sched_getcpu());
    if others.count() > 0 {
        let _ = sched_setaffinity(Some(tid), &others);
    }
}
