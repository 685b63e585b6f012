//! `ioctl_tty(2)`.

use super::files::SlaveFile;
use super::job;
use super::pty::{Pty, State, packet};
use crate::abi::{NCCS, Termio, Termios, Termios2, Winsize};
use crate::errno::{Errno, SysResult};
use crate::fs::file::File;
use crate::fs::inode::Caller;
use crate::fs::open;
use crate::fs::path::PathRef;
use crate::fs::walk::{Resolve, Walk};
use crate::kernel::{Cap, Task};
use crate::mm::Addr;
use std::sync::Arc;

/// Through which end of a pseudo-terminal something is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Master,
    Slave,
}

/// `N_TTY`: the only line discipline.
const N_TTY: i32 = 0;

const TIOCGLCKTRMIOS: u64 = 0x5456;
const TIOCSLCKTRMIOS: u64 = 0x5457;

/// Answers a request.
pub(super) fn ioctl(t: &Task, file: &File, pty: &Arc<Pty>, side: Side, cmd: u32, arg: u64) -> SysResult {
    if side == Side::Slave && !pty.state.lock().master_open {
        return Err(if u64::from(cmd) == libc::TIOCSPGRP { Errno::NOTTY } else { Errno::IO });
    }
    let addr = Addr(arg);
    match u64::from(cmd) {
        libc::TCGETS | libc::TCGETS2 | libc::TCGETA => get_modes(t, pty, cmd, addr),
        libc::TCSETS | libc::TCSETSW | libc::TCSETSF => {
            let termios = t.mem().read(addr)?;
            set_modes(t, pty, termios, u64::from(cmd) == libc::TCSETSF)
        }
        libc::TCSETS2 | libc::TCSETSW2 | libc::TCSETSF2 => {
            let wanted: Termios2 = t.mem().read(addr)?;
            set_modes(t, pty, wanted.termios, u64::from(cmd) == libc::TCSETSF2)
        }
        libc::TCSETA | libc::TCSETAW | libc::TCSETAF => {
            let wanted: Termio = t.mem().read(addr)?;
            let termios = with_termio(pty.state.lock().line.termios(), &wanted);
            set_modes(t, pty, termios, u64::from(cmd) == libc::TCSETAF)
        }
        TIOCGLCKTRMIOS => {
            let fixed = pty.state.lock().fixed;
            t.mem().write(addr, &fixed).map(|()| 0)
        }
        TIOCSLCKTRMIOS if !t.creds().has(Cap::SysAdmin) && !t.creds().has(Cap::CheckpointRestore) => Err(Errno::PERM),
        TIOCSLCKTRMIOS => {
            let fixed = t.mem().read(addr)?;
            set(pty, |state| state.fixed = fixed)
        }
        libc::TCSBRK | libc::TCSBRKP => job::check_change(t, pty).map(|()| 0),
        libc::TCXONC => flow(t, pty, arg as i32),
        libc::TCFLSH => flush(t, pty, side, arg as i32),
        libc::FIONREAD => {
            let state = pty.state.lock();
            let len = if side == Side::Master { state.line.output_len() } else { state.line.input_len() };
            drop(state);
            put(t, addr, len as i32)
        }
        // What a program wrote is on its way at once.
        libc::TIOCOUTQ => put(t, addr, 0),
        libc::TIOCGWINSZ => {
            let size = pty.state.lock().size;
            t.mem().write(addr, &size).map(|()| 0)
        }
        libc::TIOCSWINSZ => {
            let size: Winsize = t.mem().read(addr)?;
            pty.set_size(size);
            Ok(0)
        }
        libc::TIOCSTI => Err(Errno::IO),
        libc::TIOCGETD => put(t, addr, N_TTY),
        libc::TIOCSETD => match t.mem().read::<i32>(addr)? {
            N_TTY => Ok(0),
            _ => Err(Errno::INVAL),
        },
        libc::TIOCEXCL => set(pty, |state| state.exclusive = true),
        libc::TIOCNXCL => set(pty, |state| state.exclusive = false),
        libc::TIOCGEXCL => put(t, addr, pty.state.lock().exclusive.into()),
        _ => session_ioctl(t, file, pty, side, cmd, arg),
    }
}

fn session_ioctl(t: &Task, file: &File, pty: &Arc<Pty>, side: Side, cmd: u32, arg: u64) -> SysResult {
    let addr = Addr(arg);
    let is_master = side == Side::Master;
    match u64::from(cmd) {
        libc::TIOCSCTTY => job::set_controlling(t, file, pty, arg == 1).map(|()| 0),
        libc::TIOCNOTTY if !is_master => job::give_up(t, pty).map(|()| 0),
        libc::TIOCGPGRP => put(t, addr, job::foreground(t, pty, is_master)?),
        libc::TIOCSPGRP => {
            let pgid = t.mem().read(addr)?;
            job::set_foreground(t, pty, pgid).map(|()| 0)
        }
        libc::TIOCGSID => put(t, addr, job::session(t, pty, is_master)?),
        libc::TIOCVHANGUP if !is_master => {
            if !t.creds().has(Cap::SysAdmin) {
                return Err(Errno::PERM);
            }
            if let Some(session) = pty.change(|state| state.session.take()) {
                session.hang_up();
            }
            Ok(0)
        }
        libc::TIOCGPTN if is_master => t.mem().write(addr, &pty.index).map(|()| 0),
        libc::TIOCSPTLCK if is_master => {
            let locked = t.mem().read::<i32>(addr)? != 0;
            set(pty, |state| state.locked = locked)
        }
        libc::TIOCGPTLCK if is_master => put(t, addr, pty.state.lock().locked.into()),
        libc::TIOCPKT if is_master => {
            let packet = t.mem().read::<i32>(addr)? != 0;
            set(pty, |state| state.packet = packet)
        }
        libc::TIOCGPKT if is_master => put(t, addr, pty.state.lock().packet.into()),
        libc::TIOCGPTPEER if is_master => open_peer(t, file, pty, arg as i32),
        _ => Err(Errno::NOTTY),
    }
}

fn put(t: &Task, addr: Addr, value: i32) -> SysResult {
    t.mem().write(addr, &value).map(|()| 0)
}

fn set(pty: &Pty, change: impl FnOnce(&mut State)) -> SysResult {
    pty.change(change);
    Ok(0)
}

fn get_modes(t: &Task, pty: &Pty, cmd: u32, addr: Addr) -> SysResult {
    let termios = *pty.state.lock().line.termios();
    match u64::from(cmd) {
        libc::TCGETS => t.mem().write(addr, &termios)?,
        libc::TCGETS2 => t.mem().write(addr, &Termios2::of(termios))?,
        _ => t.mem().write(addr, &as_termio(&termios))?,
    }
    Ok(0)
}

fn set_modes(t: &Task, pty: &Arc<Pty>, termios: Termios, flush: bool) -> SysResult {
    job::check_change(t, pty)?;
    pty.change(|state| {
        if flush {
            state.line.flush_input();
        }
        state.set_termios(termios);
    });
    Ok(0)
}

fn as_termio(termios: &Termios) -> Termio {
    let mut cc = [0; 8];
    cc.iter_mut().zip(termios.cc).for_each(|(to, from)| *to = from);
    Termio {
        iflag: termios.iflag as u16,
        oflag: termios.oflag as u16,
        cflag: termios.cflag as u16,
        lflag: termios.lflag as u16,
        line: termios.line,
        cc,
        pad: 0,
    }
}

fn with_termio(old: &Termios, new: &Termio) -> Termios {
    let join = |old: u32, new: u16| old & !0xffff | u32::from(new);
    let mut cc: [u8; NCCS] = old.cc;
    cc.iter_mut().zip(new.cc).for_each(|(to, from)| *to = from);
    Termios {
        iflag: join(old.iflag, new.iflag),
        oflag: join(old.oflag, new.oflag),
        cflag: join(old.cflag, new.cflag),
        lflag: join(old.lflag, new.lflag),
        line: new.line,
        cc,
    }
}

/// `TCXONC`.
fn flow(t: &Task, pty: &Arc<Pty>, action: i32) -> SysResult {
    job::check_change(t, pty)?;
    match action {
        libc::TCOOFF => pty.change(|state| {
            state.line.set_stopped(true);
            state.note_status(packet::STOP);
        }),
        libc::TCOON => pty.change(|state| {
            state.line.set_stopped(false);
            state.note_status(packet::START);
        }),
        // The other end is asked to be silent, or to go on, by the characters for it.
        libc::TCIOFF | libc::TCION => {
            let at = if action == libc::TCIOFF { libc::VSTOP } else { libc::VSTART };
            let byte = pty.state.lock().line.termios().cc(at);
            if byte != 0 {
                let _ = pty.write(&[byte]);
            }
        }
        _ => return Err(Errno::INVAL),
    }
    Ok(0)
}

/// `TCFLSH`. What is input to the one side is output to the other.
fn flush(t: &Task, pty: &Arc<Pty>, side: Side, queue: i32) -> SysResult {
    job::check_change(t, pty)?;
    let (input, output) = match queue {
        libc::TCIFLUSH => (true, false),
        libc::TCOFLUSH => (false, true),
        libc::TCIOFLUSH => (true, true),
        _ => return Err(Errno::INVAL),
    };
    let (input, output) = if side == Side::Slave { (input, output) } else { (output, input) };
    pty.change(|state| {
        if input {
            state.line.flush_input();
            state.note_status(packet::FLUSHREAD);
        }
        if output {
            state.line.flush_output();
            state.note_status(packet::FLUSHWRITE);
        }
    });
    Ok(0)
}

/// `TIOCGPTPEER`: opens the slave whatever is mounted where.
fn open_peer(t: &Task, master: &File, pty: &Arc<Pty>, flags: i32) -> SysResult {
    let caller = Caller::of(t);
    let path = peer_path(&caller, master, pty);
    let ops = SlaveFile::open(pty, &caller, flags)?;
    let file = File::new(ops, path, flags & !(libc::O_NOCTTY | libc::O_CLOEXEC) | open::O_LARGEFILE);
    t.install(file, flags & libc::O_CLOEXEC != 0).map(i64::from)
}

/// The slave's place beside the `ptmx` that was opened.
fn peer_path(caller: &Caller<'_>, master: &File, pty: &Pty) -> Option<PathRef> {
    let ptmx = master.path.as_ref()?;
    let root = ptmx.mount.root_path();
    let name = pty.index.to_string();
    Walk::new(caller, root.clone(), root, Resolve::empty()).to(name.as_bytes(), false).ok()
}
