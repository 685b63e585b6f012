//! A pseudo-terminal: a line between its master, which is the keyboard and the screen, and its slave, which is
//! what programs take for a terminal.

use super::Instance;
use super::discipline::{Discipline, Effects};
use super::node::Ownership;
use crate::abi::{Termios, Winsize};
use crate::errno::{Errno, SysResult};
use crate::executor::{Events, Observer, Timers, WaitQueue};
use crate::kernel::Kernel;
use crate::kernel::signal::SigInfo;
use crate::sync::Mutex;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// What a master is told in packet mode (`TIOCPKT_*` of `asm-generic/ioctls.h`).
pub(super) mod packet {
    pub(in super::super) const FLUSHREAD: u8 = 1;
    pub(in super::super) const FLUSHWRITE: u8 = 2;
    pub(in super::super) const STOP: u8 = 4;
    pub(in super::super) const START: u8 = 8;
    pub(in super::super) const NOSTOP: u8 = 16;
    pub(in super::super) const DOSTOP: u8 = 32;
}

/// Unit of `VTIME`.
const DECISECOND: Duration = Duration::from_millis(100);

/// The session that a terminal controls.
#[derive(Debug, Clone)]
pub(super) struct Session {
    pub(super) sid: i32,
    /// The foreground process group.
    pub(super) foreground: i32,
    pub(super) kernel: Weak<Kernel>,
}

/// What changes.
#[derive(Debug)]
pub(super) struct State {
    pub(super) line: Discipline,
    pub(super) size: Winsize,
    pub(super) session: Option<Session>,
    pub(super) master_open: bool,
    /// Open descriptions of the slave.
    slaves: u32,
    /// The slave was open once.
    slave_seen: bool,
    /// `TIOCSPTLCK`.
    pub(super) locked: bool,
    /// `TIOCSLCKTRMIOS`: set bits are those of the modes that stay as they are.
    pub(super) fixed: Termios,
    /// `TIOCEXCL`.
    pub(super) exclusive: bool,
    /// `TIOCPKT`.
    pub(super) packet: bool,
    /// What happened since the master last read, in packet mode (`TIOCPKT_*`).
    status: u8,
    /// When the last byte came in, for `VTIME`.
    last_input: Instant,
    /// When a read that waits with `VTIME` alone ends.
    read_deadline: Option<Instant>,
}

/// A pair of master and slave.
pub(super) struct Pty {
    pub(super) index: u32,
    pub(super) instance: Weak<Instance>,
    pub(super) ownership: Ownership,
    pub(super) state: Mutex<State>,
    pub(super) master_queue: WaitQueue,
    pub(super) slave_queue: WaitQueue,
}

impl std::fmt::Debug for Pty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pty({})", self.index)
    }
}

const READABLE: Events = Events::IN.union(Events::RDNORM);
const WRITABLE: Events = Events::OUT.union(Events::WRNORM);

impl Pty {
    pub(super) fn new(index: u32, instance: &Arc<Instance>, ownership: Ownership) -> Pty {
        Pty {
            index,
            instance: Arc::downgrade(instance),
            ownership,
            state: Mutex::new(State {
                line: Discipline::new(Termios::default()),
                size: Winsize::default(),
                session: None,
                master_open: true,
                slaves: 0,
                slave_seen: false,
                fixed: Termios::NONE,
                locked: true,
                exclusive: false,
                packet: false,
                status: 0,
                last_input: Instant::now(),
                read_deadline: None,
            }),
            master_queue: WaitQueue::new(),
            slave_queue: WaitQueue::new(),
        }
    }

    // The master's side.

    /// What is typed. `EAGAIN` if programs have not read enough of what was typed before.
    pub(super) fn type_in(&self, bytes: &[u8]) -> SysResult<usize> {
        let mut effects = Effects::default();
        let (count, session) = {
            let mut state = self.state.lock();
            let count = bytes.len().min(state.line.room());
            for byte in bytes.iter().take(count) {
                state.line.receive(*byte, &mut effects);
            }
            state.last_input = Instant::now();
            state.note(&effects);
            (count, state.session.clone())
        };
        if let Some(session) = session {
            effects.signals.iter().for_each(|signo| session.signal_foreground(*signo));
        }
        self.slave_queue.notify(READABLE | WRITABLE);
        self.master_queue.notify(READABLE);
        if count == 0 && !bytes.is_empty() { Err(Errno::AGAIN) } else { Ok(count) }
    }

    /// What appears on the screen. `EIO` once the slave was open and is no more.
    pub(super) fn screen(&self, buf: &mut [u8]) -> SysResult<usize> {
        let count = {
            let mut state = self.state.lock();
            let packet = state.packet;
            if packet && state.status != 0 {
                let slot = buf.first_mut().ok_or(Errno::INVAL)?;
                *slot = std::mem::take(&mut state.status);
                return Ok(1);
            }
            if state.line.output_len() == 0 {
                return Err(if state.is_slave_gone() { Errno::IO } else { Errno::AGAIN });
            }
            if packet {
                let (first, rest) = buf.split_first_mut().ok_or(Errno::INVAL)?;
                *first = 0;
                state.line.take_output(rest) + 1
            } else {
                state.line.take_output(buf)
            }
        };
        self.slave_queue.notify(WRITABLE);
        Ok(count)
    }

    pub(super) fn poll_master(&self) -> Events {
        let state = self.state.lock();
        let mut ready = Events::empty();
        ready.set(READABLE, state.line.output_len() > 0 || state.packet && state.status != 0);
        ready.set(Events::PRI, state.packet && state.status != 0);
        ready.set(WRITABLE, state.line.room() > 0);
        ready.set(Events::HUP, state.is_slave_gone());
        ready
    }

    /// The master is closed: the terminal hangs up.
    pub(super) fn close_master(&self) {
        let session = {
            let mut state = self.state.lock();
            state.master_open = false;
            state.session.take()
        };
        if let Some(instance) = self.instance.upgrade() {
            instance.forget(self.index);
        }
        if let Some(session) = session {
            session.hang_up();
        }
        self.slave_queue.notify(READABLE | WRITABLE | Events::ALWAYS);
    }

    // The slave's side.

    /// An open description of the slave begins.
    pub(super) fn open_slave(&self, is_privileged: bool) -> SysResult<()> {
        let mut state = self.state.lock();
        if state.locked || !state.master_open {
            return Err(Errno::IO);
        }
        if state.exclusive && state.slaves > 0 && !is_privileged {
            return Err(Errno::BUSY);
        }
        state.slaves += 1;
        state.slave_seen = true;
        Ok(())
    }

    /// An open description of the slave ends.
    pub(super) fn close_slave(&self) {
        let is_last = {
            let mut state = self.state.lock();
            state.slaves = state.slaves.saturating_sub(1);
            state.exclusive &= state.slaves > 0;
            state.slaves == 0
        };
        if is_last {
            self.master_queue.notify(READABLE | Events::HUP);
        }
    }

    /// What a program reads.
    pub(super) fn read(self: &Arc<Self>, buf: &mut [u8]) -> SysResult<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        let count = {
            let mut state = self.state.lock();
            if !state.master_open {
                return Ok(0);
            }
            match state.try_read(buf) {
                Attempt::Got(count) => count,
                Attempt::Wait(until) => {
                    drop(state);
                    if let Some(until) = until {
                        Timers::get().add(until, Arc::new(WakeReader(Arc::downgrade(self))));
                    }
                    return Err(Errno::AGAIN);
                }
            }
        };
        self.master_queue.notify(WRITABLE);
        Ok(count)
    }

    /// What a program writes.
    pub(super) fn write(&self, bytes: &[u8]) -> SysResult<usize> {
        let count = {
            let mut state = self.state.lock();
            if !state.master_open {
                return Err(Errno::IO);
            }
            state.line.write(bytes)
        };
        if count == 0 && !bytes.is_empty() {
            return Err(Errno::AGAIN);
        }
        self.master_queue.notify(READABLE);
        Ok(count)
    }

    pub(super) fn poll_slave(&self) -> Events {
        let state = self.state.lock();
        if !state.master_open {
            return READABLE | WRITABLE | Events::ALWAYS;
        }
        let (min, time) = state.min_time();
        let wanted = if time == 0 { min } else { 1 };
        let mut ready = Events::empty();
        ready.set(READABLE, state.line.readable(wanted).is_some());
        ready.set(WRITABLE, state.line.is_writable());
        ready
    }

    // Both.

    /// Does something to the line, and has everybody look again.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let value = change(&mut self.state.lock());
        self.slave_queue.notify(READABLE | WRITABLE);
        self.master_queue.notify(READABLE | WRITABLE | Events::PRI);
        value
    }

    /// Sets the size; the foreground is told if it changed.
    pub(super) fn set_size(&self, size: Winsize) {
        let session = {
            let mut state = self.state.lock();
            if state.size == size {
                return;
            }
            state.size = size;
            state.session.clone()
        };
        if let Some(session) = session {
            session.signal_foreground(libc::SIGWINCH);
        }
    }
}

impl Session {
    pub(super) fn signal_foreground(&self, signo: i32) {
        if let Some(kernel) = self.kernel.upgrade()
            && self.foreground > 0
        {
            kernel.signal_pgrp(self.foreground, SigInfo::kernel(signo));
        }
    }

    /// The terminal is gone: the session has none any more, and its leader is told.
    pub(super) fn hang_up(&self) {
        let Some(kernel) = self.kernel.upgrade() else { return };
        let leader = {
            let mut tree = kernel.tree.lock();
            tree.set_terminal(self.sid, None);
            tree.group(self.sid)
        };
        for signo in [libc::SIGHUP, libc::SIGCONT] {
            if let Some(leader) = &leader {
                leader.send_signal(&kernel, SigInfo::kernel(signo));
            }
            if leader.is_none() || self.foreground != self.sid {
                self.signal_foreground(signo);
            }
        }
    }
}

enum Attempt {
    Got(usize),
    /// Wait, at most until then.
    Wait(Option<Instant>),
}

impl State {
    fn is_slave_gone(&self) -> bool {
        self.slave_seen && self.slaves == 0
    }

    /// `VMIN` and `VTIME`.
    fn min_time(&self) -> (usize, u8) {
        let termios = self.line.termios();
        (termios.cc(libc::VMIN).into(), termios.cc(libc::VTIME))
    }

    fn try_read(&mut self, buf: &mut [u8]) -> Attempt {
        let is_canonical = self.line.termios().lflag & libc::ICANON != 0;
        let (min, time) = self.min_time();
        let wanted = min.min(buf.len());
        if self.line.readable(wanted).is_some() {
            self.read_deadline = None;
            return Attempt::Got(self.line.read(buf));
        }
        let now = Instant::now();
        let wait = DECISECOND * u32::from(time);
        match (is_canonical, min, time) {
            (true, ..) => Attempt::Wait(None),
            (false, 0, 0) => Attempt::Got(0),
            // A timer for the whole read.
            (false, 0, _) => {
                let until = *self.read_deadline.get_or_insert(now + wait);
                // One that an interrupted read has left behind does not count.
                if now >= until + wait {
                    self.read_deadline = Some(now + wait);
                    return Attempt::Wait(Some(now + wait));
                }
                if now >= until {
                    self.read_deadline = None;
                    return Attempt::Got(0);
                }
                Attempt::Wait(Some(until))
            }
            (false, _, 0) => Attempt::Wait(None),
            // A timer between bytes, from the first on.
            (false, ..) => match self.line.readable(1) {
                Some(_) if now >= self.last_input + wait => Attempt::Got(self.line.read(buf)),
                Some(_) => Attempt::Wait(Some(self.last_input + wait)),
                None => Attempt::Wait(None),
            },
        }
    }

    /// Remembers for packet mode what happened.
    pub(super) fn note(&mut self, effects: &Effects) {
        if effects.flushed {
            self.note_status(packet::FLUSHREAD | packet::FLUSHWRITE);
        }
        match effects.flow {
            Some(true) => self.note_status(packet::STOP),
            Some(false) => self.note_status(packet::START),
            None => {}
        }
    }

    pub(super) fn note_status(&mut self, bits: u8) {
        if self.packet {
            self.status |= bits;
        }
    }

    /// Changes modes.
    pub(super) fn set_termios(&mut self, termios: Termios) {
        let was = self.does_flow_control();
        let termios = termios.with_fixed(self.line.termios(), &self.fixed);
        self.line.set_termios(termios);
        match (was, self.does_flow_control()) {
            (true, false) => self.note_status(packet::NOSTOP),
            (false, true) => self.note_status(packet::DOSTOP),
            _ => {}
        }
    }

    /// Whether `^S` and `^Q` are what they usually are.
    fn does_flow_control(&self) -> bool {
        let termios = self.line.termios();
        termios.iflag & libc::IXON != 0 && termios.cc(libc::VSTOP) == 0x13 && termios.cc(libc::VSTART) == 0x11
    }
}

/// Has a reader look whether its time is up.
struct WakeReader(Weak<Pty>);

impl Observer for WakeReader {
    fn notify(&self, _: Events) {
        if let Some(pty) = self.0.upgrade() {
            pty.slave_queue.notify(READABLE);
        }
    }
}
