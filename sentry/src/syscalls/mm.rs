//! Memory: `mmap(2)` of files, and what the host's kernel does not do by itself for guests.
//!
//! Anonymous memory, `munmap`, `mprotect`, `brk` and their kin never come here: the filter lets them run natively.

use crate::errno::{Errno, SysResult};
use crate::fs::File;
use crate::kernel::{Cap, Outcome, Task};
use crate::loader::{PAGE, page_up};
use crate::mm::Addr;
use platform::{Call, WINDOW_FD};
use std::os::fd::AsFd;

const MAP_TYPE: u64 = 0xf;
const MAP_SHARED_VALIDATE: u64 = 3;
/// Flags that a file mapping may have on the host; others mean nothing here.
const FILE_FLAGS: u64 = (libc::MAP_SHARED
    | libc::MAP_PRIVATE
    | libc::MAP_FIXED
    | libc::MAP_FIXED_NOREPLACE
    | libc::MAP_NORESERVE
    | libc::MAP_POPULATE
    | libc::MAP_NONBLOCK
    | libc::MAP_32BIT
    | libc::MAP_DENYWRITE
    | libc::MAP_EXECUTABLE
    | libc::MAP_STACK
    | libc::MAP_LOCKED) as u64;

/// `mmap(2)`, where it does not run natively: of a file, or with flags that the host is not to see.
///
/// # Differences from Linux
/// Huge pages are refused (`ENOMEM`), for the pool is the whole host's; `MAP_GROWSDOWN` is mapped in full.
pub async fn mmap(t: &Task, addr: u64, len: u64, prot: u64, flags: u64, fd: i32, offset: u64) -> SysResult {
    if flags & libc::MAP_ANONYMOUS as u64 != 0 {
        if flags & libc::MAP_HUGETLB as u64 != 0 {
            return Err(Errno::NOMEM);
        }
        let flags = flags & (FILE_FLAGS | libc::MAP_ANONYMOUS as u64);
        return run_here(t, &Call { nr: libc::SYS_mmap as u32, args: [addr, len, prot, flags, u64::MAX, 0] }).await;
    }
    if !offset.is_multiple_of(PAGE) {
        return Err(Errno::INVAL);
    }
    let file = t.file(fd)?;
    if len == 0 || offset.checked_add(page_up(len)).is_none_or(|end| end > i64::MAX as u64) {
        return Err(if len == 0 { Errno::INVAL } else { Errno::OVERFLOW });
    }
    let shared = match flags & MAP_TYPE {
        f if f == libc::MAP_SHARED as u64 => true,
        f if f == libc::MAP_PRIVATE as u64 => false,
        MAP_SHARED_VALIDATE => {
            if flags & !(FILE_FLAGS | MAP_SHARED_VALIDATE) != 0 {
                return Err(Errno::OPNOTSUPP);
            }
            true
        }
        _ => return Err(Errno::INVAL),
    };
    let host = host_file(&file, shared, prot)?;
    crate::mm::maps::note(&file, host.as_fd());
    // The host decides on later `mprotect`s by the rights of its own descriptor, which are no more than these.
    let kind = if shared { libc::MAP_SHARED } else { libc::MAP_PRIVATE } as u64;
    let flags = flags & FILE_FLAGS & !MAP_TYPE | kind;
    let thread = t.thread();
    let plain = flags == t_flags(flags) && u32::try_from(fd).is_ok_and(|fd| fd < WINDOW_FD);
    let unchanged = kind == flags & MAP_TYPE && plain;
    if unchanged && thread.answer_mmap(&host, fd as u32).is_ok() {
        t.set_outcome(Outcome::Answered);
        return Ok(0);
    }
    let call = Call { nr: libc::SYS_mmap as u32, args: [addr, len, prot, flags, u64::from(WINDOW_FD), offset] };
    thread.enter(0).await?;
    t.set_outcome(Outcome::StoppedReturn);
    let result = thread.run_with_files(&[host.as_fd()], &[call]).await?;
    to_result(result.first().copied().unwrap_or(-1))
}

fn t_flags(flags: u64) -> u64 {
    flags & FILE_FLAGS
}

/// The host's file behind a mapping, after the checks of `mmap`.
fn host_file(file: &File, shared: bool, prot: u64) -> SysResult<std::sync::Arc<std::os::fd::OwnedFd>> {
    let write = prot & libc::PROT_WRITE as u64 != 0;
    if !file.is_readable() || shared && write && !file.is_writable() {
        return Err(Errno::ACCES);
    }
    if let Some(path) = &file.path
        && prot & libc::PROT_EXEC as u64 != 0
        && path.mount.has(crate::fs::mount::MountFlags::NOEXEC)
    {
        return Err(Errno::PERM);
    }
    // A shared mapping that is read-only now may be made writable later if the descriptor is.
    file.ops.mmap(file, shared, shared && file.is_writable())
}

fn to_result(ret: i64) -> SysResult {
    if (-4095..0).contains(&ret) { Err(Errno::from_raw(-ret as i32)) } else { Ok(ret) }
}

/// Has the guest's own stub make a call in place of the one that was intercepted.
pub(super) async fn run_here(t: &Task, call: &Call) -> SysResult {
    let thread = t.thread();
    thread.enter(0).await?;
    t.set_outcome(Outcome::StoppedReturn);
    let result = thread.run(std::slice::from_ref(call)).await?;
    to_result(result.first().copied().unwrap_or(-1))
}

/// As `MADV_DONTNEED`, of locked pages too (5.18).
const MADV_DONTNEED_LOCKED: i32 = 24;

/// `madvise(2)`, for advice that the filter keeps back.
pub async fn madvise(t: &Task, addr: u64, len: usize, advice: i32) -> SysResult<()> {
    let process = t.thread().process().clone();
    match advice {
        libc::MADV_DONTFORK | libc::MADV_DOFORK | libc::MADV_WIPEONFORK | libc::MADV_KEEPONFORK => {
            if process.is_reserved(addr, len as u64) {
                return Err(Errno::INVAL);
            }
            t.set_outcome(Outcome::Native);
            Ok(())
        }
        // A hole in a shared memory file: its pages are the guest's own, but never those of slots.
        libc::MADV_REMOVE if !process.is_reserved(addr, len as u64) => {
            t.set_outcome(Outcome::Native);
            Ok(())
        }
        MADV_DONTNEED_LOCKED => {
            t.set_outcome(Outcome::Native);
            Ok(())
        }
        // Only hints, and of the whole host's memory.
        libc::MADV_MERGEABLE | libc::MADV_UNMERGEABLE | libc::MADV_PAGEOUT => Ok(()),
        libc::MADV_HWPOISON | libc::MADV_SOFT_OFFLINE if !t.creds().has(Cap::SysAdmin) => Err(Errno::PERM),
        _ => Err(Errno::INVAL),
    }
}

/// `msync(2)`: the host's, for mapped files are in the host's page cache.
pub async fn msync(t: &Task, _addr: u64, _len: usize, _flags: i32) -> SysResult<()> {
    t.set_outcome(Outcome::Native);
    Ok(())
}

/// `mincore(2)`.
///
/// # Differences from Linux
/// Says that everything mapped is resident: the host's page cache is shared with others.
pub async fn mincore(t: &Task, addr: u64, len: usize, vec: crate::mm::Addr) -> SysResult<()> {
    /// More would only be a way to make the sentry busy: 64 GiB of address space.
    const PAGES_MAX: usize = 1 << 24;
    if !addr.is_multiple_of(PAGE) {
        return Err(Errno::INVAL);
    }
    let pages = len.div_ceil(PAGE as usize);
    if pages > PAGES_MAX {
        return Err(Errno::NOMEM);
    }
    if !is_mapped(t, addr, addr.saturating_add(page_up(len as u64))) {
        return Err(Errno::NOMEM);
    }
    let ones = [1u8; 4096];
    let mut done = 0;
    while done < pages {
        let n = (pages - done).min(ones.len());
        t.mem().write_bytes(vec.offset(done), ones.get(..n).unwrap_or_default())?;
        done += n;
    }
    Ok(())
}

/// Whether all of the range is mapped.
pub(super) fn is_mapped(t: &Task, addr: u64, end: u64) -> bool {
    let maps = t.thread().process().proc_file("maps").unwrap_or_default();
    is_covered(&String::from_utf8_lossy(&maps), addr, end)
}

/// Whether `/proc/PID/maps` covers the range without a hole.
fn is_covered(maps: &str, mut addr: u64, end: u64) -> bool {
    for line in maps.lines() {
        let Some((from, to)) = line.split_ascii_whitespace().next().and_then(|r| r.split_once('-')) else { continue };
        let (Ok(from), Ok(to)) = (u64::from_str_radix(from, 16), u64::from_str_radix(to, 16)) else { continue };
        if from <= addr && addr < to {
            addr = to;
        }
        if addr >= end {
            return true;
        }
    }
    addr >= end
}

/// `mseal(2)`: the host's kernel seals the guest's own memory.
pub async fn mseal(t: &Task, addr: u64, len: usize, _flags: u64) -> SysResult<()> {
    if t.thread().process().is_reserved(addr, len as u64) {
        return Err(Errno::NOMEM);
    }
    t.set_outcome(Outcome::Native);
    Ok(())
}

/// `mlockall(2)`: a promise about performance that the sandbox does not make; limits are checked.
pub async fn mlockall(t: &Task, flags: i32) -> SysResult<()> {
    let all = libc::MCL_CURRENT | libc::MCL_FUTURE | libc::MCL_ONFAULT;
    if flags == 0 || flags & !all != 0 || flags == libc::MCL_ONFAULT {
        return Err(Errno::INVAL);
    }
    if t.rlimit(libc::RLIMIT_MEMLOCK) == 0 && !t.creds().has(Cap::IpcLock) {
        return Err(Errno::PERM);
    }
    Ok(())
}

/// `munlockall(2)`.
pub async fn munlockall(_t: &Task) -> SysResult<()> {
    Ok(())
}

/// `pkey_alloc(2)`: there are no keys, as on a machine without them.
pub async fn pkey_alloc(_t: &Task, flags: u64, rights: u64) -> SysResult<i32> {
    Err(if flags != 0 || rights > 3 { Errno::INVAL } else { Errno::NOSPC })
}

/// `pkey_free(2)`.
pub async fn pkey_free(_t: &Task, _key: i32) -> SysResult<()> {
    Err(Errno::INVAL)
}

/// `pkey_mprotect(2)`: without a key it is `mprotect(2)`.
pub async fn pkey_mprotect(t: &Task, addr: u64, len: u64, prot: u64, key: i32) -> SysResult {
    if key != -1 {
        return Err(Errno::INVAL);
    }
    run_here(t, &Call { nr: libc::SYS_mprotect as u32, args: [addr, len, prot, 0, 0, 0] }).await
}

/// `arch_prctl(2)`, for what the filter keeps back.
///
/// # Differences from Linux
/// `ARCH_SET_GS` runs, but AMX, shadow stacks, address masking and `ARCH_SET_CPUID` are refused.
pub async fn arch_prctl(t: &Task, op: i32, value: u64) -> SysResult {
    const SET_GS: i32 = 0x1001;
    const GET_GS: i32 = 0x1004;
    const GET_CPUID: i32 = 0x1011;
    match op {
        SET_GS | GET_GS => {
            let call = Call { nr: libc::SYS_arch_prctl as u32, args: [op as u64, value, 0, 0, 0, 0] };
            let result = run_here(t, &call).await?;
            if op == GET_GS {
                hide_gs(t, Addr(value))?;
            }
            Ok(result)
        }
        GET_CPUID => Ok(1),
        _ => Err(Errno::INVAL),
    }
}

/// A program that has not set GS is not told what the platform keeps there.
fn hide_gs(t: &Task, at: Addr) -> SysResult<()> {
    let gs: u64 = t.mem().read(at)?;
    if t.thread().process().is_reserved(gs, 1) { t.mem().write(at, &0u64) } else { Ok(()) }
}

/// `membarrier(2)`, for the forms about the processes of others too, which the host runs: they wait, or interrupt
/// those that have asked for it.
pub async fn membarrier(t: &Task, _cmd: i32, _flags: u32, _cpu: i32) -> SysResult<()> {
    t.set_outcome(Outcome::Native);
    Ok(())
}

/// `remap_file_pages(2)`: the host maps the file that is mapped there once more, with the rights of that mapping.
pub async fn remap_file_pages(
    t: &Task,
    start: u64,
    size: usize,
    _prot: u64,
    _offset: u64,
    _flags: u64,
) -> SysResult<()> {
    if t.thread().process().is_reserved(start, size as u64) {
        return Err(Errno::INVAL);
    }
    t.set_outcome(Outcome::Native);
    Ok(())
}

/// `map_shadow_stack(2)`: the machine that guests see has none.
pub async fn map_shadow_stack(_t: &Task, _addr: u64, _size: usize, _flags: u32) -> SysResult<()> {
    Err(Errno::OPNOTSUPP)
}
