//! Calls that block: their threads leave the listener and wait in slots of their own.

use super::super::process::Slots;
use super::super::slots::SlotFile;
use super::super::sys;
use super::orders::slot_orders;
use super::{Checked, NotifyThread, Outcome, Phase, State, Then};
use crate::{Call, Syscall};
use std::sync::Arc;
use std::time::Instant;
use stub::abi::cmd;

impl NotifyThread {
    /// Called by the watcher or a crowded receiver: the call has been blocked for a while.
    pub(in super::super) fn start_parking(&self, st: &mut State) {
        let Phase::InCall(call) = st.phase else { return };
        // A thread ends by the very call under way (`Thread::exit`).
        if i64::from(call.nr) == libc::SYS_exit
            || st.closes.is_some()
            || st.offer.is_some()
            || matches!(*self.host.space.slots.lock(), Slots::Refused)
            || !self.leave_listener(st)
        {
            return;
        }
        st.phase = Phase::Parking(call, None);
        st.since = Instant::now();
        st.kicked = true;
        self.kick();
        self.send(st, 0);
    }

    /// Takes a slot, unless there is none.
    pub(super) fn leave_listener(&self, st: &mut State) -> bool {
        if st.slot.is_none() {
            st.slot = self.host.space.take_slot();
        }
        st.slot.is_some()
    }

    /// In the stub, with the hypercall unanswered: into the slot, mapping the file first if need be.
    pub(super) fn park(self: &Arc<Self>, st: &mut State, call: Syscall) {
        st.phase = Phase::Parked(call, None);
        st.since = Instant::now();
        let (Some(slot), Some(id)) = (st.slot, st.id) else { return };
        let mut slots = self.host.space.slots.lock();
        match &*slots {
            Slots::Mapped(file) => {
                file.arm(slot);
                drop(slots);
                self.command(st, cmd::WAIT, SlotFile::guest_address(slot));
            }
            Slots::Unmapped => {
                let Ok(file) = SlotFile::new() else { return };
                if sys::add_fd(self.listener(), id, file.fd(), crate::WINDOW_FD).is_err() {
                    return;
                }
                *slots = Slots::Mapping(Arc::new(file));
                drop(slots);
                self.order(st, &slot_orders(), Then::Park(call, None));
            }
            // Stays in its unanswered hypercall.
            Slots::Mapping(_) | Slots::Refused => {}
        }
    }

    /// The parked call has its outcome, and the thread is in an unanswered hypercall.
    pub(super) fn unpark(self: &Arc<Self>, st: &mut State, call: Syscall, outcome: Outcome) -> Checked {
        match outcome {
            Outcome::Return(ret) => self.go_on(st, ret, &call),
            Outcome::Stop(ret) => {
                self.settle(st, ret, &call)?;
                st.last = (call.ip, ret);
                self.stopped(st);
                NotifyThread::wake(st);
                Ok(())
            }
            Outcome::Native => {
                self.order(st, &[Call { nr: call.nr, args: call.args }], Then::Return(call));
                Ok(())
            }
        }
    }

    /// Ends a call with `outcome`, wherever its thread waits. False if it is in the listener: the caller answers.
    pub(super) fn end_elsewhere(self: &Arc<Self>, st: &mut State, outcome: Outcome) -> bool {
        if matches!(st.phase, Phase::InChannel(_)) {
            self.close_window(st);
        }
        match &mut st.phase {
            Phase::InChannel(call) => {
                st.phase = Phase::Parking(*call, Some(outcome));
                st.since = Instant::now();
                st.kicked = true;
                self.kick();
                self.be_watched(st);
            }
            Phase::Parking(_, o) => *o = Some(outcome),
            Phase::Ordered { then: Then::Park(_, o), .. } => *o = Some(outcome),
            Phase::Parked(call, o) => {
                *o = Some(outcome);
                let call = *call;
                if st.id.is_some() {
                    let _ = self.unpark(st, call, outcome);
                } else if let (Slots::Mapped(file), Some(slot)) = (&*self.host.space.slots.lock(), st.slot) {
                    file.wake(slot);
                }
            }
            _ => return false,
        }
        true
    }
}
