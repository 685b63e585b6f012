//! `futex(2)`, for the operations that do not run natively, and robust lists.

use crate::errno::{Errno, SysResult};
use crate::kernel::{Outcome, Task};
use crate::mm::Addr;
use platform::Call;
use std::sync::atomic::Ordering;

const CMD: u32 = 0x7f;
const PRIVATE: u32 = 128;
const REQUEUE: u32 = 3;
const CMP_REQUEUE: u32 = 4;
const WAKE: u32 = 1;

/// `futex(2)`: requeueing is answered by waking, which waiters must bear anyway.
///
/// # Differences from Linux
/// Priority inheritance is `ENOSYS`, as on kernels without it.
pub async fn futex(t: &Task, addr: u64, op: i32, val: u32, val2: u64, _addr2: u64, val3: u32) -> SysResult {
    let op = op as u32;
    match op & CMD {
        REQUEUE | CMP_REQUEUE => {
            if !addr.is_multiple_of(4) || (val as i32) < 0 || (val2 as i32) < 0 {
                return Err(Errno::INVAL);
            }
            let now: u32 = t.mem().read(Addr(addr))?;
            if op & CMD == CMP_REQUEUE && now != val3 {
                return Err(Errno::AGAIN);
            }
            let count = (val as u64).saturating_add(val2 & 0x7fff_ffff).min(i32::MAX as u64);
            wake(t, addr, op & PRIVATE, count).await
        }
        _ => Err(Errno::NOSYS),
    }
}

async fn wake(t: &Task, addr: u64, private: u32, count: u64) -> SysResult {
    let thread = t.thread();
    thread.enter(0).await?;
    t.set_outcome(Outcome::StoppedReturn);
    let op = u64::from(WAKE | private);
    let call = Call { nr: libc::SYS_futex as u32, args: [addr, op, count, 0, 0, 0] };
    let woken = thread.run(&[call]).await?.first().copied().unwrap_or(-1);
    if woken < 0 { Err(Errno::from_raw(-woken as i32)) } else { Ok(woken) }
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
