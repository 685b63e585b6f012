//! The `ioctl`s on network devices and routes (`netdevice(7)`, `route(7)`).

use super::ethtool;
use crate::abi::{Ifconf, Ifreq};
use crate::errno::{Errno, SysResult};
use crate::fs::{File, nsfs};
use crate::kernel::namespaces::Namespace;
use crate::kernel::{Cap, Task};
use crate::mm::Addr;
use crate::net::host;
use crate::net::layout::{Layout, V6};
use crate::net::namespace::Net;
use crate::net::netlink::{set_mac, set_mtu};
use crate::net::stack::link::{IfAddress, Link, flag};
use crate::net::stack::route::{self, Query, Route};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `struct rtentry`: three addresses behind a number, then what else there is.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Rtentry {
    pad1: u64,
    to: [u8; 16],
    gateway: [u8; 16],
    mask: [u8; 16],
    flags: u16,
    pad2: [u8; 22],
    metric: i16,
    pad3: [u8; 6],
    device: u64,
    rest: [u64; 3],
}

const SIOCADDRT: u32 = 0x890b;
const SIOCDELRT: u32 = 0x890c;
const SIOCGSKNS: u32 = 0x894c;
const SIOCGIFNAME: u32 = 0x8910;
const SIOCGIFCONF: u32 = 0x8912;
const SIOCGIFFLAGS: u32 = 0x8913;
const SIOCSIFFLAGS: u32 = 0x8914;
const SIOCGIFADDR: u32 = 0x8915;
const SIOCSIFADDR: u32 = 0x8916;
const SIOCGIFDSTADDR: u32 = 0x8917;
const SIOCGIFBRDADDR: u32 = 0x8919;
const SIOCSIFBRDADDR: u32 = 0x891a;
const SIOCGIFNETMASK: u32 = 0x891b;
const SIOCSIFNETMASK: u32 = 0x891c;
const SIOCGIFMETRIC: u32 = 0x891d;
const SIOCGIFMTU: u32 = 0x8921;
const SIOCSIFMTU: u32 = 0x8922;
const SIOCSIFNAME: u32 = 0x8923;
const SIOCSIFHWADDR: u32 = 0x8924;
const SIOCGIFHWADDR: u32 = 0x8927;
const SIOCGIFINDEX: u32 = 0x8933;
const SIOCGIFTXQLEN: u32 = 0x8942;
const SIOCSIFTXQLEN: u32 = 0x8943;
/// Those that ask.
const GETTERS: [u32; 10] = [
    SIOCGIFFLAGS,
    SIOCGIFADDR,
    SIOCGIFDSTADDR,
    SIOCGIFBRDADDR,
    SIOCGIFNETMASK,
    SIOCGIFMETRIC,
    SIOCGIFMTU,
    SIOCGIFHWADDR,
    SIOCGIFINDEX,
    SIOCGIFTXQLEN,
];
/// Those that change a device: the even numbers beside the odd ones above, and a few more.
const SETTERS: [u32; 10] = [
    SIOCSIFFLAGS,
    SIOCSIFADDR,
    0x8918,
    SIOCSIFBRDADDR,
    SIOCSIFNETMASK,
    0x891e,
    SIOCSIFMTU,
    SIOCSIFNAME,
    SIOCSIFHWADDR,
    SIOCSIFTXQLEN,
];

/// `ioctl(2)` on any socket of a namespace.
pub fn ioctl(t: &Task, net: &Arc<Net>, cmd: u32, arg: Addr) -> SysResult {
    if let Some(view) = host::of(net)
        && !matches!(cmd, SIOCADDRT | SIOCDELRT | SIOCGSKNS)
    {
        return host::device::ioctl(view, t, cmd, arg);
    }
    match cmd {
        SIOCGIFCONF => return list(t, net, arg),
        SIOCADDRT | SIOCDELRT => return change_route(t, net, cmd == SIOCADDRT, arg),
        ethtool::SIOCETHTOOL => {
            return ethtool::ioctl(t, arg, |asked: &[u8]| net.layout().link_named(asked).is_some());
        }
        SIOCGSKNS => return open_namespace(t, net),
        SIOCGIFNAME => {
            let mut request: Ifreq = t.mem().read(arg)?;
            let index = request.value.first_chunk::<4>().map_or(0, |bytes| u32::from_ne_bytes(*bytes));
            request.name = Ifreq::name_of(&net.layout().link(index).ok_or(Errno::NODEV)?.name);
            return t.mem().write(arg, &request).map(|()| 0);
        }
        _ if GETTERS.contains(&cmd) || SETTERS.contains(&cmd) => {}
        _ => return Err(Errno::NOTTY),
    }
    let mut request: Ifreq = t.mem().read(arg)?;
    let asked = request.name.split(|b| *b == 0).next().unwrap_or_default();
    if SETTERS.contains(&cmd) {
        if !t.creds().has(Cap::NetAdmin) {
            return Err(Errno::PERM);
        }
        let v6 = net.v6(&String::from_utf8_lossy(asked));
        net.change(|layout| {
            let link = layout.link_named(asked).ok_or(Errno::NODEV)?.clone();
            set(layout, &link, cmd, &request.value, v6)
        })?;
        return Ok(0);
    }
    request.value = property(net.layout().link_named(asked).ok_or(Errno::NODEV)?, cmd)?;
    t.mem().write(arg, &request).map(|()| 0)
}

/// `SIOCGSKNS`: the namespace that the socket is in.
fn open_namespace(t: &Task, net: &Arc<Net>) -> SysResult {
    if !t.creds().has(Cap::NetAdmin) {
        return Err(Errno::PERM);
    }
    let (ops, place) = nsfs::open(t, Namespace::Net(net.clone()))?;
    t.install(File::new(ops, Some(place), libc::O_RDONLY), true).map(i64::from)
}

/// The IPv4 address in a `struct sockaddr`; `EINVAL` for another family.
fn v4(value: &[u8]) -> SysResult<Ipv4Addr> {
    let (family, rest) = value.split_first_chunk::<2>().ok_or(Errno::INVAL)?;
    if i32::from(u16::from_ne_bytes(*family)) != libc::AF_INET {
        return Err(Errno::INVAL);
    }
    let ip = rest.get(2..).and_then(|rest| rest.first_chunk::<4>()).ok_or(Errno::INVAL)?;
    Ok(Ipv4Addr::from(*ip))
}

/// Changes an interface.
fn set(layout: &mut Layout, link: &Link, cmd: u32, value: &[u8; 24], v6: V6) -> SysResult<()> {
    let number = value.first_chunk::<4>().map_or(0, |bytes| i32::from_ne_bytes(*bytes));
    let index = link.index;
    let unsigned = u32::try_from(number).map_err(|_| Errno::INVAL);
    match cmd {
        SIOCSIFFLAGS => layout.set_up(index, number.unsigned_abs() & flag::UP != 0, v6),
        SIOCSIFMTU => set_mtu(layout.link_mut(index)?, unsigned?).map_err(Into::into),
        SIOCSIFTXQLEN => {
            layout.link_mut(index)?.txqlen = unsigned?;
            Ok(())
        }
        SIOCSIFHWADDR => set_mac(layout.link_mut(index)?, value.get(2..).unwrap_or_default()),
        SIOCSIFNAME => {
            let name = value.split(|byte| *byte == 0).next().unwrap_or_default();
            layout.rename(index, std::str::from_utf8(name).map_err(|_| Errno::INVAL)?)
        }
        SIOCSIFADDR => set_address(layout, link, v4(value)?, v6),
        SIOCSIFNETMASK | SIOCSIFBRDADDR => {
            let ip = v4(value)?;
            let old = first(link).ok_or(Errno::ADDRNOTAVAIL)?.clone();
            let new = if cmd == SIOCSIFBRDADDR {
                IfAddress { broadcast: Some(ip.into()), ..old.clone() }
            } else {
                let mask = u32::from(ip);
                let prefix = mask.leading_ones() as u8;
                if route::mask(prefix) != mask {
                    return Err(Errno::INVAL);
                }
                let broadcast = old.broadcast.and(route::broadcast((old.ip, prefix)));
                IfAddress { prefix, broadcast, ..old.clone() }
            };
            layout.remove_address(index, old.ip, old.prefix, false)?;
            layout.add_address(index, new)
        }
        _ => Err(Errno::OPNOTSUPP),
    }
}

/// `SIOCSIFADDR`: replaces the first address; the class says how long the prefix is.
fn set_address(layout: &mut Layout, link: &Link, ip: Ipv4Addr, v6: V6) -> SysResult<()> {
    if let Some(old) = first(link) {
        if old.ip == ip {
            return Ok(());
        }
        layout.remove_address(link.index, old.ip, old.prefix, false)?;
    }
    if ip.is_unspecified() {
        return Ok(());
    }
    let prefix = match ip.octets() {
        [0..128, ..] => 8,
        [128..192, ..] => 16,
        [192..224, ..] => 24,
        _ => return Err(Errno::INVAL),
    };
    let own = IfAddress::new((ip.into(), prefix));
    let broadcast = route::broadcast((ip.into(), prefix)).filter(|_| !link.is_loopback());
    layout.add_address(link.index, IfAddress { broadcast, ..own })?;
    // Who gives an interface an address so wants it to be on.
    layout.set_up(link.index, true, v6)
}

fn first(link: &Link) -> Option<&IfAddress> {
    link.addresses.iter().find(|own| own.ip.is_ipv4())
}

/// What an interface answers to a question: `EADDRNOTAVAIL` if it has no address to tell.
fn property(link: &Link, cmd: u32) -> SysResult<[u8; 24]> {
    let address = |ip: IpAddr| {
        let octets = match ip {
            IpAddr::V4(ip) => ip.octets(),
            IpAddr::V6(_) => [0; 4],
        };
        [(libc::AF_INET as u32).to_ne_bytes(), octets].concat()
    };
    let own = || first(link).ok_or(Errno::ADDRNOTAVAIL);
    let bytes = match cmd {
        SIOCGIFFLAGS => (link.all_flags() as u16).to_ne_bytes().to_vec(),
        SIOCGIFADDR => address(own()?.ip),
        SIOCGIFDSTADDR => own().map(|own| address(own.peer.unwrap_or(own.ip)))?,
        SIOCGIFBRDADDR => address(own()?.broadcast.unwrap_or(Ipv4Addr::UNSPECIFIED.into())),
        SIOCGIFNETMASK => address(Ipv4Addr::from(route::mask(own()?.prefix)).into()),
        SIOCGIFMETRIC => 0i32.to_ne_bytes().to_vec(),
        SIOCGIFMTU => (link.mtu as i32).to_ne_bytes().to_vec(),
        SIOCGIFHWADDR if link.is_loopback() => libc::ARPHRD_LOOPBACK.to_ne_bytes().to_vec(),
        SIOCGIFHWADDR => [libc::ARPHRD_ETHER.to_ne_bytes().as_slice(), &link.mac].concat(),
        SIOCGIFINDEX => link.index.to_ne_bytes().to_vec(),
        SIOCGIFTXQLEN => link.txqlen.to_ne_bytes().to_vec(),
        _ => return Err(Errno::NOTTY),
    };
    let mut value = [0; 24];
    value.get_mut(..bytes.len()).ok_or(Errno::INVAL)?.copy_from_slice(&bytes);
    Ok(value)
}

/// `SIOCGIFCONF`: the interfaces with an IPv4 address.
fn list(t: &Task, net: &Net, arg: Addr) -> SysResult {
    let mut conf: Ifconf = t.mem().read(arg)?;
    let size = size_of::<Ifreq>();
    let row = |link: &Arc<Link>| {
        let value = property(link, SIOCGIFADDR).ok()?;
        Some(Ifreq { name: Ifreq::name_of(&link.name), value })
    };
    let mut all: Vec<Ifreq> = net.layout().links().iter().filter_map(row).collect();
    if conf.buf != 0 {
        all.truncate(conf.len.max(0) as usize / size);
        t.mem().write_bytes(Addr(conf.buf), all.as_bytes())?;
    }
    conf.len = (all.len() * size) as i32;
    t.mem().write(arg, &conf).map(|()| 0)
}

/// `SIOCADDRT` and `SIOCDELRT`: routes of IPv4 in the main table.
fn change_route(t: &Task, net: &Net, adds: bool, arg: Addr) -> SysResult {
    const GATEWAY: u16 = 2;
    const HOST: u16 = 4;
    const REJECT: u16 = 0x200;
    if !t.creds().has(Cap::NetAdmin) {
        return Err(Errno::PERM);
    }
    let entry: Rtentry = t.mem().read(arg)?;
    let to = v4(&entry.to).map_err(|_| Errno::AFNOSUPPORT)?;
    let mask = v4(&entry.mask).map_or(0, u32::from);
    let prefix = if entry.flags & HOST != 0 { 32 } else { mask.leading_ones() as u8 };
    if entry.flags & HOST == 0 && (route::mask(prefix) != mask || u32::from(to) & !mask != 0) {
        return Err(Errno::INVAL);
    }
    let gateway = if entry.flags & GATEWAY != 0 { Some(v4(&entry.gateway)?.into()) } else { None };
    let device = if entry.device == 0 { None } else { Some(t.mem().read::<[u8; 16]>(Addr(entry.device))?) };
    let layout = net.layout();
    let asked = device.as_ref().map(|device| device.split(|byte| *byte == 0).next().unwrap_or_default());
    let link = match asked {
        Some(asked) => Some(layout.link_named(asked).ok_or(Errno::NODEV)?),
        None => None,
    };
    let rejects = entry.flags & REJECT != 0;
    let over = link.map(|link| link.index);
    let found =
        gateway.and_then(|gateway| layout.lookup(gateway, &Query { oif: over.unwrap_or(0), ..Query::default() }).ok());
    let interface = match over.or(found.map(|route| route.interface)) {
        _ if rejects => 0,
        Some(_) if gateway.is_some() && found.is_none_or(|route| route.kind != libc::RTN_UNICAST) => {
            return Err(Errno::NETUNREACH);
        }
        Some(index) => index,
        None if !adds => 0,
        None if gateway.is_some() => return Err(Errno::NETUNREACH),
        None => return Err(Errno::NODEV),
    };
    if adds && interface > 0 && layout.link(interface).is_some_and(|link| !link.up) {
        return Err(Errno::NETDOWN);
    }
    let new = Route {
        table: libc::RT_TABLE_MAIN.into(),
        destination: to.into(),
        prefix,
        kind: if rejects { libc::RTN_UNREACHABLE } else { libc::RTN_UNICAST },
        scope: if gateway.is_some() || rejects { libc::RT_SCOPE_UNIVERSE } else { libc::RT_SCOPE_LINK },
        protocol: libc::RTPROT_BOOT,
        gateway,
        interface,
        source: None,
        metric: u32::try_from(i32::from(entry.metric) - 1).unwrap_or(0),
    };
    net.change(|layout| {
        let (routes, is_full) = layout.routes_mut();
        let key = |route: &Route| (route.table, route.destination, route.prefix);
        if !adds {
            let is_it = |route: &Route| {
                key(route) == key(&new)
                    && (gateway.is_none() || route.gateway == gateway)
                    && (over.is_none() || Some(route.interface) == over)
            };
            routes.remove(routes.iter().position(is_it).ok_or(Errno::SRCH)?);
            return Ok(());
        }
        if routes.iter().any(|route| key(route) == key(&new) && route.metric == new.metric) {
            return Err(Errno::EXIST);
        }
        if is_full {
            return Err(Errno::NOBUFS);
        }
        routes.push(new);
        Ok(())
    })?;
    Ok(0)
}
