//! Tells those who listen what has changed in a namespace (`RTMGRP_LINK` and so on).

use super::message::{Origin, Reply};
use super::route::{address, group, link, routes, tables};
use super::socket::broadcast;
use crate::net::layout::Layout;
use crate::net::namespace::Net;
use crate::net::stack::link::{Device, IfAddress, Link};
use crate::net::stack::route::Route;
use crate::net::stack::rule::Rule;
use std::net::IpAddr;
use std::sync::Arc;

/// What happens by itself, or of which Linux does not say who did it.
const NOBODY: Origin = (0, 0);

/// All that differs between two layouts, in the order in which Linux tells it.
pub(in crate::net) fn changes(net: &Net, old: &Layout, new: &Layout, origin: Origin) {
    let after = |link: &Link| new.link_of_device(&link.device);
    for link in old.links() {
        let left = after(link).map_or([].as_slice(), |now| now.addresses.as_slice());
        for gone in link.addresses.iter().filter(|own| !left.contains(own)) {
            tell_address(net, libc::RTM_DELADDR, link, gone, origin);
        }
        if after(link).is_none() {
            tell_link(net, libc::RTM_DELLINK, link);
            link.device.set_up(false);
            carrier_changed(&link.device);
        }
    }
    for link in new.links() {
        let before = old.link_of_device(&link.device);
        if before.is_some_and(|before| Arc::ptr_eq(before, link)) {
            continue;
        }
        link.device.set_up(link.up);
        let had = before.map_or([].as_slice(), |before| before.addresses.as_slice());
        if before.is_none_or(|before| !is_same(before, link)) {
            tell_link(net, libc::RTM_NEWLINK, link);
        }
        if before.is_some_and(|before| before.up != link.up) {
            carrier_changed(&link.device);
        }
        for come in link.addresses.iter().filter(|own| !had.contains(own)) {
            tell_address(net, libc::RTM_NEWADDR, link, come, origin);
        }
    }
    tell_routes(net, old, new, origin);
    tell_rules(net, old, new, origin);
}

/// Whether two states of an interface differ in nothing but addresses.
fn is_same(a: &Link, b: &Link) -> bool {
    let of = |link: &Link| (link.index, link.mac, link.mtu, link.up, link.txqlen, link.group, link.flags);
    of(a) == of(b) && a.name == b.name && a.alias == b.alias
}

/// The other end of a pair learns that its carrier has come or gone.
fn carrier_changed(device: &Device) {
    if let Some((net, link)) = device.peer().and_then(|peer| peer.place()) {
        tell_link(&net, libc::RTM_NEWLINK, &link);
    }
}

fn tell(net: &Net, group: u32, origin: Origin, write: impl FnOnce(&mut Reply)) {
    if net.netlink.is_heard() {
        let mut news = Reply::news(origin);
        write(&mut news);
        broadcast(net, group, &news.into_bytes());
    }
}

fn tell_link(net: &Net, kind: u16, link: &Link) {
    tell(net, group::LINK, NOBODY, |news| link::write(net, kind, news, link));
}

fn tell_address(net: &Net, kind: u16, link: &Link, own: &IfAddress, origin: Origin) {
    let group = if own.ip.is_ipv4() { group::IPV4_ADDRESS } else { group::IPV6_ADDRESS };
    tell(net, group, origin, |news| address::write(kind, news, own, link));
}

fn tell_routes(net: &Net, old: &Layout, new: &Layout, origin: Origin) {
    if !net.netlink.is_heard() {
        return;
    }
    let one = |kind: u16, route: &Route| {
        let group = if route.destination.is_ipv4() { group::IPV4_ROUTE } else { group::IPV6_ROUTE };
        let origin = if route.protocol == libc::RTPROT_KERNEL { NOBODY } else { origin };
        tell(net, group, origin, |news| routes::write(kind, news, route));
    };
    // What goes with an interface that is switched off goes without a word, as far as IPv4 is concerned.
    let is_off = |index: u32| new.link(index).is_none_or(|link| !link.up);
    let gone = old.routes().iter().filter(|route| !new.routes().contains(route));
    gone.filter(|route| route.destination.is_ipv6() || !is_off(route.interface))
        .for_each(|route| one(libc::RTM_DELROUTE, route));
    let come = new.routes().iter().filter(|route| !old.routes().contains(route));
    come.for_each(|route| one(libc::RTM_NEWROUTE, route));
}

fn tell_rules(net: &Net, old: &Layout, new: &Layout, origin: Origin) {
    let one = |kind: u16, rule: &Rule| {
        let group = if rule.v4 { group::IPV4_RULE } else { group::IPV6_RULE };
        tell(net, group, origin, |news| tables::write_rule(kind, news, rule));
    };
    let gone = old.rules().iter().filter(|rule| !new.rules().contains(rule));
    gone.for_each(|rule| one(tables::RTM_DELRULE, rule));
    let come = new.rules().iter().filter(|rule| !old.rules().contains(rule));
    come.for_each(|rule| one(tables::RTM_NEWRULE, rule));
}

/// A guest has set or deleted a neighbour.
pub(super) fn neighbour(net: &Net, kind: u16, index: u32, entry: (IpAddr, [u8; 6], bool)) {
    tell(net, group::NEIGHBOUR, NOBODY, |news| tables::write_neighbour(kind, news, index, entry));
}
