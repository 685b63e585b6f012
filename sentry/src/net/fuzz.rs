//! What is random in tests, and frames at random: of those that manage groups, and over bridges and routers. `FUZZ_SECONDS`
//! and `FUZZ_SEED` let such tests run longer, and again; each says how much it did.

use super::inet::Batch;
use super::layout::V6;
use super::namespace::Net;
use super::stack::link::{BROADCAST, Device, IfAddress, Kind, Link};
use super::stack::packet::{
    Fragment, HEADROOM, Head, ICMP, ICMPV6, IPV4_LEN, TCP, UDP, VNET_LEN, fold, put_checksum, sum,
};
use super::stack::{multicast_mac, random};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Numbers that look random, the same for the same seed.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed | 1)
    }

    /// Of the seed that the environment names, or of any.
    pub(crate) fn of_environment() -> Random {
        Random::new(number("FUZZ_SEED").unwrap_or_else(|| u64::from(random())))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// One below `n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

/// A number in the environment.
pub(crate) fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Does something for as long as the environment says, or a moment.
pub(crate) fn keep_on(what: &str, mut act: impl FnMut(&mut Random)) {
    let mut random = Random::of_environment();
    let (seed, began) = (random.0, Instant::now());
    let time = number("FUZZ_SECONDS").map_or(Duration::from_millis(500), Duration::from_secs);
    let mut count = 0u64;
    while began.elapsed() < time {
        (0..256).for_each(|_| act(&mut random));
        count += 256;
    }
    println!("{what}: {count} in {:?}, seed {seed}", began.elapsed());
}

/// Interfaces of a namespace that frames are to come over.
struct World {
    net: Arc<Net>,
    links: Vec<Arc<Link>>,
    /// What the devices are joined to.
    _others: Vec<Arc<Device>>,
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

impl World {
    /// Interfaces of which those in `ports` are a bridge's; the namespace is a router if it `forwards`.
    fn new(count: u8, ports: std::ops::Range<u8>, forwards: bool) -> World {
        let net = Net::create().unwrap();
        if forwards {
            net.set_parameter("net/ipv4/ip_forward", "0\n", b"1").unwrap();
            net.set_parameter("net/ipv6/conf/all/forwarding", "0\n", b"1").unwrap();
        }
        let mut others = Vec::new();
        let bridge = net.change(|layout| {
            let index = layout.add_link(Link::new("br0".into(), Link::random_mac(), Device::bridge(&net.weak())?))?;
            layout.set_up(index, true, V6::Bare)?;
            layout.add_address(index, IfAddress::new((ip("10.0.9.1"), 24)))?;
            Ok(index)
        });
        let bridge = bridge.unwrap();
        for n in 0..count {
            let (device, other) = Device::pair(&net.weak(), &net.weak()).unwrap();
            others.push(other);
            let done = net.change(|layout| {
                let index = layout.add_link(Link::new(format!("eth{n}"), [2, 0, 0, 0, 0, n], device.clone()))?;
                layout.set_up(index, true, V6::Full)?;
                layout.add_address(index, IfAddress::new((IpAddr::from([10, 0, n, 1]), 24)))?;
                layout.add_address(index, IfAddress::new((ip(&format!("fd0{n}::1")), 64)))?;
                layout.set_master(index, if ports.contains(&n) { bridge } else { 0 })
            });
            done.unwrap();
        }
        let layout = net.layout();
        let links = layout.links().iter().filter(|link| matches!(link.device.kind, Kind::Veth(_))).cloned().collect();
        World { links, net, _others: others }
    }

    fn receive(&self, random: &mut Random, frame: &[u8]) {
        let mut batch = Batch::default();
        if let Some(link) = self.links.get(random.below(self.links.len())) {
            self.net.receive(link, frame, None, &mut batch);
        }
        batch.finish();
    }
}

/// Gives a packet its link's header.
fn frame(head: &Head, payload: &[u8], fragment: Option<Fragment>, to: [u8; 6]) -> Vec<u8> {
    let mut frame = head.frame(payload, fragment);
    let kind: u16 = if head.dst.is_ipv4() { 0x0800 } else { 0x86dd };
    frame[VNET_LEN..VNET_LEN + 6].copy_from_slice(&to);
    frame[VNET_LEN + 6..VNET_LEN + 12].copy_from_slice(&[2, 9, 0, 0, 0, 1]);
    frame[VNET_LEN + 12..HEADROOM].copy_from_slice(&kind.to_be_bytes());
    frame
}

/// Changes some bytes, and puts the checksum of an IPv4 header right again.
fn mutate(random: &mut Random, frame: &mut Vec<u8>) {
    for _ in 0..random.below(5) {
        let at = random.below(frame.len());
        frame[at] = random.next() as u8;
    }
    match random.below(10) {
        0 => frame.truncate(random.below(frame.len() + 1)),
        1 => frame.extend((0..random.below(1800)).map(|n| n as u8)),
        _ => {}
    }
    if let Some(head) = frame.get_mut(HEADROOM..HEADROOM + IPV4_LEN).filter(|head| head[0] == 0x45) {
        head[10..12].fill(0);
        let checksum = !fold(sum(head, 0));
        head[10..12].copy_from_slice(&checksum.to_be_bytes());
    }
}

/// Messages about groups: queries of all versions, and reports.
fn group_message(random: &mut Random) -> Vec<u8> {
    let v4 = random.below(2) == 0;
    let kinds: &[u8] = if v4 { &[0x11, 0x12, 0x16, 0x17, 0x22] } else { &[130, 131, 132, 143] };
    let groups = if v4 { ["0.0.0.0", "224.0.0.251", "239.1.2.3"] } else { ["::", "ff02::fb", "ff05::1:3"] };
    let group = ip(groups[random.below(3)]);
    let mut message = vec![kinds[random.below(kinds.len())], random.next() as u8, 0, 0];
    match group {
        IpAddr::V4(group) => message.extend(group.octets()),
        IpAddr::V6(group) => {
            message.extend([random.next() as u8, random.next() as u8, 0, 0]);
            message.extend(group.octets());
        }
    }
    let sources = random.below(6);
    message.extend([random.next() as u8 & 0xf, random.next() as u8, 0, sources as u8]);
    (0..sources).for_each(|n| message.extend(vec![n as u8 + 1; if v4 { 4 } else { 16 }]));
    let (src, dst) = if v4 { ("10.0.0.2", "224.0.0.1") } else { ("fe80::2", "ff02::1") };
    let head = Head { src: ip(src), dst: ip(dst), protocol: if v4 { 2 } else { ICMPV6 }, hops: 1, class: 0xc0 };
    if v4 {
        let checksum = !fold(sum(&message, 0));
        message[2..4].copy_from_slice(&checksum.to_be_bytes());
    } else {
        put_checksum(&head, &mut message, 2);
    }
    frame(&head, &message, None, multicast_mac(head.dst))
}

/// A packet to somebody, perhaps elsewhere.
fn packet(random: &mut Random, to: [u8; 6]) -> Vec<u8> {
    let v4 = random.below(2) == 0;
    let net = random.below(4);
    let dst = if v4 {
        ip(&format!("10.0.{net}.{}", 1 + random.below(3)))
    } else {
        ip(&format!("fd0{net}::{}", 1 + random.below(3)))
    };
    let src = if v4 { "10.0.0.2" } else { "fd00::2" };
    let protocol = [ICMP, ICMPV6, UDP, TCP][random.below(4)];
    let head = Head { src: ip(src), dst, protocol, hops: random.below(4) as u8, class: 0 };
    let payload = vec![random.next() as u8; [8, 60, 1400, 3000][random.below(4)]];
    let part = Fragment { id: 7, offset: random.below(4) * 800, more: random.below(2) == 0 };
    let mut frame = frame(&head, &payload, (random.below(4) == 0).then_some(part), to);
    // What the one before left to do for it: checksum, segments, datagrams.
    if random.below(2) == 0 {
        let size = [0u16, 1, 500, 1448][random.below(4)].to_ne_bytes();
        frame[..6].copy_from_slice(&[
            random.below(4) as u8,
            [0, 1, 4, 5, 0x81][random.below(5)],
            0,
            0,
            size[0],
            size[1],
        ]);
    }
    frame
}

#[test]
fn messages_about_groups_are_survived() {
    let world = World::new(2, 0..0, false);
    let groups = super::inet::multicast::Groups::default();
    for n in 1..=2u8 {
        let mreq = [[239, 1, 2, n], [10, 0, 0, 1]].concat();
        groups.set(&world.net, libc::IPPROTO_IP, libc::IP_ADD_MEMBERSHIP, &mreq).unwrap();
    }
    keep_on("messages about groups", |random| {
        let mut frame = group_message(random);
        mutate(random, &mut frame);
        world.receive(random, &frame);
    });
}

#[test]
fn frames_over_bridges_and_routers_are_survived() {
    let world = World::new(4, 2..4, true);
    keep_on("frames over bridges and routers", |random| {
        let macs = [BROADCAST, [2, 0, 0, 0, 0, 0], [2, 0, 0, 0, 0, 2], [2, 9, 0, 0, 0, 1], [2, 8, 0, 0, 0, 7]];
        let to = macs[random.below(macs.len())];
        let mut frame = packet(random, to);
        mutate(random, &mut frame);
        world.receive(random, &frame);
    });
}
