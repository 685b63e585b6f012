//! The root file system of a container: a directory of the host that stays as it is, and a memory layer over
//! it that takes all changes.
//!
//! The layer is a [`tmpfs`](super::tmpfs) whose directories know what lies beneath them: there a name without
//! an entry is looked up below, a removed one leaves a whiteout, a directory made anew shows nothing from
//! below. Changing mode, owner, times or names copies no data; the first write to a file copies it. Ownership
//! is the layer's own affair, so that a sandbox without privileges has all users and groups. A directory from
//! below can be renamed: its node carries what it stands for along.

use super::dentry::Dentry;
use super::host::Lower;
use super::tmpfs::{Options, Tmpfs};
use crate::errno::SysResult;
use std::sync::Arc;

/// A memory layer over `lower`; its root dentry.
pub fn mount(source: &str, lower: Lower, options: Options) -> SysResult<Arc<Dentry>> {
    Tmpfs::mount_over(source, lower, options)
}
