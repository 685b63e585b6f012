//! Runs the sentry's tasks: small, eager, and on the thread that caused the work.
//!
//! A platform receiver that got an event wakes the task it belongs to and then calls [`run_local`]; the task
//! and whatever it wakes in turn run there, so that a hand-over between two guests stays on one core. A
//! wake-up from elsewhere (another kind of thread) goes to a shared queue that spare workers serve.

mod sleeper;
mod timer;
mod wait_queue;

pub use sleeper::block_on;
pub use timer::{Sleep, TimerId, Timers};
pub use wait_queue::{Events, Observer, WaitKey, WaitQueue};

use crate::sync::{Condvar, Mutex};
use async_task::Runnable;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::sync::OnceLock;

/// How many tasks may queue behind one thread before the rest are offered to spare workers.
const LOCAL_QUEUE_MAX: usize = 8;

thread_local! {
    static LOCAL: RefCell<VecDeque<Runnable>> = const { RefCell::new(VecDeque::new()) };
    static IS_WORKER: Cell<bool> = const { Cell::new(false) };
}

struct Shared {
    queue: Mutex<VecDeque<Runnable>>,
    ready: Condvar,
}

fn shared() -> &'static Shared {
    static SHARED: OnceLock<Shared> = OnceLock::new();
    SHARED.get_or_init(|| Shared { queue: Mutex::new(VecDeque::new()), ready: Condvar::new() })
}

fn schedule(runnable: Runnable) {
    let surplus = LOCAL.with(|q| {
        let mut q = q.borrow_mut();
        if IS_WORKER.get() && q.len() < LOCAL_QUEUE_MAX {
            q.push_back(runnable);
            None
        } else {
            Some(runnable)
        }
    });
    if let Some(runnable) = surplus {
        let shared = shared();
        shared.queue.lock().push_back(runnable);
        shared.ready.notify_one();
    }
}

/// Starts a task. It first runs on the calling thread's next [`run_local`].
pub fn spawn(future: impl Future<Output = ()> + Send + 'static) {
    let (runnable, task) = async_task::spawn(future, schedule);
    runnable.schedule();
    task.detach();
}

/// What a thread runs before it goes back to its guests: what wakes itself for ever, as a frame does that goes round a
/// ring of bridges, keeps no call waiting.
const TURN: usize = 1024;

/// Runs what the calling thread has woken, and what that wakes, until nothing is left or others have to go on with it.
pub fn run_local() {
    IS_WORKER.set(true);
    for _ in 0..TURN {
        let Some(runnable) = LOCAL.with(|q| q.borrow_mut().pop_front()) else { return };
        runnable.run();
    }
    offload_local();
}

/// Hands everything queued behind the calling thread to spare workers: for a thread about to sleep long.
pub fn offload_local() {
    let mine: Vec<Runnable> = LOCAL.with(|q| q.borrow_mut().drain(..).collect());
    if mine.is_empty() {
        return;
    }
    let shared = shared();
    shared.queue.lock().extend(mine);
    shared.ready.notify_one();
}

/// Starts `count` spare workers, which serve wake-ups that come from other kinds of threads.
pub fn start_workers(count: usize) -> io::Result<()> {
    for n in 0..count {
        std::thread::Builder::new().name(format!("worker-{n}")).spawn(|| {
            loop {
                let runnable = {
                    let shared = shared();
                    let mut queue = shared.queue.lock();
                    loop {
                        if let Some(runnable) = queue.pop_front() {
                            break runnable;
                        }
                        shared.ready.wait(&mut queue);
                    }
                };
                IS_WORKER.set(true);
                runnable.run();
                run_local();
            }
        })?;
    }
    Ok(())
}
