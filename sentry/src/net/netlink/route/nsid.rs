//! The numbers that namespaces have for each other (`RTM_NEWNSID`, `RTM_GETNSID`), and how requests name a namespace.

use super::super::message::{Failure, Reply, Request, attributes};
use super::{Answer, Asker, number};
use crate::errno::{Errno, SysResult};
use crate::fs::nsfs;
use crate::kernel::Task;
use crate::kernel::namespaces::Namespace;
use crate::net::namespace::Net;
use std::sync::Arc;

/// `NETNSA_…`.
const NSID: u16 = 1;
const PID: u16 = 2;
const FD: u16 = 3;
const TARGET_NSID: u16 = 4;
/// `struct rtgenmsg`, padded.
const FIXED: usize = 4;
const RTM_NEWNSID: u16 = 88;

/// The namespace behind a descriptor (`get_net_ns_by_fd`).
pub(super) fn by_fd(t: Option<&Task>, fd: u32) -> SysResult<Arc<Net>> {
    let file = t.ok_or(Errno::INVAL)?.file(fd.cast_signed())?;
    match nsfs::opened(&file) {
        Some(Namespace::Net(net)) => Ok(net.clone()),
        _ => Err(Errno::INVAL),
    }
}

/// The namespace of a process (`get_net_ns_by_pid`).
pub(super) fn by_pid(t: Option<&Task>, pid: u32) -> SysResult<Arc<Net>> {
    let t = t.ok_or(Errno::SRCH)?;
    let task = t.kernel.task(pid.cast_signed()).ok_or(Errno::SRCH)?;
    Ok(task.net())
}

struct Wish {
    target: Option<Arc<Net>>,
    number: Option<i32>,
}

fn parse(asker: &Asker<'_>, request: &Request<'_>) -> Result<Wish, Failure> {
    let mut wish = Wish { target: None, number: None };
    for (kind, content) in attributes(request.payload, FIXED) {
        match kind {
            NSID => wish.number = Some(number(content)?.cast_signed()),
            PID => wish.target = Some(by_pid(asker.task, number(content)?)?),
            FD => wish.target = Some(by_fd(asker.task, number(content)?)?),
            TARGET_NSID => return Err(Errno::OPNOTSUPP.into()),
            _ => {}
        }
    }
    Ok(wish)
}

/// `RTM_NEWNSID`.
pub(super) fn add(asker: &Asker<'_>, request: &Request<'_>) -> Answer {
    let wish = parse(asker, request)?;
    let number = wish.number.ok_or(Failure::because(Errno::INVAL, "nsid is missing"))?;
    let target = wish.target.ok_or(Failure::because(Errno::INVAL, "Peer netns reference is missing"))?;
    if number == -1 {
        asker.net.number_of(&target, true).ok_or(Errno::NOSPC)?;
        return Ok(());
    }
    asker.net.give_number(&target, number).map_err(|error| match error {
        Errno::EXIST => Failure::because(Errno::EXIST, "The specified nsid is already used"),
        error => error.into(),
    })
}

/// `RTM_GETNSID`: the number of a namespace, -1 if it has none; or all.
pub(super) fn get(asker: &Asker<'_>, request: &Request<'_>, dump: bool, reply: &mut Reply) -> Answer {
    if dump {
        for number in asker.net.numbers() {
            reply.message(RTM_NEWNSID, &[0; FIXED], |reply| reply.attribute(NSID, &number.to_ne_bytes()));
        }
        return Ok(());
    }
    let wish = parse(asker, request)?;
    let number = match (wish.target, wish.number) {
        (Some(target), _) => asker.net.number_of(&target, false).unwrap_or(-1),
        (None, Some(number)) if asker.net.numbers().contains(&number) => number,
        (None, Some(_)) => -1,
        _ => return Err(Failure::because(Errno::INVAL, "Peer netns reference is missing")),
    };
    reply.message(RTM_NEWNSID, &[0; FIXED], |reply| reply.attribute(NSID, &number.to_ne_bytes()));
    Ok(())
}
