//! Processes that are started from outside the sandbox: the first one, and those of `runsc exec`.

use super::signal::TaskSignals;
use super::task::TaskParts;
use super::{Creds, Kernel, Limit, Task, ThreadGroup, exec, group, init, run};
use crate::boot::config::{Scheduling, SeccompSpec};
use crate::errno::{Errno, SysResult};
use crate::fs::FdTable;
use crate::fs::attr::FileKind;
use crate::fs::devpts::relay::Relay;
use crate::fs::inode::Caller;
use crate::fs::path::FsContext;
use crate::fs::walk::{Resolve, Walk};
use crate::loader::Strings;
use crate::syscalls::sched;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Called with the wait status of a process when it has died.
pub type OnExit = Box<dyn FnOnce(i32) + Send>;

/// What a process is started with.
pub struct NewProcess {
    /// Who it is.
    pub creds: Creds,
    /// Resource, soft and hard limit; those not named are the defaults.
    pub limits: Vec<(u32, u64, u64)>,
    /// Its view of the files; the working directory is set by `cwd`.
    pub fs: Arc<FsContext>,
    /// Its descriptors.
    pub files: Arc<FdTable>,
    /// Working directory.
    pub cwd: Vec<u8>,
    /// Arguments and environment; the first argument names the program.
    pub strings: Strings,
    /// `oom_score_adj`.
    pub oom_score_adj: i32,
    /// `personality(2)`.
    pub personality: u32,
    /// Filter of its system calls.
    pub seccomp: Option<SeccompSpec>,
    /// How it is scheduled.
    pub scheduling: Scheduling,
    /// Its controlling terminal.
    pub terminal: Option<Arc<Relay>>,
    /// Told of its death.
    pub on_exit: OnExit,
}

impl std::fmt::Debug for NewProcess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NewProcess({:?})", self.strings.args.first())
    }
}

/// A process whose program is loaded and has not run an instruction yet.
#[derive(Debug)]
pub struct Prepared(Arc<Task>);

impl Prepared {
    /// Lets it run.
    pub fn go(self) {
        run::start(self.0, run::Begins::Stopped);
    }

    /// Its process.
    pub fn group(&self) -> &Arc<ThreadGroup> {
        &self.0.group
    }
}

/// Why a process does not come to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartError {
    /// It cannot begin in its working directory.
    Cwd(Errno),
    /// Its program cannot be executed, as `execve(2)` has it.
    Program(Errno),
}

impl From<Errno> for StartError {
    fn from(e: Errno) -> StartError {
        StartError::Program(e)
    }
}

/// Makes the first process; with `virtual_init` process 1 is the sentry's own and the program process 2.
pub async fn first(kernel: &Arc<Kernel>, new: NewProcess, virtual_init: bool) -> Result<Prepared, StartError> {
    if virtual_init {
        init::make(kernel)?;
    }
    let prepared = prepare(kernel, new, i32::from(virtual_init)).await?;
    kernel.main.store(prepared.group().tgid, Ordering::Relaxed);
    Ok(prepared)
}

/// Makes a process and loads its program; after an error nothing is left of it.
///
/// Its parent is process `parent`, or nobody in the sandbox if that is 0.
pub async fn prepare(kernel: &Arc<Kernel>, new: NewProcess, parent: i32) -> Result<Prepared, StartError> {
    let tid = kernel.tree.lock().new_pid()?;
    let made = kernel.platform.new_process().await;
    let thread = made.inspect_err(|_| kernel.tree.lock().cancel_pid(tid)).map_err(Errno::from)?;
    let mut limits = group::default_limits();
    for (resource, soft, hard) in new.limits {
        if let Some(limit) = limits.get_mut(resource as usize) {
            *limit = Limit { soft, hard };
        }
    }
    let group = Arc::new(ThreadGroup::new(tid, thread.process().clone(), Arc::default(), limits, libc::SIGCHLD));
    group.oom_score_adj.store(new.oom_score_adj, Ordering::Relaxed);
    let parts = TaskParts {
        tid,
        thread: thread.clone(),
        creds: Arc::new(new.creds),
        files: new.files,
        fs: new.fs,
        comm: b"init".to_vec(),
        signals: TaskSignals::default(),
    };
    let t = Task::new(kernel, &group, parts);
    t.personality.store(new.personality, Ordering::Relaxed);
    schedule(&t, new.scheduling);
    let filtered = new.seccomp.as_ref().map_or(Ok(()), |spec| crate::seccomp::preset(&t, spec));
    let entered = filtered.map_err(StartError::Program).and_then(|()| enter(&t, &new.cwd).map_err(StartError::Cwd));
    let loaded = match entered {
        Ok(()) => exec::exec_new(&t, new.strings, &thread).await.map_err(StartError::Program),
        Err(e) => Err(e),
    };
    if let Err(e) = loaded {
        thread.process().kill();
        kernel.tree.lock().cancel_pid(tid);
        return Err(e);
    }
    *group.on_exit.lock() = Some(new.on_exit);
    *group.charge.lock() = Some(kernel.pids.attach());
    {
        let mut tree = kernel.tree.lock();
        tree.add_group(&group, parent);
        // A session of its own, whoever its parent is.
        if let Some(node) = tree.node_mut(tid) {
            (node.pgid, node.sid) = (tid, tid);
        }
        tree.add_task(&t);
        group.state.lock().tasks.push(t.clone());
    }
    if let Some(terminal) = new.terminal {
        terminal.control(&t);
    }
    Ok(Prepared(t))
}

fn schedule(t: &Task, wanted: Scheduling) {
    let mut traits = t.traits.lock();
    (traits.policy, traits.reset_on_fork, traits.ioprio) = (wanted.policy, wanted.reset_on_fork, wanted.ioprio);
    drop(traits);
    if let Some(nice) = wanted.nice
        && let Err(e) = sched::set_nice(t, nice)
    {
        tracing::warn!("a process has another nice value than it should: {e}");
    }
}

fn enter(t: &Task, cwd: &[u8]) -> SysResult<()> {
    let caller = Caller::of(t);
    let root = t.fs().root();
    let dir = Walk::new(&caller, root.clone(), root, Resolve::empty()).to(cwd, true)?;
    if dir.inode()?.kind() != FileKind::Directory {
        return Err(Errno::NOTDIR);
    }
    t.fs().set_cwd(dir);
    Ok(())
}
