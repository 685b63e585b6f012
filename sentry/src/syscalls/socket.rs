//! `socket(2)`, its addresses and its connections.

use super::pair;
use crate::errno::{Errno, SysResult};
use crate::executor::Events;
use crate::fs::File;
use crate::kernel::Task;
use crate::mm::Addr;
use crate::net::address::{MAX_LEN, SockAddr};
use crate::net::socket::{Closing, Socket};
use crate::net::{self, unix};
use std::time::{Duration, Instant};

/// `net.core.somaxconn`.
const SOMAXCONN: i64 = 4096;
/// Flags beside the type of a socket.
const TYPE_FLAGS: i32 = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
/// Where the type is.
const TYPE_MASK: i32 = 0xf;

/// `socket(2)`: makes a socket.
pub async fn socket(t: &Task, family: i32, kind: i32, protocol: i32) -> SysResult<i32> {
    let flags = kind & !TYPE_MASK;
    if flags & !TYPE_FLAGS != 0 {
        return Err(Errno::INVAL);
    }
    let file = net::create(t, family, kind & TYPE_MASK, protocol, flags & libc::SOCK_NONBLOCK)?;
    t.install(file, flags & libc::SOCK_CLOEXEC != 0)
}

/// `socketpair(2)`: makes two sockets that are connected.
pub async fn socketpair(t: &Task, family: i32, kind: i32, protocol: i32, fds: Addr) -> SysResult<()> {
    let flags = kind & !TYPE_MASK;
    if flags & !TYPE_FLAGS != 0 {
        return Err(Errno::INVAL);
    }
    let (a, b) = match family {
        libc::AF_UNIX => unix::pair(t, kind & TYPE_MASK, protocol)?,
        // Whatever can be made but not in pairs says so.
        _ => return Err(net::create(t, family, kind & TYPE_MASK, protocol, 0).err().unwrap_or(Errno::OPNOTSUPP)),
    };
    let status = flags & libc::SOCK_NONBLOCK;
    pair::install(t, fds, (Socket::open(t, a, status), Socket::open(t, b, status)), flags & libc::SOCK_CLOEXEC != 0)
}

/// `bind(2)`: gives a socket its address.
pub async fn bind(t: &Task, fd: i32, addr: Addr, len: i32) -> SysResult<()> {
    let file = t.file(fd)?;
    let socket = Socket::of(&file)?;
    socket.ops.bind(t, &read_address(t, addr, len)?)
}

/// `listen(2)`: has a socket take connections.
pub async fn listen(t: &Task, fd: i32, backlog: u32) -> SysResult<()> {
    let file = t.file(fd)?;
    let socket = Socket::of(&file)?;
    let most = socket.net.sysctl.number("net/core/somaxconn", SOMAXCONN);
    socket.ops.listen(t, i64::from(backlog).min(most) as usize)
}

/// `accept(2)`: takes a connection.
pub async fn accept(t: &Task, fd: i32, addr: Addr, len: Addr) -> SysResult<i32> {
    accept4(t, fd, addr, len, 0).await
}

/// `accept4(2)`: takes a connection, with flags for its descriptor.
pub async fn accept4(t: &Task, fd: i32, addr: Addr, len: Addr, flags: i32) -> SysResult<i32> {
    let file = t.file(fd)?;
    if flags & !TYPE_FLAGS != 0 {
        return Err(Errno::INVAL);
    }
    let socket = Socket::of(&file)?;
    // What cannot be installed stays in the backlog.
    if !t.files().has_room(t.rlimit(libc::RLIMIT_NOFILE)) {
        return Err(Errno::MFILE);
    }
    let attempt = || socket.ops.accept(t);
    let new = if file.is_nonblocking() {
        attempt()?
    } else {
        let timeout = socket.options.rcvtimeo();
        let queue = socket.ops.wait_queue();
        t.block_on(queue, Events::READABLE, after(timeout), attempt).await.map_err(|e| interrupted(e, timeout))?
    };
    if !addr.is_null() {
        // One that left before it was accepted still is a connection, with no address to tell.
        let peer = new.ops.peer_address().map_err(|_| Errno::CONNABORTED)?;
        write_address(t, &peer, addr, len)?;
    }
    t.install(Socket::open(t, new, flags & libc::SOCK_NONBLOCK), flags & libc::SOCK_CLOEXEC != 0)
}

/// `connect(2)`: connects a socket, or sets where its datagrams go.
pub async fn connect(t: &Task, fd: i32, addr: Addr, len: i32) -> SysResult<()> {
    let file = t.file(fd)?;
    let socket = Socket::of(&file)?;
    let address = read_address(t, addr, len)?;
    let nonblocking = file.is_nonblocking();
    let attempt = || socket.ops.connect(t, &address, nonblocking);
    if nonblocking {
        return attempt();
    }
    let timeout = socket.options.sndtimeo();
    let done = t.block_on(socket.ops.wait_queue(), Events::WRITABLE, after(timeout), attempt).await;
    done.map_err(|error| match interrupted(error, timeout) {
        Errno::AGAIN if socket.family != libc::AF_UNIX => Errno::INPROGRESS,
        error => error,
    })
}

/// `shutdown(2)`: ends one or both directions of a connection.
pub async fn shutdown(t: &Task, fd: i32, how: i32) -> SysResult<()> {
    let file = t.file(fd)?;
    let socket = Socket::of(&file)?;
    if !(libc::SHUT_RD..=libc::SHUT_RDWR).contains(&how) {
        return Err(Errno::INVAL);
    }
    socket.ops.shutdown(how)
}

/// `getsockname(2)`: a socket's own address.
pub async fn getsockname(t: &Task, fd: i32, addr: Addr, len: Addr) -> SysResult<()> {
    let file = t.file(fd)?;
    let address = Socket::of(&file)?.ops.local_address()?;
    write_address(t, &address, addr, len)
}

/// `getpeername(2)`: the address of the other side.
pub async fn getpeername(t: &Task, fd: i32, addr: Addr, len: Addr) -> SysResult<()> {
    let file = t.file(fd)?;
    let address = Socket::of(&file)?.ops.peer_address()?;
    write_address(t, &address, addr, len)
}

/// Waits until a closed socket's data has arrived, or time or patience ends: a signal is no error.
pub(super) async fn linger(t: &Task, closing: &dyn Closing, time: Duration) {
    let attempt = || if closing.is_over() { Ok(()) } else { Err(Errno::AGAIN) };
    let _ = t.block_on(closing.wait_queue(), Events::WRITABLE, after(Some(time)), attempt).await;
}

/// Copies in a socket address.
pub(super) fn read_address(t: &Task, addr: Addr, len: i32) -> SysResult<SockAddr> {
    let len = usize::try_from(len).ok().filter(|len| *len <= MAX_LEN).ok_or(Errno::INVAL)?;
    let mut bytes = [0; MAX_LEN];
    let bytes = bytes.get_mut(..len).ok_or(Errno::INVAL)?;
    if len > 0 {
        t.mem().read_bytes(addr, bytes)?;
    }
    Ok(SockAddr::from_bytes(bytes))
}

/// Copies out as much of an address as `*len` allows, and its whole length.
pub(super) fn write_address(t: &Task, address: &SockAddr, addr: Addr, len: Addr) -> SysResult<()> {
    let room = usize::try_from(t.mem().read::<i32>(len)?).map_err(|_| Errno::INVAL)?;
    let bytes = address.as_bytes();
    t.mem().write_bytes(addr, bytes.get(..room.min(bytes.len())).unwrap_or_default())?;
    t.mem().write(len, &(bytes.len() as i32))
}

/// Whether calls on this description wait.
pub(super) fn waits(file: &File, flags: i32) -> bool {
    !file.is_nonblocking() && flags & libc::MSG_DONTWAIT == 0
}

/// When a wait with a timeout of a socket ends.
pub(super) fn after(timeout: Option<Duration>) -> Option<Instant> {
    Instant::now().checked_add(timeout?)
}

/// A wait with a timeout is never restarted (`sock_intr_errno`).
pub(super) fn interrupted(error: Errno, timeout: Option<Duration>) -> Errno {
    if error == Errno::RESTARTSYS && timeout.is_some() { Errno::INTR } else { error }
}
