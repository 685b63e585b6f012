//! One socket's state.

use super::super::errors::{Errors, Failed};
use super::super::options::IntOptions;
use super::super::ports::Holder;
use super::cork::Held;
use super::flow::Flow;
use super::{RCVBUF_DEFAULT, SNDBUF_DEFAULT};
use crate::errno::{Errno, SysResult};
use crate::executor::{Events, WaitQueue};
use crate::fs::ring::ByteRing;
use crate::net::message::Incoming;
use crate::net::namespace::Net;
use crate::net::options::Options;
use crate::net::stack::route::Query;
use crate::sync::Mutex;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize};
use std::sync::{Arc, Weak};

/// Bytes that may wait at a receiver if neither side has set its buffers. Linux lets them grow to megabytes;
/// more than fits into the caches only makes both sides slower.
const WINDOW: usize = 512 << 10;

/// What a socket does.
#[derive(Debug, Default)]
pub(super) enum Phase {
    /// Nothing, or nothing any more.
    #[default]
    Closed,
    /// It takes connections.
    Listening {
        backlog: usize,
        /// The server's ends of connections that nobody has accepted.
        pending: VecDeque<Arc<Tcp>>,
        /// Those for whom the backlog was full.
        waiting: VecDeque<Weak<Tcp>>,
    },
    /// It waits for room in a listener's backlog.
    Connecting,
    /// It has a peer.
    Established,
    /// It has, had or is to get a connection over an interface, which knows the rest.
    Remote(Arc<Flow>),
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) phase: Phase,
    pub(super) local: Option<SocketAddr>,
    /// It holds the port of `local`.
    pub(super) holds_port: bool,
    pub(super) remote: Option<SocketAddr>,
    pub(super) peer: Option<Arc<Tcp>>,
    pub(super) inbox: ByteRing,
    /// What of it the peer holds back.
    pub(super) held: Option<Held>,
    /// The last urgent byte.
    pub(super) urgent: Option<Urgent>,
    pub(super) rcv_shut: bool,
    pub(super) snd_shut: bool,
    /// The peer has said that it sends no more.
    pub(super) fin_received: bool,
    /// The socket was closed.
    pub(super) dead: bool,
    /// A non-blocking `connect` succeeded and the next one is to say so.
    pub(super) unreported: bool,
}

/// An urgent byte: it stays among the others, which stop before it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Urgent {
    /// How many bytes are before it.
    pub(super) at: usize,
    /// Nobody has received it apart.
    pub(super) fresh: bool,
}

/// One socket.
#[derive(Debug)]
pub(super) struct Tcp {
    pub(super) family: i32,
    pub(super) uid: u32,
    pub(super) options: Arc<Options>,
    pub(super) ints: IntOptions,
    pub(super) queue: WaitQueue,
    /// Of a listener: connections that nobody is told of until there is data (`TCP_DEFER_ACCEPT`).
    pub(super) deferred: AtomicUsize,
    /// What it sends waits for more (`TCP_CORK`).
    pub(super) is_corked: AtomicBool,
    /// How many bytes it has sent over `lo`.
    pub(super) sent: AtomicU32,
    pub(super) state: Mutex<State>,
    /// What was heard of packets that did not arrive.
    pub(super) errors: Mutex<Errors>,
}

impl Holder for Tcp {
    fn listens(&self) -> bool {
        matches!(self.state.lock().phase, Phase::Listening { .. })
    }
}

impl Tcp {
    pub(super) fn new(family: i32, uid: u32, options: Arc<Options>, ints: IntOptions) -> Arc<Tcp> {
        let is_corked = AtomicBool::new(ints.is_on(libc::IPPROTO_TCP, libc::TCP_CORK));
        let (queue, deferred) = (WaitQueue::new(), AtomicUsize::new(0));
        Arc::new(Tcp {
            family,
            uid,
            options,
            ints,
            queue,
            deferred,
            is_corked,
            sent: AtomicU32::new(0),
            state: Mutex::default(),
            errors: Mutex::default(),
        })
    }

    /// The namespace it is in.
    pub(super) fn net(&self) -> &Arc<Net> {
        &self.ints.net
    }

    /// What its options say of routes.
    pub(super) fn query(&self) -> Query {
        self.options.query()
    }

    /// Its connection over an interface.
    pub(super) fn flow(&self) -> Option<Arc<Flow>> {
        match &self.state.lock().phase {
            Phase::Remote(flow) => Some(flow.clone()),
            _ => None,
        }
    }

    /// Whether a `connect` is under way.
    pub(super) fn is_connecting(&self) -> bool {
        let state = self.state.lock();
        match &state.phase {
            Phase::Connecting => true,
            Phase::Remote(flow) => {
                let flow = flow.clone();
                drop(state);
                flow.outcome_is_open()
            }
            _ => false,
        }
    }

    /// How much may wait at `to` of what this socket sends.
    pub(super) fn window(&self, to: &Tcp) -> usize {
        let (snd, rcv) = (self.options.sndbuf(), to.options.rcvbuf());
        if snd == SNDBUF_DEFAULT && rcv == RCVBUF_DEFAULT { WINDOW } else { snd as usize + rcv as usize }
    }

    /// Whether pollers are told that it is writable: a third of the window is free.
    pub(super) fn is_writable(used: usize, window: usize) -> bool {
        window.saturating_sub(used) >= used.div_ceil(2).max(1)
    }

    /// Whether its user wants to hear at once of what did not arrive (`IP_RECVERR`).
    pub(super) fn wants_errors(&self, failed: &Failed) -> bool {
        if failed.to.is_ipv4() {
            self.ints.is_on(libc::IPPROTO_IP, libc::IP_RECVERR)
        } else {
            self.ints.is_on(libc::IPPROTO_IPV6, libc::IPV6_RECVERR)
        }
    }

    /// Keeps an error for `MSG_ERRQUEUE`; as Linux does over IPv4 whether or not anybody has asked.
    pub(super) fn queue_error(&self, failed: Failed) {
        if failed.to.is_ipv4() || self.wants_errors(&failed) {
            self.errors.lock().push(failed);
        }
    }

    /// `MSG_ERRQUEUE`.
    pub(super) fn receive_error(&self, buf: &mut [u8]) -> SysResult<Incoming> {
        let (failed, next) = self.errors.lock().pop().ok_or(Errno::AGAIN)?;
        // The pending error goes with the last of them.
        let _ = self.options.take_error();
        if let Some(next) = next {
            self.options.set_error(next);
        }
        Ok(failed.into_incoming(self.family, buf))
    }

    /// Tells who waits that everything may have changed.
    pub(super) fn notify_all(&self) {
        self.queue.notify(Events::READABLE | Events::WRITABLE | Events::PRI);
    }

    /// The peer sends no more.
    pub(super) fn fin(&self) {
        let mut state = self.state.lock();
        if !matches!(state.phase, Phase::Established) {
            return;
        }
        state.rcv_shut = true;
        state.fin_received = true;
        state.show();
        drop(state);
        self.notify_all();
    }

    /// The peer broke the connection.
    pub(super) fn reset(&self) {
        let mut state = self.state.lock();
        if !matches!(state.phase, Phase::Established) {
            return;
        }
        self.net().counters.tcp_reset.add(1);
        self.net().counters.tcp_resets_sent.add(1);
        self.options.set_error(if state.fin_received { Errno::PIPE } else { Errno::CONNRESET });
        state.phase = Phase::Closed;
        state.rcv_shut = true;
        state.snd_shut = true;
        let peer = state.peer.take();
        drop(state);
        drop(peer);
        self.notify_all();
    }

    /// The connection that this socket was to have was refused.
    pub(super) fn refuse(&self) {
        let mut state = self.state.lock();
        if matches!(state.phase, Phase::Connecting) {
            self.net().counters.tcp_failed.add(1);
            self.net().counters.tcp_resets_sent.add(1);
            state.phase = Phase::Closed;
            state.rcv_shut = true;
            state.snd_shut = true;
            self.options.set_error(Errno::CONNREFUSED);
        }
        drop(state);
        self.notify_all();
    }

    /// The socket is closed.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.dead = true;
        state.rcv_shut = true;
        state.snd_shut = true;
        let phase = std::mem::take(&mut state.phase);
        let unread = state.shown() > 0;
        state.show();
        state.inbox.clear();
        let peer = state.peer.take();
        let port = state.local.filter(|_| state.holds_port).map(|local| local.port());
        state.holds_port = false;
        drop(state);
        if let Some(port) = port {
            self.net().inet.tcp.ports.lock().release(port, self);
        }
        let abort = self.options.linger().is_some_and(|time| time.is_zero());
        if let Some(peer) = peer {
            if unread || abort { peer.reset() } else { peer.fin() }
        }
        if let Phase::Remote(flow) = &phase {
            flow.close(unread || abort);
        }
        abandon(phase);
    }

    /// What is ready (`tcp_poll`).
    pub(super) fn poll(&self) -> Events {
        let state = self.state.lock();
        let mut ready = Events::empty();
        ready.set(Events::ERR, self.options.has_error() || !self.errors.lock().is_empty());
        let established = match &state.phase {
            Phase::Listening { pending, .. } => {
                return if pending.is_empty() { Events::empty() } else { Events::IN | Events::RDNORM };
            }
            Phase::Connecting => return ready,
            Phase::Remote(flow) => {
                let flow = flow.clone();
                let unread = if state.inbox.is_empty() { Events::empty() } else { Events::IN | Events::RDNORM };
                drop(state);
                return flow.poll() | unread | ready;
            }
            Phase::Closed => false,
            Phase::Established => true,
        };
        if !established || (state.rcv_shut && state.snd_shut) {
            ready |= Events::HUP;
        }
        if state.rcv_shut {
            ready |= Events::IN | Events::RDNORM | Events::RDHUP;
        }
        // An urgent byte that comes next is not for ordinary readers.
        let apart = state.urgent.is_some_and(|urgent| urgent.at == 0) && !self.options.is_on(libc::SO_OOBINLINE);
        if state.shown() >= self.options.rcvlowat() + usize::from(apart) {
            ready |= Events::IN | Events::RDNORM;
        }
        ready.set(Events::PRI, state.urgent.is_some_and(|urgent| urgent.fresh));
        let peer = state.peer.clone().filter(|_| !state.snd_shut);
        drop(state);
        let writable = peer.is_none_or(|peer| {
            let used = peer.state.lock().inbox.len();
            Tcp::is_writable(used, self.window(&peer))
        });
        if writable {
            ready |= Events::OUT | Events::WRNORM;
        }
        ready
    }
}

/// A listener goes: nobody will accept those who wait.
pub(super) fn abandon(phase: Phase) {
    let Phase::Listening { pending, waiting, .. } = phase else { return };
    for end in pending {
        let peer = end.state.lock().peer.clone();
        if let Some(peer) = peer {
            peer.reset();
        }
        end.close();
    }
    for end in waiting.into_iter().filter_map(|end| end.upgrade()) {
        end.refuse();
    }
}
