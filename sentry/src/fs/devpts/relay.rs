//! A pseudo-terminal of the sandbox connected to a terminal of the host.
//!
//! Two threads carry bytes, each asleep while there are none: the host's terminal is in raw mode, so that all
//! keys come here, and the line discipline is the sandbox's.

use super::files::SlaveFile;
use super::node::Instance;
use super::pty::Pty;
use crate::abi::{Termios, Winsize};
use crate::boot::config::TerminalSpec;
use crate::errno::{Errno, SysResult};
use crate::executor::{Events, block_on};
use crate::fs::file::FileOps;
use crate::fs::inode::Caller;
use crate::kernel::Task;
use crate::sync::{Condvar, Mutex};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the last output may take to get to the host's terminal.
const FLUSH_LIMIT: Duration = Duration::from_secs(2);

/// A connection.
#[derive(Debug)]
pub struct Relay {
    pty: Arc<Pty>,
    host: OwnedFd,
    /// Output of programs has been written to the host.
    written: (Mutex<bool>, Condvar),
    /// Becomes readable when the connection is to end.
    ended: OwnedFd,
}

impl Relay {
    /// Connects the terminal of the configuration with a new pseudo-terminal of the first `devpts`.
    pub fn start(spec: TerminalSpec) -> SysResult<Arc<Relay>> {
        let pty = Instance::first()?.new_pty(&Caller::kernel())?;
        {
            let mut state = pty.state.lock();
            state.locked = false;
            state.size = Winsize { rows: spec.size.0, cols: spec.size.1, ..Winsize::default() };
            if let Some(termios) = &spec.termios {
                state.set_termios(Termios::from(termios));
            }
        }
        let ended = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let relay =
            Arc::new(Relay { pty, host: spec.host.into_fd(), written: (Mutex::new(true), Condvar::new()), ended });
        let (keys, output) = (relay.clone(), relay.clone());
        std::thread::Builder::new().name("tty-in".into()).spawn(move || keys.carry_in())?;
        std::thread::Builder::new().name("tty-out".into()).spawn(move || output.carry_out())?;
        Ok(relay)
    }

    /// The path of the terminal below the `devpts`.
    pub fn name(&self) -> String {
        self.pty.index.to_string()
    }

    /// The slave as a file, if it cannot be opened by a path.
    pub fn open(&self) -> SysResult<Box<dyn FileOps>> {
        SlaveFile::open(&self.pty, &Caller::kernel(), libc::O_NOCTTY)
    }

    /// Keys to programs, until the host's terminal is gone.
    fn carry_in(&self) {
        let mut buf = [0; 1024];
        loop {
            match self.read_host(&mut buf) {
                Ok(0) | Err(_) => {
                    self.pty.close_master();
                    return self.pty.master_queue.notify(Events::HUP);
                }
                Ok(count) => {
                    let mut rest = buf.get(..count).unwrap_or_default();
                    while !rest.is_empty() {
                        match block_on(&self.pty.master_queue, Events::OUT, || self.pty.type_in(rest)) {
                            Ok(taken) => rest = rest.get(taken..).unwrap_or_default(),
                            Err(_) => return,
                        }
                    }
                }
            }
        }
    }

    fn read_host(&self, buf: &mut [u8]) -> SysResult<usize> {
        loop {
            // The description may be in non-blocking mode, for it is shared.
            let mut fds = [PollFd::new(&self.host, PollFlags::IN), PollFd::new(&self.ended, PollFlags::IN)];
            poll(&mut fds, None)?;
            if fds.last().is_some_and(|ended| !ended.revents().is_empty()) {
                return Ok(0);
            }
            match rustix::io::read(&self.host, &mut *buf) {
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                done => return Ok(done?),
            }
        }
    }

    /// Output to the host.
    fn carry_out(&self) {
        let mut buf = [0; 4096];
        loop {
            let count = block_on(&self.pty.master_queue, Events::IN, || {
                let count = match self.pty.screen(&mut buf) {
                    Err(_) if !self.pty.state.lock().master_open => Err(Errno::PIPE),
                    // Nobody has it open now; somebody may again.
                    Err(Errno::IO) => Err(Errno::AGAIN),
                    done => done,
                };
                *self.written.0.lock() = count.is_err();
                self.written.1.notify_all();
                count
            });
            let Ok(count) = count else { return };
            let mut rest = buf.get(..count).unwrap_or_default();
            while !rest.is_empty() {
                let ready = poll(&mut [PollFd::new(&self.host, PollFlags::OUT)], None);
                match ready.and_then(|_| rustix::io::write(&self.host, rest)) {
                    Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                    Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                    Err(_) => return,
                }
            }
        }
    }
}

impl Relay {
    /// Makes the terminal that of the session that `t` leads.
    pub fn control(&self, t: &Task) {
        super::job::adopt(t, &self.pty);
    }

    /// The host's terminal has another size.
    pub fn resize(&self) {
        if let Ok(size) = rustix::termios::tcgetwinsize(&self.host) {
            let (xpixel, ypixel) = (size.ws_xpixel, size.ws_ypixel);
            self.pty.set_size(Winsize { rows: size.ws_row, cols: size.ws_col, xpixel, ypixel });
        }
    }

    /// Waits until all that programs have written is on the host's terminal, or for [`FLUSH_LIMIT`].
    pub fn flush(&self) {
        let deadline = Instant::now() + FLUSH_LIMIT;
        let mut written = self.written.0.lock();
        while !*written || self.pty.state.lock().line.output_len() > 0 {
            if self.written.1.wait_until(&mut written, deadline).timed_out() {
                return;
            }
        }
    }

    /// Hangs up: whoever still uses the terminal inside finds it gone, and the host's is let go.
    pub fn end(&self) {
        let _ = rustix::io::write(&self.ended, &1u64.to_ne_bytes());
    }
}
