//! The end of threads and processes: `kernel/exit.c`.

use super::signal::{SIG_IGN, SIGRTMAX, SigInfo};
use super::{Kernel, Task, ThreadGroup, Work};
use crate::executor::Events;
use crate::fs::FdTable;
use crate::mm::Addr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A wait status as `wait4` gives it.
pub(super) fn exited(code: i32) -> i32 {
    (code & 0xff) << 8
}

impl ThreadGroup {
    /// Has all threads come to their end with this wait status, unless the process is ending already. Returns
    /// the status it ends with.
    pub fn begin_exit(&self, status: i32) -> i32 {
        let (status, tasks) = {
            let mut state = self.state.lock();
            let status = *state.exit.get_or_insert(status);
            state.stopped = None;
            (status, state.tasks.clone())
        };
        for task in tasks {
            task.add_work(Work::EXIT);
            task.wake_up();
        }
        status
    }
}

impl Task {
    /// `exit(2)`: this thread only.
    pub(crate) fn exit_thread(&self, code: i32) {
        let others = self.group.state.lock().tasks.len() > 1;
        if others {
            self.release_ids();
            let wake = self.clear_child_tid.load(Ordering::Relaxed);
            self.thread().exit((wake != 0).then_some(wake));
        } else {
            self.exit_group(code);
        }
    }

    /// `exit_group(2)`: the process. Its host process ends natively when the thread's call is let through.
    pub(crate) fn exit_group(&self, code: i32) {
        self.group.begin_exit(exited(code));
        self.thread().answer_native();
    }

    /// Ends the life of this task in the sentry; its thread runs no more guest code.
    pub(super) fn exit(&self) {
        // The host killed it (out of memory, a filter of its own) if nobody else did.
        let (is_last, status) = {
            let mut state = self.group.state.lock();
            state.tasks.retain(|t| !std::ptr::eq(t.as_ref(), self));
            let is_last = state.tasks.is_empty();
            if is_last && state.exit.is_none() {
                state.exit = Some(self.group.process().death_signal().unwrap_or(libc::SIGKILL));
            }
            (is_last, state.exit)
        };
        self.leave_memory();
        self.seccomp.release();
        let files = self.set_files(FdTable::new());
        if Arc::strong_count(&files) == 1 {
            close_all(self, &files);
        }
        self.die_with_parent_signals();
        let kernel = &self.kernel;
        kernel.tree.lock().remove_task(self.tid());
        self.charge.lock().take();
        kernel.release_pi(self.tid());
        if self.group.state.lock().execing.is_some() {
            self.group.exit_wait.notify(Events::HUP);
        }
        if is_last {
            // A zombie is to hold nothing of its host process.
            self.group.sighand().recall();
            self.group.aio.clear();
            self.group.timers.stop();
            crate::ipc::on_exit(&self.group);
            // Who has waited for it may write to its program.
            *self.group.exe_guard.lock() = None;
            self.group.become_zombie(kernel, self, status.unwrap_or_default());
        }
    }

    /// Tells the parent of a `vfork` that its memory is its own again.
    pub(super) fn leave_memory(&self) {
        if let Some(done) = self.vfork_done.lock().take() {
            done.set();
        }
    }

    /// `CLONE_CHILD_CLEARTID` of a thread whose host thread does not do it: the leader's, or one that has named another
    /// word since. Who finds the word cleared may give it to another thread at once: it must not be cleared twice.
    fn release_ids(&self) {
        let addr = Addr(self.clear_child_tid.load(Ordering::Relaxed));
        let thread = self.thread();
        let is_leader = thread.host_tid() == thread.process().host_pid();
        let is_done_by_host = !is_leader && self.host_clears_tid.load(Ordering::Relaxed) == addr.0;
        if !addr.is_null() && !is_done_by_host {
            let _ = self.mem().write(addr, &0u32);
        }
    }

    /// `PR_SET_PDEATHSIG` of children: sent when the thread that made them dies.
    fn die_with_parent_signals(&self) {
        let children: Vec<_> = {
            let tree = self.kernel.tree.lock();
            let ids = tree.node(self.group.tgid).map(|n| n.children.clone()).unwrap_or_default();
            ids.iter().filter_map(|c| tree.group(*c)).collect()
        };
        if !self.group.state.lock().tasks.is_empty() {
            return;
        }
        for child in children {
            for task in child.tasks() {
                let signo = task.pdeath_signal.load(Ordering::Relaxed);
                if signo != 0 {
                    task.send_signal(SigInfo::new(signo, libc::SI_USER));
                }
            }
        }
    }
}

/// Closes the descriptors of a table that nobody uses any more.
pub(super) fn close_all(t: &Task, files: &FdTable) {
    for (fd, file) in files.remove_if(|_, _| true) {
        t.closed(files, fd, &file);
    }
}

impl ThreadGroup {
    /// The last thread is gone: hands on the children, tells the parent.
    fn become_zombie(&self, kernel: &Arc<Kernel>, last: &Task, status: i32) {
        self.exe_guard.lock().take();
        let (orphans, stopped_groups, parent) = {
            let mut tree = kernel.tree.lock();
            let orphans = tree.reparent_children(self.tgid);
            for orphan in &orphans {
                // Nobody may choose the signal that process 1 gets.
                orphan.exit_signal.store(libc::SIGCHLD, Ordering::Relaxed);
            }
            let stopped = self.newly_orphaned(&tree, &orphans);
            let parent = tree.node(self.tgid).and_then(|n| tree.group(n.parent));
            self.state.lock().zombie = true;
            (orphans, stopped, parent)
        };
        self.exit_wait.notify(Events::IN);
        crate::fs::devpts::session_ended(kernel, self.tgid);
        for pgid in stopped_groups {
            kernel.signal_pgrp(pgid, SigInfo::kernel(libc::SIGHUP));
            kernel.signal_pgrp(pgid, SigInfo::kernel(libc::SIGCONT));
        }
        for orphan in orphans {
            orphan.process().forget(platform::Fact::Parent);
            if orphan.state.lock().is_zombie() {
                let status = orphan.state.lock().exit.unwrap_or_default();
                orphan.report_death(kernel, 0, status);
            }
        }
        if let Some(tell) = self.on_exit.lock().take() {
            tell(status);
        }
        if kernel.is_last_word(self.tgid) {
            return;
        }
        if parent.is_some() {
            self.report_death(kernel, last.creds().uid, status);
        } else {
            kernel.tree.lock().remove_group(self.tgid);
        }
    }

    /// Process groups that this process's death orphans while they have stopped members: groups of its children,
    /// or its own if its parent is what connected it to the rest of the session. Others were orphans before.
    fn newly_orphaned(&self, tree: &super::Tree, children: &[Arc<ThreadGroup>]) -> Vec<i32> {
        let Some(me) = tree.node(self.tgid) else { return Vec::new() };
        let of_children = children.iter().filter_map(|c| tree.node(c.tgid)).filter(|c| c.sid == me.sid);
        let mut groups: Vec<i32> = of_children.map(|c| c.pgid).filter(|pgid| *pgid != me.pgid).collect();
        groups.extend(tree.node(me.parent).filter(|p| p.sid == me.sid && p.pgid != me.pgid).map(|_| me.pgid));
        groups.sort_unstable();
        groups.dedup();
        let has_stopped = |pgid: i32| tree.pgrp(pgid).iter().any(|g| g.state.lock().stopped.is_some());
        groups.retain(|pgid| tree.is_orphaned(*pgid, Some(self.tgid)) && has_stopped(*pgid));
        groups
    }

    /// Tells the parent, or removes the zombie if the parent does not want to know.
    fn report_death(&self, kernel: &Arc<Kernel>, uid: u32, status: i32) {
        let Some(parent) = kernel.parent_of(self.tgid) else { return };
        let action = parent.sighand().get(libc::SIGCHLD);
        let exit_signal = self.exit_signal.load(Ordering::Relaxed);
        let unwanted = exit_signal == libc::SIGCHLD && (action.handler == SIG_IGN || action.has(libc::SA_NOCLDWAIT));
        // `clone` takes any number for it; one that is no signal is not sent.
        if (1..=SIGRTMAX).contains(&exit_signal) {
            let (code, value) = match status & 0x7f {
                0 => (libc::CLD_EXITED, status >> 8 & 0xff),
                signo => (libc::CLD_KILLED, signo),
            };
            let mut info = SigInfo::child(code, self.tgid, uid, value, 0, 0);
            info.signo = exit_signal;
            parent.send_signal(kernel, info);
        }
        if unwanted {
            parent.state.lock().children_usage.add_later(self.process());
            kernel.tree.lock().remove_group(self.tgid);
        }
        parent.child_wait.notify(Events::IN);
    }
}
