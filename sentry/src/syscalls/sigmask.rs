//! The signal mask that `ppoll`, `pselect6` and `epoll_pwait` put in place while they wait.

use crate::errno::{Errno, SysResult};
use crate::kernel::Task;
use crate::mm::Addr;

/// Size of the kernel's `sigset_t`.
const SIGSET_SIZE: usize = 8;

/// Puts the mask at `mask` in place until the call ends; nothing if the pointer is null.
pub(super) fn set_temporary(t: &Task, mask: Addr, size: usize) -> SysResult<()> {
    if mask.is_null() {
        return Ok(());
    }
    if size != SIGSET_SIZE {
        return Err(Errno::INVAL);
    }
    t.set_temporary_sigmask(t.mem().read(mask)?);
    Ok(())
}

/// Puts the old mask back unless a signal ended the call: then the handler runs first.
pub(super) fn restore<T>(t: &Task, result: SysResult<T>) -> SysResult<T> {
    if !matches!(result, Err(Errno::INTR | Errno::RESTARTNOHAND)) {
        t.restore_sigmask();
    }
    result
}
