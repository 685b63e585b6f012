//! Terminals that an engine holds the other end of: `--console-socket`.

use crate::terminal::RawTerminal;
use anyhow::{Context, Result, bail};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, Winsize, tcgetattr, tcsetattr, tcsetwinsize};
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// A new pseudo-terminal of the host.
#[derive(Debug)]
pub(crate) struct Console {
    /// The programs' end, in raw mode: the line discipline is the sandbox's.
    slave: OwnedFd,
}

impl Console {
    /// Makes one of this many rows and columns and sends its master to whoever listens at `socket`.
    pub(crate) fn send(socket: &Path, size: Option<(u16, u16)>) -> Result<Console> {
        let master =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).context("cannot make a terminal")?;
        grantpt(&master).and_then(|()| unlockpt(&master)).context("cannot unlock the terminal")?;
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let slave = ioctl_tiocgptpeer(&master, flags).context("cannot open the terminal")?;
        let mut raw = tcgetattr(&slave).context("cannot read the terminal's modes")?;
        raw.make_raw();
        tcsetattr(&slave, OptionalActions::Now, &raw).context("cannot make the terminal raw")?;
        if let Some((rows, cols)) = size {
            let size = Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
            tcsetwinsize(&master, size).context("cannot set the terminal's size")?;
        }
        let name = ptsname(&master, Vec::new()).context("cannot tell the terminal's name")?;
        let shown = socket.display();
        let stream = UnixStream::connect(socket).with_context(|| format!("--console-socket {shown}"))?;
        let fds = [master.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&fds));
        sendmsg(&stream, &[IoSlice::new(name.as_bytes())], &mut control, SendFlags::NOSIGNAL)
            .with_context(|| format!("--console-socket {shown}: cannot send the terminal"))?;
        Ok(Console { slave })
    }

    /// As the sandbox takes it.
    pub(crate) fn into_terminal(self) -> RawTerminal {
        RawTerminal::given(self.slave)
    }
}

/// The rules of runc on when a terminal needs a socket.
pub(crate) fn check_terminal(wanted: bool, detached: bool, socket: Option<&Path>) -> Result<()> {
    match (wanted, detached, socket) {
        (true, true, None) => bail!("cannot allocate tty if runc will detach without setting console socket"),
        (false, _, Some(_)) | (_, false, Some(_)) => {
            bail!("cannot use console socket if runc will not detach or allocate tty")
        }
        _ => Ok(()),
    }
}
