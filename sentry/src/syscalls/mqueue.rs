//! POSIX message queues: `mq_open(2)` and its kin.

use crate::abi::{MqAttr, Timespec};
use crate::errno::{Errno, SysResult};
use crate::executor::Events;
use crate::fs::File;
use crate::ipc::mqueue::{self, MessageQueue, Queue};
use crate::kernel::Task;
use crate::mm::Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// `MQ_PRIO_MAX`.
const MAX_PRIORITY: u32 = 32768;
const NAME_MAX: usize = 255;

fn read_name(t: &Task, name: Addr) -> SysResult<Vec<u8>> {
    let name = t.mem().read_path(name)?;
    if name.is_empty() {
        return Err(Errno::NOENT);
    }
    if name.len() > NAME_MAX {
        return Err(Errno::NAMETOOLONG);
    }
    if name.contains(&b'/') { Err(Errno::ACCES) } else { Ok(name) }
}

/// `mq_open(2)`: opens a queue, or makes it.
pub async fn mq_open(t: &Task, name: Addr, flags: i32, mode: u32, attr: Addr) -> SysResult<i32> {
    let limits = if attr.is_null() || flags & libc::O_CREAT == 0 {
        None
    } else {
        let attr: MqAttr = t.mem().read(attr)?;
        Some((attr.maxmsg as u64, attr.msgsize as u64))
    };
    let name = read_name(t, name)?;
    let mode = mode & 0o777 & !t.fs().umask();
    let file = mqueue::open(&t.creds(), &name, flags, mode, limits)?;
    t.install(file, flags & libc::O_CLOEXEC != 0)
}

/// `mq_unlink(2)`: removes a queue's name; it lives as long as it is open.
pub async fn mq_unlink(t: &Task, name: Addr) -> SysResult<()> {
    mqueue::unlink(&t.creds(), &read_name(t, name)?)
}

/// An absolute time of the wall clock, as a deadline.
fn read_deadline(t: &Task, addr: Addr) -> SysResult<Option<Instant>> {
    if addr.is_null() {
        return Ok(None);
    }
    let until = t.mem().read::<Timespec>(addr)?.to_duration()?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Ok(Instant::now().checked_add(until.saturating_sub(now)))
}

fn queue(file: &File) -> SysResult<&Arc<Queue>> {
    file.downcast::<MessageQueue>().map(MessageQueue::queue).ok_or(Errno::BADF)
}

fn timed_out(error: Errno) -> Errno {
    if error == Errno::AGAIN { Errno::TIMEDOUT } else { error }
}

/// `mq_timedsend(2)`: sends a message.
pub async fn mq_timedsend(t: &Task, fd: i32, text: Addr, len: usize, priority: u32, until: Addr) -> SysResult<()> {
    let deadline = read_deadline(t, until)?;
    if priority >= MAX_PRIORITY {
        return Err(Errno::INVAL);
    }
    let file = t.file(fd)?;
    let queue = queue(&file)?;
    if !file.is_writable() {
        return Err(Errno::BADF);
    }
    if len as u64 > queue.max_size {
        return Err(Errno::MSGSIZE);
    }
    let mut bytes = vec![0; len];
    t.mem().read_bytes(text, &mut bytes)?;
    let attempt = || queue.send(t, &bytes, priority);
    if file.is_nonblocking() {
        return attempt();
    }
    t.block_on(queue.wait_queue(), Events::WRITABLE, deadline, attempt).await.map_err(timed_out)
}

/// `mq_timedreceive(2)`: receives the oldest message of the highest priority.
pub async fn mq_timedreceive(
    t: &Task,
    fd: i32,
    text: Addr,
    len: usize,
    priority: Addr,
    until: Addr,
) -> SysResult<usize> {
    let deadline = read_deadline(t, until)?;
    let file = t.file(fd)?;
    let queue = queue(&file)?;
    if !file.is_readable() {
        return Err(Errno::BADF);
    }
    if (len as u64) < queue.max_size {
        return Err(Errno::MSGSIZE);
    }
    let (from, bytes) = if file.is_nonblocking() {
        queue.receive()?
    } else {
        let _counted = Receiver::new(queue);
        let attempt = || queue.receive();
        t.block_on(queue.wait_queue(), Events::READABLE, deadline, attempt).await.map_err(timed_out)?
    };
    t.mem().write_opt(priority, &from)?;
    t.mem().write_bytes(text, &bytes)?;
    Ok(bytes.len())
}

/// While it lives, a receiver is counted.
struct Receiver<'a>(&'a Queue);

impl<'a> Receiver<'a> {
    fn new(queue: &'a Queue) -> Receiver<'a> {
        queue.count_receiver(1);
        Receiver(queue)
    }
}

impl Drop for Receiver<'_> {
    fn drop(&mut self) {
        self.0.count_receiver(-1);
    }
}

/// `mq_notify(2)`: has the process told when a message comes to the empty queue.
///
/// # Differences from Linux
/// `SIGEV_THREAD` is refused.
pub async fn mq_notify(t: &Task, fd: i32, event: Addr) -> SysResult<()> {
    /// The fields of `struct sigevent` that matter: value, signal, kind.
    type Sigevent = (u64, i32, i32);
    let event: Option<Sigevent> = if event.is_null() {
        None
    } else {
        let value = t.mem().read(event)?;
        let [signo, kind] = t.mem().read::<[i32; 2]>(event.offset(8))?;
        Some((value, signo, kind))
    };
    let signal = match event {
        None => None,
        Some((_, _, libc::SIGEV_NONE)) => Some((0, 0)),
        Some((value, signo @ 1..=64, libc::SIGEV_SIGNAL)) => Some((signo, value)),
        Some(_) => return Err(Errno::INVAL),
    };
    let file = t.file(fd)?;
    let queue = queue(&file)?;
    match signal {
        None => queue.clear_notification(t),
        Some((signo, value)) => queue.set_notification(t, signo, value)?,
    }
    Ok(())
}

/// `mq_getsetattr(2)`: asks for the attributes, and changes `O_NONBLOCK`.
pub async fn mq_getsetattr(t: &Task, fd: i32, new: Addr, old: Addr) -> SysResult<()> {
    let nonblock = i64::from(libc::O_NONBLOCK);
    let new: Option<MqAttr> = if new.is_null() { None } else { Some(t.mem().read(new)?) };
    if new.is_some_and(|new| new.flags & !nonblock != 0) {
        return Err(Errno::INVAL);
    }
    let file = t.file(fd)?;
    let queue = queue(&file)?;
    let attr = MqAttr {
        flags: i64::from(file.flags()) & nonblock,
        maxmsg: queue.max_messages as i64,
        msgsize: queue.max_size as i64,
        curmsgs: queue.count() as i64,
        reserved: [0; 4],
    };
    if let Some(new) = new {
        file.set_flags(libc::O_NONBLOCK, new.flags as i32);
    }
    t.mem().write_opt(old, &attr)
}
