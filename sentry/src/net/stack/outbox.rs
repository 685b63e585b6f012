//! Connections whose packets the network's thread puts out: who writes much at a time goes on with the next piece
//! meanwhile.

use crate::net::inet::Flow;
use crate::sync::Mutex;
use rustix::event::{EventfdFlags, eventfd};
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// What waits for the thread.
#[derive(Debug)]
pub(super) struct Outbox {
    flows: Mutex<Vec<Arc<Flow>>>,
    /// The thread waits, or is about to.
    is_asleep: AtomicBool,
    /// Wakes it.
    pub(super) bell: OwnedFd,
}

static OUTBOX: OnceLock<Outbox> = OnceLock::new();

/// The outbox of the calling thread, which is to serve it. Without a core for it there is none.
pub(super) fn open() -> std::io::Result<Option<&'static Outbox>> {
    if std::thread::available_parallelism().is_ok_and(|cores| cores.get() == 1) {
        return Ok(None);
    }
    let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let outbox = Outbox { flows: Mutex::default(), is_asleep: AtomicBool::new(false), bell };
    Ok(Some(OUTBOX.get_or_init(|| outbox)))
}

/// Has the thread [`settle`](Flow::settle) a connection; whether there is such a thread. A connection that is there
/// already is not put there again: it says so itself.
pub(in crate::net) fn put(flow: Arc<Flow>) -> bool {
    let Some(outbox) = OUTBOX.get() else { return false };
    outbox.flows.lock().push(flow);
    if outbox.is_asleep.swap(false, Ordering::SeqCst) {
        let _ = rustix::io::write(&outbox.bell, &1u64.to_ne_bytes());
    }
    true
}

impl Outbox {
    /// The thread is about to wait; whether there is nothing to do before.
    pub(super) fn sleep(&self) -> bool {
        self.is_asleep.store(true, Ordering::SeqCst);
        self.flows.lock().is_empty()
    }

    /// The thread has waited.
    pub(super) fn serve(&self) {
        if !self.is_asleep.swap(false, Ordering::SeqCst) {
            let _ = rustix::io::read(&self.bell, &mut [0; 8]);
        }
        let flows = std::mem::take(&mut *self.flows.lock());
        for flow in &flows {
            // The others wait for their turn, and are not put there again before.
            let _ = catch_unwind(AssertUnwindSafe(|| flow.settle()));
        }
    }
}
