//! The code mapped into every guest process, as an ELF image.
#![cfg_attr(not(test), no_std)]

pub mod abi;

/// The linked ELF executable.
pub static ELF: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/stub.elf"));

/// Addresses in the stub.
pub mod entry {
    include!(concat!(env!("OUT_DIR"), "/entry.rs"));
}

// The blob's modules are ordinary modules here for clippy, rustfmt and the IDE.
#[cfg(any(test, clippy, rust_analyzer))]
#[expect(dead_code, unreachable_pub, reason = "used only in the blob")]
#[expect(
    clippy::multiple_unsafe_ops_per_block,
    reason = "each block stands on one fact about a layout of the kernel's"
)]
#[path = "../blob"]
mod blob {
    mod channel;
    mod clone;
    mod entry;
    mod mem;
    mod robust;
    mod sigaction;
    mod sigmask;
    mod sys;
}
