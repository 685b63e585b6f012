//! A thread stopped in the code that changes its signal mask, its process's signal actions, or its list of robust mutexes
//! (see the stub's `sigmask.rs`, `sigaction.rs` and `robust.rs`, which say what holds where).

use super::super::local::{OFTEN, SIGACTION_OFTEN, is_sigaction, is_sigmask};
use super::super::slots::Channel;
use super::{NotifyThread, State};
use crate::{Action, Registers};
use std::ops::Range;
use stub::entry;

/// All of it; where the flags are in `ax`, and where they and `rcx` are in the channel; where the mask has been changed.
const CODE: Range<u64> = entry::SIGMASK..entry::SIGMASK_END;
const FLAGS: Range<u64> = entry::SIGMASK_FLAGS..entry::SIGMASK_KEPT;
const KEPT: Range<u64> = entry::SIGMASK_KEPT..entry::SIGMASK_SLOW;
const DONE: Range<u64> = entry::SIGMASK_DONE..entry::SIGMASK_UNMADE;
const SLOW: Range<u64> = entry::SIGMASK_SLOW..entry::SIGMASK_END;

/// The code for the actions, likewise; where an action has been changed.
const ACTION: Range<u64> = entry::SIGACTION..entry::SIGACTION_END;
const ACTION_FLAGS: Range<u64> = entry::SIGACTION_FLAGS..entry::SIGACTION_KEPT;
const ACTION_KEPT: Range<u64> = entry::SIGACTION_KEPT..entry::SIGACTION_END;
const ACTION_DONE: Range<u64> = entry::SIGACTION_DONE..entry::SIGACTION_END;

/// The code for the list: all of it, where the flags are in `ax`, and where it is over.
const ROBUST: Range<u64> = entry::ROBUST..entry::ROBUST_END;
const ROBUST_FLAGS: Range<u64> = entry::ROBUST_FLAGS..entry::ROBUST_DONE;

/// EFLAGS: what `lahf` stores, and overflow.
const STORED: u64 = 0xd5;
const ZERO: u64 = 1 << 6;
const OVERFLOW: u64 = 1 << 11;

impl NotifyThread {
    /// Counts a call that changes the mask, or an action; whether the thread makes so many that it is given a channel for
    /// that.
    pub(super) fn changes_signals_often(&self, st: &mut State, nr: u32) -> bool {
        let is_often = if is_sigmask(nr) {
            st.sigmask_calls = st.sigmask_calls.saturating_add(1);
            st.sigmask_calls >= OFTEN
        } else if is_sigaction(nr) {
            st.sigaction_calls = st.sigaction_calls.wrapping_add(1);
            st.sigaction_calls.is_multiple_of(SIGACTION_OFTEN)
        } else {
            false
        };
        is_often && self.shared.gives_channels
    }

    /// Lends a thread that has a channel the actions, if its program has code that would change them.
    pub(super) fn lend_actions(&self, actions: &[Action]) -> bool {
        let mut st = self.lock();
        let may_have = self.shared.gives_channels && !self.host.is_filtered();
        if !may_have || st.channel.is_none() || !self.host.space.local.lock().has_sigactions() {
            return false;
        }
        st.table = st.table.or_else(|| self.host.space.take_table());
        let (Some(channel), Some(table)) = (&st.channel, st.table) else { return false };
        channel.lend_sigactions(table, actions);
        true
    }

    /// Takes them back, if they are there still.
    pub(super) fn take_actions(&self) -> Option<Vec<Action>> {
        let st = self.lock();
        Some(st.channel.as_ref()?.take_sigactions(st.table?))
    }

    /// Where a thread goes on that was stopped in that code: behind the site if it has changed something, otherwise at the
    /// site again. `None` if it was stopped elsewhere.
    pub(super) fn out_of_sigmask(&self, st: &State, regs: &Registers) -> Option<Registers> {
        if ![CODE, ACTION, ROBUST].iter().any(|code| code.contains(&regs.rip)) {
            return None;
        }
        let (done, eflags) = self.sigmask_state(st.channel.as_ref(), regs)?;
        let (begin, end) = self.site(done)?;
        let is_made = DONE.contains(&regs.rip)
            || ACTION_DONE.contains(&regs.rip)
            || [entry::SIGMASK_MADE, entry::SIGACTION_MADE].contains(&regs.rip) && regs.eflags & ZERO != 0
            || regs.rip == entry::ROBUST_DONE;
        Some(match is_made {
            true => Registers { rip: self.real(end), rcx: end, rax: 0, eflags, ..*regs },
            false => Registers { rip: begin, rcx: begin, eflags, ..*regs },
        })
    }

    /// Where a thread goes on that faulted in that code: it makes the call.
    pub(super) fn past_sigmask(&self, channel: &Channel, regs: &Registers) -> Option<Registers> {
        if !is_kept(regs.rip) {
            return None;
        }
        let (done, eflags) = self.sigmask_state(Some(channel), regs)?;
        let slow = self.host.space.local.lock().slow(done)?;
        Some(Registers { rip: slow, rcx: slow, eflags, ..*regs })
    }

    /// An address in the site's code, and the flags.
    fn sigmask_state(&self, channel: Option<&Channel>, regs: &Registers) -> Option<(u64, u64)> {
        if is_kept(regs.rip) {
            let (done, flags) = channel?.sigmask_change();
            Some((done, with_flags(regs.eflags, flags)))
        } else if [FLAGS, ACTION_FLAGS, SLOW, ROBUST_FLAGS].iter().any(|code| code.contains(&regs.rip)) {
            Some((regs.rcx, with_flags(regs.eflags, regs.rax)))
        } else {
            Some((regs.rcx, regs.eflags))
        }
    }
}

/// Whether the flags and an address in the site's code are in the channel.
fn is_kept(ip: u64) -> bool {
    KEPT.contains(&ip) || ACTION_KEPT.contains(&ip)
}

/// `eflags` with the flags that `lahf` and `seto` have put into `ax`. That overflow was is told by 1 or, when `add`
/// has made it that again, by 128.
fn with_flags(eflags: u64, ax: u64) -> u64 {
    let overflow = if matches!(ax & 0xff, 1 | 128) { OVERFLOW } else { 0 };
    eflags & !(STORED | OVERFLOW) | ax >> 8 & STORED | overflow
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_come_back_from_where_they_were_put() {
        assert_eq!(with_flags(0x246, 0x0201), 0x202 | OVERFLOW);
        assert_eq!(with_flags(0xa02, 0xd700), 0x2d7);
        assert_eq!(with_flags(0x202, 0xd780), 0x2d7 | OVERFLOW);
        assert_eq!(with_flags(0xa46, 0x027f), 0x202);
    }
}
