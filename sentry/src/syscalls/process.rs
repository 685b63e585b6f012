//! Creating, running and ending processes: `fork(2)`, `execve(2)`, `exit(2)`.

use crate::abi::CloneArgsAbi;
use crate::errno::{Errno, SysResult};
use crate::kernel::{self, CloneArgs, Outcome, Task};
use crate::loader::{PAGE, Strings};
use crate::mm::{Addr, StringReader};

/// Flags that only `clone3` takes.
const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
/// `MAX_PID_NS_LEVEL`.
const SET_TID_MAX: u64 = 32;
/// Bits of `clone`'s flags that hold the exit signal.
const CSIGNAL: u64 = 0xff;
/// Most pointers in `argv` and `envp` together; Linux is bounded by the stack they must fit on.
const POINTERS_MAX: usize = 512 * 1024;

/// `fork(2)`.
pub async fn fork(t: &Task) -> SysResult<i32> {
    kernel::clone(t, CloneArgs { exit_signal: libc::SIGCHLD, ..CloneArgs::default() }).await
}

/// `vfork(2)`.
pub async fn vfork(t: &Task) -> SysResult<i32> {
    let flags = (libc::CLONE_VFORK | libc::CLONE_VM) as u64;
    kernel::clone(t, CloneArgs { flags, exit_signal: libc::SIGCHLD, ..CloneArgs::default() }).await
}

/// `clone(2)`, with the order of arguments of x86-64.
pub async fn clone(t: &Task, flags: u64, stack: u64, ptid: Addr, ctid: Addr, tls: u64) -> SysResult<i32> {
    let args = CloneArgs {
        flags: flags & 0xffff_ffff & !CSIGNAL,
        exit_signal: (flags & CSIGNAL) as i32,
        stack: (stack != 0).then_some(stack),
        parent_tid: ptid,
        child_tid: ctid,
        pidfd: ptid,
        tls,
    };
    // The old call has one pointer for both.
    if flags & libc::CLONE_PIDFD as u64 != 0 && flags & libc::CLONE_PARENT_SETTID as u64 != 0 {
        return Err(Errno::INVAL);
    }
    kernel::clone(t, args).await
}

/// `clone3(2)`.
///
/// # Differences from Linux
/// `set_tid` and `CLONE_INTO_CGROUP` are refused.
pub async fn clone3(t: &Task, uargs: Addr, size: usize) -> SysResult<i32> {
    let a = CloneArgsAbi::read(t, uargs, size)?;
    let stack = match (a.stack, a.stack_size) {
        (0, 0) => None,
        (0, _) | (_, 0) => return Err(Errno::INVAL),
        (base, size) => Some(base.checked_add(size).ok_or(Errno::INVAL)?),
    };
    let known = u64::from(u32::MAX) | CLONE_CLEAR_SIGHAND | CLONE_INTO_CGROUP;
    let refused = CSIGNAL | libc::CLONE_DETACHED as u64;
    let is_half = (a.set_tid_size == 0) != (a.set_tid == 0) || a.set_tid_size > SET_TID_MAX;
    if a.flags & !known != 0 || a.flags & refused != 0 || a.exit_signal > CSIGNAL || is_half {
        return Err(Errno::INVAL);
    }
    let inherits = (libc::CLONE_THREAD | libc::CLONE_PARENT) as u64;
    if a.flags & inherits != 0 && a.exit_signal != 0 || a.exit_signal > 64 {
        return Err(Errno::INVAL);
    }
    if a.set_tid_size != 0 {
        return Err(Errno::PERM);
    }
    let args = CloneArgs {
        flags: a.flags,
        exit_signal: a.exit_signal as i32,
        stack,
        parent_tid: Addr(a.parent_tid),
        child_tid: Addr(a.child_tid),
        pidfd: Addr(a.pidfd),
        tls: a.tls,
    };
    kernel::clone(t, args).await
}

/// `execve(2)`.
pub async fn execve(t: &Task, path: Addr, argv: Addr, envp: Addr) -> SysResult<()> {
    execveat(t, libc::AT_FDCWD, path, argv, envp, 0).await
}

/// `execveat(2)`.
pub async fn execveat(t: &Task, dirfd: i32, path: Addr, argv: Addr, envp: Addr, flags: i32) -> SysResult<()> {
    if flags & !(libc::AT_EMPTY_PATH | libc::AT_SYMLINK_NOFOLLOW) != 0 {
        return Err(Errno::INVAL);
    }
    let path = t.mem().read_path(path)?;
    if path.is_empty() && flags & libc::AT_EMPTY_PATH == 0 {
        return Err(Errno::NOENT);
    }
    let by_fd = dirfd != libc::AT_FDCWD && path.first() != Some(&b'/');
    let start = if by_fd { t.files().get_any(dirfd)?.path.clone().ok_or(Errno::ACCES)? } else { t.fs().cwd() };
    let filename = match (by_fd, path.is_empty()) {
        (false, _) => path.clone(),
        (true, true) => format!("/dev/fd/{dirfd}").into_bytes(),
        (true, false) => [format!("/dev/fd/{dirfd}/").as_bytes(), &path].concat(),
    };
    let follow = flags & libc::AT_SYMLINK_NOFOLLOW == 0;
    let strings = read_strings(t, argv).and_then(|args| Ok((args, read_strings(t, envp)?)));
    let (mut args, env) = match strings {
        // What there is to run is looked for first.
        Err(error) => return Err(kernel::find_program(t, start, &path, follow).err().unwrap_or(error)),
        Ok(strings) => strings,
    };
    if args.is_empty() {
        // As Linux since 5.18: programs may rely on a name.
        args.push(Vec::new());
    }
    // Large states are boxed: most calls are small.
    Box::pin(kernel::execve(t, start, &path, follow, Strings { args, env, filename })).await
}

/// A NULL-terminated array of strings; NULL is an empty one.
fn read_strings(t: &Task, array: Addr) -> SysResult<Vec<Vec<u8>>> {
    const BATCH: usize = 512;
    /// `MAX_ARG_STRLEN`, and in all no more than fits on any stack.
    const STRING_MAX: usize = crate::loader::STRING_MAX;
    const TOTAL_MAX: usize = 6 << 20;
    let mem = t.mem();
    let mut text = StringReader::new(&mem);
    let mut strings = Vec::new();
    let mut total = 0;
    let mut at = array;
    if array.is_null() {
        return Ok(strings);
    }
    while strings.len() < POINTERS_MAX {
        let mut pointers = [0u64; BATCH];
        let to_page_end = ((PAGE - at.0 % PAGE) / 8).max(1) as usize;
        let pointers = pointers.get_mut(..to_page_end.min(BATCH)).ok_or(Errno::FAULT)?;
        // What lies behind the NULL may be unmapped.
        let got = mem.read_partial(at, zerocopy::IntoBytes::as_mut_bytes(pointers))? / 8;
        if got == 0 {
            return Err(Errno::FAULT);
        }
        for pointer in pointers.iter().take(got) {
            if *pointer == 0 {
                return Ok(strings);
            }
            let s = text.read(Addr(*pointer), STRING_MAX, Errno::TOOBIG)?;
            total += s.len() + 9;
            if total > TOTAL_MAX {
                return Err(Errno::TOOBIG);
            }
            strings.push(s);
        }
        at = at.offset(got * 8);
    }
    Err(Errno::TOOBIG)
}

/// `exit(2)`: ends the calling thread.
pub async fn exit(t: &Task, status: i32) -> SysResult<()> {
    t.release_robust_lists(false).await;
    t.set_outcome(Outcome::Exited);
    t.exit_thread(status);
    Ok(())
}

/// `exit_group(2)`: ends the calling process.
pub async fn exit_group(t: &Task, status: i32) -> SysResult<()> {
    t.release_robust_lists(true).await;
    t.set_outcome(Outcome::Exited);
    t.exit_group(status);
    Ok(())
}
