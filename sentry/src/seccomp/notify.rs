//! What a listener's descriptor is asked to do: `seccomp_unotify(2)`.

use super::listener::{Gift, Listener, ListenerFile, Reply};
use crate::abi::read_extensible;
use crate::errno::{Errno, SysResult};
use crate::executor::Events;
use crate::fs::File;
use crate::kernel::Task;
use crate::mm::Addr;
use std::sync::Arc;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `struct seccomp_notif` with its `struct seccomp_data`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Notif {
    id: u64,
    pid: u32,
    flags: u32,
    nr: u32,
    arch: u32,
    ip: u64,
    args: [u64; 6],
}

/// `struct seccomp_notif_resp`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Resp {
    id: u64,
    val: i64,
    error: i32,
    flags: u32,
}

/// `struct seccomp_notif_addfd`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct AddFd {
    id: u64,
    flags: u32,
    srcfd: u32,
    newfd: u32,
    newfd_flags: u32,
}

/// `struct seccomp_notif_sizes`.
pub const SIZES: [u16; 3] = [size_of::<Notif>() as u16, size_of::<Resp>() as u16, 64];

const RECV: u32 = 0xc050_2100;
const SEND: u32 = 0xc018_2101;
const ID_VALID: u32 = 0x4008_2102;
/// With the direction that headers before 5.9 had.
const ID_VALID_WRONG_DIR: u32 = 0x8008_2102;
const SET_FLAGS: u32 = 0x4008_2104;
/// `SECCOMP_IOCTL_NOTIF_ADDFD` without direction and size.
const ADDFD: u32 = 0x2103;

const CONTINUE: u32 = 1;
const SYNC_WAKE_UP: u64 = 1;
const ADDFD_SETFD: u32 = 1;
const ADDFD_SEND: u32 = 2;

/// Sizes of an extensible structure that are accepted lie below a page.
const SIZE_MAX: usize = 4096;

/// `ioctl(2)` of a listener; `None` if the file is none.
pub fn listener_of(file: &File) -> Option<&Arc<Listener>> {
    file.ops.as_any().downcast_ref::<ListenerFile>().map(|file| &file.0)
}

/// `ioctl(2)` of a listener.
pub async fn ioctl(t: &Task, listener: &Arc<Listener>, cmd: u32, arg: u64) -> SysResult<i64> {
    let at = Addr(arg);
    match cmd {
        RECV => receive(t, listener, at).await.map(|()| 0),
        SEND => send(t, listener, at).map(|()| 0),
        ID_VALID | ID_VALID_WRONG_DIR => {
            let id = t.mem().read(at)?;
            if listener.is_valid(id) { Ok(0) } else { Err(Errno::NOENT) }
        }
        // Who wakes whom on which core is the executor's business.
        SET_FLAGS if arg & !SYNC_WAKE_UP == 0 => Ok(0),
        _ if without_size(cmd) == ADDFD => add_fd(t, listener, size_of_ioctl(cmd), at).await.map(i64::from),
        _ => Err(Errno::INVAL),
    }
}

fn without_size(cmd: u32) -> u32 {
    cmd & 0xffff
}

fn size_of_ioctl(cmd: u32) -> usize {
    (cmd >> 16 & 0x3fff) as usize
}

async fn receive(t: &Task, listener: &Listener, at: Addr) -> SysResult<()> {
    let given: Notif = t.mem().read(at)?;
    if given.as_bytes().iter().any(|byte| *byte != 0) {
        return Err(Errno::INVAL);
    }
    let ready = Events::IN | Events::HUP;
    let (id, tid, data) = t.block_on(listener.queue(), ready, None, || listener.receive()).await?;
    let pid = tid.cast_unsigned();
    let notif = Notif { id, pid, flags: 0, nr: data.nr, arch: data.arch, ip: data.ip, args: data.args };
    t.mem().write(at, &notif).inspect_err(|_| listener.put_back(id))
}

fn send(t: &Task, listener: &Listener, at: Addr) -> SysResult<()> {
    let resp: Resp = t.mem().read(at)?;
    let goes_on = resp.flags & CONTINUE != 0;
    if resp.flags & !CONTINUE != 0 || goes_on && (resp.error != 0 || resp.val != 0) {
        return Err(Errno::INVAL);
    }
    let value = if resp.error != 0 { resp.error.into() } else { resp.val };
    listener.reply(resp.id, if goes_on { Reply::Continue } else { Reply::Return(value) })
}

async fn add_fd(t: &Task, listener: &Listener, size: usize, at: Addr) -> SysResult<i32> {
    if size >= SIZE_MAX {
        return Err(Errno::INVAL);
    }
    let asked: AddFd = read_extensible(t, at, size, size_of::<AddFd>())?;
    if asked.newfd_flags & !(libc::O_CLOEXEC as u32) != 0
        || asked.flags & !(ADDFD_SETFD | ADDFD_SEND) != 0
        || asked.newfd != 0 && asked.flags & ADDFD_SETFD == 0
    {
        return Err(Errno::INVAL);
    }
    let file = t.file(asked.srcfd.cast_signed())?;
    let place = (asked.flags & ADDFD_SETFD != 0).then_some(asked.newfd.cast_signed());
    let gift = Arc::new(Gift::new(file, place, asked.newfd_flags != 0, asked.flags & ADDFD_SEND != 0));
    listener.give(asked.id, &gift)?;
    listener.taken(t, asked.id, &gift).await
}
