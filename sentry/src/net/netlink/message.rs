//! Netlink messages: headers, attributes, and batches of them.

use crate::errno::Errno;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `struct nlmsghdr`.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Header {
    pub(super) len: u32,
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) seq: u32,
    pub(super) pid: u32,
}

const HEADER: usize = size_of::<Header>();

/// A request: header, payload, and the bytes of both.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) header: Header,
    pub(super) payload: &'a [u8],
    pub(super) bytes: &'a [u8],
}

impl Request<'_> {
    pub(super) fn has(&self, flag: i32) -> bool {
        i32::from(self.header.flags) & flag == flag
    }
}

/// The requests in a datagram. What does not parse ends it, as on Linux.
pub(super) fn requests(mut data: &[u8]) -> impl Iterator<Item = Request<'_>> {
    std::iter::from_fn(move || {
        let (header, _) = Header::read_from_prefix(data).ok()?;
        let bytes = data.get(..header.len as usize)?;
        let payload = bytes.get(HEADER..)?;
        data = data.get(bytes.len().next_multiple_of(4)..).unwrap_or_default();
        Some(Request { header, payload, bytes })
    })
}

/// The attributes behind the fixed part of a payload: type and content.
pub(super) fn attributes(payload: &[u8], fixed: usize) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = payload.get(fixed.next_multiple_of(4)..).unwrap_or_default();
    std::iter::from_fn(move || {
        let [len, kind] = <[u16; 2]>::read_from_prefix(rest).ok()?.0;
        let content = rest.get(4..usize::from(len))?;
        rest = rest.get(usize::from(len).next_multiple_of(4)..).unwrap_or_default();
        Some((kind & 0x3fff, content))
    })
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

    /// Adds the end of a dump.
    pub(super) fn done(&mut self) {
        self.message(libc::NLMSG_DONE as u16, &0i32.to_ne_bytes(), |_| {});
    }

    /// Adds an acknowledgement, or an error with the request it is about.
    pub(super) fn error(&mut self, request: &Request<'_>, error: Option<Errno>) {
        let code = error.map_or(0, |error| -error.raw());
        let about = if error.is_some() { request.bytes } else { request.header.as_bytes() };
        let payload = [code.to_ne_bytes().as_slice(), about].concat();
        self.message(libc::NLMSG_ERROR as u16, &payload, |_| {});
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
        reply.done();
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
