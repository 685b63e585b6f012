//! Operations of `futex(2)` with priority inheritance; [`crate::kernel::pi`] keeps who waits for what.

use super::time::deadline_at;
use crate::errno::{Errno, SysResult};
use crate::executor::Events;
use crate::kernel::pi::{Granted, InUse, PiFutex, PiKey, PiWaiter};
use crate::kernel::{Outcome, Task};
use crate::mm::{self, Addr};
use platform::Call;
use rustix::time::ClockId;
use std::sync::Arc;
use std::time::Instant;

/// Operations.
pub(super) const LOCK_PI: u32 = 6;
pub(super) const UNLOCK_PI: u32 = 7;
pub(super) const TRYLOCK_PI: u32 = 8;
pub(super) const LOCK_PI2: u32 = 13;
pub(super) const PRIVATE: u32 = 128;
pub(super) const CLOCK_REALTIME: u32 = 256;

/// Bits of the word.
pub(super) const WAITERS: u32 = 0x8000_0000;
pub(super) const OWNER_DIED: u32 = 0x4000_0000;
pub(super) const TID_MASK: u32 = 0x3fff_ffff;

/// Length of the `syscall` instruction.
const SYSCALL_LEN: u64 = 2;

/// `FUTEX_LOCK_PI`, `FUTEX_LOCK_PI2`, `FUTEX_TRYLOCK_PI`.
pub(super) async fn lock(t: &Task, addr: u64, op: u32, timeout: Addr) -> SysResult {
    let cmd = op & !(PRIVATE | CLOCK_REALTIME);
    let deadline = match cmd {
        TRYLOCK_PI => None,
        _ => deadline(t, timeout, cmd == LOCK_PI || op & CLOCK_REALTIME != 0)?,
    };
    let word = read_word(t, addr)?;
    if word & TID_MASK == own_id(t) {
        return Err(Errno::DEADLK);
    }
    let used = InUse::new(&t.kernel, key(t, addr, op & PRIVATE != 0)?);
    // What the word says is to stay while it is looked at: this thread's own stub sees to that.
    t.thread().enter(0).await?;
    t.set_outcome(Outcome::StoppedReturn);
    match acquire(t, addr, op, &used.futex, deadline).await {
        Err(error) if error.is_restart() => {
            make_again(t)?;
            Ok(0)
        }
        done => done.map(|()| 0),
    }
}

fn deadline(t: &Task, timeout: Addr, is_realtime: bool) -> SysResult<Option<Instant>> {
    if timeout.is_null() {
        return Ok(None);
    }
    let clock = if is_realtime { ClockId::Realtime } else { ClockId::Monotonic };
    deadline_at(clock, t.mem().read(timeout)?)
}

fn own_id(t: &Task) -> u32 {
    t.tid().cast_unsigned()
}

fn read_word(t: &Task, addr: u64) -> SysResult<u32> {
    if !addr.is_multiple_of(4) {
        return Err(Errno::INVAL);
    }
    t.mem().read(Addr(addr))
}

/// A signal came while it waited: the call is made again, whatever the handler's flags are.
fn make_again(t: &Task) -> SysResult<()> {
    let thread = t.thread();
    let mut regs = thread.registers()?;
    regs.rip = regs.rip.wrapping_sub(SYSCALL_LEN);
    regs.rax = libc::SYS_futex as u64;
    thread.set_registers(&regs)?;
    t.set_outcome(Outcome::Stopped);
    Ok(())
}

/// A place in the line, until it is left or the lock is granted.
struct Waiting<'a> {
    futex: &'a PiFutex,
    waiter: Arc<PiWaiter>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.futex.leave(&self.waiter);
    }
}

async fn acquire(t: &Task, addr: u64, op: u32, futex: &PiFutex, deadline: Option<Instant>) -> SysResult<()> {
    loop {
        set_waiters(t, addr, op & PRIVATE).await?;
        let busy = futex.begin(t).await;
        let word = read_word(t, addr)?;
        // Without the bit it was unlocked in between, and may be taken by anyone.
        if word & WAITERS != 0 {
            match take_or_line_up(t, addr, op, futex, word)? {
                None => return Ok(()),
                Some(waiter) => {
                    let waiting = Waiting { futex, waiter };
                    drop(busy);
                    return wait(t, addr, &waiting, deadline).await;
                }
            }
        }
        drop(busy);
        if t.has_signal() {
            return Err(Errno::RESTARTNOINTR);
        }
    }
}

/// Takes a lock that nobody holds, or waits for its holder.
fn take_or_line_up(t: &Task, addr: u64, op: u32, futex: &PiFutex, word: u32) -> SysResult<Option<Arc<PiWaiter>>> {
    let owner = (word & TID_MASK).cast_signed();
    if owner == 0 {
        let waiters = if futex.has_waiters() { WAITERS } else { 0 };
        t.mem().write(Addr(addr), &(word & OWNER_DIED | own_id(t) | waiters))?;
        futex.set_owner(t.tid());
        return Ok(None);
    }
    if t.kernel.task(owner).is_none() {
        return Err(Errno::SRCH);
    }
    if op & !(PRIVATE | CLOCK_REALTIME) == TRYLOCK_PI {
        return Err(Errno::AGAIN);
    }
    Ok(Some(futex.wait(t, owner)))
}

async fn wait(t: &Task, addr: u64, waiting: &Waiting<'_>, deadline: Option<Instant>) -> SysResult<()> {
    let Waiting { futex, waiter } = waiting;
    let granted = || waiter.granted().ok_or(Errno::AGAIN);
    let mut done = t.block_on(&futex.queue, Events::IN, deadline, granted).await;
    // It may be granted until the place in the line is left.
    let _busy = futex.begin(t).await;
    if let Some(granted) = waiter.granted() {
        done = Ok(granted);
    } else {
        futex.leave(waiter);
    }
    match done {
        Ok(Granted::Unlocked) => Ok(()),
        Ok(Granted::OwnerDied) => t.mem().write(Addr(addr), &(own_id(t) | WAITERS | OWNER_DIED)),
        Err(Errno::AGAIN) => Err(Errno::TIMEDOUT),
        Err(Errno::RESTARTSYS) => Err(Errno::RESTARTNOINTR),
        Err(error) => Err(error),
    }
}

/// Sets `FUTEX_WAITERS`, at once with what other threads do to the word: only the host can, so the guest's own stub asks
/// it. (`FUTEX_WAKE_OP`; that it may wake someone is something that waiters of futexes bear.)
async fn set_waiters(t: &Task, addr: u64, private: u32) -> SysResult<()> {
    const WAKE_OP: u32 = 5;
    /// `FUTEX_OP(FUTEX_OP_OR | FUTEX_OP_OPARG_SHIFT, 31, FUTEX_OP_CMP_EQ, 0)`.
    const OR_BIT_31: u64 = 10 << 28 | 31 << 12;
    let args = [addr, u64::from(WAKE_OP | private), 0, 0, addr, OR_BIT_31];
    let call = Call { nr: libc::SYS_futex as u32, args };
    let results = t.thread().run(std::slice::from_ref(&call)).await?;
    match results.first() {
        Some(result) if *result >= 0 => Ok(()),
        Some(error) => Err(Errno::from_raw(i32::try_from(-error).unwrap_or(libc::EFAULT))),
        None => Err(Errno::FAULT),
    }
}

/// `FUTEX_UNLOCK_PI`.
pub(super) async fn unlock(t: &Task, addr: u64, op: u32) -> SysResult {
    if read_word(t, addr)? & TID_MASK != own_id(t) {
        return Err(Errno::PERM);
    }
    let used = InUse::new(&t.kernel, key(t, addr, op & PRIVATE != 0)?);
    let futex = &used.futex;
    let _busy = futex.begin(t).await;
    let Some(next) = futex.next() else {
        return t.mem().write(Addr(addr), &0u32).map(|()| 0);
    };
    t.mem().write(Addr(addr), &(next.cast_unsigned() | WAITERS))?;
    futex.grant(Granted::Unlocked);
    if t.kernel.task(next).is_none() {
        t.kernel.release_pi(next);
    }
    Ok(0)
}

/// Which futex the word at an address is: what processes share is known by the file behind it.
fn key(t: &Task, addr: u64, is_private: bool) -> SysResult<PiKey> {
    let process = t.thread().process().clone();
    let shared = if is_private { None } else { mm::maps::shared_place(&*process, addr) };
    Ok(shared.map_or(PiKey::Private(process.host_pid(), addr), |(major, minor, inode, at)| {
        PiKey::Shared(major, minor, inode, at)
    }))
}
