//! What requests that look at something may hold, for sockets that want it checked (`NETLINK_GET_STRICT_CHK`).

use super::super::message::{Failure, Request, attributes, has_rest};
use super::{Answer, RTM_GETNEIGH, RTM_GETNSID, RTM_GETRULE};
use crate::errno::Errno;

/// Marks dumps that do not hold all (`NLM_F_DUMP_FILTERED`).
pub(super) const FILTERED: u16 = 0x20;

/// How a request has to be.
struct Shape {
    /// Length of the fixed part.
    fixed: usize,
    /// Bytes of it that say nothing: from, to.
    unused: &'static [(usize, usize)],
    /// Attributes that it may have.
    attributes: &'static [u16],
}

const IFLA_EXT_MASK: u16 = 29;
const IFLA_ALT_IFNAME: u16 = 53;
const IFLA_MASTER: u16 = 10;
const IFLA_TARGET_NETNSID: u16 = 46;
const IFA_TARGET_NETNSID: u16 = 10;
const NDA_DST: u16 = 1;
const NDA_IFINDEX: u16 = 8;
const NDA_MASTER: u16 = 9;
const RTA_MARK: u16 = 16;
const RTA_UID: u16 = 25;
const RTA_IP_PROTO: u16 = 27;
const RTA_SPORT: u16 = 28;
const RTA_DPORT: u16 = 29;

const LINKS: Shape = Shape {
    fixed: 16,
    unused: &[(1, 16)],
    attributes: &[IFLA_TARGET_NETNSID, IFLA_EXT_MASK, IFLA_MASTER, libc::IFLA_LINKINFO],
};
const LINK: Shape = Shape {
    fixed: 16,
    unused: &[(1, 4), (8, 16)],
    attributes: &[libc::IFLA_IFNAME, IFLA_ALT_IFNAME, IFLA_EXT_MASK, IFLA_TARGET_NETNSID],
};
const ADDRESSES: Shape = Shape { fixed: 8, unused: &[(1, 4)], attributes: &[IFA_TARGET_NETNSID] };
const ADDRESS: Shape =
    Shape { fixed: 8, unused: &[(1, 4)], attributes: &[IFA_TARGET_NETNSID, libc::IFA_ADDRESS, libc::IFA_LOCAL] };
const ROUTES: Shape = Shape { fixed: 12, unused: &[(1, 4), (6, 7)], attributes: &[libc::RTA_TABLE, libc::RTA_OIF] };
const WAY: Shape = Shape {
    fixed: 12,
    unused: &[(4, 8)],
    attributes: &[
        libc::RTA_IIF,
        libc::RTA_OIF,
        libc::RTA_SRC,
        libc::RTA_DST,
        RTA_MARK,
        RTA_UID,
        RTA_IP_PROTO,
        RTA_SPORT,
        RTA_DPORT,
    ],
};
const NEIGHBOURS: Shape = Shape { fixed: 12, unused: &[(1, 10), (11, 12)], attributes: &[NDA_IFINDEX, NDA_MASTER] };
const NEIGHBOUR: Shape = Shape { fixed: 12, unused: &[(1, 4), (8, 10), (11, 12)], attributes: &[NDA_DST] };
const RULES: Shape = Shape { fixed: 12, unused: &[(1, 12)], attributes: &[] };
/// `NETNSA_NSID`, `_PID`, `_FD`, `_TARGET_NSID`.
const NAMESPACE: Shape = Shape { fixed: 1, unused: &[], attributes: &[1, 2, 3, 4] };
const NAMESPACES: Shape = Shape { fixed: 1, unused: &[], attributes: &[4] };

/// `EINVAL` if a request says what means nothing.
pub(super) fn check(request: &Request<'_>, dump: bool) -> Answer {
    let shape = match (request.header.kind, dump) {
        (libc::RTM_GETLINK, true) => LINKS,
        (libc::RTM_GETLINK, false) => LINK,
        (libc::RTM_GETADDR, true) => ADDRESSES,
        (libc::RTM_GETADDR, false) => ADDRESS,
        (libc::RTM_GETROUTE, true) => ROUTES,
        (libc::RTM_GETROUTE, false) => WAY,
        (RTM_GETNEIGH, true) => NEIGHBOURS,
        (RTM_GETNEIGH, false) => NEIGHBOUR,
        (RTM_GETRULE, true) => RULES,
        (RTM_GETNSID, false) => NAMESPACE,
        (RTM_GETNSID, true) => NAMESPACES,
        _ => return Ok(()),
    };
    let invalid = |reason| Err(Failure::because(Errno::INVAL, reason));
    if request.payload.len() < shape.fixed {
        return invalid("Invalid header length");
    }
    let is_set =
        |(from, to): &(usize, usize)| request.payload.get(*from..*to).is_some_and(|part| part.iter().any(|b| *b != 0));
    if shape.unused.iter().any(is_set) {
        return invalid("Invalid values in header for request");
    }
    if has_rest(request.payload, shape.fixed) {
        return invalid("Invalid data after the request");
    }
    let is_short = |(kind, content): (u16, &[u8])| {
        let v6 = request.payload.first().is_some_and(|family| i32::from(*family) == libc::AF_INET6);
        let is_ip = request.header.kind == libc::RTM_GETADDR && matches!(kind, libc::IFA_ADDRESS | libc::IFA_LOCAL);
        is_ip && v6 && content.len() < 16
    };
    if attributes(request.payload, shape.fixed).any(is_short) {
        return Err(Errno::RANGE.into());
    }
    if attributes(request.payload, shape.fixed).any(|(kind, _)| !shape.attributes.contains(&kind)) {
        return invalid("Unsupported attribute in request");
    }
    Ok(())
}
