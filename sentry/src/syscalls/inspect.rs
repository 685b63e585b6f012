//! Looking into other processes: `process_vm_readv(2)`, `process_vm_writev(2)`, `kcmp(2)`, `pidfd_getfd(2)`.

use super::iovec::{Buffers, IoBuffer};
use crate::errno::{Errno, SysResult};
use crate::fs::pidfd::PidFd;
use crate::kernel::inspect::{Ids, may_inspect};
use crate::kernel::{Cap, Task};
use crate::loader::{PAGE, page_up};
use crate::mm::Addr;
use std::cmp::Ordering;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, LazyLock};

/// Bytes moved at once.
const CHUNK: usize = 128 << 10;

/// `process_vm_readv(2)`.
pub async fn process_vm_readv(
    t: &Task,
    pid: i32,
    local: Addr,
    count: usize,
    remote: Addr,
    remote_count: usize,
    flags: u64,
) -> SysResult<usize> {
    let Some(copy) = Copy::new(t, pid, (local, count), (remote, remote_count), flags)? else { return Ok(0) };
    transfer(&copy.target, &copy.remote, t, &copy.local)
}

/// `process_vm_writev(2)`.
pub async fn process_vm_writev(
    t: &Task,
    pid: i32,
    local: Addr,
    count: usize,
    remote: Addr,
    remote_count: usize,
    flags: u64,
) -> SysResult<usize> {
    let Some(copy) = Copy::new(t, pid, (local, count), (remote, remote_count), flags)? else { return Ok(0) };
    transfer(t, &copy.local, &copy.target, &copy.remote)
}

struct Copy {
    target: Arc<Task>,
    local: Buffers,
    remote: Buffers,
}

impl Copy {
    /// `None` if there is nothing to copy: then nobody asks whom it concerns.
    fn new(t: &Task, pid: i32, local: (Addr, usize), remote: (Addr, usize), flags: u64) -> SysResult<Option<Copy>> {
        if flags != 0 {
            return Err(Errno::INVAL);
        }
        let local = Buffers::vector(t, local.0, local.1)?;
        if local.is_empty() {
            return Ok(None);
        }
        let remote = Buffers::vector(t, remote.0, remote.1)?;
        if remote.is_empty() {
            return Ok(None);
        }
        let target = t.kernel.task(pid).ok_or(Errno::SRCH)?;
        may_inspect(t, &target, Ids::Real)?;
        Ok(Some(Copy { target, local, remote }))
    }
}

/// Copies as much as both sides have; `EFAULT` if that is nothing.
fn transfer(from_task: &Task, from: &Buffers, to_task: &Task, to: &Buffers) -> SysResult<usize> {
    let total = from.len().min(to.len());
    let mut done = 0;
    while done < total {
        let mut buf = IoBuffer::new((total - done).min(CHUNK));
        let moved = from.copy_in(from_task, done, &mut buf).and_then(|got| {
            let copied = to.copy_out(to_task, done, buf.get(..got).unwrap_or_default())?;
            Ok((copied, copied < buf.len()))
        });
        match moved {
            Err(error) if done == 0 => return Err(error),
            Err(_) => break,
            Ok((copied, ends)) => {
                done += copied;
                if ends {
                    break;
                }
            }
        }
    }
    Ok(done)
}

/// `kcmp(2)`: whether two processes share something; the order of what they do not share tells nothing of where
/// it lies.
pub async fn kcmp(t: &Task, pid1: i32, pid2: i32, kind: i32, idx1: u32, idx2: u32) -> SysResult<i32> {
    const FILE: i32 = 0;
    const VM: i32 = 1;
    const FILES: i32 = 2;
    const FS: i32 = 3;
    const SIGHAND: i32 = 4;
    let one = t.kernel.task(pid1).ok_or(Errno::SRCH)?;
    let two = t.kernel.task(pid2).ok_or(Errno::SRCH)?;
    may_inspect(t, &one, Ids::Real)?;
    may_inspect(t, &two, Ids::Real)?;
    let pair = match kind {
        FILE => {
            let open = |task: &Task, fd: u32| task.files().get_any(fd.cast_signed()).map(|file| file.id);
            (open(&one, idx1)?, open(&two, idx2)?)
        }
        VM => {
            let memory = |task: &Task| Arc::as_ptr(task.mem().process()).addr() as u64;
            (memory(&one), memory(&two))
        }
        FILES => (Arc::as_ptr(&one.files()).addr() as u64, Arc::as_ptr(&two.files()).addr() as u64),
        FS => (Arc::as_ptr(&one.fs()).addr() as u64, Arc::as_ptr(&two.fs()).addr() as u64),
        SIGHAND => (Arc::as_ptr(&one.group.sighand()).addr() as u64, Arc::as_ptr(&two.group.sighand()).addr() as u64),
        _ => return Err(Errno::INVAL),
    };
    if pair.0 == pair.1 {
        return Ok(0);
    }
    static SECRET: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    Ok(match SECRET.hash_one(pair.0).cmp(&SECRET.hash_one(pair.1)) {
        Ordering::Less => 1,
        _ => 2,
    })
}

/// `process_madvise(2)`: only advice that changes no content, of which none has to be taken.
pub async fn process_madvise(
    t: &Task,
    pidfd: i32,
    vector: Addr,
    count: usize,
    advice: i32,
    flags: u32,
) -> SysResult<usize> {
    if flags != 0 {
        return Err(Errno::INVAL);
    }
    let ranges = Buffers::vector(t, vector, count)?;
    let file = t.file(pidfd)?;
    let group = file.downcast::<PidFd>().ok_or(Errno::BADF)?.group.clone();
    let target = group.any_task().ok_or(Errno::SRCH)?;
    let is_own = Arc::ptr_eq(&t.group, &target.group);
    if !matches!(advice, libc::MADV_COLD | libc::MADV_PAGEOUT | libc::MADV_WILLNEED | libc::MADV_COLLAPSE) {
        return Err(Errno::INVAL);
    }
    may_inspect(t, &target, Ids::File)?;
    if !is_own && !t.creds().has(Cap::SysNice) {
        return Err(Errno::PERM);
    }
    let mut done = 0;
    for (addr, len) in ranges.pieces() {
        let problem = if !addr.0.is_multiple_of(PAGE) {
            Some(Errno::INVAL)
        } else if !super::mm::is_mapped(&target, addr.0, addr.0.saturating_add(page_up(len as u64))) {
            Some(Errno::NOMEM)
        } else {
            None
        };
        match problem {
            Some(error) if done == 0 => return Err(error),
            Some(_) => break,
            None => done += len,
        }
    }
    Ok(done)
}

/// `process_mrelease(2)`: takes the memory of a dying process, which the sentry does anyway.
pub async fn process_mrelease(t: &Task, pidfd: i32, flags: u32) -> SysResult<()> {
    if flags != 0 {
        return Err(Errno::INVAL);
    }
    let file = t.file(pidfd)?;
    let group = file.downcast::<PidFd>().ok_or(Errno::BADF)?.group.clone();
    let state = group.state.lock();
    match (state.is_zombie(), state.is_exiting()) {
        (true, _) => Err(Errno::SRCH),
        (_, true) => Ok(()),
        _ => Err(Errno::INVAL),
    }
}

/// `pidfd_getfd(2)`: a descriptor for what another process has open.
pub async fn pidfd_getfd(t: &Task, pidfd: i32, fd: i32, flags: u32) -> SysResult<i32> {
    if flags != 0 {
        return Err(Errno::INVAL);
    }
    let file = t.file(pidfd)?;
    let group = file.downcast::<PidFd>().ok_or(Errno::BADF)?.group.clone();
    let target = group.any_task().ok_or(Errno::SRCH)?;
    may_inspect(t, &target, Ids::Real)?;
    let found = target.files().get_any(fd)?;
    t.install(found, true)
}
