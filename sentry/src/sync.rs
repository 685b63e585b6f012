//! The locks of the sentry: one place to swap them for instrumented ones.
//!
//! No guard may live across an await or a copy from or to guest memory.

pub use parking_lot::{Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
