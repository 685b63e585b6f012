//! Listeners: who decides on calls in place of a filter that says `SECCOMP_RET_USER_NOTIF`.
//!
//! A call that is asked about waits in its own task. The listener's descriptor is [`ListenerFile`]; what it is asked
//! to do stands in [`super::notify`].

use super::bpf::Data;
use crate::errno::{Errno, SysResult};
use crate::executor::{Events, WaitQueue};
use crate::fs::{File, FileOps};
use crate::kernel::{Registration, Task, Work};
use crate::sync::Mutex;
use std::any::Any;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

/// What a listener has said of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reply {
    /// It returns this.
    Return(i64),
    /// It is made (`SECCOMP_USER_NOTIF_FLAG_CONTINUE`).
    Continue,
}

/// How far a call has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nobody has received it.
    Waiting,
    /// It has been received.
    Received,
    /// It has been decided.
    Replied(Reply),
}

/// A descriptor that a listener gives to the caller (`SECCOMP_IOCTL_NOTIF_ADDFD`).
#[derive(Debug)]
pub(super) struct Gift {
    pub(super) file: Arc<File>,
    /// At this number, whatever is there.
    pub(super) at: Option<i32>,
    pub(super) cloexec: bool,
    /// Its number is also the answer to the call.
    pub(super) answers: bool,
    done: Mutex<Option<SysResult<i32>>>,
    queue: WaitQueue,
}

impl Gift {
    pub(super) fn new(file: Arc<File>, at: Option<i32>, cloexec: bool, answers: bool) -> Gift {
        Gift { file, at, cloexec, answers, done: Mutex::default(), queue: WaitQueue::new() }
    }

    fn finish(&self, result: SysResult<i32>) {
        *self.done.lock() = Some(result);
        self.queue.notify(Events::IN);
    }
}

/// A call that waits for a decision.
#[derive(Debug)]
struct Call {
    tid: i32,
    data: Data,
    stage: Stage,
    gifts: VecDeque<Arc<Gift>>,
    /// Where its task waits.
    queue: Arc<WaitQueue>,
}

/// The calls of a listener; each task has one at most, so there are no more than tasks.
#[derive(Debug, Default)]
struct Calls {
    by_id: BTreeMap<u64, Call>,
    waiting: BTreeSet<u64>,
    received: BTreeSet<u64>,
    last_id: u64,
    /// The descriptor is closed.
    is_closed: bool,
    /// No task has the filter any more.
    is_orphaned: bool,
}

/// Who decides in place of a filter.
#[derive(Debug, Default)]
pub struct Listener {
    calls: Mutex<Calls>,
    queue: WaitQueue,
    /// A call that has been received ends for no signal but a deadly one (`SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`).
    is_patient: bool,
}

/// What the task of a call is to do.
enum Turn {
    Take(Arc<Gift>),
    Obey(Reply),
}

impl Listener {
    pub(super) fn new(is_patient: bool) -> Arc<Listener> {
        Arc::new(Listener { is_patient, ..Listener::default() })
    }

    /// Where calls are announced.
    pub(super) fn queue(&self) -> &WaitQueue {
        &self.queue
    }

    /// Asks about a call of `t`. A signal ends the wait with `ERESTARTSYS`.
    pub(super) async fn ask(&self, t: &Task, data: Data) -> SysResult<Reply> {
        let Some((id, queue)) = self.add(t.tid(), data) else {
            return Ok(Reply::Return(-i64::from(libc::ENOSYS)));
        };
        // Whatever ends the wait, the call is no longer there to be decided on.
        let _withdrawn = Withdrawal { listener: self, id };
        let _registered = Registration::new(&queue, Events::IN, t.observer());
        loop {
            let turn = poll_fn(|_| match self.turn(id) {
                Some(turn) => Poll::Ready(Ok(turn)),
                None if self.is_interrupted(t, id) => Poll::Ready(Err(Errno::RESTARTSYS)),
                None => Poll::Pending,
            });
            match turn.await? {
                Turn::Take(gift) => self.take(t, id, &gift),
                Turn::Obey(reply) => return Ok(reply),
            }
        }
    }

    fn add(&self, tid: i32, data: Data) -> Option<(u64, Arc<WaitQueue>)> {
        let queue = Arc::new(WaitQueue::new());
        let mut calls = self.calls.lock();
        if calls.is_closed {
            return None;
        }
        calls.last_id += 1;
        let id = calls.last_id;
        let call = Call { tid, data, stage: Stage::Waiting, gifts: VecDeque::new(), queue: queue.clone() };
        calls.by_id.insert(id, call);
        calls.waiting.insert(id);
        drop(calls);
        self.queue.notify(Events::IN | Events::RDNORM);
        Some((id, queue))
    }

    fn turn(&self, id: u64) -> Option<Turn> {
        let mut calls = self.calls.lock();
        let call = calls.by_id.get_mut(&id)?;
        if let Some(gift) = call.gifts.pop_front() {
            return Some(Turn::Take(gift));
        }
        match call.stage {
            Stage::Replied(reply) => Some(Turn::Obey(reply)),
            _ => None,
        }
    }

    fn is_interrupted(&self, t: &Task, id: u64) -> bool {
        let is_kept = self.is_patient && self.calls.lock().received.contains(&id);
        if is_kept { t.work().contains(Work::EXIT) } else { t.has_signal() }
    }

    fn take(&self, t: &Task, id: u64, gift: &Gift) {
        let taken = match gift.at {
            None => t.install(gift.file.clone(), gift.cloexec),
            Some(fd) => t.install_at(fd, gift.file.clone(), gift.cloexec).map(|()| fd),
        };
        if gift.answers {
            let stage = taken.map_or(Stage::Received, |fd| Stage::Replied(Reply::Return(fd.into())));
            self.calls.lock().set_stage(id, stage);
        }
        gift.finish(taken);
    }

    /// The oldest call that nobody has received: its id, thread and data. `EAGAIN` if there is none.
    pub(super) fn receive(&self) -> SysResult<(u64, i32, Data)> {
        let mut calls = self.calls.lock();
        let Some(id) = calls.waiting.first().copied() else {
            return Err(if calls.is_orphaned { Errno::NOENT } else { Errno::AGAIN });
        };
        calls.set_stage(id, Stage::Received);
        let call = calls.by_id.get(&id).ok_or(Errno::NOENT)?;
        let found = (id, call.tid, call.data);
        drop(calls);
        self.queue.notify(Events::OUT | Events::WRNORM);
        Ok(found)
    }

    /// Has a call be received again, for its receiver could not take it.
    pub(super) fn put_back(&self, id: u64) {
        let mut calls = self.calls.lock();
        let Some(queue) = calls.by_id.get(&id).map(|call| call.queue.clone()) else { return };
        calls.set_stage(id, Stage::Waiting);
        drop(calls);
        // It may be ended by signals again.
        queue.notify(Events::IN);
        self.queue.notify(Events::IN | Events::RDNORM);
    }

    /// Whether a call has been received and waits still.
    pub(super) fn is_valid(&self, id: u64) -> bool {
        self.calls.lock().received.contains(&id)
    }

    /// Decides on a call.
    pub(super) fn reply(&self, id: u64, reply: Reply) -> SysResult<()> {
        let mut calls = self.calls.lock();
        let queue = calls.received_call(id)?.queue.clone();
        calls.set_stage(id, Stage::Replied(reply));
        drop(calls);
        queue.notify(Events::IN);
        Ok(())
    }

    /// Gives a descriptor to the task of a call.
    pub(super) fn give(&self, id: u64, gift: &Arc<Gift>) -> SysResult<()> {
        let mut calls = self.calls.lock();
        let call = calls.received_call(id)?;
        // The answer comes last.
        if gift.answers && !call.gifts.is_empty() {
            return Err(Errno::BUSY);
        }
        call.gifts.push_back(gift.clone());
        let queue = call.queue.clone();
        if gift.answers {
            calls.set_stage(id, Stage::Replied(Reply::Return(0)));
        }
        drop(calls);
        queue.notify(Events::IN);
        Ok(())
    }

    /// Waits until a gift has been taken; its number with the task. A signal takes it back.
    pub(super) async fn taken(&self, t: &Task, id: u64, gift: &Arc<Gift>) -> SysResult<i32> {
        let attempt = || gift.done.lock().unwrap_or(Err(Errno::AGAIN));
        let waited = t.block_on(&gift.queue, Events::IN, None, attempt).await;
        if waited == Err(Errno::RESTARTSYS) && !self.take_back(id, gift) {
            // It was taken at the last moment.
            return attempt();
        }
        waited
    }

    fn take_back(&self, id: u64, gift: &Arc<Gift>) -> bool {
        let mut calls = self.calls.lock();
        let Some(call) = calls.by_id.get_mut(&id) else { return false };
        let Some(at) = call.gifts.iter().position(|other| Arc::ptr_eq(other, gift)) else { return false };
        call.gifts.remove(at);
        if gift.answers {
            calls.set_stage(id, Stage::Received);
        }
        true
    }

    /// The descriptor is closed: nobody decides, and there is no such call.
    fn close(&self) {
        let mut calls = self.calls.lock();
        calls.is_closed = true;
        let ids: Vec<u64> = calls.waiting.iter().chain(&calls.received).copied().collect();
        for id in &ids {
            calls.set_stage(*id, Stage::Replied(Reply::Return(-i64::from(libc::ENOSYS))));
        }
        let queues: Vec<_> = ids.iter().filter_map(|id| calls.by_id.get(id)).map(|call| call.queue.clone()).collect();
        drop(calls);
        queues.iter().for_each(|queue| queue.notify(Events::IN));
    }

    /// The last task that had the filter is gone.
    pub(super) fn orphan(&self) {
        self.calls.lock().is_orphaned = true;
        self.queue.notify(Events::HUP | Events::IN);
    }
}

impl Calls {
    fn set_stage(&mut self, id: u64, stage: Stage) {
        let Some(call) = self.by_id.get_mut(&id) else { return };
        call.stage = stage;
        self.waiting.remove(&id);
        self.received.remove(&id);
        match stage {
            Stage::Waiting => self.waiting.insert(id),
            Stage::Received => self.received.insert(id),
            Stage::Replied(_) => false,
        };
    }

    /// A call to be decided on now: `ENOENT` if there is none, `EINPROGRESS` if it is too early or too late.
    fn received_call(&mut self, id: u64) -> SysResult<&mut Call> {
        let call = self.by_id.get_mut(&id).ok_or(Errno::NOENT)?;
        if call.stage == Stage::Received { Ok(call) } else { Err(Errno::INPROGRESS) }
    }
}

/// Ends with the wait for a decision.
struct Withdrawal<'a> {
    listener: &'a Listener,
    id: u64,
}

impl Drop for Withdrawal<'_> {
    fn drop(&mut self) {
        let mut calls = self.listener.calls.lock();
        calls.waiting.remove(&self.id);
        calls.received.remove(&self.id);
        let call = calls.by_id.remove(&self.id);
        drop(calls);
        for gift in call.into_iter().flat_map(|call| call.gifts) {
            gift.finish(Err(Errno::SRCH));
        }
    }
}

/// The descriptor of a listener.
#[derive(Debug)]
pub struct ListenerFile(pub(super) Arc<Listener>);

impl Drop for ListenerFile {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl FileOps for ListenerFile {
    fn poll(&self, _: &File) -> Events {
        let calls = self.0.calls.lock();
        let mut ready = Events::empty();
        ready.set(Events::IN | Events::RDNORM, !calls.waiting.is_empty());
        ready.set(Events::OUT | Events::WRNORM, !calls.received.is_empty());
        ready.set(Events::HUP, calls.is_orphaned);
        ready
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.0.queue)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn describe(&self) -> String {
        "anon_inode:seccomp notify".into()
    }
}
