//! Where packets go: routes, and the own addresses that they come from.

use crate::boot::config::RouteSpec;
use std::net::{IpAddr, Ipv4Addr};

/// An address of an interface with the length of its network's prefix.
pub type Address = (IpAddr, u8);

/// The next step of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hop {
    /// Over which interface: its index.
    pub interface: u32,
    /// To which neighbour.
    pub via: IpAddr,
    /// From which own address, if the sender has not chosen one.
    pub source: IpAddr,
}

/// Whether `ip` is in the network of `prefix` bits that `network` is in.
pub fn contains(network: IpAddr, prefix: u8, ip: IpAddr) -> bool {
    match (network, ip) {
        (IpAddr::V4(a), IpAddr::V4(b)) => same(u32::from(a).into(), u32::from(b).into(), prefix, 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => same(a.into(), b.into(), prefix, 128),
        _ => false,
    }
}

fn same(a: u128, b: u128, prefix: u8, bits: u32) -> bool {
    let host = bits.saturating_sub(prefix.into());
    (a ^ b).checked_shr(host).unwrap_or(0) == 0
}

/// The first address of a network.
pub fn network(ip: IpAddr, prefix: u8) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => Ipv4Addr::from(u32::from(ip) & mask(prefix)).into(),
        IpAddr::V6(ip) => {
            let host = 128u32.saturating_sub(prefix.into());
            std::net::Ipv6Addr::from(u128::from(ip) & u128::MAX.checked_shl(host).unwrap_or(0)).into()
        }
    }
}

/// The net mask of a prefix.
pub fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32u32.saturating_sub(prefix.into())).unwrap_or(0)
}

/// The address by which all of a network are reached.
pub fn broadcast((ip, prefix): Address) -> Option<IpAddr> {
    match ip {
        IpAddr::V4(ip) if prefix < 31 => Some(Ipv4Addr::from(u32::from(ip) | !mask(prefix)).into()),
        _ => None,
    }
}

/// Whether `ip` is of use on one link only.
pub fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

/// The step towards `to`: `links` are the interfaces with their addresses.
pub fn lookup<'a>(
    links: impl Iterator<Item = (u32, &'a [Address])> + Clone,
    routes: &[RouteSpec],
    to: IpAddr,
) -> Option<Hop> {
    let connected = links.clone().flat_map(|(interface, addresses)| {
        let matching = addresses.iter().filter(|(ip, prefix)| contains(*ip, *prefix, to));
        matching.map(move |(_, prefix)| (*prefix, 0, Step { interface, gateway: None, source: None }))
    });
    let set = routes.iter().filter(|route| contains(route.destination, route.prefix, to)).map(|route| {
        let RouteSpec { interface, gateway, source, .. } = *route;
        (route.prefix, route.metric, Step { interface, gateway, source })
    });
    let best = connected.chain(set).min_by_key(|(prefix, metric, _)| (std::cmp::Reverse(*prefix), *metric));
    let step = match best {
        Some((_, _, step)) => step,
        // All of a link are reached over it, whichever it is.
        None if is_everywhere(to) => {
            Step { interface: links.clone().find(|(_, a)| source(a, to).is_some())?.0, gateway: None, source: None }
        }
        None => return None,
    };
    let via = step.gateway.unwrap_or(to);
    let own = links.clone().find(|(interface, _)| *interface == step.interface)?.1;
    // An interface without an address of its own lends one from another.
    let source = step.source.or_else(|| source(own, via)).or_else(|| links.clone().find_map(|(_, a)| source(a, to)))?;
    Some(Hop { interface: step.interface, via, source })
}

#[derive(Clone, Copy)]
struct Step {
    interface: u32,
    gateway: Option<IpAddr>,
    source: Option<IpAddr>,
}

/// Whether `ip` means many, for which there need be no route.
fn is_everywhere(ip: IpAddr) -> bool {
    ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST)
}

/// Which of an interface's addresses goes best with packets to `to`.
fn source(addresses: &[Address], to: IpAddr) -> Option<IpAddr> {
    let suits = |(ip, _): &&Address| ip.is_ipv4() == to.is_ipv4();
    let here = addresses.iter().filter(suits).find(|(ip, prefix)| contains(*ip, *prefix, to));
    let same_scope = || addresses.iter().filter(suits).find(|(ip, _)| is_link_local(*ip) == is_link_local(to));
    here.or_else(same_scope).or_else(|| addresses.iter().find(suits)).map(|(ip, _)| *ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn route(to: &str, prefix: u8, gateway: &str, interface: u32, metric: u32) -> RouteSpec {
        RouteSpec { destination: ip(to), prefix, gateway: Some(ip(gateway)), interface, source: None, metric }
    }

    #[test]
    fn the_longest_prefix_wins_then_the_metric() {
        let first = [(ip("10.0.0.2"), 24), (ip("fe80::2"), 64), (ip("fd00::2"), 64)];
        let second = [(ip("10.1.0.2"), 16)];
        let links = [(2, first.as_slice()), (3, second.as_slice())];
        let routes = [
            route("0.0.0.0", 0, "10.0.0.1", 2, 5),
            route("0.0.0.0", 0, "10.1.0.1", 3, 1),
            route("192.168.0.0", 16, "10.0.0.9", 2, 0),
            route("::", 0, "fe80::1", 2, 0),
        ];
        let go = |to: &str| {
            let hop = lookup(links.iter().copied(), &routes, ip(to));
            hop.map(|hop| (hop.interface, hop.via.to_string(), hop.source.to_string()))
        };
        let found = |interface, via: &str, source: &str| Some((interface, via.to_owned(), source.to_owned()));
        assert_eq!(go("10.0.0.7"), found(2, "10.0.0.7", "10.0.0.2"));
        assert_eq!(go("10.1.9.9"), found(3, "10.1.9.9", "10.1.0.2"));
        assert_eq!(go("8.8.8.8"), found(3, "10.1.0.1", "10.1.0.2"));
        assert_eq!(go("192.168.7.7"), found(2, "10.0.0.9", "10.0.0.2"));
        assert_eq!(go("fd00::7"), found(2, "fd00::7", "fd00::2"));
        assert_eq!(go("fe80::7"), found(2, "fe80::7", "fe80::2"));
        assert_eq!(go("255.255.255.255").unwrap().0, 3);
        let none = lookup(links.iter().copied(), &[], ip("8.8.8.8"));
        assert_eq!(none, None);
    }

    #[test]
    fn networks_have_ends() {
        assert_eq!(broadcast((ip("172.17.0.2"), 16)), Some(ip("172.17.255.255")));
        assert_eq!(broadcast((ip("172.17.0.2"), 32)), None);
        assert_eq!(network(ip("172.17.3.2"), 16), ip("172.17.0.0"));
        assert_eq!(network(ip("fd00:1::7"), 32), ip("fd00:1::"));
        assert!(contains(ip("1.2.3.4"), 0, ip("9.9.9.9")) && !contains(ip("1.2.3.4"), 32, ip("1.2.3.5")));
    }
}
