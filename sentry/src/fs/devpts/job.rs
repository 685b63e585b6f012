//! Job control: which session a terminal controls, and which process group may use it.
//!
//! A session's terminal is in the tree of processes; a terminal's session is in the terminal. Both change
//! together, the tree's lock outermost.

use super::files::{SlaveFile, device_number};
use super::pty::{Pty, Session};
use crate::errno::{Errno, SysResult};
use crate::fs::file::{File, FileOps};
use crate::fs::inode::Caller;
use crate::kernel::signal::SigInfo;
use crate::kernel::{Cap, Kernel, Task};
use std::sync::Arc;

/// Session, process group and session leadership of a task.
struct Place {
    sid: i32,
    pgid: i32,
    leads: bool,
}

fn place(t: &Task) -> SysResult<Place> {
    let tree = t.kernel.tree.lock();
    let node = tree.node(t.group.tgid).ok_or(Errno::SRCH)?;
    Ok(Place { sid: node.sid, pgid: node.pgid, leads: node.sid == t.group.tgid })
}

fn terminal(kernel: &Kernel, sid: i32) -> Option<Arc<Pty>> {
    kernel.tree.lock().terminal(sid)?.downcast().ok()
}

/// Whether `pty` is the terminal of the session.
fn controls(t: &Task, pty: &Arc<Pty>, sid: i32) -> bool {
    terminal(&t.kernel, sid).is_some_and(|own| Arc::ptr_eq(&own, pty))
}

/// `/dev/tty`.
pub(super) fn open_own_terminal(caller: &Caller<'_>) -> SysResult<Box<dyn FileOps>> {
    let t = caller.task.ok_or(Errno::NXIO)?;
    let pty = terminal(&t.kernel, place(t)?.sid).ok_or(Errno::NXIO)?;
    SlaveFile::open(&pty, caller, libc::O_NOCTTY)
}

/// Device number and foreground process group of a session's terminal, as `/proc/PID/stat` shows them.
pub fn terminal_of(kernel: &Kernel, sid: i32) -> (i32, i32) {
    let Some(pty) = terminal(kernel, sid) else { return (0, -1) };
    let foreground = pty.state.lock().session.as_ref().map_or(-1, |session| session.foreground);
    let rdev = device_number(&pty);
    // The kernel's own encoding of device numbers.
    let (major, minor) = (libc::major(rdev), libc::minor(rdev));
    ((minor & 0xff | major << 8 | (minor & !0xff) << 12).cast_signed(), foreground)
}

/// The leader of a session has died: its terminal hangs up.
pub fn session_ended(kernel: &Kernel, sid: i32) {
    let Some(pty) = terminal(kernel, sid) else { return };
    let session = pty.change(|state| state.session.take());
    kernel.tree.lock().set_terminal(sid, None);
    if let Some(session) = session {
        session.signal_foreground(libc::SIGHUP);
        session.signal_foreground(libc::SIGCONT);
    }
}

/// Makes `pty` the terminal of the caller's session, if it leads one that has none and the terminal is free.
pub(super) fn adopt(t: &Task, pty: &Arc<Pty>) {
    if let Ok(place) = place(t)
        && place.leads
    {
        take(t, pty, &place);
    }
}

fn take(t: &Task, pty: &Arc<Pty>, place: &Place) -> bool {
    let Some(kernel) = t.arc().map(|t| Arc::downgrade(&t.kernel)) else { return false };
    let mut tree = t.kernel.tree.lock();
    let mut state = pty.state.lock();
    if tree.terminal(place.sid).is_some() || state.session.is_some() {
        return false;
    }
    state.session = Some(Session { sid: place.sid, foreground: place.pgid, kernel });
    tree.set_terminal(place.sid, Some(pty.clone()));
    true
}

/// `TIOCSCTTY`, through either end. Only with `CAP_SYS_ADMIN` by a file that is not for reading, or, if it is to be
/// stolen, from another session.
pub(super) fn set_controlling(t: &Task, file: &File, pty: &Arc<Pty>, steal: bool) -> SysResult<()> {
    let place = place(t)?;
    if controls(t, pty, place.sid) && place.leads {
        return Ok(());
    }
    if !place.leads || terminal(&t.kernel, place.sid).is_some() {
        return Err(Errno::PERM);
    }
    let may_all = t.creds().has(Cap::SysAdmin);
    let other = pty.state.lock().session.as_ref().map(|session| session.sid);
    if other.is_some() && !(steal && may_all) || !file.is_readable() && !may_all {
        return Err(Errno::PERM);
    }
    if let Some(other) = other {
        let mut tree = t.kernel.tree.lock();
        let stolen = pty.state.lock().session.take_if(|session| session.sid == other);
        stolen.inspect(|session| tree.set_terminal(session.sid, None));
    }
    if take(t, pty, &place) { Ok(()) } else { Err(Errno::PERM) }
}

/// `TIOCNOTTY`. Only leaders give a terminal up: others have none that is not their session's.
pub(super) fn give_up(t: &Task, pty: &Arc<Pty>) -> SysResult<()> {
    let place = place(t)?;
    if !controls(t, pty, place.sid) {
        return Err(Errno::NOTTY);
    }
    if place.leads {
        session_ended(&t.kernel, place.sid);
    }
    Ok(())
}

/// `TIOCGPGRP`. The master may ask whoever's terminal it is.
pub(super) fn foreground(t: &Task, pty: &Arc<Pty>, is_master: bool) -> SysResult<i32> {
    if !is_master && !controls(t, pty, place(t)?.sid) {
        return Err(Errno::NOTTY);
    }
    Ok(pty.state.lock().session.as_ref().map_or(0, |session| session.foreground))
}

/// `TIOCGSID`.
pub(super) fn session(t: &Task, pty: &Arc<Pty>, is_master: bool) -> SysResult<i32> {
    if !is_master && !controls(t, pty, place(t)?.sid) {
        return Err(Errno::NOTTY);
    }
    pty.state.lock().session.as_ref().map(|session| session.sid).ok_or(Errno::NOTTY)
}

/// `TIOCSPGRP`.
pub(super) fn set_foreground(t: &Task, pty: &Arc<Pty>, pgid: i32) -> SysResult<()> {
    check_change(t, pty)?;
    let place = place(t)?;
    if !controls(t, pty, place.sid) {
        return Err(Errno::NOTTY);
    }
    if pgid < 0 {
        return Err(Errno::INVAL);
    }
    let tree = t.kernel.tree.lock();
    if tree.pgrp(pgid).is_empty() {
        return Err(Errno::SRCH);
    }
    if !tree.has_pgrp(pgid, place.sid) {
        return Err(Errno::PERM);
    }
    if let Some(session) = &mut pty.state.lock().session {
        session.foreground = pgid;
    }
    Ok(())
}

/// Whether the caller is in a background group of the session that the terminal controls: its group then.
fn background(t: &Task, pty: &Arc<Pty>) -> SysResult<Option<i32>> {
    let place = place(t)?;
    if !controls(t, pty, place.sid) {
        return Ok(None);
    }
    let foreground = pty.state.lock().session.as_ref().map_or(0, |session| session.foreground);
    Ok((foreground != 0 && foreground != place.pgid).then_some(place.pgid))
}

fn refuses(t: &Task, signo: i32) -> bool {
    t.sigmask().contains(signo) || t.group.sighand().get(signo).handler == crate::kernel::signal::SIG_IGN
}

/// Before a read: who is in the background is stopped (`SIGTTIN`).
pub(super) fn check_read(t: &Task, pty: &Arc<Pty>) -> SysResult<()> {
    let Some(pgid) = background(t, pty)? else { return Ok(()) };
    if refuses(t, libc::SIGTTIN) || is_orphaned(t, pgid) {
        return Err(Errno::IO);
    }
    stop(t, pgid, libc::SIGTTIN)
}

/// Before a write: who is in the background is stopped if `TOSTOP` is set.
pub(super) fn check_write(t: &Task, pty: &Arc<Pty>) -> SysResult<()> {
    let stops = pty.state.lock().line.termios().lflag & libc::TOSTOP != 0;
    if stops { check_change(t, pty) } else { Ok(()) }
}

/// Before a change: who is in the background is stopped (`SIGTTOU`).
pub(super) fn check_change(t: &Task, pty: &Arc<Pty>) -> SysResult<()> {
    let Some(pgid) = background(t, pty)? else { return Ok(()) };
    if refuses(t, libc::SIGTTOU) {
        return Ok(());
    }
    if is_orphaned(t, pgid) {
        return Err(Errno::IO);
    }
    stop(t, pgid, libc::SIGTTOU)
}

fn is_orphaned(t: &Task, pgid: i32) -> bool {
    t.kernel.tree.lock().is_orphaned(pgid, None)
}

fn stop(t: &Task, pgid: i32, signo: i32) -> SysResult<()> {
    t.kernel.signal_pgrp(pgid, SigInfo::kernel(signo));
    // Continued, it tries again.
    Err(Errno::RESTARTSYS)
}
