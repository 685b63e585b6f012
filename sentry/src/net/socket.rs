//! Sockets as files, and what each family implements below them.

use super::address::SockAddr;
use super::diag::Diag;
use super::inet::errors;
use super::message::{Incoming, Outgoing, Ucred};
use super::namespace::Net;
use super::options::{Options, Value};
use super::registry;
use super::rights::Rights;
use crate::errno::{Errno, SysResult};
use crate::executor::{Events, WaitQueue};
use crate::fs::attr::Attr;
use crate::fs::{File, FileOps, Written, anon};
use crate::kernel::Task;
use crate::mm::Addr;
use crate::net::stack::tcp::Pieces;
use crate::syscalls::iovec::IoBuffer;
use std::any::Any;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

/// Reads so many bytes of what a guest asks: `EINVAL` if there is no room for as many.
pub type Question<'a> = &'a dyn Fn(usize) -> SysResult<Vec<u8>>;

/// What is not over when a socket is closed.
pub trait Closing: Send + Sync {
    /// Whether it is over.
    fn is_over(&self) -> bool;

    /// Where that is announced.
    fn wait_queue(&self) -> &WaitQueue;
}

/// What a family does. Nothing waits: what would block returns `EAGAIN`, and is tried again when
/// [`wait_queue`](Self::wait_queue) says so.
pub trait SocketOps: Send + Sync + Any {
    /// `bind(2)`.
    fn bind(&self, t: &Task, address: &SockAddr) -> SysResult<()>;

    /// `connect(2)`. `EAGAIN` if it has to wait for the other side; `EINPROGRESS` if it goes on by itself.
    fn connect(&self, t: &Task, address: &SockAddr, nonblocking: bool) -> SysResult<()>;

    /// `listen(2)`; `backlog` is within bounds.
    fn listen(&self, t: &Task, backlog: usize) -> SysResult<()> {
        let _ = (t, backlog);
        Err(Errno::OPNOTSUPP)
    }

    /// `accept(2)`: the new connection's socket.
    fn accept(&self, t: &Task) -> SysResult<Socket> {
        let _ = t;
        Err(Errno::OPNOTSUPP)
    }

    /// Whether `listen` was called.
    fn is_listening(&self) -> bool {
        false
    }

    /// Sends a message whole, or as much of a stream as there is room for.
    fn send(&self, message: &mut Outgoing<'_>) -> SysResult<usize>;

    /// Sends as much of a stream as there is room for, with the memory that it is in: the first `len` bytes of the
    /// buffer. `None` if that is no help.
    fn send_buffer(&self, buffer: &mut IoBuffer, len: usize, flags: i32) -> Option<SysResult<usize>> {
        let _ = (buffer, len, flags);
        None
    }

    /// How many bytes of a stream there is room for now, as far as is known.
    fn room(&self) -> usize {
        usize::MAX
    }

    /// Receives a message, or what there is of a stream. `flags` may have `MSG_PEEK`, `MSG_OOB`.
    fn receive(&self, buf: &mut [u8], flags: i32) -> SysResult<Incoming>;

    /// Receives at most `most` bytes of a stream with the memory that they are in, and whether what follows belongs to
    /// them. `None` if that is no help.
    fn receive_pieces(&self, most: usize, flags: i32) -> Option<(Pieces, bool)> {
        let _ = (most, flags);
        None
    }

    /// Takes an error off the queue (`MSG_ERRQUEUE`).
    fn receive_error(&self, buf: &mut [u8]) -> SysResult<Incoming> {
        let _ = buf;
        Err(Errno::AGAIN)
    }

    /// Takes back what [`receive`](Self::receive) gave of a stream and the guest's memory did not take.
    fn unreceive(&self, bytes: &[u8]) {
        let _ = bytes;
    }

    /// What `close` of this socket's last descriptor waits for (`SO_LINGER`).
    fn closing(&self) -> Option<Arc<dyn Closing>> {
        None
    }

    /// Up to where a stream is acknowledged, and written; `EINVAL` if there is no connection, `None` if it is no stream
    /// that counts.
    fn positions(&self) -> Option<SysResult<(u32, u32)>> {
        None
    }

    /// `shutdown(2)`; `how` is `SHUT_RD`, `SHUT_WR` or `SHUT_RDWR`.
    fn shutdown(&self, how: i32) -> SysResult<()>;

    /// `getsockname(2)`.
    fn local_address(&self) -> SysResult<SockAddr>;

    /// `getpeername(2)`.
    fn peer_address(&self) -> SysResult<SockAddr>;

    /// `SO_PEERCRED`.
    fn peer_creds(&self) -> Option<Ucred> {
        None
    }

    /// `getsockopt(2)` of a level other than `SOL_SOCKET`. `len` is how much the guest takes.
    fn get_option(&self, t: &Task, level: i32, name: i32, len: usize) -> SysResult<Value> {
        let _ = (t, level, name, len);
        Err(Errno::OPNOTSUPP)
    }

    /// `getsockopt(2)` of an option of which the guest's value asks for something, which `question` reads; `None` if it is
    /// none.
    fn answer_option(&self, level: i32, name: i32, question: Question<'_>) -> Option<SysResult<Value>> {
        let _ = (level, name, question);
        None
    }

    /// Memory that guests may map; `ENODEV` if there is none.
    fn mmap(&self) -> SysResult<Arc<OwnedFd>> {
        Err(Errno::NODEV)
    }

    /// `setsockopt(2)` of a level other than `SOL_SOCKET`.
    fn set_option(&self, t: &Task, level: i32, name: i32, value: &[u8]) -> SysResult<()> {
        let _ = (t, level, name, value);
        Err(Errno::OPNOTSUPP)
    }

    /// Whether an option of level `SOL_SOCKET` is the family's own, to be read and set as those of other levels.
    fn has_option(&self, name: i32) -> bool {
        let _ = name;
        false
    }

    /// An option of level `SOL_SOCKET` has changed.
    fn retune(&self) {}

    /// `ioctl(2)`; `ENOTTY` for what the family does not know.
    fn ioctl(&self, t: &Task, cmd: u32, arg: Addr) -> SysResult {
        let _ = (t, cmd, arg);
        Err(Errno::NOTTY)
    }

    /// What is ready now.
    fn poll(&self) -> Events;

    /// Where readiness is announced.
    fn wait_queue(&self) -> &WaitQueue;

    /// An option's value for whoever is not its owner; only those that `ss` shows.
    fn tell(&self, level: i32, name: i32) -> SysResult<Value> {
        let _ = (level, name);
        Err(Errno::NOPROTOOPT)
    }

    /// What `/proc/net` and `ss` show of it.
    fn diag(&self) -> Diag {
        Diag::Nothing
    }

    /// For downcasts to the family's own type.
    fn as_any(&self) -> &dyn Any;
}

/// A socket.
pub struct Socket {
    /// The network namespace it was made in, and stays in.
    pub net: Arc<Net>,
    /// `AF_…`.
    pub family: i32,
    /// `SOCK_…`.
    pub kind: i32,
    /// Protocol number.
    pub protocol: i32,
    /// The options that all families share.
    pub options: Arc<Options>,
    /// The family's part.
    pub ops: Box<dyn SocketOps>,
    ino: u64,
    owner: (u32, u32),
}

impl std::fmt::Debug for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Socket({}, {}, {})", self.family, self.kind, self.protocol)
    }
}

impl Socket {
    /// Puts a family's part into a socket.
    pub fn new(
        net: &Arc<Net>,
        (family, kind, protocol): (i32, i32, i32),
        options: Arc<Options>,
        ops: impl SocketOps + 'static,
    ) -> Socket {
        let (net, ops, ino) = (net.clone(), Box::new(ops), anon::next_ino());
        Socket { net, family, kind, protocol, options, ops, ino, owner: (0, 0) }
    }

    /// An open description of it that belongs to `t`'s user; `flags` may have `O_NONBLOCK`.
    pub fn open(t: &Task, socket: Socket, flags: i32) -> Arc<File> {
        let (mut socket, creds) = (socket, t.creds());
        socket.owner = (creds.fsuid, creds.fsgid);
        let file = File::anonymous(socket, flags | libc::O_RDWR);
        if let Some(socket) = file.downcast::<Socket>() {
            socket.options.set_file(t, &file);
            registry::add(socket, &file);
        }
        file
    }

    /// The socket behind a description: `ENOTSOCK` if it is none.
    pub fn of(file: &File) -> SysResult<&Socket> {
        file.downcast().ok_or(Errno::NOTSOCK)
    }

    /// Whether data is a stream without boundaries.
    pub fn is_stream(&self) -> bool {
        self.kind == libc::SOCK_STREAM
    }

    /// What `close` waits for, and how long at most.
    pub fn lingering(&self) -> Option<(Arc<dyn Closing>, Duration)> {
        let time = self.options.linger().filter(|time| !time.is_zero())?;
        Some((self.ops.closing()?, time))
    }

    /// A message was sent with these flags: tells its sender if it wants to know when the data is free again.
    pub fn sent(&self, flags: i32) {
        if self.options.complete(flags) {
            self.ops.wait_queue().notify(Events::ERR);
        }
    }

    /// Takes something off the error queue (`MSG_ERRQUEUE`).
    pub fn receive_error(&self, buf: &mut [u8]) -> SysResult<Incoming> {
        if let Some(range) = self.options.take_completed() {
            return Ok(errors::completed(self.family, range));
        }
        match self.options.take_sent_stamp() {
            Some((stamp, time)) => Ok(errors::stamped(self.family, &stamp, time, buf)),
            None => self.ops.receive_error(buf),
        }
    }

    /// Whose it is.
    pub fn uid(&self) -> u32 {
        self.owner.0
    }

    /// Inode number, as `fstat` and `/proc` show it.
    pub fn ino(&self) -> u64 {
        self.ino
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        registry::remove(self.ino);
    }
}

impl FileOps for Socket {
    fn read(&self, _: &File, buf: &mut [u8], _: u64) -> SysResult<usize> {
        self.ops.receive(buf, 0).map(|incoming| incoming.count)
    }

    fn write(&self, _: &File, buf: &[u8], _: u64) -> SysResult<Written> {
        let mut rights = Rights::default();
        let mut message =
            Outgoing { task: None, data: buf, to: None, rights: &mut rights, creds: None, control: &[], flags: 0 };
        self.ops.send(&mut message).map(|count| Written { count, end: 0 })
    }

    fn ioctl(&self, t: &Task, _: &File, cmd: u32, arg: u64) -> SysResult {
        /// From `SIOCADDRT` on they are about interfaces and routes, whatever the socket is.
        const DEVICES: std::ops::RangeInclusive<u32> = 0x890b..=0x89ff;
        if DEVICES.contains(&cmd) {
            return super::inet::device::ioctl(t, &self.net, cmd, Addr(arg));
        }
        self.ops.ioctl(t, cmd, Addr(arg))
    }

    fn mmap(&self, _: &File, _: bool, _: bool) -> SysResult<Arc<OwnedFd>> {
        self.ops.mmap()
    }

    fn poll(&self, _: &File) -> Events {
        let error =
            if self.options.has_completed() || self.options.has_sent_stamps() { Events::ERR } else { Events::empty() };
        self.ops.poll() | error
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(self.ops.wait_queue())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn attr(&self) -> Option<Attr> {
        let (uid, gid) = self.owner;
        Some(Attr::new(anon::SOCKFS, self.ino, libc::S_IFSOCK | 0o777, uid, gid))
    }

    fn describe(&self) -> String {
        format!("socket:[{}]", self.ino)
    }
}
