//! Contexts of asynchronous I/O (`io_setup(2)`).
//!
//! Reads, writes and syncs are done when they are submitted, as Linux does for files without a device behind them;
//! only polls wait. A context holds the events that have not been fetched and the polls under way, no more of both
//! together than it was made for.

use crate::abi::IoEvent;
use crate::errno::{Errno, SysResult};
use crate::executor::{self, Events, Observer, WaitKey, WaitQueue};
use crate::fs::File;
use crate::sync::Mutex;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Poll, Waker};

/// `/proc/sys/fs/aio-max-nr`: events that all contexts of the sandbox are made for.
pub const MAX: u64 = 65536;

/// `/proc/sys/fs/aio-nr`.
static MADE_FOR: AtomicU64 = AtomicU64::new(0);

/// How many events all contexts are made for.
pub fn made_for() -> u64 {
    MADE_FOR.load(Ordering::Relaxed)
}

/// The contexts of a process, by the address that names them.
#[derive(Debug, Default)]
pub struct Contexts(Mutex<BTreeMap<u64, Arc<Context>>>);

impl Contexts {
    /// The context of this name.
    pub fn get(&self, name: u64) -> SysResult<Arc<Context>> {
        self.0.lock().get(&name).cloned().ok_or(Errno::INVAL)
    }

    /// Adds a context.
    pub fn insert(&self, name: u64, context: Arc<Context>) {
        let old = self.0.lock().insert(name, context);
        if let Some(old) = old {
            // The guest unmapped its page and the host gave the address again.
            old.end();
        }
    }

    /// Ends a context.
    pub fn remove(&self, name: u64) -> SysResult<()> {
        let context = self.0.lock().remove(&name).ok_or(Errno::INVAL)?;
        context.end();
        Ok(())
    }

    /// Ends all: the memory of the process is going.
    pub fn clear(&self) {
        let all = std::mem::take(&mut *self.0.lock());
        all.values().for_each(|context| context.end());
    }
}

/// One context.
#[derive(Debug)]
pub struct Context {
    asked: u64,
    capacity: usize,
    state: Mutex<State>,
    /// Told of events.
    pub queue: WaitQueue,
}

#[derive(Debug, Default)]
struct State {
    events: VecDeque<IoEvent>,
    /// Requests that have a place but no event yet; polls are among them.
    open: usize,
    polls: HashMap<u64, Arc<PollRequest>>,
    ended: bool,
}

impl Context {
    /// A context for `asked` events, with the room that Linux's pages for so many have on a machine of `cpus`.
    pub fn new(asked: u32, cpus: u32) -> SysResult<Arc<Context>> {
        const EVENT: u64 = size_of::<IoEvent>() as u64;
        const PAGE: u64 = 4096;
        let asked = u64::from(asked);
        let events = asked.max(u64::from(cpus) * 4) * 2;
        if events > 0x1000_0000 / EVENT {
            return Err(Errno::INVAL);
        }
        if asked > MAX || MADE_FOR.fetch_add(asked, Ordering::Relaxed) + asked > MAX {
            if asked <= MAX {
                MADE_FOR.fetch_sub(asked, Ordering::Relaxed);
            }
            return Err(Errno::AGAIN);
        }
        // The ring's head takes the room of one event, and two are kept to tell full from empty.
        let pages = ((events + 2 + 1) * EVENT).div_ceil(PAGE);
        let capacity = (pages * PAGE / EVENT - 1 - 1) as usize;
        Ok(Arc::new(Context { asked, capacity, state: Mutex::default(), queue: WaitQueue::new() }))
    }

    /// How many requests it takes.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Takes a place for a request; `EAGAIN` if there is none.
    pub fn begin(self: &Arc<Self>) -> SysResult<Place> {
        let mut state = self.state.lock();
        if state.ended {
            return Err(Errno::INVAL);
        }
        if state.open + state.events.len() >= self.capacity {
            return Err(Errno::AGAIN);
        }
        state.open += 1;
        Ok(Place { context: self.clone() })
    }

    /// How many events can be fetched; `EINVAL` if it has ended.
    pub fn ready(&self) -> SysResult<usize> {
        let state = self.state.lock();
        if state.ended { Err(Errno::INVAL) } else { Ok(state.events.len()) }
    }

    /// Takes up to `most` events.
    pub fn take(&self, most: usize) -> Vec<IoEvent> {
        let mut state = self.state.lock();
        let count = most.min(state.events.len());
        state.events.drain(..count).collect()
    }

    /// Gives events back that could not be handed over.
    pub fn put_back(&self, events: &[IoEvent]) {
        let mut state = self.state.lock();
        events.iter().rev().for_each(|event| state.events.push_front(*event));
    }

    /// Cancels the poll that was submitted by the structure at `iocb`: its event comes with nothing ready.
    pub fn cancel(&self, iocb: u64) -> SysResult<()> {
        let poll = self.state.lock().polls.remove(&iocb).ok_or(Errno::INVAL)?;
        poll.cancel();
        Ok(())
    }

    fn end(&self) {
        let polls = {
            let mut state = self.state.lock();
            state.ended = true;
            std::mem::take(&mut state.polls)
        };
        polls.values().for_each(|poll| poll.cancel());
        self.queue.notify(Events::IN);
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        MADE_FOR.fetch_sub(self.asked, Ordering::Relaxed);
    }
}

/// The place of a request that has no event yet.
#[derive(Debug)]
pub struct Place {
    context: Arc<Context>,
}

impl Place {
    /// The request is done.
    pub fn complete(self, event: IoEvent, notify: Option<&File>) {
        let mut state = self.context.state.lock();
        state.events.push_back(event);
        state.polls.remove(&event.obj);
        drop(state);
        self.context.queue.notify(Events::IN);
        if let Some(counter) = notify {
            // A counter that is full stays so.
            let _ = counter.ops.write(counter, &1u64.to_ne_bytes(), 0);
        }
    }

    /// Waits for `wanted` of `file`, then completes `event` with what is ready.
    pub fn poll(self, file: Arc<File>, wanted: Events, event: IoEvent, notify: Option<Arc<File>>) {
        let poll = Arc::new(PollRequest::default());
        self.context.state.lock().polls.insert(event.obj, poll.clone());
        executor::spawn(async move {
            let ready = poll.wait(&file, wanted).await;
            self.complete(IoEvent { res: i64::from(ready.bits()), ..event }, notify.as_deref());
        });
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.context.state.lock();
        state.open = state.open.saturating_sub(1);
    }
}

/// A poll under way.
#[derive(Debug, Default)]
struct PollRequest(Mutex<PollState>);

#[derive(Debug, Default)]
struct PollState {
    cancelled: bool,
    waker: Option<Waker>,
}

impl PollRequest {
    fn cancel(&self) {
        let mut state = self.0.lock();
        state.cancelled = true;
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }

    async fn wait(&self, file: &Arc<File>, wanted: Events) -> Events {
        let mut registered: Option<Registered> = None;
        poll_fn(|cx| {
            if registered.is_none() {
                registered = Some(Registered::new(file.clone(), wanted, Arc::new(cx.waker().clone())));
            }
            let mut state = self.0.lock();
            if state.cancelled {
                return Poll::Ready(Events::empty());
            }
            state.waker = Some(cx.waker().clone());
            drop(state);
            let ready = file.ops.poll(file) & wanted;
            if ready.is_empty() { Poll::Pending } else { Poll::Ready(ready) }
        })
        .await
    }
}

/// An observer of a file, until it is dropped.
struct Registered {
    file: Arc<File>,
    key: Option<WaitKey>,
}

impl Registered {
    fn new(file: Arc<File>, wanted: Events, observer: Arc<dyn Observer>) -> Registered {
        let key = file.ops.wait_queue().map(|queue| queue.add(wanted, observer));
        Registered { file, key }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        if let (Some(queue), Some(key)) = (self.file.ops.wait_queue(), self.key) {
            queue.remove(key);
        }
    }
}
