//! `poll(2)` and `ppoll(2)`.

use super::deadline::{Deadline, restarted_without_handler};
use crate::abi::{PollFd, Timespec};
use crate::errno::{Errno, SysResult};
use crate::executor::Events;
use crate::fs::File;
use crate::kernel::{Registration, Task};
use crate::mm::Addr;
use smallvec::SmallVec;
use std::sync::Arc;
use zerocopy::IntoBytes;

/// A file that is waited for.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) file: Arc<File>,
    /// What is asked for; errors and hang-ups always are.
    pub(super) wanted: Events,
}

impl Watched {
    /// What of the wanted there is.
    pub(super) fn ready(&self) -> Events {
        self.file.ops.poll(&self.file) & self.wanted
    }
}

/// Waits until `scan`, which asks files of `watched`, finds something (a count above zero); 0 when time is up.
pub(super) async fn wait_any(
    t: &Task,
    watched: impl Iterator<Item = &Watched>,
    deadline: Deadline,
    mut scan: impl FnMut() -> usize,
) -> SysResult<usize> {
    let found = scan();
    if found > 0 || deadline == Deadline::Now {
        return Ok(found);
    }
    let observer = t.observer();
    let _registered: SmallVec<[Registration<'_>; 8]> =
        watched.filter_map(|w| Some(Registration::new(w.file.ops.wait_queue()?, w.wanted, observer.clone()))).collect();
    let found = t.wait_for(deadline.instant(), || Some(scan()).filter(|found| *found > 0)).await?;
    Ok(found.unwrap_or(0))
}

/// `poll(2)`: waits for events on descriptors; `timeout` in milliseconds, negative for ever.
pub async fn poll(t: &Task, fds: Addr, count: u32, timeout: i32) -> SysResult<usize> {
    let deadline = Deadline::from_millis(timeout);
    let found = do_poll(t, fds, count, deadline).await;
    found.map_err(|error| if error == Errno::RESTARTSYS { Errno::RESTART_RESTARTBLOCK } else { error })
}

/// `ppoll(2)`: as `poll`, with a timeout in nanoseconds that is updated, and another signal mask meanwhile.
pub async fn ppoll(t: &Task, fds: Addr, count: u32, timeout: Addr, mask: Addr, size: usize) -> SysResult<usize> {
    let deadline = if timeout.is_null() {
        Deadline::Never
    } else {
        Deadline::after(t.mem().read::<Timespec>(timeout)?.to_duration()?)
    };
    super::sigmask::set_temporary(t, mask, size)?;
    let found = do_poll(t, fds, count, deadline).await.map_err(restarted_without_handler);
    if let Some(left) = deadline.remaining() {
        // Linux ignores a failure here too: the timeout may lie in read-only memory.
        let _ = t.mem().write_opt(timeout, &Timespec::from(left));
    }
    super::sigmask::restore(t, found)
}

async fn do_poll(t: &Task, addr: Addr, count: u32, deadline: Deadline) -> SysResult<usize> {
    if u64::from(count) > t.rlimit(libc::RLIMIT_NOFILE) {
        return Err(Errno::INVAL);
    }
    let mut fds: Vec<PollFd> = t.mem().read_array(addr, count as usize)?;
    let watched: SmallVec<[Option<Watched>; 8]> = fds.iter().map(|fd| watch(t, fd)).collect();
    let scan = || fds.iter_mut().zip(&watched).filter_map(|(fd, watched)| answer(fd, watched.as_ref())).count();
    let found = wait_any(t, watched.iter().flatten(), deadline, scan).await?;
    t.mem().write_bytes(addr, fds.as_bytes())?;
    Ok(found)
}

fn watch(t: &Task, fd: &PollFd) -> Option<Watched> {
    let file = t.file(fd.fd).ok()?;
    Some(Watched { file, wanted: Events::from_bits_truncate(fd.events.into()) | Events::ALWAYS })
}

/// Fills in `revents`; `None` if there is nothing to report.
fn answer(fd: &mut PollFd, watched: Option<&Watched>) -> Option<()> {
    let ready = match watched {
        _ if fd.fd < 0 => Events::empty(),
        None => Events::NVAL,
        Some(watched) => watched.ready(),
    };
    fd.revents = ready.bits() as u16;
    (!ready.is_empty()).then_some(())
}
