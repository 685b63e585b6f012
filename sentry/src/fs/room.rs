//! How much the caches of names and listings may hold: more on a larger machine, less when the host says that
//! memory is short.

use super::pressure;
use super::proc::host_memory;
use super::superblock::SuperBlock;
use crate::kernel::machine;
use crate::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

/// About what a name takes: its dentry, its node, the host's inode, and its places in tables.
const NAME_BYTES: u64 = 1152;

/// About what a name takes in a listing.
const LISTED_BYTES: usize = 40;

/// The part of the machine's memory that all names together may take: one in so many. Linux has no bound of its own
/// for these, and a whole system has some 200,000.
const SHARE: u64 = 64;

/// Names kept however small the machine is: the working set of a small build.
const NAMES_MIN: usize = 16 * 1024;

/// Names kept however large it is: nobody goes through more again and again.
const NAMES_MAX: usize = 192 * 1024;

/// Names that each file system may keep whatever the others have taken.
const OWN_MIN: usize = 1024;

/// How many names are added until the machine's memory is looked at again: its limit can be changed.
const LOOK_EVERY: usize = 4096;

/// Names kept by all file systems.
static KEPT: AtomicUsize = AtomicUsize::new(0);

/// Names added so far.
static ADDED: AtomicUsize = AtomicUsize::new(0);

/// How many there may be at the moment; 0 before it is known.
static LIMIT: AtomicUsize = AtomicUsize::new(0);

fn limit() -> usize {
    match LIMIT.load(Ordering::Relaxed) {
        0 => look(),
        limit => limit,
    }
}

fn look() -> usize {
    let limit = if is_short() { NAMES_MIN } else { names_for(machine::total_memory()) };
    LIMIT.store(limit, Ordering::Relaxed);
    limit
}

/// Whether hardly any of the host's memory can be had: then nothing grows on its account.
fn is_short() -> bool {
    /// One part in so many.
    const HARDLY: u64 = 16;
    host_memory().is_some_and(|(total, available)| available < total / HARDLY)
}

/// How many names may be kept on a machine with so many bytes of memory.
fn names_for(memory: u64) -> usize {
    usize::try_from(memory / SHARE / NAME_BYTES).unwrap_or(NAMES_MAX).clamp(NAMES_MIN, NAMES_MAX)
}

/// Whether a file system that keeps `own` names may keep one more, which is then counted.
pub(super) fn take_name(own: usize) -> bool {
    let kept = KEPT.fetch_add(1, Ordering::Relaxed);
    if ADDED.fetch_add(1, Ordering::Relaxed).is_multiple_of(LOOK_EVERY) {
        look();
        if kept >= NAMES_MIN {
            pressure::watch();
        }
    }
    let is_room = own < OWN_MIN || kept < limit();
    if !is_room {
        give_names(1);
    }
    is_room
}

/// So many names are kept no longer.
pub(super) fn give_names(count: usize) {
    KEPT.fetch_sub(count, Ordering::Relaxed);
}

/// Bytes of listings that a file system may keep.
pub(super) fn listing_bytes() -> usize {
    limit().saturating_mul(LISTED_BYTES)
}

/// File systems whose caches may have to shrink.
static ALL: Mutex<Vec<Weak<SuperBlock>>> = Mutex::new(Vec::new());

/// Notes a file system.
pub(super) fn note(sb: &Arc<SuperBlock>) {
    let mut all = ALL.lock();
    // Swept when the vector would grow, so that it stays as small as what is in use.
    if all.len() == all.capacity() {
        all.retain(|sb| sb.strong_count() > 0);
    }
    all.push(Arc::downgrade(sb));
}

/// Empties all caches.
pub(super) fn shrink() {
    let all: Vec<Arc<SuperBlock>> = ALL.lock().iter().filter_map(Weak::upgrade).collect();
    for sb in all {
        sb.shrink();
        sb.fs.shrink();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn larger_machines_keep_more() {
        assert_eq!(names_for(0), NAMES_MIN);
        assert_eq!(names_for(64 << 20), NAMES_MIN);
        assert_eq!(names_for(4 << 30), 58_254);
        assert_eq!(names_for(u64::MAX), NAMES_MAX);
    }

    #[test]
    fn a_small_file_system_finds_room_beside_a_large_one() {
        KEPT.fetch_add(NAMES_MAX, Ordering::Relaxed);
        assert!(!take_name(OWN_MIN));
        assert!(take_name(OWN_MIN - 1));
        give_names(NAMES_MAX + 1);
    }
}
