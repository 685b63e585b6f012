//! With the host's network: questions are put to the host anew, and its answers passed on. Nothing can be changed.

use super::super::message::{Reply, Request, attribute_bytes, attributes};
use super::{Answer, RTM_GETNEIGH, RTM_GETRULE};
use crate::errno::{Errno, SysResult};
use crate::net::host::view::{LINK, Message, View};

/// `struct rtmsg`, `struct ifaddrmsg`, `struct ndmsg`, `struct fib_rule_hdr`.
const ROUTE: usize = 12;
const ADDRESS: usize = 8;
/// Attributes of a question about a route: addresses of 4 or 16 bytes, numbers of 4.
const ROUTE_ATTRIBUTES: [(u16, usize); 4] =
    [(libc::RTA_DST, 16), (libc::RTA_SRC, 16), (libc::RTA_OIF, 4), (libc::RTA_IIF, 4)];

/// Answers a request.
pub(super) fn answer(view: &View, request: &Request<'_>, dump: bool, reply: &mut Reply) -> Answer {
    let kind = request.header.kind;
    let family = request.payload.first().copied().unwrap_or(0);
    let fixed = match kind {
        libc::RTM_GETLINK => LINK,
        libc::RTM_GETADDR => ADDRESS,
        libc::RTM_GETROUTE | RTM_GETNEIGH | RTM_GETRULE => ROUTE,
        _ if dump => return Ok(()),
        _ => return Err(Errno::OPNOTSUPP.into()),
    };
    let found = match kind {
        _ if dump => {
            let mut about = vec![0; fixed];
            about.iter_mut().take(1).for_each(|place| *place = family);
            view.dump(kind, &about)?
        }
        libc::RTM_GETLINK => vec![link(view, request)?],
        libc::RTM_GETROUTE => vec![view.one(kind, &route_question(request)?)?],
        _ => return Err(Errno::OPNOTSUPP.into()),
    };
    for Message { kind, payload } in found {
        reply.message(kind, &payload, |_| {});
    }
    Ok(())
}

/// The interface that a request names by its index or name.
fn link(view: &View, request: &Request<'_>) -> SysResult<Message> {
    let index = request.payload.get(4..8).and_then(|index| index.first_chunk()).map_or(0, |b| u32::from_ne_bytes(*b));
    let name = attributes(request.payload, LINK).find(|(kind, _)| *kind == libc::IFLA_IFNAME);
    let name = name.map(|(_, name)| name.strip_suffix(&[0]).unwrap_or(name));
    if index == 0 && name.is_none() {
        return Err(Errno::INVAL);
    }
    let is_asked = |message: &Message| match index {
        0 => message.attribute(LINK, libc::IFLA_IFNAME).map(|own| own.strip_suffix(&[0]).unwrap_or(own)) == name,
        index => message.number(4) == index,
    };
    view.dump(libc::RTM_GETLINK, &[0; LINK])?.into_iter().find(is_asked).ok_or(Errno::NODEV)
}

/// The same question about a way, of known parts only.
fn route_question(request: &Request<'_>) -> SysResult<Vec<u8>> {
    let [family, to_len, from_len, ..] = *request.payload.first_chunk::<ROUTE>().ok_or(Errno::INVAL)?;
    let mut question = [family, to_len, from_len].to_vec();
    question.resize(ROUTE, 0);
    for (kind, content) in attributes(request.payload, ROUTE) {
        if ROUTE_ATTRIBUTES.iter().any(|(known, most)| *known == kind && content.len() <= *most) {
            question.extend(attribute_bytes(kind, content));
        }
    }
    Ok(question)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::netlink::message::Header;

    #[test]
    fn questions_have_known_parts_only() {
        let mut payload = vec![2, 32, 0, 7, 7, 7, 7, 7, 7, 7, 7, 7];
        payload.extend(attribute_bytes(libc::RTA_DST, &[127, 0, 0, 1]));
        payload.extend(attribute_bytes(999, &[1; 8]));
        payload.extend(attribute_bytes(libc::RTA_OIF, &[1; 12]));
        let request = Request { header: Header::default(), payload: &payload, bytes: &payload };
        let mut expected = vec![2, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        expected.extend(attribute_bytes(libc::RTA_DST, &[127, 0, 0, 1]));
        assert_eq!(route_question(&request), Ok(expected));
        let short = Request { header: Header::default(), payload: &[2], bytes: &[] };
        assert_eq!(route_question(&short), Err(Errno::INVAL));
    }
}
