//! `execve(2)`: `fs/exec.c` and `fs/binfmt_elf.c`.
//!
//! The new program starts in another host process, a ready one with a layout of its own; the old host process is
//! killed once nothing can fail any more in a way that the caller could be told.

use super::group::{INFINITY, StringAreas};
use super::{CAP_ALL, Creds, Outcome, Registration, Task, Work};
use crate::errno::{Errno, SysResult};
use crate::executor::Events;
use crate::fs::inode::Caller;
use crate::fs::open::{Program, open_exec};
use crate::fs::path::PathRef;
use crate::fs::walk::{Resolve, Walk};
use crate::loader::{self, Elf, ElfKind, Headers, PAGE, Segment, Strings, page_down, page_up};
use crate::mm::{Addr, UserMemory};
use platform::{Call, Layout, Registers, Thread, WINDOW_FD};
use std::future::poll_fn;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::task::Poll;

/// Scripts may be interpreted by scripts, this often.
const SCRIPT_DEPTH: usize = 5;
/// Where position-independent programs go (`ELF_ET_DYN_BASE`), and how many pages further at most.
const PIE_BASE: u64 = 0x5555_5555_4000;
const PIE_RANDOM_PAGES: u64 = 1 << 28;
/// Top of the stack, and how many pages further down at most.
const STACK_TOP: u64 = 0x7fff_ffff_f000;
const STACK_RANDOM_PAGES: u64 = 1 << 22;
/// The stack is one mapping of its full size; larger limits get this much.
const STACK_MAX: u64 = 64 << 20;
const STACK_MIN: u64 = 132 * 1024;
/// The heap starts at most this many pages behind the program.
const BRK_RANDOM_PAGES: u64 = 0x2000;
const MAP_FILE: u64 = (libc::MAP_PRIVATE | libc::MAP_FIXED) as u64;
const MAP_ANON: u64 = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED) as u64;

fn call(nr: libc::c_long, args: [u64; 6]) -> Call {
    Call { nr: nr as u32, args }
}

fn mmap(addr: u64, len: u64, prot: u64, flags: u64, fd: u64, offset: u64) -> Call {
    call(libc::SYS_mmap, [addr, len, prot, flags, fd, offset])
}

/// What a path leads to, scripts resolved.
struct Found {
    program: Program,
    elf: Arc<Elf>,
    interp: Option<(Program, Arc<Elf>)>,
    strings: Strings,
}

/// Runs the program at `path`, looked up from `start` (or found there, if it is empty).
pub async fn execve(t: &Task, start: PathRef, path: &[u8], follow: bool, strings: Strings) -> SysResult<()> {
    let found = find(t, start, path, follow, strings)?;
    let limit = (t.rlimit(libc::RLIMIT_STACK) / 4).clamp(32 * PAGE, 6 << 20);
    if found.strings.size() as u64 > limit {
        return Err(Errno::TOOBIG);
    }
    let thread = t.kernel.platform.new_process().await?;
    leave_other_threads(t).await?;
    // From here on the old program is gone: failure is death.
    let done = replace(t, &found, &thread).await;
    if done.is_err() {
        thread.process().kill();
        t.group.kill(libc::SIGKILL);
        t.set_outcome(Outcome::Exited);
        return Ok(());
    }
    t.set_outcome(Outcome::Stopped);
    Ok(())
}

/// Whether there is something at `path` that may be run.
pub fn find_program(t: &Task, start: PathRef, path: &[u8], follow: bool) -> SysResult<()> {
    let caller = Caller::of(t);
    let place = if path.is_empty() {
        start
    } else {
        let root = t.fs().root();
        let start = if path.first() == Some(&b'/') { root.clone() } else { start };
        Walk::new(&caller, root, start, Resolve::empty()).to(path, follow)?
    };
    open_exec(&caller, place).map(drop)
}

/// Runs the program of a process that is started from outside, sought along `PATH` if its name has no slash.
pub(super) async fn exec_new(t: &Task, mut strings: Strings, thread: &Arc<dyn Thread>) -> SysResult<()> {
    let found = find_in_path(t, &mut strings)?;
    replace(t, &found, thread).await
}

/// Finds the program: along `PATH` if its name has no slash.
fn find_in_path(t: &Task, strings: &mut Strings) -> SysResult<Found> {
    let name = strings.args.first().cloned().unwrap_or_default();
    if name.is_empty() {
        return Err(Errno::NOENT);
    }
    let attempt = |path: Vec<u8>| {
        let strings = Strings { filename: path.clone(), ..strings.clone() };
        find(t, t.fs().cwd(), &path, true, strings)
    };
    if name.contains(&b'/') {
        return attempt(name);
    }
    let path = strings.env.iter().find_map(|e| e.strip_prefix(b"PATH=")).unwrap_or(b"/usr/bin:/bin").to_vec();
    let mut error = Errno::NOENT;
    for dir in path.split(|b| *b == b':') {
        let dir = if dir.is_empty() { b"." } else { dir };
        match attempt([dir, b"/", &name].concat()) {
            // As `execvp(3)`: a file that may not be run is remembered, and the search goes on.
            Err(Errno::ACCES) => error = Errno::ACCES,
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            other => return other,
        }
    }
    Err(error)
}

fn find(t: &Task, start: PathRef, path: &[u8], follow: bool, mut strings: Strings) -> SysResult<Found> {
    let caller = Caller::of(t);
    let root = t.fs().root();
    let lookup = |start: PathRef, path: &[u8], follow| -> SysResult<Program> {
        let place = if path.is_empty() {
            start
        } else {
            let start = if path.first() == Some(&b'/') { root.clone() } else { start };
            Walk::new(&caller, root.clone(), start, Resolve::empty()).to(path, follow)?
        };
        open_exec(&caller, place)
    };
    let mut program = lookup(start.clone(), path, follow)?;
    for _ in 0..SCRIPT_DEPTH {
        let (name, arg) = match loader::headers(&program)? {
            Headers::Script(name, arg) => (name, arg),
            Headers::Elf(elf) => {
                let interp = match &elf.interp {
                    Some(name) => Some(with_headers(lookup(t.fs().cwd(), name, true)?)?),
                    None => None,
                };
                return Ok(Found { program, elf, interp, strings });
            }
        };
        let script = std::mem::replace(&mut strings.filename, name.clone());
        let rest = strings.args.split_off(strings.args.len().min(1));
        strings.args = [Some(name.clone()), arg, Some(script)].into_iter().flatten().chain(rest).collect();
        program = lookup(t.fs().cwd(), &name, true)?;
    }
    Err(Errno::LOOP)
}

/// A dynamic linker, which cannot be a script: what is no ELF program is ELIBBAD.
fn with_headers(linker: Program) -> SysResult<(Program, Arc<Elf>)> {
    const LIBBAD: Errno = Errno::from_raw(libc::ELIBBAD);
    match loader::headers(&linker) {
        Ok(Headers::Elf(elf)) => Ok((linker, elf)),
        Ok(Headers::Script(..)) | Err(Errno::NOEXEC) => Err(LIBBAD),
        Err(error) => Err(error),
    }
}

/// Ends the other threads of the process and waits for them; the caller becomes the leader.
async fn leave_other_threads(t: &Task) -> SysResult<()> {
    let others = {
        let mut state = t.group.state.lock();
        if state.is_exiting() || state.execing.is_some() {
            return Err(Errno::AGAIN);
        }
        state.execing = Some(t.tid());
        state.tasks.iter().filter(|o| !std::ptr::eq(o.as_ref(), t)).cloned().collect::<Vec<_>>()
    };
    t.group.orphan_robust_lists();
    // What the guest was lent is to be had as long as its host process is there.
    drop(t.signals());
    t.group.sighand().recall();
    if others.is_empty() {
        return Ok(());
    }
    for other in &others {
        other.add_work(Work::EXIT);
    }
    // They end with the old host process; this task lives on, for it has let go of it.
    let old = t.thread().process().clone();
    t.detach();
    old.kill();
    for other in &others {
        other.wake_up();
    }
    let _registered = Registration::new(&t.group.exit_wait, Events::HUP, t.observer());
    poll_fn(|_| {
        let state = t.group.state.lock();
        if state.tasks.len() <= 1 || state.is_exiting() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    if t.tid() != t.group.tgid {
        let mut tree = t.kernel.tree.lock();
        tree.remove_task(t.tid());
        // From now on it counts as the leader.
        t.charge.lock().take();
        t.set_tid(t.group.tgid);
        if let Some(me) = t.arc() {
            tree.add_task(&me);
        }
    }
    Ok(())
}

/// Loads the program into its new host process and makes that the task's.
async fn replace(t: &Task, found: &Found, thread: &Arc<dyn Thread>) -> SysResult<()> {
    let old = t.thread();
    apply_limits(t, thread);
    carry_over(&old, thread);
    let image = load(t, found, thread).await?;
    let told = t.group.memory.calls();
    if !told.is_empty() {
        thread.run(&told).await?;
    }
    t.leave_memory();
    if !Arc::ptr_eq(&old, thread) && !old.process().is_gone() {
        old.process().kill();
        t.group.past_usage.lock().add_later(old.process().clone());
    }
    t.set_thread(thread.clone());
    *t.group.process.write() = thread.process().clone();
    let name = found.strings.filename.rsplit(|b| *b == b'/').next().unwrap_or_default();
    t.set_comm(name);
    *t.group.exe.lock() = Some(found.program.path.clone());
    *t.group.exe_guard.lock() = Some(found.program.guard.clone());
    *t.group.strings.lock() = image.areas;
    *t.group.sighand.write() = Arc::new(t.group.sighand().exec());
    {
        let mut state = t.group.state.lock();
        state.execing = None;
        state.did_exec = true;
        let mut signals = t.signals();
        signals.altstack = Default::default();
    }
    for field in [&t.clear_child_tid, &t.robust_list] {
        field.store(0, std::sync::atomic::Ordering::Relaxed);
    }
    t.keys.lock().thread = None;
    *t.group.keyring.lock() = None;
    t.group.aio.clear();
    t.group.timers.exec();
    t.group.exit_signal.store(libc::SIGCHLD, std::sync::atomic::Ordering::Relaxed);
    crate::ipc::shm::forget(crate::ipc::Who::of(&t.group));
    let creds = new_creds(t, &found.program);
    t.group.dumpable.set(u8::from(creds.euid == creds.uid && creds.egid == creds.gid));
    t.set_creds(creds);
    let files = t.files();
    let files = if Arc::strong_count(&files) > 2 { files.fork() } else { files };
    for (fd, file) in files.remove_if(|_, cloexec| cloexec) {
        t.closed(&files, fd, &file);
    }
    t.set_files(files);
    // There is no way back: without its filters it must not run.
    if crate::seccomp::restore(t).await.is_err() {
        t.group.kill(libc::SIGKILL);
    }
    Ok(())
}

/// What the host knows of the old thread and the new one is to have: nice value and affinity. The old one may be
/// gone already (`execve` by one of several threads); then there is nothing to carry.
fn carry_over(old: &Arc<dyn Thread>, new: &Arc<dyn Thread>) {
    use rustix::process::{Pid, getpriority_process, setpriority_process};
    use rustix::thread::{sched_getaffinity, sched_setaffinity};
    let (Some(from), Some(to)) = (Pid::from_raw(old.host_tid()), Pid::from_raw(new.host_tid())) else { return };
    if from == to {
        return;
    }
    if let (Ok(nice), Ok(now)) = (getpriority_process(Some(from)), getpriority_process(Some(to)))
        && nice != now
    {
        let _ = setpriority_process(Some(to), nice);
    }
    if let (Ok(cpus), Ok(now)) = (sched_getaffinity(Some(from)), sched_getaffinity(Some(to)))
        && cpus != now
    {
        let _ = sched_setaffinity(Some(to), &cpus);
    }
}

/// Limits that the host enforces, for what guests do natively.
fn apply_limits(t: &Task, thread: &Arc<dyn Thread>) {
    let limits = *t.group.limits.lock();
    for resource in [libc::RLIMIT_AS, libc::RLIMIT_DATA, libc::RLIMIT_MEMLOCK] {
        if let Some(limit) = limits.get(resource as usize).filter(|l| l.soft != INFINITY) {
            thread.process().set_rlimit(resource, limit.soft, limit.hard);
        }
    }
}

/// Credentials after `execve`: `capabilities(7)`, "Transformation of capabilities during execve".
fn new_creds(t: &Task, program: &Program) -> Creds {
    let mut c = (*t.creds()).clone();
    let set_ids = !program.nosuid && !c.no_new_privs;
    if set_ids && program.attr.mode & libc::S_ISUID != 0 {
        c.euid = program.attr.uid;
    }
    let setgid = libc::S_ISGID | libc::S_IXGRP;
    if set_ids && program.attr.mode & setgid == setgid {
        c.egid = program.attr.gid;
    }
    (c.suid, c.fsuid, c.sgid, c.fsgid) = (c.euid, c.euid, c.egid, c.egid);
    const NOROOT: u32 = 1;
    let root = c.securebits & NOROOT == 0;
    if root && (c.uid == 0 || c.euid == 0) {
        if c.euid != c.uid {
            c.ambient = 0;
        }
        // With no_new_privs not even root gains any.
        let most = if c.no_new_privs { c.permitted } else { CAP_ALL };
        c.permitted = (c.inheritable | c.bounding) & most | c.ambient;
        c.effective = if c.euid == 0 { c.permitted } else { c.ambient };
    } else {
        if c.euid != c.uid || c.egid != c.gid {
            c.ambient = 0;
        }
        c.permitted = c.ambient;
        c.effective = c.ambient;
    }
    const KEEP_CAPS: u32 = 1 << 4;
    c.securebits &= !KEEP_CAPS;
    c
}

/// What the loaded program needs to know of itself.
struct Image {
    areas: StringAreas,
}

/// A file to map from: the host's descriptor and what is in it.
struct Part<'a> {
    elf: &'a Elf,
    file: Arc<OwnedFd>,
    bias: u64,
}

impl Part<'_> {
    fn new<'a>(program: &Program, elf: &'a Elf, bias: u64) -> SysResult<Part<'a>> {
        let file = program.file.ops.mmap(&program.file, false, false)?;
        crate::mm::maps::note(&program.file, file.as_fd());
        Ok(Part { elf, file, bias })
    }

    /// The calls that map the segments from the file at descriptor `fd`.
    fn calls(&self, fd: u32) -> Vec<Call> {
        let mut calls = Vec::new();
        for s in &self.elf.segments {
            let start = page_down(s.vaddr);
            let file_len = if s.filesz == 0 { 0 } else { page_up(s.vaddr + s.filesz) - start };
            if file_len > 0 {
                calls.push(mmap(self.bias + start, file_len, s.prot, MAP_FILE, u64::from(fd), page_down(s.offset)));
            }
            let rest = page_up(s.vaddr + s.memsz).saturating_sub(start + file_len);
            if rest > 0 {
                calls.push(mmap(self.bias + start + file_len, rest, s.prot, MAP_ANON, u64::MAX, 0));
            }
        }
        calls
    }

    /// A reservation of all that the segments span, where nothing may be yet.
    fn reservation(&self) -> Call {
        let (start, end) = self.elf.span();
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED_NOREPLACE;
        mmap(self.bias + start, end - start, 0, flags as u64, u64::MAX, 0)
    }

    /// Clears what the file has behind the data of a writable segment.
    fn clear_tails(&self, mem: &UserMemory) -> SysResult<()> {
        for Segment { vaddr, memsz, filesz, prot, .. } in &self.elf.segments {
            let tail = page_up(vaddr + filesz) - (vaddr + filesz);
            if *memsz > *filesz && tail > 0 && *filesz > 0 && prot & libc::PROT_WRITE as u64 != 0 {
                mem.write_bytes(Addr(self.bias + vaddr + filesz), &vec![0; tail as usize])?;
            }
        }
        Ok(())
    }
}

/// Where a program goes: what is added to its addresses.
fn program_bias(elf: &Elf) -> SysResult<u64> {
    Ok(match elf.kind {
        ElfKind::Fixed => 0,
        ElfKind::Relocatable => {
            let at = PIE_BASE + loader::random()? % PIE_RANDOM_PAGES * PAGE;
            (at & !(elf.align - 1)).wrapping_sub(elf.span().0)
        }
    })
}

/// Where its dynamic linker goes: as high as mappings go, where the kernel would put it.
fn linker_bias(elf: &Elf, layout: &Layout) -> u64 {
    let (start, end) = elf.span();
    match elf.kind {
        ElfKind::Fixed => 0,
        ElfKind::Relocatable => {
            (layout.mappings_end.saturating_sub(end - start) & !(elf.align - 1)).wrapping_sub(start)
        }
    }
}

async fn load(t: &Task, found: &Found, thread: &Arc<dyn Thread>) -> SysResult<Image> {
    let process = thread.process();
    let layout = process.layout();
    let mem = UserMemory::new(process.clone());
    let bias = program_bias(&found.elf)?;
    let (start, end) = found.elf.span();
    if process.is_reserved(bias + start, end - start) {
        tracing::warn!(task = ?t, "the program wants addresses that the sandbox keeps for itself");
        return Err(Errno::NOMEM);
    }
    let main = Part::new(&found.program, &found.elf, bias)?;
    let linker = match &found.interp {
        Some((program, elf)) => Some(Part::new(program, elf, linker_bias(elf, &layout))?),
        None => None,
    };
    let place = StackPlace::choose(t, &found.elf)?;
    let entry = linker.as_ref().map_or(bias + found.elf.entry, |l| l.bias.wrapping_add(l.elf.entry));
    let stack = initial_stack(t, found, &layout, bias, linker.as_ref().map_or(0, |l| l.bias), &place)?;
    let map = mm_map(&found.elf, bias, &stack.areas, stack.sp)?;
    let scratch = Addr(layout.scratch);
    mem.write_bytes(scratch, &map)?;

    let (leftover, len) = layout.leftover;
    let mut calls = vec![call(libc::SYS_munmap, [leftover, len, 0, 0, 0, 0])];
    calls.extend(main.calls(WINDOW_FD));
    if let Some(linker) = &linker {
        calls.push(linker.reservation());
        calls.extend(linker.calls(WINDOW_FD + 1));
    }
    calls.push(place.call());
    calls.push(call(libc::SYS_prctl, [libc::PR_SET_MM as u64, PR_SET_MM_MAP, scratch.0, map.len() as u64, 0, 0]));
    let files: Vec<_> = [Some(&main), linker.as_ref()].into_iter().flatten().map(|p| p.file.as_fd()).collect();
    check(&calls, &thread.run_with_files(&files, &calls).await?)?;

    main.clear_tails(&mem)?;
    if let Some(linker) = &linker {
        linker.clear_tails(&mem)?;
    }
    mem.write_bytes(Addr(stack.sp), &stack.bytes)?;
    thread.set_registers(&Registers { rip: entry, rsp: stack.sp, eflags: 0x202, ..Registers::default() })?;
    Ok(Image { areas: stack.areas })
}

/// Every mapping must be where it was asked for, and everything else must succeed.
fn check(calls: &[Call], results: &[i64]) -> SysResult<()> {
    for (call, result) in calls.iter().zip(results) {
        let wanted = if i64::from(call.nr) == libc::SYS_mmap { call.args[0] as i64 } else { 0 };
        if *result != wanted {
            tracing::debug!(?call, result, "execve: an order failed");
            return Err(Errno::NOMEM);
        }
    }
    Ok(())
}

struct StackPlace {
    top: u64,
    size: u64,
    prot: u64,
}

impl StackPlace {
    fn choose(t: &Task, elf: &Elf) -> SysResult<StackPlace> {
        let size = page_down(t.rlimit(libc::RLIMIT_STACK).clamp(STACK_MIN, STACK_MAX));
        let top = STACK_TOP - loader::random()? % STACK_RANDOM_PAGES * PAGE;
        let exec = if elf.exec_stack { libc::PROT_EXEC } else { 0 };
        Ok(StackPlace { top, size, prot: (libc::PROT_READ | libc::PROT_WRITE | exec) as u64 })
    }

    fn call(&self) -> Call {
        let flags =
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_STACK | libc::MAP_FIXED_NOREPLACE;
        mmap(self.top - self.size, self.size, self.prot, flags as u64, u64::MAX, 0)
    }
}

/// Auxiliary vector entries that are the machine's (`getauxval(3)`): HWCAP, HWCAP2, HWCAP3, HWCAP4, MINSIGSTKSZ,
/// RSEQ_FEATURE_SIZE, RSEQ_ALIGN.
const MACHINE_AUXV: [u64; 7] = [16, 26, 29, 30, 51, 27, 28];

/// The stack with strings, vectors and facts.
fn initial_stack(
    t: &Task,
    found: &Found,
    layout: &Layout,
    bias: u64,
    linker_base: u64,
    place: &StackPlace,
) -> SysResult<loader::Stack> {
    let creds = new_creds(t, &found.program);
    let secure = creds.euid != creds.uid || creds.egid != creds.gid;
    let mut auxv = vec![
        (33, layout.vdso),
        (6, PAGE),
        (17, 100),
        (3, bias + found.elf.phdr),
        (4, 56),
        (5, found.elf.phnum),
        (7, linker_base),
        (8, 0),
        (9, bias + found.elf.entry),
        (11, u64::from(creds.uid)),
        (12, u64::from(creds.euid)),
        (13, u64::from(creds.gid)),
        (14, u64::from(creds.egid)),
        (23, u64::from(secure)),
    ];
    auxv.extend(MACHINE_AUXV.iter().map(|k| (*k, platform::auxv(*k))).filter(|(_, v)| *v != 0));
    let mut random = [0; 16];
    for half in random.chunks_exact_mut(8) {
        half.copy_from_slice(&loader::random()?.to_ne_bytes());
    }
    let slide = loader::random()? % 512 * 16;
    loader::build_stack(place.top - 16, &found.strings, &auxv, random, slide)
}

/// `prctl(2)`: all of what `PR_SET_MM` sets, at once and without privilege.
const PR_SET_MM_MAP: u64 = 14;

/// Tells the host's kernel where things are (`struct prctl_mm_map`): it gives the program its heap.
fn mm_map(elf: &Elf, bias: u64, areas: &StringAreas, sp: u64) -> SysResult<Vec<u8>> {
    let is = |prot: i32| move |s: &&Segment| s.prot & prot as u64 != 0;
    let range = |s: Option<&Segment>| s.map_or((bias, bias), |s| (bias + s.vaddr, bias + s.vaddr + s.filesz));
    let (start_code, end_code) = range(elf.segments.iter().find(is(libc::PROT_EXEC)));
    let (start_data, end_data) = range(elf.segments.iter().rev().find(is(libc::PROT_WRITE)));
    let brk = bias + elf.span().1 + loader::random()? % BRK_RANDOM_PAGES * PAGE;
    let map = [
        start_code,
        end_code,
        start_data,
        end_data,
        brk,
        brk,
        sp,
        areas.arg_start,
        areas.arg_end,
        areas.env_start,
        areas.env_end,
        0,
        // auxv_size 0, exe_fd -1.
        0xffff_ffff_0000_0000,
    ];
    Ok(map.iter().flat_map(|w: &u64| w.to_ne_bytes()).collect())
}
