//! A task: the sentry's side of one guest thread.

use super::namespaces::{CgroupNamespace, UtsNamespace};
use super::signal::{SigInfo, TaskSignals};
use super::traits::{TIMER_SLACK, Traits};
use super::{Creds, Kernel, ThreadGroup};
use crate::errno::{Errno, SysResult};
use crate::executor::{Events, Observer, Timers, WaitKey, WaitQueue};
use crate::fs::path::FsContext;
use crate::fs::{FdTable, File};
use crate::ipc::IpcNamespace;
use crate::mm::UserMemory;
use crate::net::namespace::Net;
use crate::sync::{Mutex, RwLock};
use bitflags::bitflags;
use crossbeam::atomic::AtomicCell;
use platform::{Process, Thread};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::Instant;

bitflags! {
    /// What a task must see to before its guest thread runs on.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Work: u32 {
        /// A signal may be deliverable.
        const SIGNAL = 1;
        /// The process is to stop.
        const STOP = 2;
        /// A replaced signal mask is to be restored.
        const SAVED_MASK = 4;
        /// The process is dying, or another thread runs `execve`.
        const EXIT = 8;
    }
}

/// How a system call ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Outcome {
    /// With the value that its handler returns.
    #[default]
    Return,
    /// The host kernel runs it as it stands; its handler has checked that it may.
    Native,
    /// Already answered: the thread runs.
    Answered,
    /// The thread is stopped with the registers it is to go on with.
    Stopped,
    /// The thread is stopped; the value that its handler returns is still to be set.
    StoppedReturn,
    /// The thread is gone.
    Exited,
}

/// A guest thread. System calls get it by reference as `t`.
pub struct Task {
    /// What all tasks share.
    pub kernel: Arc<Kernel>,
    /// The process it belongs to.
    pub group: Arc<ThreadGroup>,
    tid: AtomicI32,
    me: Weak<Task>,
    thread: RwLock<Arc<dyn Thread>>,
    creds: RwLock<Arc<Creds>>,
    files: RwLock<Arc<FdTable>>,
    fs: RwLock<Arc<FsContext>>,
    uts: RwLock<Arc<UtsNamespace>>,
    ipc: RwLock<Arc<IpcNamespace>>,
    cgroup: RwLock<Arc<CgroupNamespace>>,
    net: RwLock<Arc<Net>>,
    mem: RwLock<Arc<UserMemory>>,
    waker: RwLock<Option<Arc<dyn Observer>>>,
    /// Reached by [`Task::signals`].
    pub(super) signal_state: Mutex<TaskSignals>,
    work: AtomicU32,
    detached: AtomicBool,
    outcome: AtomicCell<Outcome>,
    /// Name, at most 15 bytes (`PR_SET_NAME`).
    comm: Mutex<Vec<u8>>,
    /// `set_tid_address`.
    pub clear_child_tid: AtomicU64,
    /// That word as its host thread knows it.
    pub host_clears_tid: AtomicU64,
    /// `set_robust_list`, as far as it was a call (see [`Task::robust_list`]).
    pub(super) robust_list: AtomicU64,
    /// `PR_SET_PDEATHSIG`.
    pub pdeath_signal: AtomicI32,
    /// `personality(2)`.
    pub personality: AtomicU32,
    /// What it only has to remember.
    pub traits: Mutex<Traits>,
    /// `PR_SET_TIMERSLACK`, in nanoseconds.
    pub timer_slack: AtomicU64,
    /// Wakes the parent of a `vfork` when this task leaves its memory.
    pub(super) vfork_done: Mutex<Option<Arc<VforkDone>>>,
    /// What `restart_syscall` continues.
    pub restart: Mutex<Option<Restart>>,
    /// Its filters of system calls.
    pub seccomp: crate::seccomp::Seccomp,
    /// Its keyrings.
    pub keys: Mutex<super::keys::rings::TaskKeys>,
    /// What it has read and written.
    pub io: super::io_count::IoCount,
    /// Has it counted for as long as it lives, unless it was made as the leader of its process.
    pub(super) charge: Mutex<Option<super::pids::Charge>>,
    /// The call under way, for `/proc/PID/syscall` and reports.
    pub current_call: AtomicU32,
}

/// A wait with a deadline that a signal without a handler interrupted (`restart_syscall(2)`).
#[derive(Debug, Clone, Copy)]
pub struct Restart {
    /// When it ends.
    pub deadline: Instant,
}

/// Says that the child of a `vfork` has left its parent's memory.
#[derive(Debug)]
pub struct VforkDone {
    done: AtomicBool,
    /// Who waits.
    parent: Arc<dyn Process>,
    /// Nobody else can be in that memory on account of these two: the parent has no other thread, and the child has made
    /// nobody.
    is_alone: AtomicBool,
    queue: WaitQueue,
}

impl VforkDone {
    /// For a child of `parent`.
    pub(super) fn new(parent: &Task) -> VforkDone {
        let is_alone = parent.group.state.lock().tasks.len() == 1;
        let parent = parent.thread().process().clone();
        VforkDone { done: false.into(), parent, is_alone: is_alone.into(), queue: WaitQueue::default() }
    }

    /// Tells the parent.
    pub(super) fn set(&self) {
        self.done.store(true, Ordering::Release);
        self.queue.notify(Events::IN);
    }

    /// Waits for the child, through everything but the death of `t`.
    pub(super) async fn wait(&self, t: &Task) {
        let _registered = Registration::new(&self.queue, Events::IN, t.observer());
        poll_fn(|_| {
            let over = self.done.load(Ordering::Acquire) || t.work().contains(Work::EXIT);
            if over { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

impl std::fmt::Debug for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Task({}/{})", self.group.tgid, self.tid())
    }
}

/// What a new task starts with.
#[derive(Debug)]
pub(crate) struct TaskParts {
    pub(crate) tid: i32,
    pub(crate) thread: Arc<dyn Thread>,
    pub(crate) creds: Arc<Creds>,
    pub(crate) files: Arc<FdTable>,
    pub(crate) fs: Arc<FsContext>,
    pub(crate) comm: Vec<u8>,
    pub(crate) signals: TaskSignals,
}

impl Task {
    pub(crate) fn new(kernel: &Arc<Kernel>, group: &Arc<ThreadGroup>, parts: TaskParts) -> Arc<Task> {
        Arc::new_cyclic(|me| Task {
            kernel: kernel.clone(),
            group: group.clone(),
            tid: AtomicI32::new(parts.tid),
            me: me.clone(),
            mem: RwLock::new(Arc::new(UserMemory::of(parts.thread.clone()))),
            thread: RwLock::new(parts.thread),
            creds: RwLock::new(parts.creds),
            files: RwLock::new(parts.files),
            fs: RwLock::new(parts.fs),
            uts: RwLock::new(kernel.uts.clone()),
            ipc: RwLock::new(kernel.container.ipc.clone()),
            cgroup: RwLock::new(CgroupNamespace::first()),
            net: RwLock::new(Net::first().clone()),
            waker: RwLock::new(None),
            signal_state: Mutex::new(parts.signals),
            work: AtomicU32::new(0),
            detached: AtomicBool::new(false),
            outcome: AtomicCell::default(),
            comm: Mutex::new(parts.comm),
            clear_child_tid: AtomicU64::new(0),
            host_clears_tid: AtomicU64::new(0),
            robust_list: AtomicU64::new(0),
            pdeath_signal: AtomicI32::new(0),
            personality: AtomicU32::new(0),
            traits: Mutex::default(),
            timer_slack: AtomicU64::new(TIMER_SLACK),
            vfork_done: Mutex::default(),
            restart: Mutex::default(),
            seccomp: crate::seccomp::Seccomp::default(),
            keys: Mutex::default(),
            io: Default::default(),
            charge: Mutex::default(),
            current_call: AtomicU32::new(u32::MAX),
        })
    }

    /// Thread id in the container's pid namespace. Changes only when a thread that is not the leader runs
    /// `execve`.
    pub fn tid(&self) -> i32 {
        self.tid.load(Ordering::Relaxed)
    }

    pub(super) fn set_tid(&self, tid: i32) {
        self.tid.store(tid, Ordering::Relaxed);
    }

    /// A counted reference to itself.
    pub fn arc(&self) -> Option<Arc<Task>> {
        self.me.upgrade()
    }

    /// The host thread behind it.
    pub fn thread(&self) -> Arc<dyn Thread> {
        self.thread.read().clone()
    }

    /// Continues in another host thread (`execve`).
    pub(super) fn set_thread(&self, thread: Arc<dyn Thread>) {
        // The mask goes along.
        drop(self.signals());
        *self.mem.write() = Arc::new(UserMemory::of(thread.clone()));
        *self.thread.write() = thread;
        self.detached.store(false, Ordering::Relaxed);
    }

    /// The memory of its process.
    pub fn mem(&self) -> Arc<UserMemory> {
        self.mem.read().clone()
    }

    /// Its credentials.
    pub fn creds(&self) -> Arc<Creds> {
        self.creds.read().clone()
    }

    /// Replaces its credentials (`commit_creds`): with other rights than before it is no longer for others to look
    /// into, and no longer dies with its parent.
    pub fn set_creds(&self, creds: Creds) {
        let old = self.creds();
        let ids = |c: &Creds| (c.euid, c.egid, c.fsuid, c.fsgid);
        if ids(&old) != ids(&creds) || creds.permitted & !old.permitted != 0 {
            self.group.dumpable.set(0);
            self.pdeath_signal.store(0, Ordering::Relaxed);
        }
        let known = |c: &Creds| (c.uid, c.euid, c.gid, c.egid);
        let is_known = known(&old) == known(&creds);
        *self.creds.write() = Arc::new(creds);
        if !is_known {
            self.thread().process().forget(platform::Fact::Owner);
        }
    }

    /// Its descriptors.
    pub fn files(&self) -> Arc<FdTable> {
        self.files.read().clone()
    }

    /// Replaces its table of descriptors (`unshare`, `execve`, exit).
    pub fn set_files(&self, files: Arc<FdTable>) -> Arc<FdTable> {
        std::mem::replace(&mut *self.files.write(), files)
    }

    /// Its root, working directory and umask.
    pub fn fs(&self) -> Arc<FsContext> {
        self.fs.read().clone()
    }

    /// Replaces root, working directory and umask (`unshare`).
    pub fn set_fs(&self, fs: Arc<FsContext>) {
        *self.fs.write() = fs;
    }

    /// The names of the machine that it sees.
    pub fn uts(&self) -> Arc<UtsNamespace> {
        self.uts.read().clone()
    }

    /// Its IPC objects.
    pub fn ipc(&self) -> Arc<IpcNamespace> {
        self.ipc.read().clone()
    }

    /// Has it have others (`CLONE_NEWIPC`). For the running task, see [`crate::ipc::enter`].
    pub fn set_ipc(&self, ipc: Arc<IpcNamespace>) {
        *self.ipc.write() = ipc;
    }

    /// Its view of control groups.
    pub fn cgroup(&self) -> Arc<CgroupNamespace> {
        self.cgroup.read().clone()
    }

    /// Has it have another (`CLONE_NEWCGROUP`).
    pub fn set_cgroup(&self, cgroup: Arc<CgroupNamespace>) {
        *self.cgroup.write() = cgroup;
    }

    /// Has it see other names (`CLONE_NEWUTS`).
    pub fn set_uts(&self, uts: Arc<UtsNamespace>) {
        *self.uts.write() = uts;
    }

    /// The network that it sees.
    pub fn net(&self) -> Arc<Net> {
        self.net.read().clone()
    }

    /// Has it see another network (`CLONE_NEWNET`).
    pub fn set_net(&self, net: Arc<Net>) {
        let old = std::mem::replace(&mut *self.net.write(), net);
        drop(old);
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
        self.group.limit(resource)
    }

    /// Its name.
    pub fn comm(&self) -> Vec<u8> {
        self.comm.lock().clone()
    }

    /// Changes its name, cut to 15 bytes.
    pub fn set_comm(&self, name: &[u8]) {
        *self.comm.lock() = name.iter().copied().take(15).collect();
    }

    /// Sends the task a signal from the kernel (`SI_KERNEL`), as a write to a broken pipe does.
    pub fn raise(&self, signo: i32) {
        self.send_signal(SigInfo::kernel(signo));
    }

    /// What it must see to before its thread runs on.
    pub fn work(&self) -> Work {
        Work::from_bits_truncate(self.work.load(Ordering::Acquire))
    }

    pub(super) fn add_work(&self, work: Work) {
        self.work.fetch_or(work.bits(), Ordering::AcqRel);
    }

    pub(super) fn clear_work(&self, work: Work) {
        self.work.fetch_and(!work.bits(), Ordering::AcqRel);
    }

    /// The process with one thread that waits for it to leave its memory, if there is one.
    pub(super) fn awaited_by(&self) -> Option<Arc<dyn Process>> {
        let vfork = self.vfork_done.lock();
        vfork.as_ref().filter(|vfork| vfork.is_alone.load(Ordering::Relaxed)).map(|vfork| vfork.parent.clone())
    }

    /// It is about to make another one that is in its memory.
    pub(super) fn share_memory(&self) {
        if let Some(vfork) = &*self.vfork_done.lock() {
            vfork.is_alone.store(false, Ordering::Relaxed);
        }
    }

    /// Has its future look again.
    pub(super) fn wake_up(&self) {
        if let Some(waker) = &*self.waker.read() {
            waker.notify(Events::empty());
        }
    }

    /// From here on the death of its host thread is not its own (`execve` by one of several threads).
    pub(super) fn detach(&self) {
        self.detached.store(true, Ordering::Relaxed);
    }

    /// Whether its host thread is gone without its doing.
    pub(super) fn is_gone(&self) -> bool {
        !self.detached.load(Ordering::Relaxed) && self.thread.read().process().is_gone()
    }

    /// Adds work and makes the task see to it: ends its blocking call or interrupts its thread.
    pub(super) fn nudge(&self, work: Work) {
        self.add_work(work);
        self.wake_up();
        self.thread.read().interrupt();
    }

    /// Whether something waits that ends blocking calls: a signal that is not blocked, a stop, death.
    pub fn has_signal(&self) -> bool {
        self.work().intersects(Work::SIGNAL | Work::STOP | Work::EXIT)
    }

    /// What wakes this task.
    pub fn observer(&self) -> Arc<dyn Observer> {
        self.waker.read().clone().unwrap_or_else(|| Arc::new(std::task::Waker::noop().clone()))
    }

    pub(super) fn set_waker(&self, waker: &std::task::Waker) {
        *self.waker.write() = Some(Arc::new(waker.clone()));
    }

    /// Says how the current call ends, other than by returning a value.
    pub fn set_outcome(&self, outcome: Outcome) {
        self.outcome.store(outcome);
    }

    pub(super) fn take_outcome(&self) -> Outcome {
        match self.outcome.load() {
            Outcome::Return => Outcome::Return,
            _ => self.outcome.take(),
        }
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
