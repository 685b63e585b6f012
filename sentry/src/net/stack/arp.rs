//! Finding neighbours: ARP for IPv4, neighbour discovery (NDP) for IPv6.

use super::kind_of;
use super::link::{BROADCAST, Device, Link, Mac};
use super::neighbour::{Outgoing, RETRY, Retry};
use super::packet::{HEADROOM, Head, ICMPV6, Packet, put_checksum};
use crate::executor::{Events, Observer, Timers};
use crate::net::namespace::Net;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Weak};
use std::time::Instant;

const REQUEST: u8 = 1;
const REPLY: u8 = 2;
/// Ethernet, IPv4, with addresses of 6 and 4 bytes.
const ARP_HEAD: [u8; 7] = [0, 1, 8, 0, 6, 4, 0];
const ARP_LEN: usize = 28;

/// `ND_NEIGHBOR_SOLICIT`.
const SOLICIT: u8 = 135;
/// `ND_NEIGHBOR_ADVERT`.
const ADVERT: u8 = 136;
/// Option: the sender's hardware address.
const SOURCE_MAC: u8 = 1;
/// Option: the target's.
const TARGET_MAC: u8 = 2;
/// Messages of NDP come from the link itself.
const HOPS: u8 = 255;
/// An advertisement that answers, and replaces what was known.
const ANSWERS: u8 = 0x60;

/// Asks who has `ip`, and sees to it that somebody asks again.
pub(super) fn ask(net: &Net, link: &Link, ip: IpAddr) {
    send_question(net, link, ip);
    let again = Again { device: Arc::downgrade(&link.device), ip };
    Timers::get().add(Instant::now() + RETRY, Arc::new(again));
}

/// The time for an answer is over.
struct Again {
    device: Weak<Device>,
    ip: IpAddr,
}

impl Observer for Again {
    fn notify(&self, _: Events) {
        let Some((net, link)) = self.device.upgrade().and_then(|device| device.place()) else { return };
        let retry = link.device.neighbours.lock().retry(self.ip);
        match retry {
            Retry::Done => {}
            Retry::Ask => ask(&net, &link, self.ip),
            Retry::Failed(packets) => packets.iter().for_each(|packet| net.failed(&link, packet)),
        }
    }
}

fn send_question(net: &Net, link: &Link, ip: IpAddr) {
    let own = |ip: &IpAddr| link.addresses.iter().map(|own| own.ip).find(|own| own.is_ipv4() == ip.is_ipv4());
    match (ip, own(&ip)) {
        (IpAddr::V4(ip), Some(IpAddr::V4(own))) => send_arp(net, link, REQUEST, own, BROADCAST, ip),
        (IpAddr::V6(ip), Some(IpAddr::V6(own))) => {
            let group = solicited_node(ip);
            let mut message = vec![SOLICIT, 0, 0, 0, 0, 0, 0, 0];
            message.extend(ip.octets());
            message.extend([SOURCE_MAC, 1]);
            message.extend(link.mac);
            send_ndp(net, link, own, group, multicast_mac(group.into()), message);
        }
        _ => {}
    }
}

/// The group that all listen to whose addresses end like `ip`.
fn solicited_node(ip: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b] = ip.segments();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | a & 0xff, b)
}

/// The hardware address of a group.
pub fn multicast_mac(group: IpAddr) -> Mac {
    match group {
        IpAddr::V4(ip) => {
            let [_, b, c, d] = ip.octets();
            [0x01, 0, 0x5e, b & 0x7f, c, d]
        }
        IpAddr::V6(ip) => {
            let [.., a, b, c, d] = ip.octets();
            [0x33, 0x33, a, b, c, d]
        }
    }
}

fn send_arp(net: &Net, link: &Link, operation: u8, own: Ipv4Addr, to: Mac, ip: Ipv4Addr) {
    let mut frame = vec![0; HEADROOM];
    frame.extend(ARP_HEAD);
    frame.push(operation);
    frame.extend(link.mac);
    frame.extend(own.octets());
    // In a question nobody knows yet.
    frame.extend(if operation == REQUEST { [0; 6] } else { to });
    frame.extend(ip.octets());
    link.send(net, Outgoing::whole(frame), to, libc::ETH_P_ARP as u16);
}

fn send_ndp(net: &Net, link: &Link, src: Ipv6Addr, dst: Ipv6Addr, to: Mac, mut message: Vec<u8>) {
    let head = Head { src: src.into(), dst: dst.into(), protocol: ICMPV6, hops: HOPS, class: 0 };
    put_checksum(&head, &mut message, 2);
    link.send(net, Outgoing::whole(head.frame(&message, None)), to, libc::ETH_P_IPV6 as u16);
}

/// What was learnt; what waited goes.
fn learn(net: &Net, link: &Link, ip: IpAddr, mac: Mac, create: bool) {
    let waited = link.device.neighbours.lock().confirm(ip, mac, create, Instant::now());
    release(net, link, ip, mac, waited);
}

/// What has waited for a neighbour goes.
pub(super) fn release(net: &Net, link: &Link, ip: IpAddr, mac: Mac, waited: Vec<Outgoing<'static>>) {
    for packet in waited {
        link.send(net, packet, mac, kind_of(ip));
    }
}

/// An ARP message.
pub(super) fn input(net: &Net, link: &Link, message: &[u8]) -> Option<()> {
    let message = message.first_chunk::<ARP_LEN>()?;
    let (head, rest) = message.split_first_chunk::<7>()?;
    let (operation, rest) = rest.split_first()?;
    let (mac, rest) = rest.split_first_chunk::<6>()?;
    let (sender, rest) = rest.split_first_chunk::<4>()?;
    let target = Ipv4Addr::from(*rest.get(6..)?.first_chunk::<4>()?);
    let sender = Ipv4Addr::from(*sender);
    if *head != ARP_HEAD || mac.first()? & 1 != 0 || link.has(sender.into()) {
        return None;
    }
    let is_mine = link.has(target.into());
    // A probe for an address comes from nobody.
    if !sender.is_unspecified() {
        learn(net, link, sender.into(), *mac, is_mine);
    }
    if is_mine && *operation == REQUEST {
        send_arp(net, link, REPLY, target, *mac, sender);
    }
    Some(())
}

/// An ICMPv6 message that may be one of NDP; whether it was.
pub(super) fn input_ndp(net: &Net, link: &Link, packet: &Packet<'_>) -> bool {
    let kind = packet.payload().first().copied();
    if !matches!(kind, Some(SOLICIT | ADVERT)) {
        return false;
    }
    if packet.hops == HOPS {
        discovered(net, link, packet);
    }
    true
}

fn discovered(net: &Net, link: &Link, packet: &Packet<'_>) -> Option<()> {
    let message = packet.payload();
    let target = Ipv6Addr::from(*message.get(8..)?.first_chunk::<16>()?);
    let mut options = message.get(24..)?;
    let mut mac = None;
    while let Some((kind, len)) = options.first().zip(options.get(1)) {
        let len = usize::from(*len) * 8;
        if matches!(*kind, SOURCE_MAC | TARGET_MAC) {
            mac = options.get(2..).and_then(|option| option.first_chunk::<6>()).copied();
        }
        // An option without length would never end.
        options = if len == 0 { &[] } else { options.get(len..).unwrap_or_default() };
    }
    let mac = mac.filter(|mac| mac[0] & 1 == 0);
    let IpAddr::V6(src) = packet.src else { return None };
    if message.first()? == &ADVERT {
        learn(net, link, target.into(), mac?, false);
        return Some(());
    }
    if !link.has(target.into()) {
        return None;
    }
    if src.is_unspecified() {
        // Somebody wants to take the address: everybody is told that it has an owner.
        let all = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
        send_ndp(net, link, target, all, multicast_mac(all.into()), advert(link, target, ANSWERS & !0x40));
        return Some(());
    }
    let mac = mac?;
    learn(net, link, src.into(), mac, true);
    send_ndp(net, link, target, src, mac, advert(link, target, ANSWERS));
    Some(())
}

fn advert(link: &Link, target: Ipv6Addr, flags: u8) -> Vec<u8> {
    let mut message = vec![ADVERT, 0, 0, 0, flags, 0, 0, 0];
    message.extend(target.octets());
    message.extend([TARGET_MAC, 1]);
    message.extend(link.mac);
    message
}
