//! A thread's signal mask, which its guest may be lent.
//!
//! While no signal is pending that a change of the mask could let in, the guest changes it without asking
//! ([`platform::Thread::lend_sigmask`]). Whoever may make a signal pending, or acts upon the mask, takes it back first:
//! [`Task::signals`] is the way to all of it.

use super::{SigSet, TaskSignals};
use crate::kernel::{Task, Work};
use crate::seccomp;
use crate::sync::MutexGuard;

impl Task {
    /// Its signal state. From now on its guest cannot change the mask by itself.
    pub(in crate::kernel) fn signals(&self) -> MutexGuard<'_, TaskSignals> {
        let mut signals = self.signal_state.lock();
        if std::mem::take(&mut signals.is_lent)
            && let Some(mask) = self.thread().take_sigmask()
        {
            signals.mask = SigSet(mask);
        }
        signals
    }

    /// Blocked signals.
    pub fn sigmask(&self) -> SigSet {
        let signals = self.signal_state.lock();
        let lent = signals.is_lent.then(|| self.thread().lent_sigmask()).flatten();
        lent.map_or(signals.mask, SigSet)
    }

    /// Lets the guest of this thread, which is in a call or has not run yet, change the mask itself, if nothing depends
    /// on that.
    pub fn lend_sigmask(&self) {
        let thread = self.thread();
        // Who sends a signal to the process looks at the masks after it has become pending.
        let shared = self.group.pending.lock();
        let mut signals = self.signals();
        let is_quiet = signals.pending.set().is_empty() && signals.saved_mask.is_none() && shared.set().is_empty();
        signals.is_lent = is_quiet && seccomp::allows_local_answers(self) && thread.lend_sigmask(signals.mask.0);
    }

    /// Changes the signal mask. Signals for the process that this thread now blocks go to another one.
    pub fn set_sigmask(&self, mask: SigSet) {
        let newly = {
            let mut signals = self.signals();
            let newly = mask.minus(signals.mask);
            signals.mask = mask.minus(SigSet::UNBLOCKABLE);
            newly
        };
        self.recalculate_signals();
        if !self.group.pending.lock().set().and(newly).is_empty() {
            self.group.retarget(newly);
        }
    }

    /// Replaces the signal mask until the current call is over (`ppoll(2)` and kin): if a signal ends the call,
    /// its handler runs first.
    pub fn set_temporary_sigmask(&self, mask: SigSet) {
        {
            let mut signals = self.signals();
            let old = signals.mask;
            signals.saved_mask.get_or_insert(old);
            signals.mask = mask.minus(SigSet::UNBLOCKABLE);
        }
        self.add_work(Work::SAVED_MASK);
        self.recalculate_signals();
    }

    /// Ends what [`set_temporary_sigmask`](Self::set_temporary_sigmask) began: for a call that no signal ended.
    pub fn restore_sigmask(&self) {
        let Some(mask) = self.signals().saved_mask.take() else { return };
        self.clear_work(Work::SAVED_MASK);
        self.set_sigmask(mask);
    }
}
