//! Pseudo-terminals.

use crate::kernel::Kernel;

/// Device number and foreground process group of a session's terminal, as `/proc/PID/stat` shows them.
pub fn terminal_of(kernel: &Kernel, sid: i32) -> (i32, i32) {
    let _ = (kernel, sid);
    (0, -1)
}
