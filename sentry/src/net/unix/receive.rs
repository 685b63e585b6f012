//! Receiving.

use super::Kind;
use super::endpoint::{Endpoint, RCV, Role, tell};
use super::inbox::Taken;
use super::name::Name;
use crate::errno::{Errno, SysResult};
use crate::executor::Events;
use crate::net::message::{Incoming, Ucred};
use crate::net::options::SO_PASSPIDFD;

impl Endpoint {
    pub(super) fn receive(&self, buf: &mut [u8], flags: i32) -> SysResult<Incoming> {
        let peek = flags & libc::MSG_PEEK != 0;
        if flags & libc::MSG_OOB != 0 {
            return if self.kind == Kind::Stream { self.receive_urgent(buf, peek) } else { Err(Errno::OPNOTSUPP) };
        }
        let taken =
            if self.kind == Kind::Stream { self.receive_stream(buf, peek)? } else { self.receive_message(buf, peek)? };
        let Some(taken) = taken else { return Ok(Incoming { ends: true, ..Incoming::default() }) };
        if let Some(sender) = &taken.sender {
            sender.uncharge(taken.uncharge);
        }
        Ok(self.incoming(taken))
    }

    /// Puts bytes of a stream back to its front.
    pub(super) fn unreceive(&self, bytes: &[u8]) {
        let mut state = self.state.lock();
        state.inbox.push_front(bytes);
        let sender = state.peer.clone();
        drop(state);
        if let Some(sender) = sender {
            sender.charge(bytes.len());
        }
        self.queue.notify(Events::READABLE);
    }

    fn incoming(&self, taken: Taken) -> Incoming {
        let wants_creds = self.options.is_on(libc::SO_PASSCRED);
        let truncated = self.kind != Kind::Stream && taken.full > taken.count;
        Incoming {
            count: taken.count,
            full: taken.full,
            from: (self.kind == Kind::Datagram)
                .then(|| taken.from.as_deref().map(|name| Name::to_address(Some(name))))
                .flatten(),
            rights: taken.rights,
            creds: wants_creds.then(|| taken.creds.unwrap_or(Ucred::UNKNOWN)),
            pidfd: self.options.is_on(SO_PASSPIDFD).then(|| taken.creds.unwrap_or(Ucred::UNKNOWN).pid),
            flags: if truncated { libc::MSG_TRUNC } else { 0 },
            ends: taken.ends,
            ..Incoming::default()
        }
    }

    /// `None` at the end.
    fn receive_stream(&self, buf: &mut [u8], peek: bool) -> SysResult<Option<Taken>> {
        let mut state = self.state.lock();
        if !matches!(state.role, Role::Connected) {
            return Err(Errno::INVAL);
        }
        if buf.is_empty() {
            return Ok(None);
        }
        if state.inbox.is_empty() {
            self.options.take_error()?;
            return if state.shut & RCV != 0 { Ok(None) } else { Err(Errno::AGAIN) };
        }
        let by_creds = self.options.passes_creds();
        let inline = self.options.is_on(libc::SO_OOBINLINE);
        let mut taken = state.inbox.pop_stream(buf, peek, by_creds, inline);
        taken.sender = state.peer.clone();
        if taken.count > 0 {
            return Ok(Some(taken));
        }
        // There was only an urgent byte, or the mark of one.
        let ended = state.shut & RCV != 0;
        drop(state);
        if let Some(sender) = &taken.sender {
            sender.uncharge(taken.uncharge);
        }
        if ended { Ok(None) } else { Err(Errno::AGAIN) }
    }

    /// Takes the urgent byte.
    fn receive_urgent(&self, buf: &mut [u8], peek: bool) -> SysResult<Incoming> {
        let mut state = self.state.lock();
        let inline = self.options.is_on(libc::SO_OOBINLINE);
        if !matches!(state.role, Role::Connected) || inline {
            return Err(Errno::INVAL);
        }
        let (byte, creds) = state.inbox.pop_urgent(peek).ok_or(Errno::INVAL)?;
        drop(state);
        // Its sender is charged for it as long as there is a mark.
        if let Some(out) = buf.first_mut() {
            *out = byte;
        }
        let taken = Taken { count: 1, full: 1, creds, ends: true, ..Taken::default() };
        Ok(Incoming { flags: libc::MSG_OOB, ..self.incoming(taken) })
    }

    /// `None` at the end.
    fn receive_message(&self, buf: &mut [u8], peek: bool) -> SysResult<Option<Taken>> {
        let mut state = self.state.lock();
        if self.kind == Kind::Seqpacket && !matches!(state.role, Role::Connected) {
            return Err(Errno::NOTCONN);
        }
        let Some(taken) = state.inbox.pop(buf, peek) else {
            self.options.take_error()?;
            return if state.shut & RCV != 0 { Ok(None) } else { Err(Errno::AGAIN) };
        };
        let has_room = !peek && state.inbox.records.len() <= self.qlen;
        let blocked = if has_room { state.unblock() } else { Default::default() };
        drop(state);
        tell(blocked);
        Ok(Some(taken))
    }
}
