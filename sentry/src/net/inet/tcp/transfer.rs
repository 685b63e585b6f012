//! Sending and receiving.

use super::endpoint::{Phase, Tcp};
use super::flow::Flow;
use crate::errno::{Errno, SysResult};
use crate::executor::Events;
use crate::net::counters;
use crate::net::message::{Incoming, Outgoing};
use std::sync::Arc;

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
            return Err(Errno::AGAIN);
        }
        let data = message.data.get(..count).unwrap_or_default();
        match data.split_last() {
            Some((last, rest)) if urgent && count == message.data.len() && !peer.options.is_on(libc::SO_OOBINLINE) => {
                state.inbox.push(rest);
                state.urgent = Some(*last);
            }
            _ => state.inbox.push(data),
        }
        drop(state);
        let urgent = if urgent { Events::PRI } else { Events::empty() };
        peer.queue.notify(Events::IN | Events::RDNORM | urgent);
        counters::TCP_SEGMENTS.add(1);
        counters::loopback(count);
        Ok(count)
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
        if state.inbox.is_empty() {
            if !state.fin_received {
                self.options.take_error()?;
            }
            return match state.phase {
                _ if state.rcv_shut => Ok(Incoming { ends: true, ..Incoming::default() }),
                Phase::Closed => Err(Errno::NOTCONN),
                _ => Err(Errno::AGAIN),
            };
        }
        if flags & libc::MSG_PEEK != 0 {
            let count = state.inbox.peek(0, buf);
            return Ok(Incoming { count, full: count, ..Incoming::default() });
        }
        let before = state.inbox.len();
        let count = state.inbox.pop(buf);
        let peer = state.peer.clone();
        drop(state);
        if let Some(peer) = peer {
            let window = peer.window(self);
            if !Tcp::is_writable(before, window) && Tcp::is_writable(before - count, window) {
                peer.queue.notify(Events::OUT | Events::WRNORM);
            }
        }
        Ok(Incoming { count, full: count, ..Incoming::default() })
    }

    /// Puts bytes back to the front.
    pub(super) fn unreceive(&self, bytes: &[u8]) {
        self.state.lock().inbox.push_front(bytes);
        self.queue.notify(Events::READABLE);
    }

    fn receive_urgent(&self, buf: &mut [u8], flags: i32) -> SysResult<Incoming> {
        let mut state = self.state.lock();
        let byte = state.urgent.ok_or(Errno::INVAL)?;
        let Some(out) = buf.first_mut() else { return Ok(Incoming::default()) };
        *out = byte;
        if flags & libc::MSG_PEEK == 0 {
            state.urgent = None;
        }
        Ok(Incoming { count: 1, full: 1, flags: libc::MSG_OOB, ends: true, ..Incoming::default() })
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

/// What came over an interface.
fn receive_remote(flow: &Arc<Flow>, buf: &mut [u8], flags: i32) -> SysResult<Incoming> {
    let count = flow.receive(buf, flags & libc::MSG_PEEK != 0)?;
    Ok(Incoming { count, full: count, ends: count == 0, ..Incoming::default() })
}
