//! Filters that guests put on their own system calls (`seccomp(2)`).
//!
//! They run before each call that reaches the sentry. Calls that the host runs natively are left alone by most
//! filters, whatever their arguments; for the others [`native`] puts the filter onto the guest's host thread. A filter
//! may leave a decision to a [`listener`].

pub mod bpf;
pub mod listener;
pub mod native;
pub mod notify;

use crate::boot::config::SeccompSpec;
use crate::errno::{Errno, SysResult};
use crate::fs::File;
use crate::kernel::Task;
use crate::kernel::signal::SigInfo;
use crate::sync::Mutex;
use bpf::{Data, Instruction, Program};
use listener::{Listener, ListenerFile, Reply};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

/// `AUDIT_ARCH_X86_64`, the only one that there is.
pub const ARCH: u32 = 0xc000_003e;

/// `MAX_INSNS_PER_PATH` of all filters of a task together, where each counts a little more.
const PATH_MAX: usize = 32768;
const PENALTY: usize = 4;

/// Numbers for which a filter's answer is kept. Those of all calls are below.
const CACHED: u32 = 512;

/// Whether there is a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Mode {
    /// None.
    Disabled = 0,
    /// `read`, `write`, `exit`, `rt_sigreturn`.
    Strict = 1,
    /// Programs decide.
    Filter = 2,
}

/// A filter and those before it.
#[derive(Debug)]
pub struct Filter {
    program: Program,
    /// By number: whether the program allows the call whatever its arguments.
    allows: Vec<u64>,
    /// `SECCOMP_FILTER_FLAG_LOG`.
    logs: bool,
    /// Who decides on the calls of which it says so.
    listener: Option<Arc<Listener>>,
    before: Option<Arc<Filter>>,
    /// Instructions of all, with the penalty for each.
    length: usize,
    /// How many there are.
    count: usize,
}

impl Drop for Filter {
    /// One after the other: a chain may be thousands long.
    fn drop(&mut self) {
        if let Some(listener) = &self.listener {
            listener.orphan();
        }
        let mut next = self.before.take();
        while let Some(mut filter) = next.and_then(Arc::into_inner) {
            next = filter.before.take();
        }
    }
}

impl Filter {
    /// Puts a program in front of the filters that there are.
    fn new(program: Program, options: &Options, before: Option<Arc<Filter>>) -> SysResult<Filter> {
        let (length, count) = before.as_ref().map_or((0, 0), |filter| (filter.length, filter.count));
        let length = length + program.code().len() + PENALTY;
        if length > PATH_MAX {
            return Err(Errno::NOMEM);
        }
        let mut allows = vec![0u64; CACHED.div_ceil(64) as usize];
        for nr in (0..CACHED).filter(|nr| program.constant(*nr, ARCH) == Some(libc::SECCOMP_RET_ALLOW)) {
            if let Some(word) = allows.get_mut((nr / 64) as usize) {
                *word |= 1 << (nr % 64);
            }
        }
        let (logs, listener) = (options.logs, options.listener.clone());
        Ok(Filter { program, allows, logs, listener, before, length, count: count + 1 })
    }

    fn always_allows(&self, nr: u32) -> bool {
        self.allows.get((nr / 64) as usize).is_some_and(|word| word >> (nr % 64) & 1 == 1)
    }

    /// This one and those before it.
    fn chain(&self) -> impl Iterator<Item = &Filter> {
        std::iter::successors(Some(self), |filter| filter.before.as_deref())
    }

    /// The strictest answer, and of equal ones the newest filter's.
    fn judge(&self, data: &Data) -> (u32, &Filter) {
        let mut strictest = (libc::SECCOMP_RET_ALLOW, self);
        for filter in self.chain().filter(|filter| !filter.always_allows(data.nr)) {
            let answer = filter.program.run(data);
            if severity(answer) < severity(strictest.0) {
                strictest = (answer, filter);
            }
        }
        strictest
    }
}

/// Actions are ordered as signed numbers, so that KILL_PROCESS comes first.
fn severity(answer: u32) -> i32 {
    (answer & libc::SECCOMP_RET_ACTION_FULL) as i32
}

/// The filters of a task.
#[derive(Debug)]
pub struct Seccomp {
    mode: AtomicU8,
    filter: Mutex<Option<Arc<Filter>>>,
    /// A filter has said that the thread is to end.
    is_doomed: AtomicBool,
}

impl Default for Seccomp {
    fn default() -> Seccomp {
        Seccomp {
            mode: AtomicU8::new(Mode::Disabled as u8),
            filter: Mutex::default(),
            is_doomed: AtomicBool::new(false),
        }
    }
}

impl Seccomp {
    /// The mode.
    pub fn mode(&self) -> Mode {
        match self.mode.load(Ordering::Acquire) {
            0 => Mode::Disabled,
            1 => Mode::Strict,
            _ => Mode::Filter,
        }
    }

    /// The newest filter.
    fn filter(&self) -> Option<Arc<Filter>> {
        self.filter.lock().clone()
    }

    /// How many filters there are.
    pub fn count(&self) -> usize {
        self.filter().map_or(0, |filter| filter.count)
    }

    fn set(&self, mode: Mode, filter: Option<Arc<Filter>>) {
        *self.filter.lock() = filter;
        self.mode.store(mode as u8, Ordering::Release);
    }

    /// The thread is to end: it makes no call but `exit`.
    pub fn doom(&self) {
        self.is_doomed.store(true, Ordering::Relaxed);
    }

    /// The task is at its end: who listens to its filters need not wait for it.
    pub fn release(&self) {
        self.filter.lock().take();
    }

    /// Takes over the filters of another task.
    pub fn inherit(&self, other: &Seccomp) {
        if other.mode() != Mode::Disabled {
            self.set(other.mode(), other.filter());
        }
    }
}

/// How a filter is put in place (`SECCOMP_FILTER_FLAG_*`).
#[derive(Debug)]
pub struct Options {
    /// Of each call that is not allowed a line goes to the log.
    pub logs: bool,
    /// For every thread of the process.
    pub all_threads: bool,
    listener: Option<Arc<Listener>>,
}

impl Options {
    /// Without a listener.
    pub fn new(logs: bool, all_threads: bool) -> Options {
        Options { logs, all_threads, listener: None }
    }

    /// With a listener. One that is patient has calls that it has received end for no signal but a deadly one.
    pub fn listen(&mut self, is_patient: bool) {
        self.listener = Some(Listener::new(is_patient));
    }

    /// The listener's descriptor.
    pub fn listener_file(&self) -> Option<Arc<File>> {
        let listener = self.listener.clone()?;
        Some(File::anonymous(ListenerFile(listener), libc::O_RDWR))
    }
}

/// What becomes of a call.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// It is made.
    Allow,
    /// It returns this at once.
    Return(i64),
    /// It returns its own number and the thread gets `SIGSYS`.
    Trap(u16),
    /// A listener decides.
    Ask(Arc<Listener>),
    /// The process dies of this signal.
    KillProcess(i32),
    /// The thread dies.
    KillThread,
}

/// Judges a call before it is made.
pub fn judge(t: &Task, nr: u32, ip: u64, args: [u64; 6]) -> Verdict {
    match t.seccomp.mode() {
        Mode::Disabled => Verdict::Allow,
        Mode::Strict if STRICT.contains(&i64::from(nr)) => Verdict::Allow,
        Mode::Strict => Verdict::KillProcess(libc::SIGKILL),
        Mode::Filter if t.seccomp.is_doomed.load(Ordering::Relaxed) => Verdict::KillThread,
        Mode::Filter => {
            let Some(filter) = t.seccomp.filter() else { return Verdict::Allow };
            let (answer, by) = filter.judge(&Data { nr, arch: ARCH, ip, args });
            let verdict = verdict(t, answer, by);
            if by.logs && !matches!(verdict, Verdict::Allow)
                || answer & libc::SECCOMP_RET_ACTION_FULL == libc::SECCOMP_RET_LOG
            {
                tracing::info!(tid = t.tid(), nr, answer = format_args!("{answer:#x}"), "seccomp");
            }
            verdict
        }
    }
}

const STRICT: [i64; 4] = [libc::SYS_read, libc::SYS_write, libc::SYS_exit, libc::SYS_rt_sigreturn];

/// Has a listener decide on a call: what it returns; `None` if it is to be made. A signal ends the wait with
/// `ERESTARTSYS`.
pub async fn ask(t: &Task, listener: &Listener, nr: u32, ip: u64, args: [u64; 6]) -> SysResult<Option<i64>> {
    Ok(match listener.ask(t, Data { nr, arch: ARCH, ip, args }).await? {
        Reply::Return(value) => Some(value),
        Reply::Continue => None,
    })
}

fn verdict(t: &Task, answer: u32, by: &Filter) -> Verdict {
    /// `MAX_ERRNO`.
    const MAX_ERRNO: u32 = 4095;
    let data = answer & libc::SECCOMP_RET_DATA;
    match answer & libc::SECCOMP_RET_ACTION_FULL {
        libc::SECCOMP_RET_ALLOW | libc::SECCOMP_RET_LOG => Verdict::Allow,
        libc::SECCOMP_RET_ERRNO => Verdict::Return(-i64::from(data.min(MAX_ERRNO))),
        libc::SECCOMP_RET_TRAP => Verdict::Trap(data as u16),
        libc::SECCOMP_RET_USER_NOTIF if let Some(listener) = &by.listener => Verdict::Ask(listener.clone()),
        // Nobody traces, and nobody listens.
        libc::SECCOMP_RET_TRACE | libc::SECCOMP_RET_USER_NOTIF => Verdict::Return(-i64::from(libc::ENOSYS)),
        libc::SECCOMP_RET_KILL_THREAD if t.group.tasks().len() > 1 => Verdict::KillThread,
        _ => Verdict::KillProcess(libc::SIGSYS),
    }
}

/// `SIGSYS` for a trapped call.
pub fn trap_info(nr: u32, ip: u64, reason: u16) -> SigInfo {
    /// `SYS_SECCOMP`.
    const SYS_SECCOMP: i32 = 1;
    let mut info = SigInfo::fault(libc::SIGSYS, SYS_SECCOMP, ip);
    info.errno = reason.into();
    if let Some(place) = info.fields.get_mut(8..16) {
        place.copy_from_slice(&(u64::from(ARCH) << 32 | u64::from(nr)).to_ne_bytes());
    }
    info
}

/// `SECCOMP_SET_MODE_STRICT`.
pub async fn set_strict(t: &Task) -> SysResult<()> {
    if t.seccomp.mode() == Mode::Filter {
        return Err(Errno::INVAL);
    }
    native::restrict(t, &native::strict()).await?;
    t.seccomp.set(Mode::Strict, None);
    heed(t);
    Ok(())
}

/// `SECCOMP_SET_MODE_FILTER` of a program from guest memory that has been copied. With `all_threads` every thread
/// of the process gets it, or none: then the answer is the id of one that has other filters.
pub async fn set_filter(t: &Task, code: Vec<Instruction>, options: &Options) -> SysResult<i32> {
    let program = Program::new(code)?;
    if t.seccomp.mode() == Mode::Strict {
        return Err(Errno::INVAL);
    }
    let (mine, all_threads) = (t.seccomp.filter(), options.all_threads);
    // Only one may decide on a call.
    if options.listener.is_some()
        && mine.as_ref().is_some_and(|mine| mine.chain().any(|filter| filter.listener.is_some()))
    {
        return Err(Errno::BUSY);
    }
    if let Some(tid) = all_threads.then(|| stranger(t, mine.as_ref())).flatten() {
        return Ok(tid);
    }
    let filter = Arc::new(Filter::new(program, options, mine)?);
    if native::is_needed(&filter) {
        native::restrict_threads(t, &native::program(&filter.program)?, all_threads).await?;
    }
    t.seccomp.set(Mode::Filter, Some(filter.clone()));
    if all_threads {
        let creds = t.creds();
        for other in t.group.tasks() {
            other.seccomp.set(Mode::Filter, Some(filter.clone()));
            if creds.no_new_privs && !other.creds().no_new_privs {
                other.set_creds(crate::kernel::Creds { no_new_privs: true, ..(*other.creds()).clone() });
            }
        }
    }
    heed(t);
    Ok(0)
}

/// What guests may answer themselves, and how that is arranged.
const LOCAL: [libc::c_long; 14] = [
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getppid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getpgid,
    libc::SYS_getpgrp,
    libc::SYS_getsid,
    libc::SYS_mmap,
    libc::SYS_mprotect,
];

/// Whether no filter looks at the calls that guests may answer themselves.
pub fn allows_local_answers(t: &Task) -> bool {
    match t.seccomp.mode() {
        Mode::Disabled => true,
        Mode::Strict => false,
        Mode::Filter => t
            .seccomp
            .filter()
            .is_some_and(|newest| newest.chain().all(|filter| LOCAL.iter().all(|nr| filter.always_allows(*nr as u32)))),
    }
}

/// After a new filter: what the guest has answered itself may be the filter's business now.
fn heed(t: &Task) {
    if !allows_local_answers(t) {
        t.thread().process().forget(platform::Fact::Calls);
    }
}

/// Gives a task that has not run yet its first filter.
pub fn preset(t: &Task, spec: &SeccompSpec) -> SysResult<()> {
    let code = spec.program.iter().map(|&(code, jt, jf, k)| Instruction { code, jt, jf, k }).collect();
    let options = Options::new(spec.flags & libc::SECCOMP_FILTER_FLAG_LOG != 0, false);
    let filter = Filter::new(Program::new(code)?, &options, None)?;
    t.seccomp.set(Mode::Filter, Some(Arc::new(filter)));
    Ok(())
}

/// A thread of the process whose filters are not among those of `t`.
fn stranger(t: &Task, mine: Option<&Arc<Filter>>) -> Option<i32> {
    let is_among = |theirs: &Arc<Filter>| {
        mine.is_some_and(|mine| mine.chain().any(|filter| std::ptr::eq(filter, Arc::as_ptr(theirs))))
    };
    let others = t.group.tasks();
    let odd = others.iter().filter(|other| other.tid() != t.tid()).find(|other| match other.seccomp.mode() {
        Mode::Disabled => false,
        Mode::Strict => true,
        Mode::Filter => !other.seccomp.filter().is_some_and(|theirs| is_among(&theirs)),
    });
    odd.map(|other| other.tid())
}

/// Puts the filters of `t` onto a new host thread, which has none yet (`execve`).
pub async fn restore(t: &Task) -> SysResult<()> {
    match t.seccomp.mode() {
        Mode::Disabled => Ok(()),
        Mode::Strict => native::order(t, &native::strict(), 0).await,
        Mode::Filter => {
            let Some(filter) = t.seccomp.filter() else { return Ok(()) };
            let mut chain: Vec<&Filter> = filter.chain().filter(|filter| native::is_needed(filter)).collect();
            chain.reverse();
            for filter in chain {
                native::order(t, &native::program(&filter.program)?, 0).await?;
            }
            Ok(())
        }
    }
}
