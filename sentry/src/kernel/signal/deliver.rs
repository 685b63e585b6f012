//! Delivery: what a stopped thread has to go through before it runs guest code again.

use super::{DefaultAction, SIG_DFL, SIG_IGN, SigAction, SigInfo, SigSet, default_action, frame};
use crate::errno::Errno;
use crate::kernel::{Task, Work};
use platform::{Fault, Gone};
use std::future::poll_fn;
use std::task::Poll;

/// What the thread was stopped in.
#[derive(Debug, Clone, Copy)]
pub(crate) enum StoppedIn {
    /// A call: its number, and how it wants to be restarted, if it does.
    Call(u32, Option<Errno>),
    /// Guest code, by an interruption: perhaps a wait that the host was running for it.
    Guest,
    /// Its registers are as they are to be (`sigreturn`, `clone`, `execve`, a fault).
    Nothing,
}

const EINTR: u64 = -libc::EINTR as i64 as u64;
/// Length of the `syscall` instruction.
const SYSCALL_LEN: u64 = 2;

/// Delivers signals, waits out stops, restarts calls; `Err` if the thread is to die or is gone. The thread must be
/// stopped; it is not resumed.
pub(crate) async fn deliver(t: &Task, stopped_in: StoppedIn, fault: Option<Fault>) -> Result<(), Gone> {
    let mut stopped_in = stopped_in;
    loop {
        wait_while_stopped(t).await?;
        let mask = t.sigmask();
        let Some(info) = t.take_signal(SigSet(!mask.0)) else {
            t.recalculate_signals();
            if t.has_signal() {
                continue;
            }
            break;
        };
        let sighand = t.group.sighand();
        let action = sighand.get(info.signo);
        match action.handler {
            SIG_IGN => {}
            SIG_DFL => default(t, info.signo)?,
            _ => {
                if action.has(libc::SA_RESETHAND) {
                    sighand.set(info.signo, SigAction { handler: SIG_DFL, ..action });
                }
                // Only the first frame is that of what was interrupted; further ones lie below its handler.
                settle(t, std::mem::replace(&mut stopped_in, StoppedIn::Nothing), Some(&action))?;
                handle(t, &action, &info, fault.as_ref().filter(|f| f.signo == info.signo))?;
            }
        }
    }
    settle(t, stopped_in, None)?;
    let mut signals = t.signals();
    if let Some(mask) = signals.saved_mask.take() {
        signals.mask = mask;
        drop(signals);
        t.clear_work(Work::SAVED_MASK);
        t.recalculate_signals();
    }
    Ok(())
}

/// Waits until the process continues, if it is stopped.
async fn wait_while_stopped(t: &Task) -> Result<(), Gone> {
    poll_fn(|_| {
        if t.work().contains(Work::EXIT) || t.thread().process().is_gone() {
            return Poll::Ready(Err(Gone));
        }
        if t.group.state.lock().stopped.is_none() {
            t.clear_work(Work::STOP);
            return Poll::Ready(Ok(()));
        }
        Poll::Pending
    })
    .await
}

/// The action of a signal that has no handler.
fn default(t: &Task, signo: i32) -> Result<(), Gone> {
    match default_action(signo) {
        DefaultAction::Ignore | DefaultAction::Continue => Ok(()),
        DefaultAction::Stop => {
            let job_control = signo != libc::SIGSTOP;
            let orphaned = || {
                let tree = t.kernel.tree.lock();
                tree.node(t.group.tgid).is_none_or(|n| tree.is_orphaned(n.pgid, None))
            };
            if !(job_control && orphaned()) {
                t.group.stop(&t.kernel, signo);
            }
            Ok(())
        }
        DefaultAction::Terminate | DefaultAction::Core => {
            t.group.kill(signo);
            Err(Gone)
        }
    }
}

/// Has the thread continue in the handler.
fn handle(t: &Task, action: &SigAction, info: &SigInfo, fault: Option<&Fault>) -> Result<(), Gone> {
    let old = {
        let mut signals = t.signals();
        let old = signals.saved_mask.take().unwrap_or(signals.mask);
        drop(signals);
        t.clear_work(Work::SAVED_MASK);
        old
    };
    if frame::push(t, action, info, old, fault).is_err() {
        if t.thread().process().is_gone() {
            return Err(Gone);
        }
        // As Linux: a frame that cannot be written is a SIGSEGV, and a SIGSEGV whose own frame cannot be is death.
        if info.signo == libc::SIGSEGV {
            t.group.sighand().set(libc::SIGSEGV, SigAction::default());
        }
        t.force_signal(SigInfo::kernel(libc::SIGSEGV));
        return Ok(());
    }
    let mut mask = t.sigmask().union(action.mask);
    if !action.has(libc::SA_NODEFER) {
        mask = mask.with(info.signo);
    }
    t.set_sigmask(mask);
    Ok(())
}

/// Decides how the interrupted call ends: restarted, or with `EINTR` for a handler that does not want that.
fn settle(t: &Task, stopped_in: StoppedIn, handler: Option<&SigAction>) -> Result<(), Gone> {
    let thread = t.thread();
    let (nr, code) = match stopped_in {
        StoppedIn::Call(nr, Some(code)) => (nr, code),
        StoppedIn::Guest => return thread.settle_native_wait(handler.map(|a| a.has(libc::SA_RESTART))),
        StoppedIn::Call(_, None) | StoppedIn::Nothing => return Ok(()),
    };
    let mut regs = thread.registers()?;
    let again = |nr: u64| (regs.rip.wrapping_sub(SYSCALL_LEN), nr);
    let (rip, rax) = match (code, handler) {
        (Errno::RESTARTNOINTR, _) | (Errno::RESTARTSYS | Errno::RESTARTNOHAND, None) => again(u64::from(nr)),
        (Errno::RESTARTSYS, Some(a)) if a.has(libc::SA_RESTART) => again(u64::from(nr)),
        // Not by `restart_syscall`, which the host would run: the call itself finds what it left in `t.restart`.
        (Errno::RESTART_RESTARTBLOCK, None) => again(u64::from(nr)),
        _ => {
            t.restart.lock().take();
            (regs.rip, EINTR)
        }
    };
    (regs.rip, regs.rax) = (rip, rax);
    thread.set_registers(&regs)
}
