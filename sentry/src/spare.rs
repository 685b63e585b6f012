//! Large buffers that were let go of, to be used again: to have the host map and clear fresh memory takes longer than
//! what is done with it.

use crate::sync::Mutex;

/// Bytes that are read or written at once.
pub const WRITTEN: usize = 128 << 10;
/// Bytes that come at once from what is no file, at most.
pub const MESSAGE: usize = 256 << 10;
/// Room for a frame: the longest fits.
pub const FRAME: usize = 68 << 10;

/// Buffers of one length.
#[derive(Debug)]
struct Pool {
    size: usize,
    /// How many are kept.
    most: usize,
    kept: Mutex<Vec<Vec<u8>>>,
}

/// In all less than four MiB: what is under way of a fast connection, and what two cores work on.
static POOLS: [Pool; 3] = [Pool::new(WRITTEN, 8), Pool::new(FRAME, 32), Pool::new(MESSAGE, 2)];

impl Pool {
    const fn new(size: usize, most: usize) -> Pool {
        Pool { size, most, kept: Mutex::new(Vec::new()) }
    }
}

fn pool(size: usize) -> Option<&'static Pool> {
    POOLS.iter().find(|pool| pool.size == size)
}

/// One of this length, of any content.
pub fn take(size: usize) -> Vec<u8> {
    pool(size).and_then(|pool| pool.kept.lock().pop()).unwrap_or_else(|| vec![0; size])
}

/// Keeps a buffer, if it is of a length that is kept and there are not enough.
pub fn give(bytes: Vec<u8>) {
    let Some(pool) = pool(bytes.len()) else { return };
    let mut kept = pool.kept.lock();
    if kept.len() < pool.most {
        kept.push(bytes);
    }
}
