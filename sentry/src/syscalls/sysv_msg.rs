//! `msgget(2)`, `msgsnd(2)`, `msgrcv(2)`, `msgctl(2)`.

use super::deadline::restarted_without_handler;
use crate::abi::{Msginfo, MsqidDs};
use crate::errno::{Errno, SysResult};
use crate::executor::Events;
use crate::ipc::msg::{MAX_MESSAGE, MAX_QUEUE, Message, MsgQueue, Wanted};
use crate::ipc::{Object, own};
use crate::kernel::{Cap, Task};
use crate::mm::Addr;

const MSG_COPY: i32 = 0o40000;
const MSG_STAT_ANY: i32 = 13;

/// `msgget(2)`: finds or makes a message queue.
pub async fn msgget(t: &Task, key: i32, flags: i32) -> SysResult<i32> {
    own().queues.get(t, key, flags, |_| Ok(()), |perm| Ok(MsgQueue::new(perm)))
}

/// `msgsnd(2)`: sends a message: a type, then `size` bytes.
pub async fn msgsnd(t: &Task, id: i32, message: Addr, size: usize, flags: i32) -> SysResult<()> {
    let kind: i64 = t.mem().read(message)?;
    if size > MAX_MESSAGE || id < 0 || kind < 1 {
        return Err(Errno::INVAL);
    }
    let mut text = vec![0; size];
    t.mem().read_bytes(message.offset(size_of::<i64>()), &mut text)?;
    let queue = own().queues.find(id)?;
    queue.perm().check(&t.creds(), 0o222)?;
    let mut message = Some(Message { kind, text });
    let attempt = || queue.send(&mut message, t.group.tgid);
    wait(t, &queue, flags, attempt).await
}

/// `msgrcv(2)`: receives a message: its type, then up to `size` bytes. With `MSG_COPY` the type is a
/// position, and the message stays.
pub async fn msgrcv(t: &Task, id: i32, message: Addr, size: usize, kind: i64, flags: i32) -> SysResult<usize> {
    if id < 0 || isize::try_from(size).is_err() {
        return Err(Errno::INVAL);
    }
    let copies = flags & MSG_COPY != 0;
    if copies && flags & (libc::MSG_EXCEPT | libc::IPC_NOWAIT) != libc::IPC_NOWAIT {
        return Err(Errno::INVAL);
    }
    let queue = own().queues.find(id)?;
    queue.perm().check(&t.creds(), 0o444)?;
    let wanted =
        Wanted { kind, except: flags & libc::MSG_EXCEPT != 0, room: size, cut: flags & libc::MSG_NOERROR != 0 };
    let attempt = || if copies { queue.copy(wanted) } else { queue.receive(wanted, t.group.tgid) };
    let found = wait(t, &queue, flags, attempt).await;
    let found = found.map_err(|error| if error == Errno::AGAIN { Errno::NOMSG } else { error })?;
    let text = found.text.get(..size.min(found.text.len())).unwrap_or_default();
    t.mem().write(message, &found.kind)?;
    t.mem().write_bytes(message.offset(size_of::<i64>()), text)?;
    Ok(text.len())
}

async fn wait<T>(t: &Task, queue: &MsgQueue, flags: i32, mut attempt: impl FnMut() -> SysResult<T>) -> SysResult<T> {
    if flags & libc::IPC_NOWAIT != 0 {
        return attempt();
    }
    t.block_on(&queue.queue, Events::all(), None, attempt).await.map_err(restarted_without_handler)
}

/// `msgctl(2)`: asks and changes.
pub async fn msgctl(t: &Task, id: i32, cmd: i32, arg: Addr) -> SysResult<i32> {
    if id < 0 {
        return Err(Errno::INVAL);
    }
    let creds = t.creds();
    match cmd {
        libc::IPC_INFO | libc::MSG_INFO => return info(t, cmd, arg),
        libc::MSG_STAT | MSG_STAT_ANY => {
            let (id, queue) = own().queues.at(id)?;
            if cmd == libc::MSG_STAT {
                queue.perm().check(&creds, 0o444)?;
            }
            t.mem().write(arg, &queue.stat())?;
            return Ok(id);
        }
        _ => {}
    }
    let queue = own().queues.find(id)?;
    match cmd {
        libc::IPC_STAT => {
            queue.perm().check(&creds, 0o444)?;
            t.mem().write(arg, &queue.stat())?;
        }
        libc::IPC_SET => {
            let new: MsqidDs = t.mem().read(arg)?;
            queue.perm().check_owner(&creds)?;
            if new.qbytes > MAX_QUEUE && !creds.has(Cap::SysResource) {
                return Err(Errno::PERM);
            }
            // Beyond the default even the privileged get no more than the sentry's memory bears.
            queue.set(&new.perm, new.qbytes.min(MAX_QUEUE * 16));
        }
        libc::IPC_RMID => {
            queue.perm().check_owner(&creds)?;
            own().queues.remove(id)?.removed();
        }
        _ => return Err(Errno::INVAL),
    }
    Ok(0)
}

/// `IPC_INFO` and `MSG_INFO`: limits, and what is used of them.
fn info(t: &Task, cmd: i32, addr: Addr) -> SysResult<i32> {
    let (highest, all) = own().queues.all();
    let of_queue = MAX_QUEUE as i32;
    let mut info = Msginfo {
        msgpool: own().queues.max().saturating_mul(of_queue / 1024),
        msgmap: of_queue,
        msgmax: MAX_MESSAGE as i32,
        msgmnb: of_queue,
        msgmni: own().queues.max(),
        // `MSGSSZ` and `MSGSEG`, which mean nothing any more.
        msgssz: 16,
        msgseg: 0xffff,
        msgtql: of_queue,
        pad: 0,
    };
    if cmd == libc::MSG_INFO {
        let stats: Vec<MsqidDs> = all.iter().map(|queue| queue.stat()).collect();
        info.msgpool = all.len() as i32;
        info.msgmap = stats.iter().map(|ds| ds.qnum as i32).sum();
        info.msgtql = stats.iter().map(|ds| ds.cbytes as i32).sum();
    }
    t.mem().write(addr, &info)?;
    Ok(highest)
}
