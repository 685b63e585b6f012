//! Waiting for events in a thread that runs no tasks: those that carry a terminal's bytes, or obey commands.

use super::{Events, Observer, WaitKey, WaitQueue};
use crate::errno::{Errno, SysResult};
use crate::sync::{Condvar, Mutex};
use std::sync::Arc;

/// A thread that waits on a queue.
#[derive(Default)]
struct Sleeper {
    woken: Mutex<bool>,
    changed: Condvar,
}

impl Observer for Sleeper {
    fn notify(&self, _: Events) {
        *self.woken.lock() = true;
        self.changed.notify_one();
    }
}

struct Registered<'a>(&'a WaitQueue, WaitKey);

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.0.remove(self.1);
    }
}

/// Runs `attempt` until it returns something other than `EAGAIN`, with this thread asleep between attempts.
pub fn block_on<T>(queue: &WaitQueue, mask: Events, mut attempt: impl FnMut() -> SysResult<T>) -> SysResult<T> {
    let sleeper = Arc::new(Sleeper::default());
    let _registered = Registered(queue, queue.add(mask | Events::ALWAYS, sleeper.clone()));
    loop {
        match attempt() {
            Err(Errno::AGAIN) => {}
            done => return done,
        }
        let mut woken = sleeper.woken.lock();
        while !std::mem::take(&mut *woken) {
            sleeper.changed.wait(&mut woken);
        }
    }
}
