//! The stub program: no std, no libc, no relocations, no writable data, no panics.
#![no_std]
#![no_main]
#![deny(unsafe_op_in_unsafe_fn)]

#[path = "../src/abi.rs"]
#[allow(dead_code)]
mod abi;
mod channel;
mod clone;
mod entry;
mod mem;
mod robust;
mod sigaction;
mod sigmask;
mod sys;

/// Never linked: a reachable panic is a link error.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
