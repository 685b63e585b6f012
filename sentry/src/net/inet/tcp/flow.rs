//! A connection over an interface.
//!
//! A [`Flow`] is the protocol machine with what a socket adds: shut halves, errors, a life after `close`. Its lock is
//! taken after none of an endpoint's; endpoints are told without it.

use super::endpoint::Tcp;
use super::flows;
use super::wire::{Wire, deadline};
use crate::errno::{Errno, SysResult};
use crate::executor::{Events, Observer, TimerId, Timers};
use crate::net::message::Outgoing;
use crate::net::options::Options;
use crate::net::stack::{self, packet::Packet};
use crate::sync::{Mutex, MutexGuard};
use smoltcp::socket::tcp::State;
use smoltcp::time::Duration;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Instant;

/// Bytes that fit into each direction if the guest has not said: what keeps a fast link busy, and small enough to stay
/// in the caches.
const BUFFER: usize = 512 << 10;
/// The least that smoltcp goes well with: four segments.
const BUFFER_MIN: usize = 8 << 10;
/// The most.
const BUFFER_MAX: usize = 8 << 20;
/// How long a connection is tried (six repetitions of a SYN).
const CONNECT: Duration = Duration::from_secs(127);
/// How long data is repeated without an answer (`tcp_retries2`).
const SILENCE: Duration = Duration::from_secs(924);
/// How long a closed socket waits for the other side's end (`tcp_fin_timeout`).
const FIN_WAIT: std::time::Duration = std::time::Duration::from_secs(60);
/// Time before received data is acknowledged by itself.
const ACK_DELAY: Duration = Duration::from_millis(10);

/// Both ends of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
}

/// A connection.
pub(in crate::net) struct Flow {
    pub(super) key: Key,
    mtu: usize,
    options: Arc<Options>,
    inner: Mutex<Inner>,
}

struct Inner {
    wire: Wire,
    /// Who is told; a listener until there is a connection.
    owner: Weak<Tcp>,
    /// The owner is the listener.
    embryo: bool,
    rcv_shut: bool,
    snd_shut: bool,
    /// The socket was closed: nobody is told any more. Since when.
    orphan: Option<Instant>,
    /// It was seen at its end, and is in the table no more.
    ended: bool,
    /// The `connect` that began it has not yet been told of its success.
    unreported: bool,
    timer: Option<(TimerId, Instant)>,
    keep_alive: Option<Duration>,
    /// `TCP_USER_TIMEOUT`, and the most that keep-alive allows.
    patience: (Option<Duration>, Option<Duration>),
    seen: Seen,
}

/// What its owner knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    state: State,
    received: usize,
    writable: bool,
}

impl std::fmt::Debug for Flow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Flow({} - {})", self.key.local, self.key.remote)
    }
}

impl Flow {
    /// A connection of `owner`, or one that its listener may get.
    pub(super) fn new(key: Key, owner: &Arc<Tcp>, embryo: bool) -> SysResult<Arc<Flow>> {
        let stack = stack::get().ok_or(Errno::NETUNREACH)?;
        let hop = stack.route(key.remote.ip())?;
        let mtu = stack.link(hop.interface).ok_or(Errno::NETUNREACH)?.mtu;
        let mut wire = Wire::new(key.local.ip(), hop, mtu, buffers(&owner.options));
        wire.tcp().set_ack_delay(Some(ACK_DELAY));
        let options = if embryo { Arc::new(owner.options.inherit()) } else { owner.options.clone() };
        let inner = Inner {
            wire,
            owner: Arc::downgrade(owner),
            embryo,
            rcv_shut: false,
            snd_shut: false,
            orphan: None,
            ended: false,
            unreported: false,
            timer: None,
            keep_alive: None,
            patience: (None, None),
            seen: Seen { state: State::Closed, received: 0, writable: false },
        };
        let flow = Arc::new(Flow { key, mtu, options, inner: Mutex::new(inner) });
        flow.configure(owner);
        Ok(flow)
    }

    /// Sends the first packet of a connection.
    pub(super) fn connect(self: &Arc<Self>) -> SysResult<()> {
        let mut inner = self.inner.lock();
        inner.unreported = true;
        if !inner.wire.connect(self.key.local, self.key.remote) {
            return Err(Errno::ADDRNOTAVAIL);
        }
        self.pump(inner);
        Ok(())
    }

    /// Waits for the packet that [`input`](Self::input) gets next.
    pub(super) fn listen(&self) -> bool {
        self.inner.lock().wire.tcp().listen(self.key.local).is_ok()
    }

    /// Takes over the options of a socket that concern the protocol.
    pub(super) fn configure(&self, end: &Tcp) {
        let seconds = |name| Duration::from_secs(end.ints.value(libc::IPPROTO_TCP, name).max(0).unsigned_abs().into());
        let (idle, interval) = (seconds(libc::TCP_KEEPIDLE), seconds(libc::TCP_KEEPINTVL));
        let count = end.ints.value(libc::IPPROTO_TCP, libc::TCP_KEEPCNT).max(1).unsigned_abs();
        let keep_alive = end.options.is_on(libc::SO_KEEPALIVE);
        let user = end.ints.value(libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT).max(0).unsigned_abs();
        let nodelay = end.ints.is_on(libc::IPPROTO_TCP, libc::TCP_NODELAY);
        let mut inner = self.inner.lock();
        inner.patience = (
            Some(Duration::from_millis(user.into())).filter(|time| *time != Duration::ZERO),
            keep_alive.then(|| idle + interval * count),
        );
        inner.keep_alive = keep_alive.then(|| idle.min(interval));
        let keep_alive = inner.keep_alive;
        let socket = inner.wire.tcp();
        socket.set_nagle_enabled(!nodelay);
        socket.set_keep_alive(keep_alive);
    }

    /// A packet of this connection. [`settle`](Self::settle) follows once all that came are in.
    pub(super) fn input(&self, packet: &Packet<'_>) {
        let mut inner = self.inner.lock();
        let before = inner.wire.look().state();
        inner.wire.input(packet.bytes);
        let after = inner.wire.look().state();
        if after == State::Closed && before != State::Closed {
            self.was_reset(before);
        }
    }

    fn was_reset(&self, before: State) {
        match before {
            State::SynSent => self.options.set_error(Errno::CONNREFUSED),
            State::CloseWait => self.options.set_error(Errno::PIPE),
            State::LastAck | State::TimeWait | State::Listen => {}
            _ => self.options.set_error(Errno::CONNRESET),
        }
    }

    /// Acts on what came.
    pub(in crate::net) fn settle(self: &Arc<Self>) {
        self.pump(self.inner.lock());
    }

    /// The network says that packets do not arrive.
    pub(super) fn failed(self: &Arc<Self>, errno: Errno) {
        let mut inner = self.inner.lock();
        // Later it may only be a disturbance, and is repeated until patience ends.
        if inner.wire.look().state() == State::SynSent {
            inner.wire.tcp().abort();
            self.options.set_error(errno);
            self.pump(inner);
        }
    }

    /// Sends what can be sent, sets the timer, and tells the owner what has changed.
    fn pump(self: &Arc<Self>, mut inner: MutexGuard<'_, Inner>) {
        let now = Instant::now();
        inner.adjust(now);
        let before = inner.wire.look().state();
        inner.wire.output();
        let state = inner.wire.look().state();
        let timed_out = state == State::Closed && !matches!(before, State::Closed | State::TimeWait);
        if timed_out {
            self.options.set_error(Errno::TIMEDOUT);
        }
        let seen = Seen { state, received: inner.wire.look().recv_queue(), writable: inner.is_writable() };
        let events = events(inner.seen, seen);
        inner.seen = seen;
        let gone = matches!(state, State::Closed | State::Listen) && !inner.ended;
        inner.ended |= gone;
        let stays = state == State::TimeWait && inner.orphan.is_some();
        self.arm(&mut inner, now);
        let born = inner.embryo && matches!(state, State::Established | State::CloseWait);
        let owner = if inner.orphan.is_some() && !born { None } else { inner.owner.upgrade() };
        if born {
            inner.embryo = false;
            inner.owner = Weak::new();
        }
        let still_embryo = inner.embryo;
        drop(inner);
        if gone {
            flows::remove(self);
        } else if stays {
            flows::linger(self);
        }
        match owner {
            Some(listener) if born => {
                let end = listener.adopt(self);
                self.inner.lock().owner = Arc::downgrade(&end);
                listener.arrived(end);
            }
            Some(owner) if !still_embryo && !events.is_empty() => owner.queue.notify(events),
            // The listener is gone.
            None if born => self.close(true),
            _ => {}
        }
    }

    /// Has the machine looked at when its next timer is due.
    fn arm(self: &Arc<Self>, inner: &mut Inner, now: Instant) {
        let next = if inner.ended { None } else { inner.wire.next().map(deadline) };
        let end = inner.orphan.filter(|_| !inner.ended).map(|since| since + FIN_WAIT);
        let Some(next) = next.into_iter().chain(end).min() else { return };
        // One that comes too early costs less than setting it anew for each packet.
        match inner.timer {
            Some((_, at)) if at <= next && at > now => return,
            Some((id, _)) => {
                Timers::get().cancel(id);
            }
            None => {}
        }
        let id = Timers::get().add(next, Arc::new(Due(Arc::downgrade(self))));
        inner.timer = Some((id, next));
    }

    pub(super) fn send(self: &Arc<Self>, message: &Outgoing<'_>) -> SysResult<usize> {
        let mut inner = self.inner.lock();
        match inner.wire.look().state() {
            State::SynSent | State::SynReceived if !self.options.has_error() => return Err(Errno::AGAIN),
            _ => self.options.take_error()?,
        }
        if inner.snd_shut || !inner.wire.look().may_send() {
            return Err(Errno::PIPE);
        }
        if message.data.is_empty() {
            return Ok(0);
        }
        let count = inner.wire.tcp().send_slice(message.data).unwrap_or(0);
        inner.seen.writable = inner.is_writable();
        if count == 0 {
            return Err(Errno::AGAIN);
        }
        self.pump(inner);
        Ok(count)
    }

    /// Takes received bytes; none at the end.
    pub(super) fn receive(self: &Arc<Self>, buf: &mut [u8], peek: bool) -> SysResult<usize> {
        let mut inner = self.inner.lock();
        if inner.wire.look().recv_queue() == 0 {
            let state = inner.wire.look().state();
            if inner.rcv_shut || has_ended(state) {
                return if state == State::Closed { self.options.take_error().map(|()| 0) } else { Ok(0) };
            }
            self.options.take_error()?;
            return Err(Errno::AGAIN);
        }
        if peek {
            return Ok(inner.wire.tcp().peek_slice(buf).unwrap_or(0));
        }
        let mut count = 0;
        // The ring may wrap.
        while let Some(rest) = buf.get_mut(count..).filter(|rest| !rest.is_empty()) {
            match inner.wire.tcp().recv_slice(rest) {
                Ok(got) if got > 0 => count += got,
                _ => break,
            }
        }
        inner.seen.received = inner.wire.look().recv_queue();
        self.pump(inner);
        Ok(count)
    }

    pub(super) fn shutdown(self: &Arc<Self>, how: i32) -> SysResult<()> {
        let mut inner = self.inner.lock();
        if inner.wire.look().state() == State::Closed {
            return Err(Errno::NOTCONN);
        }
        inner.rcv_shut |= how != libc::SHUT_WR;
        if how != libc::SHUT_RD && !inner.snd_shut {
            inner.snd_shut = true;
            inner.wire.tcp().close();
        }
        self.pump(inner);
        Ok(())
    }

    /// The socket is closed. `abort`: the other side is told that the connection is broken.
    pub(super) fn close(self: &Arc<Self>, abort: bool) {
        let mut inner = self.inner.lock();
        inner.orphan = Some(Instant::now());
        let unread = inner.wire.look().recv_queue() > 0;
        let socket = inner.wire.tcp();
        if abort || unread {
            socket.abort();
        } else {
            socket.close();
        }
        self.pump(inner);
    }

    /// What is ready (`tcp_poll`).
    pub(super) fn poll(&self) -> Events {
        let inner = self.inner.lock();
        let (state, received) = (inner.wire.look().state(), inner.wire.look().recv_queue());
        let mut ready = Events::empty();
        ready.set(Events::ERR, self.options.has_error());
        if matches!(state, State::SynSent | State::SynReceived) {
            return ready;
        }
        let ended = inner.rcv_shut || has_ended(state);
        ready.set(Events::HUP, state == State::Closed || ended && inner.snd_shut);
        ready.set(Events::RDHUP, ended);
        ready.set(Events::IN | Events::RDNORM, ended || received >= self.options.rcvlowat());
        ready.set(Events::OUT | Events::WRNORM, inner.snd_shut || inner.is_writable());
        ready
    }

    /// How a `connect` that was begun goes: `EAGAIN` while it is under way.
    pub(super) fn outcome(&self) -> SysResult<()> {
        match self.inner.lock().wire.look().state() {
            State::SynSent | State::SynReceived => Err(Errno::AGAIN),
            State::Closed => Err(self.options.take_error().err().unwrap_or(Errno::CONNREFUSED)),
            _ => Ok(()),
        }
    }

    /// Whether a `connect` is under way, or failed and nobody was told.
    pub(super) fn outcome_is_open(&self) -> bool {
        let under_way = matches!(self.state(), State::SynSent | State::SynReceived);
        under_way || (self.state() == State::Closed && self.options.has_error())
    }

    /// Whether a `connect` is to be told of its success; it is told once.
    pub(super) fn take_unreported(&self) -> bool {
        std::mem::take(&mut self.inner.lock().unreported)
    }

    /// Whether it is not yet a connection that a listener has.
    pub(super) fn is_embryo(&self) -> bool {
        self.inner.lock().embryo
    }

    /// The state of the protocol.
    pub(super) fn state(&self) -> State {
        self.inner.lock().wire.look().state()
    }

    /// The state as `/proc/net/tcp` and `TCP_INFO` number it.
    pub(super) fn linux_state(&self) -> u8 {
        match self.state() {
            State::Established => 1,
            State::SynSent => 2,
            State::SynReceived => 3,
            State::FinWait1 => 4,
            State::FinWait2 => 5,
            State::TimeWait => 6,
            State::Closed => 7,
            State::CloseWait => 8,
            State::LastAck => 9,
            State::Listen => 10,
            State::Closing => 11,
        }
    }

    /// Whether it has another side.
    pub(super) fn is_connected(&self) -> bool {
        !matches!(self.state(), State::Closed | State::Listen | State::SynSent | State::SynReceived)
    }

    /// Longest packet.
    pub(super) fn mtu(&self) -> usize {
        self.mtu
    }

    /// Bytes received and not read, bytes not acknowledged.
    pub(super) fn queues(&self) -> (usize, usize) {
        let inner = self.inner.lock();
        (inner.wire.look().recv_queue(), inner.wire.look().send_queue())
    }

    /// Options for the socket of an accepted connection.
    pub(super) fn options(&self) -> Arc<Options> {
        self.options.clone()
    }
}

impl Inner {
    fn is_writable(&self) -> bool {
        let socket = self.wire.look();
        !socket.may_send() || Tcp::is_writable(socket.send_queue(), socket.send_capacity())
    }

    /// How long silence is borne in this state; a closed socket also has an end.
    fn adjust(&mut self, now: Instant) {
        let (user, keep) = self.patience;
        let socket = self.wire.tcp();
        let state = socket.state();
        let patience = match state {
            State::SynSent | State::SynReceived => Some(user.unwrap_or(CONNECT)),
            _ if socket.send_queue() > 0 => Some(user.unwrap_or(SILENCE)),
            State::FinWait1 | State::LastAck | State::Closing => Some(CONNECT),
            _ => keep,
        };
        socket.set_timeout(patience);
        let Some(since) = self.orphan else { return };
        // Nobody will read what comes now, and nobody waits for ever for an end.
        if socket.recv_queue() > 0 || (state == State::FinWait2 && now.duration_since(since) >= FIN_WAIT) {
            socket.abort();
        }
    }
}

struct Due(Weak<Flow>);

impl Observer for Due {
    fn notify(&self, _: Events) {
        if let Some(flow) = self.0.upgrade() {
            let mut inner = flow.inner.lock();
            inner.timer = None;
            flow.pump(inner);
        }
    }
}

/// Whether the other side sends no more.
fn has_ended(state: State) -> bool {
    matches!(state, State::CloseWait | State::LastAck | State::Closing | State::TimeWait | State::Closed)
}

/// What the owner is told.
fn events(before: Seen, after: Seen) -> Events {
    if before.state != after.state {
        return Events::READABLE | Events::WRITABLE;
    }
    let mut events = Events::empty();
    events.set(Events::IN | Events::RDNORM, after.received > before.received);
    events.set(Events::OUT | Events::WRNORM, after.writable && !before.writable);
    events
}

/// Room for received and for sent bytes.
fn buffers(options: &Options) -> (usize, usize) {
    let size = |asked: u32, default: u32| {
        if asked == default { BUFFER } else { (asked as usize).clamp(BUFFER_MIN, BUFFER_MAX) }
    };
    (size(options.rcvbuf(), super::RCVBUF_DEFAULT), size(options.sndbuf(), super::SNDBUF_DEFAULT))
}
