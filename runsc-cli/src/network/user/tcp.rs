//! TCP: each connection of a guest ends here, and goes on over a socket of the host.

use super::icmp::{self, Reason};
use super::link::Link;
use super::world::{GUEST4, World};
use super::{MTU, Poller, Token};
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, sockopt};
use sentry::net::stack::packet::Packet;
use sentry::net::stack::tcp::segment::{FIN, RST, Segment};
use sentry::net::stack::tcp::{Machine, State, Tuning};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// Connections at a time: each has a descriptor and two buffers here.
const FLOWS_MAX: usize = 1024;
/// Bytes that wait in each direction of a connection, at most: four of the longest segments.
const BUFFER: usize = 256 << 10;
/// Chunks that one connection moves before others get their turn.
const TURN: usize = 16;
/// Time before what a guest has sent is acknowledged by itself: short, for guests may wait for it with their next bytes.
const ACK_DELAY: Duration = Duration::from_millis(1);
/// Ports of the router's that are tried for a peer whose own is in use.
const PORTS_TRIED: u16 = 1024;

/// Bytes that are read from a socket of the host's at a time.
const CHUNK: usize = 64 << 10;

/// Both ends, as the guest sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    guest: SocketAddr,
    remote: SocketAddr,
}

/// A connection.
#[derive(Debug)]
struct Flow {
    key: Key,
    host: OwnedFd,
    phase: Phase,
    /// What the host's socket was last seen to be ready for.
    readable: bool,
    writable: bool,
    /// An end or an error follows on what there is to read.
    ending: bool,
    /// The host's side has said all; the guest's side has, and the host's was told.
    host_ended: bool,
    guest_ended: bool,
    deadline: Option<Instant>,
    /// It is among those that want a turn.
    is_due: bool,
}

#[derive(Debug)]
enum Phase {
    /// The host's socket is being connected: the guest's first packet waits for the outcome.
    Connecting(Vec<u8>),
    Open(Box<Machine>),
}

/// What comes next for a connection.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// What the timer, or one of its sides, says.
    Wait,
    /// A turn, when the link has room or others have had theirs.
    Again,
    /// It is over.
    End,
}

/// All connections.
#[derive(Debug, Default)]
pub(super) struct Flows {
    flows: HashMap<u64, Flow>,
    by_key: HashMap<Key, u64>,
    timers: BTreeSet<(Instant, u64)>,
    due: VecDeque<u64>,
    last_id: u64,
}

impl Flows {
    /// When the next timer ends.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Whether connections want a turn that they can have.
    pub(super) fn has_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// A packet of a guest's.
    pub(super) fn input(&mut self, packet: &Packet<'_>, world: &World, link: &mut Link, poller: &Poller) {
        let Some(segment) = Segment::parse(packet) else { return };
        let key = Key { guest: segment.remote, remote: segment.local };
        match self.by_key.get(&key).copied() {
            Some(id) => {
                if let Some(Flow { phase: Phase::Open(machine), .. }) = self.flows.get_mut(&id) {
                    machine.input(&segment, Instant::now());
                    self.want_turn(id);
                } else if segment.has(RST) {
                    // The guest has given up.
                    self.remove(id);
                }
            }
            None if segment.opens() && !segment.has(FIN) => self.open(key, packet, world, link, poller),
            None => refuse(packet.bytes, link),
        }
    }

    /// Begins a connection that a guest wants.
    fn open(&mut self, key: Key, packet: &Packet<'_>, world: &World, link: &mut Link, poller: &Poller) {
        let to = match world.lead(key.remote) {
            Ok(to) => to,
            Err(closed) => {
                let reason = Reason::closed(closed);
                return reason.into_iter().for_each(|reason| icmp::unreachable(link, packet.bytes, reason));
            }
        };
        let begun = if self.flows.len() < FLOWS_MAX { super::connect(to, false) } else { Err(Errno::MFILE) };
        match begun {
            Ok(host) => {
                let _ = sockopt::set_tcp_nodelay(&host, true);
                // The guest's own probes end here.
                let _ = sockopt::set_socket_keepalive(&host, true);
                self.add(key, host, Phase::Connecting(packet.bytes.to_vec()), poller);
            }
            Err(Errno::CONNREFUSED) => refuse(packet.bytes, link),
            Err(e) => {
                Reason::of(e).into_iter().for_each(|reason| icmp::unreachable(link, packet.bytes, reason));
            }
        }
    }

    /// Brings a connection that came to a published port to the guest.
    pub(super) fn accept(&mut self, host: OwnedFd, peer: SocketAddr, port: u16, poller: &Poller) {
        let Some(key) = self.free_key((GUEST4, port).into(), World::seen(peer)) else { return };
        let mut machine = new_machine(key);
        if self.flows.len() >= FLOWS_MAX {
            return;
        }
        machine.connect(key.remote, key.guest, Instant::now());
        let _ = sockopt::set_tcp_nodelay(&host, true);
        let id = self.add(key, host, Phase::Open(machine), poller);
        id.into_iter().for_each(|id| self.want_turn(id));
    }

    /// Both ends of a connection of a peer, whose port may be another's here.
    fn free_key(&self, guest: SocketAddr, mut remote: SocketAddr) -> Option<Key> {
        for _ in 0..PORTS_TRIED {
            let key = Key { guest, remote };
            if remote.port() != 0 && !self.by_key.contains_key(&key) {
                return Some(key);
            }
            remote.set_port(remote.port().wrapping_add(1));
        }
        None
    }

    fn add(&mut self, key: Key, host: OwnedFd, phase: Phase, poller: &Poller) -> Option<u64> {
        self.last_id += 1;
        let id = self.last_id;
        let events = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        poller.add(&host, Token::Tcp(id), events).ok()?;
        let flow = Flow {
            key,
            host,
            phase,
            readable: false,
            writable: false,
            ending: false,
            host_ended: false,
            guest_ended: false,
            deadline: None,
            is_due: false,
        };
        self.flows.insert(id, flow);
        self.by_key.insert(key, id);
        Some(id)
    }

    fn remove(&mut self, id: u64) {
        let Some(flow) = self.flows.remove(&id) else { return };
        self.by_key.remove(&flow.key);
        if let Some(at) = flow.deadline {
            self.timers.remove(&(at, id));
        }
        if !(flow.host_ended && flow.guest_ended) {
            // The other side hears that it was broken.
            let _ = sockopt::set_socket_linger(&flow.host, Some(std::time::Duration::ZERO));
        }
    }

    /// The host's socket of a connection has changed.
    pub(super) fn ready(&mut self, id: u64, events: EventFlags, link: &mut Link) {
        let Some(flow) = self.flows.get_mut(&id) else { return };
        flow.readable |= events.intersects(EventFlags::IN | EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
        flow.writable |= events.intersects(EventFlags::OUT | EventFlags::HUP | EventFlags::ERR);
        flow.ending |= events.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
        if matches!(flow.phase, Phase::Connecting(_)) && flow.writable && !flow.connected(link) {
            flow.guest_ended = true;
            flow.host_ended = true;
            return self.remove(id);
        }
        self.want_turn(id);
    }

    fn want_turn(&mut self, id: u64) {
        if let Some(flow) = self.flows.get_mut(&id).filter(|flow| !flow.is_due) {
            flow.is_due = true;
            self.due.push_back(id);
        }
    }

    /// Timers that have ended give their connections a turn.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some((at, id)) = self.timers.first().copied().filter(|(at, _)| *at <= now) {
            self.timers.remove(&(at, id));
            if let Some(flow) = self.flows.get_mut(&id) {
                flow.deadline = None;
            }
            self.want_turn(id);
        }
    }

    /// Gives each connection that wants it a turn, while the link has room.
    pub(super) fn run(&mut self, link: &mut Link) {
        for _ in 0..self.due.len() {
            if link.is_full() {
                return;
            }
            let Some(id) = self.due.pop_front() else { return };
            let Some(flow) = self.flows.get_mut(&id) else { continue };
            flow.is_due = false;
            match flow.turn(link) {
                Next::End => self.remove(id),
                Next::Again => self.want_turn(id),
                Next::Wait => {
                    let next = flow.next();
                    // One that comes too early costs less than setting it anew for each packet.
                    if next.is_some_and(|next| flow.deadline.is_none_or(|old| next < old)) {
                        if let Some(old) = flow.deadline.take() {
                            self.timers.remove(&(old, id));
                        }
                        flow.deadline = next;
                        self.timers.extend(next.map(|next| (next, id)));
                    }
                }
            }
        }
    }
}

impl Flow {
    /// The host's socket is connected or failed; whether the connection goes on.
    fn connected(&mut self, link: &mut Link) -> bool {
        let Phase::Connecting(syn) = &self.phase else { return true };
        let outcome = sockopt::socket_error(&self.host).unwrap_or(Err(Errno::IO));
        match outcome {
            Ok(()) => {
                let mut machine = new_machine(self.key);
                machine.listen(self.key.remote);
                if let Some(segment) = Packet::parse(syn).as_ref().and_then(Segment::parse) {
                    machine.input(&segment, Instant::now());
                }
                self.phase = Phase::Open(machine);
                return true;
            }
            Err(Errno::CONNREFUSED | Errno::CONNRESET) => refuse(syn, link),
            // A guest waits as long as the host did: it ends by itself.
            Err(e) => Reason::of(e).into_iter().for_each(|reason| icmp::unreachable(link, syn, reason)),
        }
        false
    }

    fn next(&mut self) -> Option<Instant> {
        match &mut self.phase {
            Phase::Open(machine) => machine.due(Instant::now()),
            Phase::Connecting(_) => None,
        }
    }

    /// Moves what can be moved, in both directions.
    fn turn(&mut self, link: &mut Link) -> Next {
        for _ in 0..TURN {
            let moved = self.give_host() | self.give_guest();
            let Phase::Open(machine) = &mut self.phase else { return Next::Wait };
            while machine.output(Instant::now()) {
                while let Some(packet) = machine.take() {
                    link.put(packet.bytes());
                }
                if link.is_full() {
                    return Next::Again;
                }
            }
            let state = machine.state();
            if matches!(state, State::Closed | State::TimeWait) && machine.received() == 0 {
                return Next::End;
            }
            if !moved {
                return Next::Wait;
            }
        }
        Next::Again
    }

    /// Gives the host what the guest has sent; whether that was anything.
    fn give_host(&mut self) -> bool {
        let Phase::Open(machine) = &mut self.phase else { return false };
        let host = &self.host;
        let mut moved = false;
        while self.writable && machine.received() > 0 {
            match rustix::net::send(host, machine.front(), SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(sent) => {
                    machine.consume(sent, Instant::now());
                    moved = true;
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => self.writable = false,
                Err(_) => {
                    machine.abort();
                    return true;
                }
            }
        }
        let state = machine.state();
        let ended = matches!(state, State::CloseWait | State::LastAck | State::Closing | State::TimeWait);
        if ended && machine.received() == 0 && !self.guest_ended {
            self.guest_ended = true;
            let _ = rustix::net::shutdown(host, Shutdown::Write);
        }
        moved
    }

    /// Gives the guest what the host has received; whether that was anything.
    fn give_guest(&mut self) -> bool {
        let Phase::Open(machine) = &mut self.phase else { return false };
        let host = &self.host;
        let mut moved = false;
        let mut buffer = [0; CHUNK];
        while self.readable && !self.host_ended && machine.may_send() {
            let room = machine.capacity().saturating_sub(machine.unsent()).min(CHUNK);
            let Some(space) = buffer.get_mut(..room).filter(|space| !space.is_empty()) else { break };
            match rustix::net::recv(host, space, RecvFlags::DONTWAIT).map(|(_, count)| count) {
                Ok(0) => {
                    self.host_ended = true;
                    machine.close();
                    return true;
                }
                Ok(count) => {
                    machine.send(buffer.get(..count).unwrap_or_default(), false, Instant::now());
                    moved = true;
                    self.readable = count == room || self.ending;
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => self.readable = false,
                Err(_) => {
                    machine.abort();
                    return true;
                }
            }
        }
        moved
    }
}

/// A machine for the remote end of a connection.
fn new_machine(key: Key) -> Box<Machine> {
    let room = (BUFFER, BUFFER);
    let mut machine = Box::new(Machine::new(key.remote.ip(), MTU, (room, room), Instant::now()));
    // Whoever sends has waited for more to send already, if that was wanted.
    machine.tune(Tuning { nodelay: true, ack_delay: ACK_DELAY, ..Tuning::default() });
    machine
}

/// Answers a packet that nobody expects with a reset.
fn refuse(packet: &[u8], link: &mut Link) {
    let packet = Packet::parse(packet);
    if let Some((head, reset)) = packet.as_ref().and_then(Segment::parse).and_then(|segment| segment.refusal()) {
        link.put(head.frame(&reset, None));
    }
}
