//! `rtnetlink(7)` as far as taking over a network namespace needs it: links, addresses, routes, neighbours; and the
//! removal of addresses.

use anyhow::{Context, Result, bail};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, socket,
};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};

/// What the host sends at once in answer to a dump, at most.
const BUFFER: usize = 64 * 1024;
/// `struct nlmsghdr`.
const HEADER: usize = 16;

/// A socket to the kernel's routing tables.
pub(super) struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

/// A message: its fixed part, and attributes by number.
pub(super) struct Message {
    kind: u16,
    pub(super) fixed: Vec<u8>,
    pub(super) attributes: HashMap<u16, Vec<u8>>,
}

impl Netlink {
    pub(super) fn open() -> Result<Netlink> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)
            .context("cannot open a netlink socket")?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0)).context("cannot bind a netlink socket")?;
        Ok(Netlink { socket, sequence: 0 })
    }

    /// All entries of a table. `fixed` is the length of the structure that each begins with.
    pub(super) fn dump(&mut self, request: u16, reply: u16, fixed: usize) -> Result<Vec<Message>> {
        let flags = libc::NLM_F_REQUEST | libc::NLM_F_DUMP;
        self.send(request, flags as u16, &vec![0; fixed])?;
        let mut found = Vec::new();
        while self.receive(fixed, &mut found)? {}
        found.retain(|message| message.kind == reply);
        Ok(found)
    }

    /// A change; an error of the kernel is the result.
    pub(super) fn change(&mut self, request: u16, body: &[u8]) -> Result<()> {
        self.send(request, (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16, body)?;
        self.receive(0, &mut Vec::new()).map(|_| ())
    }

    fn send(&mut self, kind: u16, flags: u16, body: &[u8]) -> Result<()> {
        self.sequence += 1;
        let mut message = Vec::with_capacity(HEADER + body.len());
        message.extend(((HEADER + body.len()) as u32).to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend(flags.to_ne_bytes());
        message.extend(self.sequence.to_ne_bytes());
        message.extend(0u32.to_ne_bytes());
        message.extend(body);
        send(self.socket.as_raw_fd(), &message, MsgFlags::empty()).context("cannot ask the kernel")?;
        Ok(())
    }

    /// Reads what comes at once; whether there is more.
    fn receive(&mut self, fixed: usize, found: &mut Vec<Message>) -> Result<bool> {
        let mut buffer = vec![0; BUFFER];
        let count =
            recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty()).context("the kernel does not answer")?;
        let mut rest = buffer.get(..count).unwrap_or_default();
        let mut more = true;
        while let Some((length, kind)) = u32_at(rest, 0).zip(u16_at(rest, 4)) {
            let length = length as usize;
            let Some(body) = rest.get(HEADER..length) else { break };
            match i32::from(kind) {
                libc::NLMSG_DONE => more = false,
                libc::NLMSG_ERROR => {
                    match u32_at(body, 0).map_or(-libc::EIO, u32::cast_signed) {
                        0 => more = false,
                        errno => bail!(io::Error::from_raw_os_error(-errno)),
                    };
                }
                _ => found.push(Message {
                    kind,
                    fixed: body.get(..fixed).unwrap_or_default().to_vec(),
                    attributes: attributes(body.get(align(fixed)..).unwrap_or_default()),
                }),
            }
            rest = rest.get(align(length)..).unwrap_or_default();
        }
        Ok(more)
    }
}

impl Message {
    pub(super) fn u32(&self, attribute: u16) -> Option<u32> {
        self.attributes.get(&attribute).and_then(|bytes| u32_at(bytes, 0))
    }

    pub(super) fn address(&self, attribute: u16) -> Option<IpAddr> {
        self.attributes.get(&attribute).and_then(|bytes| address(bytes))
    }

    /// The fixed part's number at a byte.
    pub(super) fn fixed_u32(&self, at: usize) -> u32 {
        u32_at(&self.fixed, at).unwrap_or(0)
    }

    pub(super) fn fixed_u8(&self, at: usize) -> u8 {
        self.fixed.get(at).copied().unwrap_or(0)
    }
}

/// An attribute as it goes into a message.
pub(super) fn attribute(number: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(((4 + value.len()) as u16).to_ne_bytes());
    bytes.extend(number.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(align(bytes.len()), 0);
    bytes
}

fn attributes(mut rest: &[u8]) -> HashMap<u16, Vec<u8>> {
    let mut found = HashMap::new();
    while let Some((length, number)) = u16_at(rest, 0).zip(u16_at(rest, 2)) {
        let Some(value) = rest.get(4..length.into()) else { break };
        // The two top bits are flags.
        found.insert(number & 0x3fff, value.to_vec());
        rest = rest.get(align(length.into())..).unwrap_or_default();
    }
    found
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(|b| Ipv4Addr::from(b).into()),
        16 => <[u8; 16]>::try_from(bytes).ok().map(|b| Ipv6Addr::from(b).into()),
        _ => None,
    }
}

const fn align(length: usize) -> usize {
    length.next_multiple_of(4)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_found_again() {
        let bytes = [attribute(3, b"eth0\0"), attribute(4, &1500u32.to_ne_bytes())].concat();
        let found = attributes(&bytes);
        assert_eq!(found[&3], b"eth0\0");
        assert_eq!(u32_at(&found[&4], 0), Some(1500));
    }

    #[test]
    fn the_own_namespace_has_a_loopback() {
        let mut netlink = Netlink::open().expect("netlink");
        let links = netlink.dump(libc::RTM_GETLINK, libc::RTM_NEWLINK, 16).expect("links");
        assert!(links.iter().any(|link| link.attributes.get(&libc::IFLA_IFNAME).is_some_and(|name| name == b"lo\0")));
    }
}
