//! What the command line asks of the host to build the outer walls of a sandbox.
//!
//! Each function makes one step and says by its error which one failed; the order of the steps is the
//! command line's (`runsc-cli/src/confine.rs`).

mod clone;
mod memory;
mod mount;
mod packet;
mod privileges;
mod probe;
mod seccomp;
pub mod socket;

pub use clone::{Clone, Namespaces, clone};
pub(crate) use memory::trim_waste;
pub use memory::{give_back, map_large_allocations, share_arenas, trim};
pub use mount::{cover, detached_tree, empty_root, private_mounts, procfs};
pub use packet::packet_socket;
pub use privileges::{Caps, drop_privileges, has_cap};
pub use probe::has_mseal;
pub use seccomp::{FilterAction, Reach, install_filter, relay_filter, sentry_filter};
