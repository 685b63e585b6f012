//! `AF_PACKET`: sockets that see and send whole frames.
//!
//! Frames pass here as they go over an interface ([`passed`]) or, as far as there are packets on it, over the loopback
//! one ([`looped`]). Without such sockets that costs one look at a counter.

mod blocks;
mod ring;
mod socket;

use super::filter::View;
use super::namespace::Net;
use super::options::{BUFFER_DEFAULT, Options};
use super::socket::Socket;
use super::stack::link::{BROADCAST, Link, Mac};
use super::stack::packet::{ETHERNET_LEN, u16_at};
use crate::errno::{Errno, SysResult};
use crate::executor::{Events, Observer, Timers, WaitQueue};
use crate::kernel::{Cap, Task};
use crate::sync::Mutex;
use blocks::{Blocks, Put};
use ring::{Losing, Ring};
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Instant, SystemTime};

/// Most memberships of a socket: each is only a number here.
const MEMBERSHIPS_MAX: usize = 256;
/// What a frame is charged beyond its data.
const OVERHEAD: usize = 768;
/// All protocols.
const ALL: u16 = libc::ETH_P_ALL as u16;

/// All sockets of a namespace: few, for each needs a privilege.
#[derive(Debug, Default)]
pub(super) struct Taps {
    sockets: Mutex<Vec<Weak<Tap>>>,
    count: AtomicUsize,
}

impl Taps {
    /// Whether anybody looks at frames.
    pub(super) fn are_there(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }
}

/// A new socket.
pub(super) fn create(t: &Task, kind: i32, protocol: i32) -> SysResult<Socket> {
    if !t.creds().has(Cap::NetRaw) {
        return Err(Errno::PERM);
    }
    if !matches!(kind, libc::SOCK_RAW | libc::SOCK_DGRAM) {
        return Err(Errno::SOCKTNOSUPPORT);
    }
    let options = Arc::new(Options::new(BUFFER_DEFAULT, BUFFER_DEFAULT));
    let bound = Mutex::new(Bound { protocol: u16::from_be(protocol as u16), interface: 0 });
    let net = t.net();
    let tap = Arc::new(Tap {
        net: net.clone(),
        cooked: kind == libc::SOCK_DGRAM,
        options: options.clone(),
        queue: WaitQueue::new(),
        bound,
        state: Mutex::default(),
    });
    let mut sockets = net.taps.sockets.lock();
    sockets.retain(|socket| socket.strong_count() > 0);
    sockets.push(Arc::downgrade(&tap));
    net.taps.count.fetch_add(1, Ordering::Relaxed);
    drop(sockets);
    Ok(Socket::new(&net, (libc::AF_PACKET, kind, protocol), options, socket::PacketSocket(tap)))
}

/// What a socket listens to.
#[derive(Debug, Clone, Copy)]
struct Bound {
    protocol: u16,
    /// Index of an interface; all if 0.
    interface: u32,
}

/// A frame that came.
#[derive(Debug, Clone)]
struct Frame {
    data: Vec<u8>,
    /// How long it was.
    len: usize,
    protocol: u16,
    interface: u32,
    kind: u8,
    from: Mac,
    time: SystemTime,
}

#[derive(Debug, Default)]
struct State {
    inbox: VecDeque<Frame>,
    used: usize,
    /// Frames that came, and those for which there was no room, since somebody asked.
    seen: u32,
    lost: u32,
    memberships: Vec<Vec<u8>>,
    auxdata: bool,
    ignores_outgoing: bool,
    version: i32,
    /// `PACKET_RESERVE`.
    reserve: u32,
    /// Where frames go in place of the inbox.
    ring: Option<Store>,
}

/// Where frames appear without a call.
#[derive(Debug)]
enum Store {
    /// Each in a place of its own.
    Frames(Ring),
    /// Many in a block.
    Blocks(Blocks),
}

impl Store {
    /// What a guest maps.
    fn memory(&self) -> Arc<OwnedFd> {
        match self {
            Store::Frames(ring) => ring.memory(),
            Store::Blocks(blocks) => blocks.memory(),
        }
    }

    fn is_readable(&self) -> bool {
        match self {
            Store::Frames(ring) => ring.is_readable(),
            Store::Blocks(blocks) => blocks.is_readable(),
        }
    }

    fn put(&mut self, frame: &Frame, address: &[u8], link: usize, losing: Losing) -> Put {
        match self {
            Store::Frames(ring) => {
                let taken = ring.put(frame, address, link, losing);
                Put { taken, shows: taken, begins: None }
            }
            Store::Blocks(blocks) => blocks.put(frame, address, link, losing),
        }
    }
}

/// A block has waited long enough.
struct Retire {
    tap: Weak<Tap>,
    number: u64,
}

impl Observer for Retire {
    fn notify(&self, _: Events) {
        let Some(tap) = self.tap.upgrade() else { return };
        let mut state = tap.state.lock();
        let losing = Losing(state.lost > 0);
        let shows = match &mut state.ring {
            Some(Store::Blocks(blocks)) => blocks.retire(self.number, losing),
            _ => false,
        };
        drop(state);
        if shows {
            tap.queue.notify(Events::IN | Events::RDNORM);
        }
    }
}

/// One socket.
#[derive(Debug)]
struct Tap {
    net: Arc<Net>,
    cooked: bool,
    options: Arc<Options>,
    queue: WaitQueue,
    bound: Mutex<Bound>,
    state: Mutex<State>,
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.net.taps.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether somebody looks at what passes.
pub(super) fn is_watched(net: &Net) -> bool {
    net.taps.are_there()
}

/// A frame goes over an interface: out, or in.
pub(super) fn passed(net: &Net, link: &Link, frame: &[u8], out: bool) {
    if !is_watched(net) {
        return;
    }
    let to = frame.first_chunk::<6>().copied().unwrap_or_default();
    let kind = match to {
        _ if out => libc::PACKET_OUTGOING,
        to if to == link.mac => libc::PACKET_HOST,
        BROADCAST => libc::PACKET_BROADCAST,
        [first, ..] if first & 1 != 0 => libc::PACKET_MULTICAST,
        _ => libc::PACKET_OTHERHOST,
    };
    show(net, link.index, frame, kind);
}

/// A packet goes over the loopback interface: it is seen as it goes and as it comes.
pub(super) fn looped(net: &Net, packet: &[u8]) {
    if !net.taps.are_there() {
        return;
    }
    let is_v4 = packet.first().is_some_and(|first| first >> 4 == 4);
    let kind = if is_v4 { libc::ETH_P_IP } else { libc::ETH_P_IPV6 } as u16;
    looped_frame(net, &[&[0; ETHERNET_LEN - 2], kind.to_be_bytes().as_slice(), packet].concat());
}

/// The same with a link's header, as such sockets send it. Nobody else gets it: whoever sends to itself has a route for
/// it, and what has none is a forgery.
fn looped_frame(net: &Net, frame: &[u8]) {
    show(net, Link::LOOPBACK, frame, libc::PACKET_OUTGOING);
    show(net, Link::LOOPBACK, frame, libc::PACKET_HOST);
}

fn show(net: &Net, interface: u32, frame: &[u8], kind: u8) {
    let Some(protocol) = u16_at(frame, ETHERNET_LEN - 2) else { return };
    let sockets: Vec<_> = net.taps.sockets.lock().iter().filter_map(Weak::upgrade).collect();
    sockets.iter().for_each(|socket| socket.deliver(interface, frame, protocol, kind));
}

impl Tap {
    fn deliver(self: &Arc<Self>, interface: u32, frame: &[u8], protocol: u16, kind: u8) {
        let bound = *self.bound.lock();
        let is_out = kind == libc::PACKET_OUTGOING;
        // What goes out is shown to those alone who want everything.
        let wanted = bound.protocol == ALL || (bound.protocol == protocol && !is_out);
        if !wanted || (bound.interface != 0 && bound.interface != interface) {
            return;
        }
        let data = if self.cooked { frame.get(ETHERNET_LEN..).unwrap_or_default() } else { frame };
        let view = || View { bytes: data, protocol, kind, interface };
        let Some(data) = self.options.filter.admit(data.len(), view).and_then(|len| data.get(..len)) else { return };
        let len = if self.cooked { frame.len() - ETHERNET_LEN } else { frame.len() };
        let from = frame.get(6..).and_then(|rest| rest.first_chunk()).copied().unwrap_or_default();
        let mut state = self.state.lock();
        if is_out && state.ignores_outgoing {
            return;
        }
        let frame = Frame { data: data.to_vec(), len, protocol, interface, kind, from, time: SystemTime::now() };
        let link = if self.cooked { 0 } else { ETHERNET_LEN };
        let has_room = state.used + frame.data.len() + OVERHEAD <= self.options.rcvbuf() as usize;
        let losing = Losing(state.lost > 0);
        let address = |frame| socket::address_of(&self.net, frame);
        let put = match &mut state.ring {
            Some(store) => store.put(&frame, address(&frame).as_bytes(), link, losing),
            None => Put { taken: has_room, shows: has_room, begins: None },
        };
        let count = if put.taken { &mut state.seen } else { &mut state.lost };
        *count = count.wrapping_add(1);
        if put.taken && state.ring.is_none() {
            state.used += frame.data.len() + OVERHEAD;
            state.inbox.push_back(frame);
        }
        drop(state);
        if let Some((number, patience)) = put.begins {
            Timers::get().add(Instant::now() + patience, Arc::new(Retire { tap: Arc::downgrade(self), number }));
        }
        if put.shows {
            self.queue.notify(Events::IN | Events::RDNORM);
        }
    }
}
