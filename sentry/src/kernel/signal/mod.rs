//! Signals: `signal(7)`.

mod deliver;
mod frame;
mod info;
mod mask;
mod pending;
mod send;

pub(crate) use deliver::{StoppedIn, deliver};
pub(crate) use frame::pop as pop_frame;
pub use info::SigInfo;
pub use pending::Pending;

use crate::sync::Mutex;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Highest signal number.
pub const SIGRTMAX: i32 = 64;
/// First real-time signal as the kernel counts.
pub const SIGRTMIN: i32 = 32;

/// A set of signals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct SigSet(pub u64);

impl SigSet {
    /// No signal.
    pub const EMPTY: SigSet = SigSet(0);
    /// All signals.
    pub const ALL: SigSet = SigSet(!0);
    /// SIGKILL and SIGSTOP, which nobody can block.
    pub const UNBLOCKABLE: SigSet = SigSet(1 << (libc::SIGKILL - 1) | 1 << (libc::SIGSTOP - 1));
    /// What a synchronous fault raises: delivered before others.
    const SYNCHRONOUS: SigSet =
        SigSet::of(&[libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGTRAP, libc::SIGFPE, libc::SIGSYS]);
    const STOPS: SigSet = SigSet::of(&[libc::SIGSTOP, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU]);

    /// The set of these.
    pub const fn of(signals: &[i32]) -> SigSet {
        let mut bits = 0;
        let mut rest = signals;
        while let [first, tail @ ..] = rest {
            bits |= 1 << (*first - 1);
            rest = tail;
        }
        SigSet(bits)
    }

    /// Whether `signo` is in it.
    pub fn contains(self, signo: i32) -> bool {
        (1..=SIGRTMAX).contains(&signo) && self.0 & (1 << (signo - 1)) != 0
    }

    /// With `signo`.
    #[must_use]
    pub fn with(self, signo: i32) -> SigSet {
        SigSet(self.0 | 1 << ((signo - 1) & 63))
    }

    /// Without `signo`.
    #[must_use]
    pub fn without(self, signo: i32) -> SigSet {
        SigSet(self.0 & !(1 << ((signo - 1) & 63)))
    }

    /// In either.
    #[must_use]
    pub fn union(self, other: SigSet) -> SigSet {
        SigSet(self.0 | other.0)
    }

    /// In this one and not in the other.
    #[must_use]
    pub fn minus(self, other: SigSet) -> SigSet {
        SigSet(self.0 & !other.0)
    }

    /// In both.
    #[must_use]
    pub fn and(self, other: SigSet) -> SigSet {
        SigSet(self.0 & other.0)
    }

    /// Holds nothing.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// `struct sigaction` of the kernel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SigAction {
    /// `SIG_DFL`, `SIG_IGN`, or an address.
    pub handler: u64,
    /// `SA_` flags.
    pub flags: u64,
    /// Where the handler returns to.
    pub restorer: u64,
    /// Blocked while the handler runs.
    pub mask: SigSet,
}

/// `SIG_DFL`.
pub const SIG_DFL: u64 = 0;
/// `SIG_IGN`.
pub const SIG_IGN: u64 = 1;
/// `SA_RESTORER`: x86-64 needs it.
pub const SA_RESTORER: u64 = 0x0400_0000;

impl SigAction {
    /// Has this `SA_` flag.
    pub fn has(&self, flag: i32) -> bool {
        self.flags & u64::from(flag as u32) != 0
    }
}

/// The actions of a process (`CLONE_SIGHAND` shares them).
#[derive(Debug)]
pub struct SigHand {
    actions: Mutex<[SigAction; SIGRTMAX as usize]>,
}

impl Default for SigHand {
    fn default() -> SigHand {
        SigHand { actions: Mutex::new([SigAction::default(); SIGRTMAX as usize]) }
    }
}

impl SigHand {
    /// The action for `signo`, which must be a valid one.
    pub fn get(&self, signo: i32) -> SigAction {
        let at = usize::try_from(signo - 1).unwrap_or(0);
        self.actions.lock().get(at).copied().unwrap_or_default()
    }

    /// Replaces the action for `signo`; returns the old one.
    pub fn set(&self, signo: i32, action: SigAction) -> SigAction {
        let at = usize::try_from(signo - 1).unwrap_or(0);
        match self.actions.lock().get_mut(at) {
            Some(slot) => std::mem::replace(slot, action),
            None => SigAction::default(),
        }
    }

    /// A copy, as `fork` makes it.
    pub fn fork(&self) -> SigHand {
        SigHand { actions: Mutex::new(*self.actions.lock()) }
    }

    /// What `execve` leaves: ignored stays ignored, handled becomes default.
    pub fn exec(&self) -> SigHand {
        let mut actions = *self.actions.lock();
        for action in &mut actions {
            let handler = if action.handler == SIG_IGN { SIG_IGN } else { SIG_DFL };
            *action = SigAction { handler, ..SigAction::default() };
        }
        SigHand { actions: Mutex::new(actions) }
    }

    /// Whether a signal of this number that is not blocked would be thrown away.
    pub fn ignores(&self, signo: i32) -> bool {
        match self.get(signo).handler {
            SIG_IGN => true,
            SIG_DFL => default_action(signo) == DefaultAction::Ignore,
            _ => false,
        }
    }
}

/// What happens to a process without a handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefaultAction {
    /// It dies.
    Terminate,
    /// It dies, with a core dump where that is enabled (never here).
    Core,
    /// It stops.
    Stop,
    /// It continues.
    Continue,
    /// Nothing.
    Ignore,
}

/// The default action of a signal.
pub fn default_action(signo: i32) -> DefaultAction {
    match signo {
        libc::SIGCHLD | libc::SIGURG | libc::SIGWINCH => DefaultAction::Ignore,
        libc::SIGCONT => DefaultAction::Continue,
        libc::SIGSTOP | libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU => DefaultAction::Stop,
        libc::SIGQUIT
        | libc::SIGILL
        | libc::SIGTRAP
        | libc::SIGABRT
        | libc::SIGBUS
        | libc::SIGFPE
        | libc::SIGSEGV
        | libc::SIGSYS
        | libc::SIGXCPU
        | libc::SIGXFSZ => DefaultAction::Core,
        _ => DefaultAction::Terminate,
    }
}

/// `stack_t`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AltStack {
    /// Lowest address.
    pub sp: u64,
    /// `SS_` flags.
    pub flags: i32,
    /// Padding.
    pub pad: i32,
    /// Size in bytes.
    pub size: u64,
}

impl Default for AltStack {
    fn default() -> AltStack {
        AltStack { sp: 0, flags: libc::SS_DISABLE, pad: 0, size: 0 }
    }
}

/// `SS_AUTODISARM`.
pub const SS_AUTODISARM: i32 = 1 << 31;

impl AltStack {
    /// Whether a stack pointer lies on it.
    pub fn contains(&self, sp: u64) -> bool {
        self.flags & SS_AUTODISARM == 0 && sp > self.sp && sp - self.sp <= self.size
    }
}

/// The signal state of one task.
#[derive(Debug, Default)]
pub struct TaskSignals {
    /// Blocked signals.
    pub mask: SigSet,
    /// The mask is the guest's to change; `mask` is what it was.
    pub is_lent: bool,
    /// The mask to go back to when a call that replaced it for its duration (`sigsuspend`, `ppoll`…) is over.
    pub saved_mask: Option<SigSet>,
    /// What `sigtimedwait` waits for: such signals wake although they are blocked.
    pub waited: SigSet,
    /// Signals for this thread alone.
    pub pending: Pending,
    /// Where handlers with `SA_ONSTACK` run.
    pub altstack: AltStack,
}
