//! `sock_diag(7)`: the sockets there are, as `ss` asks for them.

use super::message::{Reply, Request};
use crate::errno::{Errno, SysResult};
use crate::net::diag::{Diag, InetDiag, UnixDiag, state};
use crate::net::namespace::Net;
use crate::net::registry;
use crate::net::socket::Socket;
use std::net::{IpAddr, SocketAddr};
use zerocopy::big_endian::U16 as Be16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `SOCK_DIAG_BY_FAMILY`: request and answer.
const BY_FAMILY: u16 = 20;
/// `INET_DIAG_…` attributes, and the bits of `ext` that ask for them.
const MEMINFO: u16 = 1;
const INFO: u16 = 2;
const CONG: u16 = 4;
const SKMEMINFO: u16 = 7;
const SHUTDOWN: u16 = 8;
const SKV6ONLY: u16 = 11;
/// `UNIX_DIAG_…` attributes, and the bits of `show` that ask for them.
const UNIX_NAME: u16 = 0;
const UNIX_PEER: u16 = 2;
const UNIX_ICONS: u16 = 3;
const UNIX_RQLEN: u16 = 4;
const UNIX_MEMINFO: u16 = 5;
const UNIX_SHUTDOWN: u16 = 6;
const UNIX_UID: u16 = 7;
/// `INET_DIAG_NOCOOKIE`.
const NO_COOKIE: u32 = u32::MAX;

/// `struct inet_diag_sockid`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct SockId {
    sport: Be16,
    dport: Be16,
    src: [u8; 16],
    dst: [u8; 16],
    interface: u32,
    cookie: [u32; 2],
}

/// `struct inet_diag_req_v2`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct InetRequest {
    family: u8,
    protocol: u8,
    ext: u8,
    pad: u8,
    states: u32,
    id: SockId,
}

/// `struct inet_diag_msg`.
#[derive(Debug, Clone, Copy, IntoBytes, Immutable)]
#[repr(C)]
struct InetMessage {
    family: u8,
    state: u8,
    timer: u8,
    retrans: u8,
    id: SockId,
    expires: u32,
    rqueue: u32,
    wqueue: u32,
    uid: u32,
    inode: u32,
}

/// `struct unix_diag_req`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct UnixRequest {
    family: u8,
    protocol: u8,
    pad: u16,
    states: u32,
    ino: u32,
    show: u32,
    cookie: [u32; 2],
}

/// Answers a request.
pub(super) fn answer(net: &Net, request: &Request<'_>, dump: bool, reply: &mut Reply) -> SysResult<()> {
    if request.header.kind != BY_FAMILY {
        return Err(Errno::INVAL);
    }
    let family = i32::from(*request.payload.first().ok_or(Errno::INVAL)?);
    match family {
        libc::AF_INET | libc::AF_INET6 => {
            let (asked, _) = InetRequest::read_from_prefix(request.payload).map_err(|_| Errno::INVAL)?;
            inet(net, &asked, dump, reply)
        }
        libc::AF_UNIX => {
            let (asked, _) = UnixRequest::read_from_prefix(request.payload).map_err(|_| Errno::INVAL)?;
            unix(net, &asked, dump, reply)
        }
        libc::AF_NETLINK if dump => {
            netlink(net, reply);
            Ok(())
        }
        libc::AF_PACKET if dump => {
            packet(net, reply);
            Ok(())
        }
        // As of a kernel without the family's module.
        _ => Err(Errno::NOENT),
    }
}

fn cookie(ino: u64) -> [u32; 2] {
    [ino as u32, (ino >> 32) as u32]
}

fn octets(ip: IpAddr, family: u8) -> [u8; 16] {
    let mut out = [0; 16];
    match ip {
        IpAddr::V4(ip) if family == libc::AF_INET as u8 => {
            for (place, byte) in out.iter_mut().zip(ip.octets()) {
                *place = byte;
            }
        }
        IpAddr::V4(ip) if !ip.is_unspecified() => out = ip.to_ipv6_mapped().octets(),
        IpAddr::V4(_) => {}
        IpAddr::V6(ip) => out = ip.octets(),
    }
    out
}

fn id(diag: &InetDiag, family: u8, ino: u64) -> SockId {
    let port = |address: SocketAddr| Be16::new(address.port());
    SockId {
        sport: port(diag.local),
        dport: port(diag.remote),
        src: octets(diag.local.ip(), family),
        dst: octets(diag.remote.ip(), family),
        interface: 0,
        cookie: cookie(ino),
    }
}

fn inet(net: &Net, asked: &InetRequest, dump: bool, reply: &mut Reply) -> SysResult<()> {
    let known = [libc::IPPROTO_TCP, libc::IPPROTO_UDP, libc::IPPROTO_RAW];
    if !known.contains(&asked.protocol.into()) {
        return Err(Errno::NOENT);
    }
    for file in registry::all_of(net) {
        let Some(socket) = file.downcast::<Socket>().filter(|socket| is_of(socket, asked)) else { continue };
        let Diag::Inet(diag) = socket.ops.diag() else { continue };
        if dump {
            if asked.states & 1 << diag.state != 0 && (diag.state != state::CLOSE || socket.kind != libc::SOCK_STREAM) {
                write(asked, socket, socket.ino(), &diag, reply);
            }
            for pending in diag.pending.iter().filter(|pending| asked.states & 1 << pending.state != 0) {
                write(asked, socket, 0, pending, reply);
            }
        } else if is_asked(asked, &id(&diag, asked.family, socket.ino())) {
            write(asked, socket, socket.ino(), &diag, reply);
            return Ok(());
        }
    }
    if dump { Ok(()) } else { Err(Errno::NOENT) }
}

fn is_of(socket: &Socket, asked: &InetRequest) -> bool {
    let raw = i32::from(asked.protocol) == libc::IPPROTO_RAW;
    socket.family == i32::from(asked.family)
        && if raw { socket.kind == libc::SOCK_RAW } else { socket.protocol == i32::from(asked.protocol) }
}

fn is_asked(asked: &InetRequest, id: &SockId) -> bool {
    let by_cookie = asked.id.cookie == [NO_COOKIE; 2] || asked.id.cookie == id.cookie;
    let ports = (asked.id.sport, asked.id.dport) == (id.sport, id.dport);
    by_cookie && ports && (asked.id.src, asked.id.dst) == (id.src, id.dst)
}

fn write(asked: &InetRequest, socket: &Socket, ino: u64, diag: &InetDiag, reply: &mut Reply) {
    let message = InetMessage {
        family: asked.family,
        state: diag.state,
        timer: 0,
        retrans: 0,
        id: id(diag, asked.family, socket.ino()),
        expires: 0,
        rqueue: diag.received as u32,
        wqueue: diag.sent as u32,
        uid: if ino == 0 { 0 } else { socket.uid() },
        inode: ino as u32,
    };
    let wants = |attribute: u16| asked.ext & 1 << (attribute - 1) != 0;
    reply.message(BY_FAMILY, message.as_bytes(), |reply| {
        reply.attribute(SHUTDOWN, &[0]);
        if asked.family == libc::AF_INET6 as u8 {
            reply.attribute(SKV6ONLY, &[u8::from(diag.v6only)]);
        }
        if wants(MEMINFO) {
            reply.attribute(MEMINFO, [diag.received as u32, 0, 0, diag.sent as u32].as_bytes());
        }
        if wants(SKMEMINFO) {
            reply.attribute(SKMEMINFO, memory(socket, diag.received, diag.sent).as_bytes());
        }
        if wants(INFO) && socket.protocol == libc::IPPROTO_TCP && ino > 0 {
            let (level, name) = (libc::IPPROTO_TCP, libc::TCP_INFO);
            if let Ok(info) = socket.ops.tell(level, name) {
                reply.attribute(INFO, &info);
            }
        }
        if wants(CONG) && socket.protocol == libc::IPPROTO_TCP {
            reply.attribute(CONG, b"cubic\0");
        }
    });
}

/// `SK_MEMINFO_…`: received, receive buffer, sent, send buffer, and five that are nothing here.
fn memory(socket: &Socket, received: usize, sent: usize) -> [u32; 9] {
    [received as u32, socket.options.rcvbuf(), sent as u32, socket.options.sndbuf(), 0, 0, 0, 0, 0]
}

fn unix(net: &Net, asked: &UnixRequest, dump: bool, reply: &mut Reply) -> SysResult<()> {
    for file in registry::all_of(net) {
        let Some(socket) = file.downcast::<Socket>() else { continue };
        let Diag::Unix(diag) = socket.ops.diag() else { continue };
        let fits = if dump {
            asked.states & 1 << diag.state != 0
        } else {
            asked.ino == socket.ino() as u32 && (asked.cookie == [NO_COOKIE; 2] || asked.cookie == cookie(socket.ino()))
        };
        if fits {
            write_unix(asked, socket, &diag, reply);
        }
        if fits && !dump {
            return Ok(());
        }
    }
    if dump { Ok(()) } else { Err(Errno::NOENT) }
}

fn write_unix(asked: &UnixRequest, socket: &Socket, diag: &UnixDiag, reply: &mut Reply) {
    let [cookie_low, cookie_high] = cookie(socket.ino());
    let kinds = [libc::AF_UNIX as u8, socket.kind as u8, diag.state, 0];
    let fixed = [u32::from_ne_bytes(kinds), socket.ino() as u32, cookie_low, cookie_high];
    // The file that a path names is not asked for by itself: bit 1.
    let wants = |attribute: u16| asked.show & 1 << attribute != 0;
    reply.message(BY_FAMILY, fixed.as_bytes(), |reply| {
        if wants(UNIX_NAME) && !diag.name.is_empty() {
            reply.attribute(UNIX_NAME, diag.name.strip_suffix(&[0]).unwrap_or(&diag.name));
        }
        if let Some(peer) = diag.peer.filter(|peer| wants(UNIX_PEER) && *peer > 0) {
            reply.attribute(UNIX_PEER, &(peer as u32).to_ne_bytes());
        }
        if wants(UNIX_ICONS) && diag.state == state::LISTEN {
            let pending: Vec<u32> = diag.pending.iter().map(|ino| *ino as u32).collect();
            reply.attribute(UNIX_ICONS, pending.as_bytes());
        }
        if wants(UNIX_RQLEN) {
            reply.attribute(UNIX_RQLEN, [diag.received as u32, diag.sent as u32].as_bytes());
        }
        if wants(UNIX_MEMINFO) {
            reply.attribute(UNIX_MEMINFO, memory(socket, diag.received, diag.sent).as_bytes());
        }
        reply.attribute(UNIX_SHUTDOWN, &[diag.shutdown]);
        if wants(UNIX_UID) {
            reply.attribute(UNIX_UID, &socket.uid().to_ne_bytes());
        }
    });
}

fn netlink(net: &Net, reply: &mut Reply) {
    for file in registry::all_of(net) {
        let Some(socket) = file.downcast::<Socket>() else { continue };
        let Diag::Netlink(id, ..) = socket.ops.diag() else { continue };
        let kinds = [libc::AF_NETLINK as u8, socket.kind as u8, socket.protocol as u8, state::CLOSE];
        let [low, high] = cookie(socket.ino());
        // `struct netlink_diag_msg`.
        let fixed = [u32::from_ne_bytes(kinds), id, 0, 0, socket.ino() as u32, low, high];
        reply.message(BY_FAMILY, fixed.as_bytes(), |_| {});
    }
}

fn packet(net: &Net, reply: &mut Reply) {
    for file in registry::all_of(net) {
        let Some(socket) = file.downcast::<Socket>() else { continue };
        let Diag::Packet(protocol, ..) = socket.ops.diag() else { continue };
        // `struct packet_diag_msg`.
        let kinds = [libc::AF_PACKET as u8, socket.kind as u8];
        let [low, high] = cookie(socket.ino());
        let head = [kinds, protocol.to_ne_bytes()].concat();
        let fixed = [head.as_slice(), [socket.ino() as u32, low, high].as_bytes()].concat();
        reply.message(BY_FAMILY, &fixed, |_| {});
    }
}
