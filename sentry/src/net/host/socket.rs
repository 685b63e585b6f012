//! The socket operations.

use super::{control, options};
use crate::errno::{Errno, SysResult};
use crate::executor::{Events, WaitQueue};
use crate::fs::host_events::Watched;
use crate::kernel::{Cap, Task};
use crate::mm::Addr;
use crate::net::address::SockAddr;
use crate::net::diag::{Diag, InetDiag, state};
use crate::net::message::{Incoming, Outgoing};
use crate::net::namespace::Net;
use crate::net::options::{BUFFER_DEFAULT, Options, Value};
use crate::net::socket::{Socket, SocketOps};
use crate::sync::Mutex;
use platform::host::socket as host;
use platform::host::socket::ADDRESS_MAX;
use rustix::net::{Shutdown, SocketFlags};
use std::any::Any;
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Flags of guests that the host heeds. `MSG_ZEROCOPY` is a promise to tell when data has been sent, and may be broken
/// where `SO_ZEROCOPY` is refused.
const SEND_FLAGS: i32 = libc::MSG_OOB | libc::MSG_DONTROUTE | libc::MSG_EOR | libc::MSG_CONFIRM | libc::MSG_MORE;
const RECEIVE_FLAGS: i32 = libc::MSG_OOB | libc::MSG_PEEK;
/// Most control messages of one message: more than all options together ask for.
const CONTROL_MAX: usize = 1024;
/// As much of `struct tcp_info` as is looked at: state, and what waits for acknowledgement.
const TCP_INFO_LEN: usize = 32;
/// Ports below need `CAP_NET_BIND_SERVICE`.
const UNPRIVILEGED_PORT: i64 = 1024;

/// Makes a guest's socket of the sentry's own, which never blocks.
pub(super) fn wrap(net: &Arc<Net>, fd: OwnedFd, what: (i32, i32, i32)) -> SysResult<Socket> {
    let options = Arc::new(Options::new(BUFFER_DEFAULT, BUFFER_DEFAULT));
    wrap_with(net, fd, what, options)
}

fn wrap_with(
    net: &Arc<Net>,
    fd: OwnedFd,
    (family, kind, protocol): (i32, i32, i32),
    options: Arc<Options>,
) -> SysResult<Socket> {
    let watched = Arc::new(Watched::new(fd));
    // Each datagram that leaves makes room for others: of interest only to those who lacked it.
    let waits_for_room = kind == libc::SOCK_STREAM;
    watched.watch(if waits_for_room { Watched::ALL } else { Watched::INPUT })?;
    // As the host says it: the protocol that 0 stands for.
    let mut known = [0; 4];
    let told = host::get_option(watched.fd.as_fd(), libc::SOL_SOCKET, libc::SO_PROTOCOL, &mut known);
    let protocol = told.map_or(protocol, |_| i32::from_ne_bytes(known));
    let ops = HostSocket {
        net: net.clone(),
        kind,
        watched,
        options: options.clone(),
        waits_for_room: AtomicBool::new(waits_for_room),
        is_shut: AtomicBool::new(false),
        returned: Mutex::default(),
    };
    Ok(Socket::new(net, (family, kind, protocol), options, ops))
}

/// A socket of the host in a guest's name.
#[derive(Debug)]
struct HostSocket {
    net: Arc<Net>,
    kind: i32,
    watched: Arc<Watched>,
    /// What is not the host's to know: timeouts, and where peeks begin.
    options: Arc<Options>,
    /// Whether it is announced when there is room to send.
    waits_for_room: AtomicBool,
    /// Whether `shutdown` has ended what datagrams are received.
    is_shut: AtomicBool,
    /// What the guest's memory did not take.
    returned: Mutex<VecDeque<u8>>,
}

impl HostSocket {
    fn fd(&self) -> BorrowedFd<'_> {
        self.watched.fd.as_fd()
    }

    fn is_stream(&self) -> bool {
        self.kind == libc::SOCK_STREAM
    }

    fn address(&self, of_peer: bool) -> SysResult<SockAddr> {
        let mut bytes = [0; ADDRESS_MAX];
        let len = host::address(self.fd(), of_peer, &mut bytes)?;
        Ok(SockAddr::from_bytes(bytes.get(..len).unwrap_or_default()))
    }

    fn number(&self, level: i32, name: i32) -> i32 {
        options::number(self.fd(), level, name)
    }

    /// Gives back what came back.
    fn receive_again(&self, buf: &mut [u8], flags: i32) -> Option<Incoming> {
        let mut returned = self.returned.lock();
        if returned.is_empty() || flags & libc::MSG_OOB != 0 {
            return None;
        }
        let count = returned.len().min(buf.len());
        for (to, from) in buf.iter_mut().zip(returned.iter()) {
            *to = *from;
        }
        if flags & libc::MSG_PEEK == 0 {
            returned.drain(..count);
        }
        Some(Incoming { count, full: count, ..Incoming::default() })
    }

    fn receive_from_host(&self, buf: &mut [u8], flags: i32) -> SysResult<Incoming> {
        let (mut from, mut bytes) = ([0; ADDRESS_MAX], [0; CONTROL_MAX]);
        // Of streams the flag would throw data away.
        let truncates = if self.is_stream() { 0 } else { libc::MSG_TRUNC };
        let got = host::receive(self.fd(), buf, &mut from, &mut bytes, flags | truncates)?;
        let count = got.count.min(buf.len());
        let from = from.get(..got.from).filter(|from| !from.is_empty()).map(SockAddr::from_bytes);
        Ok(Incoming {
            count,
            full: got.count,
            from,
            control: control::decode(bytes.get(..got.control).unwrap_or_default()),
            flags: got.flags,
            ..Incoming::default()
        })
    }
}

/// What of an address reaches the host: no address of the internet is longer.
fn form(address: &SockAddr) -> &[u8] {
    let bytes = address.as_bytes();
    bytes.get(..bytes.len().min(ADDRESS_MAX)).unwrap_or(bytes)
}

/// An address of the host's as what it is.
fn parse(address: &SockAddr) -> Option<SocketAddr> {
    let rest = address.rest();
    let port = u16::from_be_bytes(*rest.first_chunk()?);
    let ip: IpAddr = match address.family().ok()? {
        libc::AF_INET => Ipv4Addr::from(*rest.get(2..)?.first_chunk::<4>()?).into(),
        libc::AF_INET6 => {
            let ip = Ipv6Addr::from(*rest.get(6..)?.first_chunk::<16>()?);
            ip.to_ipv4_mapped().map_or(ip.into(), Into::into)
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

impl SocketOps for HostSocket {
    fn bind(&self, t: &Task, address: &SockAddr) -> SysResult<()> {
        let first = self.net.sysctl.number("net/ipv4/ip_unprivileged_port_start", UNPRIVILEGED_PORT);
        let port = parse(address).map_or(0, |address| address.port());
        let is_privileged = self.kind != libc::SOCK_RAW && port > 0 && i64::from(port) < first;
        if is_privileged && !t.creds().has(Cap::NetBindService) {
            return Err(Errno::ACCES);
        }
        Ok(host::bind(self.fd(), form(address))?)
    }

    fn connect(&self, _: &Task, address: &SockAddr, nonblocking: bool) -> SysResult<()> {
        match host::connect(self.fd(), form(address)).map_err(Errno::from) {
            // Asked again once something has happened the host says what became of it.
            Err(Errno::INPROGRESS | Errno::ALREADY) if !nonblocking => Err(Errno::AGAIN),
            done => done,
        }
    }

    fn listen(&self, _: &Task, backlog: usize) -> SysResult<()> {
        Ok(rustix::net::listen(self.fd(), i32::try_from(backlog).unwrap_or(i32::MAX))?)
    }

    fn accept(&self, _: &Task) -> SysResult<Socket> {
        let fd = rustix::net::accept_with(self.fd(), SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
        let family = self.number(libc::SOL_SOCKET, libc::SO_DOMAIN);
        wrap_with(&self.net, fd, (family, self.kind, 0), Arc::new(self.options.inherit()))
    }

    fn is_listening(&self) -> bool {
        self.number(libc::SOL_SOCKET, libc::SO_ACCEPTCONN) != 0
    }

    fn send(&self, message: &mut Outgoing<'_>) -> SysResult<usize> {
        if message.flags & libc::MSG_FASTOPEN != 0 {
            return Err(Errno::OPNOTSUPP);
        }
        let control = if self.is_stream() { Vec::new() } else { control::encode(message.control)? };
        let flags = message.flags & SEND_FLAGS;
        let sent = host::send(self.fd(), message.data, message.to.map(form), &control, flags).map_err(Errno::from);
        if sent == Err(Errno::AGAIN) && !self.waits_for_room.swap(true, Ordering::AcqRel) {
            self.watched.watch_also(Watched::ALL)?;
        }
        sent
    }

    fn receive(&self, buf: &mut [u8], flags: i32) -> SysResult<Incoming> {
        if let Some(again) = self.receive_again(buf, flags) {
            return Ok(again);
        }
        let mut got = match self.receive_from_host(buf, flags & RECEIVE_FLAGS) {
            // The host says so only to those who wait.
            Err(Errno::AGAIN) if self.is_shut.load(Ordering::Acquire) && flags & libc::MSG_DONTWAIT == 0 => {
                Incoming::default()
            }
            got => got?,
        };
        got.ends = !self.is_stream() || got.count == 0;
        if self.is_stream() && got.count < buf.len() {
            // There is no more; only who wants all waits on, if it is not urgent data that stands in between.
            got.ends |= flags & libc::MSG_WAITALL == 0 || host::is_at_mark(self.fd()).unwrap_or(false);
        }
        Ok(got)
    }

    fn receive_error(&self, buf: &mut [u8]) -> SysResult<Incoming> {
        self.receive_from_host(buf, libc::MSG_ERRQUEUE)
    }

    fn unreceive(&self, bytes: &[u8]) {
        let mut returned = self.returned.lock();
        for byte in bytes.iter().rev() {
            returned.push_front(*byte);
        }
    }

    fn shutdown(&self, how: i32) -> SysResult<()> {
        let how = match how {
            libc::SHUT_RD => Shutdown::Read,
            libc::SHUT_WR => Shutdown::Write,
            _ => Shutdown::Both,
        };
        let done = rustix::net::shutdown(self.fd(), how);
        if !self.is_stream() && how != Shutdown::Write && done.is_ok() {
            self.is_shut.store(true, Ordering::Release);
        }
        Ok(done?)
    }

    fn local_address(&self) -> SysResult<SockAddr> {
        self.address(false)
    }

    fn peer_address(&self) -> SysResult<SockAddr> {
        self.address(true)
    }

    fn has_option(&self, name: i32) -> bool {
        options::is_of_host(name)
    }

    fn get_option(&self, _: &Task, level: i32, name: i32, room: usize) -> SysResult<Value> {
        options::get(self.fd(), level, name, room)
    }

    fn set_option(&self, t: &Task, level: i32, name: i32, value: &[u8]) -> SysResult<()> {
        options::set(t, self.fd(), level, name, value)
    }

    fn retune(&self) {
        options::retune(self.fd(), &self.options);
    }

    fn ioctl(&self, t: &Task, cmd: u32, arg: Addr) -> SysResult {
        /// `SIOCATMARK`.
        const ATMARK: u64 = 0x8905;
        let value = match u64::from(cmd) {
            libc::FIONREAD => {
                let count = rustix::io::ioctl_fionread(self.fd())? as usize + self.returned.lock().len();
                i32::try_from(count).unwrap_or(i32::MAX)
            }
            libc::TIOCOUTQ => host::unsent(self.fd())?,
            ATMARK if self.is_stream() => i32::from(host::is_at_mark(self.fd())?),
            _ => return Err(Errno::NOTTY),
        };
        t.mem().write(arg, &value).map(|()| 0)
    }

    fn poll(&self) -> Events {
        let returned = !self.returned.lock().is_empty();
        self.watched.ready() | if returned { Events::IN | Events::RDNORM } else { Events::empty() }
    }

    fn wait_queue(&self) -> &WaitQueue {
        &self.watched.queue
    }

    fn tell(&self, level: i32, name: i32) -> SysResult<Value> {
        options::get(self.fd(), level, name, options::VALUE_MAX)
    }

    fn diag(&self) -> Diag {
        let address = |of_peer| self.address(of_peer).ok().as_ref().and_then(parse);
        let Some(local) = address(false).filter(|local| local.port() != 0) else { return Diag::Nothing };
        let remote = address(true);
        let none = SocketAddr::new(
            if local.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() },
            0,
        );
        let info = options::get(self.fd(), libc::IPPROTO_TCP, libc::TCP_INFO, TCP_INFO_LEN).unwrap_or_default();
        let state = match (self.is_stream(), remote) {
            (true, _) => info.first().copied().unwrap_or(state::CLOSE),
            (false, Some(_)) => state::ESTABLISHED,
            (false, None) => state::CLOSE,
        };
        // Of listeners the host tells there how many wait, and how many may.
        let queue =
            |at: usize| info.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |b| u32::from_ne_bytes(*b));
        let (received, sent) = match state {
            state::LISTEN => (queue(24) as usize, queue(28) as usize),
            _ => (
                rustix::io::ioctl_fionread(self.fd()).unwrap_or(0) as usize,
                host::unsent(self.fd()).map_or(0, |count| usize::try_from(count).unwrap_or(0)),
            ),
        };
        Diag::Inet(InetDiag {
            local,
            remote: remote.unwrap_or(none),
            state,
            received,
            sent,
            v6only: self.number(libc::IPPROTO_IPV6, libc::IPV6_V6ONLY) != 0,
            pending: Vec::new(),
        })
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_understood() {
        let v4 = SockAddr::from_bytes(&[2, 0, 0, 80, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(parse(&v4), "127.0.0.1:80".parse().ok());
        let mut v6 = [0; 128];
        (v6[0], v6[3], v6[23]) = (10, 80, 1);
        let v6 = SockAddr::from_bytes(&v6);
        assert_eq!(parse(&v6), "[::1]:80".parse().ok());
        assert_eq!(form(&v6).len(), ADDRESS_MAX);
        assert_eq!(parse(&SockAddr::from_bytes(&[2, 0, 0])), None);
    }
}
