//! Where packets go: routes, and the own addresses that they come from.

use super::link::IfAddress;
use super::scope;
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

/// A route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// The table it is in.
    pub table: u32,
    /// Where to; all zeroes with a prefix of 0 is the default.
    pub destination: IpAddr,
    /// Length of the prefix.
    pub prefix: u8,
    /// `RTN_…`.
    pub kind: u8,
    /// `RT_SCOPE_…`.
    pub scope: u8,
    /// Who made it (`RTPROT_…`).
    pub protocol: u8,
    /// Over which router; none if the destination is on the link.
    pub gateway: Option<IpAddr>,
    /// Over which interface; 0 if over none.
    pub interface: u32,
    /// With which own address.
    pub source: Option<IpAddr>,
    /// Routes with lower numbers are preferred.
    pub metric: u32,
}

impl Route {
    /// One that the engine has set.
    pub fn given(spec: RouteSpec) -> Route {
        let RouteSpec { destination, prefix, gateway, interface, source, metric } = spec;
        let scope = if gateway.is_some() || destination.is_ipv6() { 0 } else { libc::RT_SCOPE_LINK };
        let (table, kind, protocol) = (libc::RT_TABLE_MAIN.into(), libc::RTN_UNICAST, libc::RTPROT_BOOT);
        Route { table, destination, prefix, kind, scope, protocol, gateway, interface, source, metric }
    }

    /// What no two routes of IPv4 have in common.
    pub fn place(&self) -> (u32, IpAddr, u8, u32) {
        (self.table, self.destination, self.prefix, self.metric)
    }

    /// Whether it is for packets to `ip`.
    pub fn leads_to(&self, ip: IpAddr) -> bool {
        contains(self.destination, self.prefix, ip)
    }
}

/// What chooses a route besides the destination.
#[derive(Debug, Clone, Copy, Default)]
pub struct Query {
    /// The address that packets come from, if that is settled.
    pub from: Option<IpAddr>,
    /// The interface that they have to leave over; any if 0.
    pub oif: u32,
    /// The interface that they have come over; 0 for own ones.
    pub iif: u32,
    /// `SO_MARK`.
    pub mark: u32,
}

/// Which of an interface's addresses goes best with packets to `to`.
pub fn source(addresses: &[IfAddress], to: IpAddr) -> Option<IpAddr> {
    let suits = |own: &&IfAddress| own.ip.is_ipv4() == to.is_ipv4();
    let here = addresses.iter().filter(suits).find(|own| contains(own.ip, own.prefix, to));
    let of_link = is_link_local(to) || scope::is_scoped(to);
    let same_scope = || addresses.iter().filter(suits).find(|own| is_link_local(own.ip) == of_link);
    here.or_else(same_scope).or_else(|| addresses.iter().find(suits)).map(|own| own.ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
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
