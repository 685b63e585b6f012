//! What the command line and the sentry say to each other over a socket: a length, JSON, and descriptors with the
//! first bytes. Both ends are trusted; guests never see it.

use super::config::{ContainerConfig, ProcessSpec};
use super::handle;
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Longest message: arguments and environment of a program, several times over.
const MESSAGE_MAX: u32 = 32 << 20;
/// Most descriptors with a message; the host allows 253.
pub const FDS_MAX: usize = 253;

/// From the command line.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// Let the first process run.
    Start,
    /// Run another process; the answer is [`Reply::Started`], later [`Reply::Exited`]. When the connection ends
    /// before the process does, it is killed.
    Exec(Box<ExecRequest>),
    /// Make a further container, which ends with this connection; the answer is [`Reply::Started`], later
    /// [`Reply::Exited`].
    Container(Box<ContainerConfig>),
    /// A signal: for the process of this connection if it has started one, else for the first process.
    Signal {
        /// Its number.
        signo: i32,
        /// For every process of the container instead.
        all: bool,
    },
    /// The terminal of this connection's process has another size.
    WindowSize,
    /// The answer is [`Reply::Exited`], when the first process has ended, or the one with this id.
    Wait {
        /// As the container's processes count.
        pid: Option<i32>,
    },
    /// Which processes there are; the answer is [`Reply::Processes`].
    Processes,
    /// Guests are about to be frozen, or have been thawed.
    Pause(bool),
    /// How many tasks there are; the answer is [`Reply::Pids`].
    Pids,
    /// Other limits hold from now on.
    Limits {
        /// Most tasks; `None` is no limit.
        pids: Option<u64>,
    },
}

/// A process to be started in a running sandbox. Its descriptors come with the message, in this order: those of
/// `stdio` that are [`Stdio::Given`], the terminal, then the preserved ones.
#[derive(Debug, Serialize, Deserialize)]
pub struct ExecRequest {
    /// What to run.
    pub process: ProcessSpec,
    /// Standard input, output and error.
    pub stdio: [Stdio; 3],
    /// It gets a terminal of this many rows and columns.
    pub terminal: Option<(u16, u16)>,
    /// How many descriptors from 3 on it gets besides.
    pub preserved: usize,
}

/// A standard descriptor of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stdio {
    /// One that comes with the message.
    Given,
    /// The terminal.
    Terminal,
    /// Closed.
    Closed,
}

/// From the sentry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// It is done.
    Done,
    /// The sandbox or the process is made; nothing of it runs yet.
    Started {
        /// Its id in the sandbox.
        pid: i32,
    },
    /// The process has ended with this wait status.
    Exited {
        /// As of `wait(2)`.
        status: i32,
    },
    /// It was not done.
    Failed {
        /// Why, for a person.
        what: String,
        /// What the command line exits with.
        status: i32,
    },
    /// The processes there are.
    Processes(Vec<GuestProcess>),
    /// Tasks of the container.
    Pids {
        /// Those that there are, zombies included.
        current: u64,
        /// Most there may be; `None` is no limit.
        max: Option<u64>,
    },
}

/// A process of the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestProcess {
    /// Its id in the sandbox.
    pub pid: i32,
    /// The host's process behind it, as the sandbox's own pid namespace counts.
    pub host_pid: i32,
}

/// Sends a message with descriptors.
pub fn send(socket: impl AsFd, message: &impl Serialize, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let (body, carried) = handle::collect(fds.len(), || serde_json::to_vec(message));
    let body = body?;
    let fds: Vec<BorrowedFd<'_>> = fds.iter().copied().chain(carried.iter().map(AsFd::as_fd)).collect();
    let length = u32::try_from(body.len()).ok().filter(|l| *l <= MESSAGE_MAX);
    let length = length.ok_or_else(|| io::Error::other("the message is too long"))?;
    if fds.len() > FDS_MAX {
        return Err(io::Error::other("too many descriptors"));
    }
    let bytes = [&length.to_le_bytes(), body.as_slice()].concat();
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(fds.len()))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(io::Error::other("too many descriptors"));
    }
    let mut sent = 0;
    while let Some(rest) = bytes.get(sent..).filter(|rest| !rest.is_empty()) {
        match rustix::net::sendmsg(&socket, &[IoSlice::new(rest)], &mut control, SendFlags::NOSIGNAL) {
            Ok(count) => {
                sent += count;
                control.clear();
            }
            Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

/// Receives a message and those of its descriptors that are no [`Handle`]s in it; `None` at the end of the connection.
pub fn receive<T: DeserializeOwned>(socket: impl AsFd) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut fds = Vec::new();
    let mut head = [0; 4];
    match fill(&socket, &mut head, &mut fds) {
        Ok(true) => {}
        Ok(false) => return Ok(None),
        Err(e) => return Err(e),
    }
    let length = u32::from_le_bytes(head);
    if length > MESSAGE_MAX {
        return Err(io::Error::other("the message is too long"));
    }
    let mut body = vec![0; length as usize];
    if !fill(&socket, &mut body, &mut fds)? && length > 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let (message, fds) = handle::provide(fds, || serde_json::from_slice(&body));
    Ok(Some((message?, fds)))
}

/// Fills `buf`; false if the connection ended before its first byte.
fn fill(socket: impl AsFd, buf: &mut [u8], fds: &mut Vec<OwnedFd>) -> io::Result<bool> {
    let mut filled = 0;
    while let Some(rest) = buf.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC;
        match rustix::net::recvmsg(&socket, &mut [IoSliceMut::new(rest)], &mut control, flags) {
            Ok(got) if got.bytes == 0 && filled == 0 => return Ok(false),
            Ok(got) if got.bytes == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(got) => filled += got.bytes,
            Err(Errno::INTR) => continue,
            Err(e) => return Err(e.into()),
        }
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = message {
                fds.extend(received);
            }
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn messages_carry_descriptors() {
        let (a, b) = UnixStream::pair().expect("a pair");
        send(&a, &Request::Signal { signo: 9, all: true }, &[a.as_fd(), b.as_fd()]).expect("sent");
        let (request, fds): (Request, _) = receive(&b).expect("received").expect("there is one");
        assert!(matches!(request, Request::Signal { signo: 9, all: true }));
        assert_eq!(fds.len(), 2);
        drop((a, fds));
        assert!(receive::<Request>(&b).expect("an end is no error").is_none());
    }
}
