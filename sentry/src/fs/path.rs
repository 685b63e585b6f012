//! Places in the tree of mounts, and how a path leads there.

use std::sync::Arc;

/// A mount and a dentry in it.
#[derive(Debug, Clone)]
pub struct PathRef {}

/// Root, working directory and umask of a process (`CLONE_FS` shares it).
#[derive(Debug)]
pub struct FsContext {}

impl FsContext {
    /// A copy, as `fork` makes it.
    pub fn fork(&self) -> Arc<FsContext> {
        Arc::new(FsContext {})
    }
}
