//! Neighbours are set and deleted.

use super::super::announce;
use super::super::message::{Failure, Request, attributes};
use super::tables::{NDA_DST, NDA_LLADDR, Ndmsg, PERMANENT};
use super::{Answer, RTM_DELNEIGH, RTM_NEWNEIGH, family_of, parse_ip};
use crate::errno::Errno;
use crate::net::namespace::Net;
use crate::net::stack::link::{Link, Mac};
use std::net::IpAddr;
use std::sync::Arc;
use zerocopy::FromBytes;

/// States of neighbours that others may set: all but those that mean that it is being asked for.
const NUD_FAILED: u16 = 0x20;
const NUD_INCOMPLETE: u16 = 1;

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

fn link_of(net: &Net, message: &Ndmsg) -> Result<Arc<Link>, Failure> {
    Ok(net.layout().link(message.index).cloned().ok_or(Errno::NODEV)?)
}

/// `RTM_NEWNEIGH`.
pub(super) fn add(net: &Net, request: &Request<'_>) -> Answer {
    let (message, ip, mac) = neighbour(request)?;
    let link = link_of(net, &message)?;
    let mut neighbours = link.device.neighbours.lock();
    match neighbours.knows(ip) {
        true if request.has(libc::NLM_F_EXCL) => return Err(Errno::EXIST.into()),
        false if !request.has(libc::NLM_F_CREATE) => return Err(Errno::NOENT.into()),
        _ => {}
    }
    let mac = mac.ok_or(Failure::because(Errno::INVAL, "No link layer address given"))?;
    if message.state & (NUD_FAILED | NUD_INCOMPLETE) != 0 {
        return Err(Errno::OPNOTSUPP.into());
    }
    let permanent = message.state & PERMANENT != 0;
    let waiting = neighbours.set(ip, mac, permanent)?;
    drop(neighbours);
    net.release(&link, ip, mac, waiting);
    announce::neighbour(net, RTM_NEWNEIGH, link.index, (ip, mac, permanent));
    Ok(())
}

/// `RTM_DELNEIGH`.
pub(super) fn delete(net: &Net, request: &Request<'_>) -> Answer {
    let (message, ip, _) = neighbour(request)?;
    let link = link_of(net, &message)?;
    let mut neighbours = link.device.neighbours.lock();
    let known = neighbours.list().into_iter().find(|(known, ..)| *known == ip);
    if !neighbours.forget(ip) {
        return Err(Errno::NOENT.into());
    }
    drop(neighbours);
    if let Some(entry) = known {
        announce::neighbour(net, RTM_DELNEIGH, link.index, entry);
    }
    Ok(())
}
