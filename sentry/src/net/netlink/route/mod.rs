//! `rtnetlink(7)`: interfaces, addresses, routes, rules and neighbours, and changes of those that are the sandbox's own, and of routes and neighbours.

mod address;
mod change;
mod host;
mod link;
mod routes;
mod tables;

use super::message::{Failure, Reply, Request};
use crate::errno::{Errno, SysResult};
use std::net::IpAddr;

/// Multicast groups (`RTNLGRP_…`).
pub(super) mod group {
    /// Interfaces.
    pub(crate) const LINK: u32 = 1;
    /// IPv4 addresses.
    pub(crate) const IPV4_ADDRESS: u32 = 5;
    /// IPv6 addresses.
    pub(crate) const IPV6_ADDRESS: u32 = 9;
}

/// What a request leads to.
pub(super) type Answer = Result<(), Failure>;

/// The lowest type that is not about netlink itself (`NLMSG_MIN_TYPE`, `RTM_BASE`).
const BASE: u16 = 16;
/// The highest type (`RTM_MAX` of Linux 6.18).
const MAX: u16 = 123;
const RTM_GETRULE: u16 = 34;
const RTM_GETNEIGH: u16 = 30;
const RTM_NEWNEIGH: u16 = 28;
const RTM_DELNEIGH: u16 = 29;

/// Answers a request.
pub(super) fn answer(request: &Request<'_>, dump: bool, is_admin: bool, reply: &mut Reply) -> Answer {
    let kind = request.header.kind;
    // Of four types in a row the third asks (`RTM_GET…`), the others change.
    let asks = kind % 4 == 2;
    if (BASE..=MAX).contains(&kind) && request.payload.is_empty() {
        // Not even a family: Linux says nothing to it.
        return Ok(());
    }
    if (BASE..=MAX).contains(&kind) && !asks && !is_admin {
        return Err(Errno::PERM.into());
    }
    if let Some(view) = crate::net::host::get() {
        return host::answer(view, request, dump, reply);
    }
    match kind {
        libc::RTM_GETLINK => link::get(request, dump, reply),
        libc::RTM_NEWLINK => link::change(request),
        libc::RTM_SETLINK => link::change(request),
        libc::RTM_DELLINK => link::delete(request),
        libc::RTM_GETADDR => address::get(request, dump, reply),
        libc::RTM_NEWADDR => address::add(request, reply),
        libc::RTM_DELADDR => address::delete(request, reply),
        libc::RTM_GETROUTE => routes::get(request, dump, reply).map_err(Failure::from),
        libc::RTM_NEWROUTE => change::add_route(request),
        libc::RTM_DELROUTE => change::delete_route(request),
        RTM_NEWNEIGH => change::add_neighbour(request),
        RTM_DELNEIGH => change::delete_neighbour(request),
        RTM_GETRULE if dump => {
            tables::rules(request, reply);
            Ok(())
        }
        RTM_GETNEIGH if dump => {
            tables::neighbours(request, reply);
            Ok(())
        }
        BASE..=MAX if asks && dump => Ok(()),
        _ => Err(Errno::OPNOTSUPP.into()),
    }
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
