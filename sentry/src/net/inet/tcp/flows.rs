//! All connections over interfaces, and what happens to packets that belong to none.

use super::PORTS;
use super::endpoint::{Phase, Tcp};
use super::flow::{Flow, Key};
use crate::errno::{Errno, SysResult};
use crate::net::inet::Batch;
use crate::net::stack::icmp::Quoted;
use crate::net::stack::packet::{Head, Packet, TCP, put_checksum, u32_at};
use crate::net::stack::{Stack, packet};
use crate::sync::Mutex;
use smoltcp::socket::tcp::State;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock, Weak};

/// Connections that others have begun and not completed. A flood of them pushes out its own oldest, so that those who
/// answer within a round trip get through.
const EMBRYOS_MAX: usize = 512;
/// Connections of closed sockets that only wait for late packets (`tcp_max_tw_buckets`; each has its buffers here).
const LINGERING_MAX: usize = 256;

#[derive(Default)]
struct Table {
    flows: HashMap<Key, Arc<Flow>>,
    embryos: VecDeque<Weak<Flow>>,
    lingering: VecDeque<Weak<Flow>>,
}

static TABLE: LazyLock<Mutex<Table>> = LazyLock::new(Mutex::default);

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// Begins a connection of `end`.
pub(super) fn connect(end: &Arc<Tcp>, key: Key) -> SysResult<Arc<Flow>> {
    let flow = Flow::new(key, end, false)?;
    let mut table = TABLE.lock();
    if table.flows.get(&key).is_some_and(|old| old.state() != State::TimeWait) {
        return Err(Errno::ADDRNOTAVAIL);
    }
    let old = table.flows.insert(key, flow.clone());
    drop(table);
    drop(old);
    flow.connect()?;
    Ok(flow)
}

/// A connection is over.
pub(super) fn remove(flow: &Arc<Flow>) {
    let mut table = TABLE.lock();
    let is_this = table.flows.get(&flow.key).is_some_and(|known| Arc::ptr_eq(known, flow));
    let removed = if is_this { table.flows.remove(&flow.key) } else { None };
    drop(table);
    drop(removed);
}

/// A connection is over but for late packets.
pub(super) fn linger(flow: &Arc<Flow>) {
    let mut table = TABLE.lock();
    if table.lingering.iter().any(|known| std::ptr::eq(known.as_ptr(), Arc::as_ptr(flow))) {
        return;
    }
    table.lingering.push_back(Arc::downgrade(flow));
    let surplus = if table.lingering.len() > LINGERING_MAX { table.lingering.pop_front() } else { None };
    drop(table);
    if let Some(flow) = surplus.and_then(|flow| flow.upgrade()) {
        remove(&flow);
    }
}

/// A TCP packet to this host.
pub(in crate::net) fn input(stack: &Stack, packet: &Packet<'_>, batch: &mut Batch) {
    let Some(segment) = Segment::parse(packet) else { return };
    if !stack.is_own(packet.dst) {
        return;
    }
    let known = TABLE.lock().flows.get(&segment.key).cloned();
    let is_new = segment.flags & (SYN | ACK | RST) == SYN;
    let flow = match known {
        // A new connection may follow on one whose late packets were waited for.
        Some(flow) if is_new && flow.state() == State::TimeWait => {
            remove(&flow);
            open(&segment)
        }
        Some(flow) => Some(flow),
        None if is_new => open(&segment),
        None => None,
    };
    match flow {
        Some(flow) => {
            flow.input(packet);
            batch.add(flow);
        }
        None if is_new && has_listener(&segment) => {}
        None if segment.flags & RST == 0 => refuse(stack, packet, &segment),
        None => {}
    }
}

/// What must be known of a segment.
struct Segment {
    key: Key,
    flags: u8,
    sequence: u32,
    acknowledged: u32,
    len: usize,
}

impl Segment {
    fn parse(packet: &Packet<'_>) -> Option<Segment> {
        let tcp = packet.payload();
        let head = usize::from(tcp.get(12)? >> 4) * 4;
        let remote = SocketAddr::new(packet.src, packet::u16_at(tcp, 0)?);
        let local = SocketAddr::new(packet.dst, packet::u16_at(tcp, 2)?);
        if head < 20 || remote.port() == 0 || local.port() == 0 {
            return None;
        }
        Some(Segment {
            key: Key { local, remote },
            flags: *tcp.get(13)?,
            sequence: u32_at(tcp, 4)?,
            acknowledged: u32_at(tcp, 8)?,
            len: tcp.len().checked_sub(head)?,
        })
    }
}

fn listener(segment: &Segment) -> Option<Arc<Tcp>> {
    PORTS.lock().find(segment.key.local, segment.key.remote, |end| {
        let listens = matches!(end.state.lock().phase, Phase::Listening { .. });
        listens.then_some(0)
    })
}

fn has_listener(segment: &Segment) -> bool {
    listener(segment).is_some()
}

/// Begins a connection that somebody wants to a listener; `None` if it has no room for one or there is none.
fn open(segment: &Segment) -> Option<Arc<Flow>> {
    let listener = listener(segment)?;
    let full = match &listener.state.lock().phase {
        Phase::Listening { backlog, pending, .. } => pending.len() > *backlog,
        _ => true,
    };
    if full {
        return None;
    }
    let flow = Flow::new(segment.key, &listener, true).ok().filter(|flow| flow.listen())?;
    let mut table = TABLE.lock();
    table.flows.insert(segment.key, flow.clone());
    table.embryos.push_back(Arc::downgrade(&flow));
    let surplus = table.embryos.len().saturating_sub(EMBRYOS_MAX);
    let oldest: Vec<_> = table.embryos.drain(..surplus).filter_map(|flow| flow.upgrade()).collect();
    drop(table);
    // Most have long become connections.
    for flow in oldest.into_iter().filter(|flow| flow.is_embryo()) {
        remove(&flow);
    }
    Some(flow)
}

/// Answers a segment that nobody expects.
fn refuse(stack: &Stack, packet: &Packet<'_>, segment: &Segment) {
    let head = Head { src: packet.dst, dst: packet.src, protocol: TCP, hops: 64, class: 0 };
    let (sequence, acknowledged, flags) = if segment.flags & ACK != 0 {
        (segment.acknowledged, 0, RST)
    } else {
        let taken = segment.len as u32 + u32::from(segment.flags & SYN != 0) + u32::from(segment.flags & FIN != 0);
        (0, segment.sequence.wrapping_add(taken), RST | ACK)
    };
    let mut reset = Vec::with_capacity(20);
    reset.extend(segment.key.local.port().to_be_bytes());
    reset.extend(segment.key.remote.port().to_be_bytes());
    reset.extend(sequence.to_be_bytes());
    reset.extend(acknowledged.to_be_bytes());
    reset.extend([0x50, flags, 0, 0, 0, 0, 0, 0]);
    put_checksum(&head, &mut reset, 16);
    let _ = stack.send(&head, &reset);
}

/// A packet of a connection did not arrive.
pub(in crate::net) fn failed(quoted: &Quoted<'_>, errno: Errno, hard: bool) {
    let Some((local, remote)) = quoted.ports() else { return };
    let key = Key { local: SocketAddr::new(quoted.src, local), remote: SocketAddr::new(quoted.dst, remote) };
    let flow = TABLE.lock().flows.get(&key).cloned();
    if let Some(flow) = flow.filter(|_| hard) {
        flow.failed(errno);
    }
}
