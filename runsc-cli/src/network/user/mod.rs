//! `--network=user`: a network that needs no privileges.
//!
//! The sentry drives an interface as in any other network; but its cable leads to a process of its own beside the
//! sandbox, the *relay*, and there connections and datagrams of guests go on over ordinary sockets of the host. The
//! sentry gets no socket of the host, and may ask for none. What may be reached [`world`] decides; the relay has no
//! files, no privileges, and a list of calls that holds little more than sockets of the internet.

mod datagrams;
mod icmp;
mod link;
mod publish;
mod relay;
mod tcp;
mod world;

pub(crate) use publish::Publish;
pub(crate) use world::RESOLVER4 as RESOLVER;

use crate::supervise::close_others;
use anyhow::{Context, Result, bail};
use link::{GUEST_MAC, Link, OWN_MAC};
use platform::host::{self, Caps, Clone, Namespaces};
use publish::Listeners;
use relay::Relay;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, ipproto, socket_with, socketpair, sockopt};
use sentry::boot::config::{InterfaceSpec, NetworkSpec, RouteSpec};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use world::World;

/// Longest packet: what IP allows, since each costs the same.
const MTU: usize = 65535;
/// Index of the interface.
const INTERFACE: u32 = 2;
/// Bytes of frames on their way in each direction, as far as the host allows.
const CABLE: usize = 4 << 20;
/// Descriptors the relay may have: those of all its bounds, and a few.
const FILES_MAX: u64 = 2048;
/// Who the relay is on the host when root starts it.
const NOBODY: (u32, u32) = (65534, 65534);

/// What the caller wants of the network.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options<'a> {
    pub(crate) publish: &'a [Publish],
    pub(crate) host_loopback: bool,
}

/// Starts a relay in this process's network namespace; the sentry's end of it. `cgroups` are what it joins.
pub(crate) fn start(options: &Options<'_>, cgroups: &[OwnedFd]) -> Result<NetworkSpec> {
    let listeners = Listeners::open(options.publish)?;
    let resolvers = super::resolv::nameservers(&std::fs::read_to_string(super::resolv::PATH).unwrap_or_default());
    let world = World { resolvers, host_loopback: options.host_loopback, ..World::default() };
    let (own, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)
            .context("cannot make a socket")?;
    for end in [&own, &theirs] {
        let forced = sockopt::set_socket_send_buffer_size_force(end, CABLE);
        forced
            .or_else(|_| sockopt::set_socket_send_buffer_size(end, CABLE))
            .context("cannot size a socket's buffer")?;
    }
    match host::clone(Namespaces::empty()).context("cannot make the network's relay")? {
        Clone::Parent { .. } => {
            drop(theirs);
            hear(&own)?;
            Ok(spec(own, has_ipv6()))
        }
        Clone::Child => {
            drop(own);
            let left = leave(&theirs, &listeners, cgroups);
            let relay = left.and_then(|()| Relay::new(Link::new(theirs), world, listeners));
            match relay.and_then(|relay| confine().map(|()| relay)) {
                Ok(mut relay) => {
                    relay.greet();
                    relay.run()
                }
                Err(e) => {
                    eprintln!("runsc: {e:#}");
                    std::process::exit(1)
                }
            }
        }
    }
}

/// Waits until the relay is ready; what went wrong it has said.
fn hear(link: &OwnedFd) -> Result<()> {
    let mut fds = [PollFd::new(link, PollFlags::IN)];
    while let Err(e) = poll(&mut fds, None) {
        if e != Errno::INTR {
            return Err(e).context("cannot wait for the network's relay");
        }
    }
    match rustix::net::recv(link, &mut [0; 1][..], RecvFlags::empty()) {
        Ok((_, 1..)) => Ok(()),
        _ => bail!("the network's relay died while starting"),
    }
}

/// What the sentry is told.
fn spec(socket: OwnedFd, has_ipv6: bool) -> NetworkSpec {
    let mut spec = NetworkSpec::default();
    let mut add = |own: IpAddr, prefix: u8, any: IpAddr, gateway: IpAddr, resolver: IpAddr| {
        spec.neighbours.extend([gateway, resolver].map(|ip| (ip, INTERFACE, OWN_MAC)));
        let (gateway, source) = (Some(gateway), None);
        spec.routes.push(RouteSpec { destination: any, prefix: 0, gateway, interface: INTERFACE, source, metric: 0 });
        (own, prefix)
    };
    let v4 = add(
        world::GUEST4.into(),
        world::PREFIX4,
        Ipv4Addr::UNSPECIFIED.into(),
        world::GATEWAY4.into(),
        world::RESOLVER4.into(),
    );
    let v6 = has_ipv6.then(|| {
        add(
            world::GUEST6.into(),
            world::PREFIX6,
            Ipv6Addr::UNSPECIFIED.into(),
            world::GATEWAY6.into(),
            world::RESOLVER6.into(),
        )
    });
    spec.interfaces.push(InterfaceSpec {
        name: "eth0".into(),
        index: INTERFACE,
        mac: GUEST_MAC,
        mtu: MTU as u32,
        addresses: [v4].into_iter().chain(v6).collect(),
        socket,
        waits: true,
    });
    spec
}

/// Whether the host has a way to the IPv6 internet: guests are not to try what cannot be.
fn has_ipv6() -> bool {
    /// An address of documentation: nothing is sent to it.
    const SOMEBODY: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
    UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).is_ok_and(|socket| socket.connect((SOMEBODY, 1)).is_ok())
}

/// Leaves this process with its sockets, and standard error to complain.
fn leave(link: &OwnedFd, listeners: &Listeners, cgroups: &[OwnedFd]) -> Result<()> {
    crate::cgroup::enter(cgroups)?;
    let sockets = listeners.tcp.iter().chain(&listeners.udp).map(|(socket, _)| socket.as_raw_fd());
    close_others(&sockets.chain([link.as_raw_fd()]).collect::<Vec<_>>());
    // A session of its own keeps signals of the caller's terminal away.
    rustix::process::setsid().context("cannot make a session")?;
    std::env::set_current_dir("/").context("cannot leave the working directory")?;
    let null = open_null()?;
    rustix::stdio::dup2_stdin(&null).context("cannot replace standard input")?;
    rustix::stdio::dup2_stdout(&null).context("cannot replace standard output")
}

fn open_null() -> Result<std::fs::File> {
    std::fs::File::options().read(true).write(true).open("/dev/null").context("cannot open /dev/null")
}

/// Takes from this process, which has one thread, all that the relay does not need.
fn confine() -> Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    // Buffers of connections that ended go back to the host.
    host::map_large_allocations();
    let most = getrlimit(Resource::Nofile).maximum.map_or(FILES_MAX, |most| most.min(FILES_MAX));
    setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: Some(most) })
        .context("cannot limit the open files")?;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }).context("cannot forbid core dumps")?;
    let is_root = rustix::process::geteuid().is_root() && host::has_cap(Caps::SETUID);
    let dropped = host::drop_privileges(is_root.then_some(NOBODY), Caps::empty());
    dropped.context("cannot drop the privileges of the network's relay")?;
    // Whoever reads standard error sees its end with the sandbox's.
    rustix::stdio::dup2_stderr(&open_null()?).context("cannot replace standard error")?;
    let filter = host::relay_filter().and_then(|filter| host::install_filter(&filter));
    filter.context("cannot confine the network's relay")
}

/// Who a descriptor that is ready belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Link,
    /// A published port of TCP.
    Listener(usize),
    /// One of UDP.
    Published(usize),
    Tcp(u64),
    Datagrams(u64),
}

impl Token {
    /// Bits of the number beside the kind.
    const BITS: u32 = 60;

    fn encode(self) -> u64 {
        let (kind, number) = match self {
            Token::Link => (0, 0),
            Token::Listener(at) => (1, at as u64),
            Token::Published(at) => (2, at as u64),
            Token::Tcp(id) => (3, id),
            Token::Datagrams(id) => (4, id),
        };
        kind << Token::BITS | number
    }

    fn decode(bits: u64) -> Token {
        let number = bits & ((1 << Token::BITS) - 1);
        match bits >> Token::BITS {
            0 => Token::Link,
            1 => Token::Listener(number as usize),
            2 => Token::Published(number as usize),
            3 => Token::Tcp(number),
            _ => Token::Datagrams(number),
        }
    }
}

/// Waits for many descriptors.
#[derive(Debug)]
struct Poller(OwnedFd);

impl Poller {
    fn add(&self, fd: impl AsFd, token: Token, events: EventFlags) -> Result<(), Errno> {
        epoll::add(&self.0, fd, EventData::new_u64(token.encode()), events)
    }
}

/// A new socket of the host on its way to `to`.
fn connect(to: SocketAddr, datagrams: bool) -> Result<OwnedFd, Errno> {
    let socket = new_socket(to, if datagrams { SocketType::DGRAM } else { SocketType::STREAM }, None)?;
    match rustix::net::connect(&socket, &to) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(e) => Err(e),
    }
}

/// One for echo requests: the host may refuse it (`net.ipv4.ping_group_range`).
fn ping(to: SocketAddr) -> Result<OwnedFd, Errno> {
    let protocol = if to.is_ipv4() { ipproto::ICMP } else { ipproto::ICMPV6 };
    let socket = new_socket(to, SocketType::DGRAM, Some(protocol))?;
    rustix::net::connect(&socket, &to).map(|()| socket)
}

fn new_socket(to: SocketAddr, kind: SocketType, protocol: Option<rustix::net::Protocol>) -> Result<OwnedFd, Errno> {
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    socket_with(family, kind, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, protocol)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back() {
        let all = [Token::Link, Token::Listener(3), Token::Published(0), Token::Tcp(1 << 59), Token::Datagrams(7)];
        for token in all {
            assert_eq!(Token::decode(token.encode()), token);
        }
    }
}
