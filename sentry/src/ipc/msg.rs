//! Message queues (`msgop(2)`).

use super::{Object, Perm, now};
use crate::abi::{IpcPerm, MsqidDs};
use crate::errno::{Errno, SysResult};
use crate::executor::{Events, WaitQueue};
use crate::sync::Mutex;
use std::collections::VecDeque;

/// `MSGMAX`: bytes of a message.
pub const MAX_MESSAGE: usize = 8192;
/// `MSGMNB`: bytes of a queue.
pub const MAX_QUEUE: u64 = 16384;
/// `MSGMNI`, lower than Linux's: all queues full are 64 MiB of the sentry's memory.
pub(super) const MAX_QUEUES: usize = 4096;

/// A message.
#[derive(Debug, Clone)]
pub struct Message {
    /// Its type, above zero.
    pub kind: i64,
    /// Its text.
    pub text: Vec<u8>,
}

#[derive(Debug)]
struct State {
    perm: Perm,
    messages: VecDeque<Message>,
    ds: MsqidDs,
    removed: bool,
}

/// A queue.
#[derive(Debug)]
pub struct MsgQueue {
    state: Mutex<State>,
    /// Told of messages, room and the end.
    pub queue: WaitQueue,
}

impl Object for MsgQueue {
    fn perm(&self) -> Perm {
        self.state.lock().perm
    }
}

/// Which message a receiver wants.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// 0: the first; above: the first of this type; below: the lowest type up to its absolute value.
    pub kind: i64,
    /// `MSG_EXCEPT`: any other type.
    pub except: bool,
    /// Room for the text.
    pub room: usize,
    /// `MSG_NOERROR`: cut what does not fit.
    pub cut: bool,
}

impl MsgQueue {
    /// An empty queue.
    pub fn new(perm: Perm) -> MsgQueue {
        let ds = MsqidDs { ctime: now(), qbytes: MAX_QUEUE, ..MsqidDs::default() };
        let state = State { perm, messages: VecDeque::new(), ds, removed: false };
        MsgQueue { state: Mutex::new(state), queue: WaitQueue::new() }
    }

    /// Adds a message; `EAGAIN` without room. `message` is taken only then.
    pub fn send(&self, message: &mut Option<Message>, pid: i32) -> SysResult<()> {
        let mut state = self.state.lock();
        if state.removed {
            return Err(Errno::IDRM);
        }
        let len = message.as_ref().map_or(0, |message| message.text.len()) as u64;
        let ds = &state.ds;
        // Empty messages are bounded by number, or they could fill the memory.
        if ds.cbytes + len > ds.qbytes || ds.qnum + 1 > ds.qbytes {
            return Err(Errno::AGAIN);
        }
        state.messages.extend(message.take());
        state.ds.cbytes += len;
        state.ds.qnum += 1;
        state.ds.lspid = pid;
        state.ds.stime = now();
        drop(state);
        self.queue.notify(Events::IN);
        Ok(())
    }

    /// A copy of the message at a position (`MSG_COPY`); `EAGAIN` if there is none.
    pub fn copy(&self, wanted: Wanted) -> SysResult<Message> {
        let state = self.state.lock();
        if state.removed {
            return Err(Errno::IDRM);
        }
        let at = usize::try_from(wanted.kind).map_err(|_| Errno::AGAIN)?;
        let message = state.messages.get(at).ok_or(Errno::AGAIN)?;
        match (message.text.len() > wanted.room, wanted.cut) {
            (false, _) => Ok(message.clone()),
            // What is copied is not cut.
            (true, true) => Err(Errno::INVAL),
            (true, false) => Err(Errno::TOOBIG),
        }
    }

    /// Takes a message; `EAGAIN` if there is none that is wanted, `E2BIG` if it does not fit.
    pub fn receive(&self, wanted: Wanted, pid: i32) -> SysResult<Message> {
        let mut state = self.state.lock();
        if state.removed {
            return Err(Errno::IDRM);
        }
        let at = state.find(wanted).ok_or(Errno::AGAIN)?;
        let too_long = state.messages.get(at).is_some_and(|message| message.text.len() > wanted.room);
        if too_long && !wanted.cut {
            return Err(Errno::TOOBIG);
        }
        let message = state.messages.remove(at).ok_or(Errno::AGAIN)?;
        state.ds.cbytes -= message.text.len() as u64;
        state.ds.qnum -= 1;
        state.ds.lrpid = pid;
        state.ds.rtime = now();
        drop(state);
        self.queue.notify(Events::OUT);
        Ok(message)
    }

    /// `IPC_SET`.
    pub fn set(&self, perm: &IpcPerm, qbytes: u64) {
        let mut state = self.state.lock();
        state.perm.set(perm);
        state.ds.qbytes = qbytes;
        state.ds.ctime = now();
        drop(state);
        self.queue.notify(Events::OUT);
    }

    /// `IPC_STAT`.
    pub fn stat(&self) -> MsqidDs {
        let state = self.state.lock();
        MsqidDs { perm: state.perm.to_abi(), ..state.ds }
    }

    /// It is gone: whoever waits gets `EIDRM`.
    pub fn removed(&self) {
        self.state.lock().removed = true;
        self.queue.notify(Events::all());
    }
}

impl State {
    fn find(&self, wanted: Wanted) -> Option<usize> {
        match wanted.kind {
            0 => (!self.messages.is_empty()).then_some(0),
            kind if kind > 0 => self.messages.iter().position(|message| (message.kind == kind) != wanted.except),
            kind => {
                let limit = kind.unsigned_abs();
                let fit = self.messages.iter().enumerate().filter(|(_, message)| message.kind.unsigned_abs() <= limit);
                fit.min_by_key(|(at, message)| (message.kind, *at)).map(|(at, _)| at)
            }
        }
    }
}
