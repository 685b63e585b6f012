//! Receivers: threads that take notifications from a listener and run the sentry's tasks for them.

use super::listener::no_caller;
use super::process::{CopyMark, HostProcess, set_copy_mark};
use super::{Birth, Family, NotifyThread, Phase, Shared, attendant, sys};
use crate::CloneKind;
use libc::seccomp_notif;
use parking_lot::{Condvar, Mutex};
use rustix::event::{PollFd, PollFlags, poll};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use stub::abi::{self, op};

/// A listener's list of unanswered notifications is walked by the kernel for each answer: beyond this many,
/// calls that block are parked at once.
const CROWD: usize = 24;

/// How many receivers without a family are kept: most programs live shortly, and a new thread costs more than all
/// the rest of an `execve`.
pub(super) const SPARE: usize = 4;

/// Receivers that wait for a family.
#[derive(Debug, Default)]
pub(super) struct Spares {
    waiting: Mutex<Waiting>,
    wanted: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    receivers: usize,
    families: VecDeque<Arc<Family>>,
}

/// Has some receiver serve `family`.
pub(super) fn start(shared: &Arc<Shared>, family: Arc<Family>) -> io::Result<()> {
    let mut waiting = shared.spares.waiting.lock();
    if waiting.receivers > waiting.families.len() {
        waiting.families.push_back(family);
        shared.spares.wanted.notify_one();
        return Ok(());
    }
    drop(waiting);
    let shared = shared.clone();
    std::thread::Builder::new().name("receiver".into()).spawn(move || {
        let mut next = Some(family);
        while let Some(family) = next {
            receive(&shared, &family);
            drop(family);
            next = next_family(&shared);
        }
    })?;
    Ok(())
}

/// Waits for another family; `None` if enough others do.
fn next_family(shared: &Shared) -> Option<Arc<Family>> {
    let mut waiting = shared.spares.waiting.lock();
    if waiting.receivers >= SPARE {
        return None;
    }
    waiting.receivers += 1;
    loop {
        if let Some(family) = waiting.families.pop_front() {
            waiting.receivers -= 1;
            return Some(family);
        }
        shared.spares.wanted.wait(&mut waiting);
    }
}

fn receive(shared: &Arc<Shared>, family: &Arc<Family>) {
    let mark = Arc::new(CopyMark::default());
    set_copy_mark(Some(mark.clone()));
    shared.watch.add_receiver(&mark, family);
    serve(shared, family, &mark);
    set_copy_mark(None);
}

fn serve(shared: &Arc<Shared>, family: &Arc<Family>, mark: &CopyMark) {
    while mark.replaced.load(Ordering::Relaxed) == 0 {
        match family.listener.recv() {
            Ok(notif) => {
                take(shared, family, &notif);
                attendant::attend(shared, family, mark);
            }
            Err(e) => match e.raw_os_error() {
                Some(libc::EINTR) => {}
                // The caller was interrupted, or nobody is left who could call.
                Some(libc::ENOENT) if !hung_up(family) => {}
                _ => return,
            },
        }
    }
}

fn take(shared: &Arc<Shared>, family: &Arc<Family>, notif: &seccomp_notif) {
    shared.received.fetch_add(1, Ordering::Relaxed);
    shared.watch.note_activity();
    let caller = dispatch(shared, family, notif);
    (shared.run_ready)();
    if let Some(thread) = caller {
        still_waiting(shared, &thread, notif.id);
    }
}

/// Takes what waits in the listener, without waiting for it.
pub(super) fn serve_waiting(shared: &Arc<Shared>, family: &Arc<Family>) -> Found {
    let ready = ready(family);
    let is_served =
        ready.contains(PollFlags::IN) && family.listener.recv().inspect(|notif| take(shared, family, notif)).is_ok();
    no_caller();
    if ready.contains(PollFlags::HUP) {
        Found::Gone
    } else if is_served {
        Found::Served
    } else {
        Found::None
    }
}

/// What [`serve_waiting`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    None,
    Served,
    /// There is nobody any more who could make a call.
    Gone,
}

fn ready(family: &Family) -> PollFlags {
    let mut fds = [PollFd::new(&family.listener, PollFlags::IN)];
    let none = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut fds, Some(&none)).map_or(PollFlags::HUP, |_| fds[0].revents())
}

fn hung_up(family: &Family) -> bool {
    ready(family).contains(PollFlags::HUP)
}

/// Gives the notification to the thread it is of, if that is known.
fn dispatch(shared: &Arc<Shared>, family: &Arc<Family>, notif: &seccomp_notif) -> Option<Arc<NotifyThread>> {
    let known = shared.thread(notif.pid as i32).filter(|thread| Arc::ptr_eq(&thread.family, family));
    match &known {
        Some(thread) => thread.notified(notif),
        // A thread id is reused only after its last owner died, whose binding is dropped before: whoever this
        // is must be a child that shows its nonce.
        None => newborn(shared, family, notif),
    }
    known
}

/// The first call of a thread nobody knows.
fn newborn(shared: &Arc<Shared>, family: &Arc<Family>, notif: &seccomp_notif) {
    let tid = notif.pid as i32;
    let [op, _, _, _, _, nonce] = notif.data.args;
    let shown = notif.data.nr as u64 == abi::HYPERCALL && op == op::CHILD;
    let birth = if shown { shared.births.lock().expected.remove(&nonce) } else { None };
    let Some(birth) = birth.filter(|b| Arc::ptr_eq(&b.family, family)) else {
        return not_ordered(notif);
    };
    let host = match birth.kind {
        CloneKind::Thread => birth.host.clone(),
        CloneKind::Fork | CloneKind::ShareMemory => {
            HostProcess::forked(tid, &birth.host, birth.space.clone(), shared.procfs.clone())
        }
    };
    if !is_from(shared, &birth, &host, tid) {
        // Whoever waits for it would do so for ever.
        birth.fail();
        return not_ordered(notif);
    }
    let child = NotifyThread::new(shared, family, &host, tid, birth.stack);
    match &birth.in_call {
        Some((call, channel)) => child.born_in_call(notif, *call, channel.clone()),
        None => child.born(notif),
    }
    shared.threads.write().insert(tid, child.clone());
    if host.is_gone_now() {
        // It died before it could be told.
        child.host_gone();
    }
    let mut state = birth.state.lock();
    state.child = Some(child);
    if let Some(waker) = state.waker.take() {
        waker.wake();
    }
}

/// Whatever group it is in, none of it can be trusted.
fn not_ordered(notif: &seccomp_notif) {
    tracing::warn!(tid = notif.pid, nr = notif.data.nr, "guest process killed: a thread that nobody ordered");
    let tid = nix::unistd::Pid::from_raw(notif.pid as i32);
    let _ = nix::sys::signal::kill(tid, nix::sys::signal::Signal::SIGKILL);
}

/// Whether the host agrees that `tid` is what was ordered: a thread of that process, or a process of its own.
fn is_from(shared: &Shared, birth: &Birth, host: &Arc<HostProcess>, tid: i32) -> bool {
    match birth.kind {
        CloneKind::Thread => host.with_pid(|pid| tid != pid && sys::tgkill(pid, tid, 0).is_ok()) == Some(true),
        CloneKind::Fork | CloneKind::ShareMemory => shared.adopt(host),
    }
}

/// After the sentry had its turn: has the watcher look after a call that was not answered.
fn still_waiting(shared: &Arc<Shared>, thread: &Arc<NotifyThread>, id: u64) {
    let mut st = thread.lock();
    if !st.is_waiting(id) {
        return;
    }
    if shared.watch.count() > CROWD {
        thread.start_parking(&mut st);
        shared.watch_soon();
    }
    thread.be_watched(&mut st);
}

impl NotifyThread {
    /// The hypercall of a new thread: it is stopped from the start, in the frame that its creator's stub copied.
    fn born(&self, notif: &seccomp_notif) {
        let [_, uc, _, buffer, _, _] = notif.data.args;
        let mut st = self.lock();
        st.start_stopped(notif.id, uc, buffer);
        self.inherit_channel(&mut st);
    }
}

impl HostProcess {
    /// Whether the process has been reaped.
    pub(super) fn is_gone_now(&self) -> bool {
        crate::Process::is_gone(self)
    }
}

/// What a thread's phase is called in reports.
pub(super) fn phase_name(phase: &Phase) -> &'static str {
    match phase {
        Phase::Booting => "booting",
        Phase::Running => "running",
        Phase::InCall(_) | Phase::InChannel(_) | Phase::Cloning(_) => "in a call",
        Phase::Entering { .. } => "entering its stub",
        Phase::Parking(..) => "being parked",
        Phase::Parked(..) => "parked",
        Phase::Stopped => "stopped",
        Phase::Ordered { .. } => "running orders",
        Phase::Retiring { .. } => "retiring",
        Phase::Dead => "dead",
    }
}
