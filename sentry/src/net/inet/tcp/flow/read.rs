//! What a connection over an interface has received, and what of that is ready.

use super::{Flow, Inner, has_ended};
use crate::errno::{Errno, SysResult};
use crate::executor::Events;
use crate::net::stack::tcp::{Pieces, State};
use std::sync::Arc;
use std::time::Instant;

impl Flow {
    /// Takes received bytes, and whether something urgent follows on them; none at the end.
    pub(in crate::net::inet::tcp) fn receive(self: &Arc<Self>, buf: &mut [u8], peek: bool) -> SysResult<(usize, bool)> {
        let mut inner = self.inner.lock();
        let room = buf.len();
        let inline = self.options.is_on(libc::SO_OOBINLINE);
        let ahead = inner.machine().urgent().filter(|urgent| urgent.is_there).map(|urgent| urgent.ahead);
        let (skip, limit) = around_urgent(ahead, inline, room);
        let count = inner.machine().peek(skip, buf.get_mut(..limit).unwrap_or_default());
        if !peek && skip + count > 0 {
            inner.machine.consume(skip + count, Instant::now());
            inner.seen.received = inner.machine().received();
            inner.seen.urgent = inner.has_urgent();
        }
        if count == 0 {
            let state = inner.machine().state();
            if inner.rcv_shut || has_ended(state) {
                let error = if state == State::Closed { self.options.take_error() } else { Ok(()) };
                return error.map(|()| (0, true));
            }
            self.options.take_error()?;
            return Err(Errno::AGAIN);
        }
        if !peek {
            self.pump(inner);
        }
        Ok((count, limit < room))
    }

    /// Takes at most `most` received bytes with their memory, and whether something urgent follows on them; `None` if there
    /// are not `least` of them.
    pub(in crate::net::inet::tcp) fn receive_pieces(
        self: &Arc<Self>,
        most: usize,
        least: usize,
    ) -> Option<(Pieces, bool)> {
        let mut inner = self.inner.lock();
        if inner.machine().received() < least || inner.machine().urgent().is_some() {
            return None;
        }
        let pieces = inner.machine().pieces(most);
        inner.machine.consume(pieces.iter().map(|piece| piece.len()).sum(), Instant::now());
        inner.seen.received = inner.machine().received();
        self.pump(inner);
        Some((pieces, false))
    }

    /// Takes the urgent byte (`MSG_OOB`): `None` at the end.
    pub(in crate::net::inet::tcp) fn receive_urgent(&self, peek: bool) -> SysResult<Option<u8>> {
        let mut inner = self.inner.lock();
        let inline = self.options.is_on(libc::SO_OOBINLINE);
        let urgent = inner.machine().urgent().filter(|urgent| !urgent.is_read && !inline).ok_or(Errno::INVAL)?;
        if !urgent.is_there {
            return if inner.rcv_shut || has_ended(inner.machine().state()) { Ok(None) } else { Err(Errno::AGAIN) };
        }
        let mut byte = [0];
        inner.machine().peek(urgent.ahead, &mut byte);
        if !peek {
            inner.machine.take_urgent();
            inner.seen.urgent = false;
        }
        let [byte] = byte;
        Ok(Some(byte))
    }

    /// Whether the next byte is the urgent one (`SIOCATMARK`).
    pub(in crate::net::inet::tcp) fn is_at_mark(&self) -> bool {
        self.inner.lock().machine().urgent().is_some_and(|urgent| urgent.ahead == 0)
    }

    /// What is ready (`tcp_poll`).
    pub(in crate::net::inet::tcp) fn poll(&self) -> Events {
        let inner = self.inner.lock();
        let (state, received) = (inner.machine().state(), inner.machine().received());
        let inline = self.options.is_on(libc::SO_OOBINLINE);
        let apart = !inline && inner.machine().urgent().is_some_and(|urgent| urgent.ahead == 0 && urgent.is_there);
        let mut ready = Events::empty();
        ready.set(Events::ERR, self.options.has_error());
        if matches!(state, State::SynSent | State::SynReceived) {
            return ready;
        }
        let ended = inner.rcv_shut || has_ended(state);
        ready.set(Events::HUP, state == State::Closed || ended && inner.snd_shut);
        ready.set(Events::RDHUP, ended);
        ready.set(Events::IN | Events::RDNORM, ended || received >= self.options.rcvlowat() + usize::from(apart));
        ready.set(Events::PRI, inner.has_urgent());
        ready.set(Events::OUT | Events::WRNORM, inner.snd_shut || inner.is_writable());
        ready
    }

    /// Bytes received and not read, bytes not acknowledged.
    pub(in crate::net::inet::tcp) fn queues(&self) -> (usize, usize) {
        let inner = self.inner.lock();
        (inner.machine().received(), inner.machine().unsent())
    }

    /// Bytes to read before the next urgent one.
    pub(in crate::net::inet::tcp) fn readable(&self) -> usize {
        let inner = self.inner.lock();
        let inline = self.options.is_on(libc::SO_OOBINLINE);
        let urgent = inner.machine().urgent().filter(|urgent| urgent.is_there && !inline);
        urgent.map_or_else(|| inner.machine().received(), |urgent| urgent.ahead)
    }
}

impl Inner {
    /// Whether an urgent byte has come that nobody has received.
    pub(super) fn has_urgent(&self) -> bool {
        self.machine().urgent().is_some_and(|urgent| urgent.is_there && !urgent.is_read)
    }
}

/// Bytes to skip, and how many may follow: reading stops before an urgent byte, and skips it the next time if it is not
/// `inline`.
pub(in crate::net::inet::tcp) fn around_urgent(ahead: Option<usize>, inline: bool, room: usize) -> (usize, usize) {
    match ahead {
        Some(ahead) if ahead > 0 => (0, room.min(ahead)),
        Some(_) if !inline => (1, room),
        _ => (0, room),
    }
}
