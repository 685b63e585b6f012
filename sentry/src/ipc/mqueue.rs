//! POSIX message queues (`mq_overview(7)`).

use super::own;
use crate::errno::{Errno, SysResult};
use crate::executor::{Events, WaitQueue};
use crate::fs::access;
use crate::fs::attr::{Attr, FileKind, NewNode, Perm, SetAttr, now};
use crate::fs::inode::{Caller, Inode, InodeExt};
use crate::fs::superblock::alloc_dev;
use crate::fs::{File, FileOps};
use crate::kernel::signal::SigInfo;
use crate::kernel::{Cap, Creds, Task, ThreadGroup};
use crate::sync::Mutex;
use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
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
pub(crate) type Names = BTreeMap<Vec<u8>, Arc<Queue>>;

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

/// The device of the file system that shows the queues.
static DEV: LazyLock<u64> = LazyLock::new(alloc_dev);

/// The device number of all queues.
pub fn dev() -> u64 {
    *DEV
}

/// A queue.
#[derive(Debug)]
pub struct Queue {
    ino: u64,
    attr: Mutex<Attr>,
    ext: InodeExt,
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
    let own = own();
    let mut names = own.names.lock();
    let queue = match names.get(name) {
        Some(_) if flags & libc::O_CREAT != 0 && flags & libc::O_EXCL != 0 => return Err(Errno::EXIST),
        Some(queue) => {
            let mask = match flags & libc::O_ACCMODE {
                libc::O_RDONLY => access::MAY_READ,
                libc::O_WRONLY => access::MAY_WRITE,
                libc::O_RDWR => access::MAY_READ | access::MAY_WRITE,
                _ => return Err(Errno::INVAL),
            };
            access::check(&queue.perm()?, creds, mask)?;
            queue.clone()
        }
        None if flags & libc::O_CREAT == 0 => return Err(Errno::NOENT),
        None => {
            let (messages, size) = limits.unwrap_or((MAX_MESSAGES, MAX_SIZE));
            check_limits(creds, messages, size)?;
            let owner = Perm { mode, uid: creds.fsuid, gid: creds.fsgid };
            add(&mut names, name, owner, messages, size)?
        }
    };
    Ok(File::anonymous(MessageQueue { queue }, flags & (libc::O_ACCMODE | libc::O_NONBLOCK)))
}

fn add(names: &mut Names, name: &[u8], owner: Perm, max_messages: u64, max_size: u64) -> SysResult<Arc<Queue>> {
    /// The directory has the first.
    static NEXT: AtomicU64 = AtomicU64::new(2);
    /// Bytes that the status of a queue is said to have (`FILENT_SIZE`).
    const STATUS_SIZE: u64 = 80;
    if names.len() >= MAX_QUEUES {
        return Err(Errno::NOSPC);
    }
    let ino = NEXT.fetch_add(1, Ordering::Relaxed);
    let mut attr = Attr::new(dev(), ino, libc::S_IFREG | owner.mode, owner.uid, owner.gid).at(now());
    attr.size = STATUS_SIZE;
    let queue = Arc::new(Queue {
        ino,
        attr: Mutex::new(attr),
        ext: InodeExt::default(),
        max_messages,
        max_size,
        state: Mutex::default(),
        queue: WaitQueue::new(),
    });
    names.insert(name.to_vec(), queue.clone());
    Ok(queue)
}

/// Makes a queue of the usual size by its name's being made in the directory.
pub fn create(name: &[u8], new: &NewNode) -> SysResult<Arc<Queue>> {
    if new.kind != FileKind::Regular {
        return Err(Errno::PERM);
    }
    let owner = Perm { mode: new.mode, uid: new.uid, gid: new.gid };
    add(&mut own().names.lock(), name, owner, MAX_MESSAGES, MAX_SIZE)
}

/// The queue `name`.
pub fn find(name: &[u8]) -> Option<Arc<Queue>> {
    own().names.lock().get(name).cloned()
}

/// All queues with their names.
pub fn all() -> Vec<(Vec<u8>, Arc<Queue>)> {
    own().names.lock().iter().map(|(name, queue)| (name.clone(), queue.clone())).collect()
}

/// Takes `name` away if it is still that of `queue`.
pub fn forget(name: &[u8], queue: &dyn Inode) -> SysResult<()> {
    let own = own();
    let mut names = own.names.lock();
    let found = names.get(name).ok_or(Errno::NOENT)?;
    if found.ino != queue.ino() {
        return Err(Errno::NOENT);
    }
    found.attr.lock().nlink = 0;
    names.remove(name);
    Ok(())
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
    let own = own();
    let mut names = own.names.lock();
    let queue = names.get(name).ok_or(Errno::NOENT)?;
    // The directory is sticky.
    if !access::is_owner(&queue.perm()?, creds) {
        return Err(Errno::PERM);
    }
    queue.attr.lock().nlink = 0;
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

    /// What reading it as a file shows.
    fn status(&self) -> String {
        let state = self.state.lock();
        let bytes: usize = state.messages.values().flatten().map(Vec::len).sum();
        let notified = state.notification.as_ref().and_then(|n| Some((n.group.upgrade()?.tgid, n.signo)));
        let (pid, signo) = notified.unwrap_or((0, 0));
        let is_silent = notified.is_some() && signo == 0;
        let kind = if is_silent { libc::SIGEV_NONE } else { libc::SIGEV_SIGNAL };
        format!("QSIZE:{bytes:<10} NOTIFY:{kind:<5} SIGNO:{signo:<5} NOTIFY_PID:{pid:<6}\n")
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

impl Inode for Queue {
    fn attr(&self) -> SysResult<Attr> {
        Ok(*self.attr.lock())
    }

    fn kind(&self) -> FileKind {
        FileKind::Regular
    }

    fn ino(&self) -> u64 {
        self.ino
    }

    fn ext(&self) -> &InodeExt {
        &self.ext
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn open(self: Arc<Self>, _: &Caller<'_>, _: i32) -> SysResult<Box<dyn FileOps>> {
        Ok(Box::new(MessageQueue { queue: self }))
    }

    fn set_attr(&self, change: &SetAttr) -> SysResult<()> {
        let mut attr = self.attr.lock();
        attr.mode = change.mode.map_or(attr.mode, |mode| libc::S_IFREG | mode);
        attr.uid = change.uid.unwrap_or(attr.uid);
        attr.gid = change.gid.unwrap_or(attr.gid);
        attr.atime = change.atime.map_or(attr.atime, |time| time.value());
        attr.mtime = change.mtime.map_or(attr.mtime, |time| time.value());
        attr.ctime = now();
        Ok(())
    }
}

impl FileOps for MessageQueue {
    fn read(&self, _: &File, buf: &mut [u8], offset: u64) -> SysResult<usize> {
        let text = self.queue.status();
        let rest = usize::try_from(offset).ok().and_then(|at| text.as_bytes().get(at..)).unwrap_or_default();
        let count = rest.len().min(buf.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..count), rest.get(..count)) {
            to.copy_from_slice(from);
        }
        Ok(count)
    }

    fn is_seekable(&self) -> bool {
        true
    }

    fn size(&self) -> SysResult<u64> {
        Ok(self.queue.attr.lock().size)
    }

    fn attr(&self) -> Option<Attr> {
        Some(*self.queue.attr.lock())
    }

    fn inode(&self) -> Option<Arc<dyn Inode>> {
        Some(self.queue.clone())
    }

    fn fs_magic(&self) -> u64 {
        super::mqueue_fs::MAGIC
    }

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
