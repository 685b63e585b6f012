//! `proc(5)`.
//!
//! [`root`] lists processes and the files about the machine ([`system`], [`sysctl`]); [`process`] is the
//! directory of one process or thread.

mod details;
mod fds;
mod host;
mod mem;
mod net;
mod ns;
mod process;
mod root;
mod stat;
mod status;
mod sysctl;
mod sysctl_dir;
mod sysctl_net;
mod system;
mod sysvipc;

pub use host::{memory as host_memory, set_host, trigger as host_trigger};
pub use sysctl_dir::{Given, given, sysctls};

/// The process whose directory `file` is.
pub fn process_of(file: &super::file::File) -> Option<Arc<crate::kernel::ThreadGroup>> {
    process::opened(file)
}

use super::boot::register_type;
use super::pseudo::{Body, Node, PseudoFs};
use super::superblock::{SuperBlock, alloc_dev};
use std::sync::Arc;

/// `PROC_SUPER_MAGIC`.
const MAGIC: u64 = 0x9fa0;

/// Inode number of the root, as on Linux.
const ROOT_INO: u64 = 1;

/// Registers the file system.
pub fn register() {
    register_type("proc", |source, _| {
        let dev = alloc_dev();
        let root = Node::new(dev, ROOT_INO, 0o555, Body::Dir(Box::new(root::Root { dev })));
        Ok(SuperBlock::make(PseudoFs { fstype: "proc", dev, magic: MAGIC }, Arc::new(root), source))
    });
}
