//! Raw sockets, which get all packets of a protocol, and ping sockets, which get the answers to their own echo requests.

use super::addr;
use super::options::IntOptions;
use crate::errno::{Errno, SysResult};
use crate::executor::{Events, WaitQueue};
use crate::kernel::{Cap, Task};
use crate::net::address::SockAddr;
use crate::net::diag::{Diag, InetDiag, state as tcp};
use crate::net::filter::View;
use crate::net::message::{Control, Incoming, Outgoing};
use crate::net::namespace::Net;
use crate::net::options::{BUFFER_DEFAULT, Options, Value};
use crate::net::packet;
use crate::net::socket::{Socket, SocketOps};
use crate::net::stack::packet::{
    HEADROOM, Head, ICMP, ICMPV6, IPV4_LEN, PACKET_MAX, Packet, UDP, fold, put_checksum, sum, u16_at,
};
use crate::net::stack::scope::{self, scoped};
use crate::net::stack::{self, Outgoing as Frame, icmp::echo_answer, route::Query};
use crate::sync::Mutex;
use std::any::Any;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use zerocopy::IntoBytes;

/// Longest message.
const MESSAGE_MAX: usize = 65507;
/// What a message is charged beyond its data.
const OVERHEAD: usize = 768;
/// `ICMP_ECHO` and `ICMP6_ECHO_REQUEST`, with their answers.
const ECHO: (u8, u8) = (8, 0);
const ECHO6: (u8, u8) = (128, 129);
/// `ICMP_FILTER` of `SOL_RAW`, and `ICMP6_FILTER` of `IPPROTO_ICMPV6`: bits of types that are not wanted.
const SOL_RAW: i32 = 255;
const FILTER: i32 = 1;
/// `IPV6_CHECKSUM` of `SOL_RAW` or `IPPROTO_IPV6`.
const CHECKSUM: i32 = 7;
/// `IP_HDRINCL`.
const HDRINCL: i32 = 3;

/// All sockets of a namespace: few, as each needs a privilege or a group.
#[derive(Debug, Default)]
pub(super) struct Table {
    sockets: Mutex<Vec<Weak<Ping>>>,
    /// How many there are: mostly none, and nobody makes packets for them.
    count: AtomicUsize,
}

/// A new socket: `EACCES` if the task's group may not ping.
pub(super) fn create(t: &Task, family: i32, kind: i32, protocol: i32) -> SysResult<Socket> {
    let of_family = if family == libc::AF_INET { libc::IPPROTO_ICMP } else { libc::IPPROTO_ICMPV6 };
    let raw = kind == libc::SOCK_RAW;
    if protocol != of_family && !raw || protocol == 0 {
        return Err(Errno::PROTONOSUPPORT);
    }
    if raw && !t.creds().has(Cap::NetRaw) {
        return Err(Errno::PERM);
    }
    let net = t.net();
    if !raw && !may_ping(&net, t) {
        return Err(Errno::ACCES);
    }
    let options = Arc::new(Options::new(BUFFER_DEFAULT, BUFFER_DEFAULT));
    let end = Arc::new(Ping {
        family,
        raw,
        // Beyond a byte there is no protocol: nothing comes, and headers are the guest's.
        protocol: u8::try_from(protocol).unwrap_or(libc::IPPROTO_RAW as u8),
        options: options.clone(),
        ints: IntOptions::of(&net, family),
        queue: WaitQueue::new(),
        state: Mutex::default(),
    });
    end.state.lock().has_header = protocol == libc::IPPROTO_RAW;
    let mut sockets = net.inet.raw.sockets.lock();
    sockets.retain(|socket| socket.strong_count() > 0);
    sockets.push(Arc::downgrade(&end));
    net.inet.raw.count.fetch_add(1, Ordering::Relaxed);
    drop(sockets);
    Ok(Socket::new(&net, (family, kind, protocol), options, PingSocket(end)))
}

/// `net.ipv4.ping_group_range`, in which nobody is by default.
fn may_ping(net: &Net, t: &Task) -> bool {
    let range = net.sysctl.text("net/ipv4/ping_group_range").unwrap_or_else(|| "1 0".into());
    let mut ends = range.split_ascii_whitespace().map_while(|end| end.parse::<u32>().ok());
    let (Some(first), Some(last)) = (ends.next(), ends.next()) else { return false };
    let creds = t.creds();
    std::iter::once(&creds.egid).chain(creds.groups.iter()).any(|group| (first..=last).contains(group))
}

#[derive(Debug, Default)]
struct State {
    local: Option<IpAddr>,
    remote: Option<SocketAddr>,
    /// The id of its echo requests, which is its port.
    id: u16,
    inbox: VecDeque<Message>,
    used: usize,
    /// Types that are not wanted, as guests write them.
    filter: [u32; 8],
    /// `IP_HDRINCL`: what is sent has a header.
    has_header: bool,
    /// `IPV6_CHECKSUM`: where a checksum is put, and looked for.
    checksum: Option<usize>,
}

#[derive(Debug, Clone)]
struct Message {
    from: SocketAddr,
    to: IpAddr,
    interface: u32,
    hops: u8,
    data: Vec<u8>,
}

#[derive(Debug)]
struct Ping {
    family: i32,
    raw: bool,
    protocol: u8,
    options: Arc<Options>,
    ints: IntOptions,
    queue: WaitQueue,
    state: Mutex<State>,
}

impl Drop for Ping {
    fn drop(&mut self) {
        self.ints.net.inet.raw.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A datagram goes from this host to itself: raw sockets see it as a packet.
pub(super) fn show_datagram(net: &Net, from: SocketAddr, to: SocketAddr, (hops, class): (u8, u8), data: &[u8]) {
    if net.inet.raw.count.load(Ordering::Relaxed) == 0 && !net.taps.are_there() {
        return;
    }
    let head = Head { src: from.ip(), dst: to.ip(), protocol: UDP, hops, class };
    let datagram = super::udp::datagram(&head, from.port(), to.port(), data);
    let frame = head.frame(&datagram, None);
    packet::looped(net, frame.get(HEADROOM..).unwrap_or_default());
    if let Some(packet) = frame.get(HEADROOM..).and_then(Packet::parse) {
        input(net, &packet);
    }
}

/// A packet came: all sockets that want it get it.
pub(in crate::net) fn input(net: &Net, packet: &Packet<'_>) {
    if net.inet.raw.count.load(Ordering::Relaxed) == 0 {
        return;
    }
    let sockets: Vec<_> = net.inet.raw.sockets.lock().iter().filter_map(Weak::upgrade).collect();
    sockets.iter().for_each(|socket| socket.deliver(packet));
}

impl Ping {
    fn echo(&self) -> (u8, u8) {
        if self.family == libc::AF_INET { ECHO } else { ECHO6 }
    }

    fn deliver(&self, packet: &Packet<'_>) {
        let message = packet.payload();
        if packet.protocol != self.protocol || packet.dst.is_ipv4() != (self.family == libc::AF_INET) {
            return;
        }
        let is_icmp = matches!(packet.protocol, ICMP | ICMPV6);
        let kind = message.first().copied().filter(|_| is_icmp);
        if is_icmp && kind.is_none() {
            return;
        }
        let mut state = self.state.lock();
        if state.checksum.is_some() && !packet.has_valid_checksum() {
            return;
        }
        let mine = state.local.is_none_or(|ip| ip == packet.dst) && state.remote.is_none_or(|to| to.ip() == packet.src);
        let wanted = if self.raw {
            kind.is_none_or(|kind| {
                let word = state.filter.get(usize::from(kind / 32)).copied().unwrap_or(0);
                word & 1 << (kind % 32) == 0
            })
        } else {
            kind == Some(self.echo().1) && u16_at(message, 4) == Some(state.id)
        };
        let data = if self.raw && packet.dst.is_ipv4() { packet.bytes } else { message };
        let kind = if packet.dst.is_ipv4() { libc::ETH_P_IP } else { libc::ETH_P_IPV6 };
        let taken = self.options.filter.admit(data.len(), || View::of(data, kind));
        let Some(data) = taken.and_then(|len| data.get(..len)) else { return };
        if !mine || !wanted || state.used + data.len() + OVERHEAD > self.options.rcvbuf() as usize {
            return;
        }
        state.used += data.len() + OVERHEAD;
        let interface = match packet.interface {
            0 => addr::interface_of(&self.ints.net, packet.dst),
            interface => interface,
        };
        let from = scoped(packet.src, 0, interface);
        state.inbox.push_back(Message { from, to: packet.dst, interface, hops: packet.hops, data: data.to_vec() });
        drop(state);
        self.queue.notify(Events::IN | Events::RDNORM);
    }

    /// What its options say of routes.
    fn query(&self) -> Query {
        self.ints.query(&self.options, self.family)
    }

    fn send(&self, data: &[u8], to: SocketAddr) -> SysResult<()> {
        let (own, has_header, checksum) = {
            let state = self.state.lock();
            (state.local, state.has_header, state.checksum)
        };
        let (net, mut query) = (&self.ints.net, self.query());
        let (scope, to) = (scope::interface(&to), to.ip());
        if scope > 0 {
            query.oif = scope;
        }
        let v4 = self.family == libc::AF_INET;
        let longest = if has_header { PACKET_MAX } else { MESSAGE_MAX };
        if data.len() > longest {
            return Err(Errno::MSGSIZE);
        }
        if addr::is_broadcast(net, to) && !self.options.is_on(libc::SO_BROADCAST) {
            return Err(Errno::ACCES);
        }
        let source = own.map_or_else(|| addr::source_by(net, to, &query), Ok)?;
        if has_header && v4 {
            return send_whole(net, data, source, to, &query);
        }
        let mut message = data.to_vec();
        if !self.raw {
            self.complete(&mut message)?;
        }
        let names = match (v4, to.is_multicast()) {
            (true, false) => (libc::IP_TTL, libc::IP_TOS),
            (true, true) => (libc::IP_MULTICAST_TTL, libc::IP_TOS),
            (false, false) => (libc::IPV6_UNICAST_HOPS, libc::IPV6_TCLASS),
            (false, true) => (libc::IPV6_MULTICAST_HOPS, libc::IPV6_TCLASS),
        };
        let value = |name| self.ints.value(if v4 { libc::IPPROTO_IP } else { libc::IPPROTO_IPV6 }, name);
        let (hops, class) = (value(names.0), value(names.1));
        let head = Head { src: source, dst: to, protocol: self.protocol, hops: hops as u8, class: class as u8 };
        // Over IPv4 a raw socket's checksum is the guest's own.
        let place = if self.protocol == ICMPV6 || !self.raw { Some(2) } else { checksum.filter(|_| !v4) };
        if let Some(at) = place {
            message.get_mut(at..at + 2).ok_or(Errno::INVAL)?.fill(0);
            put_checksum(&head, &mut message, at);
        }
        if addr::is_local(net, to) {
            loop_back(net, &head.frame(&message, None));
            return Ok(());
        }
        net.send_by(&head, &message, &query)
    }

    /// Ping sockets send echo requests with their own id, and nothing else.
    fn complete(&self, message: &mut [u8]) -> SysResult<()> {
        let [kind, code, ..] = *message.first_chunk::<8>().ok_or(Errno::INVAL)?;
        if (kind, code) != (self.echo().0, 0) {
            return Err(Errno::INVAL);
        }
        let id = self.take_id();
        message.get_mut(4..6).ok_or(Errno::INVAL)?.copy_from_slice(&id.to_be_bytes());
        Ok(())
    }

    fn route(&self, to: SocketAddr) -> SysResult<SocketAddr> {
        addr::route(&self.ints.net, to, &self.query())
    }

    fn take_id(&self) -> u16 {
        let mut state = self.state.lock();
        while state.id == 0 {
            state.id = stack::random() as u16;
        }
        state.id
    }
}

/// Sends a packet of which the guest has made the header too; it is completed as Linux does.
fn send_whole(net: &Net, data: &[u8], source: IpAddr, to: IpAddr, query: &Query) -> SysResult<()> {
    let mut packet = data.to_vec();
    let head = packet.first_chunk::<IPV4_LEN>().ok_or(Errno::INVAL)?;
    let len = usize::from(head[0] & 0xf) * 4;
    if len > packet.len() || len < IPV4_LEN {
        return Err(Errno::INVAL);
    }
    let total = (packet.len() as u16).to_be_bytes();
    let IpAddr::V4(own) = source else { return Err(Errno::INVAL) };
    let head = packet.get_mut(..len).ok_or(Errno::INVAL)?;
    let mut put = |at: usize, bytes: &[u8], always: bool| {
        let place = head.get_mut(at..at + bytes.len());
        if let Some(place) = place.filter(|place| always || place.iter().all(|byte| *byte == 0)) {
            place.copy_from_slice(bytes);
        }
    };
    put(2, &total, true);
    put(4, &(stack::random() as u16).to_be_bytes(), false);
    put(12, &own.octets(), false);
    put(10, &[0, 0], true);
    let checksum = (!fold(sum(head, 0))).to_be_bytes();
    head.get_mut(10..12).ok_or(Errno::INVAL)?.copy_from_slice(&checksum);
    let frame = [[0; HEADROOM].as_slice(), &packet].concat();
    if addr::is_local(net, to) {
        loop_back(net, &frame);
        return Ok(());
    }
    let layout = net.layout();
    let hop = layout.hop(to, query)?;
    if layout.link(hop.interface).is_some_and(|link| packet.len() > link.mtu) {
        return Err(Errno::MSGSIZE);
    }
    net.transmit(&hop, Frame::whole(frame));
    Ok(())
}

/// A packet from this host to itself, with room for a link's headers before it.
fn loop_back(net: &Net, frame: &[u8]) {
    packet::looped(net, frame.get(HEADROOM..).unwrap_or_default());
    let Some(packet) = frame.get(HEADROOM..).and_then(Packet::parse) else { return };
    input(net, &packet);
    if packet.protocol == UDP && packet.has_valid_checksum() {
        super::udp::input(net, &packet, None);
    }
    if let Some((head, answer)) = echo_answer(&packet).filter(|_| packet.has_valid_checksum()) {
        let frame = head.frame(&answer, None);
        packet::looped(net, frame.get(HEADROOM..).unwrap_or_default());
        if let Some(packet) = frame.get(HEADROOM..).and_then(Packet::parse) {
            input(net, &packet);
        }
    }
}

/// The socket.
#[derive(Debug)]
struct PingSocket(Arc<Ping>);

impl PingSocket {
    fn address(&self, ip: Option<IpAddr>, port: u16) -> SockAddr {
        let bound = self.0.options.query().oif;
        addr::to_guest(self.0.family, scoped(ip.unwrap_or(addr::any(self.0.family)), port, bound))
    }

    fn set_filter(&self, value: &[u8]) {
        let mut state = self.0.state.lock();
        for (word, bytes) in state.filter.iter_mut().zip(value.as_chunks::<4>().0) {
            *word = u32::from_ne_bytes(*bytes);
        }
    }

    /// What options ask to be told with each message.
    fn control(&self, message: &Message) -> Vec<Control> {
        let on = |level, name| self.0.ints.is_on(level, name);
        let (level, option, kind) = if self.0.family == libc::AF_INET {
            (libc::IPPROTO_IP, libc::IP_RECVTTL, libc::IP_TTL)
        } else {
            (libc::IPPROTO_IPV6, libc::IPV6_RECVHOPLIMIT, libc::IPV6_HOPLIMIT)
        };
        let mut out = Vec::new();
        let index = message.interface.to_ne_bytes();
        match message.to {
            IpAddr::V4(ip) if on(libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                let data = [index, ip.octets(), ip.octets()].concat();
                out.push(Control { level: libc::IPPROTO_IP, kind: libc::IP_PKTINFO, data });
            }
            IpAddr::V6(ip) if on(libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO) => {
                let data = [ip.octets().as_slice(), &index].concat();
                out.push(Control { level: libc::IPPROTO_IPV6, kind: libc::IPV6_PKTINFO, data });
            }
            _ => {}
        }
        if on(level, option) {
            out.push(Control { level, kind, data: i32::from(message.hops).as_bytes().to_vec() });
        }
        out
    }
}

impl SocketOps for PingSocket {
    fn bind(&self, _: &Task, address: &SockAddr) -> SysResult<()> {
        let mut address = addr::parse(self.0.family, address)?;
        addr::bind_scope(&self.0.ints.net, &self.0.options, &mut address)?;
        if !addr::may_be_bound(&self.0.ints.net, address.ip()) {
            return Err(Errno::ADDRNOTAVAIL);
        }
        let mut state = self.0.state.lock();
        state.local = Some(address.ip()).filter(|ip| !ip.is_unspecified());
        if !self.0.raw {
            state.id = address.port();
        }
        Ok(())
    }

    fn connect(&self, _: &Task, address: &SockAddr, _: bool) -> SysResult<()> {
        let to = match address.family()? {
            libc::AF_UNSPEC => None,
            _ => {
                let mut to = addr::parse(self.0.family, address)?;
                addr::connect_scope(&self.0.options, &mut to, None)?;
                Some(self.0.route(to)?)
            }
        };
        self.0.state.lock().remote = to;
        Ok(())
    }

    fn send(&self, message: &mut Outgoing<'_>) -> SysResult<usize> {
        let remote = self.0.state.lock().remote;
        let to = match message.to {
            Some(to) => self.0.route(addr::parse(self.0.family, to)?)?,
            None => remote.ok_or(Errno::DESTADDRREQ)?,
        };
        self.0.options.take_error()?;
        self.0.send(message.data, to).map(|()| message.data.len())
    }

    fn receive(&self, buf: &mut [u8], flags: i32) -> SysResult<Incoming> {
        self.0.options.take_error()?;
        let mut state = self.0.state.lock();
        let message = state.inbox.front().cloned().ok_or(Errno::AGAIN)?;
        if flags & libc::MSG_PEEK == 0 {
            state.inbox.pop_front();
            state.used -= message.data.len() + OVERHEAD;
        }
        drop(state);
        let (full, count) = (message.data.len(), message.data.len().min(buf.len()));
        if let (Some(to), Some(from)) = (buf.get_mut(..count), message.data.get(..count)) {
            to.copy_from_slice(from);
        }
        Ok(Incoming {
            count,
            full,
            from: Some(addr::to_guest(self.0.family, message.from)),
            control: self.control(&message),
            flags: if count < full { libc::MSG_TRUNC } else { 0 },
            ends: true,
            ..Incoming::default()
        })
    }

    fn shutdown(&self, _: i32) -> SysResult<()> {
        let connected = self.0.state.lock().remote.is_some();
        if connected { Ok(()) } else { Err(Errno::NOTCONN) }
    }

    fn local_address(&self) -> SysResult<SockAddr> {
        let state = self.0.state.lock();
        let port = if self.0.raw { self.0.echo_protocol() } else { state.id };
        Ok(self.address(state.local, port))
    }

    fn peer_address(&self) -> SysResult<SockAddr> {
        let remote = self.0.state.lock().remote.ok_or(Errno::NOTCONN)?;
        Ok(addr::to_guest(self.0.family, remote))
    }

    fn get_option(&self, _: &Task, level: i32, name: i32, room: usize) -> SysResult<Value> {
        match (level, name) {
            (SOL_RAW | libc::IPPROTO_ICMPV6, FILTER) if self.0.has_filter(level) => {
                let len = if level == SOL_RAW { 4 } else { 32 };
                let filter = self.0.state.lock().filter;
                Ok(filter.as_bytes().get(..len).unwrap_or_default().into())
            }
            (libc::IPPROTO_IP, HDRINCL) if self.0.raw && self.0.family == libc::AF_INET => {
                Ok(i32::from(self.0.state.lock().has_header).as_bytes().into())
            }
            (SOL_RAW | libc::IPPROTO_IPV6, CHECKSUM) if self.0.raw && self.0.family == libc::AF_INET6 => {
                let at = if self.0.protocol == ICMPV6 { Some(2) } else { self.0.state.lock().checksum };
                Ok(at.map_or(-1, |at| at as i32).as_bytes().into())
            }
            _ => self.0.ints.get(level, name, room),
        }
    }

    fn set_option(&self, _: &Task, level: i32, name: i32, value: &[u8]) -> SysResult<()> {
        match (level, name) {
            (SOL_RAW | libc::IPPROTO_ICMPV6, FILTER) if self.0.has_filter(level) => {
                self.set_filter(value);
                Ok(())
            }
            // The place where ICMPv6 has its checksum: there is no other.
            (SOL_RAW | libc::IPPROTO_IPV6, CHECKSUM) if self.0.raw && self.0.protocol == ICMPV6 => {
                let keeps = value.starts_with(&2i32.to_ne_bytes());
                if keeps || level == SOL_RAW { Ok(()) } else { Err(Errno::INVAL) }
            }
            (SOL_RAW | libc::IPPROTO_IPV6, CHECKSUM) if self.0.raw && self.0.family == libc::AF_INET6 => {
                let at = i32::from_ne_bytes(*value.first_chunk().ok_or(Errno::INVAL)?);
                if at > 0 && at % 2 != 0 {
                    return Err(Errno::INVAL);
                }
                self.0.state.lock().checksum = usize::try_from(at).ok();
                Ok(())
            }
            (libc::IPPROTO_IP, HDRINCL) if self.0.raw && self.0.family == libc::AF_INET => {
                let on = match (value.first_chunk(), value.first()) {
                    (Some(bytes), _) => i32::from_ne_bytes(*bytes) != 0,
                    (None, Some(byte)) => *byte != 0,
                    _ => return Err(Errno::INVAL),
                };
                self.0.state.lock().has_header = on;
                Ok(())
            }
            _ => self.0.ints.set_prioritizing(&self.0.options, level, name, value),
        }
    }

    fn poll(&self) -> Events {
        Events::of_datagrams(!self.0.state.lock().inbox.is_empty(), self.0.options.has_error())
    }

    fn wait_queue(&self) -> &WaitQueue {
        &self.0.queue
    }

    fn diag(&self) -> Diag {
        let state = self.0.state.lock();
        let address = |ip: Option<IpAddr>, port| SocketAddr::new(ip.unwrap_or(addr::any(self.0.family)), port);
        let port = if self.0.raw { self.0.echo_protocol() } else { state.id };
        Diag::Inet(InetDiag {
            local: address(state.local, port),
            remote: address(state.remote.map(|to| to.ip()), 0),
            state: if state.remote.is_some() { tcp::ESTABLISHED } else { tcp::CLOSE },
            received: state.used,
            sent: 0,
            v6only: true,
            pending: Vec::new(),
        })
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Ping {
    /// What a raw socket has in the place of a port.
    fn echo_protocol(&self) -> u16 {
        self.protocol.into()
    }

    /// Whether options of this level choose types of messages.
    fn has_filter(&self, level: i32) -> bool {
        let of_level = if level == SOL_RAW { ICMP } else { ICMPV6 };
        self.raw && self.protocol == of_level
    }
}
