//! The sentry's side of a thread: answers, stops, orders.

use super::super::process::AddressSpace;
use super::super::slots::Channel;
use super::super::{Birth, frame, placement, sys};
use super::rewrite::register_barriers;
use super::{NotifyThread, Outcome, Phase, State, Then};
use crate::{
    Action, BoxFuture, Call, CloneKind, CloneSpec, Cloned, Event, Fact, Gone, Known, Mapping, Process, Registers,
    Syscall, Thread, Usage, WINDOW_FD,
};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Instant;
use stub::abi::{self, cmd};

/// FUTEX_WAIT and FUTEX_WAIT_BITSET.
const FUTEX_WAITS: [u64; 2] = [0, 9];
const FUTEX_CMD: u64 = 127;
/// `futex_waitv` and `futex_wait`.
const FUTEX2_WAITS: [u64; 2] = [449, 455];
const SYS_FUTEX: u64 = libc::SYS_futex as u64;
const EINTR: u64 = -libc::EINTR as i64 as u64;

impl NotifyThread {
    /// Takes the answer of a call that its thread no longer waits for in the listener.
    fn end_parked(&self, outcome: Outcome) -> bool {
        // The common case needs no reference count.
        if matches!(self.lock().phase, Phase::InCall(_) | Phase::Dead) {
            return false;
        }
        self.me.upgrade().is_some_and(|this| {
            let mut st = this.lock();
            this.end_elsewhere(&mut st, outcome)
        })
    }

    /// Has the watcher see to it that the stub obeys.
    pub(super) fn watch(&self, st: &mut State) {
        if let Some(me) = self.me.upgrade().filter(|_| !st.watched) {
            st.watched = true;
            self.shared.watch.add(&me);
        }
        self.shared.watch_soon();
    }

    /// Replaces host descriptors that the guest closed while no notification was at hand.
    pub(super) fn replace_stale_fds(&self, st: &State) {
        for fd in self.host.stale_fds.take() {
            self.replace_fd(st, fd);
        }
    }

    fn replace_fd(&self, st: &State, fd: u32) {
        if let Some(id) = st.id {
            let _ = sys::add_fd(self.listener(), id, self.shared.dummy(), fd);
        }
    }

    /// The host is not to run the `close` under way after all.
    fn close_by_replacing(&self, st: &mut State, call: &Syscall) {
        if st.closes.take().is_some() {
            self.replace_fd(st, call.args[0] as u32);
        }
    }

    pub(super) fn retire(&self, st: &mut State, wake: Option<u64>) {
        match wake {
            Some(addr) => {
                let futex = Call { nr: libc::SYS_futex as u32, args: [addr, 1, 1, 0, 0, 0] };
                self.order(st, &[futex], Then::Sleep);
            }
            None => self.sleep(st),
        }
    }

    pub(super) fn sleep(&self, st: &mut State) {
        self.command(st, cmd::SLEEP, 0);
        self.die(st);
    }

    fn die(&self, st: &mut State) {
        st.phase = Phase::Dead;
        st.event = Some(Event::Gone);
        if let Some(slot) = st.slot.take() {
            self.host.space.free_slot(slot);
        }
        self.close_channel(st);
        NotifyThread::wake(st);
    }

    /// The host process was reaped.
    pub(crate) fn host_gone(&self) {
        self.shared.forget_thread(self.tid, self);
        let mut st = self.lock();
        let was_booting = matches!(st.phase, Phase::Booting);
        if was_booting {
            self.shared.booted(&self.family.nest, None);
        }
        if !matches!(st.phase, Phase::Dead) {
            st.id = None;
            self.die(&mut st);
        }
    }

    /// Maps room for further stub stacks and takes one.
    async fn new_stack(&self) -> Result<Option<u64>, Gone> {
        if let Some(base) = self.host.space.take_stack() {
            return Ok(Some(base));
        }
        let len = self.host.space.stack_size() * super::super::process::STACKS_PER_CHUNK;
        let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE) as u64;
        let map = Call { nr: libc::SYS_mmap as u32, args: [0, len, 3, flags, u64::MAX, 0] };
        let base = self.run_batch(&[map], &[]).await?.first().copied().unwrap_or(-1);
        if !(0x20_0000..0x7fff_ffff_f000).contains(&base) {
            return Ok(None);
        }
        let seal = Call { nr: 462, args: [base as u64, len, 0, 0, 0, 0] };
        let mut last = vec![seal];
        if self.shared.local_answers {
            // Its threads' sites may be rewritten.
            last.push(register_barriers());
        }
        self.run_batch(&last, &[]).await?;
        self.host.space.add_chunk(base as u64, len);
        Ok(self.host.space.take_stack())
    }

    async fn clone_inner(&self, spec: &CloneSpec) -> Result<Cloned, Gone> {
        let stack = match spec.kind {
            CloneKind::Fork => None,
            CloneKind::ShareMemory | CloneKind::Thread => match self.new_stack().await? {
                Some(base) => Some(base),
                None => return Ok(Err(libc::ENOMEM)),
            },
        };
        let _copying = match spec.kind {
            CloneKind::Fork => Some(self.host.space.gate.enter().await),
            CloneKind::ShareMemory | CloneKind::Thread => None,
        };
        let space = match spec.kind {
            CloneKind::Fork => Arc::new(self.host.space.fork(self.stack)),
            CloneKind::ShareMemory | CloneKind::Thread => self.host.space.clone(),
        };
        match spec.kind {
            CloneKind::Fork => {}
            CloneKind::ShareMemory => self.host.forget_fact(Fact::All),
            CloneKind::Thread => self.host.forget_fact(Fact::Thread),
        }
        let child_stack = stack.or(self.stack);
        // The child is to have the affinity that its parent was given.
        self.end_attention(&mut self.lock());
        let birth = Arc::new(Birth::new(spec.kind, self, space, child_stack));
        let nonce = self.shared.expect_birth(&birth);
        let shared = libc::CLONE_VM
            | libc::CLONE_FS
            | libc::CLONE_FILES
            | libc::CLONE_SIGHAND
            | libc::CLONE_THREAD
            | libc::CLONE_SYSVSEM;
        let mut flags = match spec.kind {
            CloneKind::Fork => libc::CLONE_PARENT,
            CloneKind::ShareMemory => libc::CLONE_PARENT | libc::CLONE_VM,
            CloneKind::Thread => shared,
        };
        if spec.tls.is_some() {
            flags |= libc::CLONE_SETTLS;
        }
        if spec.clear_tid.is_some() {
            flags |= libc::CLONE_CHILD_CLEARTID;
        }
        let exit_signal = if spec.kind == CloneKind::Thread { 0 } else { libc::SIGCHLD };
        let args = [(flags | exit_signal) as u64, 0, 0, spec.clear_tid.unwrap_or(0), spec.tls.unwrap_or(0), nonce];
        let kept = placement::keep_here(&self.host, self.tid);
        let mut result = self.run_clone_for(spec, args, stack).await;
        const REFUSED: i64 = -(libc::EAGAIN as i64);
        if matches!(result, Ok(REFUSED)) && self.family.nest.make_room().await {
            result = self.run_clone_for(spec, args, stack).await;
        }
        let claimed = match result {
            Ok(tid) if tid > 0 => tid,
            failed => {
                self.shared.cancel_birth(nonce);
                if let Some(base) = stack {
                    self.host.space.free_stack(base);
                }
                let errno = failed? as i32;
                return Ok(Err(if (-4095..0).contains(&errno) { -errno } else { libc::EAGAIN }));
            }
        };
        match birth.wait(claimed as i32).await {
            Some(child) => {
                if let Some(kept) = &kept {
                    kept.release(&child.host, child.tid);
                }
                Ok(Ok(child))
            }
            None => {
                self.shared.cancel_birth(nonce);
                Ok(Err(libc::EAGAIN))
            }
        }
    }
}

impl NotifyThread {
    /// Clones with the frame that the child is to return through: to copy it costs less than to change it afterwards
    /// in memory that the host would have to copy for that.
    pub(super) fn raw_registers(&self) -> Result<Registers, Gone> {
        let uc = self.lock().uc;
        frame::registers(&self.host, uc).ok_or(Gone)
    }

    async fn run_clone_for(&self, spec: &CloneSpec, args: [u64; 6], stack: Option<u64>) -> Result<i64, Gone> {
        let own = self.raw_registers()?;
        let child = Registers { rax: 0, rsp: spec.stack.unwrap_or(own.rsp), ..own };
        self.set_registers(&child)?;
        let result = self.run_clone(spec.kind, args, stack).await?;
        self.set_registers(&own)?;
        Ok(result)
    }
}

impl Thread for NotifyThread {
    fn poll_event(&self, cx: &mut Context<'_>) -> Poll<Event> {
        let mut st = self.lock();
        if let Some(event) = st.event.take() {
            return Poll::Ready(event);
        }
        if matches!(st.phase, Phase::Dead) {
            return Poll::Ready(Event::Gone);
        }
        if !st.waker.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
            st.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    fn answer(&self, ret: i64) {
        let mut st = self.lock();
        if self.answer_channel(&mut st, ret) {
            return;
        }
        if let Phase::InCall(call) = st.phase {
            st.phase = Phase::Running;
            st.last = (call.ip, ret);
            if st.offer.take().is_some() {
                self.refuse_clone(&mut st, ret);
                return;
            }
            self.leave_core(&mut st);
            self.listen(&st);
            if ret == 0 && st.closes.is_some() && st.closes == st.id {
                st.closes = None;
                self.let_through(&mut st);
            } else {
                self.close_by_replacing(&mut st, &call);
                self.send(&mut st, ret);
            }
            return;
        }
        drop(st);
        self.end_parked(Outcome::Return(ret));
    }

    fn answer_native(&self) {
        let mut st = self.lock();
        if let Phase::InCall(call) = st.phase {
            st.phase = Phase::Running;
            if i64::from(call.nr) == libc::SYS_exit_group {
                // A forked child shares page tables' locks with its parent: to end at the same time slows both.
                if self.family.root == self.tid { placement::die_elsewhere(self.tid) } else { placement::die_here() }
            }
            self.let_through(&mut st);
            return;
        }
        drop(st);
        self.end_parked(Outcome::Native);
    }

    fn answer_mmap(&self, file: &Arc<OwnedFd>, at: u32) -> io::Result<()> {
        let mut st = self.lock();
        let (Phase::InCall(_), Some(id), true) = (&st.phase, st.id, at < WINDOW_FD) else {
            return Err(io::ErrorKind::WouldBlock.into());
        };
        // A program that maps a library maps it piece by piece.
        let is_there = self.host.host_fds.lock().get(&at).is_some_and(|there| Arc::ptr_eq(there, file));
        if !is_there {
            sys::add_fd(self.listener(), id, file.as_fd(), at)?;
            self.host.host_fds.lock().insert(at, file.clone());
        }
        st.phase = Phase::Running;
        self.let_through(&mut st);
        Ok(())
    }

    fn forget_fd(&self, fd: u32) {
        if self.host.host_fds.lock().remove(&fd).is_none() {
            return;
        }
        let alone = self.host.live_threads() == 1;
        let mut st = self.lock();
        if let Phase::InCall(call) = st.phase {
            // A native close races with the reuse of the number by other threads (M4).
            if is_close(&call, fd) && alone {
                st.closes = st.id;
            } else {
                self.replace_fd(&st, fd);
            }
        } else {
            // To be replaced at its next notification, which a call of this thread's is to be (`may_listen`).
            self.host.stale_fds.push(fd);
        }
    }

    fn enter(&self, ret: i64) -> BoxFuture<'_, Result<(), Gone>> {
        Box::pin(async move {
            {
                let mut st = self.lock();
                if let Phase::InCall(call) = st.phase {
                    self.close_by_replacing(&mut st, &call);
                    st.phase = Phase::Entering { ret, call };
                    st.since = Instant::now();
                    st.last = (call.ip, ret);
                    st.offer = None;
                    st.kicked = true;
                    self.kick();
                    self.send(&mut st, ret);
                    self.watch(&mut st);
                } else {
                    drop(st);
                    self.end_parked(Outcome::Stop(ret));
                }
            }
            self.wait_stopped().await
        })
    }

    fn interrupt(&self) {
        let mut st = self.lock();
        if matches!(st.phase, Phase::Running) && !st.kicked {
            st.kicked = true;
            self.kick();
        }
    }

    fn registers(&self) -> Result<Registers, Gone> {
        let mut regs = self.raw_registers()?;
        let seen = self.seen(regs.rip);
        if seen != regs.rip {
            // As the call leaves it; before the call it means nothing.
            (regs.rip, regs.rcx) = (seen, seen);
        }
        Ok(regs)
    }

    fn set_registers(&self, regs: &Registers) -> Result<(), Gone> {
        let uc = self.lock().uc;
        let regs = Registers { rip: self.real(regs.rip), ..*regs };
        if frame::set_registers(&self.host, uc, &regs) { Ok(()) } else { Err(Gone) }
    }

    fn fpstate(&self) -> Result<Vec<u8>, Gone> {
        let uc = self.lock().uc;
        frame::fpstate(&self.host, uc).ok_or(Gone)
    }

    fn set_fpstate(&self, state: &[u8]) -> Result<(), Gone> {
        let uc = self.lock().uc;
        if frame::set_fpstate(&self.host, uc, state) { Ok(()) } else { Err(Gone) }
    }

    /// A kick ends an untimed futex wait with a restart (`rax` 202 at the `syscall`), and a timed one with
    /// `EINTR` behind it, whatever the flags (M3).
    fn settle_native_wait(&self, restarting: Option<bool>) -> Result<(), Gone> {
        let last = self.lock().last;
        let mut regs = self.raw_registers()?;
        if FUTEX2_WAITS.contains(&regs.rax) && regs.rcx == regs.rip.wrapping_add(2) {
            // These are always to be made again, timed or not.
            if restarting == Some(false) {
                (regs.rip, regs.rax) = (regs.rip.wrapping_add(2), EINTR);
            }
            return self.set_registers(&regs);
        }
        if !FUTEX_WAITS.contains(&(regs.rsi & FUTEX_CMD)) {
            return Ok(());
        }
        let ended = regs.rcx == regs.rip && regs.rax == EINTR && last != (regs.rip, EINTR as i64);
        let restarts = regs.rax == SYS_FUTEX && regs.rcx == regs.rip.wrapping_add(2);
        match restarting {
            None if ended => (regs.rip, regs.rax) = (regs.rip.wrapping_sub(2), SYS_FUTEX),
            Some(false) if restarts => (regs.rip, regs.rax) = (regs.rip.wrapping_add(2), EINTR),
            _ => return Ok(()),
        }
        self.set_registers(&regs)
    }

    fn run<'a>(&'a self, calls: &'a [Call]) -> BoxFuture<'a, Result<Vec<i64>, Gone>> {
        Box::pin(async move {
            let mut results = Vec::with_capacity(calls.len());
            for batch in calls.chunks(abi::ORDERS_MAX) {
                results.extend(self.run_batch(batch, &[]).await?);
            }
            Ok(results)
        })
    }

    fn run_with_files<'a>(
        &'a self,
        files: &'a [BorrowedFd<'a>],
        calls: &'a [Call],
    ) -> BoxFuture<'a, Result<Vec<i64>, Gone>> {
        Box::pin(async move {
            let close = |fd: u32| Call { nr: libc::SYS_close as u32, args: [u64::from(fd), 0, 0, 0, 0, 0] };
            let closes: Vec<Call> = (WINDOW_FD..).take(files.len()).map(close).collect();
            let mut results = Vec::with_capacity(calls.len());
            let _kept = placement::keep_here(&self.host, self.tid);
            for batch in calls.chunks(abi::ORDERS_MAX - closes.len()) {
                let orders: Vec<Call> = batch.iter().chain(&closes).copied().collect();
                let mut done = self.run_batch(&orders, files).await?;
                done.truncate(batch.len());
                results.extend(done);
            }
            Ok(results)
        })
    }

    fn clone_in_call<'a>(&'a self, spec: &'a CloneSpec) -> BoxFuture<'a, Result<Option<Arc<dyn Thread>>, Gone>> {
        Box::pin(async { Ok(self.clone_in_call(spec).await?.map(|child| child as Arc<dyn Thread>)) })
    }

    fn clone_thread<'a>(&'a self, spec: &'a CloneSpec) -> BoxFuture<'a, Result<Cloned, Gone>> {
        Box::pin(self.clone_inner(spec))
    }

    fn is_fast(&self) -> bool {
        self.is_in_channel.load(Ordering::Relaxed)
    }

    fn is_hot(&self, call: &Syscall) -> bool {
        self.wants_rewrite(call)
    }

    fn rewrite<'a>(
        &'a self,
        call: &'a Syscall,
        known: &'a Known,
        awaited_by: Option<Arc<dyn Process>>,
    ) -> BoxFuture<'a, Result<(), Gone>> {
        Box::pin(self.rewrite_site(call, known, awaited_by))
    }

    fn robust_list(&self) -> Option<u64> {
        let st = self.lock();
        st.channel.as_ref().map_or(st.robust_list, Channel::robust_list)
    }

    fn forget_robust_list(&self) {
        let mut st = self.lock();
        st.robust_list = None;
        if let Some(channel) = &st.channel {
            channel.take_robust_list();
        }
    }

    fn lend_sigmask(&self, mask: u64) -> bool {
        let st = self.lock();
        let channel = st.channel.as_ref().filter(|_| self.shared.gives_channels && !self.host.is_filtered());
        channel.inspect(|channel| channel.lend_sigmask(mask)).is_some()
    }

    fn lent_sigmask(&self) -> Option<u64> {
        self.lock().channel.as_ref().map(Channel::lent_sigmask)
    }

    fn take_sigmask(&self) -> Option<u64> {
        self.lock().channel.as_ref().map(Channel::take_sigmask)
    }

    fn lend_sigactions(&self, actions: &[Action]) -> bool {
        self.lend_actions(actions)
    }

    fn take_sigactions(&self) -> Option<Vec<Action>> {
        self.take_actions()
    }

    fn resume(&self) {
        let mut st = self.lock();
        if matches!(st.phase, Phase::Stopped) {
            st.phase = Phase::Running;
            self.let_go(&mut st);
        }
    }

    fn exit(&self, wake: Option<u64>) {
        let is_leader = self.tid == self.host.pid;
        if is_leader && self.host.live_threads() > 1 {
            let mut st = self.lock();
            if matches!(st.phase, Phase::InCall(_)) {
                st.phase = Phase::Retiring { wake };
                st.since = Instant::now();
                st.kicked = true;
                self.kick();
                self.send(&mut st, 0);
                self.watch(&mut st);
            } else if matches!(st.phase, Phase::Stopped) {
                self.retire(&mut st, wake);
            }
            return;
        }
        // Its id may be reused as soon as it has exited.
        self.shared.forget_thread(self.tid, self);
        if let Some(base) = self.stack {
            self.host.space.free_stack(base);
        }
        let mut st = self.lock();
        match st.phase {
            Phase::InCall(Syscall { nr, .. }) if i64::from(nr) == libc::SYS_exit => self.let_through(&mut st),
            _ => {
                drop(st);
                self.host.kill();
                return;
            }
        }
        self.die(&mut st);
    }

    fn read(&self, addr: u64, dst: &mut [u8]) -> usize {
        self.read_window(addr, dst).unwrap_or_else(|| self.host.read(addr, dst))
    }

    fn write(&self, addr: u64, src: &[u8]) -> usize {
        self.write_window(addr, src).unwrap_or_else(|| self.host.write(addr, src))
    }

    fn read_mapped(&self, addr: u64, to: &Mapping, at: usize, len: usize) -> usize {
        self.pass_window(addr, len);
        self.host.copy_mapped(|pid| to.copy_from(pid, addr, at, len))
    }

    fn write_mapped(&self, addr: u64, from: &Mapping, at: usize, len: usize) -> usize {
        self.pass_window(addr, len);
        self.host.copy_mapped(|pid| from.copy_to(pid, addr, at, len))
    }

    fn process(&self) -> &Arc<dyn Process> {
        &self.process
    }

    fn usage(&self) -> Usage {
        self.host.usage_of(Some(self.tid)).unwrap_or_default()
    }

    fn cpu_time(&self) -> u64 {
        self.host.thread_time(self.tid)
    }

    fn host_tid(&self) -> i32 {
        // Who asks wants to see or change where it runs.
        self.end_attention(&mut self.lock());
        self.tid
    }
}

/// Whether the call closes this descriptor.
fn is_close(call: &Syscall, fd: u32) -> bool {
    i64::from(call.nr) == libc::SYS_close && call.args[0] as u32 == fd
}

impl Birth {
    pub(super) fn new(kind: CloneKind, parent: &NotifyThread, space: Arc<AddressSpace>, stack: Option<u64>) -> Birth {
        Birth {
            kind,
            host: parent.host.clone(),
            family: parent.family.clone(),
            space,
            stack,
            in_call: None,
            state: parking_lot::Mutex::default(),
        }
    }
}
