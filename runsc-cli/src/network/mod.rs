//! Takes over the interfaces of a container's network namespace: what an engine has configured there becomes the
//! sentry's, and the host's own stack forgets it, so that two do not answer to one address.

mod netlink;
mod resolv;
pub(crate) mod user;

use crate::Globals;
use crate::container::namespace;
use crate::plan::Plan;
use anyhow::{Context, Result, bail};
use netlink::{Message, Netlink, attribute};
use platform::host::packet_socket;
use sentry::boot::config::{InterfaceSpec, NetworkSpec, RouteSpec};
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::os::fd::OwnedFd;

/// How many guests' queries may be on their way to an engine's resolver at a time.
const RESOLVER_SOCKETS: usize = 16;

/// What the sandbox has of a network besides `lo`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Mode {
    /// The interfaces of the container's network namespace
    #[default]
    Sandbox,
    /// The host's: sockets of the sandbox are the host's own, in the network namespace of the configuration or the caller
    Host,
    /// Connections that a helper process of the caller's opens outside; needs no privileges
    User,
    /// Nothing
    None,
}

/// The network that [`user`] gives, if the caller wants that, with what is to be mounted for it; else none.
pub(crate) fn of_user(globals: &Globals, plan: &mut Plan, cgroups: &[OwnedFd]) -> Result<NetworkSpec> {
    if globals.network != Mode::User {
        let given = if globals.publish.is_empty() { "--host-loopback" } else { "--publish" };
        if !globals.publish.is_empty() || globals.host_loopback {
            bail!("{given} needs --network=user");
        }
        return Ok(NetworkSpec { host: globals.network == Mode::Host, ..NetworkSpec::default() });
    }
    let options = user::Options { publish: &globals.publish, host_loopback: globals.host_loopback };
    let spec = user::start(&options, cgroups)?;
    plan.mounts.extend(resolv::mount(&plan.mounts, user::RESOLVER.into()));
    Ok(spec)
}

/// Takes over this process's network namespace, which must be the container's own.
pub(crate) fn take_over() -> Result<NetworkSpec> {
    let mut netlink = Netlink::open()?;
    let mut spec = NetworkSpec::default();
    for link in netlink.dump(libc::RTM_GETLINK, libc::RTM_NEWLINK, size_of::<libc::ifinfomsg>())? {
        spec.interfaces.extend(interface(&link)?);
    }
    if spec.interfaces.is_empty() {
        return Ok(spec);
    }
    for route in netlink.dump(libc::RTM_GETROUTE, libc::RTM_NEWROUTE, ROUTE_MESSAGE)? {
        spec.routes.extend(self::route(&route).filter(|route| has_interface(&spec, route.interface)));
    }
    for neighbour in netlink.dump(libc::RTM_GETNEIGH, libc::RTM_NEWNEIGH, NEIGHBOUR_MESSAGE)? {
        let permanent = self::neighbour(&neighbour);
        spec.neighbours.extend(permanent.filter(|(_, index, _)| has_interface(&spec, *index)));
    }
    let addresses = netlink.dump(libc::RTM_GETADDR, libc::RTM_NEWADDR, size_of::<libc::ifaddrmsg>())?;
    for address in &addresses {
        let index = address.fixed_u32(4);
        let Some(interface) = spec.interfaces.iter_mut().find(|i| i.index == index) else { continue };
        // Point-to-point links tell the other end as the address, and the own one as local.
        let Some(own) = address.address(libc::IFA_LOCAL).or_else(|| address.address(libc::IFA_ADDRESS)) else {
            continue;
        };
        interface.addresses.push((own, address.fixed_u8(1)));
    }
    spec.resolver = resolver_sockets();
    for address in addresses {
        if has_interface(&spec, address.fixed_u32(4)) {
            remove(&mut netlink, &address)?;
        }
    }
    Ok(spec)
}

/// Whether this process is in a network namespace that was made for the container: not in that of the command, nor
/// in the host's.
pub(crate) fn is_own(of_command: Option<(u64, u64)>) -> bool {
    let own = namespace("self", "net");
    let host = namespace("1", "net");
    own.is_some() && own != of_command && own != host
}

fn has_interface(spec: &NetworkSpec, index: u32) -> bool {
    spec.interfaces.iter().any(|interface| interface.index == index)
}

/// An Ethernet interface that is up.
fn interface(link: &Message) -> Result<Option<InterfaceSpec>> {
    let index = link.fixed_u32(4);
    let flags = link.fixed_u32(8);
    let kind = link.fixed.get(2..4).map_or(0, |b| u16::from_ne_bytes([b[0], b[1]]));
    let name = link.attributes.get(&libc::IFLA_IFNAME).map(|name| String::from_utf8_lossy(name));
    let name = name.unwrap_or_default().trim_end_matches('\0').to_owned();
    let mac = link.attributes.get(&libc::IFLA_ADDRESS).and_then(|mac| <[u8; 6]>::try_from(mac.as_slice()).ok());
    let (libc::ARPHRD_ETHER, true, Some(mac)) = (kind, flags & libc::IFF_UP as u32 != 0, mac) else { return Ok(None) };
    let socket = packet_socket(index).with_context(|| format!("cannot take over the interface {name}"))?;
    let mtu = link.u32(libc::IFLA_MTU).unwrap_or(1500);
    Ok(Some(InterfaceSpec { name, index, mac, mtu, addresses: Vec::new(), socket, waits: false }))
}

/// `struct rtmsg`.
const ROUTE_MESSAGE: usize = 12;

/// A unicast route of the main table that somebody has set: what follows from addresses is the sentry's to know.
fn route(route: &Message) -> Option<RouteSpec> {
    let [family, prefix, table, protocol, kind] = [0, 1, 4, 5, 7].map(|at| route.fixed_u8(at));
    let unspecified: IpAddr = match i32::from(family) {
        libc::AF_INET => Ipv4Addr::UNSPECIFIED.into(),
        libc::AF_INET6 => std::net::Ipv6Addr::UNSPECIFIED.into(),
        _ => return None,
    };
    if table != libc::RT_TABLE_MAIN || protocol == libc::RTPROT_KERNEL || kind != libc::RTN_UNICAST {
        return None;
    }
    Some(RouteSpec {
        destination: route.address(libc::RTA_DST).unwrap_or(unspecified),
        prefix,
        gateway: route.address(libc::RTA_GATEWAY),
        interface: route.u32(libc::RTA_OIF)?,
        source: route.address(libc::RTA_PREFSRC),
        metric: route.u32(libc::RTA_PRIORITY).unwrap_or(0),
    })
}

/// `struct ndmsg`.
const NEIGHBOUR_MESSAGE: usize = 12;

fn neighbour(neighbour: &Message) -> Option<(IpAddr, u32, [u8; 6])> {
    let state = neighbour.fixed.get(8..10).map(|b| u16::from_ne_bytes([b[0], b[1]]))?;
    let mac = neighbour.attributes.get(&libc::NDA_LLADDR)?;
    let is_permanent = state & libc::NUD_PERMANENT != 0;
    let address = neighbour.address(libc::NDA_DST)?;
    is_permanent.then_some((address, neighbour.fixed_u32(4), <[u8; 6]>::try_from(mac.as_slice()).ok()?))
}

/// Takes an address from the host's stack; routes over it go with it.
fn remove(netlink: &mut Netlink, address: &Message) -> Result<()> {
    let mut body = address.fixed.clone();
    for number in [libc::IFA_LOCAL, libc::IFA_ADDRESS] {
        if let Some(value) = address.attributes.get(&number) {
            body.extend(attribute(number, value));
        }
    }
    match netlink.change(libc::RTM_DELADDR, &body) {
        // With the first address of a network the host removes the others.
        Err(e) if e.downcast_ref::<std::io::Error>().is_some_and(|e| e.raw_os_error() == Some(libc::EADDRNOTAVAIL)) => {
            Ok(())
        }
        done => done.context("cannot take the address of an interface over"),
    }
}

/// Sockets to the resolver that Docker runs for networks that users made. It is reached by rules in this namespace
/// that only the host's own sockets pass.
fn resolver_sockets() -> Vec<OwnedFd> {
    let connect = || {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).ok()?;
        socket.connect((NetworkSpec::RESOLVER, 53)).ok()?;
        socket.set_nonblocking(true).ok()?;
        Some(OwnedFd::from(socket))
    };
    (0..RESOLVER_SOCKETS).map_while(|_| connect()).collect()
}
