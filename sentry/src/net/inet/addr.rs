//! Internet addresses: what guests write, and what they mean here.
//!
//! Inside, an IPv4 address is an IPv4 address even on an IPv6 socket; it is mapped (`::ffff:…`) only towards
//! the guest.

use crate::errno::{Errno, SysResult};
use crate::net::address::SockAddr;
use crate::net::namespace::Net;
use crate::net::options::Options;
use crate::net::stack::link::Link;
use crate::net::stack::route::{Query, source};
use crate::net::stack::scope::{self, scoped};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Shortest `struct sockaddr_in6` (RFC 2133: without `sin6_scope_id`).
const SIN6_LEN_MIN: usize = 24;
const SIN_LEN: usize = 16;

/// Reads an address for a socket of `family`.
pub(super) fn parse(family: i32, address: &SockAddr) -> SysResult<SocketAddr> {
    let len = address.as_bytes().len();
    if family == libc::AF_INET {
        if len < SIN_LEN {
            return Err(Errno::INVAL);
        }
        if address.family()? != libc::AF_INET {
            return Err(Errno::AFNOSUPPORT);
        }
        return parse_v4(address.rest());
    }
    if len < SIN6_LEN_MIN {
        return Err(Errno::INVAL);
    }
    if address.family()? != libc::AF_INET6 {
        return Err(Errno::AFNOSUPPORT);
    }
    parse_v6(address.rest())
}

fn parse_v4(rest: &[u8]) -> SysResult<SocketAddr> {
    let (port, rest) = rest.split_first_chunk::<2>().ok_or(Errno::INVAL)?;
    let ip = rest.first_chunk::<4>().ok_or(Errno::INVAL)?;
    Ok(SocketAddr::new(Ipv4Addr::from(*ip).into(), u16::from_be_bytes(*port)))
}

fn parse_v6(rest: &[u8]) -> SysResult<SocketAddr> {
    let (port, rest) = rest.split_first_chunk::<2>().ok_or(Errno::INVAL)?;
    let ip = rest.get(4..).and_then(|rest| rest.first_chunk::<16>()).ok_or(Errno::INVAL)?;
    // Shorter ones do not say.
    let scope = rest.get(20..).and_then(|rest| rest.first_chunk::<4>()).map_or(0, |scope| u32::from_ne_bytes(*scope));
    Ok(scoped(Ipv6Addr::from(*ip).to_canonical(), u16::from_be_bytes(*port), scope))
}

/// As a guest sees it on a socket of `family`.
pub(super) fn to_guest(family: i32, address: SocketAddr) -> SockAddr {
    let port = address.port().to_be_bytes();
    if family == libc::AF_INET {
        let ip = match address.ip() {
            IpAddr::V4(ip) => ip,
            IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
        };
        return SockAddr::new(libc::AF_INET, &[port.as_slice(), &ip.octets(), &[0; 8]].concat());
    }
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv6Addr::UNSPECIFIED,
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    let scope = scope::interface(&address).to_ne_bytes();
    SockAddr::new(libc::AF_INET6, &[port.as_slice(), &[0; 4], &ip.octets(), &scope].concat())
}

/// Any address of a family.
pub(super) fn any(family: i32) -> IpAddr {
    if family == libc::AF_INET { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
}

/// Whether packets to it come back: they go through memory, not over an interface.
pub(super) fn is_local(net: &Net, ip: IpAddr) -> bool {
    ip.is_loopback() || net.layout().is_own(ip)
}

/// Whether it means more than one host.
pub(super) fn is_group(net: &Net, ip: IpAddr) -> bool {
    ip.is_multicast() || is_broadcast(net, ip)
}

/// Whether it means all of a network.
pub(super) fn is_broadcast(net: &Net, ip: IpAddr) -> bool {
    is_loopback_broadcast(ip) || net.layout().is_broadcast(ip)
}

/// Whether it means all of the loopback network.
pub(super) fn is_loopback_broadcast(ip: IpAddr) -> bool {
    ip == IpAddr::V4(Ipv4Addr::new(127, 255, 255, 255))
}

/// Whether it means all hosts of a link, of which each is a member.
pub(super) fn is_all_hosts(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip == Ipv4Addr::new(224, 0, 0, 1),
        IpAddr::V6(ip) => ip == Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1),
    }
}

/// The address that packets to a group come from if they go over an interface: as `asked`, or the interface's first.
pub(super) fn address_of(net: &Net, interface: u32, asked: Option<Ipv4Addr>, to: IpAddr) -> SysResult<IpAddr> {
    if let Some(ip) = asked.filter(|ip| !ip.is_unspecified()) {
        return Ok(ip.into());
    }
    let layout = net.layout();
    let link = layout.link(interface).ok_or(Errno::NODEV)?;
    source(&link.addresses, to).ok_or(Errno::ADDRNOTAVAIL)
}

/// Whether a socket may have it as its own address.
pub(super) fn may_be_bound(net: &Net, ip: IpAddr) -> bool {
    // As on Linux the loopback network of IPv4 is own even while its interface is off.
    let is_there = || match ip {
        IpAddr::V4(v4) if v4.is_loopback() => true,
        _ if ip.is_loopback() => net.loopback_is_up(),
        _ => net.layout().is_own(ip),
    };
    ip.is_unspecified() || (is_there() && is_enabled(net, ip))
}

/// Whether the family is there (`net.ipv6.conf.all.disable_ipv6`).
fn is_enabled(net: &Net, ip: IpAddr) -> bool {
    ip.is_ipv4() || net.sysctl.number("net/ipv6/conf/all/disable_ipv6", 0) == 0
}

/// The address of the loopback interface.
fn loopback(ip: IpAddr) -> IpAddr {
    if ip.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() }
}

/// The address that packets to `ip` come from: `ENETUNREACH` if none can go there.
pub(super) fn source_by(net: &Net, ip: IpAddr, query: &Query) -> SysResult<IpAddr> {
    if !is_enabled(net, ip) {
        return Err(Errno::NETUNREACH);
    }
    if ip.is_loopback() {
        return if net.loopback_is_up() { Ok(loopback(ip)) } else { Err(Errno::NETUNREACH) };
    }
    let layout = net.layout();
    if layout.is_own(ip) { Ok(ip) } else { layout.hop(ip, query).map(|hop| hop.source) }
}

/// Where a connection to `to` goes: to this host if it says nowhere; an error if there is no way.
pub(super) fn route(net: &Net, to: SocketAddr, query: &Query) -> SysResult<SocketAddr> {
    let ip = if to.ip().is_unspecified() { loopback(to.ip()) } else { to.ip() };
    let scope = scope::interface(&to);
    let query = Query { oif: if scope > 0 { scope } else { query.oif }, ..*query };
    source_by(net, ip, &query).map(|_| scoped(ip, to.port(), scope))
}

/// An own address as others see it that packets go to over `interface`, or over the one that has it.
pub(super) fn own(net: &Net, ip: IpAddr, port: u16, interface: u32) -> SocketAddr {
    let has_it = || net.layout().owner(ip).unwrap_or(0);
    scoped(ip, port, if interface > 0 || !scope::is_scoped(ip) { interface } else { has_it() })
}

/// The same address with another port.
pub(super) fn with_port(mut address: SocketAddr, port: u16) -> SocketAddr {
    address.set_port(port);
    address
}

/// Binds a socket to the interface that its own address to be is about, if to one; `EINVAL` if nobody says to which.
pub(super) fn bind_scope(net: &Net, options: &Options, own: &mut SocketAddr) -> SysResult<()> {
    let ip = own.ip();
    if !scope::is_scoped(ip) {
        return Ok(());
    }
    let asked = scope::interface(own);
    if asked > 0 {
        options.bind_interface(asked);
    }
    let index = Some(options.query().oif).filter(|index| *index > 0).ok_or(Errno::INVAL)?;
    let layout = net.layout();
    let link = layout.link(index).ok_or(Errno::NODEV)?;
    if !ip.is_multicast() && !link.addresses.iter().any(|own| own.ip == ip) {
        return Err(Errno::ADDRNOTAVAIL);
    }
    *own = scoped(ip, own.port(), index);
    Ok(())
}

/// Binds a socket to the interface that the address it is to be connected to is about: it must be the one that it is
/// bound to already. Of a group's the socket's own choice, `out`, will do.
pub(super) fn connect_scope(options: &Options, to: &mut SocketAddr, out: Option<u32>) -> SysResult<()> {
    if !scope::is_scoped(to.ip()) {
        return Ok(());
    }
    let (asked, bound) = (scope::interface(to), options.query().oif);
    if asked > 0 && bound > 0 && asked != bound {
        return Err(Errno::INVAL);
    }
    let index = [asked, bound, out.unwrap_or(0)].into_iter().find(|index| *index > 0).ok_or(Errno::INVAL)?;
    options.bind_interface(index);
    *to = scoped(to.ip(), to.port(), index);
    Ok(())
}

/// Index of the interface that packets to the own address `ip` come over.
pub(super) fn interface_of(net: &Net, ip: IpAddr) -> u32 {
    if ip.is_loopback() {
        return Link::LOOPBACK;
    }
    let layout = net.layout();
    let first = || layout.links().get(1).filter(|_| is_group(net, ip)).map(|link| link.index);
    layout.owner(ip).or_else(first).unwrap_or(Link::LOOPBACK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_back_as_written() {
        for (family, text) in [(libc::AF_INET, "127.0.0.1:80"), (libc::AF_INET6, "[::1]:8080")] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(parse(family, &to_guest(family, address)), Ok(address));
        }
    }

    #[test]
    fn mapped_addresses_are_ipv4_inside() {
        let address: SocketAddr = "127.0.0.1:80".parse().unwrap();
        let guest = to_guest(libc::AF_INET6, address);
        assert_eq!(guest.as_bytes().len(), 28);
        assert_eq!(parse(libc::AF_INET6, &guest), Ok(address));
        assert_eq!(parse(libc::AF_INET, &guest), Err(Errno::AFNOSUPPORT));
    }

    #[test]
    fn only_this_host_is_reachable() {
        let route = |to| route(Net::first(), to, &Query::default());
        assert_eq!(route("0.0.0.0:1".parse().unwrap()), Ok("127.0.0.1:1".parse().unwrap()));
        assert_eq!(route("127.9.9.9:1".parse().unwrap()), Ok("127.9.9.9:1".parse().unwrap()));
        assert_eq!(route("[::]:1".parse().unwrap()), Ok("[::1]:1".parse().unwrap()));
        assert_eq!(route("10.0.0.1:1".parse().unwrap()), Err(Errno::NETUNREACH));
    }
}
