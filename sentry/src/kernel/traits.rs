//! What threads are told about themselves, that only has to be remembered, inherited and told again.

use crate::sync::Mutex;
use platform::Call;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// `IOPRIO_CLASS_NONE`: as the nice value says.
const IOPRIO_NONE: u16 = 0;

/// Of one thread; new threads inherit it, and `execve` keeps it.
#[derive(Debug, Clone, Copy)]
pub struct Traits {
    /// Scheduling policy (`sched_setscheduler(2)`).
    pub policy: i32,
    /// `SCHED_RESET_ON_FORK`.
    pub reset_on_fork: bool,
    /// I/O priority (`ioprio_set(2)`).
    pub ioprio: u16,
    /// `PR_MCE_KILL`.
    pub mce_kill: u8,
    /// `PR_SET_IO_FLUSHER`.
    pub io_flusher: bool,
    /// `set_mempolicy(2)`.
    pub memory_policy: MemoryPolicy,
    /// What `PR_SET_TIMERSLACK` with zero goes back to, in nanoseconds.
    pub default_timer_slack: u64,
}

/// Where memory is to come from, in a machine with one node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryPolicy {
    /// `MPOL_*` with its flags.
    pub mode: i32,
    /// The nodes.
    pub nodes: u64,
}

/// `PR_MCE_KILL_DEFAULT`.
pub const MCE_KILL_DEFAULT: u8 = 2;
/// What Linux starts its first process with, in nanoseconds.
pub const TIMER_SLACK: u64 = 50_000;

impl Default for Traits {
    fn default() -> Traits {
        Traits {
            policy: libc::SCHED_OTHER,
            reset_on_fork: false,
            ioprio: IOPRIO_NONE,
            mce_kill: MCE_KILL_DEFAULT,
            io_flusher: false,
            memory_policy: MemoryPolicy::default(),
            default_timer_slack: TIMER_SLACK,
        }
    }
}

impl Traits {
    /// Those of a new thread; `timer_slack` is its creator's.
    #[must_use]
    pub fn fork(self, timer_slack: u64) -> Traits {
        // Only real-time policies are reset, and nobody has one.
        Traits { reset_on_fork: false, default_timer_slack: timer_slack, ..self }
    }
}

/// Whether others may look into a process (`PR_SET_DUMPABLE`).
#[derive(Debug)]
pub struct Dumpable(AtomicU8);

impl Default for Dumpable {
    fn default() -> Dumpable {
        Dumpable(AtomicU8::new(1))
    }
}

impl Dumpable {
    /// As `PR_GET_DUMPABLE` has it.
    pub fn get(&self) -> u8 {
        self.0.load(Ordering::Relaxed)
    }

    /// Changes it.
    pub fn set(&self, value: u8) {
        self.0.store(value, Ordering::Relaxed);
    }
}

/// What a process told the host's kernel of its memory as a whole: a new program is to have it too.
#[derive(Debug, Default)]
pub struct MemoryTraits {
    /// First arguments of `PR_SET_THP_DISABLE` and `PR_SET_MDWE`.
    thp_disable: Mutex<[u64; 2]>,
    mdwe: AtomicU64,
}

/// `PR_SET_MDWE`, which the C library's headers lack, and its flag that children are not to have it.
pub const PR_SET_MDWE: i32 = 65;
const MDWE_NO_INHERIT: u64 = 2;

impl MemoryTraits {
    /// The host has accepted this call.
    pub fn note(&self, op: i32, a: u64, b: u64) {
        match op {
            libc::PR_SET_THP_DISABLE => *self.thp_disable.lock() = [a, b],
            PR_SET_MDWE => self.mdwe.store(a, Ordering::Relaxed),
            _ => {}
        }
    }

    /// Those of a child.
    pub(super) fn fork(&self) -> MemoryTraits {
        let mdwe = self.mdwe.load(Ordering::Relaxed);
        let mdwe = if mdwe & MDWE_NO_INHERIT == 0 { mdwe } else { 0 };
        MemoryTraits { thp_disable: Mutex::new(*self.thp_disable.lock()), mdwe: mdwe.into() }
    }

    /// What a new host process has to be told.
    pub(super) fn calls(&self) -> Vec<Call> {
        let [disable, flags] = *self.thp_disable.lock();
        let mdwe = self.mdwe.load(Ordering::Relaxed);
        let said = [(libc::PR_SET_THP_DISABLE, disable, flags), (PR_SET_MDWE, mdwe, 0)];
        let call = |op: i32, a, b| Call { nr: libc::SYS_prctl as u32, args: [op as u64, a, b, 0, 0, 0] };
        said.into_iter().filter(|(_, a, _)| *a != 0).map(|(op, a, b)| call(op, a, b)).collect()
    }
}
