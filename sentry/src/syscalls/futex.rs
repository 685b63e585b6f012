//! `futex(2)`, for the operations that do not run natively, and robust lists.

use super::mm::run_here;
use crate::errno::{Errno, SysResult};
use crate::kernel::Task;
use crate::mm::Addr;
use platform::Call;
use std::sync::atomic::Ordering;

const CMD: u32 = 0x7f;
const REQUEUE: u32 = 3;
const CMP_REQUEUE: u32 = 4;
const WAKE: u32 = 1;

/// `futex(2)`: requeueing, which the filter keeps back so that its list stays short.
///
/// # Differences from Linux
/// Priority inheritance is `ENOSYS`, as on kernels without it: the words hold thread ids, and the host's are others.
pub async fn futex(t: &Task, addr: u64, op: i32, val: u64, val2: u64, addr2: u64, val3: u64) -> SysResult {
    match op as u32 & CMD {
        REQUEUE | CMP_REQUEUE => {
            let args = [addr, u64::from(op as u32), val, val2, addr2, val3];
            run_here(t, &Call { nr: libc::SYS_futex as u32, args }).await
        }
        _ => Err(Errno::NOSYS),
    }
}

const HEAD_SIZE: usize = 24;

/// `set_robust_list(2)`.
pub async fn set_robust_list(t: &Task, head: u64, len: usize) -> SysResult<()> {
    if len != HEAD_SIZE {
        return Err(Errno::INVAL);
    }
    t.robust_list.store(head, Ordering::Relaxed);
    Ok(())
}

/// `get_robust_list(2)`.
pub async fn get_robust_list(t: &Task, pid: i32, head: Addr, len: Addr) -> SysResult<()> {
    let list = match pid {
        0 => t.robust_list.load(Ordering::Relaxed),
        pid => {
            let target = t.kernel.task(pid).ok_or(Errno::SRCH)?;
            if !t.may_signal(&target, 0) {
                return Err(Errno::PERM);
            }
            target.robust_list.load(Ordering::Relaxed)
        }
    };
    t.mem().write(len, &(HEAD_SIZE as u64))?;
    t.mem().write(head, &list)
}

const OWNER_DIED: u32 = 0x4000_0000;
const WAITERS: u32 = 0x8000_0000;
const TID_MASK: u32 = 0x3fff_ffff;

impl Task {
    /// Marks the robust mutexes that the thread holds as orphaned and wakes a waiter of each (`exit_robust_list`).
    /// The thread is in its last call.
    pub(super) async fn release_robust_list(&self) {
        /// `ROBUST_LIST_LIMIT`.
        const LIMIT: usize = 2048;
        let head = self.robust_list.load(Ordering::Relaxed);
        let mem = self.mem();
        let Ok([first, offset, pending]) = mem.read::<[u64; 3]>(Addr(head)) else { return };
        let mut wakes = Vec::new();
        let mut entry = first & !1;
        for _ in 0..LIMIT {
            if entry == head || entry == 0 {
                break;
            }
            if entry != pending & !1 {
                self.orphan(entry.wrapping_add(offset), &mut wakes);
            }
            match mem.read::<u64>(Addr(entry)) {
                Ok(next) => entry = next & !1,
                Err(_) => break,
            }
        }
        if pending & !1 != 0 {
            self.orphan((pending & !1).wrapping_add(offset), &mut wakes);
        }
        if wakes.is_empty() {
            return;
        }
        let thread = self.thread();
        if thread.enter(0).await.is_ok() {
            let calls: Vec<Call> = wakes
                .iter()
                .map(|addr| Call { nr: libc::SYS_futex as u32, args: [*addr, u64::from(WAKE), 1, 0, 0, 0] })
                .collect();
            let _ = thread.run(&calls).await;
        }
    }

    fn orphan(&self, addr: u64, wakes: &mut Vec<u64>) {
        let mem = self.mem();
        let Ok(word) = mem.read::<u32>(Addr(addr)) else { return };
        if word & TID_MASK != self.tid() as u32 {
            return;
        }
        if mem.write(Addr(addr), &(word & WAITERS | OWNER_DIED)).is_ok() && word & WAITERS != 0 {
            wakes.push(addr);
        }
    }
}
