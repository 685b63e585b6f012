//! Netlink messages: headers, attributes, and batches of them.

use crate::errno::Errno;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `struct nlmsghdr`.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(in crate::net) struct Header {
    pub(in crate::net) len: u32,
    pub(in crate::net) kind: u16,
    pub(in crate::net) flags: u16,
    pub(in crate::net) seq: u32,
    pub(in crate::net) pid: u32,
}

const HEADER: usize = size_of::<Header>();

/// A request: header, payload, and the bytes of both.
#[derive(Debug, Clone, Copy)]
pub(in crate::net) struct Request<'a> {
    pub(in crate::net) header: Header,
    pub(in crate::net) payload: &'a [u8],
    pub(in crate::net) bytes: &'a [u8],
}

impl Request<'_> {
    pub(in crate::net) fn has(&self, flag: i32) -> bool {
        i32::from(self.header.flags) & flag == flag
    }
}

/// The requests in a datagram. What does not parse ends it, as on Linux.
pub(in crate::net) fn requests(mut data: &[u8]) -> impl Iterator<Item = Request<'_>> {
    std::iter::from_fn(move || {
        let (header, _) = Header::read_from_prefix(data).ok()?;
        let bytes = data.get(..header.len as usize)?;
        let payload = bytes.get(HEADER..)?;
        data = data.get(bytes.len().next_multiple_of(4)..).unwrap_or_default();
        Some(Request { header, payload, bytes })
    })
}

/// The attributes behind the fixed part of a payload: type and content.
pub(in crate::net) fn attributes(payload: &[u8], fixed: usize) -> Attributes<'_> {
    Attributes(payload.get(fixed.next_multiple_of(4)..).unwrap_or_default())
}

/// Those.
#[derive(Debug, Clone)]
pub(in crate::net) struct Attributes<'a>(&'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<(u16, &'a [u8])> {
        let [len, kind] = <[u16; 2]>::read_from_prefix(self.0).ok()?.0;
        let content = self.0.get(4..usize::from(len))?;
        self.0 = self.0.get(usize::from(len).next_multiple_of(4)..).unwrap_or_default();
        Some((kind & 0x3fff, content))
    }
}

/// Whether something that is no attribute follows those.
pub(super) fn has_rest(payload: &[u8], fixed: usize) -> bool {
    let all: usize = attributes(payload, fixed).map(|(_, content)| (4 + content.len()).next_multiple_of(4)).sum();
    fixed.next_multiple_of(4) + all < payload.len()
}

/// Why a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::net) struct Failure {
    pub(super) errno: Errno,
    /// What extended acknowledgements say of it.
    pub(super) reason: Option<&'static str>,
}

impl Failure {
    pub(super) fn because(errno: Errno, reason: &'static str) -> Failure {
        Failure { errno, reason: Some(reason) }
    }
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Failure {
        Failure { errno, reason: None }
    }
}

impl From<Failure> for Errno {
    fn from(failure: Failure) -> Errno {
        failure.errno
    }
}

/// How a socket wants its acknowledgements.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct AckStyle {
    /// `NETLINK_CAP_ACK`: without the request's payload.
    pub(super) capped: bool,
    /// `NETLINK_EXT_ACK`: with the reason.
    pub(super) extended: bool,
}

/// `NLM_F_CAPPED` and `NLM_F_ACK_TLVS`.
const CAPPED: u16 = 0x100;
const ACK_TLVS: u16 = 0x200;
/// `NLMSGERR_ATTR_MSG`.
const ATTR_MSG: u16 = 1;
/// Longest datagram of a dump (`NLMSG_GOODSIZE`): what those expect who read a page at a time.
const PART_MAX: usize = 3776;

/// An attribute by itself.
pub(super) fn attribute_bytes(kind: u16, content: &[u8]) -> Vec<u8> {
    let len = (4 + content.len()) as u16;
    let mut bytes = [[len, kind].as_bytes(), content].concat();
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// What has led to a change: number of a request, and address of who sent it; nothing for what came by itself.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::net) struct Origin {
    pub(super) seq: u32,
    pub(super) pid: u32,
    /// What messages of routes say of how they came (`NLM_F_CREATE` and so on).
    pub(super) flags: u16,
    /// Who sent it wants to be told (`NLM_F_ECHO`).
    pub(super) echo: bool,
}

/// Answers to one request, put together.
#[derive(Debug)]
pub(super) struct Reply {
    seq: u32,
    pid: u32,
    flags: u16,
    bytes: Vec<u8>,
}

impl Reply {
    /// To a request of the socket `pid`.
    pub(super) fn new(request: &Header, pid: u32, multi: bool) -> Reply {
        let flags = if multi { libc::NLM_F_MULTI as u16 } else { 0 };
        Reply { seq: request.seq, pid, flags, bytes: Vec::new() }
    }

    /// Adds a message: `fixed` part, then what `attributes` adds.
    pub(super) fn message(&mut self, kind: u16, fixed: &[u8], attributes: impl FnOnce(&mut Reply)) {
        let start = self.bytes.len();
        let header = Header { len: 0, kind, flags: self.flags, seq: self.seq, pid: self.pid };
        self.bytes.extend_from_slice(header.as_bytes());
        self.bytes.extend_from_slice(fixed);
        self.pad();
        attributes(self);
        let len = (self.bytes.len() - start) as u32;
        if let Some(place) = self.bytes.get_mut(start..start + 4) {
            place.copy_from_slice(&len.to_ne_bytes());
        }
        self.pad();
    }

    /// Adds an attribute.
    pub(super) fn attribute(&mut self, kind: u16, content: &[u8]) {
        self.pad();
        let len = (4 + content.len()) as u16;
        self.bytes.extend_from_slice([len, kind].as_bytes());
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// Marks the messages that follow.
    pub(super) fn mark(&mut self, flag: u16) {
        self.flags |= flag;
    }

    /// Lets `write` add messages that are marked with more.
    pub(super) fn marked(&mut self, flags: u16, write: impl FnOnce(&mut Reply)) {
        let before = self.flags;
        self.flags |= flags;
        write(self);
        self.flags = before;
    }

    /// Adds the end of a dump, and if it has failed, why.
    pub(super) fn done(&mut self, failure: Option<Failure>, style: AckStyle) {
        let code = failure.map_or(0, |failure| -failure.errno.raw());
        let reason = failure.and_then(|failure| failure.reason).filter(|_| style.extended);
        self.flags |= if reason.is_some() { ACK_TLVS } else { 0 };
        self.message(libc::NLMSG_DONE as u16, &code.to_ne_bytes(), |reply| reply.reason(reason));
    }

    fn reason(&mut self, reason: Option<&str>) {
        if let Some(reason) = reason {
            self.attribute(ATTR_MSG, &[reason.as_bytes(), b"\0"].concat());
        }
    }

    /// For a message to those who listen, about what a request changed: with its number and the address of its sender,
    /// both 0 if there was none.
    pub(super) fn news(origin: Origin) -> Reply {
        Reply { seq: origin.seq, pid: origin.pid, flags: origin.flags, bytes: Vec::new() }
    }

    /// Adds an acknowledgement, or an error with the request it is about.
    pub(super) fn error(&mut self, request: &Request<'_>, failure: Option<Failure>, style: AckStyle) {
        let code = failure.map_or(0, |failure| -failure.errno.raw());
        let capped = failure.is_none() || style.capped;
        let about = if capped { request.header.as_bytes() } else { request.bytes };
        let payload = [code.to_ne_bytes().as_slice(), about].concat();
        let reason = failure.and_then(|failure| failure.reason).filter(|_| style.extended);
        let flags = if capped { CAPPED } else { 0 } | if reason.is_some() { ACK_TLVS } else { 0 };
        let before = std::mem::replace(&mut self.flags, flags);
        self.message(libc::NLMSG_ERROR as u16, &payload, |reply| reply.reason(reason));
        self.flags = before;
    }

    /// All messages, in datagrams of a length that readers expect.
    pub(super) fn into_parts(self) -> Vec<Vec<u8>> {
        let mut parts: Vec<Vec<u8>> = Vec::new();
        for message in requests(&self.bytes) {
            let len = message.bytes.len().next_multiple_of(4);
            match parts.last_mut().filter(|part| part.len() + len <= PART_MAX) {
                Some(part) => part.extend_from_slice(message.bytes),
                None => parts.push(message.bytes.to_vec()),
            }
            if let Some(part) = parts.last_mut() {
                part.resize(part.len().next_multiple_of(4), 0);
            }
        }
        parts
    }

    /// All messages.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        let request = Header { seq: 7, ..Header::default() };
        let mut reply = Reply::new(&request, 42, true);
        reply.message(16, &[1; 5], |reply| {
            reply.attribute(3, b"lo\0");
            reply.attribute(4, &65536u32.to_ne_bytes());
        });
        reply.done(None, AckStyle::default());
        let bytes = reply.into_bytes();
        let messages: Vec<_> = requests(&bytes).collect();
        assert_eq!(messages.len(), 2);
        assert_eq!((messages[0].header.kind, messages[0].header.seq, messages[0].header.pid), (16, 7, 42));
        let found: Vec<_> = attributes(messages[0].payload, 5).collect();
        assert_eq!(found, [(3, b"lo\0".as_slice()), (4, &65536u32.to_ne_bytes())]);
        assert_eq!(messages[1].header.kind, 3);
    }

    #[test]
    fn lengths_that_lie_end_the_list() {
        for len in [0u32, 5, 15, 17, 4096, u32::MAX] {
            let header = Header { len, ..Header::default() };
            assert_eq!(requests(header.as_bytes()).count(), 0);
        }
        assert_eq!(attributes(&[3, 0, 0, 0], 0).count(), 0);
        assert_eq!(attributes(&[200, 0, 0, 0, 1], 0).count(), 0);
    }
}
