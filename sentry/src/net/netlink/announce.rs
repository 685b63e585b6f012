//! Tells those who listen what has changed in a namespace (`RTMGRP_LINK` and so on).

use super::message::{Origin, Reply};
use super::route::tables::Neighbour;
use super::route::{address, group, link, routes, tables};
use super::socket::broadcast;
use crate::net::layout::Layout;
use crate::net::namespace::Net;
use crate::net::stack::link::{Device, IfAddress, Link};
use crate::net::stack::route::Route;
use crate::net::stack::rule::Rule;
use std::sync::Arc;

/// `NLM_F_REPLACE`: something has taken another's place.
const REPLACE: u16 = libc::NLM_F_REPLACE as u16;
/// `NLM_F_APPEND`: others for the same are asked first.
const APPEND: u16 = libc::NLM_F_APPEND as u16;
const CREATE: u16 = libc::NLM_F_CREATE as u16;
const EXCL: u16 = libc::NLM_F_EXCL as u16;
/// What happens by itself, or of which Linux does not say who did it.
const NOBODY: Origin = Origin { seq: 0, pid: 0, flags: 0, echo: false };
/// Whose messages Linux sends to those who led to them, if they ask for it.
const ECHOED: [u32; 5] =
    [group::IPV4_ADDRESS, group::IPV4_ROUTE, group::IPV6_ROUTE, group::IPV4_RULE, group::IPV6_RULE];

/// All that differs between two layouts, in the order in which Linux tells it.
pub(in crate::net) fn changes(net: &Net, old: &Layout, new: &Layout, origin: Origin) {
    let after = |link: &Link| new.link_of_device(&link.device);
    for link in old.links() {
        let left = after(link).map_or([].as_slice(), |now| now.addresses.as_slice());
        for gone in gone(&link.addresses, left) {
            tell_address(net, libc::RTM_DELADDR, link, gone, origin);
        }
        let name = after(link).map(|now| &*now.name);
        if name != Some(&link.name) {
            net.sysctl.renamed(&link.name, name);
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

/// The addresses that are gone: those behind another in its network before that.
fn gone<'a>(had: &'a [IfAddress], left: &[IfAddress]) -> Vec<&'a IfAddress> {
    let is_gone = |own: &&IfAddress| !left.iter().any(|now| (now.ip, now.prefix) == (own.ip, own.prefix));
    let first = |own: &IfAddress| had.iter().position(|other| !other.secondary && other.network() == own.network());
    let mut gone: Vec<_> = had.iter().filter(is_gone).collect();
    gone.sort_by_key(|own| (first(own), !own.secondary));
    gone
}

/// Whether two states of an interface differ in nothing but addresses.
fn is_same(a: &Link, b: &Link) -> bool {
    let of = |link: &Link| (link.index, link.mac, link.mtu, link.up, link.txqlen, link.group, link.flags, link.master);
    of(a) == of(b) && a.name == b.name && a.alias == b.alias
}

/// The other end of a pair learns that its carrier has come or gone.
fn carrier_changed(device: &Device) {
    if let Some((net, link)) = device.peer().and_then(|peer| peer.place()) {
        tell_link(&net, libc::RTM_NEWLINK, &link);
    }
}

fn tell(net: &Net, group: u32, origin: Origin, write: impl FnOnce(&mut Reply)) {
    let echo = Some(origin.pid).filter(|_| origin.echo && ECHOED.contains(&group));
    if net.netlink.is_heard() || echo.is_some() {
        let mut news = Reply::news(origin);
        write(&mut news);
        broadcast(net, group, echo, &news.into_bytes());
    }
}

fn tell_link(net: &Net, kind: u16, link: &Link) {
    tell(net, group::LINK, NOBODY, |news| link::write(net, kind, news, link));
}

/// A guest has set an address that was there.
pub(super) fn address(net: &Net, link: &Link, own: &IfAddress, origin: Origin) {
    tell_address(net, libc::RTM_NEWADDR, link, own, origin);
}

fn tell_address(net: &Net, kind: u16, link: &Link, own: &IfAddress, origin: Origin) {
    let group = if own.ip.is_ipv4() { group::IPV4_ADDRESS } else { group::IPV6_ADDRESS };
    tell(net, group, origin, |news| address::write(kind, news, own, link));
}

fn tell_routes(net: &Net, old: &Layout, new: &Layout, origin: Origin) {
    if !net.netlink.is_heard() && !origin.echo {
        return;
    }
    let one = |kind: u16, route: &Route, flags: u16| {
        let group = if route.destination.is_ipv4() { group::IPV4_ROUTE } else { group::IPV6_ROUTE };
        let by = if route.protocol == libc::RTPROT_KERNEL { NOBODY } else { origin };
        tell(net, group, Origin { flags, ..by }, |news| routes::write(kind, news, route));
    };
    // What goes with an interface that is switched off goes without a word, as far as IPv4 is concerned.
    let is_off = |index: u32| new.link(index).is_none_or(|link| !link.up);
    let mut come: Vec<&Route> = new.routes().iter().filter(|route| !old.routes().contains(route)).collect();
    let mut gone: Vec<&Route> = old.routes().iter().filter(|route| !new.routes().contains(route)).collect();
    gone.sort_by_key(|route| order(route));
    for route in gone {
        let is_replaced = |new: &&Route| origin.flags & REPLACE != 0 && new.place() == route.place();
        if let Some(at) = come.iter().position(is_replaced) {
            one(libc::RTM_NEWROUTE, come.remove(at), REPLACE);
        } else if route.destination.is_ipv6() || !is_off(route.interface) {
            one(libc::RTM_DELROUTE, route, 0);
        }
    }
    let flags = CREATE | if origin.flags & APPEND != 0 { APPEND } else { EXCL };
    come.into_iter().for_each(|route| one(libc::RTM_NEWROUTE, route, flags));
}

/// A route has taken its own place, which those who listen for IPv6 hear.
pub(super) fn replaced(net: &Net, route: &Route, origin: Origin) {
    tell(net, group::IPV6_ROUTE, Origin { flags: REPLACE, ..origin }, |news| {
        routes::write(libc::RTM_NEWROUTE, news, route);
    });
}

/// What an address of IPv4 has brought goes behind what others in its network have.
fn order(route: &Route) -> u8 {
    match route.kind {
        _ if route.protocol != libc::RTPROT_KERNEL || route.destination.is_ipv6() => 4,
        libc::RTN_LOCAL if route.source != Some(route.destination) => 0,
        libc::RTN_UNICAST => 1,
        libc::RTN_BROADCAST => 2,
        _ => 3,
    }
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
pub(super) fn neighbour(net: &Net, kind: u16, entry: &Neighbour, origin: Origin) {
    tell(net, group::NEIGHBOUR, origin, |news| tables::write_neighbour(kind, news, entry));
}
