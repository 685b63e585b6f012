//! The relay's life: it waits for frames, sockets and timers, until the sentry is gone.

use super::icmp::{self, Reason};
use super::link::{Link, Read};
use super::publish::Listeners;
use super::world::{GUEST4, GUEST6, World};
use super::{Poller, Token, datagrams, tcp};
use anyhow::{Context, Result};
use rustix::event::epoll::{self, CreateFlags, Event, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::SocketFlags;
use sentry::net::stack::link::FRAME_MAX;
use sentry::net::stack::packet::{HEADROOM, ICMP, ICMPV6, Packet, TCP, UDP};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Instant;

/// Frames read before others get their turn, connections taken from a port, and events told at a time.
const BATCH: usize = 64;

/// All that the relay has.
pub(super) struct Relay {
    link: Link,
    world: World,
    poller: Poller,
    listeners: Vec<(OwnedFd, u16)>,
    tcp: tcp::Flows,
    datagrams: datagrams::Flows,
    buffer: Vec<u8>,
}

impl Relay {
    pub(super) fn new(link: Link, world: World, listeners: Listeners) -> Result<Relay> {
        let poller = Poller(epoll::create(CreateFlags::CLOEXEC).context("cannot make an epoll")?);
        let add = |fd: &OwnedFd, token| poller.add(fd, token, EventFlags::IN).context("cannot wait for a socket");
        poller.add(link.socket(), Token::Link, EventFlags::IN).context("cannot wait for a socket")?;
        for (at, (socket, _)) in listeners.tcp.iter().enumerate() {
            add(socket, Token::Listener(at))?;
        }
        for (at, (socket, _)) in listeners.udp.iter().enumerate() {
            add(socket, Token::Published(at))?;
        }
        let datagrams = datagrams::Flows::new(listeners.udp);
        let (tcp, buffer) = (tcp::Flows::default(), vec![0; FRAME_MAX]);
        Ok(Relay { link, world, poller, listeners: listeners.tcp, tcp, datagrams, buffer })
    }

    /// Tells whoever waits at the other end that it is ready.
    pub(super) fn greet(&mut self) {
        self.link.put(Vec::from([0; HEADROOM + 1]));
    }

    pub(super) fn run(mut self) -> ! {
        let mut events = Vec::with_capacity(BATCH);
        loop {
            if self.link.is_full() {
                self.wait_for_room();
            } else {
                self.wait(&mut events);
                for event in events.drain(..) {
                    self.ready(Token::decode(event.data.u64()), event.flags);
                }
            }
            let now = Instant::now();
            self.tcp.expire(now);
            self.datagrams.expire(now);
            self.tcp.run(&mut self.link);
        }
    }

    fn wait(&self, events: &mut Vec<Event>) {
        let next = [self.tcp.deadline(), self.datagrams.deadline()].into_iter().flatten().min();
        let left = match next {
            _ if self.tcp.has_due() => Some(std::time::Duration::ZERO),
            next => next.map(|at| at.saturating_duration_since(Instant::now())),
        };
        let left = left.map(|d| Timespec { tv_sec: d.as_secs() as i64, tv_nsec: i64::from(d.subsec_nanos()) });
        // Interrupted is as good as nothing.
        let _ = epoll::wait(&self.poller.0, rustix::buffer::spare_capacity(events), left.as_ref());
    }

    /// The sentry is slow to take frames: nothing else is looked at but those that it sends, for it may wait in turn.
    fn wait_for_room(&mut self) {
        let mut fds = [PollFd::from_borrowed_fd(self.link.socket(), PollFlags::IN | PollFlags::OUT)];
        let _ = poll(&mut fds, None);
        self.frames();
        self.link.flush();
    }

    fn ready(&mut self, token: Token, events: EventFlags) {
        match token {
            Token::Link => self.frames(),
            Token::Listener(at) => self.accept(at),
            Token::Published(at) => {
                self.datagrams.published(at, &mut self.buffer, &mut self.link, &self.poller);
            }
            Token::Tcp(id) => self.tcp.ready(id, events, &mut self.link),
            Token::Datagrams(id) => {
                self.datagrams.ready(id, &mut self.buffer, &mut self.world, &mut self.link);
            }
        }
    }

    /// Frames have come from the sentry.
    fn frames(&mut self) {
        for _ in 0..BATCH {
            let packet = match self.link.read(&mut self.buffer) {
                Read::Packet(packet) => Packet::parse(packet),
                Read::Other => None,
                Read::Nothing => return,
                Read::End => std::process::exit(0),
            };
            // Parts of packets come from nobody who knows how long packets may be.
            let Some(packet) = packet.filter(|p| p.fragment.is_none() && (p.src == GUEST4 || p.src == GUEST6)) else {
                continue;
            };
            let (link, poller) = (&mut self.link, &self.poller);
            match packet.protocol {
                TCP => self.tcp.input(&packet, &self.world, link, poller),
                UDP => self.datagrams.input(&packet, &mut self.world, link, poller),
                ICMP if packet.dst.is_ipv4() => self.datagrams.input(&packet, &mut self.world, link, poller),
                ICMPV6 if packet.dst.is_ipv6() => self.datagrams.input(&packet, &mut self.world, link, poller),
                _ if packet.dst.is_multicast() => {}
                _ => icmp::unreachable(link, packet.bytes, Reason::Forbidden),
            }
        }
    }

    /// Connections have come to a published port.
    fn accept(&mut self, at: usize) {
        let Some((socket, port)) = self.listeners.get(at) else { return };
        for _ in 0..BATCH {
            // Those that find no room are closed by being dropped.
            match rustix::net::acceptfrom_with(socket, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                Ok((host, Some(peer))) => {
                    if let Ok(peer) = SocketAddr::try_from(peer) {
                        self.tcp.accept(host, peer, *port, &self.poller);
                    }
                }
                Ok((_, None)) => {}
                Err(_) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::world::GATEWAY4;
    use super::*;
    use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, recv, send, socketpair};
    use sentry::net::stack::packet::{Head, put_checksum};
    use std::net::{Ipv4Addr, TcpListener};

    /// Frames whose packets are for one port of a listener of the test's, or for nobody; all else in them is chance.
    #[test]
    fn anything_may_come_over_the_link() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
        listener.set_nonblocking(true).expect("non-blocking");
        let port = listener.local_addr().expect("its address").port();
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let (own, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).expect("a link");
        let world = World { host_loopback: true, ..World::default() };
        let mut relay = Relay::new(Link::new(theirs), world, Listeners::default()).expect("a relay");
        let mut seed = 7u32;
        let mut next = move || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 16) as u16
        };
        let (mut accepted, mut events) = (Vec::new(), Vec::with_capacity(BATCH));
        for _ in 0..20_000 {
            let protocol = [TCP, TCP, TCP, UDP, ICMP, next() as u8][usize::from(next() % 6)];
            let head = Head { src: GUEST4.into(), dst: GATEWAY4.into(), protocol, hops: 64, class: 0 };
            let mut data: Vec<u8> = (0..next() % 80).map(|_| next() as u8).collect();
            let port = if protocol == TCP { port } else { 0 };
            data.iter_mut().skip(2).zip(port.to_be_bytes()).for_each(|(to, byte)| *to = byte);
            if protocol == TCP && data.len() >= 20 {
                // Few ports and flags that mean something: connections come to be, and are disturbed.
                data[..2].copy_from_slice(&(1000 + next() % 8).to_be_bytes());
                data[12] = 0x50;
                data[13] &= 0x17;
            }
            put_checksum(&head, &mut data, 16);
            let mut frame = head.frame(&data, None);
            frame[HEADROOM - 2..HEADROOM].copy_from_slice(&(libc::ETH_P_IP as u16).to_be_bytes());
            if next() % 4 == 0 {
                let at = usize::from(next()) % frame.len();
                // Not the address of the gateway: nothing goes elsewhere.
                if !(HEADROOM + 12..HEADROOM + 24).contains(&at) {
                    frame[at] ^= 1 << (next() % 8);
                }
            }
            let _ = send(&own, &frame, SendFlags::DONTWAIT);
            relay.frames();
            let soon = Timespec { tv_sec: 0, tv_nsec: 0 };
            let _ = epoll::wait(&relay.poller.0, rustix::buffer::spare_capacity(&mut events), Some(&soon));
            for event in events.drain(..) {
                relay.ready(Token::decode(event.data.u64()), event.flags);
            }
            relay.tcp.run(&mut relay.link);
            relay.link.flush();
            while recv(&own, &mut [0; 65536][..], RecvFlags::DONTWAIT).is_ok() {}
            accepted.extend(listener.accept().ok());
            accepted.drain(..accepted.len().saturating_sub(16));
        }
        assert!(!accepted.is_empty(), "no connection ever came to be");
    }
}
