//! Interception by seccomp user notification.
//!
//! A [`NotifyThread`] is a state machine; a *receiver* thread per family of processes (one `execve` and what it
//! forked) feeds it notifications and runs the sentry's tasks inline. The *nursery* keeps ready stub processes,
//! the *watcher* takes long-blocked calls out of listeners and kills stubs that do not obey, the *reaper* waits
//! for host processes to die. A receiver whose guest makes many calls becomes the *attendant*, to whom they come
//! through shared memory.

mod attendant;
mod frame;
mod gate;
mod listener;
mod local;
mod placement;
mod process;
mod receiver;
pub mod selftest;
mod slots;
pub mod spawner;
mod sys;
mod thread;
mod watcher;

use crate::{BoxFuture, CloneKind, Event, FastPath, Platform, Syscall, Thread};
use listener::Listener;
use parking_lot::{Condvar, Mutex, RwLock};
use process::{AddressSpace, HostProcess};
use slots::Channel;
use spawner::SpawnerHandle;
use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::task::{Context, Poll, Waker};
use thread::{NotifyThread, Phase};

/// How many ready stub processes are kept, and how many at most: as many more as programs have been started faster than
/// such processes, until the sandbox is idle.
const READY: usize = 3;
const READY_MAX: usize = 12;
/// Most threads and processes that a sandbox has for itself: ready processes with their receivers, the spawner, spare
/// receivers, and as many again for the sentry's own threads and those of a dozen commands at once (each one for its
/// connection, one that waits for its process, two of its terminal, and a process that no limit keeps out).
const OWN_TASKS: u64 = 2 * (2 * READY_MAX + 1 + receiver::SPARE) as u64 + 38;
/// Most that there are for a guest's thread: the process that it runs in, one that `execve` is about to put in its
/// place, and one that was replaced or has ended and is still on its way out; each with a receiver.
const TASKS_PER_GUEST: u64 = 2 * 3;

/// How many threads and processes of the host a container may need whose guests have `guests` threads: what a limit of
/// the host has to leave room for. It is the outer wall; guests are held to theirs by the sentry.
pub fn host_tasks(guests: u64) -> u64 {
    guests.saturating_mul(TASKS_PER_GUEST).saturating_add(OWN_TASKS)
}

/// How much higher the `oom_score_adj` of guests is than the sentry's: a fifth of the limit that memory ran into, which
/// is more than a sentry uses.
const GUEST_OOM_BONUS: i32 = 200;
/// `oom_score_adj` of ready processes, the highest: the host may ask for memory again while what it has just killed is
/// still on its way out, and nobody misses a ready process.
const READY_OOM_SCORE: i32 = 1000;

/// The processes behind one listener.
#[derive(Debug)]
pub(crate) struct Family {
    listener: Listener,
    /// Where its root was made.
    nest: Arc<Nest>,
    /// The process that its program was started in.
    root: i32,
}

/// A clone that was ordered; bound to its creator by a nonce (F2).
#[derive(Debug)]
struct Birth {
    kind: CloneKind,
    host: Arc<HostProcess>,
    family: Arc<Family>,
    space: Arc<AddressSpace>,
    stack: Option<u64>,
    /// It begins in the call in which it was made, and with this channel, instead of in a frame.
    in_call: Option<(Syscall, Channel)>,
    state: Mutex<BirthState>,
}

/// The clones that were ordered and have not shown themselves, by their nonces.
#[derive(Debug, Default)]
struct Births {
    expected: HashMap<u64, Arc<Birth>>,
    /// Random numbers that nobody has seen.
    nonces: Vec<u64>,
}

#[derive(Debug, Default)]
struct BirthState {
    child: Option<Arc<NotifyThread>>,
    /// What the parent's stub says the child's id is; used only to notice its death.
    claimed: i32,
    failed: bool,
    waker: Option<Waker>,
}

impl Birth {
    /// Waits for the child to show itself.
    async fn wait(&self, claimed: i32) -> Option<Arc<NotifyThread>> {
        self.state.lock().claimed = claimed;
        poll_fn(|cx| {
            if let Some(child) = self.poll_child(cx) {
                return Poll::Ready(Some(child));
            }
            let has_failed = self.state.lock().failed || self.host.is_gone_now() || self.is_missing(claimed);
            if has_failed { Poll::Ready(None) } else { Poll::Pending }
        })
        .await
    }

    /// It was reaped before anybody knew whose it is.
    fn is_missing(&self, claimed: i32) -> bool {
        self.kind != CloneKind::Thread && !sys::exists(claimed)
    }

    /// Nobody will come.
    fn fail(&self) {
        let mut state = self.state.lock();
        state.failed = true;
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }

    /// The child, if it has shown itself.
    fn poll_child(&self, cx: &Context<'_>) -> Option<Arc<NotifyThread>> {
        let mut state = self.state.lock();
        let child = state.child.take();
        if child.is_none() {
            state.waker = Some(cx.waker().clone());
        }
        child
    }
}

impl Drop for Birth {
    /// A child that nobody took, for its creator died meanwhile, would wait in its stub for ever.
    fn drop(&mut self) {
        if let Some(child) = self.state.get_mut().child.take() {
            crate::Process::kill(child.host.as_ref());
        }
    }
}

#[derive(Debug, Default)]
struct Nursery {
    ready: Vec<Arc<NotifyThread>>,
    /// Asked of the spawner and not ready yet.
    under_way: usize,
    waiting: Vec<Waker>,
    /// How many more are kept than [`READY`].
    more: usize,
    /// How often one could not be made: whoever was waiting then has its answer.
    failures: u64,
    /// Why, the last time.
    error: i32,
    /// The host has refused a process or thread, and something has happened ever since: none are kept, for each takes the
    /// place of one that a guest wants.
    is_scarce: bool,
    /// None are kept or made: a ready process waits in its listener, and what does cannot be frozen (M7).
    is_paused: bool,
    /// So has its spawner, with the container.
    has_ended: bool,
}

impl Nursery {
    /// How many there should be.
    fn wanted(&self) -> usize {
        let kept = if self.is_scarce { 0 } else { READY + self.more };
        kept.max(self.waiting.len())
    }

    /// The host has no room for more.
    fn be_scarce(&mut self) {
        (self.is_scarce, self.more) = (true, 0);
    }

    /// Nothing happens: those are enough that are always kept.
    fn rest(&mut self) {
        (self.is_scarce, self.more) = (false, 0);
        for spare in self.ready.split_off(self.ready.len().min(READY)) {
            crate::Process::kill(spare.host.as_ref());
        }
    }
}

/// Makes the processes of one container: they are born in its cgroups.
#[derive(Debug)]
pub(crate) struct Nest {
    spawner: SpawnerHandle,
    nursery: Mutex<Nursery>,
    changed: Condvar,
}

impl Nest {
    /// The host has refused a guest's clone: the ready processes make room for it. Whether there were any; they are gone
    /// then.
    async fn make_room(&self) -> bool {
        let ready = {
            let mut nursery = self.nursery.lock();
            nursery.be_scarce();
            std::mem::take(&mut nursery.ready)
        };
        ready.iter().for_each(|thread| crate::Process::kill(thread.host.as_ref()));
        for thread in &ready {
            while poll_fn(|cx| thread.poll_event(cx)).await != Event::Gone {}
        }
        !ready.is_empty()
    }
}

/// What all threads of the platform share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// One for each container; the first is that of the sandbox itself.
    nests: Mutex<Vec<Arc<Nest>>>,
    procfs: Arc<OwnedFd>,
    /// `oom_score_adj` of guests: when memory runs out they are killed before the sentry.
    oom_score_adj: i32,
    dummy: OwnedFd,
    threads: RwLock<HashMap<i32, Arc<NotifyThread>>>,
    processes: Mutex<HashMap<i32, Arc<HostProcess>>>,
    births: Mutex<Births>,
    watch: watcher::Watch,
    spares: receiver::Spares,
    /// Notifications received, for the watcher to see whether anything happens.
    received: AtomicU64,
    /// Runs the sentry's tasks that the calling thread has woken.
    run_ready: fn(),
    /// Guests may answer some calls themselves.
    local_answers: bool,
    /// Whether threads may be given channels.
    gives_channels: bool,
    attendants: attendant::Attendants,
    /// Called when the sandbox cannot go on.
    fatal: fn(&str),
}

impl Shared {
    fn dummy(&self) -> BorrowedFd<'_> {
        self.dummy.as_fd()
    }

    fn thread(&self, tid: i32) -> Option<Arc<NotifyThread>> {
        self.threads.read().get(&tid).cloned()
    }

    /// Forgets the binding of a thread id, if it is still this thread's.
    fn forget_thread(&self, tid: i32, thread: &NotifyThread) {
        let mut threads = self.threads.write();
        if threads.get(&tid).is_some_and(|t| std::ptr::eq(t.as_ref(), thread)) {
            threads.remove(&tid);
        }
    }

    fn expect_birth(&self, birth: &Arc<Birth>) -> u64 {
        let mut births = self.births.lock();
        let random = births.nonces.pop().unwrap_or_else(|| {
            let [first, more @ ..] = sys::random();
            births.nonces.extend(more);
            first
        });
        // 63 bits: the value must look like no error.
        let nonce = random >> 1 | 1;
        births.expected.insert(nonce, birth.clone());
        nonce
    }

    fn cancel_birth(&self, nonce: u64) {
        self.births.lock().expected.remove(&nonce);
    }

    /// A stub process has booted (`Some`), or died before it could.
    fn booted(&self, nest: &Nest, thread: Option<Arc<NotifyThread>>) {
        let mut nursery = nest.nursery.lock();
        nursery.under_way = nursery.under_way.saturating_sub(1);
        match thread {
            // Whoever waited for it has got another one, or is gone.
            Some(thread) if nursery.is_paused || nursery.is_scarce && nursery.waiting.is_empty() => {
                crate::Process::kill(thread.host.as_ref());
            }
            Some(thread) => {
                // Not before: while it starts it shares its memory, and so the score, with the spawner.
                self.set_oom_score(thread.host.pid, READY_OOM_SCORE);
                nursery.ready.push(thread);
            }
            None => {}
        }
        let waiting = std::mem::take(&mut nursery.waiting);
        nest.changed.notify_one();
        drop(nursery);
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Whom the host kills first when memory runs out.
    fn set_oom_score(&self, pid: i32, score: i32) {
        if let Err(e) = process::write_proc(&self.procfs, &format!("{pid}/oom_score_adj"), &score.to_string()) {
            tracing::warn!("the host may kill the sentry before guests when memory runs out: {e}");
        }
    }

    /// A ready process has died before it was used.
    fn forget_ready(&self, pid: i32) {
        for nest in self.nests.lock().iter() {
            let mut nursery = nest.nursery.lock();
            nursery.ready.retain(|thread| thread.host.pid != pid);
            nest.changed.notify_one();
        }
    }

    /// Nothing has happened for a while.
    fn rest(&self) {
        for nest in self.nests.lock().iter() {
            nest.nursery.lock().rest();
        }
        crate::host::give_back();
    }

    /// Has the reaper know a process; false if it is gone already.
    fn adopt(&self, host: &Arc<HostProcess>) -> bool {
        self.processes.lock().insert(host.pid, host.clone());
        // Whoever reaps one that is unknown looks again afterwards.
        let is_there = sys::exists(host.pid);
        if !is_there && self.processes.lock().remove(&host.pid).is_some() {
            host.leave_space();
        }
        is_there
    }

    /// The watcher should look at threads again.
    fn watch_soon(&self) {
        self.watch.wake();
    }
}

/// Interception by seccomp user notification.
#[derive(Debug)]
pub struct NotifyPlatform {
    shared: Arc<Shared>,
    nest: Arc<Nest>,
}

impl NotifyPlatform {
    /// Starts the platform's threads. `procfs` is a procfs of the pid namespace that this process is the first of, which
    /// may use as much time as so many `cores` have.
    pub fn start(
        spawner: SpawnerHandle,
        procfs: OwnedFd,
        run_ready: fn(),
        fast_path: FastPath,
        cores: usize,
        fatal: fn(&str),
    ) -> io::Result<NotifyPlatform> {
        let own = process::read_proc(&procfs, "self/oom_score_adj").unwrap_or_default();
        let own: i32 = String::from_utf8_lossy(&own).trim().parse().unwrap_or(0);
        let oom_score_adj = (own + GUEST_OOM_BONUS).min(READY_OOM_SCORE);
        let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE | libc::F_SEAL_SEAL;
        let shared = Arc::new(Shared {
            nests: Mutex::default(),
            procfs: Arc::new(procfs),
            oom_score_adj,
            dummy: sys::memfd(c"closed", 0, seals)?,
            threads: RwLock::default(),
            processes: Mutex::default(),
            births: Mutex::default(),
            watch: watcher::Watch::default(),
            spares: receiver::Spares::default(),
            received: AtomicU64::new(0),
            run_ready,
            local_answers: fast_path != FastPath::Off,
            gives_channels: fast_path != FastPath::Off && attendant::programs_set_gs(),
            attendants: attendant::Attendants::new(cores, fast_path == FastPath::Always),
            fatal,
        });
        for (name, body) in [("watcher", watcher::run as fn(Arc<Shared>)), ("reaper", reaper)] {
            let shared = shared.clone();
            std::thread::Builder::new().name(name.into()).spawn(move || body(shared))?;
        }
        NotifyPlatform::nesting(shared, spawner)
    }

    /// Another one, for a further container in the same sandbox, whose processes are born in the groups with these
    /// `cgroup.procs`.
    pub fn beside(&self, cgroup_procs: &[OwnedFd]) -> io::Result<NotifyPlatform> {
        let spawner = self.nest.spawner.fork(cgroup_procs)?;
        NotifyPlatform::nesting(self.shared.clone(), spawner)
    }

    fn nesting(shared: Arc<Shared>, spawner: SpawnerHandle) -> io::Result<NotifyPlatform> {
        let nest = Arc::new(Nest { spawner, nursery: Mutex::default(), changed: Condvar::new() });
        shared.nests.lock().push(nest.clone());
        let theirs = (shared.clone(), nest.clone());
        std::thread::Builder::new().name("nursery".into()).spawn(move || nursery(&theirs.0, &theirs.1))?;
        Ok(NotifyPlatform { shared, nest })
    }
}

impl Platform for NotifyPlatform {
    fn new_process(&self) -> BoxFuture<'_, io::Result<Arc<dyn Thread>>> {
        let mut asked = None;
        Box::pin(poll_fn(move |cx| {
            let mut nursery = self.nest.nursery.lock();
            if let Some(thread) = nursery.ready.pop() {
                self.nest.changed.notify_one();
                drop(nursery);
                self.shared.set_oom_score(thread.host.pid, self.shared.oom_score_adj);
                return Poll::Ready(Ok(thread as Arc<dyn Thread>));
            }
            if nursery.has_ended {
                return Poll::Ready(Err(io::Error::from_raw_os_error(libc::EAGAIN)));
            }
            match asked {
                // What was refused to others is none of its business: a limit may have passed.
                Some(failures) if failures != nursery.failures => {
                    return Poll::Ready(Err(io::Error::from_raw_os_error(nursery.error)));
                }
                Some(_) => {}
                None => {
                    asked = Some(nursery.failures);
                    nursery.more = (nursery.more + 1).min(READY_MAX - READY);
                }
            }
            nursery.waiting.push(cx.waker().clone());
            self.nest.changed.notify_one();
            Poll::Pending
        }))
    }

    fn pause(&self, is_paused: bool) {
        let mut nursery = self.nest.nursery.lock();
        nursery.is_paused = is_paused;
        if is_paused {
            for ready in nursery.ready.drain(..) {
                crate::Process::kill(ready.host.as_ref());
            }
        }
        self.nest.changed.notify_one();
    }

    fn end(&self) {
        self.pause(true);
        self.nest.spawner.end();
    }

    fn name(&self) -> &'static str {
        "notify"
    }
}

/// Keeps ready stub processes, for as long as the container is there.
fn nursery(shared: &Arc<Shared>, nest: &Arc<Nest>) {
    loop {
        {
            let mut nursery = nest.nursery.lock();
            while nursery.is_paused || nursery.ready.len() + nursery.under_way >= nursery.wanted() {
                if nursery.has_ended {
                    return;
                }
                nest.changed.wait(&mut nursery);
            }
            nursery.under_way += 1;
        }
        if let Err(e) = spawn_ready(shared, nest) {
            let waiting = {
                let mut nursery = nest.nursery.lock();
                nursery.be_scarce();
                nursery.failures += 1;
                nursery.error = e.raw_os_error().unwrap_or(libc::EIO);
                std::mem::take(&mut nursery.waiting)
            };
            // A limit on processes may pass; the next request tries again.
            waiting.into_iter().for_each(Waker::wake);
            (shared.run_ready)();
        }
    }
}

fn spawn_ready(shared: &Arc<Shared>, nest: &Arc<Nest>) -> io::Result<()> {
    let one_less = |_: &io::Error| {
        // The reaper may have told of it too.
        let mut nursery = nest.nursery.lock();
        nursery.under_way = nursery.under_way.saturating_sub(1);
    };
    let (pid, listener) = nest.spawner.spawn().inspect_err(one_less)?;
    let family = Arc::new(Family { listener: Listener::new(listener), nest: nest.clone(), root: pid });
    let booting = Arc::new(AddressSpace::default());
    let host = Arc::new(HostProcess::new(pid, booting, shared.procfs.clone()));
    let thread = NotifyThread::new(shared, &family, &host, pid, None);
    if !shared.adopt(&host) {
        let died = io::Error::from_raw_os_error(libc::EAGAIN);
        one_less(&died);
        return Err(died);
    }
    shared.threads.write().insert(pid, thread);
    // Without a receiver it would wait for ever, and the spawner for it.
    receiver::start(shared, family).inspect_err(|_| crate::Process::kill(host.as_ref()))
}

/// Waits for host processes to die, and reaps them.
fn reaper(shared: Arc<Shared>) {
    placement::i_am_the_reaper();
    loop {
        let dead = match sys::wait_dead() {
            Ok(dead) => dead,
            Err(e) if e.raw_os_error() == Some(libc::EINTR) => continue,
            Err(e) => return (shared.fatal)(&format!("cannot wait for guest processes: {e}")),
        };
        let known = || shared.processes.lock().remove(&dead.pid);
        let mut host = known();
        if host.is_none() {
            let _ = sys::reap(dead.pid);
            spawner_died(&shared, dead.pid);
            // It may have become known meanwhile, which nobody would notice any more.
            host = known();
        }
        if let Some(host) = host {
            host.reap();
            shared.forget_ready(dead.pid);
        }
        fail_births(&shared, dead.pid);
        (shared.run_ready)();
    }
}

/// The sandbox cannot be without its own spawner; that of a further container goes with it.
fn spawner_died(shared: &Shared, pid: i32) {
    let mut nests = shared.nests.lock();
    match nests.iter().position(|nest| nest.spawner.pid() == pid) {
        Some(0) => (shared.fatal)("the spawner of guest processes died"),
        Some(at) => {
            let nest = nests.remove(at);
            let mut nursery = nest.nursery.lock();
            (nursery.has_ended, nursery.is_paused) = (true, true);
            nest.changed.notify_one();
            let waiting = std::mem::take(&mut nursery.waiting);
            drop(nursery);
            waiting.into_iter().for_each(Waker::wake);
        }
        None => {}
    }
}

/// A child died before it showed its nonce, or its parent did: nobody will come for it any more.
fn fail_births(shared: &Shared, pid: i32) {
    let failed: Vec<Arc<Birth>> = {
        let mut births = shared.births.lock();
        let is_failed = |birth: &Birth| birth.host.pid == pid || birth.state.lock().claimed == pid;
        births.expected.extract_if(|_, birth| is_failed(birth)).map(|(_, birth)| birth).collect()
    };
    failed.iter().for_each(|birth| birth.fail());
}
