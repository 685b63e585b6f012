//! The host's interfaces, addresses and routes, asked over a netlink socket that was opened before the sentry confined
//! itself. Nothing that a guest writes is sent over it: requests are put together here, and none of them changes
//! anything.

use crate::errno::{Errno, SysResult};
use crate::net::netlink::message::{Header, Request, attributes, requests};
use crate::sync::Mutex;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use zerocopy::IntoBytes;

/// Longest datagram of a dump.
const DATAGRAM_MAX: usize = 64 << 10;
const HEADER: usize = size_of::<Header>();

/// A message of the host's: its type, and what follows the header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// `RTM_…`.
    pub kind: u16,
    /// The fixed part and the attributes.
    pub payload: Vec<u8>,
}

impl Message {
    /// The content of an attribute behind a fixed part of `fixed` bytes.
    pub fn attribute(&self, fixed: usize, wanted: u16) -> Option<&[u8]> {
        attributes(&self.payload, fixed).find(|(kind, _)| *kind == wanted).map(|(_, content)| content)
    }

    /// The number at a place of the fixed part.
    pub fn number(&self, at: usize) -> u32 {
        self.payload.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u32::from_ne_bytes(*bytes))
    }

    fn number_of(&self, fixed: usize, wanted: u16) -> Option<u32> {
        self.attribute(fixed, wanted)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
    }

    fn address(&self, fixed: usize, wanted: u16) -> Option<IpAddr> {
        let bytes = self.attribute(fixed, wanted)?;
        let v4 = <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from);
        v4.or_else(|| <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from))
    }
}

/// `struct ifinfomsg`, `struct ifaddrmsg`.
pub const LINK: usize = 16;
const ADDRESS: usize = 8;

/// An interface of the host.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "netdevice(7) documents them")]
pub struct Interface {
    pub index: u32,
    pub name: String,
    /// `ARPHRD_…`.
    pub hardware: u16,
    /// `IFF_…`.
    pub flags: u32,
    pub mtu: u32,
    pub txqlen: u32,
    pub mac: Vec<u8>,
    /// Bytes and packets, received and sent; packets not sent.
    pub passed: [u64; 5],
    pub addresses: Vec<Address>,
}

/// An address of an interface.
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "netdevice(7) documents them")]
pub struct Address {
    pub own: IpAddr,
    pub prefix: u8,
    /// The other end of a link from point to point; else as its own.
    pub peer: IpAddr,
    pub broadcast: Option<IpAddr>,
}

/// The socket.
#[derive(Debug)]
pub struct View {
    /// With the number of the last request.
    socket: Mutex<(OwnedFd, u32)>,
}

impl View {
    /// Of the network namespace of this thread.
    pub(super) fn open() -> std::io::Result<View> {
        // Protocol 0 is NETLINK_ROUTE.
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        Ok(View { socket: Mutex::new((socket, 0)) })
    }

    /// All that a dump of this type lists; `fixed` is what is asked about.
    pub fn dump(&self, kind: u16, fixed: &[u8]) -> SysResult<Vec<Message>> {
        self.ask(kind, libc::NLM_F_DUMP as u16, fixed)
    }

    /// The answer to one question.
    pub fn one(&self, kind: u16, body: &[u8]) -> SysResult<Message> {
        self.ask(kind, 0, body)?.into_iter().next().ok_or(Errno::IO)
    }

    fn ask(&self, kind: u16, flags: u16, body: &[u8]) -> SysResult<Vec<Message>> {
        let mut guard = self.socket.lock();
        let (socket, last) = &mut *guard;
        *last = last.wrapping_add(1);
        let seq = *last;
        let len = (HEADER + body.len()) as u32;
        let header = Header { len, kind, flags: flags | libc::NLM_F_REQUEST as u16, seq, pid: 0 };
        send(&*socket, &[header.as_bytes(), body].concat(), SendFlags::empty())?;
        let (mut all, mut buffer) = (Vec::new(), vec![0; DATAGRAM_MAX]);
        loop {
            // The host has the answer ready before the request is taken: nothing waits here.
            let (_, len) = recv(&*socket, buffer.as_mut_slice(), RecvFlags::empty())?;
            if take(buffer.get(..len).unwrap_or_default(), seq, &mut all)? {
                return Ok(all);
            }
        }
    }

    /// All interfaces with their addresses.
    pub fn interfaces(&self) -> SysResult<Vec<Interface>> {
        let mut all: Vec<Interface> = self.dump(libc::RTM_GETLINK, &[0; LINK])?.iter().map(interface).collect();
        for message in self.dump(libc::RTM_GETADDR, &[0; ADDRESS])? {
            let index = message.number(4);
            let of = |kind| message.address(ADDRESS, kind);
            let (Some(interface), Some(own)) =
                (all.iter_mut().find(|i| i.index == index), of(libc::IFA_LOCAL).or(of(libc::IFA_ADDRESS)))
            else {
                continue;
            };
            let prefix = message.payload.get(1).copied().unwrap_or(0);
            let peer = of(libc::IFA_ADDRESS).unwrap_or(own);
            interface.addresses.push(Address { own, prefix, peer, broadcast: of(libc::IFA_BROADCAST) });
        }
        Ok(all)
    }
}

/// The messages of a datagram that answer the request `seq`; whether there will be no more.
fn take(datagram: &[u8], seq: u32, all: &mut Vec<Message>) -> SysResult<bool> {
    let mut is_last = false;
    for Request { header, payload, .. } in requests(datagram).filter(|message| message.header.seq == seq) {
        match i32::from(header.kind) {
            libc::NLMSG_DONE => return Ok(true),
            libc::NLMSG_ERROR => {
                let code = payload.first_chunk().map_or(-libc::EIO, |bytes| i32::from_ne_bytes(*bytes));
                return if code == 0 { Ok(true) } else { Err(Errno::from_raw(-code)) };
            }
            _ => all.push(Message { kind: header.kind, payload: payload.to_vec() }),
        }
        is_last |= i32::from(header.flags) & libc::NLM_F_MULTI == 0;
    }
    Ok(is_last)
}

fn interface(message: &Message) -> Interface {
    /// `IFLA_STATS64`: numbers of 64 bits.
    const STATS64: u16 = 23;
    let stats = message.attribute(LINK, STATS64).unwrap_or_default();
    let stat =
        |at: usize| stats.get(at * 8..).and_then(|rest| rest.first_chunk()).map_or(0, |b| u64::from_ne_bytes(*b));
    let name = message.attribute(LINK, libc::IFLA_IFNAME).unwrap_or_default();
    Interface {
        index: message.number(4),
        name: String::from_utf8_lossy(name).trim_end_matches('\0').to_owned(),
        hardware: (message.number(0) >> 16) as u16,
        flags: message.number(8),
        mtu: message.number_of(LINK, libc::IFLA_MTU).unwrap_or(0),
        txqlen: message.number_of(LINK, libc::IFLA_TXQLEN).unwrap_or(0),
        mac: message.attribute(LINK, libc::IFLA_ADDRESS).unwrap_or_default().to_vec(),
        // Packets come before bytes there, what is received before what is sent.
        passed: [stat(2), stat(0), stat(3), stat(1), stat(7)],
        addresses: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_is_seen() {
        let view = View::open().unwrap();
        let all = view.interfaces().unwrap();
        let lo = all.iter().find(|interface| interface.name == "lo").unwrap();
        assert_eq!((lo.index, lo.hardware, lo.mac.len()), (1, 772, 6));
        assert_eq!(view.one(libc::RTM_GETLINK, &[0; LINK]), Err(Errno::INVAL));
    }

    #[test]
    fn datagrams_that_lie_are_left() {
        let mut all = Vec::new();
        let header = Header { len: 999, kind: 16, flags: 2, seq: 1, pid: 0 };
        assert_eq!(take(header.as_bytes(), 1, &mut all), Ok(false));
        assert_eq!(take(&[0; 5], 1, &mut all), Ok(false));
        let message = Message { kind: 16, payload: vec![0, 0, 0, 0, 200, 0, 3, 0, 1] };
        assert_eq!(message.attribute(4, 3), None);
    }
}
