//! `clone(2)` and its kin.

use super::namespaces::CgroupNamespace;
use super::pids::Charge;
use super::run::Begins;
use super::signal::{AltStack, SigHand, TaskSignals};
use super::task::{TaskParts, VforkDone};
use super::{Cap, Kernel, Outcome, Task, ThreadGroup, Tree, run};
use crate::errno::{Errno, SysResult};
use crate::fs::path::FsContext;
use crate::fs::pidfd::{self, PidFd};
use crate::fs::{FdTable, File};
use crate::ipc::Who;
use crate::mm::Addr;
use crate::net::namespace::Net;
use platform::{CloneKind, CloneSpec, Thread};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What to create, from `clone`'s or `clone3`'s arguments.
#[derive(Debug, Clone, Copy, Default)]
#[expect(missing_docs, reason = "clone(2) documents them")]
pub struct CloneArgs {
    pub flags: u64,
    pub exit_signal: i32,
    pub stack: Option<u64>,
    pub parent_tid: Addr,
    pub child_tid: Addr,
    pub pidfd: Addr,
    pub tls: u64,
}

const VM: u64 = libc::CLONE_VM as u64;
const FS: u64 = libc::CLONE_FS as u64;
const FILES: u64 = libc::CLONE_FILES as u64;
const SIGHAND: u64 = libc::CLONE_SIGHAND as u64;
const PIDFD: u64 = libc::CLONE_PIDFD as u64;
const PTRACE: u64 = libc::CLONE_PTRACE as u64;
const VFORK: u64 = libc::CLONE_VFORK as u64;
const PARENT: u64 = libc::CLONE_PARENT as u64;
const THREAD: u64 = libc::CLONE_THREAD as u64;
const SYSVSEM: u64 = libc::CLONE_SYSVSEM as u64;
const SETTLS: u64 = libc::CLONE_SETTLS as u64;
const PARENT_SETTID: u64 = libc::CLONE_PARENT_SETTID as u64;
const CHILD_CLEARTID: u64 = libc::CLONE_CHILD_CLEARTID as u64;
const CHILD_SETTID: u64 = libc::CLONE_CHILD_SETTID as u64;
const DETACHED: u64 = libc::CLONE_DETACHED as u64;
const UNTRACED: u64 = libc::CLONE_UNTRACED as u64;
const IO: u64 = libc::CLONE_IO as u64;
const CLEAR_SIGHAND: u64 = 0x1_0000_0000;
const NEWNS: u64 = libc::CLONE_NEWNS as u64;
const NEWUTS: u64 = libc::CLONE_NEWUTS as u64;
const NEWIPC: u64 = libc::CLONE_NEWIPC as u64;
const NEWNET: u64 = libc::CLONE_NEWNET as u64;
const NEWCGROUP: u64 = libc::CLONE_NEWCGROUP as u64;
/// Namespaces that a child may have of its own.
const NAMESPACES: u64 = NEWNS | NEWUTS | NEWIPC | NEWCGROUP | NEWNET;

const SUPPORTED: u64 = VM
    | FS
    | FILES
    | SIGHAND
    | PIDFD
    | PTRACE
    | VFORK
    | PARENT
    | THREAD
    | SYSVSEM
    | SETTLS
    | PARENT_SETTID
    | CHILD_CLEARTID
    | CHILD_SETTID
    | DETACHED
    | UNTRACED
    | IO
    | CLEAR_SIGHAND
    | NAMESPACES;

/// Creates a thread or process. The result is the child's id; the calling thread is left stopped.
pub async fn clone(t: &Task, args: CloneArgs) -> SysResult<i32> {
    check(t, &args)?;
    let flags = args.flags;
    let is_thread = flags & THREAD != 0;
    // Before anything has to be undone.
    let fs = match () {
        () if flags & FS != 0 => t.fs(),
        () if flags & NEWNS != 0 => t.fs().fork_namespace()?,
        () => t.fs().fork(),
    };
    let ipc = if flags & NEWIPC != 0 { t.ipc().another()? } else { t.ipc() };
    let net = if flags & NEWNET != 0 { Net::create()? } else { t.net() };
    let pidfd = (flags & PIDFD != 0).then(|| Reserved::new(t, args.pidfd)).transpose()?;
    let (id, charge) = reserve_id(t)?;
    let child_tid = id.tid;
    let kind = match (is_thread, flags & VM != 0) {
        (true, _) => CloneKind::Thread,
        (false, true) => CloneKind::ShareMemory,
        (false, false) => CloneKind::Fork,
    };
    let spec = CloneSpec {
        kind,
        stack: args.stack,
        tls: (flags & SETTLS != 0).then_some(args.tls),
        clear_tid: (flags & CHILD_CLEARTID != 0).then_some(args.child_tid.0),
    };
    if kind != CloneKind::Fork {
        t.share_memory();
    }
    let (host_child, begins) = host_clone(t, &spec, child_tid).await?;
    id.keep();
    let child = new_task(t, &args, child_tid, host_child, fs);
    child.set_ipc(ipc);
    child.set_net(net);
    if let Some(pidfd) = pidfd {
        pidfd.give(t, &child, flags & FILES != 0);
    }
    if flags & PARENT_SETTID != 0 {
        let _ = t.mem().write(args.parent_tid, &child_tid);
    }
    if flags & CHILD_SETTID != 0 {
        let _ = child.mem().write(args.child_tid, &child_tid);
    }
    if flags & CHILD_CLEARTID != 0 {
        child.clear_child_tid.store(args.child_tid.0, Ordering::Relaxed);
        child.host_clears_tid.store(args.child_tid.0, Ordering::Relaxed);
    }
    let vfork = (flags & VFORK != 0).then(|| Arc::new(VforkDone::new(t)));
    *child.vfork_done.lock() = vfork.clone();
    t.kernel.count_fork();
    adopt(t, &args, &child, charge);
    if flags & VM == 0 && !child.thread().process().set_known(&child.known()) {
        child.thread().process().kill();
    }
    run::start(child, begins);
    if let Some(vfork) = vfork {
        vfork.wait(t).await;
    }
    Ok(child_tid)
}

/// The id of a child that is yet to be made; it is given back if there will be none, also when the caller dies meanwhile.
struct ReservedId<'a> {
    kernel: &'a Kernel,
    tid: i32,
    is_kept: bool,
}

impl ReservedId<'_> {
    fn keep(mut self) {
        self.is_kept = true;
    }
}

impl Drop for ReservedId<'_> {
    fn drop(&mut self) {
        if !self.is_kept {
            self.kernel.tree.lock().cancel_pid(self.tid);
        }
    }
}

/// An id for a child, which counts from now on.
fn reserve_id(t: &Task) -> SysResult<(ReservedId<'_>, Charge)> {
    let mut tree = t.kernel.tree.lock();
    check_count(t, &tree)?;
    let charge = t.kernel.pids.fork()?;
    Ok((ReservedId { kernel: &t.kernel, tid: tree.new_pid()?, is_kept: false }, charge))
}

/// Has the host make the thread. Where the caller is stopped afterwards its registers have `child_tid` as the result, or
/// the error.
async fn host_clone(t: &Task, spec: &CloneSpec, child_tid: i32) -> SysResult<(Arc<dyn Thread>, Begins)> {
    let thread = t.thread();
    if spec.kind == CloneKind::Thread
        && let Some(child) = thread.clone_in_call(spec).await?
    {
        return Ok((child, Begins::InCall));
    }
    thread.enter(i64::from(child_tid)).await?;
    t.set_outcome(Outcome::Stopped);
    match thread.clone_thread(spec).await? {
        Ok(child) => Ok((child, Begins::Stopped)),
        Err(errno) => {
            let mut regs = thread.registers()?;
            regs.rax = -i64::from(errno) as u64;
            thread.set_registers(&regs)?;
            Err(Errno::from_raw(errno))
        }
    }
}

/// The descriptor of a child that is yet to be made, for nothing may fail once it is: it shows the parent until then.
struct Reserved {
    files: Arc<FdTable>,
    fd: i32,
    is_given: bool,
}

impl Reserved {
    fn new(t: &Task, told_at: Addr) -> SysResult<Reserved> {
        let fd = pidfd::open(t, &t.group)?;
        let reserved = Reserved { files: t.files(), fd, is_given: false };
        t.mem().write(told_at, &fd)?;
        Ok(reserved)
    }

    fn give(mut self, t: &Task, child: &Task, is_shared: bool) {
        self.is_given = true;
        if !is_shared {
            let _ = child.files().remove(self.fd);
        }
        let file = File::anonymous(PidFd { group: child.group.clone() }, libc::O_RDWR);
        let limit = t.rlimit(libc::RLIMIT_NOFILE);
        let _ = self.files.install_at(self.fd, file, true, limit);
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if !self.is_given {
            let _ = self.files.remove(self.fd);
        }
    }
}

/// The combinations that `copy_process` refuses, in its order.
fn check(t: &Task, args: &CloneArgs) -> SysResult<()> {
    let flags = args.flags;
    let has = |flag| flags & flag != 0;
    let namespaces = flags & !SUPPORTED & !0xff;
    if has(NEWNS) && has(FS)
        || has(THREAD) && !has(SIGHAND)
        || has(SIGHAND) && !has(VM)
        || has(SIGHAND) && has(CLEAR_SIGHAND)
        || has(PARENT) && t.group.tgid == 1
        || has(PIDFD) && (has(DETACHED) || has(PARENT_SETTID) && args.pidfd == args.parent_tid)
    {
        return Err(Errno::INVAL);
    }
    if namespaces != 0 {
        // Nested namespaces are not there yet; without the capability Linux would say EPERM, as we do to all.
        return Err(Errno::PERM);
    }
    if flags & NAMESPACES != 0 && !t.creds().has(Cap::SysAdmin) {
        return Err(Errno::PERM);
    }
    // What is to be undone in one namespace is nothing to the other.
    if has(NEWIPC) && has(SYSVSEM) {
        return Err(Errno::INVAL);
    }
    Ok(())
}

/// Most threads of a sandbox: each has a stack and a future in the sentry.
const TASKS_MAX: usize = 31_000;

/// `RLIMIT_NPROC`, which counts the threads of a real user id and does not bind the privileged.
fn check_count(t: &Task, tree: &Tree) -> SysResult<()> {
    let all = tree.task_count();
    let (limit, creds) = (t.rlimit(libc::RLIMIT_NPROC), t.creds());
    let is_free = creds.uid == 0 || creds.has(Cap::SysResource) || creds.has(Cap::SysAdmin);
    let of_user = || {
        let groups = tree.nodes().map(|(_, node)| &node.group);
        groups.flat_map(|group| group.tasks()).filter(|task| task.creds().uid == creds.uid).count()
    };
    let is_over = all as u64 >= limit && !is_free && of_user() as u64 >= limit;
    if all >= TASKS_MAX || is_over { Err(Errno::AGAIN) } else { Ok(()) }
}

fn new_task(t: &Task, args: &CloneArgs, tid: i32, thread: Arc<dyn Thread>, fs: Arc<FsContext>) -> Arc<Task> {
    let has = |flag| args.flags & flag != 0;
    let is_thread = has(THREAD);
    let group = if is_thread {
        // They are for one thread only.
        t.group.sighand().recall();
        t.group.clone()
    } else {
        let old = t.group.sighand();
        let sighand = match () {
            () if has(SIGHAND) => {
                // The child may outlive whoever has them.
                old.recall();
                old
            }
            () if has(CLEAR_SIGHAND) => Arc::new(old.exec()),
            () => Arc::new(SigHand::fork(&old)),
        };
        let limits = *t.group.limits.lock();
        // A sibling tells the common parent as its maker would.
        let exit_signal = if has(PARENT) { t.group.exit_signal.load(Ordering::Relaxed) } else { args.exit_signal };
        let mut group = ThreadGroup::new(tid, thread.process().clone(), sighand, limits, exit_signal);
        group.memory = t.group.memory.fork();
        if !has(VM) {
            crate::ipc::shm::forked(Who::of(&t.group), Who::of(&group));
        }
        *group.exe.lock() = t.group.exe.lock().clone();
        *group.exe_guard.lock() = t.group.exe_guard.lock().clone();
        *group.strings.lock() = *t.group.strings.lock();
        group.dumpable.set(t.group.dumpable.get());
        group.oom_score_adj.store(t.group.oom_score_adj.load(Ordering::Relaxed), Ordering::Relaxed);
        Arc::new(group)
    };
    let files = if has(FILES) { t.files() } else { t.files().fork() };
    let (mask, altstack) = (t.sigmask(), t.altstack());
    // A child that shares memory but not its parent's stack must not run handlers on the parent's.
    let altstack = if has(VM) && !has(VFORK) { AltStack::default() } else { altstack };
    let signals = TaskSignals { mask, altstack, ..TaskSignals::default() };
    let parts = TaskParts { tid, thread, creds: t.creds(), files, fs, comm: t.comm(), signals };
    let child = Task::new(&t.kernel, &group, parts);
    child.set_uts(if has(NEWUTS) { t.uts().copy() } else { t.uts() });
    child.set_cgroup(if has(NEWCGROUP) { CgroupNamespace::another() } else { t.cgroup() });
    *child.keys.lock() = t.keys.lock().fork();
    child.seccomp.inherit(&t.seccomp);
    child.personality.store(t.personality.load(Ordering::Relaxed), Ordering::Relaxed);
    let slack = t.timer_slack.load(Ordering::Relaxed);
    child.timer_slack.store(slack, Ordering::Relaxed);
    *child.traits.lock() = t.traits.lock().fork(slack);
    child
}

/// Puts the child into the tree; a process that is being killed gets no new threads.
fn adopt(t: &Task, args: &CloneArgs, child: &Arc<Task>, charge: Charge) {
    let mut tree = t.kernel.tree.lock();
    let is_thread = args.flags & THREAD != 0;
    *if is_thread { &child.charge } else { &child.group.charge }.lock() = Some(charge);
    if !is_thread {
        let parent =
            if args.flags & PARENT != 0 { tree.node(t.group.tgid).map_or(1, |n| n.parent) } else { t.group.tgid };
        tree.add_group(&child.group, parent);
    }
    tree.add_task(child);
    let mut state = child.group.state.lock();
    state.tasks.push(child.clone());
    if state.exit.is_some() || state.execing.is_some() {
        child.add_work(super::Work::EXIT);
    }
    if state.stopped.is_some() {
        child.add_work(super::Work::STOP);
    }
}
