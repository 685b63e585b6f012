//! Semaphore sets (`semop(2)`).

use super::{Object, Perm, Who, now, own};
use crate::abi::{IpcPerm, Sembuf, SemidDs};
use crate::errno::{Errno, SysResult};
use crate::executor::{Events, WaitQueue};
use crate::sync::Mutex;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

/// `SEMMSL`: semaphores of a set.
pub const MAX_SEMS: usize = 32000;
/// `SEMMNI`, lower than Linux's for the sake of the sentry's memory.
pub(super) const MAX_SETS: usize = 4096;
/// `SEMVMX`: highest value.
pub const MAX_VALUE: i32 = 32767;

/// What processes undo at their end: by process and set, the set and an adjustment for each semaphore.
pub(crate) type Undo = BTreeMap<(u64, usize), (Weak<SemSet>, BTreeMap<usize, i32>)>;

#[derive(Debug, Default, Clone, Copy)]
struct Sem {
    value: i32,
    pid: i32,
    /// Who waits for it to grow.
    growing: u32,
    /// Who waits for it to be zero.
    zero: u32,
}

#[derive(Debug)]
struct State {
    perm: Perm,
    sems: Vec<Sem>,
    otime: i64,
    ctime: i64,
    removed: bool,
}

/// A set of semaphores.
#[derive(Debug)]
pub struct SemSet {
    state: Mutex<State>,
    /// Told of each change.
    pub queue: WaitQueue,
}

impl Object for SemSet {
    fn perm(&self) -> Perm {
        self.state.lock().perm
    }
}

/// A property of one semaphore that `semctl` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Query {
    /// `GETVAL`.
    Value,
    /// `GETPID`.
    Pid,
    /// `GETNCNT`.
    Growing,
    /// `GETZCNT`.
    Zero,
}

impl SemSet {
    /// A set of `count` semaphores at zero.
    pub fn new(perm: Perm, count: usize) -> SemSet {
        let state = State { perm, sems: vec![Sem::default(); count], otime: 0, ctime: now(), removed: false };
        SemSet { state: Mutex::new(state), queue: WaitQueue::new() }
    }

    /// How many semaphores it has.
    pub fn count(&self) -> usize {
        self.state.lock().sems.len()
    }

    /// Does all of `ops`, or nothing: then `Ok(Some(op))` is the one that has to wait.
    pub fn operate(self: &Arc<Self>, ops: &[Sembuf], who: Who) -> SysResult<Option<Sembuf>> {
        let mut state = self.state.lock();
        if state.removed {
            return Err(Errno::IDRM);
        }
        // Few operations: the new values are found first, then set.
        let mut new: Vec<(usize, i32)> = Vec::with_capacity(ops.len());
        for op in ops {
            let at = usize::from(op.num);
            let old = state.sems.get(at).ok_or(Errno::FBIG)?.value;
            let value = new.iter().rev().find(|(other, _)| *other == at).map_or(old, |(_, value)| *value);
            if op.op == 0 {
                if value != 0 {
                    return Ok(Some(*op));
                }
                continue;
            }
            let sum = value + i32::from(op.op);
            if sum < 0 {
                return Ok(Some(*op));
            }
            if sum > MAX_VALUE {
                return Err(Errno::RANGE);
            }
            new.push((at, sum));
        }
        for (at, value) in new {
            if let Some(sem) = state.sems.get_mut(at) {
                sem.value = value;
            }
        }
        for op in ops {
            if let Some(sem) = state.sems.get_mut(usize::from(op.num)) {
                sem.pid = who.pid;
            }
        }
        state.otime = now();
        drop(state);
        self.note_undo(ops, who);
        self.queue.notify(Events::all());
        Ok(None)
    }

    fn note_undo(self: &Arc<Self>, ops: &[Sembuf], who: Who) {
        if !ops.iter().any(|op| i32::from(op.flags) & libc::SEM_UNDO != 0 && op.op != 0) {
            return;
        }
        let own = own();
        let mut undo = own.undo.lock();
        let key = (who.number, Arc::as_ptr(self) as usize);
        let (_, adjustments) = undo.entry(key).or_insert_with(|| (Arc::downgrade(self), BTreeMap::new()));
        for op in ops.iter().filter(|op| i32::from(op.flags) & libc::SEM_UNDO != 0) {
            *adjustments.entry(usize::from(op.num)).or_default() -= i32::from(op.op);
        }
    }

    /// Counts who waits for `op` (`change` is 1 or -1).
    pub fn count_waiter(&self, op: &Sembuf, change: i32) {
        let mut state = self.state.lock();
        if let Some(sem) = state.sems.get_mut(usize::from(op.num)) {
            let count = if op.op == 0 { &mut sem.zero } else { &mut sem.growing };
            *count = count.saturating_add_signed(change);
        }
    }

    /// A property of a semaphore.
    pub fn query(&self, num: i32, what: Query) -> SysResult<i32> {
        let state = self.state.lock();
        let sem = usize::try_from(num).ok().and_then(|num| state.sems.get(num)).ok_or(Errno::INVAL)?;
        Ok(match what {
            Query::Value => sem.value,
            Query::Pid => sem.pid,
            Query::Growing => sem.growing as i32,
            Query::Zero => sem.zero as i32,
        })
    }

    /// All values.
    pub fn values(&self) -> Vec<u16> {
        self.state.lock().sems.iter().map(|sem| sem.value as u16).collect()
    }

    /// `SETVAL` and `SETALL`: sets semaphores from `first` on, and forgets what would be undone on them.
    pub fn set_values(self: &Arc<Self>, first: i32, values: &[i32], pid: i32) -> SysResult<()> {
        let first = usize::try_from(first).map_err(|_| Errno::INVAL)?;
        {
            let mut state = self.state.lock();
            if state.removed {
                return Err(Errno::IDRM);
            }
            let sems = state.sems.get_mut(first..first + values.len()).ok_or(Errno::INVAL)?;
            if values.iter().any(|value| !(0..=MAX_VALUE).contains(value)) {
                return Err(Errno::RANGE);
            }
            for (sem, value) in sems.iter_mut().zip(values) {
                sem.value = *value;
                sem.pid = pid;
            }
            state.ctime = now();
        }
        for ((_, set), (_, adjustments)) in own().undo.lock().iter_mut() {
            if *set == Arc::as_ptr(self) as usize {
                adjustments.retain(|num, _| !(first..first + values.len()).contains(num));
            }
        }
        self.queue.notify(Events::all());
        Ok(())
    }

    /// `IPC_SET`.
    pub fn set_perm(&self, perm: &IpcPerm) {
        let mut state = self.state.lock();
        state.perm.set(perm);
        state.ctime = now();
    }

    /// `IPC_STAT`.
    pub fn stat(&self) -> SemidDs {
        let state = self.state.lock();
        SemidDs {
            perm: state.perm.to_abi(),
            otime: state.otime,
            ctime: state.ctime,
            nsems: state.sems.len() as u64,
            ..SemidDs::default()
        }
    }

    /// It is gone: whoever waits gets `EIDRM`.
    pub fn removed(&self) {
        self.state.lock().removed = true;
        self.queue.notify(Events::all());
    }

    fn undo(&self, adjustments: &BTreeMap<usize, i32>, pid: i32) {
        let mut state = self.state.lock();
        for (num, adjustment) in adjustments {
            if let Some(sem) = state.sems.get_mut(*num) {
                sem.value = (sem.value + adjustment).clamp(0, MAX_VALUE);
                sem.pid = pid;
            }
        }
        state.otime = now();
        drop(state);
        self.queue.notify(Events::all());
    }
}

/// A process ends.
pub(super) fn undo_all(who: Who) {
    let mut mine = {
        let own = own();
        let mut undo = own.undo.lock();
        let mut mine = undo.split_off(&(who.number, 0));
        let mut later = who.number.checked_add(1).map(|next| mine.split_off(&(next, 0))).unwrap_or_default();
        undo.append(&mut later);
        mine
    };
    while let Some((_, (set, adjustments))) = mine.pop_first() {
        if let Some(set) = set.upgrade() {
            set.undo(&adjustments, who.pid);
        }
    }
}
