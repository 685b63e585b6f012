//! One socket's state.

use super::inbox::Inbox;
use super::name::Name;
use super::{Identity, Kind};
use crate::executor::{Events, WaitQueue};
use crate::net::message::Ucred;
use crate::net::namespace::Net;
use crate::net::options::{BUFFER_DEFAULT, Options};
use crate::sync::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

/// `net.unix.max_dgram_qlen` if nobody has changed it: datagrams that may wait at a socket that is not connected to their sender.
pub(super) const MAX_DGRAM_QLEN: usize = 10;
/// Nor is it worth more than this to anybody: each takes memory.
const QLEN_BOUND: usize = 65536;

/// No more is received (`RCV_SHUTDOWN`).
pub(super) const RCV: u8 = 1;
/// No more is sent (`SEND_SHUTDOWN`).
pub(super) const SND: u8 = 2;

/// What connects a socket.
#[derive(Debug, Default)]
pub(super) enum Role {
    /// Nothing.
    #[default]
    Idle,
    /// A `connect` is under way.
    Connecting,
    /// It has a peer, or had one.
    Connected,
    /// It waits for connections.
    Listening {
        /// How many may wait for `accept`; one more does on Linux.
        backlog: usize,
        /// The server's ends of those that wait.
        pending: VecDeque<Arc<Endpoint>>,
    },
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) name: Option<Arc<Name>>,
    pub(super) role: Role,
    pub(super) peer: Option<Arc<Endpoint>>,
    pub(super) inbox: Inbox,
    pub(super) shut: u8,
    /// Its socket was closed.
    pub(super) dead: bool,
    /// Who called `listen`.
    pub(super) listener_creds: Option<Identity>,
    pub(super) peer_creds: Option<Identity>,
    /// Who found the inbox or the backlog full, and wants to be told of room.
    blocked: BTreeMap<usize, Weak<Endpoint>>,
}

impl State {
    /// `end` wants to know when there is room.
    pub(super) fn block(&mut self, end: &Arc<Endpoint>) {
        self.blocked.insert(Arc::as_ptr(end) as usize, Arc::downgrade(end));
    }

    /// Whoever wanted to know of room; to be told without the lock.
    #[must_use]
    pub(super) fn unblock(&mut self) -> BTreeMap<usize, Weak<Endpoint>> {
        std::mem::take(&mut self.blocked)
    }

    pub(super) fn has_peer(&self, end: &Endpoint) -> bool {
        self.peer.as_ref().is_some_and(|peer| std::ptr::eq(&**peer, end))
    }
}

/// One socket. Its [`UnixSocket`](super::socket::UnixSocket) closes it; peers may hold it longer.
#[derive(Debug)]
pub(super) struct Endpoint {
    /// The namespace of its abstract names.
    pub(super) net: Arc<Net>,
    pub(super) kind: Kind,
    pub(super) options: Arc<Options>,
    pub(super) queue: WaitQueue,
    /// Datagrams that may wait here.
    pub(super) qlen: usize,
    /// Who made it: whose credentials a plain `write` sends.
    pub(super) creator: Ucred,
    /// Inode number of its socket; 0 before it is accepted.
    pub(super) ino: AtomicU64,
    /// What it has sent that is not yet received (`sk_wmem_alloc`).
    sent: AtomicUsize,
    pub(super) state: Mutex<State>,
}

fn max_dgram_qlen(net: &Net) -> usize {
    let qlen = net.sysctl.number("net/unix/max_dgram_qlen", MAX_DGRAM_QLEN as i64);
    usize::try_from(qlen).unwrap_or(usize::MAX).min(QLEN_BOUND)
}

impl Endpoint {
    pub(super) fn new(net: &Arc<Net>, kind: Kind, creator: Ucred) -> Arc<Endpoint> {
        Arc::new(Endpoint {
            net: net.clone(),
            kind,
            options: Arc::new(Options::new(BUFFER_DEFAULT, BUFFER_DEFAULT)),
            queue: WaitQueue::new(),
            qlen: max_dgram_qlen(net),
            creator,
            ino: AtomicU64::new(0),
            sent: AtomicUsize::new(0),
            state: Mutex::default(),
        })
    }

    /// Makes `peer` the peer.
    pub(super) fn join(&self, peer: &Arc<Endpoint>, peer_creds: Option<Identity>) {
        let mut state = self.state.lock();
        state.peer = Some(peer.clone());
        state.peer_creds = peer_creds;
        state.role = Role::Connected;
    }

    /// Bytes in flight.
    pub(super) fn sent(&self) -> usize {
        self.sent.load(Ordering::Relaxed)
    }

    /// How much more may be in flight.
    pub(super) fn room(&self) -> usize {
        (self.options.sndbuf() as usize).saturating_sub(self.sent())
    }

    /// Whether pollers are told that it is writable: a quarter is in flight at most.
    pub(super) fn is_writable(&self) -> bool {
        self.is_writable_with(self.sent())
    }

    fn is_writable_with(&self, sent: usize) -> bool {
        sent * 4 <= self.options.sndbuf() as usize
    }

    pub(super) fn charge(&self, bytes: usize) {
        self.sent.fetch_add(bytes, Ordering::Relaxed);
    }

    /// `bytes` were received: tells who waits if that made it writable.
    pub(super) fn uncharge(&self, bytes: usize) {
        if bytes == 0 {
            return;
        }
        let before = self.sent.fetch_sub(bytes, Ordering::Relaxed);
        if !self.is_writable_with(before) && self.is_writable_with(before.saturating_sub(bytes)) {
            self.queue.notify(Events::OUT | Events::WRNORM | Events::WRBAND);
        }
    }

    /// Tells who waits that everything may have changed.
    pub(super) fn notify_all(&self) {
        self.queue.notify(Events::READABLE | Events::WRITABLE | Events::WRBAND);
    }

    /// What is ready (`unix_poll`, `unix_dgram_poll`).
    pub(super) fn poll(self: &Arc<Self>) -> Events {
        let state = self.state.lock();
        let mut ready = Events::empty();
        ready.set(Events::ERR, self.options.has_error());
        ready.set(Events::HUP, state.shut == RCV | SND);
        if state.shut & RCV != 0 {
            ready |= Events::RDHUP | Events::IN | Events::RDNORM;
        }
        let listening = match &state.role {
            Role::Listening { pending, .. } => {
                ready.set(Events::HUP, false);
                if !pending.is_empty() {
                    ready |= Events::IN | Events::RDNORM;
                }
                true
            }
            Role::Idle | Role::Connecting if self.kind.is_connected() => {
                ready |= Events::HUP;
                false
            }
            _ => false,
        };
        if !state.inbox.is_empty() {
            ready |= Events::IN | Events::RDNORM;
        }
        ready.set(Events::PRI, state.inbox.has_urgent());
        let peer = state.peer.clone().filter(|_| self.kind == Kind::Datagram);
        drop(state);
        if !listening && self.is_writable() && !peer.is_some_and(|peer| peer.is_full_for(self)) {
            ready |= Events::OUT | Events::WRNORM | Events::WRBAND;
        }
        ready
    }

    /// Whether a datagram from `sender` has to wait; the sender is told when it need not.
    fn is_full_for(&self, sender: &Arc<Endpoint>) -> bool {
        let mut state = self.state.lock();
        let full = !state.dead && !state.has_peer(sender) && state.inbox.records.len() > self.qlen;
        if full {
            state.block(sender);
        }
        full
    }
}

/// Tells those who wanted to know of room.
pub(super) fn tell(blocked: BTreeMap<usize, Weak<Endpoint>>) {
    for end in blocked.into_values().filter_map(|end| end.upgrade()) {
        end.queue.notify(Events::OUT | Events::WRNORM | Events::WRBAND);
    }
}
