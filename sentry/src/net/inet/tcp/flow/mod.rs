//! A connection over an interface.
//!
//! A [`Flow`] is the protocol machine with what a socket adds: shut halves, errors, a life after `close`. Its lock is
//! taken after none of an endpoint's; endpoints are told without it.

mod pump;
mod read;
mod write;

use super::super::errors::Failed;
use super::endpoint::Tcp;
use crate::errno::{Errno, SysResult};
use crate::executor::{Events, TimerId, Timers};
use crate::net::namespace::Net;
use crate::net::options::{Options, Stage};
use crate::net::stack::route::{Hop, Query};
use crate::net::stack::scope;
use crate::net::stack::tcp::segment::Segment;
use crate::net::stack::tcp::{Consent, Figures, Machine, Room, State, Tuning};
use crate::net::sysctl::Sysctls;
use crate::sync::Mutex;
pub(super) use read::around_urgent;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// Room in each direction if the guest has not said, at first and at most (`net.ipv4.tcp_rmem`, `tcp_wmem`).
const RECEIVE: [i64; 3] = [4096, 131_072, 6 << 20];
const SEND: [i64; 3] = [4096, 16_384, 4 << 20];
/// Room for what is sent before it is known how fast it goes: what keeps a fast link busy, and small enough to stay in
/// the caches. It is only taken by what is in it.
const SEND_FIRST: usize = 512 << 10;
/// The least that makes sense.
const BUFFER_MIN: usize = 2 << 10;
/// The most.
const BUFFER_MAX: usize = 32 << 20;
/// TCP needs room for its headers and some data, however little an interface carries.
const MTU_MIN: usize = 576;
/// Marks of routers are used if the other side asks (`tcp_ecn`).
const ECN: i64 = 2;
/// How long a closed socket waits for the other side's end (`tcp_fin_timeout`).
const FIN_WAIT: i64 = 60;

/// Both ends of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
}

/// A connection.
pub(in crate::net) struct Flow {
    /// Its namespace, which goes with its last socket and takes what outlives those with it.
    net: Weak<Net>,
    pub(super) key: Key,
    hop: Hop,
    mtu: usize,
    options: Arc<Options>,
    inner: Mutex<Inner>,
}

struct Inner {
    machine: Machine,
    /// Somebody puts out packets, without the lock meanwhile: nobody else does, or they would overtake each other.
    pumping: bool,
    /// It is in the [`outbox`].
    is_posted: bool,
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
    /// Ends of messages whose times are wanted, and whether they were sent.
    stamps: VecDeque<(u64, bool)>,
    seen: Seen,
}

/// What its owner knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    state: State,
    received: usize,
    writable: bool,
    urgent: bool,
}

impl std::fmt::Debug for Flow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Flow({} - {})", self.key.local, self.key.remote)
    }
}

impl Drop for Flow {
    /// What waits for its time would keep its memory until then: of a flood that is much.
    fn drop(&mut self) {
        let timer = self.inner.lock().timer.take();
        if let Some((id, _)) = timer {
            Timers::get().cancel(id);
        }
    }
}

impl Flow {
    /// A connection of `owner`, or one that its listener may get.
    pub(super) fn new(key: Key, owner: &Arc<Tcp>, embryo: bool) -> SysResult<Arc<Flow>> {
        let (net, layout) = (owner.net(), owner.net().layout());
        let mut query = Query { from: Some(key.local.ip()), ..owner.query() };
        let scope = scope::interface(&key.remote);
        if scope > 0 {
            query.oif = scope;
        }
        let hop = layout.hop(key.remote.ip(), &query)?;
        let mtu = layout.link(hop.interface).ok_or(Errno::NETUNREACH)?.mtu.max(MTU_MIN);
        let machine = Machine::new(key.local.ip(), mtu, rooms(&net.sysctl, &owner.options), Instant::now());
        let options = if embryo { Arc::new(owner.options.inherit()) } else { owner.options.clone() };
        if embryo && scope > 0 {
            options.bind_interface(scope);
        }
        let inner = Inner {
            machine,
            pumping: false,
            is_posted: false,
            owner: Arc::downgrade(owner),
            embryo,
            rcv_shut: false,
            snd_shut: false,
            orphan: None,
            ended: false,
            unreported: false,
            timer: None,
            stamps: VecDeque::new(),
            seen: Seen { state: State::Closed, received: 0, writable: false, urgent: false },
        };
        let flow = Arc::new(Flow { net: net.weak(), key, hop, mtu, options, inner: Mutex::new(inner) });
        flow.configure(owner);
        Ok(flow)
    }

    /// Its namespace, if that is still there.
    pub(super) fn net(&self) -> Option<Arc<Net>> {
        self.net.upgrade()
    }

    /// Sends the first packet of a connection.
    pub(super) fn connect(self: &Arc<Self>) -> SysResult<()> {
        let mut inner = self.inner.lock();
        inner.unreported = true;
        inner.machine.connect(self.key.local, self.key.remote, Instant::now());
        self.pump(inner);
        Ok(())
    }

    /// Waits for the packet that [`input`](Self::input) gets next.
    pub(super) fn listen(&self) {
        self.inner.lock().machine.listen(self.key.local);
    }

    /// Takes over the options of a socket that concern the protocol.
    pub(super) fn configure(self: &Arc<Self>, end: &Tcp) {
        let number = |name| end.ints.value(libc::IPPROTO_TCP, name).max(0).unsigned_abs();
        let seconds = |name| Duration::from_secs(number(name).into());
        let keep_alive = end.options.is_on(libc::SO_KEEPALIVE);
        let probes = (seconds(libc::TCP_KEEPIDLE), seconds(libc::TCP_KEEPINTVL), number(libc::TCP_KEEPCNT).max(1));
        let patience = Duration::from_millis(number(libc::TCP_USER_TIMEOUT).into());
        let v4 = self.key.remote.is_ipv4();
        let class = match v4 {
            true => end.ints.value(libc::IPPROTO_IP, libc::IP_TOS),
            false => end.ints.value(libc::IPPROTO_IPV6, libc::IPV6_TCLASS),
        };
        let hops = match v4 {
            true => end.ints.value(libc::IPPROTO_IP, libc::IP_TTL),
            false => end.ints.value(libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS),
        };
        let tuning = Tuning {
            nodelay: number(libc::TCP_NODELAY) != 0,
            cork: number(libc::TCP_CORK) != 0,
            keep_alive: keep_alive.then_some(probes),
            patience: Some(patience).filter(|time| !time.is_zero()),
            syn_retries: number(libc::TCP_SYNCNT),
            mss: u16::try_from(number(libc::TCP_MAXSEG)).ok().filter(|mss| *mss > 0),
            inline: end.options.is_on(libc::SO_OOBINLINE),
            class: class.clamp(0, 255) as u8,
            hops: hops.clamp(1, 255) as u8,
            ecn: Consent::of(end.net().sysctl.number("net/ipv4/tcp_ecn", ECN)),
            ..Tuning::default()
        };
        let (receive, send) = rooms(&end.net().sysctl, &end.options);
        let mut inner = self.inner.lock();
        inner.machine.tune(tuning);
        inner.machine.resize(receive, send);
        if !matches!(inner.machine().state(), State::Closed | State::Listen) {
            self.pump(inner);
        }
    }

    /// What waits for more to come goes out without it.
    pub(super) fn push(self: &Arc<Self>) {
        let mut inner = self.inner.lock();
        inner.machine.push();
        self.pump(inner);
    }

    /// `TCP_QUICKACK`.
    pub(super) fn hurry(self: &Arc<Self>) {
        let mut inner = self.inner.lock();
        inner.machine.hurry();
        self.pump(inner);
    }

    /// What there is to tell of it.
    pub(super) fn figures(&self) -> Figures {
        self.inner.lock().machine().figures()
    }

    /// A packet of this connection. [`settle`](Self::settle) follows once all that came are in.
    pub(super) fn input(&self, segment: &Segment<'_>) {
        let mut inner = self.inner.lock();
        let before = inner.machine().state();
        inner.machine.input(segment, Instant::now());
        let after = inner.machine().state();
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
        let mut inner = self.inner.lock();
        inner.is_posted = false;
        self.pump(inner);
    }

    /// The network says that a packet did not arrive, the one that began with this number.
    pub(super) fn failed(self: &Arc<Self>, sequence: u32, failed: Failed) {
        let mut inner = self.inner.lock();
        let state = inner.machine().state();
        let owner = inner.owner.upgrade().filter(|_| !inner.embryo);
        let Some(owner) = owner.filter(|_| inner.machine().covers(sequence)) else { return };
        match state {
            State::Closed | State::Listen | State::TimeWait => {}
            State::SynSent | State::SynReceived => {
                inner.machine.abort();
                self.options.set_error(failed.errno);
                owner.queue_error(failed);
                self.pump(inner);
            }
            // Later it may only be a disturbance, and is repeated until patience ends.
            _ if owner.wants_errors(&failed) => {
                drop(inner);
                self.options.set_error(failed.errno);
                owner.queue.notify(Events::ALWAYS | Events::IN | Events::OUT);
            }
            _ => self.options.set_soft_error(failed.errno),
        }
    }

    /// A link on the way carries no longer packets; of which it is said of that with this number.
    pub(super) fn narrow(self: &Arc<Self>, sequence: u32, mtu: usize) {
        let mut inner = self.inner.lock();
        inner.machine.narrow(sequence, mtu);
        self.pump(inner);
    }

    /// Up to where it is acknowledged, and written.
    pub(super) fn positions(&self) -> (u32, u32) {
        let (acknowledged, _, written) = self.inner.lock().machine().progress();
        (acknowledged as u32, written as u32)
    }

    pub(super) fn shutdown(self: &Arc<Self>, how: i32) -> SysResult<()> {
        let mut inner = self.inner.lock();
        if inner.machine().state() == State::Closed {
            return Err(Errno::NOTCONN);
        }
        inner.rcv_shut |= how != libc::SHUT_WR;
        if how != libc::SHUT_RD && !inner.snd_shut {
            inner.snd_shut = true;
            inner.machine.close();
        }
        self.pump(inner);
        Ok(())
    }

    /// The socket is closed. `abort`: the other side is told that the connection is broken.
    pub(super) fn close(self: &Arc<Self>, abort: bool) {
        let mut inner = self.inner.lock();
        inner.orphan = Some(Instant::now());
        let unread = inner.machine().received() > 0;
        if abort || unread {
            inner.machine.abort();
        } else {
            inner.machine.close();
        }
        self.pump(inner);
    }

    /// Whether its socket was closed and the other side does not know, or has not received all.
    pub(super) fn is_closing(&self) -> bool {
        let inner = self.inner.lock();
        let state = inner.machine().state();
        inner.orphan.is_some() && matches!(state, State::FinWait1 | State::Closing | State::LastAck)
    }

    /// How a `connect` that was begun goes: `EAGAIN` while it is under way.
    pub(super) fn outcome(&self) -> SysResult<()> {
        match self.inner.lock().machine().state() {
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
        self.inner.lock().machine().state()
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

    /// Options for the socket of an accepted connection.
    pub(super) fn options(&self) -> Arc<Options> {
        self.options.clone()
    }
}

impl Inner {
    fn machine(&self) -> &Machine {
        &self.machine
    }

    fn is_writable(&self) -> bool {
        let machine = self.machine();
        !machine.may_send() || Tcp::is_writable(machine.unsent(), machine.capacity())
    }

    /// Times of what was written last are wanted.
    fn watch(&mut self) {
        /// Messages that are watched: more than are under way mostly.
        const WATCHED_MAX: usize = 256;
        if self.stamps.len() < WATCHED_MAX {
            let (_, _, written) = self.machine().progress();
            self.stamps.push_back((written, false));
        }
    }

    /// Tells the times of what was sent and acknowledged; whether somebody wants to know.
    fn stamp(&mut self, options: &Options) -> bool {
        let (acknowledged, sent, _) = self.machine.progress();
        let mut tells = false;
        for (end, is_sent) in &mut self.stamps {
            let number = options.number_of_bytes(*end as u32);
            if !*is_sent && sent >= *end {
                *is_sent = true;
                tells |= options.stamp_sent(&[Stage::Queued, Stage::Sent], number, &Vec::new);
            }
            if acknowledged >= *end {
                tells |= options.stamp_sent(&[Stage::Acknowledged], number, &Vec::new);
            }
        }
        self.stamps.retain(|(end, _)| acknowledged < *end);
        tells
    }

    /// Whether nobody is there any more to read what comes, or to wait for an end.
    fn adjust(&mut self, now: Instant, net: &Weak<Net>) {
        let Some(since) = self.orphan else { return };
        let (state, unread) = (self.machine().state(), self.machine().received() > 0);
        if unread || (state == State::FinWait2 && now.saturating_duration_since(since) >= fin_wait(net)) {
            self.machine.abort();
        }
    }
}

fn fin_wait(net: &Weak<Net>) -> Duration {
    let seconds = net.upgrade().map_or(FIN_WAIT, |net| net.sysctl.number("net/ipv4/tcp_fin_timeout", FIN_WAIT));
    Duration::from_secs(seconds.max(0).unsigned_abs())
}

/// Whether the other side sends no more.
fn has_ended(state: State) -> bool {
    matches!(state, State::CloseWait | State::LastAck | State::Closing | State::TimeWait | State::Closed)
}

/// Room for received and for sent bytes, at first and at most.
fn rooms(sysctl: &Sysctls, options: &Options) -> (Room, Room) {
    let [_, _, receive] = sysctl.numbers("net/ipv4/tcp_rmem", RECEIVE);
    let [_, _, send] = sysctl.numbers("net/ipv4/tcp_wmem", SEND);
    let most = |number: i64| usize::try_from(number).unwrap_or(0).clamp(BUFFER_MIN, BUFFER_MAX);
    let asked = |size: u32| (size as usize).clamp(BUFFER_MIN, BUFFER_MAX);
    // Half of what Linux counts is overhead.
    let receive = match options.rcvbuf() {
        super::RCVBUF_DEFAULT => (super::RCVBUF_DEFAULT as usize / 2, most(receive)),
        size => (asked(size) / 2, asked(size) / 2),
    };
    let send = match options.sndbuf() {
        super::SNDBUF_DEFAULT => (SEND_FIRST.min(most(send)), most(send)),
        size => (asked(size), asked(size)),
    };
    (receive, send)
}
