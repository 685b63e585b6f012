//! What a connection over an interface is given to send.

use super::{Flow, Inner};
use crate::errno::{Errno, SysResult};
use crate::net::message::Outgoing;
use crate::net::stack::outbox;
use crate::net::stack::tcp::State;
use crate::sync::MutexGuard;
use std::sync::Arc;
use std::time::Instant;

impl Flow {
    pub(in crate::net::inet::tcp) fn send(self: &Arc<Self>, message: &Outgoing<'_>) -> SysResult<usize> {
        let mut inner = self.to_send()?;
        if message.data.is_empty() {
            return Ok(0);
        }
        let has = |flag| message.flags & flag != 0;
        let count = inner.machine.send(message.data, has(libc::MSG_MORE), Instant::now());
        if has(libc::MSG_OOB) && count == message.data.len() {
            inner.machine.mark_urgent();
        }
        self.given(inner, count, message.data.len(), false)
    }

    /// The same for the first `len` bytes of a buffer.
    pub(in crate::net::inet::tcp) fn send_buffer(
        self: &Arc<Self>,
        buffer: Vec<u8>,
        len: usize,
        flags: i32,
    ) -> SysResult<usize> {
        let mut inner = self.to_send()?;
        // Who has written more before than has arrived goes on with that, and does not wait for an answer.
        let goes_on = inner.machine().unsent() > 0;
        let count = inner.machine.send_buffer(buffer, len, flags & libc::MSG_MORE != 0, Instant::now());
        self.given(inner, count, len, goes_on)
    }

    /// To give it bytes to send, if it takes any.
    fn to_send(&self) -> SysResult<MutexGuard<'_, Inner>> {
        let inner = self.inner.lock();
        match inner.machine().state() {
            State::SynSent | State::SynReceived if !self.options.has_error() => return Err(Errno::AGAIN),
            _ => self.options.take_error()?,
        }
        if inner.snd_shut || !inner.machine().may_send() { Err(Errno::PIPE) } else { Ok(inner) }
    }

    /// Sends of `len` bytes the `count` that there was room for; `elsewhere`: another thread may do so.
    fn given(
        self: &Arc<Self>,
        mut inner: MutexGuard<'_, Inner>,
        count: usize,
        len: usize,
        elsewhere: bool,
    ) -> SysResult<usize> {
        inner.seen.writable = inner.is_writable();
        if count == 0 {
            // Who waits for room does not wait for more to come.
            inner.machine.push();
            self.pump(inner);
            return Err(Errno::AGAIN);
        }
        if self.options.wants_sent() && count == len {
            inner.watch();
        }
        if !elsewhere || inner.pumping {
            self.pump(inner);
            return Ok(count);
        }
        let is_there = std::mem::replace(&mut inner.is_posted, true);
        drop(inner);
        if !is_there && !outbox::put(self.clone()) {
            self.settle();
        }
        Ok(count)
    }

    /// Bytes that there is room for.
    pub(in crate::net::inet::tcp) fn room(&self) -> usize {
        let inner = self.inner.lock();
        inner.machine().room()
    }
}
