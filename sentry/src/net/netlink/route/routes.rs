//! Routes: those that follow from addresses, those that the engine set, and those that guests set.

use super::super::announce;
use super::super::message::{Failure, Origin, Reply, Request, attributes};
use super::strict::FILTERED;
use super::{Answer, Asker, family_of, ip, number, octets};
use crate::errno::{Errno, SysResult};
use crate::net::layout::Layout;
use crate::net::stack::link::Link;
use crate::net::stack::route::{self as routing, Hop, Query, Route};
use crate::net::stack::rule::defaults;
use std::cmp::Reverse;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What Linux gives to routes of IPv6 that have no metric.
const METRIC6: u32 = 1024;
const RTA_MARK: u16 = 16;
const RTA_UID: u16 = 25;
/// `RTA_PREF`, with `ICMPV6_ROUTER_PREF_MEDIUM`.
const RTA_PREF: u16 = 20;
/// `RTNH_F_ONLINK`.
const ON_LINK: u32 = 4;
/// `RTM_F_LOOKUP_TABLE`: whoever asks wants to know the table.
const LOOKUP_TABLE: u32 = 0x1000;
/// `RTM_F_CLONED`: what the routes say of one destination.
const CLONED: u32 = 0x200;
/// `RTM_F_PREFIX`: that of an address's network.
const PREFIX: u32 = 0x800;
/// `RTN_MAX`.
const RTN_MAX: u8 = 11;
/// `RT_TABLE_COMPAT`: the table's number does not fit into a byte.
const COMPAT: u8 = 252;

/// Tables are found by so much of their numbers.
const TABLE_MASK: u32 = 0xff;

/// `struct rtmsg`.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Rtmsg {
    family: u8,
    dst_len: u8,
    src_len: u8,
    tos: u8,
    table: u8,
    protocol: u8,
    scope: u8,
    kind: u8,
    flags: u32,
}

/// Which routes a dump is to hold.
#[derive(Debug, Default)]
struct Filter {
    message: Rtmsg,
    table: u32,
    interface: u32,
}

impl Filter {
    /// What a request says of it, if its socket wants such things to be minded.
    fn new(asker: &Asker<'_>, request: &Request<'_>) -> Result<Filter, Failure> {
        if !asker.strict {
            let family = request.payload.first().copied().unwrap_or(0);
            return Ok(Filter { message: Rtmsg { family, ..Rtmsg::default() }, ..Filter::default() });
        }
        let (message, _) = Rtmsg::read_from_prefix(request.payload).map_err(|_| Errno::INVAL)?;
        if message.flags & !(CLONED | PREFIX) != 0 {
            return Err(Failure::because(Errno::INVAL, "Invalid flags for FIB dump request"));
        }
        let (mut table, mut interface) = (u32::from(message.table), 0);
        for (kind, content) in attributes(request.payload, size_of::<Rtmsg>()) {
            match kind {
                libc::RTA_TABLE => table = number(content)?,
                libc::RTA_OIF => interface = number(content)?,
                _ => {}
            }
        }
        let layout = asker.net.layout();
        if interface > 0 {
            layout.link(interface).ok_or(Errno::NODEV)?;
        }
        let is_there = |route: &Route| route.table == table && message.family == family_of(route.destination);
        if table > 0 && message.family != 0 && !layout.routes().iter().any(is_there) {
            return Err(Failure::because(Errno::NOENT, "FIB table does not exist"));
        }
        Ok(Filter { message, table, interface })
    }

    /// Whether it leaves out anything: routes that are learnt, of which there are none, always for IPv4.
    fn is_set(&self, v4: bool) -> bool {
        let said = (self.message.flags, self.message.protocol, self.message.kind, self.table, self.interface);
        said != (0, 0, 0, 0, 0) || v4
    }

    fn takes(&self, route: &Route) -> bool {
        let Rtmsg { family, protocol, kind, flags, .. } = self.message;
        flags & CLONED == 0
            && (flags & PREFIX == 0 || route.destination.is_ipv6() && route.gateway.is_none())
            && (family == 0 || family == family_of(route.destination))
            && (protocol == 0 || protocol == route.protocol)
            && (kind == 0 || kind == route.kind)
            && (self.table == 0 || self.table == route.table)
            && (self.interface == 0 || self.interface == route.interface)
    }
}

/// The last address that a route is for.
fn last(route: &Route) -> IpAddr {
    match route.destination {
        IpAddr::V4(ip) => ip.into(),
        IpAddr::V6(ip) => {
            Ipv6Addr::from(u128::from(ip) | u128::MAX.checked_shr(route.prefix.into()).unwrap_or(0)).into()
        }
    }
}

/// A dump.
pub(super) fn list(asker: &Asker<'_>, request: &Request<'_>, reply: &mut Reply) -> Answer {
    let filter = Filter::new(asker, request)?;
    let layout = asker.net.layout();
    // `ip` leaves out the tables that it was not asked for.
    let mut routes: Vec<&Route> = layout.routes().iter().filter(|route| filter.takes(route)).collect();
    // Those of IPv4 are found in the order of their destinations.
    let place = |route: &Route| (route.destination, Reverse(route.prefix), route.metric);
    // Those of IPv6 in a tree, behind all that is within them.
    let end = |route: &Route| (last(route), Reverse(route.prefix), route.metric);
    let order = |route: &&Route| {
        let v6 = route.destination.is_ipv6();
        (v6, route.table & TABLE_MASK, Reverse(route.table), (!v6).then(|| place(route)), v6.then(|| end(route)))
    };
    routes.sort_by_key(order);
    for route in routes {
        let flags = if asker.strict && filter.is_set(route.destination.is_ipv4()) { FILTERED } else { 0 };
        reply.marked(flags, |reply| write(libc::RTM_NEWROUTE, reply, route));
    }
    Ok(())
}

/// `ip route get`.
pub(super) fn get(asker: &Asker<'_>, request: &Request<'_>, reply: &mut Reply) -> Answer {
    let (asked, _) = Rtmsg::read_from_prefix(request.payload).map_err(|_| Errno::INVAL)?;
    let layout = asker.net.layout();
    let (mut to, mut query) = (None, Query::default());
    let short = |errno| if i32::from(asked.family) == libc::AF_INET6 { Errno::INVAL } else { errno };
    for (kind, content) in attributes(request.payload, size_of::<Rtmsg>()) {
        match kind {
            libc::RTA_DST => to = Some(ip(asked.family, content).map_err(short)?),
            libc::RTA_SRC => query.from = Some(ip(asked.family, content).map_err(short)?),
            libc::RTA_OIF => query.oif = number(content)?,
            libc::RTA_IIF => query.iif = number(content)?,
            RTA_MARK => query.mark = number(content)?,
            _ => {}
        }
    }
    let to = to.ok_or(Errno::INVAL)?;
    let longest = if to.is_ipv4() { 32 } else { 128 };
    let lengths = [(asked.dst_len, true), (asked.src_len, query.from.is_some())];
    if asker.strict && lengths.iter().any(|(len, is_there)| *len != if *is_there { longest } else { 0 }) {
        return Err(Failure::because(Errno::INVAL, "rtm_src_len and rtm_dst_len must be those of an address"));
    }
    if query.oif != 0 {
        layout.link(query.oif).ok_or(Errno::NODEV)?;
    }
    if query.iif == 0 && query.from.is_some_and(|from| from.is_ipv4() && !layout.is_own(from)) {
        return Err(Errno::NETUNREACH.into());
    }
    let route = layout.lookup(to, &query)?;
    // Until a rule is added Linux keeps own addresses in the main table.
    let is_split = layout.rules() != defaults();
    let is_told = asked.flags & LOOKUP_TABLE != 0 && (is_split || route.kind != libc::RTN_LOCAL || to.is_ipv6());
    let table = if is_told { route.table } else { libc::RT_TABLE_MAIN.into() };
    if route.kind == libc::RTN_LOCAL {
        // Whichever interface has it, packets to it go over the loopback one.
        let source = if to.is_loopback() && to.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { to };
        let hop = Hop { interface: Link::LOOPBACK, via: to, source };
        found(reply, to, (libc::RTN_LOCAL, libc::RT_TABLE_MAIN.into()), &hop, &query);
        return Ok(());
    }
    found(reply, to, (route.kind, table), &layout.hop(to, &query)?, &query);
    Ok(())
}

/// The way to one address.
fn found(reply: &mut Reply, to: IpAddr, (kind, table): (u8, u32), hop: &Hop, query: &Query) {
    /// `RTCF_LOCAL`.
    const LOCAL: u32 = 0x8000_0000;
    let local = if kind == libc::RTN_LOCAL && to.is_ipv4() { LOCAL } else { 0 };
    let dst_len = if to.is_ipv4() { 32 } else { 128 };
    let src_len = if query.from.is_some() { dst_len } else { 0 };
    let byte = u8::try_from(table).unwrap_or(COMPAT);
    let flags = CLONED | local;
    let route = Rtmsg { family: family_of(to), dst_len, src_len, table: byte, kind, flags, ..Rtmsg::default() };
    reply.message(libc::RTM_NEWROUTE, route.as_bytes(), |reply| {
        reply.attribute(libc::RTA_TABLE, &table.to_ne_bytes());
        reply.attribute(libc::RTA_DST, &octets(to));
        if let Some(from) = query.from {
            reply.attribute(libc::RTA_SRC, &octets(from));
        }
        reply.attribute(libc::RTA_OIF, &hop.interface.to_ne_bytes());
        if query.from.is_none() {
            reply.attribute(libc::RTA_PREFSRC, &octets(hop.source));
        }
        if hop.via != to {
            reply.attribute(libc::RTA_GATEWAY, &octets(hop.via));
        }
        if query.mark != 0 {
            reply.attribute(RTA_MARK, &query.mark.to_ne_bytes());
        }
        reply.attribute(RTA_UID, &0u32.to_ne_bytes());
        reply.attribute(libc::RTA_CACHEINFO, &[0; 32]);
    });
}

/// Writes a message about a route.
pub(in super::super) fn write(kind: u16, reply: &mut Reply, route: &Route) {
    let to = route.destination;
    let fixed = Rtmsg {
        family: family_of(to),
        dst_len: route.prefix,
        table: u8::try_from(route.table).unwrap_or(COMPAT),
        protocol: route.protocol,
        scope: route.scope,
        kind: route.kind,
        ..Rtmsg::default()
    };
    reply.message(kind, fixed.as_bytes(), |reply| {
        reply.attribute(libc::RTA_TABLE, &route.table.to_ne_bytes());
        if route.prefix > 0 {
            reply.attribute(libc::RTA_DST, &octets(to));
        }
        if let Some(gateway) = route.gateway {
            reply.attribute(libc::RTA_GATEWAY, &octets(gateway));
        }
        if let Some(source) = route.source {
            reply.attribute(libc::RTA_PREFSRC, &octets(source));
        }
        if route.metric > 0 || to.is_ipv6() {
            reply.attribute(libc::RTA_PRIORITY, &route.metric.to_ne_bytes());
        }
        if route.interface > 0 {
            reply.attribute(libc::RTA_OIF, &route.interface.to_ne_bytes());
        }
        if to.is_ipv6() {
            reply.attribute(RTA_PREF, &[0]);
        }
    });
}

/// What a request says of a route.
#[derive(Debug, Default)]
struct Wish {
    message: Rtmsg,
    table: u32,
    to: Option<IpAddr>,
    gateway: Option<IpAddr>,
    source: Option<IpAddr>,
    interface: Option<u32>,
    metric: Option<u32>,
}

/// Of IPv6 it is enough to name as many bytes as the prefix has.
fn destination(message: &Rtmsg, content: &[u8]) -> SysResult<IpAddr> {
    if i32::from(message.family) != libc::AF_INET6 {
        return ip(message.family, content);
    }
    if content.len() < usize::from(message.dst_len).div_ceil(8) {
        return Err(Errno::INVAL);
    }
    let mut octets = [0; 16];
    octets.iter_mut().zip(content).for_each(|(octet, byte)| *octet = *byte);
    Ok(octets.into())
}

fn parse(request: &Request<'_>) -> Result<Wish, Failure> {
    let (message, _) = Rtmsg::read_from_prefix(request.payload).map_err(|_| Errno::INVAL)?;
    let mut wish = Wish { message, table: message.table.into(), ..Wish::default() };
    for (kind, content) in attributes(request.payload, size_of::<Rtmsg>()) {
        match kind {
            libc::RTA_DST => wish.to = Some(destination(&message, content)?),
            libc::RTA_GATEWAY => wish.gateway = Some(ip(message.family, content)?),
            libc::RTA_PREFSRC => wish.source = Some(ip(message.family, content)?),
            libc::RTA_OIF => wish.interface = Some(number(content)?),
            libc::RTA_PRIORITY => wish.metric = Some(number(content)?),
            libc::RTA_TABLE => wish.table = number(content)?,
            // Several ways at once, and numbers that only others would read.
            libc::RTA_MULTIPATH => return Err(Errno::OPNOTSUPP.into()),
            _ => {}
        }
    }
    if wish.table == 0 {
        wish.table = libc::RT_TABLE_MAIN.into();
    }
    if message.tos != 0 || message.src_len != 0 {
        return Err(Errno::OPNOTSUPP.into());
    }
    Ok(wish)
}

impl Wish {
    /// Where to, with the length of the prefix.
    fn destination(&self) -> Result<routing::Address, Failure> {
        let (any, longest): (IpAddr, u8) = match i32::from(self.message.family) {
            libc::AF_INET => (Ipv4Addr::UNSPECIFIED.into(), 32),
            libc::AF_INET6 => (Ipv6Addr::UNSPECIFIED.into(), 128),
            _ => return Err(Errno::AFNOSUPPORT.into()),
        };
        let (to, prefix) = (self.to.unwrap_or(any), self.message.dst_len);
        if prefix > longest || to.is_ipv4() != any.is_ipv4() {
            return Err(Failure::because(Errno::INVAL, "Invalid prefix length"));
        }
        if routing::network(to, prefix) != to && to.is_ipv4() {
            return Err(Failure::because(Errno::INVAL, "Invalid prefix for given prefix length"));
        }
        Ok((routing::network(to, prefix), prefix))
    }

    fn metric(&self, to: IpAddr) -> u32 {
        self.metric.filter(|metric| *metric > 0 || to.is_ipv4()).unwrap_or(if to.is_ipv4() { 0 } else { METRIC6 })
    }

    fn kind(&self) -> u8 {
        if self.message.kind == 0 { libc::RTN_UNICAST } else { self.message.kind }
    }

    /// Whether packets that it is for go nowhere.
    fn refuses(&self) -> bool {
        matches!(self.kind(), libc::RTN_BLACKHOLE | libc::RTN_UNREACHABLE | libc::RTN_PROHIBIT | libc::RTN_THROW)
    }

    /// The interface over which the route goes.
    fn interface(&self, layout: &Layout) -> Result<u32, Failure> {
        if self.refuses() {
            return Ok(if i32::from(self.message.family) == libc::AF_INET6 { Link::LOOPBACK } else { 0 });
        }
        let down = || Failure::from(Errno::from_raw(libc::ENETDOWN));
        let named = match self.interface.filter(|index| *index > 0) {
            Some(index) => Some(layout.link(index).ok_or(Errno::NODEV)?),
            None => None,
        };
        if named.is_some_and(|link| !link.up) && self.kind() != libc::RTN_LOCAL {
            return Err(Failure::because(Errno::from_raw(libc::ENETDOWN), "Nexthop device is not up"))
                .map_err(|f| if self.message.family == libc::AF_INET as u8 { f } else { down() });
        }
        let Some(gateway) = self.gateway else {
            return named.map(|link| link.index).ok_or_else(|| Errno::NODEV.into());
        };
        if let Some(link) = named.filter(|_| self.message.flags & ON_LINK != 0) {
            return Ok(link.index);
        }
        if layout.is_own(gateway) {
            return Err(Failure::because(Errno::INVAL, "Nexthop has invalid gateway"));
        }
        // A router with an address of use on the link alone is wherever the request says.
        if let Some(link) = named.filter(|_| routing::is_link_local(gateway)) {
            return Ok(link.index);
        }
        let query = Query { oif: named.map_or(0, |link| link.index), ..Query::default() };
        let way = layout.routes().iter().filter(|route| {
            let over = query.oif == 0 || query.oif == route.interface;
            over && route.kind == libc::RTN_UNICAST && route.gateway.is_none() && route.leads_to(gateway)
        });
        let found = way.max_by_key(|route| route.prefix).filter(|route| route.interface > 0);
        let (v4, v6) = (Errno::NETUNREACH, Errno::HOSTUNREACH);
        let errno = if gateway.is_ipv4() { v4 } else { v6 };
        found.map(|route| route.interface).ok_or(Failure::because(errno, "Nexthop has invalid gateway"))
    }

    fn scope(&self, to: IpAddr) -> u8 {
        if to.is_ipv6() { 0 } else { self.message.scope }
    }
}

/// `RTM_NEWROUTE`.
pub(super) fn add(asker: &Asker<'_>, request: &Request<'_>) -> Answer {
    let wish = parse(request)?;
    let (destination, prefix) = wish.destination()?;
    if wish.kind() > RTN_MAX {
        return Err(Failure::because(Errno::INVAL, "Invalid route type"));
    }
    if !wish.refuses() && !matches!(wish.kind(), libc::RTN_UNICAST | libc::RTN_LOCAL | libc::RTN_BROADCAST) {
        return Err(Errno::OPNOTSUPP.into());
    }
    let layout = asker.net.layout();
    let interface = wish.interface(&layout)?;
    if wish.source.is_some_and(|source| !layout.is_own(source)) {
        return Err(Failure::because(Errno::INVAL, "Invalid prefsrc address"));
    }
    let (metric, kind, scope, table) = (wish.metric(destination), wish.kind(), wish.scope(destination), wish.table);
    let (gateway, source, protocol) = (wish.gateway, wish.source, wish.message.protocol);
    let route = Route { table, destination, prefix, kind, scope, protocol, gateway, interface, source, metric };
    // Those who listen hear whether it has taken another's place, or stands behind one.
    let mut flags = request.header.flags & libc::NLM_F_REPLACE as u16;
    if layout.routes().iter().any(|old| old.place() == route.place()) {
        flags |= request.header.flags & libc::NLM_F_APPEND as u16;
    }
    let origin = Origin { flags, ..asker.origin };
    let replaces_itself = request.has(libc::NLM_F_REPLACE) && layout.routes().contains(&route);
    asker.net.change_for(origin, |layout| {
        let (routes, is_full) = layout.routes_mut();
        let same =
            |old: &Route| (old.table, old.destination, old.prefix, old.metric) == (table, destination, prefix, metric);
        // Of IPv6 those that go over different interfaces stand side by side.
        let beside = destination.is_ipv6() && !request.has(libc::NLM_F_REPLACE);
        let at = routes
            .iter()
            .position(|old| same(old) && (!beside || old.interface == interface || request.has(libc::NLM_F_EXCL)));
        let is_there = routes.contains(&route);
        match at.and_then(|at| routes.get_mut(at)) {
            Some(_) if request.has(libc::NLM_F_EXCL) => return Err(Errno::EXIST),
            Some(old) if request.has(libc::NLM_F_REPLACE) => *old = route,
            _ if is_there => return Err(Errno::EXIST),
            None if !request.has(libc::NLM_F_CREATE) => return Err(Errno::NOENT),
            _ if is_full => return Err(Errno::NOBUFS),
            Some(_) if request.has(libc::NLM_F_APPEND) => routes.push(route),
            Some(_) => routes.insert(at.unwrap_or(0), route),
            None => routes.push(route),
        }
        Ok(())
    })?;
    if replaces_itself && destination.is_ipv6() {
        announce::replaced(asker.net, &route, origin);
    }
    Ok(())
}

/// `RTM_DELROUTE`: the first that is as the request says, as far as it says anything.
pub(super) fn delete(asker: &Asker<'_>, request: &Request<'_>) -> Answer {
    let wish = parse(request)?;
    let to = wish.destination()?;
    asker.change(|layout| {
        let (routes, _) = layout.routes_mut();
        let message = wish.message;
        let v4 = to.0.is_ipv4();
        let is_meant = |route: &Route| {
            (route.destination, route.prefix, route.table) == (to.0, to.1, wish.table)
                && wish.gateway.is_none_or(|gateway| route.gateway == Some(gateway))
                && wish.interface.is_none_or(|index| route.interface == index)
                && wish.metric.is_none_or(|metric| metric == 0 || route.metric == metric)
                && wish.source.is_none_or(|source| route.source == Some(source))
                && (message.kind == 0 || !v4 || route.kind == message.kind)
                && (message.protocol == 0 || route.protocol == message.protocol)
                && (!v4 || message.scope == libc::RT_SCOPE_NOWHERE || route.scope == message.scope)
        };
        let found = routes.iter().enumerate().filter(|(_, route)| is_meant(route));
        let (at, _) = found.min_by_key(|(_, route)| route.metric).ok_or(Errno::SRCH)?;
        routes.remove(at);
        Ok(())
    })?;
    Ok(())
}
