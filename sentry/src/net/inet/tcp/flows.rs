//! All connections over interfaces, and what happens to packets that belong to none.

use super::endpoint::{Phase, Tcp};
use super::flow::{Flow, Key};
use super::lingering::{Heard, Lingering};
use crate::errno::{Errno, SysResult};
use crate::net::inet::Batch;
use crate::net::inet::errors::Failed;
use crate::net::namespace::Net;
use crate::net::stack::icmp::{Complaint, Quoted};
use crate::net::stack::packet::{Packet, u32_at};
use crate::net::stack::route::Query;
use crate::net::stack::scope::scoped;
use crate::net::stack::tcp::State;
use crate::net::stack::tcp::late::Late;
use crate::net::stack::tcp::segment::Segment;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::Instant;

/// Connections that others have begun and not completed. A flood of them pushes out its own oldest, so that those who
/// answer within a round trip get through.
const EMBRYOS_MAX: usize = 512;

/// Those of a namespace.
#[derive(Debug, Default)]
pub(super) struct Flows {
    flows: HashMap<Key, Arc<Flow>>,
    embryos: VecDeque<Weak<Flow>>,
    pub(super) lingering: Lingering,
}

/// Begins a connection of `end`.
pub(super) fn connect(end: &Arc<Tcp>, key: Key) -> SysResult<Arc<Flow>> {
    let flow = Flow::new(key, end, false)?;
    let mut table = end.net().inet.tcp.flows.lock();
    if table.flows.get(&key).is_some_and(|old| old.state() != State::TimeWait) {
        return Err(Errno::ADDRNOTAVAIL);
    }
    table.lingering.remove(&key);
    let old = table.flows.insert(key, flow.clone());
    drop(table);
    drop(old);
    flow.connect()?;
    Ok(flow)
}

/// A connection is over.
pub(super) fn remove(flow: &Arc<Flow>) {
    let Some(net) = flow.net() else { return };
    let removed = net.inet.tcp.flows.lock().take(flow);
    drop(removed);
}

/// A connection is over but for packets that come late, before `end`.
pub(super) fn linger(flow: &Arc<Flow>, end: Instant, late: Late) {
    let Some(net) = flow.net() else { return };
    let mut table = net.inet.tcp.flows.lock();
    let removed = table.take(flow);
    if removed.is_some() {
        table.lingering.add(&net, flow.key, end, late);
    }
    drop(table);
    drop(removed);
}

impl Flows {
    /// Removes a connection, unless another has taken its place.
    fn take(&mut self, flow: &Arc<Flow>) -> Option<Arc<Flow>> {
        let is_this = self.flows.get(&flow.key).is_some_and(|known| Arc::ptr_eq(known, flow));
        if is_this { self.flows.remove(&flow.key) } else { None }
    }
}

/// How many connections are over but for late packets.
pub(in crate::net) fn lingering(net: &Net) -> usize {
    net.inet.tcp.flows.lock().lingering.len()
}

/// Lets go of the memory of those at the front that are gone.
fn forget_dead(all: &mut VecDeque<Weak<Flow>>) {
    while all.front().is_some_and(|flow| flow.strong_count() == 0) {
        all.pop_front();
    }
}

/// A TCP packet to this host.
pub(in crate::net) fn input(net: &Net, packet: &Packet<'_>, batch: &mut Batch) {
    let Some(segment) = Segment::parse(packet) else { return };
    if !net.layout().is_own(packet.dst) {
        return;
    }
    let key = key(&segment);
    let mut table = net.inet.tcp.flows.lock();
    let known = table.flows.get(&key).cloned();
    let heard = if known.is_none() { table.lingering.input(&key, &segment) } else { Heard::Unknown };
    drop(table);
    match heard {
        Heard::Unknown => {}
        Heard::Taken => return,
        Heard::Answer(head, answer) => {
            let _ = net.send_by(&head, &answer, &packet.back());
            return;
        }
    }
    let is_new = segment.opens();
    let flow = match known {
        // A new connection may follow on one whose late packets were waited for.
        Some(flow) if is_new && flow.state() == State::TimeWait => {
            remove(&flow);
            open(net, &segment)
        }
        Some(flow) => Some(flow),
        None if is_new => open(net, &segment),
        None => None,
    };
    match flow {
        Some(flow) => {
            flow.input(&segment);
            batch.add(flow);
        }
        None if is_new && has_listener(net, &segment) => {}
        None => refuse(net, &segment, &packet.back()),
    }
}

fn key(segment: &Segment<'_>) -> Key {
    Key { local: segment.local, remote: segment.remote }
}

fn listener(net: &Net, segment: &Segment<'_>) -> Option<Arc<Tcp>> {
    net.inet.tcp.ports.lock().find(segment.local, segment.remote, |end| {
        let listens = matches!(end.state.lock().phase, Phase::Listening { .. });
        listens.then_some(0)
    })
}

fn has_listener(net: &Net, segment: &Segment<'_>) -> bool {
    listener(net, segment).is_some()
}

/// Begins a connection that somebody wants to a listener; `None` if it has no room for one or there is none.
fn open(net: &Net, segment: &Segment<'_>) -> Option<Arc<Flow>> {
    let listener = listener(net, segment)?;
    let full = match &listener.state.lock().phase {
        Phase::Listening { backlog, pending, .. } => pending.len() > *backlog,
        _ => true,
    };
    if full {
        return None;
    }
    let flow = Flow::new(key(segment), &listener, true).ok()?;
    flow.listen();
    let mut table = net.inet.tcp.flows.lock();
    table.flows.insert(key(segment), flow.clone());
    forget_dead(&mut table.embryos);
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
fn refuse(net: &Net, segment: &Segment<'_>, back: &Query) {
    if let Some((head, reset)) = segment.refusal() {
        let _ = net.send_by(&head, &reset, back);
    }
}

/// The connection that a quoted packet belongs to.
fn quoted_flow(net: &Net, quoted: &Quoted<'_>) -> Option<Arc<Flow>> {
    let (local, remote) = quoted.ports()?;
    let end = |ip, port| scoped(ip, port, quoted.complaint.interface);
    let key = Key { local: end(quoted.src, local), remote: end(quoted.dst, remote) };
    net.inet.tcp.flows.lock().flows.get(&key).cloned()
}

/// A packet of a connection was longer than a link on its way carries.
pub(in crate::net) fn too_big(net: &Net, quoted: &Quoted<'_>, mtu: usize) {
    /// Shorter ones are not believed (`min_pmtu`, and what IPv6 demands of links).
    const LEAST: (usize, usize) = (552, 1280);
    let least = if quoted.dst.is_ipv4() { LEAST.0 } else { LEAST.1 };
    let sequence = u32_at(quoted.payload, 4);
    if let Some((flow, sequence)) = quoted_flow(net, quoted).zip(sequence) {
        flow.narrow(sequence, mtu.max(least));
    }
}

/// A packet of a connection did not arrive.
pub(in crate::net) fn failed(net: &Net, quoted: &Quoted<'_>, errno: Errno) {
    if let Some((flow, sequence)) = quoted_flow(net, quoted).zip(u32_at(quoted.payload, 4)) {
        let Complaint { kind, from, .. } = quoted.complaint;
        let (to, from, data) = (flow.key.remote, from.unwrap_or(quoted.src), quoted.payload.to_vec());
        flow.failed(sequence, Failed { errno, icmp: kind, to, from, info: 0, data });
    }
}
