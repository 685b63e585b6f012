//! The caller's terminal while a program inside has a terminal of its own.

use crate::plan::Terminal;
use anyhow::{Context, Result, bail};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetpgrp, tcgetwinsize, tcsetattr};
use std::io::IsTerminal;
use std::os::fd::{AsFd, OwnedFd};

/// A terminal in raw mode, which is undone when this is dropped.
#[derive(Debug)]
pub(crate) struct RawTerminal {
    host: OwnedFd,
    /// Its modes before, if it is the caller's and to be restored.
    before: Option<Termios>,
    /// Which of the standard descriptors are this terminal.
    pub(crate) stdio: [bool; 3],
}

impl RawTerminal {
    /// Makes the caller's terminal raw if the program is to have one of its own.
    pub(crate) fn enter(wanted: Terminal) -> Result<Option<RawTerminal>> {
        let stdin = std::io::stdin();
        match wanted {
            Terminal::Never => return Ok(None),
            Terminal::Required if !stdin.is_terminal() => bail!("a terminal was asked for, but standard input is none"),
            // With output elsewhere something else may be using the terminal: a pager, for one.
            Terminal::Auto if !stdin.is_terminal() || !std::io::stdout().is_terminal() => return Ok(None),
            _ => {}
        }
        // In the background the terminal is not ours to change; whoever must have it is stopped until it is.
        if wanted == Terminal::Auto && tcgetpgrp(&stdin).ok() != Some(rustix::process::getpgrp()) {
            return Ok(None);
        }
        let host = stdin.as_fd().try_clone_to_owned().context("cannot duplicate the terminal")?;
        let before = tcgetattr(&host).context("cannot read the terminal's modes")?;
        let mut raw = before.clone();
        raw.make_raw();
        let stdio = [true, std::io::stdout().is_terminal(), std::io::stderr().is_terminal()];
        let terminal = RawTerminal { host, before: Some(before), stdio };
        tcsetattr(&terminal.host, OptionalActions::Drain, &raw).context("cannot make the terminal raw")?;
        Ok(Some(terminal))
    }

    /// One that is raw already and not the caller's to restore.
    pub(crate) fn given(host: OwnedFd) -> RawTerminal {
        RawTerminal { host, before: None, stdio: [true; 3] }
    }

    /// Lets it be as it is: another process restores it.
    pub(crate) fn leave_raw(&mut self) {
        self.before = None;
    }

    /// The terminal.
    pub(crate) fn host(&self) -> &OwnedFd {
        &self.host
    }

    /// Its modes before.
    pub(crate) fn before(&self) -> Option<&Termios> {
        self.before.as_ref()
    }

    /// Rows and columns.
    pub(crate) fn size(&self) -> (u16, u16) {
        tcgetwinsize(&self.host).map_or((0, 0), |size| (size.ws_row, size.ws_col))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // A terminal that is gone needs no restoring.
            let _ = tcsetattr(&self.host, OptionalActions::Drain, before);
        }
    }
}
