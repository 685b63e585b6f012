//! Descriptions on their way through a socket (`SCM_RIGHTS`).
//!
//! What is in flight is counted per user, and dropped one after the other: a socket in flight may hold further
//! sockets in flight, and dropping them inside each other would recurse as deep as the guest likes.

use crate::errno::{Errno, SysResult};
use crate::fs::File;
use crate::kernel::Creds;
use crate::sync::Mutex;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

/// `SCM_MAX_FD`: descriptions per message.
pub const MAX_PER_MESSAGE: usize = 253;

/// In flight, by user.
static IN_FLIGHT: LazyLock<Mutex<HashMap<u32, u64>>> = LazyLock::new(Mutex::default);

/// Descriptions in flight.
#[derive(Default)]
pub struct Rights {
    uid: u32,
    files: Vec<Arc<File>>,
}

impl std::fmt::Debug for Rights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Rights({})", self.files.len())
    }
}

impl Rights {
    /// Puts `files` in flight for the user of `creds`, who may have `limit` (`RLIMIT_NOFILE`) of them.
    pub fn new(files: Vec<Arc<File>>, creds: &Creds, limit: u64) -> SysResult<Rights> {
        use crate::kernel::Cap;
        if files.is_empty() {
            return Ok(Rights::default());
        }
        let mut all = IN_FLIGHT.lock();
        let count = all.entry(creds.uid).or_default();
        let privileged = creds.has(Cap::SysResource) || creds.has(Cap::SysAdmin);
        let limit = if privileged { limit.max(HARD_LIMIT) } else { limit };
        if *count > limit {
            return Err(Errno::from_raw(libc::ETOOMANYREFS));
        }
        *count += files.len() as u64;
        Ok(Rights { uid: creds.uid, files })
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The descriptions, still in flight.
    pub fn files(&self) -> &[Arc<File>] {
        &self.files
    }

    /// Ends the flight.
    pub fn land(mut self) -> Vec<Arc<File>> {
        self.uncount();
        std::mem::take(&mut self.files)
    }

    fn uncount(&self) {
        if self.files.is_empty() {
            return;
        }
        let mut all = IN_FLIGHT.lock();
        if let Some(count) = all.get_mut(&self.uid) {
            *count = count.saturating_sub(self.files.len() as u64);
            if *count == 0 {
                all.remove(&self.uid);
            }
        }
    }
}

impl Drop for Rights {
    fn drop(&mut self) {
        self.uncount();
        drop_in_turn(std::mem::take(&mut self.files));
    }
}

/// What even the privileged may have in flight: bounds what cycles of sockets can hide from `close`.
const HARD_LIMIT: u64 = 1 << 16;

thread_local! {
    static DROPPING: Cell<bool> = const { Cell::new(false) };
    static PENDING: RefCell<Vec<Arc<File>>> = const { RefCell::new(Vec::new()) };
}

/// Drops `files`; those that a drop brings up in turn are dropped after it, not inside it.
fn drop_in_turn(files: Vec<Arc<File>>) {
    if files.is_empty() {
        return;
    }
    PENDING.with(|pending| pending.borrow_mut().extend(files));
    if DROPPING.replace(true) {
        return;
    }
    while let Some(file) = PENDING.with(|pending| pending.borrow_mut().pop()) {
        drop(file);
    }
    DROPPING.set(false);
}
