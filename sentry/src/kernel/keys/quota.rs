//! How many keys each user has.

use crate::errno::{Errno, SysResult};
use crate::sync::Mutex;
use std::collections::BTreeMap;

/// `/proc/sys/kernel/keys/maxkeys`: keys of a user.
pub const MAX_KEYS: usize = 200;
/// `/proc/sys/kernel/keys/maxbytes`: bytes of a user's keys.
pub const MAX_BYTES: usize = 20_000;
/// `root_maxkeys`: far below Linux's, for they are in the sentry's memory, and a chain of so many is let go of at once.
pub const ROOT_MAX_KEYS: usize = 1000;
/// `root_maxbytes`.
pub const ROOT_MAX_BYTES: usize = 1_000_000;

/// Keys and bytes of each user.
static USED: Mutex<BTreeMap<u32, (usize, usize)>> = Mutex::new(BTreeMap::new());

fn limits(uid: u32) -> (usize, usize) {
    if uid == 0 { (ROOT_MAX_KEYS, ROOT_MAX_BYTES) } else { (MAX_KEYS, MAX_BYTES) }
}

/// What a key counts for, until it is dropped.
#[derive(Debug)]
pub(super) struct Charge {
    uid: u32,
    bytes: usize,
}

impl Charge {
    pub(super) fn new(uid: u32, bytes: usize) -> SysResult<Charge> {
        let mut used = USED.lock();
        let (keys, total) = used.entry(uid).or_default();
        let (max_keys, max_bytes) = limits(uid);
        if *keys >= max_keys || *total + bytes > max_bytes {
            return Err(Errno::DQUOT);
        }
        (*keys, *total) = (*keys + 1, *total + bytes);
        Ok(Charge { uid, bytes })
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn resize(&mut self, bytes: usize) -> SysResult<()> {
        let mut used = USED.lock();
        let (_, total) = used.entry(self.uid).or_default();
        let others = total.saturating_sub(self.bytes);
        if bytes > self.bytes && others + bytes > limits(self.uid).1 {
            return Err(Errno::DQUOT);
        }
        *total = others + bytes;
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let mut used = USED.lock();
        if let Some((keys, total)) = used.get_mut(&self.uid) {
            (*keys, *total) = (keys.saturating_sub(1), total.saturating_sub(self.bytes));
            if *keys == 0 {
                used.remove(&self.uid);
            }
        }
    }
}
