//! The spawner: a small process in the guests' cgroup that makes ready stub processes.
//!
//! It exists so that the sentry itself never needs `fork` or `execve`, and so that guests are born in their own
//! cgroup. Each request makes a child that installs the filter, shares its listener by way of the common
//! descriptor table, and executes the stub: a real `execve`, so that every program has its own layout.
//!
//! Invariants kept here: the child shares memory with the spawner until its `execve`, runs on a stack of its own
//! that is not reused before that, and makes only calls that touch nothing of libc's.

use super::sys;
use crate::filter::guest_filter;
use libc::{c_int, c_void, sock_filter, sock_fprog};
use nix::sys::socket::{AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType};
use nix::sys::socket::{RecvMsg, recvmsg, sendmsg, socketpair};
use parking_lot::Mutex;
use std::io::{self, IoSlice, IoSliceMut, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

const CHILD_STACK: usize = 64 * 1024;

/// Most groups of a container: one for each hierarchy, of which there are about a dozen.
const GROUPS_MAX: usize = 32;

/// The sentry's end.
#[derive(Debug)]
pub struct SpawnerHandle {
    /// Locked from a request to its answer.
    socket: Mutex<OwnedFd>,
    pid: i32,
}

impl SpawnerHandle {
    /// The spawner's process id.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Makes a stub process; its process id and listener. Its first notification is its `execve`.
    pub(super) fn spawn(&self) -> io::Result<(i32, OwnedFd)> {
        self.ask(&[])
    }

    /// Makes another spawner, in the groups with these `cgroup.procs`.
    pub(super) fn fork(&self, cgroup_procs: &[OwnedFd]) -> io::Result<SpawnerHandle> {
        if !(1..=GROUPS_MAX).contains(&cgroup_procs.len()) {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        let procs: Vec<c_int> = cgroup_procs.iter().map(AsRawFd::as_raw_fd).collect();
        let (pid, socket) = self.ask(&[ControlMessage::ScmRights(&procs)])?;
        Ok(SpawnerHandle { socket: Mutex::new(socket), pid })
    }

    /// Has it end: an empty message is what it sees at the end of the sentry, too.
    pub(super) fn end(&self) {
        let _ = sendmsg::<()>(self.socket.lock().as_raw_fd(), &[], &[], MsgFlags::MSG_NOSIGNAL, None);
    }

    /// A request with descriptors is for a spawner, one without for a stub process. Both are answered by a process id
    /// and a descriptor.
    fn ask(&self, request: &[ControlMessage<'_>]) -> io::Result<(i32, OwnedFd)> {
        let socket = self.socket.lock();
        sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(&[0])], request, MsgFlags::MSG_NOSIGNAL, None)?;
        let mut pid = [0u8; 4];
        let mut space = nix::cmsg_space!(c_int);
        let mut iov = [IoSliceMut::new(&mut pid)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let msg = recvmsg::<()>(socket.as_raw_fd(), &mut iov, Some(&mut space), flags)?;
        let given = received(&msg)?.pop();
        let pid = i32::from_ne_bytes(pid);
        match given {
            Some(given) => Ok((pid, given)),
            None => Err(io::Error::from_raw_os_error(if pid < 0 { -pid } else { libc::EPIPE })),
        }
    }
}

fn received<S>(msg: &RecvMsg<'_, '_, S>) -> io::Result<Vec<OwnedFd>> {
    let mut received = Vec::new();
    for cmsg in msg.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = cmsg {
            // SAFETY: descriptors just received, owned by nobody else.
            received.extend(fds.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    Ok(received)
}

/// Forks the spawner and moves it into the guests' cgroup by writing to each of `cgroup_procs`. Call it before
/// any thread is started.
pub fn start(cgroup_procs: Vec<OwnedFd>) -> io::Result<SpawnerHandle> {
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    let stub = sys::memfd(c"stub", 0, 0)?;
    let mut file = std::fs::File::from(stub);
    file.write_all(stub::ELF)?;
    // Guests map it privately; nobody may change what the next one starts with.
    let seals = libc::F_SEAL_WRITE | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
    nix::fcntl::fcntl(&file, nix::fcntl::FcntlArg::F_ADD_SEALS(nix::fcntl::SealFlag::from_bits_truncate(seals)))?;
    let stub: OwnedFd = file.into();
    // SAFETY: the caller has started no threads, so the child may go on in Rust.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            drop(ours);
            let code = serve(&theirs, &stub, &cgroup_procs).map_or(1, |()| 0);
            // SAFETY: ends this process at once.
            unsafe { libc::_exit(code) }
        }
        pid => Ok(SpawnerHandle { socket: Mutex::new(ours), pid }),
    }
}

fn serve(socket: &OwnedFd, stub: &OwnedFd, cgroup_procs: &[OwnedFd]) -> io::Result<()> {
    // Told with each request if it fails: a guest outside its limits is worse than none.
    let joined = cgroup_procs.iter().try_for_each(|procs| nix::unistd::write(procs, b"0").map(drop));
    renounce_capabilities()?;
    close_others(&[socket.as_raw_fd(), stub.as_raw_fd()]);
    let filter = guest_filter(libc::SECCOMP_RET_USER_NOTIF);
    let mut stack = vec![0u8; CHILD_STACK];
    loop {
        let groups = match next_request(socket)? {
            None => return Ok(()),
            Some(groups) => groups,
        };
        if !groups.is_empty() {
            fork_spawner(socket, stub, &groups)?;
            continue;
        }
        let birth = Birth {
            filter: sock_fprog { len: filter.len() as u16, filter: filter.as_ptr() as *mut sock_filter },
            stub: stub.as_raw_fd(),
            listener: AtomicI32::new(0),
            living: AtomicU32::new(1),
        };
        let reply = match joined {
            Ok(()) => spawn_one(&birth, &mut stack),
            Err(e) => Err(e.into()),
        };
        let (pid, listener) = match reply {
            Ok(made) => made,
            Err(e) => (-e.raw_os_error().unwrap_or(libc::EIO), -1),
        };
        answer(socket, pid, listener)?;
        if listener >= 0 {
            // SAFETY: the table is shared with the child, but the number is ours to close; the stub has no use for it.
            unsafe { libc::close(listener) };
        }
        // The stack is free again when the child has left this memory, by execve or death.
        if joined.is_ok() {
            wait_while(&birth.living, 1);
        }
    }
}

/// The descriptors of the next request; `None` at the end of the sentry.
fn next_request(socket: &OwnedFd) -> io::Result<Option<Vec<OwnedFd>>> {
    let mut byte = [0u8; 1];
    let mut space = nix::cmsg_space!([c_int; GROUPS_MAX]);
    loop {
        let mut iov = [IoSliceMut::new(&mut byte)];
        match recvmsg::<()>(socket.as_raw_fd(), &mut iov, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC) {
            Ok(msg) if msg.bytes == 0 => return Ok(None),
            Ok(msg) => return received(&msg).map(Some),
            Err(nix::Error::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

fn answer(socket: &OwnedFd, pid: i32, given: c_int) -> io::Result<()> {
    let rights = [given];
    let cmsg = [ControlMessage::ScmRights(&rights)];
    let cmsgs = if given < 0 { &cmsg[..0] } else { &cmsg[..] };
    sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(&pid.to_ne_bytes())], cmsgs, MsgFlags::MSG_NOSIGNAL, None)?;
    Ok(())
}

/// Makes a copy of this process, a child of the sentry too, that serves from other groups.
fn fork_spawner(socket: &OwnedFd, stub: &OwnedFd, groups: &[OwnedFd]) -> io::Result<()> {
    let (theirs, own) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    let flags = libc::CLONE_PARENT | libc::SIGCHLD;
    // SAFETY: a fork of a process with one thread, which may go on in Rust; no pointer is passed.
    match unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) } {
        -1 => answer(socket, -io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO), -1),
        0 => {
            let code = serve(&own, stub, groups).map_or(1, |()| 0);
            // SAFETY: ends this process at once.
            unsafe { libc::_exit(code) }
        }
        pid => answer(socket, i32::try_from(pid).unwrap_or(-libc::EIO), theirs.as_raw_fd()),
    }
}

/// Drops every capability, and closes the ways to get one by `execve` or `setuid`.
fn renounce_capabilities() -> io::Result<()> {
    // Without CAP_SETPCAP this fails, and without it there is nothing to renounce either: the bounding set was
    // emptied by whoever took it.
    for cap in 0..64 {
        // SAFETY: takes integers only.
        unsafe { libc::prctl(libc::PR_CAPBSET_DROP, cap, 0, 0, 0) };
    }
    let header = [0x2008_0522u32, 0];
    let data = [0u32; 6];
    // SAFETY: the version-3 layouts of capset(2).
    if unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: takes integers only.
    unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    }
    Ok(())
}

/// Closes every descriptor but `keep`: none may reach a guest.
fn close_others(keep: &[c_int]) {
    let mut keep: Vec<u32> = keep.iter().map(|fd| *fd as u32).collect();
    keep.sort_unstable();
    let mut from = 0;
    for fd in keep.into_iter().chain([u32::MAX]) {
        if from < fd {
            // SAFETY: takes integers only; nothing in this process uses those descriptors.
            unsafe { libc::syscall(libc::SYS_close_range, from, fd - 1, 0) };
        }
        from = fd.saturating_add(1);
    }
}

/// What spawner and child share.
struct Birth {
    filter: sock_fprog,
    stub: c_int,
    /// 0 until known, then descriptor + 1, or a negative errno.
    listener: AtomicI32,
    /// Cleared by the kernel when the child leaves this memory.
    living: AtomicU32,
}

fn spawn_one(birth: &Birth, stack: &mut [u8]) -> io::Result<(i32, c_int)> {
    let flags = libc::CLONE_VM | libc::CLONE_FILES | libc::CLONE_PARENT | libc::CLONE_CHILD_CLEARTID | libc::SIGCHLD;
    let top = stack.as_mut_ptr_range().end;
    // SAFETY: `child` runs on a stack of its own, which `serve` keeps until `living` is cleared.
    let pid = unsafe {
        libc::clone(
            child,
            top.cast(),
            flags,
            std::ptr::from_ref(birth).cast_mut().cast::<c_void>(),
            std::ptr::null_mut::<c_void>(),
            std::ptr::null_mut::<c_void>(),
            birth.living.as_ptr(),
        )
    };
    if pid < 0 {
        birth.living.store(0, Ordering::Relaxed);
        return Err(io::Error::last_os_error());
    }
    let listener = loop {
        match birth.listener.load(Ordering::Acquire) {
            0 if birth.living.load(Ordering::Acquire) == 0 => return Err(io::Error::from_raw_os_error(libc::ECHILD)),
            0 => wait_while_i32(&birth.listener, 0),
            e if e < 0 => return Err(io::Error::from_raw_os_error(-e)),
            fd => break fd - 1,
        }
    };
    Ok((pid, listener))
}

/// Runs in the child: only raw calls from here on, for it shares libc's state with the spawner.
extern "C" fn child(birth: *mut c_void) -> c_int {
    // SAFETY: `spawn_one` passes a live Birth.
    let birth = unsafe { &*birth.cast::<Birth>() };
    let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | (1 << 5); // WAIT_KILLABLE_RECV
    // SAFETY: the program is live and valid.
    let fd = unsafe { raw(libc::SYS_seccomp, [1, flags, (&raw const birth.filter) as u64, 0, 0]) };
    let word = if fd >= 0 { fd as i32 + 1 } else { fd as i32 };
    birth.listener.store(word, Ordering::Release);
    // SAFETY: FUTEX_WAKE on a live word; native under the filter.
    unsafe { raw(libc::SYS_futex, [birth.listener.as_ptr() as u64, libc::FUTEX_WAKE as u64 | 128, 1, 0, 0]) };
    if fd >= 0 {
        let argv = [c"stub".as_ptr(), std::ptr::null()];
        let none = [std::ptr::null::<u8>()];
        let (path, argv, envp) = (c"".as_ptr() as u64, argv.as_ptr() as u64, none.as_ptr() as u64);
        // SAFETY: NULL-terminated arrays of NUL-terminated strings.
        unsafe { raw(libc::SYS_execveat, [birth.stub as u64, path, argv, envp, libc::AT_EMPTY_PATH as u64]) };
    }
    // SAFETY: ends this process.
    unsafe { raw(libc::SYS_exit, [127, 0, 0, 0, 0]) };
    127
}

/// A system call that does not touch errno, which the child shares with the spawner.
///
/// # Safety
/// The call must be sound with these arguments.
unsafe fn raw(nr: libc::c_long, a: [u64; 5]) -> i64 {
    let ret;
    // SAFETY: the caller vouches for the call.
    unsafe {
        std::arch::asm!("syscall", inlateout("rax") nr => ret, in("rdi") a[0], in("rsi") a[1], in("rdx") a[2],
            in("r10") a[3], in("r8") a[4], lateout("rcx") _, lateout("r11") _);
    }
    ret
}

fn wait_while(word: &AtomicU32, value: u32) {
    while word.load(Ordering::Acquire) == value {
        // SAFETY: FUTEX_WAIT on a live word (shared form: the kernel's CLEARTID wake is a shared one).
        unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, value, 0) };
    }
}

fn wait_while_i32(word: &AtomicI32, value: i32) {
    // SAFETY: FUTEX_WAIT on a live word, with a bound so that a child that died is noticed.
    unsafe {
        let bound = libc::timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT | 128, value, &raw const bound);
    }
}
