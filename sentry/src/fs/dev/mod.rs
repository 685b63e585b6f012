//! `/dev`: the devices that need nothing but memory, and the tree that shows them.

mod mem;
mod tree;

pub use tree::mount;

/// Registers the devices of this module.
pub fn register() {
    mem::register();
}
