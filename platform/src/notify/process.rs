//! Host processes and the address spaces they see.

use super::gate::Gate;
use super::local::{Ends, Local};
use super::slots::{CHANNELS, SLOTS, SlotFile, TABLES};
use super::thread::NotifyThread;
use super::{placement, sys};
use crate::counters::COPIES;
use crate::{Fact, Known, Layout, Process, Registers, Usage};
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use stub::abi;

const PAGE: u64 = 4096;

/// How many stub stacks are mapped at once for the threads of a process.
pub(super) const STACKS_PER_CHUNK: u64 = 16;

/// What processes that share memory (`vfork`) share: slots and stub stacks.
#[derive(Debug, Default)]
pub(super) struct AddressSpace {
    boot: OnceLock<BootFacts>,
    pub(super) slots: Mutex<Slots>,
    /// What the guest answers itself.
    pub(super) local: Mutex<Local>,
    pub(super) ends: Ends,
    /// How many processes are in it that have not been reaped.
    users: AtomicUsize,
    /// Passed by who rewrites text and by who copies all of it.
    pub(super) gate: Gate,
    stacks: Mutex<Stacks>,
}

/// What a stub tells when it starts, before any guest code has run.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct BootFacts {
    /// Size of a stub stack.
    stack_size: u64,
    layout: Layout,
}

impl BootFacts {
    /// From the registers of its first trap (`op::ENTRY`).
    pub(super) fn new(regs: &Registers) -> BootFacts {
        // The stub has a stack of its own, and so will the program. What `execve` made grows by 128 KiB at once;
        // nothing else is near.
        const AT_MOST: u64 = 1 << 20;
        let end = (regs.r8.max(regs.rsp) | (PAGE - 1)).saturating_add(1);
        let layout = Layout {
            vdso: regs.rdi,
            mappings_end: regs.rdx,
            leftover: (end.saturating_sub(AT_MOST), AT_MOST),
            // The far end of the first stub stack.
            scratch: abi::STACK_BASE,
        };
        BootFacts { stack_size: regs.rsi, layout }
    }
}

/// Whether threads can be parked.
#[derive(Debug, Default)]
pub(super) enum Slots {
    /// No thread has been parked yet.
    #[default]
    Unmapped,
    /// Some thread is about to map the file.
    Mapping(Arc<SlotFile>),
    /// The file is mapped in the guest.
    Mapped(Arc<SlotFile>),
    /// The guest has something else there.
    Refused,
}

#[derive(Debug, Default)]
struct Stacks {
    free: Vec<u64>,
    chunks: Vec<(u64, u64)>,
    slots: Numbers,
    channels: Numbers,
    tables: Numbers,
}

/// Numbers from 0 on that are given out and come back.
#[derive(Debug, Default)]
struct Numbers {
    free: Vec<u32>,
    /// How many were ever given out.
    used: u32,
}

impl Numbers {
    /// One below `most` that nobody has.
    fn take(&mut self, most: u32) -> Option<u32> {
        let fresh = || {
            let number = self.used;
            self.used += u32::from(number < most);
            (number < most).then_some(number)
        };
        self.free.pop().or_else(fresh)
    }
}

impl AddressSpace {
    /// Takes what the stub told; false if it has told already.
    pub(super) fn set_boot(&self, facts: BootFacts) -> bool {
        self.boot.set(facts).is_ok()
    }

    /// How many processes share it.
    pub(super) fn users(&self) -> usize {
        self.users.load(Ordering::Acquire)
    }

    fn facts(&self) -> BootFacts {
        self.boot.get().copied().unwrap_or_default()
    }

    /// Size of a stub stack.
    pub(super) fn stack_size(&self) -> u64 {
        self.facts().stack_size.max(PAGE)
    }

    /// The copy that `fork` makes: its only thread runs on the stack at `current` (`None`: the first one).
    pub(super) fn fork(&self, current: Option<u64>) -> AddressSpace {
        let stacks = self.stacks.lock();
        let chunks = stacks.chunks.clone();
        let size = self.stack_size();
        let all = chunks.iter().flat_map(|(base, len)| (0..len / size).map(move |n| base + n * size));
        let free = all.filter(|base| Some(*base) != current).collect();
        let stacks = Stacks { free, chunks: chunks.clone(), ..Stacks::default() };
        let local = Mutex::new(self.local.lock().clone());
        let ends = self.ends.clone();
        AddressSpace { boot: self.boot.clone(), local, ends, stacks: Mutex::new(stacks), ..AddressSpace::default() }
    }

    pub(super) fn take_stack(&self) -> Option<u64> {
        self.stacks.lock().free.pop()
    }

    pub(super) fn free_stack(&self, base: u64) {
        self.stacks.lock().free.push(base);
    }

    pub(super) fn add_chunk(&self, base: u64, len: u64) {
        let mut stacks = self.stacks.lock();
        stacks.chunks.push((base, len));
        let size = self.stack_size();
        stacks.free.extend((0..len / size).rev().map(|n| base + n * size));
    }

    pub(super) fn take_slot(&self) -> Option<u32> {
        self.stacks.lock().slots.take(SLOTS)
    }

    pub(super) fn free_slot(&self, slot: u32) {
        self.stacks.lock().slots.free.push(slot);
    }

    pub(super) fn take_channel(&self) -> Option<u32> {
        self.stacks.lock().channels.take(CHANNELS)
    }

    pub(super) fn free_channel(&self, channel: u32) {
        self.stacks.lock().channels.free.push(channel);
    }

    /// A place for signal actions.
    pub(super) fn take_table(&self) -> Option<u32> {
        self.stacks.lock().tables.take(TABLES)
    }

    pub(super) fn free_table(&self, table: u32) {
        self.stacks.lock().tables.free.push(table);
    }

    fn is_reserved(&self, addr: u64, len: u64) -> bool {
        let end = addr.saturating_add(len);
        let overlaps = |base: u64, size: u64| addr < base + size && base < end;
        overlaps(abi::TEXT_BASE, abi::RESERVED_END - abi::TEXT_BASE)
            || self.stacks.lock().chunks.iter().any(|(base, size)| overlaps(*base, *size))
    }
}

/// Descriptors that are to be replaced at the next notification.
#[derive(Debug, Default)]
pub(super) struct StaleFds {
    fds: Mutex<Vec<u32>>,
    /// There are some: each call through a channel asks.
    are_there: AtomicBool,
}

impl StaleFds {
    pub(super) fn push(&self, fd: u32) {
        self.fds.lock().push(fd);
        self.are_there.store(true, Ordering::Release);
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.are_there.load(Ordering::Acquire)
    }

    pub(super) fn take(&self) -> Vec<u32> {
        if self.is_empty() {
            return Vec::new();
        }
        let mut fds = self.fds.lock();
        self.are_there.store(false, Ordering::Release);
        std::mem::take(&mut fds)
    }

    /// A forked child has the same.
    pub(super) fn fork(&self) -> StaleFds {
        let fds = self.fds.lock().clone();
        StaleFds { are_there: AtomicBool::new(!fds.is_empty()), fds: Mutex::new(fds) }
    }
}

/// One host process.
#[derive(Debug)]
pub(super) struct HostProcess {
    pub(super) pid: i32,
    pub(super) space: Arc<AddressSpace>,
    /// True once it is (about to be) reaped. Held for reading over every use of `pid`: it cannot be reused under
    /// anyone's hands (M6).
    gone: RwLock<bool>,
    pub(super) threads: Mutex<Vec<Weak<NotifyThread>>>,
    /// Descriptor numbers at which the process holds a host descriptor for a mapping.
    pub(super) host_fds: Mutex<BTreeMap<u32, Arc<OwnedFd>>>,
    /// Those among them that the guest has closed when no notification was at hand to replace them.
    pub(super) stale_fds: StaleFds,
    /// A filter of the guest's own looks at its calls.
    is_filtered: AtomicBool,
    final_usage: Mutex<Usage>,
    /// The signal that it died of, 0 if none.
    death_signal: AtomicI32,
    procfs: Arc<OwnedFd>,
}

impl HostProcess {
    pub(super) fn new(pid: i32, space: Arc<AddressSpace>, procfs: Arc<OwnedFd>) -> HostProcess {
        space.users.fetch_add(1, Ordering::AcqRel);
        HostProcess {
            pid,
            space,
            gone: RwLock::new(false),
            threads: Mutex::default(),
            host_fds: Mutex::default(),
            stale_fds: StaleFds::default(),
            is_filtered: AtomicBool::new(false),
            final_usage: Mutex::default(),
            death_signal: AtomicI32::new(0),
            procfs,
        }
    }

    /// The child of `parent`, whose descriptors it has.
    pub(super) fn forked(
        pid: i32,
        parent: &HostProcess,
        space: Arc<AddressSpace>,
        procfs: Arc<OwnedFd>,
    ) -> Arc<HostProcess> {
        let host_fds = Mutex::new(parent.host_fds.lock().clone());
        let stale_fds = parent.stale_fds.fork();
        Arc::new(HostProcess { host_fds, stale_fds, ..HostProcess::new(pid, space, procfs) })
    }

    /// Runs `f` with the pid if the process has not been reaped.
    pub(super) fn with_pid<T>(&self, f: impl FnOnce(i32) -> T) -> Option<T> {
        let gone = self.gone.read();
        (!*gone).then(|| f(self.pid))
    }

    pub(super) fn add_thread(&self, thread: &Arc<NotifyThread>) {
        let mut threads = self.threads.lock();
        threads.retain(|t| t.strong_count() > 0);
        threads.push(Arc::downgrade(thread));
    }

    /// How many of its threads live.
    pub(super) fn live_threads(&self) -> usize {
        self.live().iter().filter(|t| t.is_live()).count()
    }

    pub(super) fn is_filtered(&self) -> bool {
        self.is_filtered.load(Ordering::Relaxed)
    }

    fn live(&self) -> Vec<Arc<NotifyThread>> {
        self.threads.lock().iter().filter_map(Weak::upgrade).collect()
    }

    /// Reaps the zombie and tells its threads.
    pub(super) fn reap(&self) {
        {
            let mut gone = self.gone.write();
            *gone = true;
            if let Ok((status, usage)) = sys::reap(self.pid) {
                *self.final_usage.lock() = usage;
                self.death_signal.store(status & 0x7f, Ordering::Relaxed);
            }
        }
        self.leave_space();
        self.live().iter().for_each(|thread| thread.host_gone());
    }

    /// It is gone: once for each process. A zombie may stay for long, and is to hold no file.
    pub(super) fn leave_space(&self) {
        if self.space.users.fetch_sub(1, Ordering::AcqRel) == 1 {
            *self.space.slots.lock() = Slots::Refused;
        }
    }

    pub(super) fn read_exact(&self, addr: u64, dst: &mut [u8]) -> bool {
        self.read(addr, dst) == dst.len()
    }

    pub(super) fn write_all(&self, addr: u64, src: &[u8]) -> bool {
        self.write(addr, src) == src.len()
    }

    /// Writes two things at once.
    pub(super) fn write_pieces(&self, pieces: &[(u64, &[u8]); 2]) -> bool {
        COPIES.add();
        let _copy = Copying::begin();
        self.with_pid(|pid| sys::write_pieces(pid, pieces)).unwrap_or(false)
    }

    /// Has `copy` copy between its memory and a mapping.
    pub(super) fn copy_mapped(&self, copy: impl FnOnce(i32) -> usize) -> usize {
        COPIES.add();
        let _copy = Copying::begin();
        self.with_pid(copy).unwrap_or(0)
    }

    /// CPU time of a thread in nanoseconds.
    pub(super) fn thread_time(&self, tid: i32) -> u64 {
        let text = read_proc(&self.procfs, &format!("{}/task/{tid}/schedstat", self.pid)).unwrap_or_default();
        let time = text.split(|b| *b == b' ').next().and_then(|word| std::str::from_utf8(word).ok()?.parse().ok());
        time.unwrap_or(0)
    }

    pub(super) fn usage_of(&self, tid: Option<i32>) -> Option<Usage> {
        self.with_pid(|pid| {
            let (dir, total) = match tid {
                Some(tid) => (format!("{pid}/task/{tid}"), self.thread_time(tid)),
                None => (format!("{pid}"), sys::cpu_time(pid)),
            };
            let stat = read_proc(&self.procfs, &format!("{dir}/stat")).unwrap_or_default();
            let status = read_proc(&self.procfs, &format!("{dir}/status")).unwrap_or_default();
            parse_usage(&String::from_utf8_lossy(&stat), &String::from_utf8_lossy(&status), total)
        })
    }
}

/// Writes `/proc/NAME` below the descriptor of the sandbox's procfs. `name` is never a guest's.
pub(super) fn write_proc(procfs: &OwnedFd, name: &str, text: &str) -> io::Result<()> {
    use rustix::fs::{Mode, OFlags, openat};
    let fd = openat(procfs.as_fd(), name, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&fd, text.as_bytes())?;
    Ok(())
}

/// Reads `/proc/NAME` below the descriptor of the sandbox's procfs. `name` is never a guest's.
pub(super) fn read_proc(procfs: &OwnedFd, name: &str) -> io::Result<Vec<u8>> {
    use rustix::fs::{Mode, OFlags, openat};
    use std::io::Read;
    let fd = openat(procfs.as_fd(), name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut out = Vec::new();
    std::fs::File::from(fd).read_to_end(&mut out)?;
    Ok(out)
}

/// Splits the exact CPU time `total` in the proportion that `stat` (counted in ticks) has.
fn parse_usage(stat: &str, status: &str, total: u64) -> Usage {
    let fields: Vec<u64> = stat
        .rsplit_once(')')
        .map(|(_, rest)| rest.split_ascii_whitespace().map(|f| f.parse().unwrap_or(0)).collect())
        .unwrap_or_default();
    // proc_pid_stat(5), fields 10, 12, 14 and 15; the state is field 3 and stands first here.
    let field = |n: usize| fields.get(n - 3).copied().unwrap_or(0);
    let (ut, st) = (field(14), field(15));
    let utime = if ut + st == 0 { total } else { (u128::from(total) * u128::from(ut) / u128::from(ut + st)) as u64 };
    let line = |key: &str| {
        let line = status.lines().find_map(|l| l.strip_prefix(key));
        line.and_then(|l| l.trim_start_matches(':').split_ascii_whitespace().next()?.parse().ok()).unwrap_or(0)
    };
    Usage {
        utime,
        stime: total - utime,
        minflt: field(10),
        majflt: field(12),
        maxrss: line("VmHWM"),
        nvcsw: line("voluntary_ctxt_switches"),
        nivcsw: line("nonvoluntary_ctxt_switches"),
    }
}

impl Process for HostProcess {
    fn read(&self, addr: u64, dst: &mut [u8]) -> usize {
        COPIES.add();
        let _copy = Copying::begin();
        self.with_pid(|pid| sys::read_memory(pid, addr, dst)).unwrap_or(0)
    }

    fn write(&self, addr: u64, src: &[u8]) -> usize {
        COPIES.add();
        let _copy = Copying::begin();
        self.with_pid(|pid| sys::write_memory(pid, addr, src)).unwrap_or(0)
    }

    fn kill(&self) {
        self.with_pid(|pid| {
            placement::die_elsewhere(pid);
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        });
    }

    fn is_gone(&self) -> bool {
        *self.gone.read()
    }

    fn death_signal(&self) -> Option<i32> {
        Some(self.death_signal.load(Ordering::Relaxed)).filter(|signo| *signo != 0)
    }

    fn host_pid(&self) -> i32 {
        self.pid
    }

    fn usage(&self) -> Usage {
        self.usage_of(None).unwrap_or_else(|| *self.final_usage.lock())
    }

    fn set_rlimit(&self, resource: u32, soft: u64, hard: u64) {
        let set = self.with_pid(|pid| sys::prlimit(pid, resource, soft, hard));
        if let Some(Err(e)) = set {
            tracing::debug!(resource, soft, hard, "host limit not set: {e}");
        }
    }

    fn proc_file(&self, name: &str) -> io::Result<Vec<u8>> {
        let read = self.with_pid(|pid| read_proc(&self.procfs, &format!("{pid}/{name}")));
        read.unwrap_or_else(|| Err(io::Error::from_raw_os_error(libc::ESRCH)))
    }

    fn is_reserved(&self, addr: u64, len: u64) -> bool {
        self.space.is_reserved(addr, len)
    }

    fn set_known(&self, known: &Known) -> bool {
        self.renew_known(known)
    }

    fn forget(&self, fact: Fact) {
        if fact == Fact::Calls {
            self.is_filtered.store(true, Ordering::Relaxed);
            self.live().iter().for_each(|thread| thread.end_attention(&mut thread.lock()));
        }
        self.forget_fact(fact);
    }

    fn layout(&self) -> Layout {
        self.space.facts().layout
    }
}

/// Whether the calling receiver is inside a guest copy: odd while it is, so that a watcher who sees the same odd
/// value twice knows it is stuck (M5).
#[derive(Debug, Default)]
pub(super) struct CopyMark {
    count: AtomicU64,
    /// Set when the listener was handed to a spare thread.
    pub(super) replaced: AtomicU32,
    /// Number of the attendance that its receiver has begun; 0 if none.
    pub(super) attendance: AtomicU64,
}

impl CopyMark {
    pub(super) fn value(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

thread_local! {
    static MARK: std::cell::RefCell<Option<Arc<CopyMark>>> = const { std::cell::RefCell::new(None) };
}

/// Makes the calling thread's copies visible through `mark`.
pub(super) fn set_copy_mark(mark: Option<Arc<CopyMark>>) {
    MARK.with(|m| *m.borrow_mut() = mark);
}

struct Copying;

impl Copying {
    fn begin() -> Copying {
        Copying::step();
        Copying
    }

    fn step() {
        MARK.with(|m| {
            if let Some(mark) = &*m.borrow() {
                mark.count.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
}

impl Drop for Copying {
    fn drop(&mut self) {
        Copying::step();
    }
}
