//! Signals: `rt_sigaction(2)`, `kill(2)`, `sigaltstack(2)` and their kin.

use crate::abi::Timespec;
use crate::errno::{Errno, SysResult};
use crate::fs::pidfd::PidFd;
use crate::fs::proc::process_of;
use crate::kernel::signal::{
    AltStack, SIG_DFL, SIG_IGN, SIGRTMAX, SS_AUTODISARM, SigAction, SigInfo, SigSet, pop_frame,
};
use crate::kernel::{Outcome, Task, ThreadGroup};
use crate::mm::Addr;
use std::sync::Arc;
use std::time::Instant;

const SIGSET_SIZE: usize = 8;

fn check_size(size: usize) -> SysResult<()> {
    if size == SIGSET_SIZE { Ok(()) } else { Err(Errno::INVAL) }
}

fn is_valid(signo: i32) -> bool {
    (1..=SIGRTMAX).contains(&signo)
}

/// `rt_sigaction(2)`.
pub async fn rt_sigaction(t: &Task, signo: i32, new: Addr, old: Addr, size: usize) -> SysResult<()> {
    check_size(size)?;
    let action = if new.is_null() { None } else { Some(t.mem().read::<SigAction>(new)?) };
    let fixed = SigSet::UNBLOCKABLE.contains(signo);
    if !is_valid(signo) || action.is_some() && fixed {
        return Err(Errno::INVAL);
    }
    let sighand = t.group.sighand();
    let was = match action {
        None => sighand.get(signo),
        Some(action) => {
            let was = sighand.set(signo, action.accepted());
            if matches!(action.handler, SIG_IGN | SIG_DFL) && sighand.ignores(signo) {
                t.group.discard(SigSet::of(&[signo]));
            }
            was
        }
    };
    drop(sighand);
    t.lend_sigactions();
    t.mem().write_opt(old, &was)
}

/// `rt_sigprocmask(2)`.
pub async fn rt_sigprocmask(t: &Task, how: i32, new: Addr, old: Addr, size: usize) -> SysResult<()> {
    check_size(size)?;
    let was = t.sigmask();
    if !new.is_null() {
        let set: SigSet = t.mem().read(new)?;
        let set = set.minus(SigSet::UNBLOCKABLE);
        t.set_sigmask(match how {
            libc::SIG_BLOCK => was.union(set),
            libc::SIG_UNBLOCK => was.minus(set),
            libc::SIG_SETMASK => set,
            _ => return Err(Errno::INVAL),
        });
    }
    t.lend_sigmask();
    t.mem().write_opt(old, &was)
}

/// `rt_sigpending(2)`.
pub async fn rt_sigpending(t: &Task, set: Addr, size: usize) -> SysResult<()> {
    if size > SIGSET_SIZE {
        return Err(Errno::INVAL);
    }
    let pending = t.pending_signals().and(t.sigmask());
    t.mem().write_bytes(set, pending.0.to_ne_bytes().get(..size).unwrap_or_default())
}

/// `rt_sigsuspend(2)`.
pub async fn rt_sigsuspend(t: &Task, set: Addr, size: usize) -> SysResult<()> {
    check_size(size)?;
    t.set_temporary_sigmask(t.mem().read(set)?);
    t.wait_for(None, || None::<()>).await.map_err(|_| Errno::RESTARTNOHAND)?;
    Err(Errno::RESTARTNOHAND)
}

/// `pause(2)`.
pub async fn pause(t: &Task) -> SysResult<()> {
    t.wait_for(None, || None::<()>).await.map_err(|_| Errno::RESTARTNOHAND)?;
    Err(Errno::RESTARTNOHAND)
}

/// `rt_sigtimedwait(2)`.
pub async fn rt_sigtimedwait(t: &Task, set: Addr, info: Addr, timeout: Addr, size: usize) -> SysResult<i32> {
    check_size(size)?;
    let set: SigSet = t.mem().read(set)?;
    let wanted = set.minus(SigSet::UNBLOCKABLE);
    let deadline = match timeout.is_null() {
        true => None,
        false => Some(Instant::now() + t.mem().read::<Timespec>(timeout)?.to_duration()?),
    };
    let waiting = Waiting::new(t, wanted);
    let taken = t
        .wait_for(deadline, || {
            let taken = t.take_signal(wanted);
            if taken.is_none() {
                // A signal of the set that is not blocked shows as one to deliver; it was just taken or is gone.
                t.recalculate_signals();
            }
            taken
        })
        .await;
    drop(waiting);
    t.recalculate_signals();
    let signal = taken.map_err(|_| Errno::INTR)?.ok_or(Errno::AGAIN)?;
    t.mem().write_opt(info, &signal)?;
    Ok(signal.signo)
}

/// While it lives, signals of the set wake the task although they are blocked.
struct Waiting<'a>(&'a Task);

impl<'a> Waiting<'a> {
    fn new(t: &'a Task, set: SigSet) -> Waiting<'a> {
        t.set_waited_signals(set);
        Waiting(t)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.set_waited_signals(SigSet::EMPTY);
    }
}

/// `rt_sigreturn(2)`: back from a handler.
pub async fn rt_sigreturn(t: &Task) -> SysResult<()> {
    t.thread().enter(0).await?;
    t.set_outcome(Outcome::Stopped);
    if pop_frame(t).is_err() {
        t.force_signal(SigInfo::kernel(libc::SIGSEGV));
    }
    Ok(())
}

/// `sigaltstack(2)`.
pub async fn sigaltstack(t: &Task, new: Addr, old: Addr) -> SysResult<()> {
    /// `MINSIGSTKSZ`.
    const MIN: u64 = 2048;
    let wanted = if new.is_null() { None } else { Some(t.mem().read::<AltStack>(new)?) };
    let was = t.altstack();
    let mut shown = was;
    // Being on it needs the stack pointer, which only a stopped thread shows; ask only where it matters.
    if was.flags & libc::SS_DISABLE == 0 && t.is_on_altstack().await? {
        shown.flags |= libc::SS_ONSTACK;
    }
    let result = match wanted {
        None => Ok(()),
        Some(_) if shown.flags & libc::SS_ONSTACK != 0 => Err(Errno::PERM),
        Some(new) => match new.flags & !SS_AUTODISARM {
            libc::SS_DISABLE => {
                t.set_altstack(AltStack { flags: new.flags, ..AltStack::default() });
                Ok(())
            }
            0 | libc::SS_ONSTACK if new.size < MIN => Err(Errno::NOMEM),
            0 | libc::SS_ONSTACK => {
                t.set_altstack(AltStack { flags: new.flags & SS_AUTODISARM, ..new });
                Ok(())
            }
            _ => Err(Errno::INVAL),
        },
    };
    result.and_then(|()| t.mem().write_opt(old, &shown))
}

/// `kill(2)`.
pub async fn kill(t: &Task, pid: i32, signo: i32) -> SysResult<()> {
    let targets: Vec<Arc<ThreadGroup>> = {
        let tree = t.kernel.tree.lock();
        match pid {
            i32::MIN => return Err(Errno::SRCH),
            -1 => tree.nodes().filter(|(p, _)| *p != 1 && *p != t.group.tgid).map(|(_, n)| n.group.clone()).collect(),
            0 => tree.node(t.group.tgid).map(|n| tree.pgrp(n.pgid)).unwrap_or_default(),
            pid if pid < 0 => tree.pgrp(-pid),
            pid => {
                // The id of a thread stands for its process.
                let group = tree.group(pid).or_else(|| tree.task(pid).map(|t| t.group.clone()));
                group.into_iter().collect()
            }
        }
    };
    send_to_all(t, &targets, signo)
}

/// Succeeds if any of them could be signalled.
fn send_to_all(t: &Task, targets: &[Arc<ThreadGroup>], signo: i32) -> SysResult<()> {
    if !targets.is_empty() && signo != 0 && !is_valid(signo) {
        return Err(Errno::INVAL);
    }
    let mut result = Err(Errno::SRCH);
    for group in targets {
        // A zombie can be signalled; nothing happens.
        let allowed = group.any_task().is_none_or(|target| t.may_signal(&target, signo));
        match (allowed, signo) {
            (false, _) => {
                if result == Err(Errno::SRCH) {
                    result = Err(Errno::PERM);
                }
                continue;
            }
            (true, 0) => {}
            (true, _) => group.send_signal(&t.kernel, SigInfo::from_task(signo, libc::SI_USER, t)),
        }
        result = Ok(());
    }
    result
}

/// `tkill(2)`.
pub async fn tkill(t: &Task, tid: i32, signo: i32) -> SysResult<()> {
    if tid <= 0 {
        return Err(Errno::INVAL);
    }
    send_to_thread(t, None, tid, signo, None)
}

/// `tgkill(2)`.
pub async fn tgkill(t: &Task, tgid: i32, tid: i32, signo: i32) -> SysResult<()> {
    if tgid <= 0 || tid <= 0 {
        return Err(Errno::INVAL);
    }
    send_to_thread(t, Some(tgid), tid, signo, None)
}

fn send_to_thread(t: &Task, tgid: Option<i32>, tid: i32, signo: i32, info: Option<SigInfo>) -> SysResult<()> {
    let target = t.kernel.task(tid).filter(|x| tgid.is_none_or(|g| g == x.group.tgid)).ok_or(Errno::SRCH)?;
    if signo != 0 && !is_valid(signo) {
        return Err(Errno::INVAL);
    }
    if !t.may_signal(&target, signo) {
        return Err(Errno::PERM);
    }
    match (signo, info) {
        (0, _) => Ok(()),
        (libc::SIGKILL, _) => {
            target.group.send_signal(&t.kernel, SigInfo::from_task(signo, libc::SI_TKILL, t));
            Ok(())
        }
        (_, Some(info)) => target.queue_signal(info),
        (_, None) => target.queue_signal(SigInfo::from_task(signo, libc::SI_TKILL, t)),
    }
}

/// Reads the information that a caller wants delivered. Only to itself may it claim to be the kernel.
fn read_info(t: &Task, signo: i32, addr: Addr, to: i32) -> SysResult<SigInfo> {
    let mut info: SigInfo = t.mem().read(addr)?;
    info.signo = signo;
    let forged = info.code >= 0 || info.code == libc::SI_TKILL;
    if forged && to != t.group.tgid {
        return Err(Errno::PERM);
    }
    Ok(info)
}

/// `rt_sigqueueinfo(2)`.
pub async fn rt_sigqueueinfo(t: &Task, pid: i32, signo: i32, info: Addr) -> SysResult<()> {
    let info = read_info(t, signo, info, pid)?;
    if signo != 0 && !is_valid(signo) {
        return Err(Errno::INVAL);
    }
    let group = t.kernel.group(pid).ok_or(Errno::SRCH)?;
    if group.any_task().is_some_and(|target| !t.may_signal(&target, signo)) {
        return Err(Errno::PERM);
    }
    if signo == 0 { Ok(()) } else { group.queue_signal(&t.kernel, info) }
}

/// `rt_tgsigqueueinfo(2)`.
pub async fn rt_tgsigqueueinfo(t: &Task, tgid: i32, tid: i32, signo: i32, info: Addr) -> SysResult<()> {
    if tgid <= 0 || tid <= 0 {
        return Err(Errno::INVAL);
    }
    let info = read_info(t, signo, info, tgid)?;
    send_to_thread(t, Some(tgid), tid, signo, Some(info))
}

/// `pidfd_open(2)`.
pub async fn pidfd_open(t: &Task, pid: i32, flags: i32) -> SysResult<i32> {
    if flags & !libc::O_NONBLOCK != 0 || pid <= 0 {
        return Err(Errno::INVAL);
    }
    let group = t.kernel.group(pid).ok_or_else(|| match t.kernel.task(pid) {
        Some(_) => Errno::INVAL,
        None => Errno::SRCH,
    })?;
    let fd = crate::fs::pidfd::open(t, &group)?;
    t.file(fd)?.set_flags(libc::O_NONBLOCK, flags);
    Ok(fd)
}

/// `pidfd_send_signal(2)`.
pub async fn pidfd_send_signal(t: &Task, fd: i32, signo: i32, info: Addr, flags: u32) -> SysResult<()> {
    if flags != 0 || signo != 0 && !is_valid(signo) {
        return Err(Errno::INVAL);
    }
    let file = t.file(fd)?;
    let pidfd = file.downcast::<PidFd>().map(|pidfd| pidfd.group.clone());
    // A directory of /proc was how a process was named before there was pidfd_open.
    let group = pidfd.or_else(|| process_of(&file)).ok_or(Errno::BADF)?;
    if group.state.lock().is_zombie() && t.kernel.group(group.tgid).is_none_or(|g| !Arc::ptr_eq(&g, &group)) {
        return Err(Errno::SRCH);
    }
    let info = if info.is_null() { None } else { Some(read_info(t, signo, info, group.tgid)?) };
    if group.any_task().is_some_and(|target| !t.may_signal(&target, signo)) {
        return Err(Errno::PERM);
    }
    match signo {
        0 => Ok(()),
        _ => group.queue_signal(&t.kernel, info.unwrap_or_else(|| SigInfo::from_task(signo, libc::SI_USER, t))),
    }
}
