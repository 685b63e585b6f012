//! Thread groups: what Linux's users call processes.

use super::Task;
use super::signal::{Pending, SigHand};
use crate::executor::WaitQueue;
use crate::fs::open::DenyWrite;
use crate::fs::path::PathRef;
use crate::sync::{Mutex, RwLock};
use platform::{Process, Usage};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A resource limit (`getrlimit(2)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Soft limit.
    pub soft: u64,
    /// Hard limit.
    pub hard: u64,
}

/// `RLIM_INFINITY`.
pub(crate) const INFINITY: u64 = u64::MAX;

/// How many resources there are (`RLIM_NLIMITS`).
pub(crate) const RESOURCES: usize = 16;

/// What Linux gives its first process, but for the limits on descriptors and processes that a sandbox has.
pub(crate) fn default_limits() -> [Limit; RESOURCES] {
    let mut limits = [Limit { soft: INFINITY, hard: INFINITY }; RESOURCES];
    let mut set = |resource: u32, soft, hard| {
        if let Some(limit) = limits.get_mut(resource as usize) {
            *limit = Limit { soft, hard };
        }
    };
    set(libc::RLIMIT_STACK, 8 << 20, INFINITY);
    set(libc::RLIMIT_CORE, 0, INFINITY);
    set(libc::RLIMIT_NPROC, 31000, 31000);
    set(libc::RLIMIT_NOFILE, 1024, 1 << 20);
    set(libc::RLIMIT_MEMLOCK, 8 << 20, 8 << 20);
    set(libc::RLIMIT_SIGPENDING, 31000, 31000);
    set(libc::RLIMIT_MSGQUEUE, 819_200, 819_200);
    set(libc::RLIMIT_NICE, 0, 0);
    set(libc::RLIMIT_RTPRIO, 0, 0);
    limits
}

/// A change of state that a parent has not waited for yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// It stopped, by this signal.
    Stopped(i32),
    /// It continued.
    Continued,
}

/// What changes about a process.
#[derive(Debug, Default)]
pub struct GroupState {
    /// Its threads that have not exited.
    pub tasks: Vec<Arc<Task>>,
    /// Wait status, once it has begun to die.
    pub exit: Option<i32>,
    /// All threads have exited.
    pub zombie: bool,
    /// It is stopped, by this signal.
    pub stopped: Option<i32>,
    /// For `waitid(WSTOPPED)` and `waitid(WCONTINUED)`.
    pub unreported: Option<Wait>,
    /// The thread that runs `execve`; the others are to exit.
    pub execing: Option<i32>,
    /// It has run `execve` since its birth (`setpgid` of children ends then).
    pub did_exec: bool,
    /// Time and faults of children that were waited for.
    pub children_usage: UsageSum,
}

impl GroupState {
    /// Waits for its parent to ask.
    pub fn is_zombie(&self) -> bool {
        self.zombie
    }

    /// Dying or dead.
    pub fn is_exiting(&self) -> bool {
        self.exit.is_some()
    }
}

/// The usage of many host processes. The figures of each are asked for when somebody wants to know, or when many
/// have come together: by then most are dead and theirs are at hand.
#[derive(Debug, Default, Clone)]
pub struct UsageSum {
    sum: Usage,
    later: Vec<Arc<dyn Process>>,
}

impl UsageSum {
    /// Counts a process.
    pub fn add_later(&mut self, process: Arc<dyn Process>) {
        const FOLD_AT: usize = 64;
        self.later.push(process);
        if self.later.len() >= FOLD_AT {
            self.get();
        }
    }

    /// Counts all that `more` counts.
    pub fn merge(&mut self, more: UsageSum) {
        add_usage(&mut self.sum, more.sum);
        more.later.into_iter().for_each(|p| self.add_later(p));
    }

    /// The figures.
    pub fn get(&mut self) -> Usage {
        for process in std::mem::take(&mut self.later) {
            add_usage(&mut self.sum, process.usage());
        }
        self.sum
    }
}

/// Adds `more` to `sum`.
pub(crate) fn add_usage(sum: &mut Usage, more: Usage) {
    sum.utime = sum.utime.saturating_add(more.utime);
    sum.stime = sum.stime.saturating_add(more.stime);
    sum.minflt = sum.minflt.saturating_add(more.minflt);
    sum.majflt = sum.majflt.saturating_add(more.majflt);
    sum.nvcsw = sum.nvcsw.saturating_add(more.nvcsw);
    sum.nivcsw = sum.nivcsw.saturating_add(more.nivcsw);
    sum.maxrss = sum.maxrss.max(more.maxrss);
}

/// A process.
pub struct ThreadGroup {
    /// Its id.
    pub tgid: i32,
    /// A number that no other process of the sandbox has, in whichever container it is.
    pub number: u64,
    /// What changes.
    pub state: Mutex<GroupState>,
    /// Signals for the process as a whole.
    pub pending: Mutex<Pending>,
    /// Actions.
    pub(super) sighand: RwLock<Arc<SigHand>>,
    /// Limits.
    pub limits: Mutex<[Limit; RESOURCES]>,
    /// Told when a child changes state.
    pub child_wait: WaitQueue,
    /// Told when this process exits (pidfd).
    pub exit_wait: WaitQueue,
    /// Told of each signal that comes, blocked or not (`signalfd`).
    pub signal_wait: WaitQueue,
    /// Signal to the parent at exit; 0 for none.
    pub exit_signal: std::sync::atomic::AtomicI32,
    /// The host process that runs it now.
    pub(super) process: RwLock<Arc<dyn Process>>,
    /// The program it runs.
    pub exe: Mutex<Option<PathRef>>,
    /// Keeps the program's file from being written to while it runs.
    pub exe_guard: Mutex<Option<Arc<DenyWrite>>>,
    /// Where argument and environment strings lie, for `/proc/PID/cmdline` and `environ`.
    pub strings: Mutex<StringAreas>,
    /// Usage by host processes it no longer runs in.
    pub past_usage: Mutex<UsageSum>,
    /// `PR_SET_DUMPABLE`.
    pub dumpable: super::Dumpable,
    /// What its memory is to be like.
    pub memory: super::MemoryTraits,
    /// `oom_score_adj`.
    pub oom_score_adj: std::sync::atomic::AtomicI32,
    /// When it started.
    pub started: std::time::Instant,
    /// Told of its death, if it was started from outside the sandbox.
    pub on_exit: Mutex<Option<super::start::OnExit>>,
    /// What its threads have read and written.
    pub io: super::io_count::IoCount,
    /// Its process keyring.
    pub keyring: Mutex<Option<Arc<super::keys::Key>>>,
    /// Asynchronous I/O.
    pub aio: super::aio::Contexts,
    /// Has its leader counted, until somebody has waited for it.
    pub charge: Mutex<Option<super::pids::Charge>>,
    /// Interval and POSIX timers.
    pub timers: crate::kernel::timers::ProcessTimers,
}

/// Addresses of strings on the initial stack.
#[derive(Debug, Clone, Copy)]
pub struct StringAreas {
    pub arg_start: u64,
    pub arg_end: u64,
    pub env_start: u64,
    pub env_end: u64,
    pub auxv: [u64; 48],
    pub auxv_len: usize,
}

impl Default for StringAreas {
    fn default() -> StringAreas {
        StringAreas { arg_start: 0, arg_end: 0, env_start: 0, env_end: 0, auxv: [0; 48], auxv_len: 0 }
    }
}

impl std::fmt::Debug for ThreadGroup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ThreadGroup({})", self.tgid)
    }
}

impl ThreadGroup {
    /// A process without threads.
    pub fn new(
        tgid: i32,
        process: Arc<dyn Process>,
        sighand: Arc<SigHand>,
        limits: [Limit; RESOURCES],
        exit_signal: i32,
    ) -> ThreadGroup {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        ThreadGroup {
            tgid,
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            state: Mutex::default(),
            pending: Mutex::default(),
            sighand: RwLock::new(sighand),
            limits: Mutex::new(limits),
            child_wait: WaitQueue::new(),
            exit_wait: WaitQueue::new(),
            signal_wait: WaitQueue::new(),
            exit_signal: exit_signal.into(),
            process: RwLock::new(process),
            exe: Mutex::default(),
            exe_guard: Mutex::default(),
            strings: Mutex::default(),
            past_usage: Mutex::default(),
            dumpable: super::Dumpable::default(),
            memory: super::MemoryTraits::default(),
            oom_score_adj: 0.into(),
            started: std::time::Instant::now(),
            on_exit: Mutex::default(),
            io: Default::default(),
            keyring: Mutex::default(),
            aio: Default::default(),
            charge: Mutex::default(),
            timers: Default::default(),
        }
    }

    /// Its signal actions.
    pub fn sighand(&self) -> Arc<SigHand> {
        self.sighand.read().clone()
    }

    /// The host process behind it.
    pub fn process(&self) -> Arc<dyn Process> {
        self.process.read().clone()
    }

    /// Its living threads.
    pub fn tasks(&self) -> Vec<Arc<Task>> {
        self.state.lock().tasks.clone()
    }

    /// Its leader, or any thread that still lives.
    pub fn any_task(&self) -> Option<Arc<Task>> {
        let state = self.state.lock();
        state.tasks.iter().find(|t| t.tid() == self.tgid).or(state.tasks.first()).cloned()
    }

    /// What it has used so far, all threads, all programs.
    pub fn usage(&self) -> Usage {
        let mut usage = self.past_usage.lock().get();
        add_usage(&mut usage, self.process().usage());
        usage
    }

    /// A limit's soft value.
    pub fn limit(&self, resource: u32) -> u64 {
        self.limits.lock().get(resource as usize).map_or(INFINITY, |l| l.soft)
    }
}
