//! Sending and receiving.

use super::endpoint::{Phase, State, Tcp, Urgent};
use super::flow::{Flow, around_urgent};
use crate::errno::{Errno, SysResult};
use crate::executor::Events;
use crate::net::message::{Incoming, Outgoing};
use crate::net::options::Stage;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Tcp {
    pub(super) fn send(&self, message: &Outgoing<'_>) -> SysResult<usize> {
        if let Some(flow) = self.flow() {
            return flow.send(message);
        }
        let peer = self.peer_to_send()?;
        if message.data.is_empty() {
            return Ok(0);
        }
        let urgent = message.flags & libc::MSG_OOB != 0;
        let waits = message.flags & libc::MSG_MORE != 0 || self.is_corked.load(Ordering::Relaxed);
        let window = self.window(&peer);
        let mut state = peer.state.lock();
        if state.dead {
            drop(state);
            // The data are on their way; what comes back is a reset.
            self.reset();
            return Ok(message.data.len());
        }
        let count = message.data.len().min(window.saturating_sub(state.inbox.len()));
        if count == 0 {
            drop(state);
            peer.show_all();
            return Err(Errno::AGAIN);
        }
        state.inbox.push(message.data.get(..count).unwrap_or_default());
        let urgent = urgent && count == message.data.len();
        if urgent {
            // An older one that is next is not read any more.
            let is_next = state.urgent.is_some_and(|urgent| urgent.at == 0);
            if is_next && !peer.options.is_on(libc::SO_OOBINLINE) {
                state.inbox.discard(1);
            }
            state.urgent = Some(Urgent { at: state.inbox.len() - 1, fresh: true });
        }
        let shows = state.hold(&peer, if waits && !urgent && count == message.data.len() { count } else { 0 });
        drop(state);
        if urgent {
            peer.options.signal_urgent();
        }
        if shows {
            let urgent = if urgent { Events::PRI } else { Events::empty() };
            peer.queue.notify(Events::IN | Events::RDNORM | urgent);
        }
        self.net().counters.tcp_segments.add(1);
        self.net().counters.loopback(count);
        let place = self.sent.fetch_add(count as u32, Ordering::Relaxed).wrapping_add(count as u32);
        if self.options.wants_sent() && count == message.data.len() {
            let number = self.options.number_of_bytes(place);
            let stages = [Stage::Queued, Stage::Sent, Stage::Acknowledged];
            if self.options.stamp_sent(&stages, number, &|| message.data.to_vec()) {
                self.queue.notify(Events::ERR);
            }
        }
        Ok(count)
    }

    /// Bytes that there is room for.
    pub(super) fn room(&self) -> usize {
        if let Some(flow) = self.flow() {
            return flow.room();
        }
        let peer = self.state.lock().peer.clone();
        peer.map_or(usize::MAX, |peer| self.window(&peer).saturating_sub(peer.state.lock().inbox.len()))
    }

    fn peer_to_send(&self) -> SysResult<Arc<Tcp>> {
        let state = self.state.lock();
        match state.phase {
            Phase::Connecting => return Err(Errno::AGAIN),
            Phase::Established if !state.snd_shut && !self.options.has_error() => {
                return state.peer.clone().ok_or(Errno::PIPE);
            }
            _ => {}
        }
        drop(state);
        self.options.take_error()?;
        Err(Errno::PIPE)
    }

    pub(super) fn receive(&self, buf: &mut [u8], flags: i32) -> SysResult<Incoming> {
        if flags & libc::MSG_OOB != 0 {
            return self.receive_urgent(buf, flags);
        }
        let mut state = self.state.lock();
        if matches!(state.phase, Phase::Listening { .. }) {
            return Err(Errno::NOTCONN);
        }
        if buf.is_empty() {
            return Ok(Incoming::default());
        }
        if let Phase::Remote(flow) = &state.phase
            && state.inbox.is_empty()
        {
            let flow = flow.clone();
            drop(state);
            return receive_remote(&flow, buf, flags);
        }
        if state.shown() == 0 {
            if !state.fin_received {
                self.options.take_error()?;
            }
            return match state.phase {
                _ if state.rcv_shut => Ok(Incoming { ends: true, ..Incoming::default() }),
                Phase::Closed => Err(Errno::NOTCONN),
                _ => Err(Errno::AGAIN),
            };
        }
        let room = buf.len().min(state.shown());
        let inline = self.options.is_on(libc::SO_OOBINLINE);
        let (skip, limit) = around_urgent(state.urgent.map(|urgent| urgent.at), inline, room);
        let limit = limit.min(state.shown() - skip);
        let stops = limit + skip < room;
        if flags & libc::MSG_PEEK != 0 {
            let count = state.inbox.peek(skip, buf.get_mut(..limit).unwrap_or_default());
            return if count == 0 { Err(Errno::AGAIN) } else { Ok(taken(count, stops)) };
        }
        let before = state.inbox.len();
        state.inbox.discard(skip);
        let count = state.inbox.pop(buf.get_mut(..limit).unwrap_or_default());
        state.pass(skip + count);
        if count == 0 {
            // There was only the urgent byte.
            return if state.rcv_shut { Ok(taken(0, true)) } else { Err(Errno::AGAIN) };
        }
        let peer = state.peer.clone();
        drop(state);
        if let Some(peer) = peer {
            let window = peer.window(self);
            let now = before.saturating_sub(skip + count);
            if !Tcp::is_writable(before, window) && Tcp::is_writable(now, window) {
                peer.queue.notify(Events::OUT | Events::WRNORM);
            }
        }
        Ok(taken(count, stops))
    }

    /// Bytes to read before the next urgent one (`FIONREAD`).
    pub(super) fn readable(&self) -> usize {
        let state = self.state.lock();
        match state.urgent {
            Some(urgent) if !self.options.is_on(libc::SO_OOBINLINE) => urgent.at,
            _ => state.shown(),
        }
    }

    /// Whether the next byte is the urgent one (`SIOCATMARK`).
    pub(super) fn is_at_mark(&self) -> bool {
        match self.flow() {
            Some(flow) => flow.is_at_mark(),
            None => self.state.lock().urgent.is_some_and(|urgent| urgent.at == 0),
        }
    }

    /// Puts bytes back to the front.
    pub(super) fn unreceive(&self, bytes: &[u8]) {
        let mut state = self.state.lock();
        state.inbox.push_front(bytes);
        if let Some(urgent) = &mut state.urgent {
            urgent.at += bytes.len();
        }
        drop(state);
        self.queue.notify(Events::READABLE);
    }

    fn receive_urgent(&self, buf: &mut [u8], flags: i32) -> SysResult<Incoming> {
        let peek = flags & libc::MSG_PEEK != 0;
        if let Some(flow) = self.flow() {
            return Ok(flow.receive_urgent(peek)?.map_or_else(|| taken(0, true), |byte| urgent(byte, buf)));
        }
        let mut state = self.state.lock();
        if matches!(state.phase, Phase::Listening { .. }) {
            return Err(Errno::NOTCONN);
        }
        let inline = self.options.is_on(libc::SO_OOBINLINE);
        let known = state.urgent.filter(|urgent| urgent.fresh && !inline).ok_or(Errno::INVAL)?;
        let mut byte = [0];
        state.inbox.peek(known.at, &mut byte);
        if !peek {
            state.urgent = Some(Urgent { fresh: false, ..known });
        }
        let [byte] = byte;
        Ok(urgent(byte, buf))
    }

    pub(super) fn shutdown(&self, how: i32) -> SysResult<()> {
        if let Some(flow) = self.flow() {
            let done = flow.shutdown(how);
            self.notify_all();
            return done;
        }
        let mut state = self.state.lock();
        match state.phase {
            Phase::Closed => return Err(Errno::NOTCONN),
            Phase::Listening { .. } if how == libc::SHUT_WR => return Ok(()),
            Phase::Listening { .. } | Phase::Connecting => {
                let phase = std::mem::take(&mut state.phase);
                drop(state);
                super::endpoint::abandon(phase);
                self.notify_all();
                return Ok(());
            }
            Phase::Established | Phase::Remote(_) => {}
        }
        let ends_sending = how != libc::SHUT_RD && !state.snd_shut;
        state.rcv_shut |= how != libc::SHUT_WR;
        state.snd_shut |= how != libc::SHUT_RD;
        let peer = state.peer.clone().filter(|_| ends_sending);
        drop(state);
        if let Some(peer) = peer {
            peer.fin();
        }
        self.notify_all();
        Ok(())
    }
}

impl State {
    /// Bytes were read.
    fn pass(&mut self, count: usize) {
        self.urgent = self
            .urgent
            .and_then(|urgent| Some(Urgent { at: urgent.at.checked_sub(count)?, ..urgent }))
            .filter(|_| !self.inbox.is_empty());
    }
}

/// Bytes of the stream; `stops` if what follows does not belong to them.
fn taken(count: usize, stops: bool) -> Incoming {
    Incoming { count, full: count, ends: stops, ..Incoming::default() }
}

/// The urgent byte, apart from the others.
fn urgent(byte: u8, buf: &mut [u8]) -> Incoming {
    let (count, flags) = match buf.first_mut() {
        Some(out) => {
            *out = byte;
            (1, libc::MSG_OOB)
        }
        None => (0, libc::MSG_OOB | libc::MSG_TRUNC),
    };
    Incoming { count, full: count, flags, ends: true, ..Incoming::default() }
}

/// What came over an interface.
fn receive_remote(flow: &Arc<Flow>, buf: &mut [u8], flags: i32) -> SysResult<Incoming> {
    let (count, stops) = flow.receive(buf, flags & libc::MSG_PEEK != 0)?;
    Ok(taken(count, stops))
}
