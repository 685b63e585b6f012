//! One guest thread: a state machine driven by notifications from below and answers from above.
//!
//! Every notification is checked against the phase; one that the phase does not allow kills the process (M10).
//! Answers of the host kernel (`ENOENT` for a caller that died or was interrupted) are normal everywhere.

use super::attendant::Attention;
use super::local::{Window, is_clone};
use super::process::{BootFacts, HostProcess, Slots};
use super::slots::Channel;
use super::{Family, Shared, frame, listener, sys};
use crate::{Call, Event, Process, Registers, Syscall};
use libc::seccomp_notif;
use parking_lot::{Mutex, MutexGuard};
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::Waker;
use std::time::{Duration, Instant};
use stub::abi::{self, Order, cmd, op};

/// Calls that follow one another within this time make a streak, and a streak of this many has its thread be busy.
const HOT: Duration = Duration::from_micros(40);
pub(super) const BUSY: u32 = 32;

/// How a call ends that its thread no longer waits for in the listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Return(i64),
    Stop(i64),
    Native,
}

/// What follows when the stub has run its orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// The thread stays stopped and whoever ordered is woken.
    Stop,
    /// The result of order 0 is the result of the call; the guest goes on.
    Return(Syscall),
    /// The slot file is mapped, or not; the thread is parked.
    Park(Syscall, Option<Outcome>),
    /// Then it sleeps for ever.
    Sleep,
}

#[derive(Debug)]
pub(super) enum Phase {
    /// Only stub code has run.
    Booting,
    /// Guest code runs; no notification is unanswered.
    Running,
    /// A call waits for its answer in the listener.
    InCall(Syscall),
    /// A call waits for its answer in the thread's channel.
    InChannel(Syscall),
    /// The host makes a thread in the call, which is `clone3`.
    Cloning(Syscall),
    /// Answered and kicked; the entry of the handler is expected.
    Entering { ret: i64, call: Syscall },
    /// As `Entering`, but to be parked.
    Parking(Syscall, Option<Outcome>),
    /// Waits in its slot, or in an unanswered hypercall where it has none.
    Parked(Syscall, Option<Outcome>),
    /// Stopped in the stub: an unanswered hypercall.
    Stopped,
    /// The stub runs orders; those that are not native come by as notifications, exactly these, in this order.
    Ordered { pending: VecDeque<Call>, then: Then },
    /// A leader whose process lives on without it is being put to sleep.
    Retiring { wake: Option<u64> },
    /// Nothing more comes from it.
    Dead,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) phase: Phase,
    event: Option<Event>,
    waker: Option<Waker>,
    /// A kick was sent and has not been seen to arrive.
    kicked: bool,
    /// The notification that waits for an answer.
    id: Option<u64>,
    /// From the last hypercall: the saved context and the order buffer. The guest's word.
    uc: u64,
    buffer: u64,
    /// From the last `DONE`: result of the last order. The guest's word.
    result: i64,
    slot: Option<u32>,
    /// The thread's channel, if it has one.
    pub(super) channel: Option<Channel>,
    /// What the channel stands for: of the call that came through it last.
    window: Window,
    /// What GS is to be when it goes on.
    pub(super) gs: Option<u64>,
    /// Whether somebody looks at the channel.
    pub(super) attention: Attention,
    /// How many calls have come one shortly after the other.
    pub(super) streak: u32,
    /// Where in its slot file the signal actions are that it is lent.
    table: Option<u32>,
    /// How many times it has changed its signal mask by a call, while it could not be lent that,
    sigmask_calls: u32,
    /// and signal actions.
    sigaction_calls: u32,
    /// The notification of a `close` that the host is to run too: of this call only, for no other may run there.
    closes: Option<u64>,
    /// Return address and result of the last answered call (see `settle_native_wait`).
    last: (u64, i64),
    /// What a channel that it had said of its list of robust mutexes.
    robust_list: Option<u64>,
    /// For the child that the call under way is to make.
    offer: Option<clone::Offer>,
    /// The stub stack that an ordered `clone` is to use.
    clone_stack: Option<(u64, u64)>,
    /// When the phase began, for the watcher.
    pub(super) since: Instant,
    /// Since when it has not obeyed, and the CPU time it had used when that was noticed.
    pub(super) suspected: Option<(Instant, u64)>,
    /// The watcher has it on its list.
    pub(super) watched: bool,
    /// Its last call was answered when another thread had come.
    has_waited: bool,
}

/// One guest thread under the notify platform.
#[derive(Debug)]
pub(super) struct NotifyThread {
    pub(super) tid: i32,
    pub(super) host: Arc<HostProcess>,
    pub(super) process: Arc<dyn Process>,
    pub(super) family: Arc<Family>,
    pub(super) shared: Arc<Shared>,
    /// Its stub stack, unless it runs on the first one.
    stack: Option<u64>,
    me: Weak<NotifyThread>,
    /// Its last call came through its channel.
    is_in_channel: AtomicBool,
    state: Mutex<State>,
}

impl State {
    /// Whether `id` is a call that still waits in the listener.
    pub(super) fn is_waiting(&self, id: u64) -> bool {
        self.id == Some(id) && matches!(self.phase, Phase::InCall(_))
    }

    /// A new thread, in its first hypercall.
    pub(super) fn start_stopped(&mut self, id: u64, uc: u64, buffer: u64) {
        (self.id, self.uc, self.buffer) = (Some(id), uc, buffer);
        self.phase = Phase::Stopped;
    }

    /// Counts a call.
    fn note_call(&mut self) {
        let now = Instant::now();
        self.streak = if now.duration_since(self.since) < HOT { self.streak.saturating_add(1) } else { 0 };
        self.since = now;
    }
}

/// A notification that the phase does not allow.
#[derive(Debug)]
pub(super) struct Violation(&'static str);

type Checked = Result<(), Violation>;

impl NotifyThread {
    pub(super) fn new(
        shared: &Arc<Shared>,
        family: &Arc<Family>,
        host: &Arc<HostProcess>,
        tid: i32,
        stack: Option<u64>,
    ) -> Arc<NotifyThread> {
        let thread = Arc::new_cyclic(|me| NotifyThread {
            me: me.clone(),
            tid,
            process: host.clone(),
            host: host.clone(),
            family: family.clone(),
            shared: shared.clone(),
            stack,
            is_in_channel: AtomicBool::new(false),
            state: Mutex::new(State {
                phase: Phase::Booting,
                event: None,
                waker: None,
                kicked: false,
                id: None,
                uc: 0,
                buffer: 0,
                result: 0,
                slot: None,
                channel: None,
                window: Window::default(),
                gs: None,
                attention: Attention::None,
                streak: 0,
                table: None,
                sigmask_calls: 0,
                sigaction_calls: 0,
                closes: None,
                last: (0, 0),
                robust_list: None,
                offer: None,
                clone_stack: None,
                since: Instant::now(),
                suspected: None,
                watched: false,
                has_waited: false,
            }),
        });
        host.add_thread(&thread);
        thread
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    pub(super) fn is_live(&self) -> bool {
        !matches!(self.lock().phase, Phase::Dead)
    }

    fn listener(&self) -> BorrowedFd<'_> {
        self.family.listener.as_fd()
    }

    fn kick(&self) {
        self.host.with_pid(|pid| sys::tgkill(pid, self.tid, abi::KICK));
    }

    fn send(&self, st: &mut State, value: i64) {
        if let Some(id) = st.id.take() {
            st.has_waited = !self.family.listener.is_current(id);
            self.family.listener.send(id, value);
        }
    }

    fn command(&self, st: &mut State, command: u64, operand: u64) {
        self.send(st, (command | operand << 8) as i64);
    }

    fn wake(st: &mut State) {
        if let Some(waker) = &st.waker {
            waker.wake_by_ref();
        }
    }

    fn set_event(st: &mut State, event: Event) {
        st.event = Some(event);
        NotifyThread::wake(st);
    }

    // ---- notifications ------------------------------------------------------------------------------------

    /// Takes a notification of this thread.
    pub(super) fn notified(self: &Arc<Self>, n: &seccomp_notif) {
        let nr = n.data.nr as u32;
        let mut st = self.lock();
        st.id = Some(n.id);
        if st.has_waited {
            listener::caller_has_waited();
        }
        let checked = if u64::from(nr) == abi::HYPERCALL {
            let [op, uc, result, buffer, signo, _] = n.data.args;
            self.hypercall(&mut st, op, uc, result, buffer, signo as i32)
        } else {
            self.called(&mut st, Syscall { nr, args: n.data.args, ip: n.data.instruction_pointer })
        };
        drop(st);
        if let Err(Violation(what)) = checked {
            tracing::warn!(pid = self.host.pid, tid = self.tid, "guest process killed: {what}");
            self.host.kill();
        }
    }

    fn called(self: &Arc<Self>, st: &mut State, call: Syscall) -> Checked {
        match &mut st.phase {
            Phase::Running => {
                self.replace_stale_fds(st);
                st.note_call();
                self.is_in_channel.store(false, Ordering::Relaxed);
                if NotifyThread::is_clone_of_stub(&call) {
                    self.clone_called(st, &call);
                    return Ok(());
                }
                let ip = self.seen(call.ip);
                if ip != call.ip && st.streak >= BUSY {
                    self.seek_attention(st);
                }
                let call = Syscall { ip, ..call };
                st.phase = Phase::InCall(call);
                NotifyThread::set_event(st, Event::Syscall(call));
                Ok(())
            }
            Phase::Booting => {
                self.let_through(st);
                Ok(())
            }
            Phase::Cloning(_) => self.called_in_clone(st, &call),
            Phase::Ordered { pending, .. } => {
                let mut made = Call { nr: call.nr, args: call.args };
                if let Some((low, high)) = st.clone_stack.take()
                    && (low..high).contains(&made.args[1])
                {
                    // The stub computes the stack pointer, somewhere in the stack it was given.
                    made.args[1] = 0;
                }
                if pending.pop_front() != Some(made) {
                    return Err(Violation("a call that was not ordered"));
                }
                self.let_through(st);
                Ok(())
            }
            // The thread called again before its process was seen to die.
            Phase::Dead => Ok(()),
            _ => Err(Violation("a call out of turn")),
        }
    }

    fn let_through(&self, st: &mut State) {
        if let Some(id) = st.id.take() {
            self.family.listener.send_continue(id);
        }
    }

    fn hypercall(self: &Arc<Self>, st: &mut State, op: u64, uc: u64, result: u64, buffer: u64, signo: i32) -> Checked {
        (st.uc, st.buffer) = (uc, buffer);
        match op {
            op::ENTRY if signo == abi::KICK => self.kicked_in(st),
            op::ENTRY if matches!(st.phase, Phase::Booting) => self.booted(st),
            op::ENTRY => self.faulted(st, result, signo),
            op::DONE => self.orders_done(st, result as i64),
            op::WOKEN => match st.phase {
                Phase::Parked(call, Some(outcome)) => self.unpark(st, call, outcome),
                _ => Err(Violation("woke by itself")),
            },
            _ => Err(Violation("an unknown hypercall")),
        }
    }

    fn kicked_in(self: &Arc<Self>, st: &mut State) -> Checked {
        st.kicked = false;
        match st.phase {
            Phase::Running => {
                self.leave_channel(st)?;
                self.stopped(st);
                NotifyThread::set_event(st, Event::Interrupted);
            }
            // The kick was under way when the call was made.
            Phase::InChannel(call) => {
                self.close_window(st);
                self.leave_listener(st);
                self.park(st, call);
            }
            Phase::Entering { ret, call } => {
                if is_clone(call.nr) {
                    self.settle(st, ret, &call)?;
                } else if !frame::ensure_result(&self.host, st.uc, ret, call.ip, self.real(call.ip)) {
                    return Err(Violation("its frame cannot be written"));
                }
                self.stopped(st);
                NotifyThread::wake(st);
            }
            Phase::Parking(call, Some(outcome)) => return self.unpark(st, call, outcome),
            Phase::Parking(call, None) => self.park(st, call),
            Phase::Retiring { wake } => self.retire(st, wake),
            _ => return Err(Violation("a kick out of turn")),
        }
        Ok(())
    }

    /// The stub is ready; no guest code has run.
    fn booted(&self, st: &mut State) -> Checked {
        let Some(regs) = frame::registers(&self.host, st.uc) else { return Err(Violation("its frame cannot be read")) };
        if !self.host.space.set_boot(BootFacts::new(&regs)) {
            return Err(Violation("a second start"));
        }
        self.stopped(st);
        self.shared.booted(&self.family.nest, self.me.upgrade());
        Ok(())
    }

    fn stopped(&self, st: &mut State) {
        st.phase = Phase::Stopped;
        st.since = Instant::now();
    }

    fn faulted(self: &Arc<Self>, st: &mut State, info: u64, signo: i32) -> Checked {
        if !matches!(st.phase, Phase::Running) {
            return Err(Violation("a fault in the stub"));
        }
        if (signo == libc::SIGILL || signo == libc::SIGTRAP) && self.repair(st, signo == libc::SIGTRAP) {
            return Ok(());
        }
        if self.settle_copy(st, signo) {
            return Ok(());
        }
        if ![libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP].contains(&signo) {
            return Err(Violation("a fault that is none"));
        }
        let Some(fault) = frame::fault(&self.host, st.uc, info, signo) else {
            return Err(Violation("its frame cannot be read"));
        };
        self.stopped(st);
        NotifyThread::set_event(st, Event::Fault(fault));
        Ok(())
    }

    /// Someone met what the middle of a site is now, or the trap with which its rewriting begins: has it go on where the
    /// site's code is now.
    fn repair(&self, st: &mut State, is_trap: bool) -> bool {
        let Some(regs) = frame::registers(&self.host, st.uc) else { return false };
        let moved = self.host.space.local.lock().moved_by_fault(regs.rip, is_trap);
        let Some(moved) = moved.filter(|moved| self.is_there(moved)) else { return false };
        if !frame::set_registers(&self.host, st.uc, &Registers { rip: moved.to, ..regs }) {
            return false;
        }
        self.let_go(st);
        true
    }

    fn orders_done(self: &Arc<Self>, st: &mut State, result: i64) -> Checked {
        let Phase::Ordered { pending, then } = &st.phase else {
            return Err(Violation("results without orders"));
        };
        if !pending.is_empty() {
            return Err(Violation("orders not run"));
        }
        let then = *then;
        st.result = result;
        match then {
            Then::Stop => {
                self.stopped(st);
                NotifyThread::wake(st);
                Ok(())
            }
            Then::Return(call) => {
                let Some(ret) = self.order_result(st, 0) else { return Err(Violation("its stack cannot be read")) };
                self.go_on(st, ret, &call)
            }
            Then::Park(call, outcome) => {
                let mapped = self.order_result(st, 0) == Some(abi::SLOTS_BASE as i64);
                let mut slots = self.host.space.slots.lock();
                if let Slots::Mapping(file) = &*slots {
                    *slots = if mapped { Slots::Mapped(file.clone()) } else { Slots::Refused };
                }
                drop(slots);
                st.phase = Phase::Parking(call, outcome);
                match outcome {
                    Some(outcome) => self.unpark(st, call, outcome),
                    None => {
                        self.park(st, call);
                        Ok(())
                    }
                }
            }
            Then::Sleep => {
                self.sleep(st);
                Ok(())
            }
        }
    }

    fn order_result(&self, st: &State, n: usize) -> Option<i64> {
        let at = st.buffer + (n * size_of::<Order>() + std::mem::offset_of!(Order, ret)) as u64;
        let mut b = [0u8; 8];
        self.host.read_exact(at, &mut b).then(|| i64::from_le_bytes(b))
    }

    /// Has the guest go on behind its call.
    fn go_on(&self, st: &mut State, ret: i64, call: &Syscall) -> Checked {
        self.settle(st, ret, call)?;
        st.last = (call.ip, ret);
        st.phase = Phase::Running;
        self.let_go(st);
        Ok(())
    }

    /// Has the frame return behind its call.
    fn settle(&self, st: &mut State, ret: i64, call: &Syscall) -> Checked {
        let is_set = match &st.channel {
            Some(channel) => {
                channel.reset();
                self.set_behind(st, ret, call)
            }
            None => frame::set_result(&self.host, st.uc, ret, call.ip, self.real(call.ip)),
        };
        if is_set { Ok(()) } else { Err(Violation("its frame cannot be written")) }
    }

    /// Lets the thread return from its stub.
    pub(super) fn let_go(&self, st: &mut State) {
        // A value with its lowest bit set, so that none is 0.
        let gs = st.gs.take().map_or(0, |gs| gs | 1);
        self.command(st, cmd::RETURN, gs);
    }
}

mod answers;
mod channel;
mod clone;
mod orders;
mod parking;
mod rewrite;
mod sigmask;
