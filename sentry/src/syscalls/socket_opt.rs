//! `getsockopt(2)` and `setsockopt(2)`.

use crate::errno::{Errno, SysResult};
use crate::kernel::Task;
use crate::mm::Addr;
use crate::net::socket::Socket;

const SO_PEERGROUPS: i32 = 59;
/// Longest value of an option that means anything here: a filter of 64 sources of IPv6 has more than 8 KiB.
const VALUE_MAX: usize = 16 << 10;

/// `getsockopt(2)`: reads an option; `*len` is the room, then the length.
pub async fn getsockopt(t: &Task, fd: i32, level: i32, name: i32, value: Addr, len: Addr) -> SysResult<()> {
    let file = t.file(fd)?;
    let socket = Socket::of(&file)?;
    let room = usize::try_from(t.mem().read::<i32>(len)?).map_err(|_| Errno::INVAL)?;
    let question = |len: usize| {
        let mut bytes = vec![0; len];
        if room < len { Err(Errno::INVAL) } else { t.mem().read_bytes(value, &mut bytes).map(|()| bytes) }
    };
    let got = if let Some(answer) = socket.ops.answer_option(level, name, &question) {
        answer?
    } else if level == libc::SOL_SOCKET && !socket.ops.has_option(name) {
        socket.options.get(socket, name)?
    } else {
        socket.ops.get_option(t, level, name, room)?
    };
    if (level, name) == (libc::SOL_SOCKET, SO_PEERGROUPS) && got.len() > room {
        // Who asks with too little room is told how much there must be.
        t.mem().write(len, &(got.len() as i32))?;
        return Err(Errno::RANGE);
    }
    let got = got.get(..room.min(got.len())).unwrap_or_default();
    t.mem().write_bytes(value, got)?;
    t.mem().write(len, &(got.len() as i32))
}

/// `setsockopt(2)`: changes an option.
pub async fn setsockopt(t: &Task, fd: i32, level: i32, name: i32, value: Addr, len: i32) -> SysResult<()> {
    let len = usize::try_from(len).map_err(|_| Errno::INVAL)?;
    let file = t.file(fd)?;
    let socket = Socket::of(&file)?;
    let mut bytes = vec![0; len.min(VALUE_MAX)];
    t.mem().read_bytes(value, &mut bytes)?;
    if level == libc::SOL_SOCKET && !socket.ops.has_option(name) {
        socket.options.set(t, socket, name, &bytes)?;
        socket.ops.retune();
        Ok(())
    } else {
        socket.ops.set_option(t, level, name, &bytes)
    }
}
