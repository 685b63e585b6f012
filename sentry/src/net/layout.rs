//! The interfaces, addresses, routes and rules of a network namespace.
//!
//! A layout never changes: whoever changes something makes the next one ([`Net::change`](super::namespace::Net::change)),
//! and packets go by the one that they have found. Routes follow addresses and switches as on Linux: the local table
//! says which addresses are own, and the table of a rule where others are reached.

use super::stack::link::{Device, IfAddress, Kind, Link, NAME_MAX};
use super::stack::route::{Address, Hop, Query, Route, broadcast, contains, is_link_local, source};
use super::stack::rule::{Action, Rule, defaults};
use crate::errno::{Errno, SysResult};
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// Most interfaces of a namespace: each listing shows all.
const LINKS_MAX: usize = 256;
/// Most addresses of a namespace: each brings routes.
const ADDRESSES_MAX: usize = 512;
/// Most routes that guests may set: each packet's way is looked for in all.
const ROUTES_MAX: usize = 1024;
/// Guests take the index for an `int`.
const INDEX_MAX: u32 = i32::MAX as u32;
/// Longest packet of a bridge without ports.
const MTU: usize = 1500;
/// Metric of routes that follow from addresses of IPv6 (`IP6_RT_PRIO_ADDRCONF`).
const METRIC6: u32 = 256;
/// The tables that there are without anybody's doing.
const LOCAL: u32 = libc::RT_TABLE_LOCAL as u32;
const MAIN: u32 = libc::RT_TABLE_MAIN as u32;

/// What an interface has of IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum V6 {
    /// Nothing (`disable_ipv6`).
    Off,
    /// What is set (`addr_gen_mode` 1).
    Bare,
    /// An address that it gives itself too.
    Full,
}

/// A layout.
#[derive(Debug, Clone)]
pub struct Layout {
    /// By index.
    links: Vec<Arc<Link>>,
    /// What was last given to an interface: they are not given again so soon.
    last_index: u32,
    routes: Vec<Route>,
    /// By priority, for each family.
    rules: Vec<Rule>,
    /// What the local table says of single addresses, to find them at once.
    own: HashMap<IpAddr, u32>,
    own_networks: Vec<(Address, u32)>,
    broadcasts: HashSet<IpAddr>,
}

impl Layout {
    /// With a loopback interface that is off.
    pub fn new(loopback: Arc<Device>) -> Layout {
        Layout {
            links: vec![Arc::new(Link::loopback(loopback))],
            last_index: Link::LOOPBACK,
            routes: Vec::new(),
            rules: defaults(),
            own: HashMap::new(),
            own_networks: Vec::new(),
            broadcasts: HashSet::new(),
        }
    }

    /// Makes what is found at once agree with the local table.
    pub(super) fn index(&mut self) {
        self.follow_ports();
        let longest = |ip: IpAddr| if ip.is_ipv4() { 32 } else { 128 };
        let local = self.routes.iter().filter(|route| route.kind == libc::RTN_LOCAL && route.table == LOCAL);
        let (single, wide): (Vec<&Route>, Vec<&Route>) =
            local.partition(|route| route.prefix == longest(route.destination));
        self.own = single.into_iter().rev().map(|route| (route.destination, route.interface)).collect();
        self.own_networks =
            wide.into_iter().map(|route| ((route.destination, route.prefix), route.interface)).collect();
        let all = self.routes.iter().filter(|route| route.kind == libc::RTN_BROADCAST);
        self.broadcasts = all.map(|route| route.destination).collect();
    }

    /// A bridge has the lowest hardware address of its ports, and carries what all of them do, unless it was told otherwise.
    fn follow_ports(&mut self) {
        let is_bridge = |link: &&Arc<Link>| matches!(link.device.kind, Kind::Bridge(_));
        let bridges: Vec<Arc<Link>> = self.links.iter().filter(is_bridge).cloned().collect();
        for bridge in bridges {
            let Kind::Bridge(known) = &bridge.device.kind else { continue };
            let ports = || self.links.iter().filter(|link| link.master == bridge.index);
            if ports().next().is_some() {
                known.use_it();
            }
            let (mac, mtu) = (ports().map(|link| link.mac).min(), ports().map(|link| link.mtu).min());
            let mac = mac.unwrap_or(if known.was_used() { [0; 6] } else { bridge.mac });
            let mac = if bridge.has_set_mac { bridge.mac } else { mac };
            let mtu = if bridge.has_set_mtu { bridge.mtu } else { mtu.unwrap_or(MTU) };
            if (mac, mtu) != (bridge.mac, bridge.mtu)
                && let Ok(bridge) = self.link_mut(bridge.index)
            {
                (bridge.mac, bridge.mtu) = (mac, mtu);
            }
        }
    }

    /// Makes an interface a port of a bridge, or of none if that is 0.
    pub fn set_master(&mut self, index: u32, master: u32) -> SysResult<()> {
        let link = self.link(index).ok_or(Errno::NODEV)?;
        if master > 0 && link.master != master {
            let bridge = self.link(master).ok_or(Errno::INVAL)?;
            let is_bridge = |link: &Link| matches!(link.device.kind, Kind::Bridge(_));
            if !is_bridge(bridge) {
                return Err(Errno::OPNOTSUPP);
            }
            if link.is_loopback() {
                return Err(Errno::INVAL);
            }
            if is_bridge(link) {
                return Err(Errno::LOOP);
            }
        }
        self.link_mut(index)?.master = master;
        Ok(())
    }

    /// All interfaces.
    pub fn links(&self) -> &[Arc<Link>] {
        &self.links
    }

    /// The interface with an index.
    pub fn link(&self, index: u32) -> Option<&Arc<Link>> {
        let at = self.links.binary_search_by_key(&index, |link| link.index).ok()?;
        self.links.get(at)
    }

    /// The interface with a name.
    pub fn link_named(&self, name: &[u8]) -> Option<&Arc<Link>> {
        self.links.iter().find(|link| link.name.as_bytes() == name)
    }

    /// The interface that a device is behind.
    pub fn link_of_device(&self, device: &Device) -> Option<&Arc<Link>> {
        self.links.iter().find(|link| std::ptr::eq(&*link.device, device))
    }

    /// Index of the interface that has an own address.
    pub fn owner(&self, ip: IpAddr) -> Option<u32> {
        let wide = || self.own_networks.iter().find(|((network, prefix), _)| contains(*network, *prefix, ip));
        self.own.get(&ip).copied().or_else(|| wide().map(|(_, index)| *index))
    }

    /// Whether `ip` is an address of this host.
    pub fn is_own(&self, ip: IpAddr) -> bool {
        self.owner(ip).is_some()
    }

    /// Whether packets to `ip` reach all of a network.
    pub fn is_broadcast(&self, ip: IpAddr) -> bool {
        ip == IpAddr::V4(Ipv4Addr::BROADCAST) || self.broadcasts.contains(&ip)
    }

    /// All routes.
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// The rules by which tables are asked.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// For changes.
    pub fn rules_mut(&mut self) -> &mut Vec<Rule> {
        &mut self.rules
    }

    /// The route for packets to `to`.
    pub fn lookup(&self, to: IpAddr, query: &Query) -> SysResult<Route> {
        for rule in self.rules.iter().filter(|rule| rule.applies(self, to, query)) {
            let table = match rule.action {
                Action::Table(table) => table,
                Action::Fail(errno) => return Err(errno),
                Action::Nothing => continue,
            };
            let fits = |route: &&Route| {
                let by_interface = query.oif == 0 || route.interface == query.oif || route.kind == libc::RTN_LOCAL;
                route.table == table && by_interface && route.leads_to(to)
            };
            let best = self.routes.iter().filter(fits).min_by_key(|r| (std::cmp::Reverse(r.prefix), r.metric));
            let Some(route) = best else { continue };
            if rule.suppress.is_some_and(|longest| u32::from(route.prefix) <= longest) {
                continue;
            }
            return match route.kind {
                libc::RTN_BLACKHOLE => Err(Errno::INVAL),
                libc::RTN_UNREACHABLE => Err(Errno::HOSTUNREACH),
                libc::RTN_PROHIBIT => Err(Errno::ACCES),
                libc::RTN_THROW => continue,
                _ => Ok(*route),
            };
        }
        self.anywhere(to, query).ok_or(Errno::NETUNREACH)
    }

    /// All of a link are reached over it, whichever it is; and what has to leave over an interface is on its link.
    fn anywhere(&self, to: IpAddr, query: &Query) -> Option<Route> {
        let many = to.is_multicast() || to == IpAddr::V4(Ipv4Addr::BROADCAST);
        let may = |link: &&Arc<Link>| {
            let asked = if query.oif == 0 { many && !link.is_loopback() } else { link.index == query.oif };
            asked && link.up && source(&link.addresses, to).is_some()
        };
        let link = self.links.iter().find(may)?;
        Some(Route { scope: libc::RT_SCOPE_LINK, ..kernel_route(MAIN, libc::RTN_UNICAST, (to, 0), link.index, None) })
    }

    /// The step towards `to`.
    pub fn hop(&self, to: IpAddr, query: &Query) -> SysResult<Hop> {
        let route = self.lookup(to, query)?;
        let via = route.gateway.unwrap_or(to);
        if route.kind == libc::RTN_LOCAL {
            return Ok(Hop { interface: Link::LOOPBACK, via, source: route.source.unwrap_or(to) });
        }
        let link = self.link(route.interface).ok_or(Errno::NETUNREACH)?;
        // An interface without an address of its own lends one from another.
        let lent = || {
            let others = self.links.iter().filter(|link| link.up && !link.is_loopback());
            others.into_iter().find_map(|link| source(&link.addresses, to))
        };
        let own = route.source.or_else(|| source(&link.addresses, via)).or_else(lent);
        Ok(Hop { interface: route.interface, via, source: own.or(query.from).ok_or(Errno::NETUNREACH)? })
    }

    /// Adds an interface and returns its index: as it says, if that is free.
    pub fn add_link(&mut self, mut link: Link) -> SysResult<u32> {
        if self.links.len() >= LINKS_MAX {
            return Err(Errno::NOBUFS);
        }
        check_name(&link.name)?;
        if self.link_named(link.name.as_bytes()).is_some() {
            return Err(Errno::EXIST);
        }
        while link.index == 0 || self.link(link.index).is_some() {
            self.last_index = if self.last_index < INDEX_MAX { self.last_index + 1 } else { 1 };
            link.index = self.last_index;
        }
        let index = link.index;
        self.links.push(Arc::new(link));
        self.links.sort_unstable_by_key(|link| link.index);
        Ok(index)
    }

    /// A name that nobody has: the first number that does for a stem such as `veth`.
    pub fn free_name(&self, stem: &str) -> String {
        let names = (0..=LINKS_MAX).map(|n| format!("{stem}{n}"));
        let mut free = names.into_iter().filter(|name| self.link_named(name.as_bytes()).is_none());
        free.next().unwrap_or_default()
    }

    /// Removes an interface with its routes.
    pub fn remove_link(&mut self, index: u32) -> SysResult<Arc<Link>> {
        let at = self.links.iter().position(|link| link.index == index).ok_or(Errno::NODEV)?;
        self.routes.retain(|route| route.interface != index);
        for port in self.links.iter_mut().filter(|link| link.master == index) {
            Arc::make_mut(port).master = 0;
        }
        Ok(self.links.remove(at))
    }

    /// What is set of an interface, to be changed.
    pub fn link_mut(&mut self, index: u32) -> SysResult<&mut Link> {
        let link = self.links.iter_mut().find(|link| link.index == index).ok_or(Errno::NODEV)?;
        Ok(Arc::make_mut(link))
    }

    /// Gives an interface another name.
    pub fn rename(&mut self, index: u32, name: &str) -> SysResult<()> {
        if self.link_mut(index)?.name == name {
            return Ok(());
        }
        check_name(name)?;
        if self.link_named(name.as_bytes()).is_some() {
            return Err(Errno::EXIST);
        }
        let link = self.link_mut(index)?;
        name.clone_into(&mut link.name);
        // Labels begin with the name (`inetdev_changename`).
        for (at, own) in link.addresses.iter_mut().filter(|own| own.ip.is_ipv4()).enumerate() {
            let old = own.label.take();
            if at > 0 {
                let tail = old.as_ref().and_then(|old| old.find(':').and_then(|colon| old.get(colon..)));
                own.label = Some(format!("{name}{}", tail.map_or_else(|| format!(":{}", at + 1), str::to_owned)));
            }
        }
        Ok(())
    }

    /// Switches an interface.
    pub fn set_up(&mut self, index: u32, up: bool, v6: V6) -> SysResult<()> {
        let link = self.link_mut(index)?;
        if link.up == up {
            return Ok(());
        }
        link.up = up;
        if !up {
            link.device.neighbours.lock().clear();
            // Those of IPv6 are gone; those of IPv4 come back with the interface.
            link.addresses.retain(|own| own.ip.is_ipv4());
            let stays =
                |route: &Route| route.destination.is_ipv4() && route.kind == libc::RTN_LOCAL && route.prefix == 32;
            self.routes.retain(|route| route.interface != index || stays(route));
            return Ok(());
        }
        if link.is_loopback() && !link.addresses.iter().any(|own| own.ip.is_ipv4()) {
            link.addresses.push(IfAddress::new((Ipv4Addr::LOCALHOST.into(), 8)));
        }
        let link = link.clone();
        for own in &link.addresses {
            self.add_routes_of(&link, own);
        }
        self.set_v6(index, v6)
    }

    /// Gives an interface that is on what it has of IPv6 by itself, or takes all from it.
    pub fn set_v6(&mut self, index: u32, v6: V6) -> SysResult<()> {
        let link = self.link_mut(index)?;
        if v6 == V6::Off {
            link.addresses.retain(|own| own.ip.is_ipv4());
            self.routes.retain(|route| route.interface != index || route.destination.is_ipv4());
            return Ok(());
        }
        let (ip, prefix) = if link.is_loopback() { (Ipv6Addr::LOCALHOST.into(), 128) } else { (link.link_local(), 64) };
        let has_own = link.addresses.iter().any(|own| own.ip.is_ipv6() && is_link_local(own.ip));
        if link.up && !has_own && !link.has(ip) && (v6 == V6::Full || link.is_loopback()) {
            link.addresses.push(IfAddress::new((ip, prefix)));
        }
        let link = link.clone();
        for own in link.addresses.iter().filter(|own| own.ip == ip) {
            self.add_routes_of(&link, own);
        }
        if !link.is_loopback() && link.up {
            let all = kernel_route(
                LOCAL,
                libc::RTN_MULTICAST,
                (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0).into(), 8),
                index,
                None,
            );
            self.put_route(Route { metric: METRIC6, ..all });
        }
        Ok(())
    }

    /// Gives an interface an address: `EEXIST` if it has it.
    pub fn add_address(&mut self, index: u32, mut own: IfAddress) -> SysResult<()> {
        let count: usize = self.links.iter().map(|link| link.addresses.len()).sum();
        let link = self.link_mut(index)?;
        let same = |old: &IfAddress| old.ip == own.ip && (old.ip.is_ipv6() || old.network() == own.network());
        if link.addresses.iter().any(same) {
            return Err(Errno::EXIST);
        }
        if count >= ADDRESSES_MAX {
            return Err(Errno::NOBUFS);
        }
        let is_v4 = own.ip.is_ipv4();
        own.secondary = is_v4 && link.addresses.iter().any(|old| old.network() == own.network());
        self.insert_address(index, own.clone())?;
        let link = link_of(&self.links, index)?;
        self.add_routes_of(&link, &own);
        Ok(())
    }

    /// Takes an address from an interface, and with it those that came behind it in its network.
    /// `promotes`: the first of those takes its place instead (`promote_secondaries`).
    pub fn remove_address(&mut self, index: u32, ip: IpAddr, prefix: u8, promotes: bool) -> SysResult<()> {
        let link = self.link_mut(index)?;
        let at = link.addresses.iter().position(|own| (own.ip, own.prefix) == (ip, prefix));
        let first = link.addresses.remove(at.ok_or(Errno::ADDRNOTAVAIL)?);
        let is_behind = |own: &IfAddress| !first.secondary && own.secondary && own.network() == first.network();
        let mut behind: Vec<_> = link.addresses.extract_if(.., |own| is_behind(own)).collect();
        behind.iter().chain([&first]).for_each(|own| self.remove_routes_of(index, own));
        if let Some(heir) = behind.first_mut().filter(|_| promotes) {
            heir.secondary = false;
            for own in &behind {
                self.insert_address(index, own.clone())?;
            }
            let link = link_of(&self.links, index)?;
            behind.iter().for_each(|own| self.add_routes_of(&link, own));
        }
        Ok(())
    }

    /// Puts an address where it is listed: IPv4's primaries in their order, then the others; of IPv6 wider scopes and newer
    /// ones first.
    fn insert_address(&mut self, index: u32, own: IfAddress) -> SysResult<()> {
        let link = self.link_mut(index)?;
        let is_before = |old: &IfAddress| match own.ip.is_ipv4() {
            true => old.ip.is_ipv4() && (own.secondary || !old.secondary),
            false => old.ip.is_ipv4() || old.scope < own.scope,
        };
        let at = link.addresses.iter().position(|old| !is_before(old)).unwrap_or(link.addresses.len());
        link.addresses.insert(at, own);
        Ok(())
    }

    /// Sets flags of an address that guests may (`IFA_F_NOPREFIXROUTE` and so on).
    pub fn set_address_flags(&mut self, index: u32, ip: IpAddr, flags: u32) -> SysResult<()> {
        let link = self.link_mut(index)?;
        let own = link.addresses.iter_mut().find(|own| own.ip == ip).ok_or(Errno::ADDRNOTAVAIL)?;
        let had = own.clone();
        own.flags = flags;
        let link = link.clone();
        if had.is_without_route() != link.addresses.iter().any(|own| own.ip == ip && own.is_without_route()) {
            self.remove_routes_of(index, &IfAddress { ip: had.network().0, ..had });
            link.addresses.iter().filter(|own| own.ip.is_ipv6()).for_each(|own| self.add_routes_of(&link, own));
        }
        Ok(())
    }

    /// The routes that an address brings (`fib_add_ifaddr`, `addrconf_prefix_route`).
    fn add_routes_of(&mut self, link: &Link, own: &IfAddress) {
        let index = link.index;
        let longest = if own.ip.is_ipv4() { 32 } else { 128 };
        // Who is behind another in its network is reached as that one.
        let first = |other: &&IfAddress| own.secondary && !other.secondary && other.network() == own.network();
        let first = link.addresses.iter().find(first).unwrap_or(own);
        let source = Some(first.ip).filter(IpAddr::is_ipv4);
        let local = |to: Address| Route {
            scope: if to.0.is_ipv4() { libc::RT_SCOPE_HOST } else { 0 },
            ..kernel_route(LOCAL, libc::RTN_LOCAL, to, index, source)
        };
        self.put_route(local((own.ip, longest)));
        if !link.up {
            return;
        }
        let network = own.network();
        if own.ip.is_ipv6() {
            // The loopback address has no other in its network.
            if !own.is_without_route() && !own.ip.is_loopback() {
                let route = kernel_route(MAIN, libc::RTN_UNICAST, network, index, None);
                self.put_route(Route { metric: METRIC6, ..route });
            }
            return;
        }
        let on_link = |to: Address, table, kind| Route {
            scope: libc::RT_SCOPE_LINK,
            ..kernel_route(table, kind, to, index, source)
        };
        let all = |ip: IpAddr| on_link((ip, 32), LOCAL, libc::RTN_BROADCAST);
        if let Some(ip) = own.broadcast.filter(|ip| *ip != IpAddr::V4(Ipv4Addr::BROADCAST)) {
            self.put_route(all(ip));
        }
        if own.secondary {
            return;
        }
        let is_wide = network.0 != own.ip || own.prefix < 32;
        if is_wide && !own.is_without_route() {
            let route = if link.is_loopback() { local(network) } else { on_link(network, MAIN, libc::RTN_UNICAST) };
            self.put_route(route);
        }
        if let Some(ip) = broadcast(network) {
            self.put_route(all(ip));
        }
    }

    /// Takes back what an address brought, as far as no other needs it, and routes that name it as their source.
    fn remove_routes_of(&mut self, index: u32, own: &IfAddress) {
        let Some(link) = self.link(index).cloned() else { return };
        let still_own = self.links.iter().any(|link| link.has(own.ip));
        let network = own.network();
        let in_network = link.addresses.iter().any(|other| other.network() == network && !other.secondary);
        self.routes.retain(|route| {
            let kernels = route.protocol == libc::RTPROT_KERNEL && route.interface == index;
            let to = (route.destination, route.prefix);
            match route.kind {
                libc::RTN_LOCAL if kernels && route.destination == own.ip && to != network => link.has(own.ip),
                libc::RTN_LOCAL | libc::RTN_UNICAST if kernels && to == network => in_network,
                libc::RTN_BROADCAST if kernels => {
                    let of_it =
                        own.broadcast == Some(route.destination) || broadcast(network) == Some(route.destination);
                    !of_it || in_network
                }
                _ => still_own || route.source != Some(own.ip),
            }
        });
    }

    fn put_route(&mut self, route: Route) {
        if !self.routes.contains(&route) {
            self.routes.push(route);
        }
    }

    /// Takes over a route that the engine has set.
    pub fn give_route(&mut self, route: Route) {
        self.put_route(route);
    }

    /// For changes by guests: `ENOBUFS` if there are so many that none may be added.
    pub fn routes_mut(&mut self) -> (&mut Vec<Route>, bool) {
        let set = self.routes.iter().filter(|route| route.protocol != libc::RTPROT_KERNEL).count();
        (&mut self.routes, set >= ROUTES_MAX)
    }
}

/// A route that follows from an address or a switch.
fn kernel_route(table: u32, kind: u8, (destination, prefix): Address, interface: u32, source: Option<IpAddr>) -> Route {
    let (scope, protocol, gateway, metric) = (libc::RT_SCOPE_UNIVERSE, libc::RTPROT_KERNEL, None, 0);
    Route { table, destination, prefix, kind, scope, protocol, gateway, interface, source, metric }
}

fn link_of(links: &[Arc<Link>], index: u32) -> SysResult<Arc<Link>> {
    links.iter().find(|link| link.index == index).cloned().ok_or(Errno::NODEV)
}

/// `EINVAL` for what cannot be an interface's name (`dev_valid_name`).
pub fn check_name(name: &str) -> SysResult<()> {
    let is_odd = |byte: u8| byte == b'/' || byte == b':' || byte.is_ascii_whitespace() || byte == 0x0b;
    let is_bad = name.is_empty() || name.len() >= NAME_MAX || matches!(name, "." | "..") || name.bytes().any(is_odd);
    if is_bad { Err(Errno::INVAL) } else { Ok(()) }
}
