//! Interception and control of guest threads: what stands between the sentry and the host kernel.
//!
//! The sentry sees a guest thread as a [`Thread`]: it produces [`Event`]s (a system call, a fault, an
//! interruption) and takes answers. How the host is made to deliver those, by seccomp user notification or
//! by ptrace, is private to an implementation of [`Platform`].
//!
//! All unsafe code of the workspace lives in this crate and in its stub; each file that has some says which
//! invariants it keeps.

use std::future::Future;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

mod auxv;
mod context;
pub mod counters;
mod filter;
pub mod host;
mod mapping;
pub mod notify;

pub use auxv::auxv;
pub use context::Registers;
pub use filter::native_calls;
pub use mapping::Mapping;

/// A boxed future, for the operations that are too rare to be worth a type of their own.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A system call that a guest thread made and waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Syscall {
    /// The number in `rax`.
    pub nr: u32,
    /// The arguments in the order of the system call ABI: rdi rsi rdx r10 r8 r9.
    pub args: [u64; 6],
    /// The address of the instruction after the `syscall`.
    pub ip: u64,
}

/// A synchronous fault of a guest thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// The signal that Linux raises for it (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP).
    pub signo: i32,
    /// `si_code`.
    pub code: i32,
    /// `si_addr`.
    pub addr: u64,
    /// `uc_mcontext.err`.
    pub err: u64,
    /// `uc_mcontext.trapno`.
    pub trapno: u64,
    /// `uc_mcontext.cr2`.
    pub cr2: u64,
}

/// What happened to a guest thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// It made a system call and waits for [`Thread::answer`] or one of its kin.
    Syscall(Syscall),
    /// It faulted; it is stopped and waits for [`Thread::resume`].
    Fault(Fault),
    /// It followed a [`Thread::interrupt`]; it is stopped and waits for [`Thread::resume`].
    Interrupted,
    /// The host thread is gone and nothing further will happen to it.
    Gone,
}

/// The host thread died while an operation was under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the guest thread is gone")]
pub struct Gone;

/// A system call that the guest thread is to make for the sentry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// Its number.
    pub nr: u32,
    /// Its arguments.
    pub args: [u64; 6],
}

/// What a `clone` is to create. The platform composes the host's flags from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloneKind {
    /// A process with a copy of the memory.
    Fork,
    /// A process that shares the memory (`CLONE_VM` without `CLONE_THREAD`).
    ShareMemory,
    /// A thread of the same process.
    Thread,
}

/// What [`Thread::clone_thread`] made, or the host's errno.
pub type Cloned = Result<Arc<dyn Thread>, i32>;

/// The parameters of [`Thread::clone_thread`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CloneSpec {
    /// Process or thread.
    pub kind: CloneKind,
    /// Stack pointer of the child; `None` keeps the parent's.
    pub stack: Option<u64>,
    /// New FS base (`CLONE_SETTLS`).
    pub tls: Option<u64>,
    /// `CLONE_CHILD_CLEARTID`: where the host clears and wakes when the child exits.
    pub clear_tid: Option<u64>,
}

/// Host's own accounting of a thread or process, in nanoseconds and counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// User time in nanoseconds.
    pub utime: u64,
    /// System time in nanoseconds.
    pub stime: u64,
    /// Page faults without I/O.
    pub minflt: u64,
    /// Page faults with I/O.
    pub majflt: u64,
    /// Largest resident set in KiB.
    pub maxrss: u64,
    /// Voluntary context switches.
    pub nvcsw: u64,
    /// Involuntary context switches.
    pub nivcsw: u64,
}

/// Whether calls that a program makes often are made or answered without a notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FastPath {
    /// Every call is a notification.
    Off,
    /// Where it pays.
    On,
    /// Wherever it can be done, also while no core idles: what costs more then, but shows more.
    Always,
}

/// What a guest process may answer itself, without asking.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Known {
    /// `getpid(2)`.
    pub pid: u32,
    /// `gettid(2)`.
    pub tid: u32,
    /// `getppid(2)`.
    pub parent: u32,
    /// `getuid(2)`.
    pub uid: u32,
    /// `geteuid(2)`.
    pub euid: u32,
    /// `getgid(2)`.
    pub gid: u32,
    /// `getegid(2)`.
    pub egid: u32,
    /// `getpgrp(2)`.
    pub pgid: u32,
    /// `getsid(2)` of itself.
    pub sid: u32,
}

/// A `struct sigaction` of the kernel: handler, flags, restorer, mask.
pub type Action = [u64; 4];

/// Which of what is [`Known`] has changed, or may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fact {
    /// Everything: another process shares the memory.
    All,
    /// There is more than one thread.
    Thread,
    /// The parent died.
    Parent,
    /// User or group.
    Owner,
    /// Process group or session.
    Group,
    /// Everything, and that its calls may be made through channels: a filter of its own looks at them.
    Calls,
}

/// One guest thread. Methods that answer return at once; the thread goes on by itself.
pub trait Thread: Send + Sync + std::fmt::Debug {
    /// Takes the next event, or has `cx` woken when there is one.
    fn poll_event(&self, cx: &mut Context<'_>) -> Poll<Event>;

    /// Answers an [`Event::Syscall`] with a value (a negative errno for errors); the thread goes on.
    fn answer(&self, ret: i64);

    /// Has the host kernel run the call as it stands. Only for calls whose meaning lies in registers alone.
    fn answer_native(&self);

    /// Has the host kernel run the `mmap` as it stands with `file` behind descriptor number `at`.
    /// `file` must have no more rights than the guest's own descriptor.
    fn answer_mmap(&self, file: &Arc<OwnedFd>, at: u32) -> io::Result<()>;

    /// The guest closed or replaced its descriptor `fd` (during an unanswered call): no host copy may stay.
    fn forget_fd(&self, fd: u32);

    /// Answers an [`Event::Syscall`] with `ret`, but stops the thread before its next instruction.
    fn enter(&self, ret: i64) -> BoxFuture<'_, Result<(), Gone>>;

    /// Asks a running thread to stop ([`Event::Interrupted`] follows, unless it makes a call first: then
    /// that event comes, and the interruption after its answer may be spurious).
    fn interrupt(&self);

    /// Registers of a stopped thread.
    fn registers(&self) -> Result<Registers, Gone>;

    /// Changes registers of a stopped thread.
    fn set_registers(&self, regs: &Registers) -> Result<(), Gone>;

    /// Extended state of a stopped thread as the kernel puts it into a signal frame (XSAVE, with magics).
    fn fpstate(&self) -> Result<Vec<u8>, Gone>;

    /// Replaces the extended state of a stopped thread. `state` comes from the guest and is checked.
    fn set_fpstate(&self, state: &[u8]) -> Result<(), Gone>;

    /// Repairs what an interruption did to a natively executed wait of a stopped thread
    /// (`restarting`: `None` if no guest handler will run, else whether it has `SA_RESTART`).
    fn settle_native_wait(&self, restarting: Option<bool>) -> Result<(), Gone>;

    /// Has a stopped thread make `calls` in order; returns their results.
    fn run<'a>(&'a self, calls: &'a [Call]) -> BoxFuture<'a, Result<Vec<i64>, Gone>>;

    /// As [`run`](Self::run), with `files` (at most [`WINDOWS`]) at the descriptor numbers from [`WINDOW_FD`] while
    /// it lasts.
    fn run_with_files<'a>(
        &'a self,
        files: &'a [BorrowedFd<'a>],
        calls: &'a [Call],
    ) -> BoxFuture<'a, Result<Vec<i64>, Gone>>;

    /// Has a thread clone another one in the call that it is in, if it is one that can (see
    /// [`clone_thread`](Self::clone_thread)). The child is in a call too, which is to return 0.
    fn clone_in_call<'a>(&'a self, spec: &'a CloneSpec) -> BoxFuture<'a, Result<Option<Arc<dyn Thread>>, Gone>>;

    /// Has a stopped thread clone itself. The child is stopped, with `rax` 0 in its registers.
    fn clone_thread<'a>(&'a self, spec: &'a CloneSpec) -> BoxFuture<'a, Result<Cloned, Gone>>;

    /// Whether the call under way came through shared memory.
    fn is_fast(&self) -> bool;

    /// Whether the call under way comes from a place that makes it so often that [`rewrite`](Self::rewrite) pays.
    fn is_hot(&self, call: &Syscall) -> bool;

    /// Has the guest answer this call itself from now on, if it can be arranged. The thread is stopped behind it.
    /// `awaited_by`: one with a single thread whose memory its process shares, and which stays stopped until it has left.
    fn rewrite<'a>(
        &'a self,
        call: &'a Syscall,
        known: &'a Known,
        awaited_by: Option<Arc<dyn Process>>,
    ) -> BoxFuture<'a, Result<(), Gone>>;

    /// The head of its list of robust mutexes, if the guest has set it without a call,
    fn robust_list(&self) -> Option<u64>;

    /// which it did before it was set otherwise.
    fn forget_robust_list(&self);

    /// Lets the guest change the signal mask of this thread, which is `mask` and whose call is under way or who is
    /// stopped, without a call. False if it cannot be done.
    fn lend_sigmask(&self, mask: u64) -> bool;

    /// The mask that was lent, if it was: of a thread in a call, or one that may change it meanwhile.
    fn lent_sigmask(&self) -> Option<u64>;

    /// Takes it back: from now on the guest has to call.
    fn take_sigmask(&self) -> Option<u64>;

    /// Lets the guest of this thread, as [`lend_sigmask`](Self::lend_sigmask), change the actions of all signals.
    fn lend_sigactions(&self, actions: &[Action]) -> bool;

    /// Takes them back: what the guest has left there.
    fn take_sigactions(&self) -> Option<Vec<Action>>;

    /// Lets a stopped thread go on with the registers it has.
    fn resume(&self);

    /// Ends this thread and only this one (its process lives on in others). The thread may be stopped or
    /// in a call. `wake`: a futex word that waiters of a leader (which cannot exit natively) are woken on.
    /// Nothing follows but [`Event::Gone`].
    fn exit(&self, wake: Option<u64>);

    /// Reads its memory, as [`Process::read`]: with what its call has brought along, if that is nearer.
    fn read(&self, addr: u64, dst: &mut [u8]) -> usize;

    /// Writes to its memory, as [`Process::write`]: what its call writes may be there only when that is answered.
    fn write(&self, addr: u64, src: &[u8]) -> usize;

    /// Copies `len` bytes of its memory to `at` in `to`; how many, before the first hole of either.
    fn read_mapped(&self, addr: u64, to: &Mapping, at: usize, len: usize) -> usize;

    /// Copies the `len` bytes at `at` in `from` to its memory; how many, before the first hole of either.
    fn write_mapped(&self, addr: u64, from: &Mapping, at: usize, len: usize) -> usize;

    /// The process this thread runs in.
    fn process(&self) -> &Arc<dyn Process>;

    /// The host's accounting of this thread.
    fn usage(&self) -> Usage;

    /// The CPU time that it has used, in nanoseconds; costs less than the rest of [`usage`](Self::usage).
    fn cpu_time(&self) -> u64;

    /// Host thread id as the sentry's namespace sees it (for affinity and scheduling calls).
    fn host_tid(&self) -> i32;
}

/// The descriptor number at which [`Thread::run_with_files`] places its first file.
pub const WINDOW_FD: u32 = 1000;
/// How many files it takes: a program and its dynamic linker.
pub const WINDOWS: usize = 2;

/// The memory of a process without a program.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Layout {
    /// Address of the vDSO.
    pub vdso: u64,
    /// End of the room that the host's kernel gives to mappings.
    pub mappings_end: u64,
    /// Start and length of what its first orders should unmap.
    pub leftover: (u64, u64),
    /// A KiB of memory that its first orders may point to.
    pub scratch: u64,
}

/// One host process behind guest threads, and the memory they see.
pub trait Process: Send + Sync + std::fmt::Debug {
    /// Copies from guest memory; returns how much was readable before the first hole.
    fn read(&self, addr: u64, dst: &mut [u8]) -> usize;

    /// Copies to guest memory; returns how much was writable before the first hole.
    fn write(&self, addr: u64, src: &[u8]) -> usize;

    /// Kills the host process, obeyed by stubs that no longer obey.
    fn kill(&self);

    /// Whether the host process has been reaped or is about to be.
    fn is_gone(&self) -> bool;

    /// The signal that the host process died of, if it has been reaped.
    fn death_signal(&self) -> Option<i32> {
        None
    }

    /// Host process id as the sentry's namespace sees it.
    fn host_pid(&self) -> i32;

    /// The host's accounting; after the death of the process, what it had used in all.
    fn usage(&self) -> Usage;

    /// Sets a host limit for natively executed calls (`RLIMIT_*` number, soft, hard).
    fn set_rlimit(&self, resource: u32, soft: u64, hard: u64);

    /// The host's `/proc/PID/FILE` of this process.
    fn proc_file(&self, name: &str) -> io::Result<Vec<u8>>;

    /// Whether the range touches memory that belongs to the platform (stub, stacks, slots).
    fn is_reserved(&self, addr: u64, len: u64) -> bool;

    /// What was known of its parent holds no more for this process, a fork that has not run yet. False if it
    /// cannot be told.
    fn set_known(&self, known: &Known) -> bool;

    /// What the guest was told about this is no longer true.
    fn forget(&self, fact: Fact);

    /// How its memory is laid out before it has a program.
    fn layout(&self) -> Layout;
}

/// Makes guest processes.
pub trait Platform: Send + Sync + std::fmt::Debug {
    /// A process without a program, its one thread stopped, its address space empty but for the platform's own.
    fn new_process(&self) -> BoxFuture<'_, io::Result<Arc<dyn Thread>>>;

    /// Before guests are frozen from outside, and after: meanwhile nothing of the platform's own may keep the host
    /// from freezing it.
    fn pause(&self, is_paused: bool);

    /// There will be no further processes. Only for one of several, when its container has ended.
    fn end(&self);

    /// Its name: `notify` or `ptrace`.
    fn name(&self) -> &'static str;
}
