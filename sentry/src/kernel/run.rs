//! The life of a task: take an event from the platform, see to it, let the guest go on.

use super::signal::{SigInfo, StoppedIn, deliver};
use super::{Outcome, Task, Work};
use crate::errno::SysResult;
use crate::seccomp::listener::Listener;
use crate::seccomp::{self, Verdict};
use crate::{executor, ipc, stats, strace, syscalls};
use platform::{Event, Gone, Known, Syscall, Thread};
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

/// Where the thread of a new task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begins {
    /// Stopped, and ready to go on.
    Stopped,
    /// In the `clone3` that made it, which is to return 0.
    InCall,
}

/// Starts the future of a task.
pub(crate) fn start(t: Arc<Task>, begins: Begins) {
    let container = t.kernel.container.clone();
    executor::spawn(container.scope(async move {
        let survived = guarded(&t, ipc::scope(&t, live(&t, begins))).await;
        if survived.is_none() {
            tracing::error!(task = ?t, call = t.current_call_name(), "the sentry panicked; the process is killed");
            t.group.kill(libc::SIGKILL);
        }
        ipc::scope(&t, async { t.exit() }).await;
    }));
}

/// Runs a future to its end; `None` if it panicked. A panic is a bug of the sentry, not an outage: it costs the
/// process that it happened for.
async fn guarded<T>(t: &Task, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut has_waker = false;
    poll_fn(|cx| {
        // A task is one future, whose waker never changes.
        if !std::mem::replace(&mut has_waker, true) {
            t.set_waker(cx.waker());
        }
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(poll) => poll.map(Some),
            Err(_) => Poll::Ready(None),
        }
    })
    .await
}

/// From the first instruction to the last.
async fn live(t: &Task, begins: Begins) -> Gone {
    let begun = match begins {
        Begins::Stopped => {
            t.lend_sigactions();
            go_on(t, StoppedIn::Nothing, None).await
        }
        Begins::InCall => begin_in_call(t).await,
    };
    if begun.is_err() {
        return Gone;
    }
    let mut thread = t.thread();
    loop {
        let event = poll_fn(|cx| thread.poll_event(cx)).await;
        let done = match event {
            Event::Syscall(call) => system_call(t, &mut thread, call).await,
            Event::Fault(fault) => {
                t.force_signal(SigInfo::fault(fault.signo, fault.code, fault.addr));
                go_on(t, StoppedIn::Nothing, Some(fault)).await
            }
            Event::Interrupted => go_on(t, StoppedIn::Guest, None).await,
            Event::Gone => Err(Gone),
        };
        if done.is_err() {
            return Gone;
        }
    }
}

/// Lets a thread that is in the call that made it go on.
async fn begin_in_call(t: &Task) -> Result<(), Gone> {
    let thread = t.thread();
    if t.work().is_empty() {
        t.lend_sigmask();
        thread.answer(0);
        return Ok(());
    }
    thread.enter(0).await?;
    go_on(t, StoppedIn::Call(libc::SYS_clone3 as u32, None), None).await
}

/// Delivers what is to be delivered and resumes the stopped thread.
async fn go_on(t: &Task, stopped_in: StoppedIn, fault: Option<platform::Fault>) -> Result<(), Gone> {
    deliver(t, stopped_in, fault).await?;
    t.lend_sigmask();
    t.thread().resume();
    Ok(())
}

/// Sees to a call of `thread`, which is another one after an `execve`.
async fn system_call(t: &Task, thread: &mut Arc<dyn Thread>, call: Syscall) -> Result<(), Gone> {
    if t.work().contains(Work::EXIT) {
        // Its process is dying; it gets no answer.
        return Err(Gone);
    }
    t.enter_call(call.nr);
    let trace = strace::enter(t, call.nr, call.args);
    let timing = stats::enter(call.nr, || thread.is_fast());
    let (result, has_waited) = match seccomp::judge(t, call.nr, call.ip, call.args) {
        Verdict::Allow => until_gone(t, pin!(syscalls::dispatch(t, call.nr, call.args))).await?,
        Verdict::Ask(listener) => until_gone(t, Box::pin(ask(t, &call, &listener)).as_mut()).await?,
        refused => (refuse(t, &call, refused).await, false),
    };
    if let Some(timing) = timing {
        timing.exit(has_waited);
    }
    if let Some(trace) = trace {
        trace.exit(t, &result);
    }
    let outcome = t.take_outcome();
    if outcome != Outcome::Return {
        *thread = t.thread();
    }
    match outcome {
        Outcome::Return => {}
        Outcome::Answered => return Ok(()),
        Outcome::Native => {
            thread.answer_native();
            return Ok(());
        }
        Outcome::Stopped => {
            if result.is_ok() && thread.is_hot(&call) && seccomp::allows_local_answers(t) {
                Box::pin(thread.rewrite(&call, &t.known(), t.awaited_by())).await?;
            }
            return go_on(t, StoppedIn::Nothing, None).await;
        }
        Outcome::StoppedReturn => {
            let mut regs = thread.registers()?;
            regs.rax = result.unwrap_or_else(|e| -i64::from(e.raw())) as u64;
            thread.set_registers(&regs)?;
            return go_on(t, StoppedIn::Nothing, None).await;
        }
        Outcome::Exited => return Err(Gone),
    }
    let (ret, restart) = match result {
        Ok(value) => (value, None),
        Err(e) if e.is_restart() => (-i64::from(libc::EINTR), Some(e)),
        Err(e) => (-i64::from(e.raw()), None),
    };
    if t.work().is_empty() && restart.is_none() {
        if thread.is_hot(&call) && seccomp::allows_local_answers(t) {
            return rewrite(t, &call, ret).await;
        }
        thread.answer(ret);
        return Ok(());
    }
    if t.work().contains(Work::EXIT) {
        return Err(Gone);
    }
    thread.enter(ret).await?;
    go_on(t, StoppedIn::Call(call.nr, restart), None).await
}

/// Does what a filter says to a call that is not to be made.
async fn refuse(t: &Task, call: &Syscall, verdict: Verdict) -> SysResult {
    match verdict {
        Verdict::Trap(reason) => {
            t.force_signal(seccomp::trap_info(call.nr, call.ip, reason));
            Ok(call.nr.into())
        }
        Verdict::KillProcess(signo) => {
            t.group.kill(signo);
            Ok(call.nr.into())
        }
        Verdict::KillThread => kill_thread(t, call).await,
        Verdict::Return(value) => Ok(value),
        Verdict::Allow | Verdict::Ask(_) => Ok(0),
    }
}

/// Makes a call if a listener lets it, or answers what that says.
async fn ask(t: &Task, call: &Syscall, listener: &Listener) -> SysResult {
    match seccomp::ask(t, listener, call.nr, call.ip, call.args).await? {
        Some(value) => Ok(value),
        None => syscalls::dispatch(t, call.nr, call.args).await,
    }
}

/// Ends one thread of several. Only a thread that calls `exit` does so without its process: the instruction that
/// made the call is made to make that one.
async fn kill_thread(t: &Task, call: &Syscall) -> SysResult {
    if i64::from(call.nr) == libc::SYS_exit {
        return syscalls::process::exit(t, libc::SIGSYS).await.map(|()| 0);
    }
    t.seccomp.doom();
    let thread = t.thread();
    thread.enter(0).await?;
    let mut regs = thread.registers()?;
    regs.rax = libc::SYS_exit as u64;
    regs.rip = call.ip.wrapping_sub(SYSCALL_LEN);
    thread.set_registers(&regs)?;
    t.set_outcome(Outcome::Stopped);
    Ok(0)
}

/// Length of the `syscall` instruction.
const SYSCALL_LEN: u64 = 2;

/// Answers a call, and has the guest answer it itself from now on.
async fn rewrite(t: &Task, call: &Syscall, ret: i64) -> Result<(), Gone> {
    let thread = t.thread();
    thread.enter(ret).await?;
    Box::pin(thread.rewrite(call, &t.known(), t.awaited_by())).await?;
    go_on(t, StoppedIn::Call(call.nr, None), None).await
}

/// Runs a handler, but not beyond the death of its thread: the host may kill a process at any time. Its result, and
/// whether it had to wait.
async fn until_gone(
    t: &Task,
    mut handler: Pin<&mut impl Future<Output = SysResult>>,
) -> Result<(SysResult, bool), Gone> {
    let mut has_waited = false;
    poll_fn(|cx| match handler.as_mut().poll(cx) {
        Poll::Ready(result) => Poll::Ready(Ok((result, has_waited))),
        Poll::Pending if t.is_gone() => Poll::Ready(Err(Gone)),
        Poll::Pending => {
            has_waited = true;
            Poll::Pending
        }
    })
    .await
}

impl Task {
    /// What its guest may answer itself.
    pub(super) fn known(&self) -> Known {
        let creds = self.creds();
        let node = self.kernel.tree.lock().node(self.group.tgid).map(|n| (n.parent, n.pgid, n.sid));
        let (parent, pgid, sid) = node.unwrap_or_default();
        Known {
            pid: self.group.tgid.cast_unsigned(),
            tid: self.tid().cast_unsigned(),
            parent: parent.cast_unsigned(),
            uid: creds.uid,
            euid: creds.euid,
            gid: creds.gid,
            egid: creds.egid,
            pgid: pgid.cast_unsigned(),
            sid: sid.cast_unsigned(),
        }
    }

    fn enter_call(&self, nr: u32) {
        self.current_call.store(nr, std::sync::atomic::Ordering::Relaxed);
    }

    /// The name of the call under way or made last.
    pub fn current_call_name(&self) -> &'static str {
        let nr = self.current_call.load(std::sync::atomic::Ordering::Relaxed);
        syscalls_table::lookup(nr).map_or("none", |e| e.name)
    }
}
