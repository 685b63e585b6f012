//! The host calls of the notify platform that no library has, one safe function each.
//!
//! Invariant kept here: every pointer handed to the kernel is to a live, initialised object of the size it expects.

use crate::counters::{ANSWERED, RECEIVED};
use libc::{seccomp_notif, seccomp_notif_addfd, seccomp_notif_resp};
use std::io;
use std::mem::zeroed;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

const NOTIF_SET_FLAGS: libc::c_ulong = 0x4008_2104;
const SYNC_WAKE_UP: u64 = 1;
const FLAG_CONTINUE: u32 = 1;
const ADDFD_SETFD: u32 = 1;

fn check(ret: libc::c_int) -> io::Result<libc::c_int> {
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(ret) }
}

/// Whether the listener wakes the answering side on its caller's core, and the caller on that of the answer (Linux 6.6).
pub(super) fn set_sync_wake_up(listener: BorrowedFd<'_>, is_sync: bool) -> io::Result<()> {
    let flags = if is_sync { SYNC_WAKE_UP } else { 0 };
    // SAFETY: the request takes its argument by value.
    check(unsafe { libc::ioctl(listener.as_raw_fd(), NOTIF_SET_FLAGS, flags) }).map(drop)
}

/// Waits for the next notification.
pub(super) fn recv(listener: BorrowedFd<'_>) -> io::Result<seccomp_notif> {
    // SAFETY: all zeroes is a valid value, and the one the kernel demands.
    let mut notif: seccomp_notif = unsafe { zeroed() };
    // SAFETY: the request fills in one seccomp_notif.
    check(unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut notif) })?;
    RECEIVED.add();
    Ok(notif)
}

fn send_response(listener: BorrowedFd<'_>, mut resp: seccomp_notif_resp) -> bool {
    ANSWERED.add();
    // SAFETY: the request reads one seccomp_notif_resp.
    unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut resp) == 0 }
}

/// Answers a call with a value or negative errno. False if the caller is gone or was interrupted, which is normal.
pub(super) fn send(listener: BorrowedFd<'_>, id: u64, ret: i64) -> bool {
    let (val, error) = if (-4095..0).contains(&ret) { (0, ret as i32) } else { (ret, 0) };
    send_response(listener, seccomp_notif_resp { id, val, error, flags: 0 })
}

/// Has the host run the call.
pub(super) fn send_continue(listener: BorrowedFd<'_>, id: u64) -> bool {
    send_response(listener, seccomp_notif_resp { id, val: 0, error: 0, flags: FLAG_CONTINUE })
}

/// Puts a duplicate of `src` at `number` in the caller's table, in place of what is there.
pub(super) fn add_fd(listener: BorrowedFd<'_>, id: u64, src: BorrowedFd<'_>, number: u32) -> io::Result<()> {
    let mut add =
        seccomp_notif_addfd { id, flags: ADDFD_SETFD, srcfd: src.as_raw_fd() as u32, newfd: number, newfd_flags: 0 };
    // SAFETY: the request reads one seccomp_notif_addfd.
    check(unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ADDFD, &raw mut add) }).map(drop)
}

/// Sends a signal to one thread.
pub(super) fn tgkill(tgid: i32, tid: i32, signo: i32) -> io::Result<()> {
    // SAFETY: takes integers only.
    check(unsafe { libc::syscall(libc::SYS_tgkill, tgid, tid, signo) } as libc::c_int).map(drop)
}

/// Whether there is a process with this id, dead or alive.
pub(super) fn exists(pid: i32) -> bool {
    !matches!(tgkill(pid, pid, 0), Err(e) if e.raw_os_error() == Some(libc::ESRCH))
}

/// Copies from another process; how much was readable before the first hole.
pub(super) fn read_memory(pid: i32, addr: u64, dst: &mut [u8]) -> usize {
    let local = libc::iovec { iov_base: dst.as_mut_ptr().cast(), iov_len: dst.len() };
    let remote = libc::iovec { iov_base: addr as *mut _, iov_len: dst.len() };
    // SAFETY: `local` is a live exclusive buffer; the remote range is checked by the kernel.
    let n = unsafe { libc::process_vm_readv(pid, &raw const local, 1, &raw const remote, 1, 0) };
    usize::try_from(n).unwrap_or(0)
}

/// Copies to another process; how much was writable before the first hole.
pub(super) fn write_memory(pid: i32, addr: u64, src: &[u8]) -> usize {
    let local = libc::iovec { iov_base: src.as_ptr().cast_mut().cast(), iov_len: src.len() };
    let remote = libc::iovec { iov_base: addr as *mut _, iov_len: src.len() };
    // SAFETY: the kernel only reads `local`, a live buffer; the remote range is checked by the kernel.
    let n = unsafe { libc::process_vm_writev(pid, &raw const local, 1, &raw const remote, 1, 0) };
    usize::try_from(n).unwrap_or(0)
}

/// Copies two pieces to another process; whether all of both was written.
pub(super) fn write_pieces(pid: i32, pieces: &[(u64, &[u8]); 2]) -> bool {
    let local = pieces.map(|(_, src)| libc::iovec { iov_base: src.as_ptr().cast_mut().cast(), iov_len: src.len() });
    let remote = pieces.map(|(addr, src)| libc::iovec { iov_base: addr as *mut _, iov_len: src.len() });
    // SAFETY: the kernel only reads `local`, live buffers; the remote ranges are checked by the kernel.
    let n = unsafe { libc::process_vm_writev(pid, local.as_ptr(), 2, remote.as_ptr(), 2, 0) };
    usize::try_from(n) == Ok(pieces[0].1.len() + pieces[1].1.len())
}

/// An empty memory file.
pub(super) fn memfd(name: &std::ffi::CStr, size: u64, seals: i32) -> io::Result<OwnedFd> {
    // SAFETY: `name` is NUL-terminated.
    let fd = check(unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING) })?;
    // SAFETY: a descriptor just made, owned by nobody else.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: takes integers only.
    check(unsafe { libc::ftruncate(fd.as_raw_fd(), size as libc::off_t) })?;
    // SAFETY: takes integers only.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_ADD_SEALS, seals) })?;
    Ok(fd)
}

/// Sets a limit of another process.
pub(super) fn prlimit(pid: i32, resource: u32, soft: u64, hard: u64) -> io::Result<()> {
    let new = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    // SAFETY: the kernel reads one rlimit64.
    check(unsafe { libc::prlimit64(pid, resource, &raw const new, std::ptr::null_mut()) }).map(drop)
}

/// A child that has died.
#[derive(Debug)]
pub(super) struct Dead {
    /// Its process id.
    pub(super) pid: i32,
}

/// Waits until some child has died; it stays a zombie.
pub(super) fn wait_dead() -> io::Result<Dead> {
    // SAFETY: all zeroes is a valid siginfo_t.
    let mut info: libc::siginfo_t = unsafe { zeroed() };
    let flags = libc::WEXITED | libc::WNOWAIT | libc::__WALL;
    // SAFETY: the kernel fills in one siginfo_t.
    check(unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, flags) })?;
    // SAFETY: waitid succeeded, so these fields are set.
    Ok(Dead { pid: unsafe { info.si_pid() } })
}

/// Reaps a zombie; its wait status and what it had used.
pub(super) fn reap(pid: i32) -> io::Result<(i32, crate::Usage)> {
    let mut status = 0;
    // SAFETY: all zeroes is a valid rusage.
    let mut usage: libc::rusage = unsafe { zeroed() };
    // SAFETY: the kernel fills in both.
    check(unsafe { libc::wait4(pid, &raw mut status, libc::__WALL, &raw mut usage) })?;
    let ns = |t: libc::timeval| t.tv_sec as u64 * 1_000_000_000 + t.tv_usec as u64 * 1000;
    let usage = crate::Usage {
        utime: ns(usage.ru_utime),
        stime: ns(usage.ru_stime),
        minflt: usage.ru_minflt as u64,
        majflt: usage.ru_majflt as u64,
        maxrss: usage.ru_maxrss as u64,
        nvcsw: usage.ru_nvcsw as u64,
        nivcsw: usage.ru_nivcsw as u64,
    };
    Ok((status, usage))
}

/// CPU time in nanoseconds of a process. Threads of others have no clock that could be read.
pub(super) fn cpu_time(pid: i32) -> u64 {
    // MAKE_PROCESS_CPUCLOCK (linux/posix-timers.h), kind CPUCLOCK_SCHED.
    let clock = (!pid << 3) | 2;
    let mut ts = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel fills in one timespec.
    if unsafe { libc::clock_gettime(clock, &raw mut ts) } != 0 {
        return 0;
    }
    ts.tv_sec as u64 * 1_000_000_000 + ts.tv_nsec as u64
}

/// Random bits, for nonces.
pub(super) fn random() -> [u64; 32] {
    let mut values = [0u64; 32];
    // SAFETY: fills in these bytes; a request this small is never cut short.
    unsafe { libc::getrandom(values.as_mut_ptr().cast(), size_of_val(&values), 0) };
    values
}

/// Has the host schedule a thread by `policy`, one of those without priorities.
pub(super) fn set_policy(tid: i32, policy: libc::c_int) {
    let param = libc::sched_param { sched_priority: 0 };
    // SAFETY: the call reads one sched_param. The thread may be gone.
    unsafe { libc::sched_setscheduler(tid, policy, &raw const param) };
}

/// Has the processor fetch the line of the cache at `at`, which is about to be written. Whatever `at` is, nothing else
/// happens; processors that do not know the instruction do nothing.
pub(super) fn prefetch_to_write(at: *const u8) {
    // SAFETY: a hint, which neither faults nor changes anything.
    unsafe { std::arch::asm!("prefetchw [{}]", in(reg) at, options(nostack, preserves_flags, readonly)) };
}
