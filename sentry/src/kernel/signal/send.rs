//! Sending signals: `kernel/signal.c` of Linux, in its order.

use super::{DefaultAction, SIGRTMIN, SigInfo, SigSet, default_action};
use crate::errno::{Errno, SysResult};
use crate::executor::Events;
use crate::kernel::{Cap, Kernel, Task, ThreadGroup, Wait, Work};
use std::sync::Arc;

impl Task {
    /// Sends a signal to this thread.
    pub fn send_signal(&self, info: SigInfo) {
        if self.group.prepare(&self.kernel, info.signo) && !self.is_dropped(info.signo) {
            self.signals().pending.push(info);
            self.notice(info.signo);
            self.group.signal_wait.notify(Events::IN);
        }
    }

    /// Counts a further expiration of a timer whose signal this thread has not taken yet.
    pub(in crate::kernel) fn overrun(&self, info: &SigInfo) -> bool {
        self.signals().pending.overrun(info)
    }

    /// As [`send_signal`](Self::send_signal), for signals that a caller wants queued or refused (`EAGAIN`).
    pub fn queue_signal(&self, info: SigInfo) -> SysResult<()> {
        if self.group.prepare(&self.kernel, info.signo) && !self.is_dropped(info.signo) {
            if !self.signals().pending.push(info) {
                return Err(Errno::AGAIN);
            }
            self.notice(info.signo);
            self.group.signal_wait.notify(Events::IN);
        }
        Ok(())
    }

    /// A fault: if the signal is blocked or ignored, its action becomes the default, so that it kills.
    pub(crate) fn force_signal(&self, info: SigInfo) {
        let sighand = self.group.sighand();
        let mut action = sighand.get(info.signo);
        {
            let mut signals = self.signals();
            let blocked = signals.mask.contains(info.signo);
            if blocked || action.handler == super::SIG_IGN {
                action.handler = super::SIG_DFL;
                sighand.set(info.signo, action);
                signals.mask = signals.mask.without(info.signo);
            }
            signals.pending.push(info);
        }
        sighand.recall();
        self.nudge(Work::SIGNAL);
    }

    /// Whether a signal to this thread would be thrown away at once. A blocked one is kept even if ignored: the
    /// action may change before it is unblocked.
    fn is_dropped(&self, signo: i32) -> bool {
        let signals = self.signals();
        let kept = signals.mask.contains(signo)
            || signals.waited.contains(signo)
            || signals.saved_mask.is_some_and(|m| m.contains(signo));
        drop(signals);
        !kept && (self.group.sighand().ignores(signo) || self.is_unkillable(signo))
    }

    /// Process 1 gets only signals that it handles, and SIGKILL and SIGSTOP not at all from inside.
    fn is_unkillable(&self, signo: i32) -> bool {
        self.group.tgid == 1
            && self.group.sighand().get(signo).handler == super::SIG_DFL
            && !SigSet::SYNCHRONOUS.contains(signo)
    }

    /// Makes the thread see a pending signal, if it does not block it.
    fn notice(&self, signo: i32) {
        self.group.sighand().recall();
        let signals = self.signals();
        let wanted = !signals.mask.contains(signo) || signals.waited.contains(signo);
        drop(signals);
        if wanted {
            self.nudge(Work::SIGNAL);
        }
    }

    /// Whether it would take this signal now.
    fn wants(&self, signo: i32) -> bool {
        let signals = self.signals();
        !signals.mask.contains(signo) || signals.waited.contains(signo)
    }

    /// Sets or clears [`Work::SIGNAL`] by what is pending and blocked now.
    pub fn recalculate_signals(&self) {
        let shared = self.group.pending.lock().set();
        let signals = self.signals();
        let ready = shared.union(signals.pending.set()).minus(signals.mask);
        drop(signals);
        if ready.is_empty() {
            self.clear_work(Work::SIGNAL);
            // One that came in between must not be lost.
            let shared = self.group.pending.lock().set();
            let signals = self.signals();
            if !shared.union(signals.pending.set()).minus(signals.mask).is_empty() {
                self.add_work(Work::SIGNAL);
            }
        } else {
            self.add_work(Work::SIGNAL);
        }
    }

    /// Takes a pending signal of `wanted`, the thread's own before the process's.
    pub fn take_signal(&self, wanted: SigSet) -> Option<SigInfo> {
        let own = self.signals().pending.take(wanted);
        let taken = own.or_else(|| self.group.pending.lock().take(wanted))?;
        if let Some(id) = taken.timer_id() {
            self.group.timer_told(id, taken.timer_overrun());
        }
        Some(taken)
    }

    /// What is pending for it, blocked or not.
    pub fn pending_signals(&self) -> SigSet {
        let shared = self.group.pending.lock().set();
        shared.union(self.signals().pending.set())
    }

    /// Whether `self` may send `signo` to `target` (`kill(2)`).
    pub fn may_signal(&self, target: &Task, signo: i32) -> bool {
        let (from, to) = (self.creds(), target.creds());
        if Arc::ptr_eq(&self.group, &target.group) || from.has(Cap::Kill) {
            return true;
        }
        let same = [from.euid, from.uid].iter().any(|u| *u == to.suid || *u == to.uid);
        same || signo == libc::SIGCONT && {
            let tree = self.kernel.tree.lock();
            let sid = |t: &Task| tree.node(t.group.tgid).map(|n| n.sid);
            sid(self) == sid(target)
        }
    }
}

impl ThreadGroup {
    /// Sends a signal to the process.
    pub fn send_signal(&self, kernel: &Arc<Kernel>, info: SigInfo) {
        let _ = self.queue_signal(kernel, info);
    }

    /// Sends a signal to the process, which this thread is to take if it wants it.
    pub(in crate::kernel) fn send_signal_first(&self, kernel: &Arc<Kernel>, info: SigInfo, first: Option<i32>) {
        let _ = self.queue_signal_first(kernel, info, first);
    }

    /// Sends a signal to the process; `EAGAIN` if it is a real-time one and does not fit.
    pub fn queue_signal(&self, kernel: &Arc<Kernel>, info: SigInfo) -> SysResult<()> {
        self.queue_signal_first(kernel, info, None)
    }

    fn queue_signal_first(&self, kernel: &Arc<Kernel>, info: SigInfo, first: Option<i32>) -> SysResult<()> {
        let signo = info.signo;
        if signo == libc::SIGKILL {
            if self.tgid != 1 {
                self.kill(libc::SIGKILL);
            }
            return Ok(());
        }
        if !self.prepare(kernel, signo) {
            return Ok(());
        }
        let tasks = self.tasks();
        if tasks.iter().all(|t| t.is_dropped(signo)) {
            return Ok(());
        }
        if !self.pending.lock().push(info) && signo >= SIGRTMIN {
            return Err(Errno::AGAIN);
        }
        self.sighand().recall();
        let wants = |tid: i32| tasks.iter().find(|t| t.tid() == tid && t.wants(signo));
        let target = first.and_then(wants).or_else(|| wants(self.tgid));
        if let Some(task) = target.or_else(|| tasks.iter().find(|t| t.wants(signo))) {
            task.nudge(Work::SIGNAL);
        }
        self.signal_wait.notify(Events::IN);
        Ok(())
    }

    /// Ends the process by a signal, or with whatever status it is already ending.
    pub fn kill(&self, signo: i32) {
        self.begin_exit(signo & 0x7f);
        // Waiters of other processes are told when they look.
        self.orphan_robust_lists();
        self.process().kill();
    }

    /// Has another thread see to process-wide signals that one has just blocked.
    pub(super) fn retarget(&self, signals: SigSet) {
        let set = self.pending.lock().set().and(signals);
        for task in self.tasks() {
            let blocked = task.signals().mask;
            if !set.minus(blocked).is_empty() {
                task.nudge(Work::SIGNAL);
                return;
            }
        }
    }

    /// What sending has for an effect in itself: a continue undoes stops, a stop undoes continues. False if the
    /// process is dying and takes no more.
    fn prepare(&self, kernel: &Arc<Kernel>, signo: i32) -> bool {
        if self.state.lock().is_exiting() {
            return false;
        }
        if signo == libc::SIGCONT {
            self.discard(SigSet::STOPS);
            self.continue_stopped(kernel);
        } else if default_action(signo) == DefaultAction::Stop {
            self.discard(SigSet::of(&[libc::SIGCONT]));
        }
        true
    }

    /// Throws away pending signals, of the process and of its threads.
    pub fn discard(&self, which: SigSet) {
        self.pending.lock().discard(which);
        for task in self.tasks() {
            task.signals().pending.discard(which);
            task.recalculate_signals();
        }
    }

    fn continue_stopped(&self, kernel: &Arc<Kernel>) {
        let tasks = {
            let mut state = self.state.lock();
            if state.stopped.take().is_none() {
                return;
            }
            state.unreported = Some(Wait::Continued);
            state.tasks.clone()
        };
        for task in tasks {
            task.clear_work(Work::STOP);
            task.nudge(Work::empty());
        }
        self.notify_parent(kernel, libc::CLD_CONTINUED, libc::SIGCONT);
    }

    /// Stops the process.
    pub(in crate::kernel) fn stop(&self, kernel: &Arc<Kernel>, signo: i32) {
        let tasks = {
            let mut state = self.state.lock();
            if state.stopped.is_some() || state.is_exiting() {
                return;
            }
            state.stopped = Some(signo);
            state.unreported = Some(Wait::Stopped(signo));
            state.tasks.clone()
        };
        for task in tasks {
            task.nudge(Work::STOP);
        }
        self.notify_parent(kernel, libc::CLD_STOPPED, signo);
    }

    /// Tells the parent of a stop or continuation.
    fn notify_parent(&self, kernel: &Arc<Kernel>, code: i32, status: i32) {
        let Some(parent) = kernel.parent_of(self.tgid) else { return };
        let action = parent.sighand().get(libc::SIGCHLD);
        if !action.has(libc::SA_NOCLDSTOP) {
            let uid = self.any_task().map_or(0, |t| t.creds().uid);
            parent.send_signal(kernel, SigInfo::child(code, self.tgid, uid, status, 0, 0));
        }
        parent.child_wait.notify(Events::IN);
    }
}

impl Kernel {
    /// The parent of a process.
    pub fn parent_of(&self, tgid: i32) -> Option<Arc<ThreadGroup>> {
        let tree = self.tree.lock();
        tree.node(tgid).and_then(|n| tree.group(n.parent))
    }

    /// Sends a signal from the kernel to all members of a process group (terminal keys, hang-ups).
    pub fn signal_pgrp(self: &Arc<Kernel>, pgid: i32, info: SigInfo) {
        let members = self.tree.lock().pgrp(pgid);
        for group in members {
            group.send_signal(self, info);
        }
    }
}

impl Task {
    /// Signals that end a wait although they are blocked (`sigtimedwait`).
    pub fn set_waited_signals(&self, set: SigSet) {
        self.signals().waited = set;
    }

    /// Where handlers with `SA_ONSTACK` run.
    pub fn altstack(&self) -> super::AltStack {
        self.signal_state.lock().altstack
    }

    /// Replaces the alternate stack.
    pub fn set_altstack(&self, stack: super::AltStack) {
        self.signals().altstack = stack;
    }

    /// Whether the thread, which is in a call, runs on its alternate stack. It is stopped to see.
    pub async fn is_on_altstack(&self) -> SysResult<bool> {
        let thread = self.thread();
        thread.enter(0).await?;
        let sp = thread.registers()?.rsp;
        self.set_outcome(crate::kernel::Outcome::StoppedReturn);
        Ok(self.altstack().contains(sp))
    }
}
