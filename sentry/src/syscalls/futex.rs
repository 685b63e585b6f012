//! `futex(2)`, for the operations that do not run natively, and robust lists.

use super::futex_pi;
use super::mm::run_here;
use crate::errno::{Errno, SysResult};
use crate::kernel::{Outcome, Task};
use crate::mm::Addr;
use platform::Call;

const CMD: u32 = 0x7f;
const REQUEUE: u32 = 3;
const CMP_REQUEUE: u32 = 4;
const WAKE: u32 = 1;

/// `futex(2)`: requeueing, which the filter keeps back so that its list stays short, and what priority inheritance needs
/// the sentry for: the words hold thread ids, and the host's are others.
///
/// # Differences from Linux
/// Requeueing to a lock with priority inheritance is `ENOSYS`.
pub async fn futex(t: &Task, addr: u64, op: i32, val: u64, val2: u64, addr2: u64, val3: u64) -> SysResult {
    let op = op as u32;
    if op & futex_pi::CLOCK_REALTIME != 0 && op & CMD != futex_pi::LOCK_PI2 {
        return Err(Errno::NOSYS);
    }
    match op & CMD {
        futex_pi::LOCK_PI | futex_pi::LOCK_PI2 | futex_pi::TRYLOCK_PI => {
            Box::pin(futex_pi::lock(t, addr, op, Addr(val2))).await
        }
        futex_pi::UNLOCK_PI => futex_pi::unlock(t, addr, op).await,
        REQUEUE | CMP_REQUEUE => {
            let args = [addr, u64::from(op), val, val2, addr2, val3];
            run_here(t, &Call { nr: libc::SYS_futex as u32, args }).await
        }
        _ => Err(Errno::NOSYS),
    }
}

// The newer forms are run by the host: what the words and arrays in memory say concerns the process alone.

/// `futex_waitv(2)`.
pub async fn futex_waitv(
    t: &Task,
    _waiters: Addr,
    _count: u32,
    _flags: u32,
    _timeout: Addr,
    _clock: i32,
) -> SysResult<()> {
    t.set_outcome(Outcome::Native);
    Ok(())
}

/// `futex_wake(2)`.
pub async fn futex_wake(t: &Task, _addr: Addr, _mask: u64, _count: i32, _flags: u32) -> SysResult<()> {
    t.set_outcome(Outcome::Native);
    Ok(())
}

/// `futex_wait(2)`.
pub async fn futex_wait(
    t: &Task,
    _addr: Addr,
    _value: u64,
    _mask: u64,
    _flags: u32,
    _timeout: Addr,
    _clock: i32,
) -> SysResult<()> {
    t.set_outcome(Outcome::Native);
    Ok(())
}

/// `futex_requeue(2)`.
pub async fn futex_requeue(t: &Task, _waiters: Addr, _flags: u32, _wake: i32, _requeue: i32) -> SysResult<()> {
    t.set_outcome(Outcome::Native);
    Ok(())
}

const HEAD_SIZE: usize = 24;

/// `set_robust_list(2)`.
pub async fn set_robust_list(t: &Task, head: u64, len: usize) -> SysResult<()> {
    if len != HEAD_SIZE {
        return Err(Errno::INVAL);
    }
    t.set_robust_list(head);
    Ok(())
}

/// `get_robust_list(2)`.
pub async fn get_robust_list(t: &Task, pid: i32, head: Addr, len: Addr) -> SysResult<()> {
    let list = match pid {
        0 => t.robust_list(),
        pid => {
            let target = t.kernel.task(pid).ok_or(Errno::SRCH)?;
            if !t.may_signal(&target, 0) {
                return Err(Errno::PERM);
            }
            target.robust_list()
        }
    };
    t.mem().write(len, &(HEAD_SIZE as u64))?;
    t.mem().write(head, &list)
}

impl Task {
    /// Gives up the robust mutexes of this thread, or of all threads of its process, and wakes a waiter of each. The
    /// thread is in its last call.
    pub(super) async fn release_robust_lists(&self, of_all: bool) {
        let wakes = if of_all { self.group.orphan_robust_lists() } else { self.orphan_robust_list() };
        if wakes.is_empty() {
            return;
        }
        let thread = self.thread();
        if thread.enter(0).await.is_ok() {
            let call = |addr: &u64| Call { nr: libc::SYS_futex as u32, args: [*addr, u64::from(WAKE), 1, 0, 0, 0] };
            let calls: Vec<Call> = wakes.iter().map(call).collect();
            let _ = thread.run(&calls).await;
        }
    }
}
