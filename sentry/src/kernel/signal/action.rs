//! Signal actions, which the guest of a process with one thread may be lent.
//!
//! While no signal is pending that a change could throw away, the guest changes them without asking
//! ([`platform::Thread::lend_sigactions`]). Whoever wants to know or change one takes all of them back first:
//! [`SigHand::actions`] is the way to them. So does who has made a signal pending.

use super::{DefaultAction, SIGRTMAX, SigSet, default_action};
use crate::kernel::Task;
use crate::seccomp;
use crate::sync::{Mutex, MutexGuard};
use platform::{Action, Thread};
use std::sync::Arc;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

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

    /// What becomes of one that a guest gives.
    #[must_use]
    pub fn accepted(self) -> SigAction {
        /// What Linux 6 knows; others are cleared so that programs can probe (`SA_UNSUPPORTED`).
        const KNOWN: u64 = 0xdc00_0007 | 0x800;
        SigAction { flags: self.flags & KNOWN, mask: self.mask.minus(SigSet::UNBLOCKABLE), ..self }
    }

    fn to_words(self) -> Action {
        [self.handler, self.flags, self.restorer, self.mask.0]
    }

    fn from_words([handler, flags, restorer, mask]: Action) -> SigAction {
        SigAction { handler, flags, restorer, mask: SigSet(mask) }
    }
}

type Table = [SigAction; SIGRTMAX as usize];

/// The actions of a process (`CLONE_SIGHAND` shares them).
#[derive(Debug)]
pub struct SigHand {
    /// Reached by [`SigHand::actions`].
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    table: Table,
    /// Whose guest changes them; the table has them as they were.
    lent_to: Option<Arc<dyn Thread>>,
}

impl State {
    fn take_back(&mut self) {
        let Some(given) = self.lent_to.take().and_then(|thread| thread.take_sigactions()) else { return };
        for ((signo, action), given) in (1..).zip(&mut self.table).zip(given) {
            if !SigSet::UNBLOCKABLE.contains(signo) {
                *action = SigAction::from_words(given).accepted();
            }
        }
    }
}

impl Default for SigHand {
    fn default() -> SigHand {
        SigHand::new([SigAction::default(); SIGRTMAX as usize])
    }
}

impl SigHand {
    fn new(table: Table) -> SigHand {
        SigHand { state: Mutex::new(State { table, lent_to: None }) }
    }

    /// All of them. From now on no guest can change them by itself.
    fn actions(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock();
        state.take_back();
        state
    }

    /// Takes them back, if they are lent.
    pub fn recall(&self) {
        drop(self.actions());
    }

    /// The action for `signo`, which must be a valid one.
    pub fn get(&self, signo: i32) -> SigAction {
        let at = usize::try_from(signo - 1).unwrap_or(0);
        self.actions().table.get(at).copied().unwrap_or_default()
    }

    /// Replaces the action for `signo`; returns the old one.
    pub fn set(&self, signo: i32, action: SigAction) -> SigAction {
        let at = usize::try_from(signo - 1).unwrap_or(0);
        match self.actions().table.get_mut(at) {
            Some(slot) => std::mem::replace(slot, action),
            None => SigAction::default(),
        }
    }

    /// A copy, as `fork` makes it.
    pub fn fork(&self) -> SigHand {
        SigHand::new(self.actions().table)
    }

    /// What `execve` leaves: ignored stays ignored, handled becomes default.
    pub fn exec(&self) -> SigHand {
        let mut table = self.actions().table;
        for action in &mut table {
            let handler = if action.handler == SIG_IGN { SIG_IGN } else { SIG_DFL };
            *action = SigAction { handler, ..SigAction::default() };
        }
        SigHand::new(table)
    }

    /// Whether a signal of this number that is not blocked would be thrown away.
    pub fn ignores(&self, signo: i32) -> bool {
        match self.get(signo).handler {
            SIG_IGN => true,
            SIG_DFL => default_action(signo) == DefaultAction::Ignore,
            _ => false,
        }
    }

    fn lend(&self, thread: Arc<dyn Thread>) {
        let mut state = self.actions();
        if thread.lend_sigactions(&state.table.map(SigAction::to_words)) {
            state.lent_to = Some(thread);
        }
    }
}

impl Task {
    /// Lets the guest of this thread, which is in a call or has not run yet, change the actions itself, if nothing depends
    /// on that and nobody else has them.
    pub fn lend_sigactions(&self) {
        let sighand = self.group.sighand();
        // The group's reference, and this one. Only this thread could have others share them.
        let is_alone = Arc::strong_count(&sighand) == 2 && self.group.state.lock().tasks.len() == 1;
        if !is_alone || !seccomp::allows_local_answers(self) {
            return;
        }
        // Who sends a signal takes the actions back after it has become pending.
        let shared = self.group.pending.lock();
        let signals = self.signal_state.lock();
        if shared.set().is_empty() && signals.pending.set().is_empty() {
            sighand.lend(self.thread());
        }
    }
}
