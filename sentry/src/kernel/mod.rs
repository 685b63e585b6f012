//! Processes: tasks, thread groups, sessions, credentials, signals.

mod creds;
mod task;

pub use creds::{CAP_ALL, Cap, CapSet, Creds};
pub use task::{Registration, Task};

/// What all tasks of a sandbox share.
#[derive(Debug)]
pub struct Kernel {}
