//! `rtnetlink(7)`: interfaces, addresses, routes, rules and neighbours of a namespace, and changes of them.
//!
//! What a change leads to is told by [`announce`](super::announce) when it is made.

pub(super) mod address;
mod host;
pub(super) mod link;
mod neighbours;
mod nsid;
pub(super) mod routes;
mod rules;
pub(super) mod set_link;
mod strict;
pub(super) mod tables;

use super::message::{Failure, Origin, Reply, Request};
use crate::errno::{Errno, SysResult};
use crate::kernel::Task;
use crate::net::layout::Layout;
use crate::net::namespace::Net;
use std::net::IpAddr;
use std::sync::Arc;

/// Multicast groups (`RTNLGRP_…`).
pub(super) mod group {
    /// Interfaces.
    pub(crate) const LINK: u32 = 1;
    /// Neighbours.
    pub(crate) const NEIGHBOUR: u32 = 3;
    /// IPv4 addresses.
    pub(crate) const IPV4_ADDRESS: u32 = 5;
    /// IPv4 routes.
    pub(crate) const IPV4_ROUTE: u32 = 7;
    /// IPv4 rules.
    pub(crate) const IPV4_RULE: u32 = 8;
    /// IPv6 addresses.
    pub(crate) const IPV6_ADDRESS: u32 = 9;
    /// IPv6 routes.
    pub(crate) const IPV6_ROUTE: u32 = 11;
    /// IPv6 rules.
    pub(crate) const IPV6_RULE: u32 = 19;
}

/// What a request leads to.
pub(super) type Answer = Result<(), Failure>;

/// Who asks.
pub(super) struct Asker<'a> {
    /// The namespace of the socket.
    pub(super) net: &'a Arc<Net>,
    /// None if it was written to as a file.
    pub(super) task: Option<&'a Task>,
    /// It may change the namespace.
    pub(super) admin: bool,
    /// The request, as those who listen are told of it.
    pub(super) origin: Origin,
    /// Requests that look at something have to be without mistakes.
    pub(super) strict: bool,
}

impl Asker<'_> {
    /// Changes the namespace.
    fn change<T>(&self, act: impl FnOnce(&mut Layout) -> SysResult<T>) -> SysResult<T> {
        self.net.change_for(self.origin, act)
    }
}

/// The lowest type that is not about netlink itself (`NLMSG_MIN_TYPE`, `RTM_BASE`).
const BASE: u16 = 16;
/// The highest type (`RTM_MAX` of Linux 6.18).
const MAX: u16 = 123;
const RTM_NEWNEIGH: u16 = 28;
const RTM_DELNEIGH: u16 = 29;
const RTM_GETNEIGH: u16 = 30;
const RTM_GETRULE: u16 = 34;
const RTM_NEWNSID: u16 = 88;
const RTM_GETNSID: u16 = 90;

/// Answers a request.
pub(super) fn answer(request: &Request<'_>, dump: bool, asker: &Asker<'_>, reply: &mut Reply) -> Answer {
    let (kind, net) = (request.header.kind, asker.net);
    // Of four types in a row the third asks (`RTM_GET…`), the others change.
    let asks = kind % 4 == 2;
    if (BASE..=MAX).contains(&kind) && request.payload.is_empty() {
        // Not even a family: Linux says nothing to it.
        return Ok(());
    }
    if (BASE..=MAX).contains(&kind) && !asks && !asker.admin {
        return Err(Errno::PERM.into());
    }
    /// `RTM_DEL…` for many at once, which nothing here can.
    const NLM_F_BULK: i32 = 0x200;
    if kind % 4 == 1 && request.has(NLM_F_BULK) {
        return Err(Failure::because(Errno::OPNOTSUPP, "Bulk delete is not supported"));
    }
    let family = i32::from(request.payload.first().copied().unwrap_or(0));
    let has_families = matches!(kind, libc::RTM_NEWADDR..=libc::RTM_GETADDR | libc::RTM_NEWROUTE..=libc::RTM_GETROUTE);
    if has_families && !dump && !matches!(family, libc::AF_INET | libc::AF_INET6) {
        return Err(Errno::OPNOTSUPP.into());
    }
    if asker.strict {
        strict::check(request, dump)?;
    }
    if let Some(view) = crate::net::host::of(asker.net) {
        return host::answer(view, request, dump, reply);
    }
    match kind {
        libc::RTM_GETLINK => link::get(net, request, dump, reply),
        libc::RTM_NEWLINK | libc::RTM_SETLINK => set_link::change(asker, request),
        libc::RTM_DELLINK => set_link::delete(net, request),
        libc::RTM_GETADDR => address::get(asker, request, dump, reply),
        libc::RTM_NEWADDR => address::add(asker, request),
        libc::RTM_DELADDR => address::delete(asker, request),
        libc::RTM_GETROUTE if dump => routes::list(asker, request, reply),
        libc::RTM_GETROUTE => routes::get(asker, request, reply),
        libc::RTM_NEWROUTE => routes::add(asker, request),
        libc::RTM_DELROUTE => routes::delete(asker, request),
        RTM_NEWNEIGH => neighbours::add(asker, request),
        RTM_DELNEIGH => neighbours::delete(asker, request),
        RTM_GETRULE if dump => tables::rules(net, request, reply),
        tables::RTM_NEWRULE => rules::add(asker, request),
        tables::RTM_DELRULE => rules::delete(asker, request),
        RTM_GETNEIGH if dump => tables::neighbours(net, request, reply),
        RTM_GETNEIGH => neighbours::one(net, request, reply),
        RTM_NEWNSID => nsid::add(asker, request),
        RTM_GETNSID => nsid::get(asker, request, dump, reply),
        BASE..=MAX if asks && dump => Ok(()),
        _ => Err(Errno::OPNOTSUPP.into()),
    }
}

/// A number that an attribute holds: `ERANGE` if it is too short.
fn number(content: &[u8]) -> SysResult<u32> {
    Ok(u32::from_ne_bytes(*content.first_chunk().ok_or(Errno::RANGE)?))
}

/// A text that an attribute holds, up to its NUL.
fn text(content: &[u8]) -> SysResult<&str> {
    let text = content.split(|byte| *byte == 0).next().unwrap_or_default();
    std::str::from_utf8(text).map_err(|_| Errno::INVAL)
}

fn family_of(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { libc::AF_INET as u8 } else { libc::AF_INET6 as u8 }
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

/// The address of a family that an attribute begins with: `ERANGE` if it is too short.
fn ip(family: u8, content: &[u8]) -> SysResult<IpAddr> {
    match i32::from(family) {
        libc::AF_INET => content.first_chunk::<4>().map(|ip| IpAddr::from(*ip)).ok_or(Errno::RANGE),
        libc::AF_INET6 => content.first_chunk::<16>().map(|ip| IpAddr::from(*ip)).ok_or(Errno::RANGE),
        _ => Err(Errno::OPNOTSUPP),
    }
}

/// An address of 4 or 16 bytes.
fn parse_ip(bytes: &[u8]) -> SysResult<IpAddr> {
    match (<[u8; 4]>::try_from(bytes), <[u8; 16]>::try_from(bytes)) {
        (Ok(ip), _) => Ok(IpAddr::from(ip)),
        (_, Ok(ip)) => Ok(IpAddr::from(ip)),
        _ => Err(Errno::INVAL),
    }
}

#[cfg(test)]
mod tests;
