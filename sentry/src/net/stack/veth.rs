//! Pairs of interfaces that a cable in memory joins (`veth(4)`): what goes out at one end comes in at the other, in
//! whichever namespace that is.
//!
//! A frame waits at the end that receives it until the thread that sent it, or a spare one, is done with what it does
//! and holds no lock any more: then [`drain`] takes it in, as a kernel does in a soft interrupt.

use super::BATCH;
use super::link::{Device, Kind};
use crate::executor;
use crate::net::inet;
use crate::sync::Mutex;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};

/// Bytes that may wait at an end: the windows of a few connections. More is lost, as on any wire.
const WAITING_MAX: usize = 16 << 20;
/// The same at all ends together: a ring of bridges can fill them all.
const ALL_MAX: usize = 64 << 20;
/// What a frame is charged beyond its data.
const OVERHEAD: usize = 256;

/// What waits at all ends.
static WAITING: AtomicUsize = AtomicUsize::new(0);

/// One end.
#[derive(Debug, Default)]
pub struct End {
    peer: OnceLock<Weak<Device>>,
    inbox: Mutex<Inbox>,
}

#[derive(Debug, Default)]
struct Inbox {
    frames: VecDeque<Vec<u8>>,
    bytes: usize,
    /// Somebody is going to take them in.
    is_awaited: bool,
}

impl Inbox {
    /// Whether so much more may wait.
    fn charge(&mut self, bytes: usize) -> bool {
        if self.bytes + bytes > WAITING_MAX {
            return false;
        }
        if WAITING.fetch_add(bytes, Ordering::Relaxed) + bytes > ALL_MAX {
            WAITING.fetch_sub(bytes, Ordering::Relaxed);
            return false;
        }
        self.bytes += bytes;
        true
    }

    fn discharge(&mut self, bytes: usize) {
        self.bytes -= bytes;
        WAITING.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.discharge(self.bytes);
    }
}

impl End {
    /// The other end, as long as there is one.
    pub fn peer(&self) -> Option<Arc<Device>> {
        self.peer.get()?.upgrade()
    }

    pub(super) fn join(&self, peer: &Arc<Device>) {
        let _ = self.peer.set(Arc::downgrade(peer));
    }
}

/// Puts a frame into the cable towards `device`; whether there was room for it.
pub(super) fn push(device: &Arc<Device>, frame: Vec<u8>) -> bool {
    let Kind::Veth(end) = &device.kind else { return false };
    let mut inbox = end.inbox.lock();
    if !inbox.charge(frame.len() + OVERHEAD) {
        return false;
    }
    inbox.frames.push_back(frame);
    let is_first = !std::mem::replace(&mut inbox.is_awaited, true);
    drop(inbox);
    if is_first {
        take_in_later(device.clone());
    }
    true
}

fn take_in_later(device: Arc<Device>) {
    executor::spawn(async move { drain(device) });
}

/// Takes in what has come, a batch of it before others get their turn.
fn drain(device: Arc<Device>) {
    let Kind::Veth(end) = &device.kind else { return };
    let frames: Vec<Vec<u8>> = {
        let mut inbox = end.inbox.lock();
        let count = inbox.frames.len().min(BATCH);
        let frames: Vec<_> = inbox.frames.drain(..count).collect();
        inbox.discharge(frames.iter().map(|frame| frame.len() + OVERHEAD).sum());
        inbox.is_awaited = !frames.is_empty();
        frames
    };
    if frames.is_empty() {
        return;
    }
    // A packet that finds a mistake in what reads it costs itself, not the thread.
    let work = AssertUnwindSafe(|| {
        let Some((net, link)) = device.place() else { return };
        let mut batch = inet::Batch::default();
        frames.iter().for_each(|frame| net.receive(&link, frame, None, &mut batch));
        batch.finish();
    });
    let _ = catch_unwind(work);
    take_in_later(device);
}
