//! The listener of a family, and on which core the threads wake that it answers.
//!
//! A guest that calls and waits is served fastest where it is: it wakes its receiver on its own core, and is let go on
//! there in the receiver's place (`SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP`), so that no other core is interrupted. Whoever
//! else is let go on, because another guest has woken it or because the receiver had others before it, has its core
//! elsewhere; in the receiver's place it would wait for those who run there while that core idles. The host places it.
//! But two that wait for one another in turn stay together: one of them runs at a time.

use super::{placement, sys};
use libc::seccomp_notif;
use parking_lot::Mutex;
use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

/// Who takes a notification sooner has not slept for it: two switches of threads take longer, the host's call less.
const SLEPT: Duration = Duration::from_nanos(1500);

/// The notification that a receiver sees to.
#[derive(Debug, Clone, Copy)]
struct Current {
    listener: RawFd,
    id: u64,
    tid: u32,
    /// Its caller is on this core.
    is_here: bool,
    /// Its caller's last call was answered for another's sake.
    has_waited: bool,
}

const NONE: Current = Current { listener: -1, id: 0, tid: 0, is_here: false, has_waited: false };

thread_local! {
    static CURRENT: Cell<Current> = const { Cell::new(NONE) };
}

/// The caller of the notification that the calling receiver sees to had to wait in its last call until another one came.
pub(super) fn caller_has_waited() {
    CURRENT.set(Current { has_waited: true, ..CURRENT.get() });
}

/// The calling receiver sees to no notification from now on.
pub(super) fn no_caller() {
    CURRENT.set(NONE);
}

/// A family's listener.
#[derive(Debug)]
pub(super) struct Listener {
    fd: OwnedFd,
    /// Whether who is answered wakes on the core of who answers, and the receiver on its caller's.
    wakes_here: Mutex<bool>,
}

impl Listener {
    pub(super) fn new(fd: OwnedFd) -> Listener {
        let listener = Listener { fd, wakes_here: Mutex::new(false) };
        if let Err(e) = listener.wake_here(true) {
            tracing::warn!("no synchronous wake-up (Linux 6.6): {e}");
        }
        listener
    }

    /// Waits for the next notification.
    pub(super) fn recv(&self) -> io::Result<seccomp_notif> {
        let start = Instant::now();
        let notif = sys::recv(self.fd.as_fd())?;
        let (listener, id, tid) = (self.fd.as_raw_fd(), notif.id, notif.pid);
        // Times may be told wrong, but one who calls alone is never before another one.
        let is_here = CURRENT.get().tid == tid || start.elapsed() > SLEPT;
        CURRENT.set(Current { listener, id, tid, is_here, has_waited: false });
        Ok(notif)
    }

    /// Whether the calling receiver sees to that notification.
    pub(super) fn is_current(&self, id: u64) -> bool {
        let current = CURRENT.get();
        (current.listener, current.id) == (self.fd.as_raw_fd(), id)
    }

    /// Answers a call with a value or negative errno. False if the caller is gone or was interrupted, which is normal.
    pub(super) fn send(&self, id: u64, ret: i64) -> bool {
        self.answer(id, |fd| sys::send(fd, id, ret))
    }

    /// Has the host run the call.
    pub(super) fn send_continue(&self, id: u64) -> bool {
        self.answer(id, |fd| sys::send_continue(fd, id))
    }

    fn answer(&self, id: u64, send: impl FnOnce(BorrowedFd<'_>) -> bool) -> bool {
        let current = CURRENT.get();
        let is_here = if self.is_current(id) { current.is_here } else { current.has_waited };
        if is_here || placement::core_count() == 1 {
            return send(self.fd.as_fd());
        }
        let _ = self.wake_here(false);
        let is_sent = send(self.fd.as_fd());
        // Its next call is to wake the receiver where it is.
        let _ = self.wake_here(true);
        is_sent
    }

    fn wake_here(&self, is_here: bool) -> io::Result<()> {
        let mut wakes_here = self.wakes_here.lock();
        if *wakes_here != is_here {
            sys::set_sync_wake_up(self.fd.as_fd(), is_here)?;
            *wakes_here = is_here;
        }
        Ok(())
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
