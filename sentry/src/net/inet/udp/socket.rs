//! The socket operations of UDP.

use super::super::multicast::Groups;
use super::super::{addr, may_bind, not_ours, options};
use super::endpoint::{Envelope, MAX_LEN, Marks, Udp};
use super::way::Way;
use crate::errno::{Errno, SysResult};
use crate::executor::{Events, WaitQueue};
use crate::kernel::Task;
use crate::mm::Addr;
use crate::net::address::SockAddr;
use crate::net::diag::{Diag, InetDiag, state as tcp};
use crate::net::message::{Control, Incoming, Outgoing};
use crate::net::options::Value;
use crate::net::socket::{Question, SocketOps};
use std::any::Any;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use zerocopy::IntoBytes;

const UDP_CORK: i32 = 1;

/// Whether sockets of `family` have options of `level`.
fn fits(family: i32, level: i32) -> bool {
    family == libc::AF_INET6 || level != libc::IPPROTO_IPV6
}

/// A UDP socket: gives its port back when it goes.
#[derive(Debug)]
pub(super) struct UdpSocket {
    end: Arc<Udp>,
}

impl UdpSocket {
    pub(super) fn new(end: Arc<Udp>) -> UdpSocket {
        UdpSocket { end }
    }

    /// An address that a call gives to send or connect to. IPv6 sockets take IPv4's form as well.
    fn parse(&self, address: &SockAddr) -> SysResult<SocketAddr> {
        let v4 = address.family()? == libc::AF_INET;
        if v4 && self.end.family == libc::AF_INET6 && self.end.is_v6only() {
            return Err(Errno::NETUNREACH);
        }
        let parsed = addr::parse(if v4 { libc::AF_INET } else { self.end.family }, address)?;
        if self.end.family == libc::AF_INET6 && parsed.is_ipv4() && self.end.is_v6only() {
            return Err(Errno::NETUNREACH);
        }
        Ok(parsed)
    }

    /// What a datagram is sent with: as the options say, or as ancillary data says for this one.
    fn marks(&self, control: &[Control]) -> SysResult<(Marks, Way)> {
        let v4 = self.end.family == libc::AF_INET;
        let value = |four: i32, six: i32| {
            let (level, name) = if v4 { (libc::IPPROTO_IP, four) } else { (libc::IPPROTO_IPV6, six) };
            self.end.ints.value(level, name) as u8
        };
        let mut marks =
            Marks { hops: value(libc::IP_TTL, libc::IPV6_UNICAST_HOPS), class: value(libc::IP_TOS, libc::IPV6_TCLASS) };
        let mut way = Way::default();
        for Control { level, kind, data } in control {
            match (*level, *kind) {
                (libc::IPPROTO_IP, libc::IP_TTL) => marks.hops = byte(data, 1, marks.hops)?,
                (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT) => marks.hops = byte(data, 0, marks.hops)?,
                (libc::IPPROTO_IP, libc::IP_TOS) | (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                    marks.class = byte(data, 0, marks.class)?;
                }
                (libc::IPPROTO_IP, libc::IP_PKTINFO) if v4 => way = Way::of_v4(self.end.net(), data)?,
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => way = Way::of_v6(self.end.net(), data)?,
                (libc::IPPROTO_IP | libc::IPPROTO_IPV6, _) => return Err(Errno::INVAL),
                _ => {}
            }
        }
        Ok((marks, way))
    }

    fn incoming(&self, count: usize, envelope: Envelope) -> Incoming {
        Incoming {
            count,
            full: envelope.len,
            from: Some(addr::to_guest(self.end.family, envelope.from)),
            control: self.control(envelope),
            flags: if count < envelope.len { libc::MSG_TRUNC } else { 0 },
            ends: true,
            ..Incoming::default()
        }
    }

    /// What options ask to be told with each datagram.
    fn control(&self, envelope: Envelope) -> Vec<Control> {
        let Envelope { to, marks, time, interface, .. } = envelope;
        let interface = || if interface > 0 { interface } else { addr::interface_of(self.end.net(), to) };
        let mut out = Vec::from_iter(self.end.options.stamps(time));
        let lost = self.end.state.lock().lost;
        if lost > 0 && self.end.options.is_on(libc::SO_RXQ_OVFL) {
            let data = lost.to_ne_bytes().to_vec();
            out.push(Control { level: libc::SOL_SOCKET, kind: libc::SO_RXQ_OVFL, data });
        }
        let mut put = |level, kind, data: &[u8]| out.push(Control { level, kind, data: data.to_vec() });
        let on = |level, name| self.end.ints.is_on(level, name);
        if let IpAddr::V4(ip) = to {
            if on(libc::IPPROTO_IP, libc::IP_PKTINFO) {
                let info = [interface().to_ne_bytes(), ip.octets(), ip.octets()];
                put(libc::IPPROTO_IP, libc::IP_PKTINFO, info.as_bytes());
            }
            if on(libc::IPPROTO_IP, libc::IP_RECVTTL) {
                put(libc::IPPROTO_IP, libc::IP_TTL, i32::from(marks.hops).as_bytes());
            }
            if on(libc::IPPROTO_IP, libc::IP_RECVTOS) {
                put(libc::IPPROTO_IP, libc::IP_TOS, &[marks.class]);
            }
        }
        if self.end.family == libc::AF_INET6 {
            let ip = match to {
                IpAddr::V4(ip) => ip.to_ipv6_mapped(),
                IpAddr::V6(ip) => ip,
            };
            if on(libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO) {
                let info = [ip.octets().as_slice(), &interface().to_ne_bytes()].concat();
                put(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
            }
            if on(libc::IPPROTO_IPV6, libc::IPV6_RECVHOPLIMIT) {
                put(libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT, i32::from(marks.hops).as_bytes());
            }
            if on(libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS) {
                put(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, i32::from(marks.class).as_bytes());
            }
        }
        out
    }
}

/// An integer from `min` to 255; -1 stands for `default`. One byte will do.
fn byte(data: &[u8], min: i32, default: u8) -> SysResult<u8> {
    let int = match (data.first_chunk::<4>(), data.first()) {
        (Some(bytes), _) => i32::from_ne_bytes(*bytes),
        (None, Some(byte)) => i32::from(*byte),
        _ => return Err(Errno::INVAL),
    };
    match int {
        -1 => Ok(default),
        int if int >= min => u8::try_from(int).map_err(|_| Errno::INVAL),
        _ => Err(Errno::INVAL),
    }
}

impl Drop for UdpSocket {
    fn drop(&mut self) {
        self.end.close();
    }
}

impl SocketOps for UdpSocket {
    fn bind(&self, t: &Task, address: &SockAddr) -> SysResult<()> {
        let mut address = addr::parse(self.end.family, address)?;
        if self.end.family == libc::AF_INET6 && address.is_ipv4() && self.end.is_v6only() {
            return Err(Errno::INVAL);
        }
        addr::bind_scope(self.end.net(), &self.end.options, &mut address)?;
        if !addr::may_be_bound(self.end.net(), address.ip()) && !addr::is_group(self.end.net(), address.ip()) {
            return Err(Errno::ADDRNOTAVAIL);
        }
        may_bind(self.end.net(), t, address.port())?;
        self.end.bind(address)
    }

    fn connect(&self, _: &Task, address: &SockAddr, _: bool) -> SysResult<()> {
        if address.family()? == libc::AF_UNSPEC {
            self.end.disconnect();
            return Ok(());
        }
        let mut to = self.parse(address)?;
        let out = self.end.groups.out().map(|(interface, _)| interface).filter(|_| to.ip().is_multicast());
        addr::connect_scope(&self.end.options, &mut to, out)?;
        let to = addr::route(self.end.net(), to, &self.end.query())?;
        if addr::is_broadcast(self.end.net(), to.ip()) && !self.end.options.is_on(libc::SO_BROADCAST) {
            return Err(Errno::ACCES);
        }
        self.end.connect(to)
    }

    fn send(&self, message: &mut Outgoing<'_>) -> SysResult<usize> {
        if message.data.len() > MAX_LEN {
            return Err(Errno::MSGSIZE);
        }
        if message.flags & libc::MSG_OOB != 0 && self.end.family == libc::AF_INET {
            return Err(Errno::OPNOTSUPP);
        }
        let more = message.flags & libc::MSG_MORE != 0 || self.end.ints.is_on(libc::IPPROTO_UDP, UDP_CORK);
        // Where it goes was said with its first part.
        if let Some(added) = self.end.add(message.data, more) {
            return added;
        }
        let to = match message.to {
            Some(to) if to.family()? == libc::AF_UNSPEC && self.end.family == libc::AF_INET6 => None,
            Some(to) => Some(self.parse(to)?),
            None => None,
        };
        if to.is_some_and(|to| to.port() == 0) {
            return Err(Errno::INVAL);
        }
        let (marks, way) = self.marks(message.control)?;
        self.end.send(message.data, to, marks, way, more)
    }

    fn receive(&self, buf: &mut [u8], flags: i32) -> SysResult<Incoming> {
        let received = self.end.receive(buf, flags & libc::MSG_PEEK != 0)?;
        let ended = Incoming { ends: true, ..Incoming::default() };
        Ok(received.map_or(ended, |(count, envelope)| self.incoming(count, envelope)))
    }

    fn receive_error(&self, buf: &mut [u8]) -> SysResult<Incoming> {
        self.end.receive_error(buf)
    }

    fn shutdown(&self, how: i32) -> SysResult<()> {
        self.end.shutdown(how)
    }

    fn local_address(&self) -> SysResult<SockAddr> {
        let local = self.end.state.lock().local;
        let local = local.unwrap_or_else(|| SocketAddr::new(addr::any(self.end.family), 0));
        Ok(addr::to_guest(self.end.family, local))
    }

    fn peer_address(&self) -> SysResult<SockAddr> {
        let remote = self.end.state.lock().remote.ok_or(Errno::NOTCONN)?;
        Ok(addr::to_guest(self.end.family, remote))
    }

    fn get_option(&self, _: &Task, level: i32, name: i32, room: usize) -> SysResult<Value> {
        let connected = self.end.state.lock().remote.is_some();
        match (level, name) {
            (libc::IPPROTO_IP, libc::IP_MTU) if !connected => Err(Errno::NOTCONN),
            (libc::IPPROTO_IP, libc::IP_MTU) => Ok(self.end.mtu().as_bytes().into()),
            _ if !fits(self.end.family, level) => Err(Errno::OPNOTSUPP),
            (libc::IPPROTO_IPV6, libc::IPV6_MTU) if !connected => Err(Errno::NOTCONN),
            (libc::IPPROTO_IPV6, libc::IPV6_MTU) => Ok(self.end.mtu().as_bytes().into()),
            (libc::IPPROTO_UDP, UDP_CORK) => Ok(self.end.ints.value(level, name).as_bytes().into()),
            (libc::IPPROTO_UDP, _) => Err(Errno::NOPROTOOPT),
            _ if options::may_get(level, name).is_err() => Err(Errno::INVAL),
            _ if !matches!(level, libc::IPPROTO_IP | libc::IPPROTO_IPV6) => Err(not_ours(self.end.family)),
            _ if Groups::knows(level, name) && fits(self.end.family, level) => self.end.groups.get(level, name, room),
            (libc::IPPROTO_IPV6, _) if self.end.family == libc::AF_INET => Err(Errno::OPNOTSUPP),
            _ => self.end.ints.get(level, name, room),
        }
    }

    fn set_option(&self, _: &Task, level: i32, name: i32, value: &[u8]) -> SysResult<()> {
        match (level, name) {
            (libc::IPPROTO_TCP, _) => Err(Errno::NOPROTOOPT),
            (libc::IPPROTO_IPV6, _) if self.end.family == libc::AF_INET => Err(Errno::NOPROTOOPT),
            (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY) if self.end.state.lock().local.is_some() => Err(Errno::INVAL),
            (libc::IPPROTO_UDP, _) if value.len() < 4 => Err(Errno::INVAL),
            _ if let Err(error) = options::may_set(level, name, value, false) => Err(error),
            _ if Groups::knows(level, name) => self.end.groups.set(self.end.net(), level, name, value),
            (libc::IPPROTO_UDP, UDP_CORK) => {
                self.end.ints.set(level, name, value)?;
                if options::number(level, value) == 0 { self.end.push() } else { Ok(()) }
            }
            _ => self.end.ints.set_prioritizing(&self.end.options, level, name, value),
        }
    }

    fn answer_option(&self, level: i32, name: i32, question: Question<'_>) -> Option<SysResult<Value>> {
        let asks = Groups::asks(level, name) && fits(self.end.family, level);
        asks.then(|| self.end.groups.filter(self.end.net(), (level, name), question))
    }

    fn ioctl(&self, t: &Task, cmd: u32, arg: Addr) -> SysResult {
        let value = match u64::from(cmd) {
            libc::FIONREAD => self.end.state.lock().envelopes.front().map_or(0, |envelope| envelope.len as i32),
            // Nothing is ever on the wire.
            libc::TIOCOUTQ => 0,
            _ => return Err(Errno::NOTTY),
        };
        t.mem().write(arg, &value).map(|()| 0)
    }

    fn poll(&self) -> Events {
        self.end.poll()
    }

    fn wait_queue(&self) -> &WaitQueue {
        &self.end.queue
    }

    fn diag(&self) -> Diag {
        let state = self.end.state.lock();
        let Some(local) = state.local else { return Diag::Nothing };
        let remote = state.remote.unwrap_or(SocketAddr::new(addr::any(self.end.family), 0));
        Diag::Inet(InetDiag {
            local,
            remote,
            state: if state.remote.is_some() { tcp::ESTABLISHED } else { tcp::CLOSE },
            received: state.used(),
            sent: 0,
            v6only: self.end.is_v6only(),
            pending: Vec::new(),
        })
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
