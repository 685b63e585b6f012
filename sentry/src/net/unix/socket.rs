//! The socket operations of `AF_UNIX`.

use super::endpoint::{Endpoint, Role};
use super::name::Name;
use super::{Kind, wrap};
use crate::errno::{Errno, SysResult};
use crate::executor::{Events, WaitQueue};
use crate::fs::pidfd;
use crate::kernel::Task;
use crate::mm::Addr;
use crate::net::address::SockAddr;
use crate::net::diag::{Diag, UnixDiag, state};
use crate::net::message::{Incoming, Outgoing, Ucred};
use crate::net::options::Value;
use crate::net::socket::{Socket, SocketOps};
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use zerocopy::IntoBytes;

/// An `AF_UNIX` socket: closes its endpoint when it goes.
#[derive(Debug)]
pub(super) struct UnixSocket {
    end: Arc<Endpoint>,
}

impl UnixSocket {
    pub(super) fn new(end: Arc<Endpoint>) -> UnixSocket {
        UnixSocket { end }
    }

    /// Bytes to read: all of a stream, the first datagram.
    fn inq(&self) -> SysResult<usize> {
        let state = self.end.state.lock();
        if matches!(state.role, Role::Listening { .. }) {
            return Err(Errno::INVAL);
        }
        Ok(match self.end.kind {
            Kind::Stream | Kind::Seqpacket => state.inbox.len(),
            Kind::Datagram => state.inbox.records.front().map_or(0, |record| record.len),
        })
    }
}

impl UnixSocket {
    fn describe(&self) -> UnixDiag {
        let ino = |end: &Arc<Endpoint>| end.ino.load(Ordering::Relaxed);
        let state = self.end.state.lock();
        let peer = state.peer.clone();
        let mut pending: Vec<Arc<Endpoint>> = Vec::new();
        let (tcp, connection, mut received) = match &state.role {
            Role::Listening { pending: waiting, .. } => {
                pending.extend(waiting.iter().cloned());
                (state::LISTEN, UNCONNECTED, waiting.len())
            }
            Role::Connecting => (state::SYN_SENT, CONNECTING, 0),
            Role::Connected if self.end.kind.is_connected() && peer.is_none() => (state::CLOSE, UNCONNECTED, 0),
            Role::Connected => (state::ESTABLISHED, CONNECTED, 0),
            Role::Idle => (state::CLOSE, UNCONNECTED, 0),
        };
        let sent = match &state.role {
            Role::Listening { backlog, .. } => *backlog,
            _ => {
                received = state.inbox.len();
                self.end.sent()
            }
        };
        let name = Name::to_address(state.name.as_deref()).rest().to_vec();
        let (peer, shutdown) = (peer.as_ref().map(ino), state.shut);
        drop(state);
        let pending = pending.iter().filter_map(|end| end.state.lock().peer.as_ref().map(ino)).collect();
        UnixDiag { name, state: tcp, connection, peer, received, sent, shutdown, pending, file: None }
    }
}

const SIOCATMARK: u32 = 0x8905;
const SO_PEERGROUPS: i32 = 59;
const SO_PEERPIDFD: i32 = 77;
/// `SS_UNCONNECTED`, `SS_CONNECTING`, `SS_CONNECTED`.
const UNCONNECTED: u8 = 1;
const CONNECTING: u8 = 2;
const CONNECTED: u8 = 3;

impl Drop for UnixSocket {
    fn drop(&mut self) {
        self.end.close();
    }
}

impl SocketOps for UnixSocket {
    fn bind(&self, t: &Task, address: &SockAddr) -> SysResult<()> {
        self.end.bind(t, address)
    }

    fn connect(&self, t: &Task, address: &SockAddr, _: bool) -> SysResult<()> {
        self.end.connect(t, address)
    }

    fn listen(&self, t: &Task, backlog: usize) -> SysResult<()> {
        self.end.listen(t, backlog)
    }

    fn accept(&self, _: &Task) -> SysResult<Socket> {
        if !self.end.kind.is_connected() {
            return Err(Errno::OPNOTSUPP);
        }
        self.end.accept().map(wrap)
    }

    fn is_listening(&self) -> bool {
        matches!(self.end.state.lock().role, Role::Listening { .. })
    }

    fn send(&self, message: &mut Outgoing<'_>) -> SysResult<usize> {
        self.end.send(message)
    }

    fn receive(&self, buf: &mut [u8], flags: i32) -> SysResult<Incoming> {
        self.end.receive(buf, flags)
    }

    fn unreceive(&self, bytes: &[u8]) {
        self.end.unreceive(bytes);
    }

    fn shutdown(&self, how: i32) -> SysResult<()> {
        self.end.shutdown(how);
        Ok(())
    }

    fn local_address(&self) -> SysResult<SockAddr> {
        Ok(Name::to_address(self.end.state.lock().name.as_deref()))
    }

    fn peer_address(&self) -> SysResult<SockAddr> {
        let peer = self.end.state.lock().peer.clone().ok_or(Errno::NOTCONN)?;
        let name = peer.state.lock().name.clone();
        Ok(Name::to_address(name.as_deref()))
    }

    fn peer_creds(&self) -> Option<Ucred> {
        let state = self.end.state.lock();
        state.peer_creds.as_ref().or(state.listener_creds.as_ref()).map(|peer| peer.creds)
    }

    fn has_option(&self, name: i32) -> bool {
        matches!(name, SO_PEERGROUPS | SO_PEERPIDFD)
    }

    fn get_option(&self, t: &Task, level: i32, name: i32, _: usize) -> SysResult<Value> {
        let state = self.end.state.lock();
        let peer = state.peer_creds.as_ref().or(state.listener_creds.as_ref()).cloned();
        drop(state);
        let peer = peer.ok_or(Errno::from_raw(libc::ENODATA));
        match (level, name) {
            (libc::SOL_SOCKET, SO_PEERGROUPS) => Ok(peer?.groups.as_bytes().into()),
            (libc::SOL_SOCKET, SO_PEERPIDFD) => {
                let process = peer?.process.upgrade().ok_or(Errno::SRCH)?;
                Ok(pidfd::open(t, &process)?.as_bytes().into())
            }
            _ => Err(Errno::OPNOTSUPP),
        }
    }

    fn set_option(&self, _: &Task, level: i32, _: i32, value: &[u8]) -> SysResult<()> {
        match level {
            libc::SOL_SOCKET if value.len() < size_of::<i32>() => Err(Errno::INVAL),
            libc::SOL_SOCKET => Err(Errno::NOPROTOOPT),
            _ => Err(Errno::OPNOTSUPP),
        }
    }

    fn ioctl(&self, t: &Task, cmd: u32, arg: Addr) -> SysResult {
        let value = match u64::from(cmd) {
            libc::FIONREAD => self.inq()?,
            libc::TIOCOUTQ => self.end.sent(),
            _ if cmd == SIOCATMARK && self.end.kind != Kind::Stream => return Err(Errno::OPNOTSUPP),
            _ if cmd == SIOCATMARK => usize::from(self.end.state.lock().inbox.is_at_mark()),
            _ => return Err(Errno::NOTTY),
        };
        t.mem().write(arg, &i32::try_from(value).unwrap_or(i32::MAX)).map(|()| 0)
    }

    fn poll(&self) -> Events {
        self.end.poll()
    }

    fn wait_queue(&self) -> &WaitQueue {
        &self.end.queue
    }

    fn diag(&self) -> Diag {
        Diag::Unix(self.describe())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
