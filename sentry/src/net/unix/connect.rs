//! Names, connections and their end.

use super::endpoint::{Endpoint, RCV, Role, SND, State, tell};
use super::inbox::Inbox;
use super::name::{self, Name};
use super::{Identity, Kind};
use crate::errno::{Errno, SysResult};
use crate::executor::Events;
use crate::kernel::Task;
use crate::net::address::SockAddr;
use std::collections::VecDeque;
use std::sync::Arc;

impl Endpoint {
    pub(super) fn bind(self: &Arc<Self>, t: &Task, address: &SockAddr) -> SysResult<()> {
        let name = Name::parse(address)?;
        if self.state.lock().name.is_some() {
            return if name.is_none() { Ok(()) } else { Err(Errno::INVAL) };
        }
        let name = match name {
            None => name::autobind(self)?,
            Some(name) => {
                name::bind(t, &name, self)?;
                name
            }
        };
        self.state.lock().name = Some(Arc::new(name));
        Ok(())
    }

    /// A sender that shows its credentials must have a name.
    fn autobind_if_passing_creds(self: &Arc<Self>) -> SysResult<()> {
        if self.options.is_on(libc::SO_PASSCRED) && self.state.lock().name.is_none() {
            let name = name::autobind(self)?;
            self.state.lock().name = Some(Arc::new(name));
        }
        Ok(())
    }

    pub(super) fn listen(self: &Arc<Self>, t: &Task, backlog: usize) -> SysResult<()> {
        if !self.kind.is_connected() {
            return Err(Errno::OPNOTSUPP);
        }
        let mut state = self.state.lock();
        if state.name.is_none() {
            return Err(Errno::INVAL);
        }
        let state = &mut *state;
        match &mut state.role {
            Role::Idle => state.role = Role::Listening { backlog, pending: VecDeque::new() },
            Role::Listening { backlog: old, .. } => *old = backlog,
            Role::Connecting | Role::Connected => return Err(Errno::INVAL),
        }
        state.listener_creds = Some(Identity::of(t));
        let blocked = state.unblock();
        tell(blocked);
        Ok(())
    }

    pub(super) fn connect(self: &Arc<Self>, t: &Task, address: &SockAddr) -> SysResult<()> {
        if self.kind == Kind::Datagram {
            return self.connect_datagram(t, address);
        }
        let name = Name::parse(address)?.ok_or(Errno::INVAL)?;
        self.autobind_if_passing_creds()?;
        let listener = name::find(Some(t), self, &name)?;
        listener.has_room_for(self)?;
        {
            let mut state = self.state.lock();
            match state.role {
                Role::Idle => state.role = Role::Connecting,
                Role::Connected => return Err(Errno::ISCONN),
                Role::Connecting => return Err(Errno::ALREADY),
                Role::Listening { .. } => return Err(Errno::INVAL),
            }
        }
        self.enter_backlog(t, &listener).inspect_err(|_| self.state.lock().role = Role::Idle)
    }

    /// Whether a connection would be taken now; if there is no room, `end` is told when there is.
    fn has_room_for(&self, end: &Arc<Endpoint>) -> SysResult<()> {
        let mut state = self.state.lock();
        let full = match &state.role {
            Role::Listening { backlog, pending } if state.shut & RCV == 0 => pending.len() > *backlog,
            _ => return Err(Errno::CONNREFUSED),
        };
        if full {
            state.block(end);
            return Err(Errno::AGAIN);
        }
        Ok(())
    }

    fn enter_backlog(self: &Arc<Self>, t: &Task, listener: &Arc<Endpoint>) -> SysResult<()> {
        let server = Endpoint::new(&listener.net, self.kind, listener.creator);
        let peer_creds = {
            let mut state = listener.state.lock();
            if state.dead || state.shut & RCV != 0 {
                return Err(Errno::CONNREFUSED);
            }
            let State { role: Role::Listening { backlog, pending }, name, listener_creds, .. } = &mut *state else {
                return Err(Errno::CONNREFUSED);
            };
            if pending.len() > *backlog {
                state.block(self);
                return Err(Errno::AGAIN);
            }
            server.join(self, Some(Identity::of(t)));
            server.state.lock().name.clone_from(name);
            pending.push_back(server.clone());
            listener_creds.clone()
        };
        self.join(&server, peer_creds);
        listener.queue.notify(Events::IN | Events::RDNORM);
        self.queue.notify(Events::OUT | Events::WRNORM);
        Ok(())
    }

    fn connect_datagram(self: &Arc<Self>, t: &Task, address: &SockAddr) -> SysResult<()> {
        let peer = if address.family()? == libc::AF_UNSPEC {
            None
        } else {
            let name = Name::parse(address)?.ok_or(Errno::INVAL)?;
            self.autobind_if_passing_creds()?;
            let peer = name::find(Some(t), self, &name)?;
            let other = peer.state.lock().peer.clone();
            if other.is_some_and(|other| !Arc::ptr_eq(&other, self)) {
                return Err(Errno::PERM);
            }
            Some(peer)
        };
        let mut state = self.state.lock();
        state.role = if peer.is_some() { Role::Connected } else { Role::Idle };
        let old = std::mem::replace(&mut state.peer, peer);
        // What the former peer sent does not belong to the new conversation.
        let purged = match (&old, &state.peer) {
            (Some(old), new) if !new.as_ref().is_some_and(|new| Arc::ptr_eq(new, old)) => {
                std::mem::take(&mut state.inbox)
            }
            _ => Default::default(),
        };
        drop(state);
        discard(purged);
        Ok(())
    }

    /// The server's end of a new connection.
    pub(super) fn accept(&self) -> SysResult<Arc<Endpoint>> {
        let (end, blocked) = {
            let mut state = self.state.lock();
            let shut = state.shut & RCV != 0;
            let Role::Listening { pending, .. } = &mut state.role else { return Err(Errno::INVAL) };
            let end = pending.pop_front().ok_or(if shut { Errno::INVAL } else { Errno::AGAIN })?;
            (end, state.unblock())
        };
        tell(blocked);
        Ok(end)
    }

    pub(super) fn shutdown(&self, how: i32) {
        let (own, others) = match how {
            libc::SHUT_RD => (RCV, SND),
            libc::SHUT_WR => (SND, RCV),
            _ => (RCV | SND, RCV | SND),
        };
        let (peer, blocked) = {
            let mut state = self.state.lock();
            state.shut |= own;
            (state.peer.clone().filter(|_| self.kind.is_connected()), state.unblock())
        };
        if let Some(peer) = peer {
            peer.state.lock().shut |= others;
            peer.notify_all();
        }
        tell(blocked);
        self.notify_all();
    }

    /// The socket is closed: the peer learns of it, and nobody finds it any more.
    pub(super) fn close(self: &Arc<Self>) {
        self.close_as(false);
    }

    /// `embryo`: it was never accepted, which resets the connection.
    fn close_as(self: &Arc<Self>, embryo: bool) {
        let mut state = self.state.lock();
        state.dead = true;
        state.shut = RCV | SND;
        let name = state.name.take();
        let role = std::mem::take(&mut state.role);
        let peer = state.peer.take();
        let inbox = std::mem::take(&mut state.inbox);
        let blocked = state.unblock();
        drop(state);
        if let Some(name) = name {
            name::release(self, &name);
        }
        if let Some(peer) = peer.filter(|_| self.kind.is_connected()) {
            peer.hang_up(embryo || inbox.has_unread());
        }
        if let Role::Listening { pending, .. } = role {
            for end in pending {
                end.close_as(true);
            }
        }
        discard(inbox);
        tell(blocked);
    }

    /// The peer is gone, and if `reset`, without having read everything.
    fn hang_up(&self, reset: bool) {
        self.state.lock().shut = RCV | SND;
        if reset {
            self.options.set_error(Errno::CONNRESET);
        }
        self.notify_all();
    }
}

/// Nobody will read these: their senders may send again.
fn discard(inbox: Inbox) {
    for record in inbox.records {
        if let Some(sender) = record.sender {
            sender.uncharge(record.charge);
        }
    }
}
