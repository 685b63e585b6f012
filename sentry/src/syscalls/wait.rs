//! Waiting for children: `wait4(2)`, `waitid(2)`.

use crate::abi::Rusage;
use crate::errno::{Errno, SysResult};
use crate::executor::Events;
use crate::fs::pidfd::PidFd;
use crate::kernel::group::add_usage;
use crate::kernel::signal::SigInfo;
use crate::kernel::{Node, Task, ThreadGroup, Tree, Wait};
use crate::mm::Addr;
use platform::Usage;
use std::sync::Arc;

/// Which children.
#[derive(Debug, Clone, Copy)]
enum Which {
    Any,
    Pid(i32),
    Pgrp(i32),
}

/// `__WCLONE`, `__WALL`, `__WNOTHREAD`.
const WCLONE: i32 = 1 << 31;
const WALL: i32 = 0x4000_0000;
const WNOTHREAD: i32 = 0x2000_0000;

/// What a child has to tell.
struct Report {
    pid: i32,
    uid: u32,
    /// Wait status as `wait4` has it.
    status: i32,
    usage: Option<Arc<ThreadGroup>>,
    code: i32,
    /// `si_status`.
    value: i32,
}

/// `wait4(2)`.
pub async fn wait4(t: &Task, pid: i32, status: Addr, options: i32, rusage: Addr) -> SysResult<i32> {
    let allowed = libc::WNOHANG | libc::WUNTRACED | libc::WCONTINUED | WNOTHREAD | WCLONE | WALL;
    if options & !allowed != 0 {
        return Err(Errno::INVAL);
    }
    if pid == i32::MIN {
        return Err(Errno::SRCH);
    }
    let which = match pid {
        -1 => Which::Any,
        0 => Which::Pgrp(own_pgid(t)),
        pid if pid < 0 => Which::Pgrp(-pid),
        pid => Which::Pid(pid),
    };
    let Some(report) = wait(t, which, options | libc::WEXITED).await? else { return Ok(0) };
    t.mem().write_opt(status, &report.status)?;
    write_usage(t, &report, rusage)?;
    Ok(report.pid)
}

/// `waitid(2)`.
pub async fn waitid(t: &Task, idtype: i32, id: i32, info: Addr, options: i32, rusage: Addr) -> SysResult<()> {
    let states = libc::WEXITED | libc::WSTOPPED | libc::WCONTINUED;
    if options & !(states | libc::WNOHANG | libc::WNOWAIT | WNOTHREAD | WCLONE | WALL) != 0 || options & states == 0 {
        return Err(Errno::INVAL);
    }
    let mut options = options;
    let which = match idtype as u32 {
        libc::P_ALL => Which::Any,
        libc::P_PID if id > 0 => Which::Pid(id),
        libc::P_PGID if id == 0 => Which::Pgrp(own_pgid(t)),
        libc::P_PGID if id > 0 => Which::Pgrp(id),
        libc::P_PIDFD if id >= 0 => {
            let file = t.file(id)?;
            if file.is_nonblocking() {
                options |= libc::WNOHANG;
            }
            Which::Pid(file.downcast::<PidFd>().ok_or(Errno::BADF)?.group.tgid)
        }
        _ => return Err(Errno::INVAL),
    };
    let by_nonblocking_fd = idtype as u32 == libc::P_PIDFD && options & libc::WNOHANG != 0;
    let Some(report) = wait(t, which, options).await? else {
        if by_nonblocking_fd && t.file(id)?.is_nonblocking() {
            return Err(Errno::AGAIN);
        }
        if !info.is_null() {
            // Only the fields that Linux clears: the caller looks at si_pid and si_signo.
            let mem = t.mem();
            mem.write(info, &[0i32; 3])?;
            mem.write(info.offset(16), &[0i32; 3])?;
        }
        return Ok(());
    };
    write_usage(t, &report, rusage)?;
    if !info.is_null() {
        let si = SigInfo::child(report.code, report.pid, report.uid, report.value, 0, 0);
        let mem = t.mem();
        mem.write(info, &[si.signo, 0, si.code])?;
        mem.write(info.offset(16), &[report.pid, report.uid as i32, report.value])?;
    }
    Ok(())
}

fn own_pgid(t: &Task) -> i32 {
    t.kernel.tree.lock().node(t.group.tgid).map_or(0, |n| n.pgid)
}

fn write_usage(t: &Task, report: &Report, rusage: Addr) -> SysResult<()> {
    if rusage.is_null() {
        return Ok(());
    }
    let mut usage = Usage::default();
    if let Some(group) = &report.usage {
        usage = group.usage();
        add_usage(&mut usage, group.state.lock().children_usage.get());
    }
    t.mem().write(rusage, &Rusage::from(usage))
}

/// Waits for a report; `None` with `WNOHANG` if there is none yet.
async fn wait(t: &Task, which: Which, options: i32) -> SysResult<Option<Report>> {
    let attempt = || match look(t, which, options) {
        Ok(Some(report)) => Ok(Some(report)),
        Ok(None) if options & libc::WNOHANG != 0 => Ok(None),
        Ok(None) => Err(Errno::AGAIN),
        Err(e) => Err(e),
    };
    t.block_on(&t.group.child_wait, Events::IN, None, attempt).await
}

/// Looks for a child that has something to tell.
fn look(t: &Task, which: Which, options: i32) -> SysResult<Option<Report>> {
    let mut tree = t.kernel.tree.lock();
    let children = tree.node(t.group.tgid).map(|n| n.children.clone()).unwrap_or_default();
    let mut any = false;
    let mut found = None;
    for child in children {
        let Some(node) = tree.node(child).filter(|n| matches(n, which, options)) else { continue };
        any = true;
        if let Some(report) = report(node, options) {
            found = Some((report, node.group.clone()));
            break;
        }
    }
    let Some((report, group)) = found else {
        return if any { Ok(None) } else { Err(Errno::CHILD) };
    };
    if options & libc::WNOWAIT == 0 {
        consume(t, &mut tree, &report, &group);
    }
    Ok(Some(report))
}

fn matches(node: &Node, which: Which, options: i32) -> bool {
    let is_clone = node.group.exit_signal.load(std::sync::atomic::Ordering::Relaxed) != libc::SIGCHLD;
    let kind = options & WALL != 0 || is_clone == (options & WCLONE != 0);
    kind && match which {
        Which::Any => true,
        Which::Pid(pid) => node.group.tgid == pid,
        Which::Pgrp(pgid) => node.pgid == pgid,
    }
}

fn report(node: &Node, options: i32) -> Option<Report> {
    let group = &node.group;
    let state = group.state.lock();
    let uid = state.tasks.first().map_or(0, |t| t.creds().uid);
    let (status, code, value) = match (state.is_zombie(), state.unreported) {
        (true, _) if options & libc::WEXITED != 0 => {
            let status = state.exit.unwrap_or_default();
            match status & 0x7f {
                0 => (status, libc::CLD_EXITED, status >> 8 & 0xff),
                signo => (status, libc::CLD_KILLED, signo),
            }
        }
        (false, Some(Wait::Stopped(signo))) if options & libc::WUNTRACED != 0 => {
            (signo << 8 | 0x7f, libc::CLD_STOPPED, signo)
        }
        (false, Some(Wait::Continued)) if options & libc::WCONTINUED != 0 => {
            (0xffff, libc::CLD_CONTINUED, libc::SIGCONT)
        }
        _ => return None,
    };
    let usage = state.is_zombie().then(|| group.clone());
    Some(Report { pid: group.tgid, uid, status, usage, code, value })
}

/// The report will not be given again; a zombie is gone.
fn consume(t: &Task, tree: &mut Tree, report: &Report, group: &Arc<ThreadGroup>) {
    if report.usage.is_none() {
        group.state.lock().unreported = None;
        return;
    }
    tree.remove_group(report.pid);
    let past = std::mem::take(&mut *group.past_usage.lock());
    let of_children = std::mem::take(&mut group.state.lock().children_usage);
    let mine = &mut t.group.state.lock().children_usage;
    mine.add_later(group.process());
    mine.merge(past);
    mine.merge(of_children);
}
