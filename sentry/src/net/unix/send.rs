//! Sending.

use super::Kind;
use super::endpoint::{Endpoint, RCV, Role, SND};
use super::inbox::Record;
use super::name::{self, Name};
use crate::errno::{Errno, SysResult};
use crate::executor::Events;
use crate::net::filter::View;
use crate::net::message::{Outgoing, Ucred};
use std::sync::Arc;

/// What Linux charges for a datagram beyond its data: the buffer's descriptor and rounding.
fn truesize(len: usize) -> usize {
    const SK_BUFF: usize = 256;
    const SHARED_INFO: usize = 320;
    (len + SHARED_INFO).next_power_of_two().max(512).min(len + SHARED_INFO + 4096) + SK_BUFF
}

impl Endpoint {
    pub(super) fn send(self: &Arc<Self>, message: &mut Outgoing<'_>) -> SysResult<usize> {
        let urgent = message.flags & libc::MSG_OOB != 0;
        if urgent && (self.kind != Kind::Stream || message.data.is_empty()) {
            return Err(Errno::OPNOTSUPP);
        }
        match self.kind {
            Kind::Stream => self.send_stream(message),
            Kind::Datagram => self.send_datagram(message),
            Kind::Seqpacket => self.send_seqpacket(message),
        }
    }

    fn send_stream(&self, message: &mut Outgoing<'_>) -> SysResult<usize> {
        let peer = {
            let state = self.state.lock();
            let connected = matches!(state.role, Role::Connected);
            if message.to.is_some_and(|to| !to.as_bytes().is_empty()) {
                return Err(if connected { Errno::ISCONN } else { Errno::OPNOTSUPP });
            }
            let peer = state.peer.clone().ok_or(Errno::NOTCONN)?;
            if state.shut & SND != 0 {
                return Err(Errno::PIPE);
            }
            peer
        };
        if message.data.is_empty() {
            return Ok(0);
        }
        self.options.take_error()?;
        let count = message.data.len().min(self.room());
        if count == 0 {
            return Err(Errno::AGAIN);
        }
        let creds = self.creds_for(&peer, message);
        let urgent = message.flags & libc::MSG_OOB != 0 && count == message.data.len();
        self.charge(count);
        {
            let mut state = peer.state.lock();
            if state.dead || state.shut & RCV != 0 {
                drop(state);
                self.uncharge(count);
                return Err(Errno::PIPE);
            }
            let data = message.data.get(..count).unwrap_or_default();
            match data.split_last() {
                Some((byte, rest)) if urgent => {
                    if !rest.is_empty() {
                        state.inbox.push_stream(rest, creds, std::mem::take(message.rights));
                    }
                    state.inbox.push_urgent(*byte, creds, std::mem::take(message.rights));
                }
                _ => state.inbox.push_stream(data, creds, std::mem::take(message.rights)),
            }
        }
        if urgent {
            peer.options.signal_urgent();
        }
        peer.queue.notify(Events::IN | Events::RDNORM | if urgent { Events::PRI } else { Events::empty() });
        Ok(count)
    }

    fn send_seqpacket(self: &Arc<Self>, message: &mut Outgoing<'_>) -> SysResult<usize> {
        self.options.take_error()?;
        let peer = {
            let state = self.state.lock();
            if !matches!(state.role, Role::Connected) {
                return Err(Errno::NOTCONN);
            }
            state.peer.clone().ok_or(Errno::NOTCONN)?
        };
        self.deliver(&peer, message)
    }

    fn send_datagram(self: &Arc<Self>, message: &mut Outgoing<'_>) -> SysResult<usize> {
        let target = match message.to.filter(|to| !to.as_bytes().is_empty()) {
            Some(to) => {
                let name = Name::parse(to)?.ok_or(Errno::INVAL)?;
                name::find(message.task, self, &name)?
            }
            None => self.state.lock().peer.clone().ok_or(Errno::NOTCONN)?,
        };
        let sent = self.deliver(&target, message);
        if sent == Err(Errno::CONNREFUSED) && message.to.is_none() {
            let mut state = self.state.lock();
            if state.has_peer(&target) {
                state.peer = None;
            }
        }
        sent
    }

    /// Puts a message with boundaries into the target's inbox.
    fn deliver(self: &Arc<Self>, target: &Arc<Endpoint>, message: &mut Outgoing<'_>) -> SysResult<usize> {
        let len = message.data.len();
        if len > (self.options.sndbuf() as usize).saturating_sub(32) {
            return Err(Errno::MSGSIZE);
        }
        self.options.take_error()?;
        let from = {
            let state = self.state.lock();
            if state.shut & SND != 0 {
                return Err(Errno::PIPE);
            }
            state.name.clone()
        };
        if self.room() == 0 {
            return Err(Errno::AGAIN);
        }
        let creds = self.creds_for(target, message);
        let charge = truesize(len);
        {
            let mut state = target.state.lock();
            if state.dead {
                return Err(if self.kind == Kind::Seqpacket { Errno::PIPE } else { Errno::CONNREFUSED });
            }
            let mutual = state.has_peer(self);
            if state.peer.is_some() && !mutual {
                return Err(Errno::PERM);
            }
            if state.shut & RCV != 0 {
                return Err(Errno::PIPE);
            }
            if !mutual && !Arc::ptr_eq(self, target) && state.inbox.records.len() > target.qlen {
                state.block(self);
                return Err(Errno::AGAIN);
            }
            let taken = target.options.filter.admit(len, || View::of(message.data, 0));
            let Some(data) = taken.and_then(|len| message.data.get(..len)) else {
                // The sender does not hear of it.
                return Ok(len);
            };
            self.charge(charge);
            let rights = std::mem::take(message.rights);
            let (len, sender) = (data.len(), Some(self.clone()));
            let record = Record { len, charge, creds, rights, from, sender, ..Record::default() };
            state.inbox.push(data, record);
        }
        target.queue.notify(Events::IN | Events::RDNORM);
        Ok(len)
    }

    /// The credentials to send along: only if one of the two wants them.
    fn creds_for(&self, peer: &Endpoint, message: &Outgoing<'_>) -> Option<Ucred> {
        message.creds.or_else(|| {
            let wanted = self.options.passes_creds() || peer.options.passes_creds();
            wanted.then(|| message.task.map_or(self.creator, Ucred::of))
        })
    }
}
