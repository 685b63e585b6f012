//! Addresses of interfaces.

use super::super::message::{Failure, Reply, Request, attributes};
use super::super::socket::broadcast;
use super::{Answer, family_of, group, octets, parse_ip};
use crate::errno::{Errno, SysResult};
use crate::net::devices;
use crate::net::stack::{self, route as routing};
use std::net::IpAddr;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `RT_SCOPE_HOST` and `RT_SCOPE_LINK`.
const SCOPE_HOST: u8 = 254;
const SCOPE_LINK: u8 = 253;
/// `IFA_F_PERMANENT`.
const PERMANENT: u32 = 0x80;
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

/// All addresses: with the name and the index of the interface.
fn all() -> Vec<(routing::Address, String, u32)> {
    let mut all = Vec::new();
    for device in devices::all() {
        all.extend(device.addresses.iter().map(|own| (*own, device.name.clone(), device.index)));
    }
    for link in stack::get().into_iter().flat_map(|stack| stack.links()) {
        all.extend(link.addresses.iter().map(|own| (*own, link.name.clone(), link.index)));
    }
    // As Linux: first those of IPv4.
    all.sort_by_key(|(address, _, _)| address.0.is_ipv6());
    all
}

pub(super) fn get(request: &Request<'_>, dump: bool, reply: &mut Reply) -> Answer {
    let family = request.payload.first().copied().unwrap_or(0);
    if !dump {
        return one(request, reply);
    }
    for (address, name, index) in all().iter().filter(|(own, _, _)| family == 0 || family == family_of(own.0)) {
        write(libc::RTM_NEWADDR, reply, *address, name, *index);
    }
    Ok(())
}

/// IPv6 lets one ask for an address; IPv4 does not.
fn one(request: &Request<'_>, reply: &mut Reply) -> Answer {
    let (message, ip) = parse(request)?;
    if message.family != libc::AF_INET6 as u8 {
        return Err(Errno::OPNOTSUPP.into());
    }
    let all = all();
    let found = all.iter().find(|(own, _, _)| own.0 == ip).ok_or(Errno::ADDRNOTAVAIL)?;
    write(libc::RTM_NEWADDR, reply, found.0, &found.1, found.2);
    Ok(())
}

fn write(kind: u16, reply: &mut Reply, (ip, prefix): routing::Address, name: &str, index: u32) {
    let scope = match ip {
        _ if ip.is_loopback() => SCOPE_HOST,
        _ if routing::is_link_local(ip) => SCOPE_LINK,
        _ => 0,
    };
    let fixed = Ifaddrmsg { family: family_of(ip), prefix, flags: PERMANENT as u8, scope, index };
    reply.message(kind, fixed.as_bytes(), |reply| {
        reply.attribute(libc::IFA_ADDRESS, &octets(ip));
        if ip.is_ipv4() {
            reply.attribute(libc::IFA_LOCAL, &octets(ip));
            let broadcast = routing::broadcast((ip, prefix)).filter(|_| index != devices::LOOPBACK && prefix < 31);
            if let Some(broadcast) = broadcast {
                reply.attribute(libc::IFA_BROADCAST, &octets(broadcast));
            }
            reply.attribute(libc::IFA_LABEL, &[name.as_bytes(), b"\0"].concat());
        }
        reply.attribute(IFA_FLAGS, &PERMANENT.to_ne_bytes());
        // Preferred and valid for ever; made and changed at the start.
        reply.attribute(libc::IFA_CACHEINFO, [u32::MAX, u32::MAX, 0, 0].as_bytes());
    });
}

fn parse(request: &Request<'_>) -> SysResult<(Ifaddrmsg, IpAddr)> {
    let (message, _) = Ifaddrmsg::read_from_prefix(request.payload).map_err(|_| Errno::INVAL)?;
    let mut found = [None, None];
    for (kind, content) in attributes(request.payload, size_of::<Ifaddrmsg>()) {
        let [local, address] = &mut found;
        match kind {
            libc::IFA_LOCAL => *local = Some(parse_ip(content)?),
            libc::IFA_ADDRESS => *address = Some(parse_ip(content)?),
            _ => {}
        }
    }
    let [local, address] = found;
    let ip = local.or(address).ok_or(Errno::INVAL)?;
    if family_of(ip) != message.family {
        return Err(Errno::INVAL);
    }
    Ok((message, ip))
}

/// `EOPNOTSUPP` for what the engine gave, which is as it is.
fn may_change(index: u32) -> SysResult<()> {
    if stack::get().is_some_and(|stack| stack.link(index).is_some()) { Err(Errno::OPNOTSUPP) } else { Ok(()) }
}

pub(super) fn add(request: &Request<'_>, reply: &Reply) -> Answer {
    let (message, ip) = parse(request)?;
    let longest = if ip.is_ipv4() { 32 } else { 128 };
    if message.prefix > longest {
        return Err(Failure::because(Errno::INVAL, "ipv4: Invalid prefix length"));
    }
    may_change(message.index)?;
    let done = devices::add_address(message.index, (ip, message.prefix));
    match done {
        // `ip addr replace` of what is there changes nothing.
        Err(Errno::EXIST) if !request.has(libc::NLM_F_EXCL) && request.has(libc::NLM_F_REPLACE) => return Ok(()),
        Err(Errno::EXIST) => return Err(Failure::because(Errno::EXIST, "ipv4: Address already assigned")),
        Err(Errno::NODEV) => return Err(Failure::because(Errno::NODEV, "ipv4: Device not found")),
        done => done?,
    }
    let mut news = reply.news();
    write(libc::RTM_NEWADDR, &mut news, (ip, message.prefix), &name_of(message.index), message.index);
    broadcast(group_of(ip), &news.into_bytes());
    Ok(())
}

pub(super) fn delete(request: &Request<'_>, reply: &Reply) -> Answer {
    let (message, ip) = parse(request)?;
    may_change(message.index)?;
    let name = name_of(message.index);
    match devices::remove_address(message.index, (ip, Some(message.prefix))) {
        Ok(address) => {
            let mut news = reply.news();
            write(libc::RTM_DELADDR, &mut news, address, &name, message.index);
            broadcast(group_of(ip), &news.into_bytes());
            Ok(())
        }
        Err(Errno::ADDRNOTAVAIL) => Err(Failure::because(Errno::ADDRNOTAVAIL, "ipv4: Address not found")),
        Err(error) => Err(error.into()),
    }
}

fn group_of(ip: IpAddr) -> u32 {
    if ip.is_ipv4() { group::IPV4_ADDRESS } else { group::IPV6_ADDRESS }
}

fn name_of(index: u32) -> String {
    devices::all().into_iter().find(|device| device.index == index).map(|device| device.name).unwrap_or_default()
}
