//! Advisory locks: of ranges (`fcntl_locking(2)`) and of whole files (`flock(2)`).
//!
//! The locks of an inode live in one [`Locks`] found by its number; it exists while someone locks or waits.

use super::file::File;
use crate::errno::{Errno, SysResult};
use crate::executor::{Events, WaitQueue};
use crate::sync::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Ranges locked in one file at most: they are searched one by one.
const RANGES_MAX: usize = 4096;

/// Bit of [`File::tag`]: the description holds locks that end with it.
const HOLDS_LOCKS: u32 = 1 << 31;

/// Who holds a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Owner {
    /// The processes that share a table of descriptors, by its number.
    Process(u64),
    /// An open file description, by its number.
    Description(u64),
}

/// A locked range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// First byte.
    pub start: u64,
    /// Last byte; `u64::MAX` for all there will ever be.
    pub last: u64,
    /// A write lock.
    pub exclusive: bool,
    /// Whose.
    pub owner: Owner,
    /// What `F_GETLK` shows.
    pub pid: i32,
}

impl Range {
    fn overlaps(&self, other: &Range) -> bool {
        self.start <= other.last && other.start <= self.last
    }

    fn conflicts(&self, other: &Range) -> bool {
        self.owner != other.owner && (self.exclusive || other.exclusive) && self.overlaps(other)
    }

    fn touches(&self, other: &Range) -> bool {
        self.start <= other.last.saturating_add(1) && other.start <= self.last.saturating_add(1)
    }
}

#[derive(Debug, Default)]
struct State {
    ranges: Vec<Range>,
    /// Descriptions that hold the whole file, and whether exclusively.
    whole: HashMap<u64, Whole>,
}

/// The whole file, held for a description.
#[derive(Debug, Clone, Copy)]
struct Whole {
    exclusive: bool,
    pid: i32,
}

/// The locks of one inode.
#[derive(Debug, Default)]
pub struct Locks {
    state: Mutex<State>,
    /// Told when a lock ends.
    pub queue: WaitQueue,
}

/// Device and number of an inode.
pub type Key = (u64, u64);

static LOCKS: Mutex<Option<HashMap<Key, Arc<Locks>>>> = Mutex::new(None);
/// How many inodes have locks: nothing is looked up while there are none.
static LOCKED: AtomicUsize = AtomicUsize::new(0);
/// For whom the waiting wait.
static WAITING: Mutex<Option<HashMap<Owner, Owner>>> = Mutex::new(None);

/// What its locks and leases are found by.
pub(super) fn key(file: &File) -> Key {
    match (&file.path, file.ops.attr()) {
        (Some(path), _) => (path.dentry.sb.dev, path.inode().map_or(0, |inode| inode.ino())),
        (None, Some(attr)) => (attr.dev, attr.ino),
        (None, None) => (u64::MAX, file.id),
    }
}

/// The locks of `file`'s inode.
pub fn of(file: &File) -> Arc<Locks> {
    let mut all = LOCKS.lock();
    let all = all.get_or_insert_default();
    let locks = all.entry(key(file)).or_default().clone();
    LOCKED.store(all.len(), Ordering::Relaxed);
    locks
}

/// Forgets the locks of an inode that has none and for which nobody waits.
fn forget(file: &File) {
    let mut all = LOCKS.lock();
    let Some(all) = all.as_mut() else { return };
    let key = key(file);
    let unused = all.get(&key).is_some_and(|locks| {
        let state = locks.state.lock();
        Arc::strong_count(locks) == 1 && state.ranges.is_empty() && state.whole.is_empty()
    });
    if unused {
        all.remove(&key);
    }
    LOCKED.store(all.len(), Ordering::Relaxed);
}

fn find(file: &File) -> Option<Arc<Locks>> {
    if LOCKED.load(Ordering::Relaxed) == 0 {
        return None;
    }
    LOCKS.lock().as_ref()?.get(&key(file)).cloned()
}

/// Ends every range lock that `owner` holds on `file`.
pub fn release_ranges(file: &File, owner: Owner) {
    if let Some(locks) = find(file) {
        locks.unlock_all(owner);
        drop(locks);
        forget(file);
    }
}

/// Ends what `file` holds, when it is closed for the last time.
pub(super) fn release_description(file: &File) {
    if file.tag.load(Ordering::Relaxed) & HOLDS_LOCKS == 0 {
        return;
    }
    if let Some(locks) = find(file) {
        locks.unlock_all(Owner::Description(file.id));
        locks.unlock_whole(file.id);
        drop(locks);
        forget(file);
    }
}

impl Locks {
    /// A range that keeps `wanted` from being locked.
    pub fn conflict(&self, wanted: &Range) -> Option<Range> {
        let state = self.state.lock();
        state.ranges.iter().filter(|held| held.conflicts(wanted)).min_by_key(|held| held.start).copied()
    }

    /// Locks a range in place of what its owner held there; `EAGAIN` if someone else holds it.
    pub fn lock(&self, file: &File, wanted: &Range) -> SysResult<()> {
        let mut state = self.state.lock();
        if state.ranges.iter().any(|held| held.conflicts(wanted)) {
            return Err(Errno::AGAIN);
        }
        if state.ranges.len() + 2 > RANGES_MAX {
            return Err(Errno::NOLCK);
        }
        let weakens = state.cut(wanted);
        state.insert(*wanted);
        drop(state);
        if matches!(wanted.owner, Owner::Description(_)) {
            file.tag.fetch_or(HOLDS_LOCKS, Ordering::Relaxed);
        }
        if weakens {
            self.queue.notify(Events::IN);
        }
        Ok(())
    }

    /// Unlocks what the owner of `range` holds within it.
    pub fn unlock(&self, range: &Range) {
        let changed = self.state.lock().cut(range);
        if changed {
            self.queue.notify(Events::IN);
        }
    }

    fn unlock_all(&self, owner: Owner) {
        let mut state = self.state.lock();
        let before = state.ranges.len();
        state.ranges.retain(|held| held.owner != owner);
        let changed = state.ranges.len() != before;
        drop(state);
        if changed {
            self.queue.notify(Events::IN);
        }
    }

    /// `flock(2)`: locks the whole file for a description; `EAGAIN` if others hold it.
    pub fn lock_whole(&self, file: &File, exclusive: bool, pid: i32) -> SysResult<()> {
        let mut state = self.state.lock();
        if state.whole.iter().any(|(id, held)| *id != file.id && (exclusive || held.exclusive)) {
            return Err(Errno::AGAIN);
        }
        let old = state.whole.insert(file.id, Whole { exclusive, pid });
        let weakens = old.is_some_and(|old| old.exclusive) && !exclusive;
        drop(state);
        file.tag.fetch_or(HOLDS_LOCKS, Ordering::Relaxed);
        if weakens {
            self.queue.notify(Events::IN);
        }
        Ok(())
    }

    /// Unlocks the whole file for a description.
    pub fn unlock_whole(&self, id: u64) {
        let held = self.state.lock().whole.remove(&id).is_some();
        if held {
            self.queue.notify(Events::IN);
        }
    }
}

impl State {
    /// Takes `range` out of what its owner holds; whether it held any of it.
    fn cut(&mut self, range: &Range) -> bool {
        let mut kept = Vec::new();
        let before = self.ranges.len();
        self.ranges.retain(|held| {
            if held.owner != range.owner || !held.overlaps(range) {
                return true;
            }
            if held.start < range.start {
                kept.push(Range { last: range.start - 1, ..*held });
            }
            if held.last > range.last {
                kept.push(Range { start: range.last + 1, ..*held });
            }
            false
        });
        let changed = self.ranges.len() != before;
        self.ranges.append(&mut kept);
        changed
    }

    /// Adds a range, grown together with those of its kind that it touches.
    fn insert(&mut self, mut range: Range) {
        self.ranges.retain(|held| {
            let joins = held.owner == range.owner && held.exclusive == range.exclusive && held.touches(&range);
            if joins {
                range.start = range.start.min(held.start);
                range.last = range.last.max(held.last);
            }
            !joins
        });
        self.ranges.push(range);
    }
}

/// `/proc/locks`.
pub fn describe() -> String {
    let all: Vec<(Key, Arc<Locks>)> = LOCKS.lock().iter().flatten().map(|(key, locks)| (*key, locks.clone())).collect();
    let mut lines = Vec::new();
    for ((dev, ino), locks) in all {
        let place = format!("{:02x}:{:02x}:{ino}", libc::major(dev), libc::minor(dev));
        let mode = |exclusive| if exclusive { "WRITE" } else { "READ " };
        let state = locks.state.lock();
        for range in &state.ranges {
            let kind = if matches!(range.owner, Owner::Process(_)) { "POSIX " } else { "OFDLCK" };
            let last = if range.last == u64::MAX { "EOF".to_owned() } else { range.last.to_string() };
            let (mode, pid, start) = (mode(range.exclusive), range.pid, range.start);
            lines.push(format!("{kind} ADVISORY  {mode} {pid} {place} {start} {last}"));
        }
        for whole in state.whole.values() {
            lines.push(format!("FLOCK  ADVISORY  {} {} {place} 0 EOF", mode(whole.exclusive), whole.pid));
        }
    }
    lines.extend(super::lease::describe());
    lines.iter().zip(1..).map(|(line, n)| format!("{n}: {line}\n")).collect()
}

/// A wait for a lock that is known of, so that a circle of waits is found.
#[derive(Debug)]
pub struct Waiting(Owner);

impl Waiting {
    /// `owner` is about to wait for `holder`; `EDEADLK` if that waits, in the end, for `owner`.
    pub fn new(owner: Owner, holder: Owner) -> SysResult<Waiting> {
        let mut waiting = WAITING.lock();
        let waiting = waiting.get_or_insert_default();
        let mut at = Some(holder);
        // No chain is longer than the number of those who wait.
        for _ in 0..=waiting.len() {
            match at {
                Some(other) if other == owner => return Err(Errno::DEADLK),
                Some(other) => at = waiting.get(&other).copied(),
                None => break,
            }
        }
        waiting.insert(owner, holder);
        Ok(Waiting(owner))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(waiting) = WAITING.lock().as_mut() {
            waiting.remove(&self.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: u64, last: u64, exclusive: bool, owner: u64) -> Range {
        Range { start, last, exclusive, owner: Owner::Process(owner), pid: 0 }
    }

    #[test]
    fn unlocking_the_middle_splits() {
        let mut state = State::default();
        state.insert(range(0, 99, true, 1));
        assert!(state.cut(&range(40, 59, false, 1)));
        state.ranges.sort_by_key(|held| held.start);
        assert_eq!(state.ranges, [range(0, 39, true, 1), range(60, 99, true, 1)]);
    }

    #[test]
    fn neighbours_of_one_kind_grow_together() {
        let mut state = State::default();
        state.insert(range(0, 9, false, 1));
        state.insert(range(20, 29, false, 1));
        state.insert(range(10, 19, false, 1));
        assert_eq!(state.ranges, [range(0, 29, false, 1)]);
    }

    #[test]
    fn readers_share_and_writers_do_not() {
        assert!(!range(0, 9, false, 1).conflicts(&range(5, 6, false, 2)));
        assert!(range(0, 9, true, 1).conflicts(&range(5, 6, false, 2)));
        assert!(!range(0, 9, true, 1).conflicts(&range(5, 6, true, 1)));
        assert!(!range(0, 9, true, 1).conflicts(&range(10, 11, true, 2)));
    }

    #[test]
    fn a_circle_of_waits_is_refused() {
        let (a, b, c) = (Owner::Process(101), Owner::Process(102), Owner::Process(103));
        let _first = Waiting::new(a, b).unwrap();
        let _second = Waiting::new(b, c).unwrap();
        assert_eq!(Waiting::new(c, a).err(), Some(Errno::DEADLK));
    }
}
