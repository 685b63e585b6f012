//! Changes of routes and of neighbours, over interfaces that the engine gave.

use super::super::message::{Failure, Request, attributes};
use super::routes::Rtmsg;
use super::tables::Ndmsg;
use super::{Answer, family_of, parse_ip};
use crate::boot::config::RouteSpec;
use crate::errno::{Errno, SysResult};
use crate::net::stack::link::Mac;
use crate::net::stack::{self, Stack, route as routing};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use zerocopy::FromBytes;

/// Most routes: each packet's way is looked for in all.
const ROUTES_MAX: usize = 1024;
/// What Linux gives to routes of IPv6 that have no metric.
const METRIC6: u32 = 1024;
/// `NDA_DST` and `NDA_LLADDR`.
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
/// States of neighbours that others may set: all but those that mean that it is being asked for.
const NUD_FAILED: u16 = 0x20;
const NUD_INCOMPLETE: u16 = 1;

/// What a request says of a route.
#[derive(Debug, Default)]
struct Wish {
    to: Option<IpAddr>,
    gateway: Option<IpAddr>,
    source: Option<IpAddr>,
    interface: Option<u32>,
    metric: Option<u32>,
}

fn number(content: &[u8]) -> SysResult<u32> {
    Ok(u32::from_ne_bytes(*content.first_chunk().ok_or(Errno::INVAL)?))
}

/// Reads a request for a route of the main table.
fn parse(request: &Request<'_>) -> Result<(Rtmsg, Wish), Failure> {
    let (message, _) = Rtmsg::read_from_prefix(request.payload).map_err(|_| Errno::INVAL)?;
    let mut wish = Wish::default();
    let mut table = u32::from(message.table);
    for (kind, content) in attributes(request.payload, size_of::<Rtmsg>()) {
        match kind {
            libc::RTA_DST => wish.to = Some(parse_ip(content)?),
            libc::RTA_GATEWAY => wish.gateway = Some(parse_ip(content)?),
            libc::RTA_PREFSRC => wish.source = Some(parse_ip(content)?),
            libc::RTA_OIF => wish.interface = Some(number(content)?),
            libc::RTA_PRIORITY => wish.metric = Some(number(content)?),
            libc::RTA_TABLE => table = number(content)?,
            // Several ways at once, and numbers that only others would read.
            libc::RTA_MULTIPATH => return Err(Errno::OPNOTSUPP.into()),
            _ => {}
        }
    }
    if !matches!(table, 0 | 254) || !matches!(message.kind, 0 | libc::RTN_UNICAST) {
        return Err(Errno::OPNOTSUPP.into());
    }
    Ok((message, wish))
}

impl Wish {
    /// Where to, with the length of the prefix.
    fn destination(&self, message: &Rtmsg) -> Result<routing::Address, Failure> {
        let (any, longest): (IpAddr, u8) = match i32::from(message.family) {
            libc::AF_INET => (Ipv4Addr::UNSPECIFIED.into(), 32),
            libc::AF_INET6 => (Ipv6Addr::UNSPECIFIED.into(), 128),
            _ => return Err(Errno::AFNOSUPPORT.into()),
        };
        let to = self.to.unwrap_or(any);
        if message.dst_len > longest || to.is_ipv4() != any.is_ipv4() {
            return Err(Failure::because(Errno::INVAL, "Invalid prefix length"));
        }
        if routing::network(to, message.dst_len) != to {
            return Err(Failure::because(Errno::INVAL, "Invalid prefix for given prefix length"));
        }
        Ok((to, message.dst_len))
    }

    fn metric(&self, to: IpAddr) -> u32 {
        self.metric.filter(|metric| *metric > 0 || to.is_ipv4()).unwrap_or(if to.is_ipv4() { 0 } else { METRIC6 })
    }

    /// The interface over which the route goes.
    fn interface(&self, stack: &Stack) -> Result<u32, Failure> {
        if let Some(index) = self.interface {
            stack.link(index).ok_or(Errno::NODEV)?;
        }
        let Some(gateway) = self.gateway else { return self.interface.ok_or_else(|| Errno::NODEV.into()) };
        let on_link = stack.links().iter().find(|link| {
            let is_it = self.interface.is_none_or(|index| index == link.index);
            is_it && link.addresses.iter().any(|(ip, prefix)| routing::contains(*ip, *prefix, gateway))
        });
        // A router with an address of use on the link alone is wherever the request says.
        let told = self.interface.filter(|_| routing::is_link_local(gateway));
        let found = on_link.map(|link| link.index).or(told);
        found.ok_or(Failure::because(Errno::NETUNREACH, "Nexthop has invalid gateway"))
    }
}

/// `RTM_NEWROUTE`.
pub(super) fn add_route(request: &Request<'_>) -> Answer {
    let (message, wish) = parse(request)?;
    let (destination, prefix) = wish.destination(&message)?;
    let stack = stack::get().ok_or(Errno::OPNOTSUPP)?;
    let interface = wish.interface(stack)?;
    if wish.source.is_some_and(|source| !stack.is_own(source)) {
        return Err(Failure::because(Errno::INVAL, "Invalid prefsrc address"));
    }
    let metric = wish.metric(destination);
    let route = RouteSpec { destination, prefix, gateway: wish.gateway, interface, source: wish.source, metric };
    stack.change_routes(|routes| {
        let same = |old: &RouteSpec| (old.destination, old.prefix, old.metric) == (destination, prefix, metric);
        let is_full = routes.len() >= ROUTES_MAX;
        match routes.iter_mut().find(|old| same(old)) {
            Some(_) if request.has(libc::NLM_F_EXCL) => return Err(Errno::EXIST),
            Some(old) if request.has(libc::NLM_F_REPLACE) => *old = route,
            Some(old) if *old == route => return Err(Errno::EXIST),
            None if !request.has(libc::NLM_F_CREATE) => return Err(Errno::NOENT),
            _ if is_full => return Err(Errno::NOBUFS),
            _ => routes.push(route),
        }
        Ok(())
    })?;
    Ok(())
}

/// `RTM_DELROUTE`: the first that is as the request says, as far as it says anything.
pub(super) fn delete_route(request: &Request<'_>) -> Answer {
    let (message, wish) = parse(request)?;
    let to = wish.destination(&message)?;
    let stack = stack::get().ok_or(Errno::SRCH)?;
    stack.change_routes(|routes| {
        let at = routes.iter().position(|route| {
            (route.destination, route.prefix) == to
                && wish.gateway.is_none_or(|gateway| route.gateway == Some(gateway))
                && wish.interface.is_none_or(|index| route.interface == index)
                && wish.metric.is_none_or(|metric| metric == 0 || route.metric == metric)
        });
        routes.remove(at.ok_or(Errno::SRCH)?);
        Ok(())
    })?;
    Ok(())
}

/// The interface, address and state that a request about a neighbour names.
fn neighbour(request: &Request<'_>) -> Result<(Ndmsg, IpAddr, Option<Mac>), Failure> {
    let (message, _) = Ndmsg::read_from_prefix(request.payload).map_err(|_| Errno::INVAL)?;
    let (mut to, mut mac) = (None, None);
    for (kind, content) in attributes(request.payload, size_of::<Ndmsg>()) {
        match kind {
            NDA_DST => to = Some(parse_ip(content)?),
            NDA_LLADDR => mac = Some(Mac::try_from(content).map_err(|_| Errno::INVAL)?),
            _ => {}
        }
    }
    let to = to.ok_or(Failure::because(Errno::INVAL, "Network address not specified"))?;
    if family_of(to) != message.family {
        return Err(Failure::because(Errno::INVAL, "Invalid network address"));
    }
    Ok((message, to, mac))
}

/// `RTM_NEWNEIGH`.
pub(super) fn add_neighbour(request: &Request<'_>) -> Answer {
    let (message, ip, mac) = neighbour(request)?;
    let link = stack::get().and_then(|stack| stack.link(message.index)).ok_or(Errno::NODEV)?;
    let mut neighbours = link.neighbours.lock();
    match neighbours.knows(ip) {
        true if request.has(libc::NLM_F_EXCL) => return Err(Errno::EXIST.into()),
        false if !request.has(libc::NLM_F_CREATE) => return Err(Errno::NOENT.into()),
        _ => {}
    }
    let mac = mac.ok_or(Failure::because(Errno::INVAL, "No link layer address given"))?;
    if message.state & (NUD_FAILED | NUD_INCOMPLETE) != 0 {
        return Err(Errno::OPNOTSUPP.into());
    }
    let waiting = neighbours.set(ip, mac, message.state & super::tables::PERMANENT != 0)?;
    drop(neighbours);
    if let Some(stack) = stack::get() {
        stack.release(link, ip, mac, waiting);
    }
    Ok(())
}

/// `RTM_DELNEIGH`.
pub(super) fn delete_neighbour(request: &Request<'_>) -> Answer {
    let (message, ip, _) = neighbour(request)?;
    let link = stack::get().and_then(|stack| stack.link(message.index)).ok_or(Errno::NODEV)?;
    if link.neighbours.lock().forget(ip) { Ok(()) } else { Err(Errno::NOENT.into()) }
}
