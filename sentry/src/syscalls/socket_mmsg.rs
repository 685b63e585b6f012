//! `sendmmsg(2)` and `recvmmsg(2)`.

use super::deadline::Deadline;
use super::socket_msg::{receive_message, send_message};
use crate::abi::{Mmsghdr, Timespec};
use crate::errno::SysResult;
use crate::kernel::Task;
use crate::mm::Addr;
use crate::net::socket::Socket;

/// Most messages of one call (`UIO_MAXIOV`).
const VLEN_MAX: u32 = 1024;

/// `sendmmsg(2)`: sends several messages; returns how many were sent.
pub async fn sendmmsg(t: &Task, fd: i32, messages: Addr, count: u32, flags: i32) -> SysResult<usize> {
    let file = t.file(fd)?;
    Socket::of(&file)?;
    for at in 0..count.min(VLEN_MAX) as usize {
        let addr = messages.offset(at * size_of::<Mmsghdr>());
        match send_one(t, &file, addr, flags).await {
            Ok(()) => {}
            Err(_) if at > 0 => return Ok(at),
            Err(error) => return Err(error),
        }
    }
    Ok(count.min(VLEN_MAX) as usize)
}

async fn send_one(t: &Task, file: &crate::fs::File, addr: Addr, flags: i32) -> SysResult<()> {
    let mut message: Mmsghdr = t.mem().read(addr)?;
    message.len = send_message(t, file, &message.hdr, flags).await? as u32;
    t.mem().write(addr, &message)
}

/// `recvmmsg(2)`: receives several messages; returns how many. As on Linux the timeout is looked at only
/// after a message came.
pub async fn recvmmsg(t: &Task, fd: i32, messages: Addr, count: u32, flags: i32, timeout: Addr) -> SysResult<usize> {
    let deadline = if timeout.is_null() {
        Deadline::Never
    } else {
        Deadline::after(t.mem().read::<Timespec>(timeout)?.to_duration()?)
    };
    let file = t.file(fd)?;
    let socket = Socket::of(&file)?;
    socket.options.take_error()?;
    let mut flags = flags;
    let mut done = 0;
    while done < count.min(VLEN_MAX) as usize {
        let addr = messages.offset(done * size_of::<Mmsghdr>());
        match receive_one(t, &file, addr, flags & !libc::MSG_WAITFORONE).await {
            Ok(()) => done += 1,
            Err(_) if done > 0 => break,
            Err(error) => return Err(error),
        }
        if flags & libc::MSG_WAITFORONE != 0 {
            flags |= libc::MSG_DONTWAIT;
        }
        if deadline.remaining().is_some_and(|left| left.is_zero()) {
            break;
        }
    }
    if let Some(left) = deadline.remaining() {
        t.mem().write_opt(timeout, &Timespec::from(left))?;
    }
    Ok(done)
}

async fn receive_one(t: &Task, file: &crate::fs::File, addr: Addr, flags: i32) -> SysResult<()> {
    let mut message: Mmsghdr = t.mem().read(addr)?;
    message.len = receive_message(t, file, &mut message.hdr, flags).await? as u32;
    t.mem().write(addr, &message)
}
