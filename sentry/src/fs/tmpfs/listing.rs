//! Listings of directories of the lower directory, which stay true: nobody changes it.

use crate::errno::SysResult;
use crate::fs::file::File;
use crate::fs::inode::{Caller, Inode};
use crate::fs::room;
use crate::sync::Mutex;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

/// Largest listing that is kept, as a part of all that may be: one must not drive out all others.
const ONE_IN: usize = 4;

/// The names in a directory.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// All names, one after the other.
    text: Vec<u8>,
    entries: Vec<Entry>,
    /// Used since the keeper last passed.
    used: AtomicBool,
}

#[derive(Debug)]
struct Entry {
    ino: u64,
    /// Where its name ends; it starts where the one before ends.
    end: u32,
    dtype: u8,
}

/// A name in the lower directory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Below<'a> {
    pub(super) name: &'a [u8],
    pub(super) ino: u64,
    pub(super) dtype: u8,
}

impl Listing {
    /// Asks the host for all names in `dir`.
    pub(super) fn read(dir: &Arc<dyn Inode>) -> SysResult<Listing> {
        let flags = libc::O_RDONLY | libc::O_DIRECTORY;
        let file = File::new(dir.clone().open(&Caller::kernel(), flags)?, None, flags);
        let mut listing = Listing::default();
        file.ops.readdir(&file, &mut 0, &mut |name, ino, dtype, _| {
            name == b"." || name == b".." || listing.push(name, ino, dtype)
        })?;
        listing.text.shrink_to_fit();
        listing.entries.shrink_to_fit();
        Ok(listing)
    }

    fn push(&mut self, name: &[u8], ino: u64, dtype: u8) -> bool {
        self.text.extend_from_slice(name);
        // No directory's names are 4 GiB long; one that were would end here.
        let Ok(end) = u32::try_from(self.text.len()) else { return false };
        self.entries.push(Entry { ino, end, dtype });
        true
    }

    /// The names from the one numbered `start` on.
    pub(super) fn from(&self, start: usize) -> impl Iterator<Item = Below<'_>> {
        let entries = self.entries.get(start..).unwrap_or_default();
        let before = start.checked_sub(1).and_then(|last| self.entries.get(last));
        let mut at = before.map_or(0, |entry| entry.end as usize);
        entries.iter().map(move |entry| {
            let name = self.text.get(at..entry.end as usize).unwrap_or_default();
            at = entry.end as usize;
            Below { name, ino: entry.ino, dtype: entry.dtype }
        })
    }

    fn size(&self) -> usize {
        size_of::<Listing>() + self.text.capacity() + self.entries.capacity() * size_of::<Entry>()
    }
}

/// The listings that are kept.
#[derive(Debug, Default)]
pub(super) struct Listings {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    queue: VecDeque<Arc<Listing>>,
    bytes: usize,
}

impl Listings {
    /// The listing that `slot` leads to, if it is kept still.
    pub(super) fn get(slot: &Weak<Listing>) -> Option<Arc<Listing>> {
        let listing = slot.upgrade()?;
        listing.used.store(true, Ordering::Relaxed);
        Some(listing)
    }

    /// Keeps `listing` in place of those that were not used for long.
    pub(super) fn keep(&self, listing: &Arc<Listing>) {
        let size = listing.size();
        let most = room::listing_bytes();
        if size > most / ONE_IN {
            return;
        }
        let mut dropped = Vec::new();
        let mut kept = self.kept.lock();
        kept.bytes += size;
        kept.queue.push_back(listing.clone());
        while kept.bytes > most
            && let Some(oldest) = kept.queue.pop_front()
        {
            if oldest.used.swap(false, Ordering::Relaxed) {
                kept.queue.push_back(oldest);
            } else {
                kept.bytes -= oldest.size();
                dropped.push(oldest);
            }
        }
        drop(kept);
        drop(dropped);
    }

    /// Keeps none of them any longer.
    pub(super) fn clear(&self) {
        let old = std::mem::take(&mut *self.kept.lock());
        drop(old);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(names: usize) -> Arc<Listing> {
        let mut listing = Listing::default();
        for n in 0..names {
            assert!(listing.push(format!("name{n}").as_bytes(), n as u64, libc::DT_REG));
        }
        Arc::new(listing)
    }

    #[test]
    fn names_come_back_from_any_place() {
        let listing = listing(20);
        let all: Vec<_> = listing.from(0).map(|below| below.name.to_vec()).collect();
        assert_eq!(all.len(), 20);
        assert_eq!(listing.from(7).map(|b| (b.ino, b.name.to_vec())).next(), Some((7, b"name7".to_vec())));
        assert_eq!(listing.from(20).count(), 0);
        assert_eq!(listing.from(usize::MAX).count(), 0);
    }

    #[test]
    fn no_more_is_kept_than_allowed() {
        let listings = Listings::default();
        let used = listing(1000);
        let slot = Arc::downgrade(&used);
        listings.keep(&used);
        drop(used);
        for _ in 0..1000 {
            assert!(Listings::get(&slot).is_some(), "what is used stays");
            listings.keep(&listing(1000));
        }
        assert!(listings.kept.lock().bytes <= room::listing_bytes());
        listings.keep(&listing(800_000));
        assert!(listings.kept.lock().bytes <= room::listing_bytes());
    }
}
