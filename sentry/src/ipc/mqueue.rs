//! POSIX message queues (`mq_overview(7)`).

use crate::errno::{Errno, SysResult};
use crate::executor::{Events, WaitQueue};
use crate::fs::access;
use crate::fs::attr::Perm;
use crate::fs::{File, FileOps};
use crate::kernel::signal::SigInfo;
use crate::kernel::{Cap, Creds, Task, ThreadGroup};
use crate::sync::Mutex;
use std::any::Any;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, LazyLock, Weak};

/// `fs.mqueue.queues_max`.
const MAX_QUEUES: usize = 256;
/// `fs.mqueue.msg_max` and its default.
const MAX_MESSAGES: u64 = 10;
/// `fs.mqueue.msgsize_max` and its default.
const MAX_SIZE: u64 = 8192;
/// `RLIMIT_MSGQUEUE`'s default: bytes of a queue, for those whom the two above do not bind.
const MAX_BYTES: u64 = 819_200;

/// The queues that have a name.
static NAMES: LazyLock<Mutex<HashMap<Vec<u8>, Arc<Queue>>>> = LazyLock::new(Mutex::default);

#[derive(Debug)]
struct Notification {
    group: Weak<ThreadGroup>,
    /// 0 for `SIGEV_NONE`.
    signo: i32,
    value: u64,
}

#[derive(Debug, Default)]
struct State {
    /// By priority; the oldest first.
    messages: BTreeMap<u32, VecDeque<Vec<u8>>>,
    count: u64,
    /// Who waits for a message: a notification is not sent then.
    receivers: u32,
    notification: Option<Notification>,
}

/// A queue.
#[derive(Debug)]
pub struct Queue {
    perm: Perm,
    /// Most messages.
    pub max_messages: u64,
    /// Most bytes of a message.
    pub max_size: u64,
    state: Mutex<State>,
    queue: WaitQueue,
}

/// One open description of a queue.
#[derive(Debug)]
pub struct MessageQueue {
    queue: Arc<Queue>,
}

/// `mq_open(2)`: finds or makes the queue `name`; `limits` are messages and bytes of each.
pub fn open(creds: &Creds, name: &[u8], flags: i32, mode: u32, limits: Option<(u64, u64)>) -> SysResult<Arc<File>> {
    let mut names = NAMES.lock();
    let queue = match names.get(name) {
        Some(_) if flags & libc::O_CREAT != 0 && flags & libc::O_EXCL != 0 => return Err(Errno::EXIST),
        Some(queue) => {
            let mask = match flags & libc::O_ACCMODE {
                libc::O_RDONLY => access::MAY_READ,
                libc::O_WRONLY => access::MAY_WRITE,
                libc::O_RDWR => access::MAY_READ | access::MAY_WRITE,
                _ => return Err(Errno::INVAL),
            };
            access::check(&queue.perm, creds, mask)?;
            queue.clone()
        }
        None if flags & libc::O_CREAT == 0 => return Err(Errno::NOENT),
        None => {
            let (max_messages, max_size) = limits.unwrap_or((MAX_MESSAGES, MAX_SIZE));
            check_limits(creds, max_messages, max_size)?;
            if names.len() >= MAX_QUEUES {
                return Err(Errno::NOSPC);
            }
            let perm = Perm { mode: libc::S_IFREG | mode, uid: creds.fsuid, gid: creds.fsgid };
            let state = Mutex::default();
            let queue = Arc::new(Queue { perm, max_messages, max_size, state, queue: WaitQueue::new() });
            names.insert(name.to_vec(), queue.clone());
            queue
        }
    };
    Ok(File::anonymous(MessageQueue { queue }, flags & (libc::O_ACCMODE | libc::O_NONBLOCK)))
}

fn check_limits(creds: &Creds, messages: u64, size: u64) -> SysResult<()> {
    if messages == 0 || size == 0 || messages > i64::MAX as u64 || size > i64::MAX as u64 {
        return Err(Errno::INVAL);
    }
    if creds.has(Cap::SysResource) {
        let bytes = messages.checked_mul(size).ok_or(Errno::OVERFLOW)?;
        return if bytes > MAX_BYTES { Err(Errno::MFILE) } else { Ok(()) };
    }
    if messages > MAX_MESSAGES || size > MAX_SIZE { Err(Errno::INVAL) } else { Ok(()) }
}

/// `mq_unlink(2)`: takes the name away.
pub fn unlink(creds: &Creds, name: &[u8]) -> SysResult<()> {
    let mut names = NAMES.lock();
    let queue = names.get(name).ok_or(Errno::NOENT)?;
    // The directory is sticky.
    if creds.fsuid != queue.perm.uid && !creds.has(Cap::Fowner) {
        return Err(Errno::PERM);
    }
    names.remove(name);
    Ok(())
}

impl MessageQueue {
    /// The queue it is open on.
    pub fn queue(&self) -> &Arc<Queue> {
        &self.queue
    }
}

impl Queue {
    /// Where readiness is announced.
    pub fn wait_queue(&self) -> &WaitQueue {
        &self.queue
    }

    /// Messages in it.
    pub fn count(&self) -> u64 {
        self.state.lock().count
    }

    /// Adds a message; `EAGAIN` without room.
    pub fn send(&self, t: &Task, text: &[u8], priority: u32) -> SysResult<()> {
        let mut state = self.state.lock();
        if state.count >= self.max_messages {
            return Err(Errno::AGAIN);
        }
        state.messages.entry(priority).or_default().push_back(text.to_vec());
        state.count += 1;
        let first = state.count == 1 && state.receivers == 0;
        let notification = if first { state.notification.take() } else { None };
        drop(state);
        self.queue.notify(Events::IN | Events::RDNORM);
        if let Some(notification) = notification {
            notification.send(t);
        }
        Ok(())
    }

    /// Takes the oldest message of the highest priority; `EAGAIN` if there is none.
    pub fn receive(&self) -> SysResult<(u32, Vec<u8>)> {
        let mut state = self.state.lock();
        let mut last = state.messages.last_entry().ok_or(Errno::AGAIN)?;
        let priority = *last.key();
        let text = last.get_mut().pop_front().ok_or(Errno::AGAIN)?;
        if last.get().is_empty() {
            last.remove();
        }
        state.count -= 1;
        drop(state);
        self.queue.notify(Events::OUT | Events::WRNORM);
        Ok((priority, text))
    }

    /// Counts who waits for a message.
    pub fn count_receiver(&self, change: i32) {
        let mut state = self.state.lock();
        state.receivers = state.receivers.saturating_add_signed(change);
    }

    /// `mq_notify(2)`: has `t`'s process told of the next message; `EBUSY` if another one is to be.
    pub fn set_notification(&self, t: &Task, signo: i32, value: u64) -> SysResult<()> {
        let mut state = self.state.lock();
        if state.notification.as_ref().is_some_and(|n| n.group.strong_count() > 0) {
            return Err(Errno::BUSY);
        }
        state.notification = Some(Notification { group: Arc::downgrade(&t.group), signo, value });
        Ok(())
    }

    /// The process of `t` is no longer to be told.
    pub fn clear_notification(&self, t: &Task) {
        let mut state = self.state.lock();
        if state.notification.as_ref().is_some_and(|n| std::ptr::eq(n.group.as_ptr(), Arc::as_ptr(&t.group))) {
            state.notification = None;
        }
    }
}

impl Notification {
    fn send(&self, sender: &Task) {
        let Some(group) = self.group.upgrade().filter(|_| self.signo != 0) else { return };
        let mut info = SigInfo::from_task(self.signo, libc::SI_MESGQ, sender);
        if let Some(field) = info.fields.get_mut(8..16) {
            field.copy_from_slice(&self.value.to_ne_bytes());
        }
        group.send_signal(&sender.kernel, info);
    }
}

impl FileOps for MessageQueue {
    fn poll(&self, _: &File) -> Events {
        let count = self.queue.count();
        let mut ready = Events::empty();
        ready.set(Events::IN | Events::RDNORM, count > 0);
        ready.set(Events::OUT | Events::WRNORM, count < self.queue.max_messages);
        ready
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.queue.queue)
    }

    fn on_close(&self, t: &Task, _: &File) {
        self.queue.clear_notification(t);
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn describe(&self) -> String {
        "/mqueue".into()
    }
}
