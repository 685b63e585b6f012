//! Neighbours are set and deleted.

use super::super::announce;
use super::super::message::{Failure, Reply, Request, attributes};
use super::tables::{NDA_DST, NDA_LLADDR, Ndmsg, Neighbour, PERMANENT, write_neighbour};
use super::{Answer, Asker, RTM_DELNEIGH, RTM_NEWNEIGH, ip};
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
    let invalid = Failure::because(Errno::INVAL, "Invalid network address");
    let (mut to, mut mac) = (None, None);
    for (kind, content) in attributes(request.payload, size_of::<Ndmsg>()) {
        match kind {
            NDA_DST => to = Some(ip(message.family, content).map_err(|_| invalid)?),
            NDA_LLADDR => mac = Some(*content.first_chunk::<6>().ok_or(Errno::INVAL)?),
            _ => {}
        }
    }
    let to = to.ok_or(Failure::because(Errno::INVAL, "Network address not specified"))?;
    Ok((message, to, mac))
}

fn link_of(net: &Net, message: &Ndmsg) -> Result<Arc<Link>, Failure> {
    if message.index == 0 {
        return Err(Failure::because(Errno::INVAL, "No device specified"));
    }
    Ok(net.layout().link(message.index).cloned().ok_or(Errno::NODEV)?)
}

/// `RTM_NEWNEIGH`.
pub(super) fn add(asker: &Asker<'_>, request: &Request<'_>) -> Answer {
    let net = asker.net;
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
    announce::neighbour(net, RTM_NEWNEIGH, &Neighbour::new(link.index, (ip, mac, permanent)), asker.origin);
    Ok(())
}

/// `ip neigh get`.
pub(super) fn one(net: &Net, request: &Request<'_>, reply: &mut Reply) -> Answer {
    let (message, ip, _) = neighbour(request)?;
    let link = link_of(net, &message)?;
    let known = link.device.neighbours.lock().list().into_iter().find(|(known, ..)| *known == ip);
    let entry = known.ok_or(Failure::because(Errno::NOENT, "Neighbour entry not found"))?;
    write_neighbour(RTM_NEWNEIGH, reply, &Neighbour::new(link.index, entry));
    Ok(())
}

/// `RTM_DELNEIGH`.
pub(super) fn delete(asker: &Asker<'_>, request: &Request<'_>) -> Answer {
    let net = asker.net;
    let (message, ip, _) = neighbour(request)?;
    let link = link_of(net, &message)?;
    let mut neighbours = link.device.neighbours.lock();
    let known = neighbours.list().into_iter().find(|(known, ..)| *known == ip);
    if !neighbours.forget(ip) {
        return Err(Errno::NOENT.into());
    }
    drop(neighbours);
    // It fails first, and then goes.
    if let Some(entry) = known {
        let failed = Neighbour { mac: None, state: NUD_FAILED, ..Neighbour::new(link.index, entry) };
        announce::neighbour(net, RTM_NEWNEIGH, &failed, asker.origin);
        announce::neighbour(net, RTM_DELNEIGH, &failed, asker.origin);
    }
    Ok(())
}
