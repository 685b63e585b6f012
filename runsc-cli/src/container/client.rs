//! Commands to the sentry of a container.

use super::{Container, SOCKET};
use anyhow::{Context, Result, bail};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use sentry::boot::protocol::{self, Reply, Request};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

/// How long an answer may take. Sentries answer in microseconds; a host may be very busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection to a sentry.
#[derive(Debug)]
pub(crate) struct Client {
    socket: OwnedFd,
}

/// Connects to the sentry of the container in a directory that others may be busy with.
pub(super) fn connect_unlocked(dir: &Path) -> Result<OwnedFd> {
    let dir = File::open(dir).context("cannot open the container's directory")?;
    let path = format!("/proc/self/fd/{}/{SOCKET}", dir.as_raw_fd());
    Ok(UnixStream::connect(path).context("cannot reach the container's sentry")?.into())
}

impl Container {
    /// A path to the socket that is short enough for an address, however long that of the directory is.
    fn socket_path(&self) -> String {
        format!("/proc/self/fd/{}/{SOCKET}", self.lock.as_raw_fd())
    }

    /// Makes the socket on which the sentry will listen.
    pub(super) fn listen(&self) -> Result<OwnedFd> {
        UnixListener::bind(self.socket_path()).map(OwnedFd::from).context("cannot make the control socket")
    }

    /// Connects to the sentry.
    pub(crate) fn connect(&self) -> Result<Client> {
        let socket = UnixStream::connect(self.socket_path()).context("cannot reach the container's sentry")?;
        set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE)).context("cannot set a timeout")?;
        Ok(Client { socket: socket.into() })
    }
}

impl Client {
    /// Sends a request.
    pub(crate) fn send(&self, request: &Request, fds: &[BorrowedFd<'_>]) -> Result<()> {
        protocol::send(&self.socket, request, fds).context("the sentry takes no commands")
    }

    /// Waits for a reply; `None` if the sentry is gone.
    pub(crate) fn receive(&self) -> Result<Option<Reply>> {
        let reply = protocol::receive(&self.socket).context("the sentry does not answer")?;
        Ok(reply.map(|(reply, _)| reply))
    }

    /// Sends a request and waits until it is done; what the sentry refuses is an error.
    pub(crate) fn ask(&self, request: &Request) -> Result<Reply> {
        self.send(request, &[])?;
        match self.receive()?.context("the sentry died")? {
            Reply::Failed { what, .. } => bail!("{what}"),
            reply => Ok(reply),
        }
    }

    /// From now on an answer may take this long, or as long as it takes.
    pub(crate) fn wait_at_most(&self, limit: Option<Duration>) -> Result<()> {
        set_socket_timeout(&self.socket, Timeout::Recv, limit).context("cannot set a timeout")
    }

    /// The socket, to wait on.
    pub(crate) fn socket(&self) -> &OwnedFd {
        &self.socket
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
