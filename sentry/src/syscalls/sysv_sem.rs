//! `semget(2)`, `semop(2)`, `semctl(2)`.

use super::deadline::never_restarted;
use crate::abi::{Sembuf, SemidDs, Seminfo, Timespec};
use crate::errno::{Errno, SysResult};
use crate::executor::Events;
use crate::ipc::sem::{MAX_SEMS, MAX_VALUE, Query, SemSet};
use crate::ipc::{Object, Who, own};
use crate::kernel::{Registration, Task};
use crate::mm::Addr;
use std::sync::Arc;
use std::time::Instant;
use zerocopy::IntoBytes;

/// `SEMOPM`: operations of a call.
const MAX_OPS: usize = 500;
const SEM_STAT: i32 = 18;
const SEM_INFO: i32 = 19;
const SEM_STAT_ANY: i32 = 20;

/// `semget(2)`: finds or makes a set of semaphores.
pub async fn semget(t: &Task, key: i32, count: i32, flags: i32) -> SysResult<i32> {
    let count = usize::try_from(count).ok().filter(|count| *count <= MAX_SEMS).ok_or(Errno::INVAL)?;
    let fits = |set: &SemSet| if count > set.count() { Err(Errno::INVAL) } else { Ok(()) };
    own().sets.get(t, key, flags, fits, |perm| {
        if count == 0 {
            return Err(Errno::INVAL);
        }
        Ok(SemSet::new(perm, count))
    })
}

/// `semop(2)`: does operations on semaphores, all at once.
pub async fn semop(t: &Task, id: i32, ops: Addr, count: usize) -> SysResult<()> {
    semtimedop(t, id, ops, count, Addr::NULL).await
}

/// `semtimedop(2)`: as `semop`, but does not wait for ever.
pub async fn semtimedop(t: &Task, id: i32, ops: Addr, count: usize, timeout: Addr) -> SysResult<()> {
    let deadline = if timeout.is_null() {
        None
    } else {
        let timeout = t.mem().read::<Timespec>(timeout)?.to_duration()?;
        Instant::now().checked_add(timeout)
    };
    if count == 0 || id < 0 {
        return Err(Errno::INVAL);
    }
    if count > MAX_OPS {
        return Err(Errno::TOOBIG);
    }
    let ops: Vec<Sembuf> = t.mem().read_array(ops, count)?;
    let set = own().sets.find(id)?;
    if ops.iter().any(|op| usize::from(op.num) >= set.count()) {
        return Err(Errno::FBIG);
    }
    let alters = ops.iter().any(|op| op.op != 0);
    set.perm().check(&t.creds(), if alters { 0o222 } else { 0o444 })?;
    let who = Who::of(&t.group);
    let Some(blocked) = set.operate(&ops, who)? else { return Ok(()) };
    if i32::from(blocked.flags) & libc::IPC_NOWAIT != 0 {
        return Err(Errno::AGAIN);
    }
    let _counted = Waiter::new(&set, blocked);
    let _registered = Registration::new(&set.queue, Events::all(), t.observer());
    let attempt = || match set.operate(&ops, who) {
        Ok(None) => Some(Ok(())),
        Ok(Some(op)) if i32::from(op.flags) & libc::IPC_NOWAIT != 0 => Some(Err(Errno::AGAIN)),
        Ok(Some(_)) => None,
        Err(error) => Some(Err(error)),
    };
    t.wait_for(deadline, attempt).await.map_err(never_restarted)?.unwrap_or(Err(Errno::AGAIN))
}

/// While it lives, a waiter is counted.
struct Waiter {
    set: Arc<SemSet>,
    op: Sembuf,
}

impl Waiter {
    fn new(set: &Arc<SemSet>, op: Sembuf) -> Waiter {
        set.count_waiter(&op, 1);
        Waiter { set: set.clone(), op }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.set.count_waiter(&self.op, -1);
    }
}

/// `semctl(2)`: asks and changes.
pub async fn semctl(t: &Task, id: i32, num: i32, cmd: i32, arg: u64) -> SysResult<i32> {
    if id < 0 {
        return Err(Errno::INVAL);
    }
    let creds = t.creds();
    match cmd {
        libc::IPC_INFO | SEM_INFO => return info(t, cmd, Addr(arg)),
        SEM_STAT | SEM_STAT_ANY => {
            let (id, set) = own().sets.at(id)?;
            if cmd == SEM_STAT {
                set.perm().check(&creds, 0o444)?;
            }
            t.mem().write(Addr(arg), &set.stat())?;
            return Ok(id);
        }
        _ => {}
    }
    let set = own().sets.find(id)?;
    let may_read = || set.perm().check(&creds, 0o444);
    let may_write = || set.perm().check(&creds, 0o222);
    let ask = |what| may_read().and_then(|()| set.query(num, what));
    match cmd {
        libc::GETVAL => return ask(Query::Value),
        libc::GETPID => return ask(Query::Pid),
        libc::GETNCNT => return ask(Query::Growing),
        libc::GETZCNT => return ask(Query::Zero),
        libc::GETALL => {
            may_read()?;
            t.mem().write_bytes(Addr(arg), set.values().as_bytes())?;
        }
        libc::SETVAL => {
            may_write()?;
            set.set_values(num, &[arg as i32], t.group.tgid)?;
        }
        libc::SETALL => {
            may_write()?;
            let values: Vec<u16> = t.mem().read_array(Addr(arg), set.count())?;
            let values: Vec<i32> = values.into_iter().map(i32::from).collect();
            set.set_values(0, &values, t.group.tgid)?;
        }
        libc::IPC_STAT => {
            may_read()?;
            t.mem().write(Addr(arg), &set.stat())?;
        }
        libc::IPC_SET => {
            let new: SemidDs = t.mem().read(Addr(arg))?;
            set.perm().check_owner(&creds)?;
            set.set_perm(&new.perm);
        }
        libc::IPC_RMID => {
            set.perm().check_owner(&creds)?;
            own().sets.remove(id)?.removed();
        }
        _ => return Err(Errno::INVAL),
    }
    Ok(0)
}

/// `IPC_INFO` and `SEM_INFO`: limits, and what is used of them.
fn info(t: &Task, cmd: i32, addr: Addr) -> SysResult<i32> {
    /// `SEMUSZ`.
    const UNDO_SIZE: i32 = 20;
    let (highest, all) = own().sets.all();
    let most = MAX_SEMS as i32;
    let mut info = Seminfo {
        semmap: most.saturating_mul(own().sets.max()),
        semmni: own().sets.max(),
        semmns: most.saturating_mul(own().sets.max()),
        semmnu: most.saturating_mul(own().sets.max()),
        semmsl: most,
        semopm: MAX_OPS as i32,
        semume: MAX_OPS as i32,
        semusz: UNDO_SIZE,
        semvmx: MAX_VALUE,
        semaem: MAX_VALUE,
    };
    if cmd == SEM_INFO {
        info.semusz = all.len() as i32;
        info.semaem = all.iter().map(|set| set.count() as i32).sum();
    }
    t.mem().write(addr, &info)?;
    Ok(highest)
}
