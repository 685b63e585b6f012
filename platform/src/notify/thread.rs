//! One guest thread: a state machine driven by notifications from below and answers from above.
//!
//! Every notification is checked against the phase; one that the phase does not allow kills the process (M10).
//! Answers of the host kernel (`ENOENT` for a caller that died or was interrupted) are normal everywhere.

use super::process::{BootFacts, HostProcess, Slots};
use super::slots::{Channel, SlotFile};
use super::{Family, Shared, frame, sys};
use crate::{Call, CloneKind, Event, Gone, Process, Registers, Syscall};
use libc::seccomp_notif;
use parking_lot::{Mutex, MutexGuard};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Weak};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};
use stub::abi::{self, Order, cmd, op};

/// Calls that follow one another within this time make a streak, and a streak of this many has its thread be busy.
const HOT: Duration = Duration::from_micros(20);
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
    /// Answered and kicked; the entry of the handler is expected.
    Entering { ret: i64, ip: u64 },
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
    /// What GS is to be when it goes on.
    pub(super) gs: Option<u64>,
    /// Somebody looks at the channel.
    pub(super) is_attended: bool,
    /// How many calls have come one shortly after the other.
    pub(super) streak: u32,
    /// The call under way is a `close` that the host is to run too.
    closes: bool,
    /// Return address and result of the last answered call (see `settle_native_wait`).
    last: (u64, i64),
    /// The stub stack that an ordered `clone` is to use.
    clone_stack: Option<(u64, u64)>,
    /// When the phase began, for the watcher.
    pub(super) since: Instant,
    /// Since when it has not obeyed, and the CPU time it had used when that was noticed.
    pub(super) suspected: Option<(Instant, u64)>,
    /// The watcher has it on its list.
    pub(super) watched: bool,
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
                gs: None,
                is_attended: false,
                streak: 0,
                closes: false,
                last: (0, 0),
                clone_stack: None,
                since: Instant::now(),
                suspected: None,
                watched: false,
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
            sys::send(self.listener(), id, value);
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
            sys::send_continue(self.listener(), id);
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
                self.leave_listener(st);
                self.park(st, call);
            }
            Phase::Entering { ret, ip } => {
                if !frame::ensure_result(&self.host, st.uc, ret, ip, self.real(ip)) {
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
        if signo == libc::SIGILL && self.repair(st) {
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

    /// Someone jumped to the `syscall` of a site that is a jump now: has the call made where it is now.
    fn repair(&self, st: &mut State) -> bool {
        let Some(regs) = frame::registers(&self.host, st.uc) else { return false };
        let Some((rip, site, text)) = self.host.space.local.lock().moved(regs.rip) else { return false };
        let mut found = text;
        if !self.host.read_exact(site, &mut found) || found != text {
            return false;
        }
        if !frame::set_registers(&self.host, st.uc, &Registers { rip, ..regs }) {
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

    // ---- parking ------------------------------------------------------------------------------------------

    /// Called by the watcher or a crowded receiver: the call has been blocked for a while.
    pub(super) fn start_parking(&self, st: &mut State) {
        let Phase::InCall(call) = st.phase else { return };
        if st.closes || matches!(*self.host.space.slots.lock(), Slots::Refused) || !self.leave_listener(st) {
            return;
        }
        st.phase = Phase::Parking(call, None);
        st.since = Instant::now();
        st.kicked = true;
        self.kick();
        self.send(st, 0);
    }

    /// Takes a slot, unless there is none.
    fn leave_listener(&self, st: &mut State) -> bool {
        if st.slot.is_none() {
            st.slot = self.host.space.take_slot();
        }
        st.slot.is_some()
    }

    /// In the stub, with the hypercall unanswered: into the slot, mapping the file first if need be.
    fn park(self: &Arc<Self>, st: &mut State, call: Syscall) {
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
    fn unpark(self: &Arc<Self>, st: &mut State, call: Syscall, outcome: Outcome) -> Checked {
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
    fn end_elsewhere(self: &Arc<Self>, st: &mut State, outcome: Outcome) -> bool {
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

    // ---- orders -------------------------------------------------------------------------------------------

    /// Writes orders into the stub's buffer and has it run them. The thread must be in an unanswered hypercall.
    fn order(&self, st: &mut State, calls: &[Call], then: Then) {
        let mut bytes = Vec::with_capacity(calls.len() * size_of::<Order>());
        for call in calls {
            bytes.extend(u64::from(call.nr).to_le_bytes());
            call.args.iter().for_each(|a| bytes.extend(a.to_le_bytes()));
            bytes.extend(0u64.to_le_bytes());
        }
        if !self.host.write_all(st.buffer, &bytes) {
            self.host.kill();
            return;
        }
        let pending = calls.iter().filter(|c| !crate::filter::is_native_in_stub(c.nr, &c.args)).copied().collect();
        st.phase = Phase::Ordered { pending, then };
        st.since = Instant::now();
        self.command(st, cmd::RUN, calls.len() as u64);
        self.shared.watch_soon();
    }

    /// Waits until the thread is stopped.
    pub(super) async fn wait_stopped(&self) -> Result<(), Gone> {
        poll_fn(|cx| {
            let mut st = self.lock();
            match st.phase {
                Phase::Stopped => Poll::Ready(Ok(())),
                Phase::Dead => Poll::Ready(Err(Gone)),
                _ => {
                    st.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Runs up to [`abi::ORDERS_MAX`] calls.
    pub(super) async fn run_batch(&self, calls: &[Call], files: &[BorrowedFd<'_>]) -> Result<Vec<i64>, Gone> {
        {
            let mut st = self.lock();
            let (Phase::Stopped, Some(id)) = (&st.phase, st.id) else { return Err(Gone) };
            for (at, file) in (crate::WINDOW_FD..).zip(files) {
                if sys::add_fd(self.listener(), id, *file, at).is_err() {
                    return Err(Gone);
                }
            }
            self.order(&mut st, calls, Then::Stop);
        }
        self.wait_stopped().await?;
        let buffer = self.lock().buffer;
        let mut bytes = vec![0; calls.len() * size_of::<Order>()];
        if !self.host.read_exact(buffer, &mut bytes) {
            return Err(Gone);
        }
        let at = std::mem::offset_of!(Order, ret);
        let result = |order: &[u8]| order.get(at..).and_then(|b| b.first_chunk()).map(|b| i64::from_le_bytes(*b));
        Ok(bytes.chunks_exact(size_of::<Order>()).filter_map(result).collect())
    }

    /// Has the stub clone; the caller has registered `nonce`. The host's result, the guest's word.
    pub(super) async fn run_clone(&self, kind: CloneKind, args: [u64; 6], stack: Option<u64>) -> Result<i64, Gone> {
        {
            let mut st = self.lock();
            if !matches!(st.phase, Phase::Stopped) {
                return Err(Gone);
            }
            let clone = Call { nr: libc::SYS_clone as u32, args };
            let place = Call { nr: 0, args: [stack.unwrap_or(0), self.host.space.stack_size(), 0, 0, 0, 0] };
            let mut bytes = Vec::new();
            for call in [&clone, &place] {
                bytes.extend(u64::from(call.nr).to_le_bytes());
                call.args.iter().for_each(|a| bytes.extend(a.to_le_bytes()));
                bytes.extend(0u64.to_le_bytes());
            }
            if !self.host.write_all(st.buffer, &bytes) {
                self.host.kill();
                return Err(Gone);
            }
            let command = match kind {
                CloneKind::Fork => cmd::FORK,
                CloneKind::ShareMemory | CloneKind::Thread => cmd::THREAD,
            };
            st.clone_stack = stack.map(|base| (base, base + self.host.space.stack_size()));
            st.phase = Phase::Ordered { pending: VecDeque::from([clone]), then: Then::Stop };
            st.since = Instant::now();
            self.command(&mut st, command, 0);
            self.shared.watch_soon();
        }
        self.wait_stopped().await?;
        Ok(self.lock().result)
    }
}

/// Maps the slot file that is at the window descriptor, protects it from fork and careless guests, and closes.
fn slot_orders() -> [Call; 4] {
    let call = |nr: libc::c_long, args| Call { nr: nr as u32, args };
    let flags = (libc::MAP_SHARED | libc::MAP_FIXED_NOREPLACE) as u64;
    let (base, size, window) = (abi::SLOTS_BASE, abi::SLOTS_SIZE, crate::WINDOW_FD.into());
    [
        call(libc::SYS_mmap, [base, size, 3, flags, window, 0]),
        call(libc::SYS_madvise, [base, size, libc::MADV_DONTFORK as u64, 0, 0, 0]),
        call(462, [base, size, 0, 0, 0, 0]),
        call(libc::SYS_close, [window, 0, 0, 0, 0, 0]),
    ]
}

mod answers;
mod channel;
mod rewrite;
