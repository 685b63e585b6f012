//! Addresses of interfaces.

use super::super::announce;
use super::super::message::{Failure, Reply, Request, attributes};
use super::strict::FILTERED;
use super::{Answer, Asker, family_of, ip, number, octets, text};
use crate::errno::{Errno, SysResult};
use crate::net::layout::V6;
use crate::net::namespace::Net;
use crate::net::stack::link::{IfAddress, Link, NAME_MAX};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `IFA_F_PERMANENT`, `IFA_F_SECONDARY`.
const PERMANENT: u32 = 0x80;
const SECONDARY: u32 = 1;
/// What is kept of the flags of an address: of IPv4 all but those that follow from something, of IPv6 `IFA_F_NODAD`,
/// `_HOMEADDRESS`, `_MANAGETEMPADDR`, `_NOPREFIXROUTE` and `_MCAUTOJOIN`.
const KEPT: (u32, u32) = (!0xa1, 0x712);
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

pub(super) fn get(asker: &Asker<'_>, request: &Request<'_>, dump: bool, reply: &mut Reply) -> Answer {
    let family = request.payload.first().copied().unwrap_or(0);
    if !dump {
        return one(asker.net, request, reply);
    }
    let layout = asker.net.layout();
    let index = Ifaddrmsg::read_from_prefix(request.payload).map_or(0, |(message, _)| message.index);
    let only = (asker.strict && index > 0).then_some(index);
    if let Some(index) = only {
        layout.link(index).ok_or(Errno::NODEV)?;
        reply.mark(FILTERED);
    }
    // As Linux: first those of IPv4.
    for v4 in [true, false] {
        for link in layout.links().iter().filter(|link| only.is_none_or(|index| link.index == index)) {
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
    let flags = PERMANENT | secondary | own.flags;
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
            libc::IFA_LOCAL => local = Some(ip(message.family, content)?),
            libc::IFA_ADDRESS => address = Some(ip(message.family, content)?),
            libc::IFA_BROADCAST => broadcast = Some(ip(message.family, content)?),
            libc::IFA_LABEL if message.family == libc::AF_INET as u8 => label = Some(label_of(content)?),
            IFA_FLAGS => flags = number(content)?,
            _ => {}
        }
    }
    let ip = local.or(address).ok_or(Errno::INVAL)?;
    let v6 = ip.is_ipv6();
    let plain = IfAddress::new((ip, message.prefix));
    let scope = if v6 { plain.scope } else { message.scope };
    let peer = address.filter(|address| *address != ip);
    let flags = flags & if v6 { KEPT.1 } else { KEPT.0 };
    let own = IfAddress { peer, broadcast, scope, label, flags, ..plain };
    Ok(Wish { message, own, is_local: local.is_some() })
}

/// `ERANGE` for what is longer than an interface's name may be, or is not even empty.
fn label_of(content: &[u8]) -> SysResult<String> {
    let len = content.strip_suffix(&[0]).unwrap_or(content).len();
    if content.is_empty() || len >= NAME_MAX { Err(Errno::RANGE) } else { Ok(text(content)?.to_owned()) }
}

pub(super) fn add(asker: &Asker<'_>, request: &Request<'_>) -> Answer {
    let Wish { message, own, is_local } = parse(request)?;
    let v4 = own.ip.is_ipv4();
    let because = |errno, of_v4, of_v6| Failure::because(errno, if v4 { of_v4 } else { of_v6 });
    if v4 {
        check(&own, is_local)?;
    }
    let layout = asker.net.layout();
    let no_link = because(Errno::NODEV, "ipv4: Device not found", "ipv6: Unable to find the interface");
    let link = layout.link(message.index).ok_or(no_link)?;
    let same = |old: &&IfAddress| old.ip == own.ip && (!v4 || old.network() == own.network());
    if let Some(old) = link.addresses.iter().find(same) {
        if request.has(libc::NLM_F_EXCL) || !request.has(libc::NLM_F_REPLACE) {
            return Err(because(Errno::EXIST, "ipv4: Address already assigned", "ipv6: address already assigned"));
        }
        return replace(asker, link, old, own.flags);
    }
    if !v4 {
        check(&own, is_local)?;
        if asker.net.v6(&link.name) == V6::Off {
            return Err(Failure::because(Errno::ACCES, "ipv6: IPv6 is disabled on this device"));
        }
    }
    Ok(asker.change(|layout| layout.add_address(message.index, own))?)
}

/// Whether an address can be one of an interface.
fn check(own: &IfAddress, is_local: bool) -> Answer {
    if own.prefix > if own.ip.is_ipv4() { 32 } else { 128 } {
        let reason = if own.ip.is_ipv4() { "ipv4: Invalid prefix length" } else { "IPv6: Invalid prefix length" };
        return Err(Failure::because(Errno::INVAL, reason));
    }
    if own.ip.is_ipv4() && !is_local {
        return Err(Failure::because(Errno::INVAL, "ipv4: Local address is not supplied"));
    }
    if own.ip.is_ipv6() && (own.ip.is_multicast() || own.ip.is_unspecified()) {
        let reason = "IPv6: Cannot assign multicast address without \"IFA_F_MCAUTOJOIN\" flag";
        return Err(Failure::because(Errno::ADDRNOTAVAIL, reason));
    }
    Ok(())
}

/// `ip addr replace` of what is there changes flags of IPv6 alone; those who listen hear of it in any case.
fn replace(asker: &Asker<'_>, link: &Link, old: &IfAddress, flags: u32) -> Answer {
    if old.ip.is_ipv6() && old.flags != flags {
        return Ok(asker.change(|layout| layout.set_address_flags(link.index, old.ip, flags))?);
    }
    announce::address(asker.net, link, old, asker.origin);
    Ok(())
}

pub(super) fn delete(asker: &Asker<'_>, request: &Request<'_>) -> Answer {
    let Wish { message, own, .. } = parse(request)?;
    let because = |errno, of_v4, of_v6| Failure::because(errno, if own.ip.is_ipv4() { of_v4 } else { of_v6 });
    let no_link = || because(Errno::NODEV, "ipv4: Device not found", "ipv6: Unable to find the interface");
    let name = asker.net.layout().link(message.index).map(|link| link.name.clone()).ok_or_else(no_link)?;
    let promotes = ["all", &name].iter().any(|of| asker.net.switch("ipv4", of, "promote_secondaries"));
    match asker.change(|layout| layout.remove_address(message.index, own.ip, message.prefix, promotes)) {
        Err(Errno::ADDRNOTAVAIL) => {
            Err(because(Errno::ADDRNOTAVAIL, "ipv4: Address not found", "ipv6: address not found"))
        }
        done => Ok(done?),
    }
}
