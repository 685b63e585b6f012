//! A gate that one at a time passes, for what takes several orders of a thread and must not meet its like.

use parking_lot::Mutex;
use std::future::poll_fn;
use std::task::{Poll, Waker};

#[derive(Debug, Default)]
pub(super) struct Gate(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    is_taken: bool,
    waiting: Vec<Waker>,
}

/// Whoever has it is inside.
#[derive(Debug)]
pub(super) struct Inside<'a>(&'a Gate);

impl Gate {
    /// Enters if nobody is inside.
    pub(super) fn try_enter(&self) -> Option<Inside<'_>> {
        let was_taken = std::mem::replace(&mut self.0.lock().is_taken, true);
        (!was_taken).then(|| Inside(self))
    }

    /// Enters when nobody else is inside.
    pub(super) async fn enter(&self) -> Inside<'_> {
        poll_fn(|cx| {
            let mut inner = self.0.lock();
            if std::mem::replace(&mut inner.is_taken, true) {
                inner.waiting.push(cx.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(Inside(self))
        })
        .await
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        let waiting = {
            let mut inner = self.0.0.lock();
            inner.is_taken = false;
            std::mem::take(&mut inner.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }
}
