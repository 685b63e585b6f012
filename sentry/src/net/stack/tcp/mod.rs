//! TCP's protocol machine: one connection, which gets segments and a clock, and gives segments.
//!
//! A [`Machine`] knows neither sockets nor interfaces. Its [`input`] takes a segment by the rules of RFC 9293 (with
//! RFC 5961 and 7323), its [`output`] says what goes out next; what is under way and what of it is lost is [`flight`]'s,
//! how much may be under way [`congestion`]'s, what came [`receiver`]'s. Numbers on the wire have 32 bits; in here they
//! have 64, and never wrap.

mod congestion;
mod ecn;
mod flight;
mod input;
pub mod late;
mod numbers;
mod output;
mod queue;
mod receiver;
pub mod segment;
mod urgent;

use super::random;
use crate::spare;
use congestion::{RoundTrip, Window};
pub use ecn::Consent;
use ecn::Ecn;
use flight::Flight;
use queue::Queue;
pub use queue::{Frame, Pieces};
use receiver::Receiver;
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::LazyLock;
use std::time::{Duration, Instant};
use urgent::Urgency;
pub use urgent::Urgent;

/// Where the clock of time stamps begins.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// A packet that a machine has made.
#[derive(Debug)]
pub struct Sent {
    /// All headers, with room for the link's, without TCP's checksum.
    pub frame: Vec<u8>,
    /// What it carries.
    pub data: Pieces,
    /// Bytes of data in a segment, if it is to be cut into some.
    pub cut: Option<u16>,
}

impl Sent {
    /// All of it, in one piece.
    pub fn bytes(&self) -> Vec<u8> {
        let pieces = self.data.iter().map(|piece| &**piece);
        std::iter::once(self.frame.as_slice()).chain(pieces).collect::<Vec<_>>().concat()
    }
}

/// Where a connection is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// There is none.
    Closed,
    /// It waits for somebody to begin.
    Listen,
    /// It has asked.
    SynSent,
    /// It was asked, and has answered.
    SynReceived,
    /// Both sides may send.
    Established,
    /// This side has ended, which the other does not know.
    FinWait1,
    /// This side has ended.
    FinWait2,
    /// The other side has ended.
    CloseWait,
    /// Both have, and neither knows of the other.
    Closing,
    /// Both have, and the other side does not know.
    LastAck,
    /// It is over but for late segments.
    TimeWait,
}

/// What a socket wants of its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tuning {
    /// Small segments go out at once.
    pub nodelay: bool,
    /// Small segments wait for more.
    pub cork: bool,
    /// Time of silence before it is asked whether the other side lives, between two such questions, and how many there
    /// are.
    pub keep_alive: Option<(Duration, Duration, u32)>,
    /// How long data may wait for an acknowledgement.
    pub patience: Option<Duration>,
    /// How often a first segment is repeated.
    pub syn_retries: u32,
    /// Time before received data is acknowledged by itself.
    pub ack_delay: Duration,
    /// Longest segment, if not what the link allows.
    pub mss: Option<u16>,
    /// Urgent bytes stay among the others.
    pub inline: bool,
    /// Type of service, or traffic class.
    pub class: u8,
    /// Time to live, or hop limit.
    pub hops: u8,
    /// Whether routers may mark packets.
    pub ecn: Consent,
}

impl Default for Tuning {
    fn default() -> Tuning {
        Tuning {
            nodelay: false,
            cork: false,
            keep_alive: None,
            patience: None,
            syn_retries: 6,
            ack_delay: Duration::from_millis(40),
            mss: None,
            inline: false,
            class: 0,
            hops: 64,
            ecn: Consent::default(),
        }
    }
}

/// How much fits into a direction at first, and how much it may become.
pub type Room = (usize, usize);

/// What there is to tell of a connection (`TCP_INFO`).
#[derive(Debug, Clone, Copy, Default)]
pub struct Figures {
    /// Round trip and its variation.
    pub trip: (Duration, Duration),
    /// The shortest round trip.
    pub least: Duration,
    /// Time after which something is repeated.
    pub timeout: Duration,
    /// Window and threshold of congestion, in segments.
    pub window: (u32, u32),
    /// Segments under way, arrived behind gaps, lost.
    pub flight: (u32, u32, u32),
    /// Repetitions now, and in all.
    pub repeated: (u32, u32),
    /// Bytes of data in a segment.
    pub mss: u32,
    /// Bytes acknowledged, and received.
    pub bytes: (u64, u64),
    /// Segments sent, and received.
    pub segments: (u32, u32),
    /// Room for what is received.
    pub space: u32,
    /// Both sides know blocks, and time stamps.
    pub options: (bool, bool),
    /// Both know marks of routers, and the other side's packets can have them.
    pub marks: (bool, bool),
    /// Shifts of windows: the other side's, and ours.
    pub scales: (u8, u8),
    /// The window that the other side offers.
    pub offered: u32,
}

/// When something is to be done without being asked.
#[derive(Debug, Default, Clone, Copy)]
struct Alarms {
    /// What is under way is taken for lost.
    repeat: Option<Instant>,
    /// The last segment is repeated to see what comes back.
    probe: Option<Instant>,
    /// Reordered segments would have come by now.
    look: Option<Instant>,
    /// A closed window is asked for.
    persist: Option<Instant>,
    /// Received data is acknowledged.
    acknowledge: Option<Instant>,
    /// A small segment has waited long enough.
    uncork: Option<Instant>,
    /// Late segments have come by now.
    wait: Option<Instant>,
}

/// What was before a loss that may turn out to have been none.
#[derive(Debug, Clone)]
struct Undo {
    window: Window,
    /// The clock when something was first repeated.
    stamp: Option<u32>,
}

/// What is done about losses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Recovery {
    /// It ends when all before this arrived.
    end: u64,
    /// All was taken for lost.
    timed_out: bool,
}

/// One connection.
#[derive(Debug)]
pub struct Machine {
    state: State,
    local: SocketAddr,
    remote: SocketAddr,
    mtu: usize,
    tuning: Tuning,
    /// What the socket gave and the other side has not acknowledged, from number `base` on.
    queue: Queue,
    base: u64,
    first: u64,
    una: u64,
    next: u64,
    /// The socket gives no more.
    fin: bool,
    room: Room,
    /// End of the other side's window, and the segment that told of it.
    edge: u64,
    told: (u64, u64),
    largest_window: u64,
    shift: u8,
    mss: usize,
    flight: Flight,
    window: Window,
    trip: RoundTrip,
    recovery: Option<Recovery>,
    undo: Option<Undo>,
    duplicates: u32,
    /// The most that was under way since `peak.1` was sent.
    peak: (usize, u64),
    /// End of the last segment that was not full.
    small: u64,
    may_sack: bool,
    stamps: bool,
    stamp_offset: u32,
    /// The other side's clock, when it was told, and up to where data was acknowledged then.
    echo: (u32, u64),
    rx: Receiver,
    acknowledge: bool,
    unacknowledged: usize,
    /// Segments that are acknowledged at once.
    quick: u8,
    alarms: Alarms,
    urgent: Urgency,
    ecn: Ecn,
    opens: bool,
    resets: Option<u64>,
    /// Something is repeated whatever the window says.
    probes: bool,
    /// A question is to be sent.
    asks: bool,
    /// Questions without an answer, to a silent side or one without room.
    asked: u32,
    heard: Instant,
    spoke: Instant,
    /// Since when the other side acknowledges nothing.
    stuck: Instant,
    challenged: Option<Instant>,
    counts: Counts,
    sent: VecDeque<Sent>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    acknowledged: u64,
    received: u64,
    segments_in: u32,
    segments_out: u32,
    repeated: u32,
}

/// `net.ipv4.tcp_base_mss` without headers: what every network carries.
const MSS_DEFAULT: u16 = 536;
/// Less data in a segment is not worth its headers, whatever the other side says.
const MSS_MIN: usize = 64;
/// Where numbers begin in here: far from zero.
const ORIGIN: u64 = 1 << 40;
/// Segments that are acknowledged at once at the beginning, when the other side's window is small.
const QUICK: u8 = 16;

impl Machine {
    /// A machine for packets from `local` over a link with this MTU, with room for what is received, and sent.
    pub fn new(local: IpAddr, mtu: usize, (receive, send): (Room, Room), now: Instant) -> Machine {
        // A number for each connection that says nothing of another's.
        let first = ORIGIN + u64::from(random());
        let nobody = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0);
        Machine {
            state: State::Closed,
            local: SocketAddr::new(local, 0),
            remote: nobody,
            mtu,
            tuning: Tuning::default(),
            queue: Queue::default(),
            base: first + 1,
            first,
            una: first,
            next: first,
            fin: false,
            room: send,
            edge: first,
            told: (0, 0),
            largest_window: 0,
            shift: 0,
            mss: usize::from(MSS_DEFAULT),
            flight: Flight::default(),
            window: Window::new(MSS_DEFAULT.into()),
            trip: RoundTrip::default(),
            recovery: None,
            undo: None,
            duplicates: 0,
            peak: (0, first),
            small: first,
            may_sack: false,
            stamps: false,
            stamp_offset: random(),
            echo: (0, 0),
            rx: Receiver::new(receive.0, receive.1),
            acknowledge: false,
            unacknowledged: 0,
            quick: QUICK,
            alarms: Alarms::default(),
            urgent: Urgency::default(),
            ecn: Ecn::default(),
            opens: false,
            resets: None,
            probes: false,
            asks: false,
            asked: 0,
            heard: now,
            spoke: now,
            stuck: now,
            challenged: None,
            counts: Counts::default(),
            sent: VecDeque::new(),
        }
    }

    /// Begins to connect.
    pub fn connect(&mut self, local: SocketAddr, remote: SocketAddr, now: Instant) {
        (self.local, self.remote) = (local, remote);
        let first = ORIGIN + u64::from(numbers::first(local, remote, now.saturating_duration_since(*START)));
        (self.base, self.first, self.una, self.next) = (first + 1, first, first, first);
        (self.edge, self.peak, self.small) = (first, (0, first), first);
        self.stamp_offset = numbers::stamps(local.ip(), remote.ip());
        self.state = State::SynSent;
        self.stuck = now;
        self.opens = true;
        self.offer();
    }

    /// Waits for a segment that begins a connection.
    pub fn listen(&mut self, local: SocketAddr) {
        self.local = local;
        self.state = State::Listen;
    }

    /// Chooses the shift of windows, which cannot be changed later.
    fn offer(&mut self) {
        let most = self.rx.capacity_max();
        self.rx.scale = (0..14).find(|scale| most >> scale <= usize::from(u16::MAX)).unwrap_or(14);
    }

    /// Where it is in its life.
    pub fn state(&self) -> State {
        self.state
    }

    /// Takes over what a socket wants.
    pub fn tune(&mut self, tuning: Tuning) {
        // A longer silence than was borne until now may begin.
        if self.tuning.keep_alive != tuning.keep_alive {
            self.asked = 0;
        }
        if self.tuning.cork && !tuning.cork {
            self.push();
        }
        self.tuning = tuning;
    }

    /// What waits for more to come goes out without it.
    pub fn push(&mut self) {
        self.alarms.uncork = None;
        self.small = self.una;
    }

    /// Changes the room for what is received, and sent.
    pub fn resize(&mut self, receive: Room, send: Room) {
        self.rx.resize(receive.0, receive.1);
        self.room = send;
    }

    /// A link on the way carries no longer packets than this, as is said of the one that began with `sequence`.
    pub fn narrow(&mut self, sequence: u32, mtu: usize) {
        let is_ours = (self.una..self.next).contains(&segment::near(self.una, sequence));
        if !is_ours || mtu >= self.mtu || mtu < self.header_len() + MSS_MIN {
            return;
        }
        self.mtu = mtu;
        let most = mtu - self.header_len();
        if most < self.mss {
            self.mss = most;
            self.flight.cut(most);
            self.flight.lose_all();
        }
    }

    /// Whether a packet that began with this number may be one that is under way.
    pub fn covers(&self, sequence: u32) -> bool {
        (self.una..=self.next).contains(&segment::near(self.una, sequence))
    }

    /// Up to which number it is acknowledged, sent, and written.
    pub fn progress(&self) -> (u64, u64, u64) {
        (self.una, self.next, self.end())
    }

    /// Bytes that came and were not read.
    pub fn received(&self) -> usize {
        self.rx.len()
    }

    /// Bytes that were given and not acknowledged.
    pub fn unsent(&self) -> usize {
        self.queue.len()
    }

    /// How many bytes fit into the direction to the other side, as fast as it takes them.
    pub fn capacity(&self) -> usize {
        self.room.0.max((2 * self.window.size()).min(self.room.1))
    }

    /// How many bytes there is room for.
    pub fn room(&self) -> usize {
        self.capacity().saturating_sub(self.queue.len())
    }

    /// Whether the socket may give bytes, if there is room.
    pub fn may_send(&self) -> bool {
        matches!(self.state, State::Established | State::CloseWait) && !self.fin
    }

    /// Takes bytes to send, as many as there is room for. `more`: others follow at once.
    pub fn send(&mut self, data: &[u8], more: bool, now: Instant) -> usize {
        if !self.may_send() {
            return 0;
        }
        let count = data.len().min(self.room());
        self.queue.push(data.get(..count).unwrap_or_default());
        self.given((more || self.tuning.cork) && count == data.len(), now);
        count
    }

    /// The same for the first `len` bytes of a buffer, which it takes.
    pub fn send_buffer(&mut self, buffer: Vec<u8>, len: usize, more: bool, now: Instant) -> usize {
        if !self.may_send() {
            return 0;
        }
        let count = len.min(self.room());
        match count {
            0 => spare::give(buffer),
            _ => self.queue.push_buffer(buffer, count),
        }
        self.given((more || self.tuning.cork) && count == len, now);
        count
    }

    /// The socket has given all it could. `more`: others follow at once.
    fn given(&mut self, more: bool, now: Instant) {
        /// How long a small segment waits for more at most.
        const CORKED: Duration = Duration::from_millis(200);
        if more {
            self.alarms.uncork.get_or_insert(now + CORKED);
        } else {
            self.alarms.uncork = None;
        }
    }

    /// Copies received bytes.
    pub fn peek(&self, skip: usize, out: &mut [u8]) -> usize {
        self.rx.peek(skip, out)
    }

    /// Received bytes, with the memory that they are in.
    pub fn pieces(&self, most: usize) -> Pieces {
        self.rx.pieces(most)
    }

    /// The first received bytes, in one piece.
    pub fn front(&self) -> &[u8] {
        self.rx.front()
    }

    /// Removes received bytes.
    pub fn consume(&mut self, count: usize, now: Instant) {
        self.rx.read(count, self.trip.smooth().unwrap_or_default(), now);
        self.urgent.pass(self.rx.position());
        if !matches!(self.state, State::Closed | State::TimeWait) && self.rx.wants_update(self.mss) {
            self.acknowledge = true;
        }
    }

    /// This side sends no more than it was given.
    pub fn close(&mut self) {
        match self.state {
            State::Listen | State::SynSent => self.die(),
            State::SynReceived => self.fin = true,
            State::Established => (self.state, self.fin) = (State::FinWait1, true),
            State::CloseWait => (self.state, self.fin) = (State::LastAck, true),
            _ => {}
        }
    }

    /// Breaks the connection.
    pub fn abort(&mut self) {
        if !matches!(self.state, State::Closed | State::Listen | State::SynSent | State::TimeWait) {
            self.resets = Some(self.next);
        }
        self.die();
    }

    /// It is over; what came can still be read.
    fn die(&mut self) {
        self.state = State::Closed;
        self.alarms = Alarms::default();
        self.queue.clear();
        self.flight.clear();
        self.acknowledge = false;
        self.opens = false;
        self.probes = false;
        self.asks = false;
    }

    /// What there is to tell.
    pub fn figures(&self) -> Figures {
        let segments = |bytes: usize| (bytes / self.mss.max(1)) as u32;
        let (flying, arrived) = (self.flight.len() as u32, segments(self.flight.arrived()));
        let threshold = match self.window.threshold() {
            usize::MAX => i32::MAX as u32,
            bytes => segments(bytes),
        };
        Figures {
            trip: (self.trip.smooth().unwrap_or_default(), self.trip.variation()),
            least: self.trip.least(),
            timeout: self.trip.timeout(),
            window: (segments(self.window.size()), threshold),
            flight: (flying, arrived, self.flight.lost() as u32),
            repeated: (self.trip.backoff, self.counts.repeated),
            mss: self.mss as u32,
            bytes: (self.counts.acknowledged, self.counts.received),
            segments: (self.counts.segments_out, self.counts.segments_in),
            space: self.rx.capacity() as u32,
            options: (self.may_sack, self.stamps),
            marks: self.uses_marks(),
            scales: (self.shift, self.rx.scale),
            offered: self.edge.saturating_sub(self.una) as u32,
        }
    }

    /// Longest packet.
    pub fn mtu(&self) -> usize {
        self.mtu
    }

    /// Bytes of data in a segment.
    pub fn mss(&self) -> usize {
        self.mss
    }

    /// Its own time stamp.
    fn clock(&self, now: Instant) -> u32 {
        let since = now.saturating_duration_since(*START);
        (since.as_millis() as u32).wrapping_add(self.stamp_offset)
    }

    /// Number behind the last byte that was given.
    fn end(&self) -> u64 {
        self.base + self.queue.len() as u64
    }

    /// Length of the headers of a segment with data.
    fn header_len(&self) -> usize {
        let ip = if self.local.is_ipv4() { 20 } else { 40 };
        ip + segment::HEADER_LEN + if self.stamps { segment::STAMPS_LEN } else { 0 }
    }
}

#[cfg(test)]
mod tests;
