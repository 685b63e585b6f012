//! `send(2)`, `recv(2)` and their kin.

use super::iovec::{self, Buffers, IoBuffer};
use super::socket::{after, interrupted, read_address, waits, write_address};
use super::socket_control::{Ancillary, ControlOut, read_control};
use crate::abi::Msghdr;
use crate::errno::{Errno, SysResult};
use crate::executor::Events;
use crate::fs::File;
use crate::kernel::Task;
use crate::mm::Addr;
use crate::net::address::{MAX_LEN, SockAddr};
use crate::net::message::{Incoming, Outgoing};
use crate::net::socket::Socket;
use crate::net::stack::tcp::Pieces;

/// Bytes of a stream moved at once: what stays in the caches between the copies.
const CHUNK: usize = 128 << 10;
/// Longest message: what the largest send buffer takes.
const MESSAGE_MAX: usize = 8 << 20;
/// `UIO_MAXIOV`.
const IOV_MAX: u64 = 1024;

/// `sendto(2)`.
pub async fn sendto(
    t: &Task,
    fd: i32,
    buf: Addr,
    len: usize,
    flags: i32,
    addr: Addr,
    addrlen: i32,
) -> SysResult<usize> {
    let from = Buffers::one(buf, len)?;
    let file = t.file(fd)?;
    Socket::of(&file)?;
    let to = if addr.is_null() { None } else { Some(read_address(t, addr, addrlen)?) };
    send(t, &file, &from, to.as_ref(), Ancillary::default(), flags).await
}

/// `recvfrom(2)`.
pub async fn recvfrom(
    t: &Task,
    fd: i32,
    buf: Addr,
    len: usize,
    flags: i32,
    addr: Addr,
    addrlen: Addr,
) -> SysResult<usize> {
    let to = Buffers::one(buf, len)?;
    let file = t.file(fd)?;
    Socket::of(&file)?;
    let got = receive(t, &file, &to, flags).await?;
    if !addr.is_null() {
        write_address(t, &got.from.clone().unwrap_or_default(), addr, addrlen)?;
    }
    Ok(returned(&got, flags))
}

/// `sendmsg(2)`.
pub async fn sendmsg(t: &Task, fd: i32, msg: Addr, flags: i32) -> SysResult<usize> {
    let file = t.file(fd)?;
    send_message(t, &file, &t.mem().read(msg)?, flags).await
}

/// `recvmsg(2)`.
pub async fn recvmsg(t: &Task, fd: i32, msg: Addr, flags: i32) -> SysResult<usize> {
    let file = t.file(fd)?;
    let mut header = t.mem().read(msg)?;
    let count = receive_message(t, &file, &mut header, flags).await?;
    t.mem().write(msg, &header)?;
    Ok(count)
}

/// `read(2)` and kin of a socket.
pub(super) async fn read(t: &Task, file: &File, to: &Buffers, nowait: bool) -> SysResult<usize> {
    if to.is_empty() {
        return Ok(0);
    }
    receive(t, file, to, if nowait { libc::MSG_DONTWAIT } else { 0 }).await.map(|got| got.count)
}

/// `write(2)` and kin of a socket.
pub(super) async fn write(t: &Task, file: &File, from: &Buffers, nowait: bool) -> SysResult<usize> {
    send(t, file, from, None, Ancillary::default(), if nowait { libc::MSG_DONTWAIT } else { 0 }).await
}

/// What a header says of the buffers.
fn buffers(t: &Task, header: &Msghdr) -> SysResult<Buffers> {
    if header.namelen < 0 && header.name != 0 {
        return Err(Errno::INVAL);
    }
    if header.iovlen > IOV_MAX {
        return Err(Errno::MSGSIZE);
    }
    Buffers::vector(t, Addr(header.iov), header.iovlen as usize)
}

/// Sends what a header describes.
pub(super) async fn send_message(t: &Task, file: &File, header: &Msghdr, flags: i32) -> SysResult<usize> {
    let socket = Socket::of(file)?;
    let from = buffers(t, header)?;
    let to = if header.name == 0 || header.namelen == 0 {
        None
    } else {
        Some(read_address(t, Addr(header.name), header.namelen.min(MAX_LEN as i32))?)
    };
    let ancillary = read_control(t, socket, Addr(header.control), header.controllen)?;
    send(t, file, &from, to.as_ref(), ancillary, flags).await
}

/// Receives into what a header describes, and completes the header.
pub(super) async fn receive_message(t: &Task, file: &File, header: &mut Msghdr, flags: i32) -> SysResult<usize> {
    Socket::of(file)?;
    let to = buffers(t, header)?;
    let mut got = receive(t, file, &to, flags).await?;
    if header.name != 0 {
        let address = got.from.take().unwrap_or_default();
        let bytes = address.as_bytes();
        let room = header.namelen.max(0) as usize;
        t.mem().write_bytes(Addr(header.name), bytes.get(..room.min(bytes.len())).unwrap_or_default())?;
        header.namelen = bytes.len() as i32;
    }
    let count = returned(&got, flags);
    let mut control = ControlOut::new(Addr(header.control), header.controllen);
    control.fill(t, got.creds, std::mem::take(&mut got.rights), &got.control, flags & libc::MSG_CMSG_CLOEXEC != 0);
    if let Some(pid) = got.pidfd {
        control.put_pidfd(t, pid);
    }
    header.flags = got.flags | control.flags() | flags & libc::MSG_CMSG_CLOEXEC;
    header.controllen = control.finish(t)?;
    Ok(count)
}

/// What the call returns: with `MSG_TRUNC` the length of the whole message.
fn returned(got: &Incoming, flags: i32) -> usize {
    if flags & libc::MSG_TRUNC != 0 { got.full } else { got.count }
}

/// How many of so many bytes to fetch from the guest: of a stream no more than there is room for, if that is known for
/// less than what it takes to fetch them.
fn worth(socket: &Socket, len: usize) -> usize {
    const LEAST: usize = 4096;
    if len > LEAST && socket.is_stream() { len.min(socket.ops.room().max(LEAST)) } else { len }
}

/// Sends a message whole, or all of a stream's bytes, waiting for room.
pub(super) async fn send(
    t: &Task,
    file: &File,
    from: &Buffers,
    to: Option<&SockAddr>,
    ancillary: Ancillary,
    flags: i32,
) -> SysResult<usize> {
    let socket = Socket::of(file)?;
    let Ancillary { mut rights, creds, control } = ancillary;
    let timeout = socket.options.sndtimeo();
    let deadline = after(timeout);
    let chunk = if socket.is_stream() { CHUNK } else { MESSAGE_MAX };
    if !socket.is_stream() && from.len() > MESSAGE_MAX {
        return Err(Errno::MSGSIZE);
    }
    let mut done = 0;
    loop {
        let mut attempt = || {
            let mut buf = IoBuffer::new(worth(socket, from.len() - done).min(chunk));
            let got = from.copy_in(t, done, &mut buf)?;
            // A message, or what a stream takes at once, goes whole or not at all.
            if got < buf.len() {
                return Err(Errno::FAULT);
            }
            // Only the last byte of all is urgent.
            let flags = if done + got < from.len() { flags & !libc::MSG_OOB } else { flags };
            if got > iovec::SMALL
                && flags & libc::MSG_OOB == 0
                && let Some(sent) = socket.ops.send_buffer(&mut buf, got, flags)
            {
                return sent;
            }
            let data = buf.get(..got).unwrap_or_default();
            let rights = &mut rights;
            socket.ops.send(&mut Outgoing { task: Some(t), data, to, rights, creds, control: &control, flags })
        };
        let sent = if waits(file, flags) {
            t.block_on(socket.ops.wait_queue(), Events::WRITABLE, deadline, attempt).await
        } else {
            attempt()
        };
        match sent {
            Ok(count) => {
                if done == 0 && count > 0 {
                    socket.sent(flags);
                }
                done += count;
            }
            Err(_) if done > 0 => return Ok(done),
            Err(error) => {
                if error == Errno::PIPE && socket.is_stream() && flags & libc::MSG_NOSIGNAL == 0 {
                    t.raise(libc::SIGPIPE);
                }
                return Err(interrupted(error, timeout));
            }
        }
        if done >= from.len() {
            return Ok(done);
        }
    }
}

/// Receives a message, or from a stream: at least one byte or `SO_RCVLOWAT`, with `MSG_WAITALL` all that fits.
pub(super) async fn receive(t: &Task, file: &File, to: &Buffers, flags: i32) -> SysResult<Incoming> {
    let socket = Socket::of(file)?;
    if flags & libc::MSG_ERRQUEUE != 0 {
        // Never waits.
        let mut buf = IoBuffer::new(to.len().min(MESSAGE_MAX));
        let got = socket.receive_error(&mut buf)?;
        let bytes = buf.get(..got.count).unwrap_or_default();
        return if to.copy_out(t, 0, bytes)? < bytes.len() { Err(Errno::FAULT) } else { Ok(got) };
    }
    if !socket.is_stream() {
        return receive_part(t, file, to, 0, flags, true).await;
    }
    let lowat = if flags & libc::MSG_WAITALL != 0 { to.len() } else { socket.options.rcvlowat().min(to.len()) };
    let mut all = receive_part(t, file, to, 0, flags, true).await?;
    while !all.ends && all.count > 0 && all.count < to.len() && flags & (libc::MSG_PEEK | libc::MSG_OOB) == 0 {
        match receive_part(t, file, to, all.count, flags, all.count < lowat).await {
            Ok(part) if part.count > 0 => {
                all.count += part.count;
                all.full = all.count;
                all.rights.extend(part.rights);
                all.creds = all.creds.or(part.creds);
                all.ends = part.ends;
            }
            _ => break,
        }
    }
    Ok(all)
}

/// Receives once, to byte `skip` of the buffers and on.
async fn receive_part(t: &Task, file: &File, to: &Buffers, skip: usize, flags: i32, wait: bool) -> SysResult<Incoming> {
    let socket = Socket::of(file)?;
    let room = (to.len() - skip).min(if socket.is_stream() { CHUNK } else { MESSAGE_MAX });
    let peeks = flags & libc::MSG_PEEK != 0;
    let from = socket.options.peek_off().filter(|_| peeks).unwrap_or(0);
    if from > MESSAGE_MAX {
        return Err(Errno::AGAIN);
    }
    let attempt = || {
        if from == 0
            && let Some((pieces, ends)) = socket.ops.receive_pieces(room, flags)
        {
            let count = pieces.iter().map(|piece| piece.len()).sum();
            return Ok((Received::Pieces(pieces), Incoming { count, full: count, ends, ..Incoming::default() }));
        }
        let mut buf = IoBuffer::new(room + from);
        let mut got = socket.ops.receive(&mut buf, flags)?;
        if from > 0 && got.count <= from && socket.is_stream() && !got.ends {
            return Err(Errno::AGAIN);
        }
        got.count = got.count.saturating_sub(from);
        got.full = got.full.saturating_sub(from);
        Ok((Received::Buffer(buf), got))
    };
    let timeout = socket.options.rcvtimeo();
    let (received, got) = if wait && waits(file, flags) {
        let queue = socket.ops.wait_queue();
        t.block_on(queue, Events::READABLE, after(timeout), attempt).await.map_err(|e| interrupted(e, timeout))?
    } else {
        attempt()?
    };
    let bytes = match &received {
        Received::Buffer(buf) => buf.get(from..from + got.count).unwrap_or_default(),
        Received::Pieces(pieces) => return copy_pieces(t, socket, to, skip, pieces).map(|()| got),
    };
    socket.options.move_peek_off(if peeks || socket.is_stream() { got.count } else { got.full }, peeks);
    if to.copy_out(t, skip, bytes).unwrap_or(0) < bytes.len() {
        if socket.is_stream() && flags & (libc::MSG_PEEK | libc::MSG_OOB) == 0 {
            socket.ops.unreceive(bytes);
        }
        return Err(Errno::FAULT);
    }
    Ok(got)
}

/// What one attempt has received.
enum Received {
    Buffer(IoBuffer),
    Pieces(Pieces),
}

/// Copies what was received of a stream to byte `skip` of the buffers and on.
fn copy_pieces(t: &Task, socket: &Socket, to: &Buffers, skip: usize, pieces: &Pieces) -> SysResult<()> {
    let mut at = skip;
    for piece in pieces {
        if to.copy_out(t, at, piece).unwrap_or(0) < piece.len() {
            socket.ops.unreceive(&pieces.iter().map(|piece| &**piece).collect::<Vec<_>>().concat());
            return Err(Errno::FAULT);
        }
        at += piece.len();
    }
    socket.options.move_peek_off(at - skip, false);
    Ok(())
}
