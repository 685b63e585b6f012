//! A thread's channel: calls that come through shared memory while an attendant looks (see [`super::super::attendant`]).
//!
//! The state of such a call is the thread's phase, as with any other; the channel's word only hands it over. Where a
//! thread that is stopped in the channel's code is in terms of its program is decided here (the code says how).

use super::super::attendant::{self, Attention};
use super::super::frame;
use super::super::local::{self, Moved, Window, has_more_args};
use super::super::process::Slots;
use super::super::slots::{Channel, SlotFile};
use super::orders::slot_orders;
use super::{BUSY, Checked, NotifyThread, Phase, State, Violation};
use crate::{Event, Gone, Process, Registers, Syscall};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use stub::{abi, entry};

/// The code before a call is made, while what it reads is copied, while it waits, and when it could not be made.
const BEFORE: Range<u64> = entry::CHANNEL..entry::CHANNEL_COPY;
const COPYING: Range<u64> = entry::CHANNEL_COPY..entry::CHANNEL_ASKED;
const WAITING: Range<u64> = entry::CHANNEL_WAIT..entry::CHANNEL_UNASKED;
const SLOW: Range<u64> = entry::CHANNEL_SLOW..entry::CHANNEL_END;
/// The code of `clone3`: before anything is asked for, up to the host's call, after it if there is a child, and if there
/// is none.
const CLONE_BEFORE: Range<u64> = entry::CLONE..entry::CLONE_COPY;
const CLONE_COPYING: Range<u64> = entry::CLONE_COPY..entry::CLONE_MADE;
const CLONE_MADE: Range<u64> = entry::CLONE_MADE..entry::CLONE_UNMADE;
const CLONE_UNMADE: Range<u64> = entry::CLONE_UNMADE..entry::CLONE_SLOW;
const CLONE_SLOW: Range<u64> = entry::CLONE_SLOW..entry::CLONE_END;
const EFAULT: i64 = -(libc::EFAULT as i64);
/// A thread whose attendant has left is still busy if it calls again within this time.
const GRACE: Duration = Duration::from_micros(300);
/// EFLAGS.
const ZERO_FLAG: u64 = 1 << 6;

impl NotifyThread {
    /// The site whose code goes on at `done`: where it begins, and where its call ends.
    pub(super) fn site(&self, done: u64) -> Option<(u64, u64)> {
        self.host.space.local.lock().site(done)
    }

    /// Where the code is now of which a program thinks that it is at `ip`.
    pub(super) fn real(&self, ip: u64) -> u64 {
        let moved = self.host.space.local.lock().moved(ip);
        moved.filter(|moved| self.is_there(moved)).map_or(ip, |moved| moved.to)
    }

    /// Whether the site still is what it was made.
    pub(super) fn is_there(&self, moved: &Moved) -> bool {
        moved.text.is_none_or(|text| {
            let mut found = text;
            self.host.read_exact(moved.site, &mut found) && found == text
        })
    }

    // ---- calls --------------------------------------------------------------------------------------------

    /// Takes the call that waits in the channel, if there is one.
    pub(in super::super) fn take_request(self: &Arc<Self>, st: &mut State) -> bool {
        let (Phase::Running, Some(channel)) = (&st.phase, &st.channel) else { return false };
        let Some(request) = channel.take() else { return false };
        let nr = request.nr;
        if !local::has_channel(nr) {
            tracing::warn!(pid = self.host.pid, tid = self.tid, nr, "guest process killed: a call not of its channel");
            self.host.kill();
            return false;
        }
        let ip = self.host.space.ends.of(request.done).unwrap_or(request.done);
        let call = Syscall { nr, args: request.args, ip };
        st.window = Window::new(&call, || channel.path_len());
        channel.expect(st.window.room());
        st.phase = Phase::InChannel(call);
        self.is_in_channel.store(true, Ordering::Relaxed);
        NotifyThread::set_event(st, Event::Syscall(call));
        true
    }

    /// Answers a call that came through the channel; false if none did.
    pub(super) fn answer_channel(&self, st: &mut State, ret: i64) -> bool {
        let (Phase::InChannel(call), Some(channel)) = (&st.phase, &st.channel) else { return false };
        st.last = (call.ip, ret);
        self.is_in_channel.store(false, Ordering::Relaxed);
        channel.answer(ret, st.window.left(), self.may_listen(st));
        st.phase = Phase::Running;
        true
    }

    /// The next call need not be a notification.
    pub(super) fn may_listen(&self, st: &State) -> bool {
        st.attention == Attention::Full && self.host.stale_fds.is_empty()
    }

    /// Before a call is answered that came the other way: the next one may come through the channel.
    pub(super) fn listen(&self, st: &State) {
        if let Some(channel) = st.channel.as_ref().filter(|_| self.may_listen(st)) {
            channel.listen();
        }
    }

    /// After the sentry had its turn with a call: if it blocks, its thread need not look for the answer.
    pub(in super::super) fn after_request(self: &Arc<Self>) {
        let mut st = self.lock();
        match (&st.phase, &st.channel) {
            (Phase::Running | Phase::Dead, _) => {}
            (Phase::InChannel(_), Some(channel)) => channel.block(),
            _ => self.be_watched(&mut st),
        }
    }

    /// Has the watcher look after this thread.
    pub(in super::super) fn be_watched(self: &Arc<Self>, st: &mut State) {
        if !st.watched {
            st.watched = true;
            self.shared.watch.add(self);
        }
    }

    // ---- stops --------------------------------------------------------------------------------------------

    /// A thread whose calls have all been answered was stopped, perhaps on its way into or out of its channel: takes it
    /// back to the site if its call has not been made, and on behind it otherwise.
    pub(super) fn leave_channel(&self, st: &State) -> Checked {
        if st.channel.is_none() && !self.host.space.local.lock().is_open() {
            return Ok(());
        }
        const UNREADABLE: Violation = Violation("its frame cannot be read");
        const UNWRITABLE: Violation = Violation("its frame cannot be written");
        let regs = frame::registers(&self.host, st.uc).ok_or(UNREADABLE)?;
        if let Some(regs) = self.out_of_sigmask(st, &regs) {
            return if self.set(st, &regs) { Ok(()) } else { Err(UNWRITABLE) };
        }
        let Some(channel) = &st.channel else { return Ok(()) };
        let is_set = match regs.rip {
            // What `rcx` and the channel say is the guest's word, to harm itself with.
            rip if [BEFORE, SLOW, CLONE_BEFORE, CLONE_SLOW].iter().any(|code| code.contains(&rip)) => {
                let site = self.site(regs.rcx & u64::from(abi::shape::ADDRESS));
                site.is_none_or(|(at, _)| self.set(st, &Registers { rip: at, rcx: at, ..regs }))
            }
            rip if COPYING.contains(&rip) || rip == entry::CHANNEL_UNASKED => self.take_back(st, channel, &regs),
            rip if CLONE_COPYING.contains(&rip) || CLONE_UNMADE.contains(&rip) => self.take_back(st, channel, &regs),
            rip if CLONE_MADE.contains(&rip) => match regs.rax.cast_signed() {
                // It was refused.
                ..0 => self.take_back(st, channel, &regs),
                _ => self.take_on(st, channel, &regs, st.last.1),
            },
            entry::CHANNEL_ASKED if regs.eflags & ZERO_FLAG == 0 => self.take_back(st, channel, &regs),
            rip if (rip == entry::CHANNEL_ASKED || WAITING.contains(&rip)) && channel.withdraw() => {
                self.take_back(st, channel, &regs)
            }
            rip if rip == entry::CHANNEL_ASKED || WAITING.contains(&rip) => {
                let ret = if self.deliver(st) { st.last.1 } else { EFAULT };
                self.take_on(st, channel, &regs, ret)
            }
            _ => return Ok(()),
        };
        if is_set { Ok(()) } else { Err(UNWRITABLE) }
    }

    /// Back to the site whose call has not been made.
    fn take_back(&self, st: &State, channel: &Channel, regs: &Registers) -> bool {
        let request = channel.request();
        let at = self.site(request.done).map_or(regs.rip, |(at, _)| at);
        self.set(st, &with_arguments(Registers { rip: at, rcx: at, ..*regs }, request.nr, &request.args))
    }

    /// On behind the site whose call has been answered.
    fn take_on(&self, st: &State, channel: &Channel, regs: &Registers, ret: i64) -> bool {
        let (ip, _) = st.last;
        let request = channel.request();
        let regs = with_arguments(*regs, request.nr, &request.args);
        self.set(st, &Registers { rip: self.real(ip), rcx: ip, rax: ret.cast_unsigned(), ..regs })
    }

    /// A thread faulted: if that was while its call's memory was copied, has it make the call the other way, or the call
    /// fail.
    pub(super) fn settle_copy(&self, st: &mut State, signo: i32) -> bool {
        let Some(channel) = st.channel.as_ref().filter(|_| [libc::SIGSEGV, libc::SIGBUS].contains(&signo)) else {
            return false;
        };
        let Some(regs) = frame::registers(&self.host, st.uc) else { return false };
        let is_settled = if COPYING.contains(&regs.rip) || CLONE_COPYING.contains(&regs.rip) {
            let request = channel.request();
            let slow = self.host.space.local.lock().slow(request.done);
            slow.is_some_and(|slow| {
                self.set(st, &with_arguments(Registers { rip: slow, rcx: slow, ..regs }, request.nr, &request.args))
            })
        } else {
            // Some of it may have been written: another thread took the memory away meanwhile.
            WAITING.contains(&regs.rip) && self.take_on(st, channel, &regs, EFAULT)
                || self.past_sigmask(channel, &regs).is_some_and(|regs| self.set(st, &regs))
        };
        if is_settled {
            self.let_go(st);
        }
        is_settled
    }

    // ---- memory -------------------------------------------------------------------------------------------

    /// As much of `dst` as the call has brought along.
    pub(super) fn read_window(&self, addr: u64, dst: &mut [u8]) -> Option<usize> {
        let mut st = self.lock();
        if !matches!(st.phase, Phase::InChannel(_)) {
            return None;
        }
        if st.window.has_left(addr, dst.len() as u64) {
            self.close_window(&mut st);
        }
        let (channel, len) = (st.channel.as_ref()?, dst.len() as u64);
        let vector = |at| {
            let mut halves = [0; 16];
            channel.read(at, &mut halves);
            let whole = u128::from_ne_bytes(halves);
            (whole as u64, (whole >> 64) as u64)
        };
        let (at, len) = st.window.read(addr, len).or_else(|| st.window.find(addr, len, vector))?;
        let dst = dst.get_mut(..len as usize)?;
        channel.read(at, dst);
        Some(dst.len())
    }

    /// Leaves `src` in the channel, if the thread can copy it from there.
    pub(super) fn write_window(&self, addr: u64, src: &[u8]) -> Option<usize> {
        let mut st = self.lock();
        if !matches!(st.phase, Phase::InChannel(_)) {
            return None;
        }
        let Some(at) = st.window.write(addr, src.len() as u64) else {
            if st.window.has_left(addr, src.len() as u64) {
                self.close_window(&mut st);
            }
            return None;
        };
        st.channel.as_ref()?.write(at, src);
        Some(src.len())
    }

    /// The `len` bytes at `addr` are about to be reached past the channel.
    pub(super) fn pass_window(&self, addr: u64, len: usize) {
        let mut st = self.lock();
        if matches!(st.phase, Phase::InChannel(_)) && st.window.has_left(addr, len as u64) {
            self.close_window(&mut st);
        }
    }

    /// Copies what the call has written and its thread has not copied. False if that cannot be.
    fn deliver(&self, st: &State) -> bool {
        let (Some((to, len)), Some(channel)) = (st.window.left(), &st.channel) else { return true };
        let mut bytes = vec![0; len as usize];
        channel.read(abi::channel::OUT, &mut bytes);
        self.host.write_all(to, &bytes)
    }

    /// The channel no longer stands for any memory of the call under way.
    pub(super) fn close_window(&self, st: &mut State) {
        self.deliver(st);
        st.window = Window::default();
    }

    fn set(&self, st: &State, regs: &Registers) -> bool {
        frame::set_registers(&self.host, st.uc, regs)
    }

    /// Has the frame return behind a call that may have been made through the channel, whose code changes arguments.
    pub(super) fn set_behind(&self, st: &State, ret: i64, call: &Syscall) -> bool {
        let Some(regs) = frame::registers(&self.host, st.uc) else { return false };
        let regs = with_arguments(regs, call.nr, &call.args);
        self.set(st, &Registers { rip: self.real(call.ip), rcx: call.ip, rax: ret.cast_unsigned(), ..regs })
    }

    // ---- having one ---------------------------------------------------------------------------------------

    /// Whether a thread that makes many calls should be given a channel: its site is there, the channel is not.
    pub(super) fn wants_channel(&self, st: &State) -> bool {
        st.channel.is_none() && self.host.space.local.lock().is_open()
    }

    /// Gives a stopped thread a channel, if there is one to be had.
    pub(super) async fn open_channel(&self) -> Result<(), Gone> {
        if self.lock().channel.is_some() {
            return Ok(());
        }
        if let Some(file) = self.begin_mapping() {
            // It may die here while its memory lives on, in the parent that waits for it.
            let mapped = self.run_batch(&slot_orders(), &[file.fd()]).await;
            let is_mapped = mapped.as_ref().is_ok_and(|m| m.first() == Some(&abi::SLOTS_BASE.cast_signed()));
            *self.host.space.slots.lock() = if is_mapped { Slots::Mapped(file) } else { Slots::Refused };
            mapped?;
        }
        self.host.space.local.lock().open();
        self.take_channel(&mut self.lock());
        Ok(())
    }

    /// A file for the process's slots, if it has none: noted before it is mapped, for a thread that is parked meanwhile
    /// would map one of its own, and the sentry would wake threads in another file than they wait in.
    fn begin_mapping(&self) -> Option<Arc<SlotFile>> {
        let mut slots = self.host.space.slots.lock();
        let file = matches!(*slots, Slots::Unmapped).then(SlotFile::new)?.ok().map(Arc::new)?;
        *slots = Slots::Mapping(file.clone());
        Some(file)
    }

    /// One that nobody has, if the process's slots are there.
    pub(super) fn new_channel(&self) -> Option<Channel> {
        let slots = self.host.space.slots.lock();
        let Slots::Mapped(file) = &*slots else { return None };
        Some(Channel::new(file, self.host.space.take_channel()?))
    }

    fn take_channel(&self, st: &mut State) {
        if let Some(channel) = self.new_channel() {
            st.gs = Some(channel.guest_address());
            st.channel = Some(channel);
        }
    }

    /// A new thread has its creator's GS: it gets a channel of its own, or none.
    pub(in super::super) fn inherit_channel(&self, st: &mut State) {
        if self.host.space.local.lock().is_open() {
            st.gs = Some(0);
            self.take_channel(st);
        }
    }

    /// Nobody will look at it again.
    pub(super) fn close_channel(&self, st: &mut State) {
        if std::mem::take(&mut st.attention) != Attention::None {
            self.shared.attendants.forget(self);
        }
        if let Some(channel) = st.channel.take() {
            st.robust_list = channel.robust_list();
            if let Some(table) = st.table.take() {
                self.host.space.free_table(table);
            }
            self.host.space.free_channel(channel.index);
        }
    }

    // ---- attention ----------------------------------------------------------------------------------------

    /// A busy thread made a call the slow way for want of attention.
    pub(super) fn seek_attention(self: &Arc<Self>, st: &mut State) {
        let is_new = st.attention != Attention::Full;
        let Some(channel) = st.channel.as_ref().filter(|_| is_new && !self.host.is_filtered()) else { return };
        st.attention = attendant::invite(&self.shared, self, channel);
        st.streak = 0;
    }

    /// The thread is about to go on, on the calling thread's core most likely: not where somebody attends.
    pub(super) fn leave_core(&self, st: &mut State) {
        if st.attention == Attention::None
            && self.shared.attendants.are_here()
            && let Some(this) = self.me.upgrade()
        {
            let channel = st.channel.as_ref().filter(|_| !self.host.is_filtered());
            st.attention = attendant::make_room(&self.shared, &this, channel);
        }
    }

    /// From now on calls come the slow way; one that is there already is taken.
    pub(in super::super) fn end_attention(&self, st: &mut State) {
        let before = std::mem::take(&mut st.attention);
        if before != Attention::None {
            self.shared.attendants.forget(self);
        }
        if before == Attention::Full {
            // It has made many calls, and may be attended again at once: perhaps it was but slow to wake.
            (st.since, st.streak) = (Instant::now() + GRACE, BUSY);
            let is_quiet = st.channel.as_ref().is_none_or(Channel::stop_listening);
            if !is_quiet && let Some(this) = self.me.upgrade() {
                this.take_request(st);
            }
        }
    }
}

/// `regs` with the arguments of a call as they were when it was made: those that the channel's code changes.
fn with_arguments(regs: Registers, nr: u32, args: &[u64; 6]) -> Registers {
    let [rdi, rsi, rdx, r10, r8, r9] = *args;
    let (r8, r9) = if has_more_args(nr) { (r8, r9) } else { (regs.r8, regs.r9) };
    Registers { rdi, rsi, rdx, r10, r8, r9, ..regs }
}
