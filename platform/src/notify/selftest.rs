//! Does this kernel keep an answer that is given together with a signal?
//!
//! Kernels before "seccomp: Fix a race with WAIT_KILLABLE_RECV if the tracer replies too fast" (October 2025) may
//! throw such an answer away and have the call run twice. The platform stops threads in just this way, so it may
//! not be used there. Versions with the fix are known; others are tested.
//!
//! Invariants kept here: the child makes only raw calls on memory it shares with its parent by design.

use super::sys;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

/// Rounds of one test: the race was lost within a few hundred.
const ROUNDS: u32 = 1000;
/// What the tested call is answered with.
const ANSWER: i64 = 42;
/// Kernels from this version on have the fix.
const FIXED: (u32, u32) = (6, 18);

/// What the child tells, in memory shared with it.
#[repr(C)]
struct Shared {
    listener: AtomicI32,
    go: AtomicU32,
    entered: AtomicU32,
    wrong: AtomicU32,
}

/// Whether the platform may be used: by the kernel's version, or by test.
pub fn is_usable() -> io::Result<bool> {
    if kernel_version().is_some_and(|v| v >= FIXED) {
        return Ok(true);
    }
    keeps_answers()
}

fn kernel_version() -> Option<(u32, u32)> {
    let uname = rustix::system::uname();
    let mut parts = uname.release().to_str().ok()?.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Runs the test. The caller must have no other threads.
pub fn keeps_answers() -> io::Result<bool> {
    with_child(|shared, pid| parent(shared, pid, |listener, notif| sys::send(listener, notif.id, ANSWER)))
}

/// Gives the answer to a call; false if nobody waited for it.
type Give = fn(BorrowedFd<'_>, &libc::seccomp_notif) -> bool;

fn with_child(parent: impl FnOnce(&Shared, i32) -> io::Result<bool>) -> io::Result<bool> {
    let shared = map_shared()?;
    // SAFETY: `map_shared` gives a live, zeroed mapping that is never unmapped; its fields are atomics.
    let shared: &'static Shared = unsafe { &*shared };
    // SAFETY: the caller has no other threads.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => child(shared),
        pid => {
            let result = parent(shared, pid);
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
            let _ = sys::reap(pid);
            result
        }
    }
}

fn map_shared() -> io::Result<*const Shared> {
    let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
    let prot = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping at an address of the kernel's choice.
    let page = unsafe { libc::mmap(std::ptr::null_mut(), 4096, prot, flags, -1, 0) };
    if page == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(page.cast_const().cast()) }
}

fn parent(shared: &Shared, pid: i32, give: Give) -> io::Result<bool> {
    let listener = listener_of(shared, pid)?;
    shared.go.store(1, Ordering::Release);
    for _ in 0..ROUNDS {
        let notif = sys::recv(listener.as_fd())?;
        sys::tgkill(pid, pid, stub::abi::KICK)?;
        give(listener.as_fd(), &notif);
    }
    while shared.entered.load(Ordering::Acquire) < ROUNDS && shared.wrong.load(Ordering::Acquire) == 0 {
        std::thread::yield_now();
    }
    Ok(shared.wrong.load(Ordering::Acquire) == 0)
}

fn listener_of(shared: &Shared, pid: i32) -> io::Result<OwnedFd> {
    let number = loop {
        match shared.listener.load(Ordering::Acquire) {
            0 => std::thread::yield_now(),
            e if e < 0 => return Err(io::Error::from_raw_os_error(-e)),
            fd => break fd - 1,
        }
    };
    take_fd(pid, number)
}

fn take_fd(pid: i32, number: i32) -> io::Result<OwnedFd> {
    // SAFETY: takes integers only.
    let pidfd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if pidfd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a descriptor just made.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd as i32) };
    // SAFETY: takes integers only.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), number, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a descriptor just made.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Where the handler finds what it shares.
static SHARED: std::sync::atomic::AtomicPtr<Shared> = std::sync::atomic::AtomicPtr::new(std::ptr::null_mut());

extern "C" fn handler(_: libc::c_int) {
    // SAFETY: set before the handler was installed, and live for ever.
    let shared = unsafe { &*SHARED.load(Ordering::Acquire) };
    shared.entered.fetch_add(1, Ordering::AcqRel);
}

/// Calls `getppid` again and again; each must be answered by the parent, once, and interrupted, once.
fn child(shared: &'static Shared) -> ! {
    SHARED.store(std::ptr::from_ref(shared).cast_mut(), Ordering::Release);
    // SAFETY: all zeroes is a valid sigaction.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as *const () as usize;
    action.sa_flags = libc::SA_RESTART;
    // SAFETY: the handler only touches atomics.
    unsafe { libc::sigaction(stub::abi::KICK, &raw const action, std::ptr::null_mut()) };
    // SAFETY: takes no pointers.
    unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    let stmt = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let code = [
        stmt(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0),
        libc::sock_filter {
            code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
            jt: 0,
            jf: 1,
            k: libc::SYS_getppid as u32,
        },
        stmt(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_USER_NOTIF),
        stmt(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: code.len() as u16, filter: code.as_ptr().cast_mut() };
    let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | (1 << 5); // WAIT_KILLABLE_RECV
    // SAFETY: the program is live and valid.
    let fd = unsafe { libc::syscall(libc::SYS_seccomp, 1, flags, &raw const program) };
    let errno = io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
    shared.listener.store(if fd < 0 { -errno } else { fd as i32 + 1 }, Ordering::Release);
    while shared.go.load(Ordering::Acquire) == 0 {
        std::hint::spin_loop();
    }
    for round in 1..=ROUNDS {
        // SAFETY: takes no arguments.
        let answer = unsafe { libc::syscall(libc::SYS_getppid) };
        // The handler runs before the instruction after the call.
        if answer != ANSWER || shared.entered.load(Ordering::Acquire) != round {
            shared.wrong.fetch_add(1, Ordering::AcqRel);
        }
    }
    loop {
        std::thread::park();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_given_together_with_a_signal_arrive_here() {
        assert!(kernel_version() < Some(FIXED) || keeps_answers().unwrap());
    }

    /// As a kernel without the fix does it: the call runs again, here natively.
    #[test]
    fn an_answer_that_is_lost_is_noticed() {
        let lose = |listener: BorrowedFd<'_>, notif: &libc::seccomp_notif| match notif.id % 100 {
            0 => sys::send_continue(listener, notif.id),
            _ => sys::send(listener, notif.id, ANSWER),
        };
        assert!(!with_child(|shared, pid| parent(shared, pid, lose)).unwrap());
    }

    /// That is normal: whoever kills a process does not wait for its calls (T8).
    #[test]
    fn an_answer_to_a_caller_that_is_gone_is_refused() {
        let refused = with_child(|shared, pid| {
            let listener = listener_of(shared, pid)?;
            shared.go.store(1, Ordering::Release);
            let notif = sys::recv(listener.as_fd())?;
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL)?;
            sys::wait_dead()?;
            let file = sys::memfd(c"file", 0, 0)?;
            let is_added = sys::add_fd(listener.as_fd(), notif.id, file.as_fd(), 100).is_ok();
            let is_sent = sys::send(listener.as_fd(), notif.id, 0) || sys::send_continue(listener.as_fd(), notif.id);
            Ok(!is_added && !is_sent)
        });
        assert!(refused.unwrap());
    }
}
