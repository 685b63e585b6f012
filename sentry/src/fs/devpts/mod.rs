//! Pseudo-terminals: `pty(7)`, the file system `devpts`, and sessions' controlling terminals.
//!
//! A [`Pty`](pty::Pty) is a line ([`discipline`]) between a master and slaves ([`files`]); [`ioctl`] changes it,
//! [`job`] says who may use it. [`relay`] connects one to a terminal of the host.

mod discipline;
mod files;
mod ioctl;
mod job;
mod node;
mod pty;
pub mod relay;

pub use job::{session_ended, terminal_of};
pub use node::Instance;

use super::boot::register_type;
use super::special::register_char_devices;

/// Major number of slaves.
const SLAVE_MAJOR: u32 = 136;
/// Major number of `/dev/tty` and `/dev/ptmx`.
const TTY_MAJOR: u32 = 5;

/// Registers the file system and the devices.
pub fn register() {
    register_type("devpts", Instance::mount);
    register_char_devices(TTY_MAJOR, 0, 0, |caller, _, _| job::open_own_terminal(caller));
    register_char_devices(TTY_MAJOR, 2, 2, |caller, _, _| files::MasterFile::open(&Instance::first()?, caller));
    register_char_devices(SLAVE_MAJOR, 0, u32::MAX, |caller, rdev, flags| {
        let pty = Instance::first()?.find(libc::minor(rdev))?;
        files::SlaveFile::open(&pty, caller, flags)
    });
}
