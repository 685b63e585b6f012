//! A task: the sentry's side of one guest thread.

use super::{Creds, Kernel};
use crate::errno::{Errno, SysResult};
use crate::executor::{Events, Observer, Timers, WaitKey, WaitQueue};
use crate::fs::path::FsContext;
use crate::fs::{FdTable, File};
use crate::mm::UserMemory;
use crate::sync::{Mutex, RwLock};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

/// A guest thread. System calls get it by reference as `t`.
pub struct Task {
    /// What all tasks share.
    pub kernel: Arc<Kernel>,
    /// Thread id in the container's pid namespace.
    pub tid: i32,
    creds: RwLock<Arc<Creds>>,
    files: RwLock<Arc<FdTable>>,
    fs: RwLock<Arc<FsContext>>,
    mem: RwLock<UserMemory>,
    waker: Mutex<Option<Arc<dyn Observer>>>,
}

impl std::fmt::Debug for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Task({})", self.tid)
    }
}

impl Task {
    /// The memory of its process.
    pub fn mem(&self) -> UserMemory {
        self.mem.read().clone()
    }

    /// Its credentials.
    pub fn creds(&self) -> Arc<Creds> {
        self.creds.read().clone()
    }

    /// Its descriptors.
    pub fn files(&self) -> Arc<FdTable> {
        self.files.read().clone()
    }

    /// Its root, working directory and umask.
    pub fn fs(&self) -> Arc<FsContext> {
        self.fs.read().clone()
    }

    /// The description behind `fd`, for I/O.
    pub fn file(&self, fd: i32) -> SysResult<Arc<File>> {
        self.files.read().get(fd)
    }

    /// Puts `file` at the lowest free descriptor number.
    pub fn install(&self, file: Arc<File>, cloexec: bool) -> SysResult<i32> {
        self.files().install_from(0, file, cloexec, self.rlimit(libc::RLIMIT_NOFILE))
    }

    /// Soft limit of a resource.
    pub fn rlimit(&self, resource: u32) -> u64 {
        let _ = resource;
        1024
    }

    /// Sends the task a signal from the kernel (`SI_KERNEL`), as a write to a broken pipe does.
    pub fn raise(&self, signo: i32) {
        let _ = signo;
    }

    /// Whether a signal waits that the task does not block: blocking calls end then.
    pub fn has_signal(&self) -> bool {
        false
    }

    /// What wakes this task.
    pub fn observer(&self) -> Arc<dyn Observer> {
        self.waker.lock().clone().unwrap_or_else(|| Arc::new(std::task::Waker::noop().clone()))
    }

    /// Runs `attempt` until it returns something other than `EAGAIN`, waiting on `queue` between attempts.
    /// `EAGAIN` comes back only when `deadline` has passed; a signal ends the wait with `ERESTARTSYS`.
    /// `attempt` must consume nothing when it returns `EAGAIN`.
    pub async fn block_on<T>(
        &self,
        queue: &WaitQueue,
        mask: Events,
        deadline: Option<Instant>,
        mut attempt: impl FnMut() -> SysResult<T>,
    ) -> SysResult<T> {
        match attempt() {
            Err(Errno::AGAIN) => {}
            done => return done,
        }
        let _registered = Registration::new(queue, mask, self.observer());
        self.wait_for(deadline, move || match attempt() {
            Err(Errno::AGAIN) => None,
            done => Some(done),
        })
        .await?
        .unwrap_or(Err(Errno::AGAIN))
    }

    /// Waits until `ready` gives something (`None` once `deadline` has passed), asked whenever the task is
    /// woken. A signal ends it with `ERESTARTSYS`.
    pub async fn wait_for<T>(
        &self,
        deadline: Option<Instant>,
        mut ready: impl FnMut() -> Option<T>,
    ) -> SysResult<Option<T>> {
        let mut sleep = pin!(deadline.map(|d| Timers::get().sleep_until(d)));
        poll_fn(|cx| {
            if let Some(value) = ready() {
                return Poll::Ready(Ok(Some(value)));
            }
            if self.has_signal() {
                return Poll::Ready(Err(Errno::RESTARTSYS));
            }
            match sleep.as_mut().as_pin_mut().map(|sleep| sleep.poll(cx)) {
                Some(Poll::Ready(())) => Poll::Ready(Ok(None)),
                _ => Poll::Pending,
            }
        })
        .await
    }
}

/// A registration with a wait queue that ends with its scope.
#[derive(Debug)]
pub struct Registration<'a> {
    queue: &'a WaitQueue,
    key: WaitKey,
}

impl<'a> Registration<'a> {
    /// Registers `observer` for `mask`.
    pub fn new(queue: &'a WaitQueue, mask: Events, observer: Arc<dyn Observer>) -> Registration<'a> {
        Registration { queue, key: queue.add(mask, observer) }
    }
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        self.queue.remove(self.key);
    }
}
