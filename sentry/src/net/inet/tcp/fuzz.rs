//! Random and mutated frames into the stack, over an interface that is a pair of sockets: it must neither panic nor
//! stop to answer. `FUZZ_SECONDS` and `FUZZ_SEED` let it run longer, and again.

use super::*;
use crate::boot::config::{InterfaceSpec, NetworkSpec};
use crate::net::fuzz::{Random, number};
use crate::net::stack;
use crate::net::stack::packet::{
    ETHERNET_LEN, Fragment, HEADROOM, Head, ICMP, ICMPV6, TCP, UDP, VNET_LEN, put_checksum,
};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const PEER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
const PORT: u16 = 80;
static PANICS: AtomicUsize = AtomicUsize::new(0);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn head(protocol: u8) -> Head {
    let (src, dst) = if protocol == ICMPV6 { ("fd00::2", "fd00::1") } else { ("10.0.0.2", "10.0.0.1") };
    Head { src: ip(src), dst: ip(dst), protocol, hops: 255, class: 0 }
}

/// A frame with an IP packet, as the host would hand it over.
fn frame(head: &Head, payload: &[u8], fragment: Option<Fragment>) -> Vec<u8> {
    let kind: u16 = if head.dst.is_ipv4() { 0x0800 } else { 0x86dd };
    let mut frame = head.frame(payload, fragment);
    frame[VNET_LEN..VNET_LEN + 6].copy_from_slice(&MAC);
    frame[VNET_LEN + 6..VNET_LEN + 12].copy_from_slice(&PEER_MAC);
    frame[VNET_LEN + 12..HEADROOM].copy_from_slice(&kind.to_be_bytes());
    frame
}

fn segment(flags: u8, sequence: u32, acknowledged: u32, data: &[u8]) -> Vec<u8> {
    let mut tcp = Vec::new();
    tcp.extend(4000u16.to_be_bytes());
    tcp.extend(PORT.to_be_bytes());
    tcp.extend(sequence.to_be_bytes());
    tcp.extend(acknowledged.to_be_bytes());
    tcp.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    tcp.extend_from_slice(data);
    put_checksum(&head(TCP), &mut tcp, 16);
    frame(&head(TCP), &tcp, None)
}

fn echo(v6: bool) -> Vec<u8> {
    let head = head(if v6 { ICMPV6 } else { ICMP });
    let mut message = vec![if v6 { 128 } else { 8 }, 0, 0, 0, 0, 7, 0, 1, 1, 2, 3, 4];
    put_checksum(&head, &mut message, 2);
    frame(&head, &message, None)
}

/// Frames to begin with.
fn seeds() -> Vec<Vec<u8>> {
    let mut udp = vec![0x10, 0, 0, 9, 0, 12, 0, 0, 1, 2, 3, 4];
    put_checksum(&head(UDP), &mut udp, 6);
    let mut arp = vec![0; HEADROOM];
    arp[VNET_LEN..VNET_LEN + 6].copy_from_slice(&[0xff; 6]);
    arp[VNET_LEN + 12..HEADROOM].copy_from_slice(&[8, 6]);
    arp.extend([0, 1, 8, 0, 6, 4, 0, 1]);
    arp.extend(PEER_MAC);
    arp.extend([10, 0, 0, 2, 0, 0, 0, 0, 0, 0, 10, 0, 0, 1]);
    let mut solicitation = vec![135, 0, 0, 0, 0, 0, 0, 0];
    solicitation.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1]);
    solicitation.extend(PEER_MAC);
    put_checksum(&head(ICMPV6), &mut solicitation, 2);
    let part = |offset, more| Some(Fragment { id: 5, offset, more });
    vec![
        echo(false),
        echo(true),
        frame(&head(UDP), &udp, None),
        frame(&head(UDP), &udp, part(0, true)),
        frame(&head(UDP), &udp[..8], part(16, false)),
        frame(&head(ICMPV6), &solicitation, None),
        frame(&head(ICMP), &[&[3, 3, 0, 0, 0, 0, 0, 0], &segment(2, 1, 0, b"")[HEADROOM..]].concat(), None),
        arp,
        segment(2, 1000, 0, b""),
        segment(16, 1001, 1, b"data"),
        segment(17, 1005, 1, b""),
        segment(4, 1001, 0, b""),
    ]
}

fn mutate(random: &mut Random, frame: &mut Vec<u8>) {
    for _ in 0..random.below(6) {
        let at = random.below(frame.len());
        if let Some(byte) = frame.get_mut(at) {
            *byte = random.next() as u8;
        }
    }
    match random.below(8) {
        0 => frame.truncate(random.below(frame.len() + 1)),
        1 => frame.extend((0..random.below(2000)).map(|n| n as u8)),
        2 => frame[ETHERNET_LEN..].reverse(),
        _ => {}
    }
    // As if the host had verified the checksum, or left cutting to whoever reads.
    if let Some(flags) = frame.first_mut().filter(|_| random.below(3) > 0) {
        *flags = 2;
    }
}

fn interface() -> OwnedFd {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (ours, theirs) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::DGRAM, flags, None).unwrap();
    let addresses = vec![(ip("10.0.0.1"), 24), (ip("fd00::1"), 64)];
    let spec =
        InterfaceSpec { name: "fuzz0".into(), index: 7, mac: MAC, mtu: 1500, addresses, socket: ours, waits: false };
    let neighbours = vec![(ip("10.0.0.2"), 7, PEER_MAC), (ip("fd00::2"), 7, PEER_MAC)];
    stack::start(NetworkSpec { interfaces: vec![spec], neighbours, ..NetworkSpec::default() }).unwrap();
    theirs
}

/// Takes what the stack sends; whether there was an answer to an echo.
fn drain(wire: &OwnedFd) -> bool {
    let mut buffer = [0; 65600];
    let mut answered = false;
    while let Ok((_, count)) = rustix::net::recv(wire, &mut buffer[..], RecvFlags::DONTWAIT) {
        let payload = buffer.get(HEADROOM + 20..count).unwrap_or_default();
        answered |=
            buffer[VNET_LEN + 12..HEADROOM] == [8, 0] && buffer[HEADROOM + 9] == ICMP && payload.first() == Some(&0);
    }
    answered
}

#[test]
fn frames_of_all_kinds_are_survived() {
    let seconds = number("FUZZ_SECONDS").unwrap_or(2);
    let seed = number("FUZZ_SEED").unwrap_or_else(|| u64::from(stack::random()) | 1);
    std::panic::set_hook(Box::new(|info| {
        eprintln!("{info}");
        PANICS.fetch_add(1, Ordering::Relaxed);
    }));
    let wire = interface();
    let options = Arc::new(Options::new(SNDBUF_DEFAULT, RCVBUF_DEFAULT));
    let listener = Tcp::new(libc::AF_INET, 0, options, IntOptions::new(crate::net::namespace::Net::first()));
    listener.bind(SocketAddr::new(ip("10.0.0.1"), PORT)).unwrap();
    listener.listen(16).unwrap();
    let (mut random, seeds) = (Random::new(seed), seeds());
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut count = 0u64;
    while Instant::now() < end {
        let mut frame = seeds[random.below(seeds.len())].clone();
        mutate(&mut random, &mut frame);
        if rustix::net::send(&wire, &frame, SendFlags::DONTWAIT).is_err() {
            std::thread::yield_now();
        }
        count += 1;
        drain(&wire);
        while let Ok(end) = listener.accept() {
            end.close();
        }
    }
    let alive = (0..200).any(|_| {
        let _ = rustix::net::send(&wire, &echo(false), SendFlags::DONTWAIT);
        std::thread::sleep(Duration::from_millis(10));
        drain(&wire)
    });
    println!("frames: {count} in {seconds} s, seed {seed}");
    assert_eq!(PANICS.load(Ordering::Relaxed), 0, "seed {seed}, after {count} frames");
    assert!(alive, "no answer any more, seed {seed}, after {count} frames");
}
