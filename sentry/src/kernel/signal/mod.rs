//! Signals: `signal(7)`.

mod action;
mod deliver;
mod frame;
mod info;
mod mask;
mod pending;
mod send;

pub use action::{SA_RESTORER, SIG_DFL, SIG_IGN, SigAction, SigHand};
pub(crate) use deliver::{StoppedIn, deliver};
pub(crate) use frame::pop as pop_frame;
pub use info::SigInfo;
pub use pending::Pending;

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
