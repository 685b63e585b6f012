//! Addresses of interfaces.

use super::super::message::{Failure, Reply, Request, attributes};
use super::{Answer, Asker, family_of, number, octets, parse_ip, text};
use crate::errno::{Errno, SysResult};
use crate::net::namespace::Net;
use crate::net::stack::link::{IfAddress, Link};
use std::net::IpAddr;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `IFA_F_PERMANENT`, `IFA_F_SECONDARY`, `IFA_F_NOPREFIXROUTE`.
const PERMANENT: u32 = 0x80;
const SECONDARY: u32 = 1;
const NOPREFIXROUTE: u32 = 0x200;
const IFA_FLAGS: u16 = 8;

/// `struct ifaddrmsg`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Ifaddrmsg {
    family: u8,
    prefix: u8,
    flags: u8,
    scope: u8,
    index: u32,
}

pub(super) fn get(net: &Net, request: &Request<'_>, dump: bool, reply: &mut Reply) -> Answer {
    let family = request.payload.first().copied().unwrap_or(0);
    if !dump {
        return one(net, request, reply);
    }
    // As Linux: first those of IPv4.
    for v4 in [true, false] {
        for link in net.layout().links() {
            let asked = link.addresses.iter().filter(|own| own.ip.is_ipv4() == v4);
            for own in asked.filter(|own| family == 0 || family == family_of(own.ip)) {
                write(libc::RTM_NEWADDR, reply, own, link);
            }
        }
    }
    Ok(())
}

/// IPv6 lets one ask for an address; IPv4 does not.
fn one(net: &Net, request: &Request<'_>, reply: &mut Reply) -> Answer {
    let wish = parse(request)?;
    if wish.message.family != libc::AF_INET6 as u8 {
        return Err(Errno::OPNOTSUPP.into());
    }
    let layout = net.layout();
    let mut all = layout.links().iter().flat_map(|link| link.addresses.iter().map(move |own| (own, link)));
    let (own, link) = all.find(|(own, _)| own.ip == wish.own.ip).ok_or(Errno::ADDRNOTAVAIL)?;
    write(libc::RTM_NEWADDR, reply, own, link);
    Ok(())
}

/// Writes a message about an address.
pub(in super::super) fn write(kind: u16, reply: &mut Reply, own: &IfAddress, link: &Link) {
    let secondary = if own.secondary { SECONDARY } else { 0 };
    let flags = PERMANENT | secondary | if own.without_route { NOPREFIXROUTE } else { 0 };
    let (prefix, scope, index) = (own.prefix, own.scope, link.index);
    let fixed = Ifaddrmsg { family: family_of(own.ip), prefix, flags: flags as u8, scope, index };
    reply.message(kind, fixed.as_bytes(), |reply| {
        reply.attribute(libc::IFA_ADDRESS, &octets(own.peer.unwrap_or(own.ip)));
        if own.ip.is_ipv4() || own.peer.is_some() {
            reply.attribute(libc::IFA_LOCAL, &octets(own.ip));
        }
        if own.ip.is_ipv4() {
            if let Some(broadcast) = own.broadcast {
                reply.attribute(libc::IFA_BROADCAST, &octets(broadcast));
            }
            let label = own.label.as_ref().unwrap_or(&link.name);
            reply.attribute(libc::IFA_LABEL, &[label.as_bytes(), b"\0"].concat());
        }
        reply.attribute(IFA_FLAGS, &flags.to_ne_bytes());
        // Preferred and valid for ever; made and changed at the start.
        reply.attribute(libc::IFA_CACHEINFO, [u32::MAX, u32::MAX, 0, 0].as_bytes());
    });
}

/// What a request says of an address.
struct Wish {
    message: Ifaddrmsg,
    own: IfAddress,
    /// `IFA_LOCAL` was there.
    is_local: bool,
}

fn parse(request: &Request<'_>) -> SysResult<Wish> {
    let (message, _) = Ifaddrmsg::read_from_prefix(request.payload).map_err(|_| Errno::INVAL)?;
    let (mut local, mut address, mut broadcast, mut label) = (None, None, None, None);
    let mut flags = u32::from(message.flags);
    for (kind, content) in attributes(request.payload, size_of::<Ifaddrmsg>()) {
        match kind {
            libc::IFA_LOCAL => local = Some(parse_ip(content)?),
            libc::IFA_ADDRESS => address = Some(parse_ip(content)?),
            libc::IFA_BROADCAST => broadcast = Some(parse_ip(content)?),
            libc::IFA_LABEL => label = Some(text(content)?.to_owned()),
            IFA_FLAGS => flags = number(content)?,
            _ => {}
        }
    }
    let ip = local.or(address).ok_or(Errno::INVAL)?;
    let is_odd = |other: IpAddr| family_of(other) != message.family;
    if is_odd(ip) || address.is_some_and(is_odd) || broadcast.is_some_and(is_odd) {
        return Err(Errno::INVAL);
    }
    let v6 = ip.is_ipv6();
    let plain = IfAddress::new((ip, message.prefix));
    let scope = if v6 { plain.scope } else { message.scope };
    let peer = address.filter(|address| *address != ip);
    let without_route = flags & NOPREFIXROUTE != 0;
    let own = IfAddress { peer, broadcast, scope, label, without_route, ..plain };
    Ok(Wish { message, own, is_local: local.is_some() })
}

pub(super) fn add(asker: &Asker<'_>, request: &Request<'_>) -> Answer {
    let Wish { message, own, is_local } = parse(request)?;
    let v4 = own.ip.is_ipv4();
    let because = |errno, of_v4, of_v6| Failure::because(errno, if v4 { of_v4 } else { of_v6 });
    if own.prefix > if v4 { 32 } else { 128 } {
        return Err(because(Errno::INVAL, "ipv4: Invalid prefix length", "IPv6: Invalid prefix length"));
    }
    if v4 && !is_local {
        return Err(Failure::because(Errno::INVAL, "ipv4: Local address is not supplied"));
    }
    if own.ip.is_multicast() && !v4 {
        return Err(Failure::because(
            Errno::ADDRNOTAVAIL,
            "IPv6: Cannot assign multicast address without \"IFA_F_MCAUTOJOIN\" flag",
        ));
    }
    match asker.change(|layout| layout.add_address(message.index, own)) {
        // `ip addr replace` of what is there changes nothing.
        Err(Errno::EXIST) if !request.has(libc::NLM_F_EXCL) && request.has(libc::NLM_F_REPLACE) => Ok(()),
        Err(Errno::EXIST) => {
            Err(because(Errno::EXIST, "ipv4: Address already assigned", "ipv6: address already assigned"))
        }
        Err(Errno::NODEV) => Err(because(Errno::NODEV, "ipv4: Device not found", "ipv6: Unable to find the interface")),
        done => Ok(done?),
    }
}

pub(super) fn delete(asker: &Asker<'_>, request: &Request<'_>) -> Answer {
    let Wish { message, own, .. } = parse(request)?;
    let because = |errno, of_v4, of_v6| Failure::because(errno, if own.ip.is_ipv4() { of_v4 } else { of_v6 });
    match asker.change(|layout| layout.remove_address(message.index, own.ip, Some(message.prefix))) {
        Err(Errno::ADDRNOTAVAIL) => {
            Err(because(Errno::ADDRNOTAVAIL, "ipv4: Address not found", "ipv6: address not found"))
        }
        Err(Errno::NODEV) => Err(because(Errno::NODEV, "ipv4: Device not found", "ipv6: Unable to find the interface")),
        done => Ok(done.map(|_| ())?),
    }
}
