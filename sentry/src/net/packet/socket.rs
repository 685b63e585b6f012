//! The socket operations of `AF_PACKET`.

use super::blocks::Blocks;
use super::ring::{self, Ring};
use super::{Frame, MEMBERSHIPS_MAX, OVERHEAD, State, Store, Tap, looped_frame};
use crate::errno::{Errno, SysResult};
use crate::executor::{Events, WaitQueue};
use crate::kernel::Task;
use crate::mm::Addr;
use crate::net::address::SockAddr;
use crate::net::message::{Control, Incoming, Outgoing};
use crate::net::namespace::Net;
use crate::net::options::{Value, int};
use crate::net::socket::{Question, SocketOps};
use crate::net::stack::link::{Link, Mac};
use crate::net::stack::packet::{ETHERNET_LEN, u16_at};
use std::any::Any;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `struct sockaddr_ll`, without the family.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, packed)]
struct Place {
    protocol: [u8; 2],
    interface: u32,
    hatype: u16,
    kind: u8,
    halen: u8,
    address: [u8; 8],
}

/// `struct tpacket_auxdata`.
#[derive(Debug, IntoBytes, Immutable)]
#[repr(C)]
struct Auxdata {
    status: u32,
    len: u32,
    snaplen: u32,
    mac: u16,
    net: u16,
    vlan_tci: u16,
    vlan_tpid: u16,
}

const TP_STATUS_USER: u32 = 1;
/// `TPACKET_V3`.
const VERSION_3: i32 = 2;
const PACKET_RX_RING: i32 = 5;
const PACKET_HDRLEN: i32 = 11;
const PACKET_RESERVE: i32 = 12;
const PACKET_TX_RING: i32 = 13;
const PACKET_IGNORE_OUTGOING: i32 = 23;
/// Length of a VLAN's tag, which a frame may have beyond its interface's longest packet.
const VLAN_LEN: usize = 4;
/// Length of `struct packet_mreq`, and of the shortest that is taken.
const MREQ_LEN: usize = 16;

/// The socket.
#[derive(Debug)]
pub(super) struct PacketSocket(pub(super) Arc<Tap>);

/// The hardware type of an interface.
fn hatype(link: &Link) -> u16 {
    if link.is_loopback() { libc::ARPHRD_LOOPBACK } else { libc::ARPHRD_ETHER }
}

impl Place {
    fn parse(address: &SockAddr) -> SysResult<Place> {
        Place::read_from_prefix(address.rest()).map(|(place, _)| place).map_err(|_| Errno::INVAL)
    }

    fn address(&self) -> SockAddr {
        SockAddr::new(libc::AF_PACKET, self.as_bytes())
    }
}

impl PacketSocket {
    /// The interface with an index.
    fn link(&self, index: u32) -> Option<Arc<Link>> {
        self.0.net.layout().link(index).cloned()
    }

    /// Sends a whole frame over an interface.
    fn put(&self, link: &Link, frame: &[u8]) {
        if link.is_loopback() { looped_frame(&self.0.net, frame) } else { link.send_whole(&self.0.net, frame) }
    }

    /// Where a message goes: interface and protocol, and for cooked ones the hardware address.
    fn target(&self, message: &Outgoing<'_>) -> SysResult<(u32, u16, Mac)> {
        let bound = *self.0.bound.lock();
        let Some(to) = message.to else { return Ok((bound.interface, bound.protocol, [0; 6])) };
        let place = Place::parse(to)?;
        let [a, b, c, d, e, f, ..] = place.address;
        Ok((place.interface, u16::from_be_bytes(place.protocol), [a, b, c, d, e, f]))
    }

    fn auxdata(&self, frame: &Frame) -> Control {
        let net = if self.0.cooked { 0 } else { ETHERNET_LEN as u16 };
        let (len, snaplen) = (frame.len as u32, frame.data.len() as u32);
        let data = Auxdata { status: TP_STATUS_USER, len, snaplen, mac: 0, net, vlan_tci: 0, vlan_tpid: 0 }
            .as_bytes()
            .to_vec();
        Control { level: libc::SOL_PACKET, kind: libc::PACKET_AUXDATA, data }
    }

    /// `PACKET_RX_RING`: `EBUSY` if there is one already.
    fn set_ring(&self, value: &[u8]) -> SysResult<()> {
        let mut state = self.0.state.lock();
        let ring = match state.version {
            VERSION_3 => Blocks::new(value, state.reserve)?.map(Store::Blocks),
            version => Ring::new(value, version, state.reserve)?.map(Store::Frames),
        };
        if ring.is_some() && state.ring.is_some() {
            return Err(Errno::BUSY);
        }
        state.ring = ring;
        Ok(())
    }

    fn membership(&self, value: &[u8], joins: bool) -> SysResult<()> {
        let request = value.get(..MREQ_LEN).ok_or(Errno::INVAL)?;
        let index = u32::read_from_prefix(request).map_err(|_| Errno::INVAL)?.0;
        let mut state = self.0.state.lock();
        if joins {
            self.link(index).ok_or(Errno::NODEV)?;
            let kind =
                request.get(4..6).and_then(|kind| kind.first_chunk()).map_or(0, |kind| u16::from_ne_bytes(*kind));
            if i32::from(kind) > libc::PACKET_MR_UNICAST {
                return Err(Errno::INVAL);
            }
            if state.memberships.len() >= MEMBERSHIPS_MAX {
                return Err(Errno::NOBUFS);
            }
            state.memberships.push(request.to_vec());
        } else if let Some(at) = state.memberships.iter().position(|known| known == request) {
            state.memberships.swap_remove(at);
        }
        Ok(())
    }
}

/// Whom a frame came from.
pub(super) fn address_of(net: &Net, frame: &Frame) -> SockAddr {
    let [a, b, c, d, e, f] = frame.from;
    let place = Place {
        protocol: frame.protocol.to_be_bytes(),
        interface: frame.interface,
        hatype: net.layout().link(frame.interface).map_or(libc::ARPHRD_ETHER, |link| hatype(link)),
        kind: frame.kind,
        halen: 6,
        address: [a, b, c, d, e, f, 0, 0],
    };
    place.address()
}

impl SocketOps for PacketSocket {
    fn bind(&self, _: &Task, address: &SockAddr) -> SysResult<()> {
        let place = Place::parse(address)?;
        if address.family()? != libc::AF_PACKET {
            return Err(Errno::INVAL);
        }
        let index = place.interface;
        let is_up = index == 0 || self.link(index).ok_or(Errno::NODEV)?.up;
        let mut bound = self.0.bound.lock();
        let protocol = u16::from_be_bytes(place.protocol);
        *bound = super::Bound { protocol: if protocol == 0 { bound.protocol } else { protocol }, interface: index };
        drop(bound);
        if !is_up {
            self.0.options.set_error(Errno::NETDOWN);
        }
        Ok(())
    }

    fn connect(&self, _: &Task, _: &SockAddr, _: bool) -> SysResult<()> {
        Err(Errno::OPNOTSUPP)
    }

    fn send(&self, message: &mut Outgoing<'_>) -> SysResult<usize> {
        let (index, protocol, to) = self.target(message)?;
        let device = self.link(index).ok_or(Errno::NXIO)?;
        if !device.up {
            return Err(Errno::NETDOWN);
        }
        let room = device.mtu + if self.0.cooked { 0 } else { ETHERNET_LEN + VLAN_LEN };
        if message.data.len() > room {
            return Err(Errno::MSGSIZE);
        }
        if self.0.cooked {
            let head = [to.as_slice(), &device.mac, &protocol.to_be_bytes()].concat();
            self.put(&device, &[head.as_slice(), message.data].concat());
        } else {
            u16_at(message.data, ETHERNET_LEN - 2).ok_or(Errno::INVAL)?;
            self.put(&device, message.data);
        }
        Ok(message.data.len())
    }

    fn receive(&self, buf: &mut [u8], flags: i32) -> SysResult<Incoming> {
        self.0.options.take_error()?;
        let mut state = self.0.state.lock();
        let frame = state.inbox.front().cloned().ok_or(Errno::AGAIN)?;
        if flags & libc::MSG_PEEK == 0 {
            state.inbox.pop_front();
            state.used -= frame.data.len() + OVERHEAD;
        }
        let auxdata = state.auxdata;
        drop(state);
        let count = frame.data.len().min(buf.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..count), frame.data.get(..count)) {
            to.copy_from_slice(from);
        }
        let mut control: Vec<Control> = self.0.options.stamps(Some(frame.time)).collect();
        if auxdata {
            control.push(self.auxdata(&frame));
        }
        let full = frame.data.len();
        let flags = if count < full { libc::MSG_TRUNC } else { 0 };
        Ok(Incoming {
            count,
            full,
            from: Some(address_of(&self.0.net, &frame)),
            control,
            flags,
            ends: true,
            ..Incoming::default()
        })
    }

    fn shutdown(&self, _: i32) -> SysResult<()> {
        Err(Errno::OPNOTSUPP)
    }

    fn local_address(&self) -> SysResult<SockAddr> {
        let bound = *self.0.bound.lock();
        let mut place =
            Place { protocol: bound.protocol.to_be_bytes(), interface: bound.interface, ..Place::default() };
        let Some(device) = self.link(bound.interface) else {
            return Ok(SockAddr::new(libc::AF_PACKET, place.as_bytes().get(..10).unwrap_or_default()));
        };
        let [a, b, c, d, e, f] = device.mac;
        (place.hatype, place.halen, place.address) = (hatype(&device), 6, [a, b, c, d, e, f, 0, 0]);
        Ok(SockAddr::new(libc::AF_PACKET, place.as_bytes().get(..16).unwrap_or_default()))
    }

    fn peer_address(&self) -> SysResult<SockAddr> {
        Err(Errno::OPNOTSUPP)
    }

    fn get_option(&self, _: &Task, level: i32, name: i32, _: usize) -> SysResult<Value> {
        if level != libc::SOL_PACKET {
            return Err(Errno::NOPROTOOPT);
        }
        let mut state = self.0.state.lock();
        let value = match name {
            libc::PACKET_STATISTICS => {
                let State { seen, lost, .. } = *state;
                (state.seen, state.lost) = (0, 0);
                let seen = seen.wrapping_add(lost);
                if state.version != VERSION_3 {
                    return Ok([seen, lost].as_bytes().into());
                }
                let frozen = match &mut state.ring {
                    Some(Store::Blocks(blocks)) => blocks.take_frozen(),
                    _ => 0,
                };
                return Ok([seen, lost, frozen].as_bytes().into());
            }
            libc::PACKET_AUXDATA => i32::from(state.auxdata),
            libc::PACKET_VERSION => state.version,
            PACKET_RESERVE => state.reserve as i32,
            PACKET_IGNORE_OUTGOING => i32::from(state.ignores_outgoing),
            _ => return Err(Errno::NOPROTOOPT),
        };
        Ok(value.as_bytes().into())
    }

    fn set_option(&self, _: &Task, level: i32, name: i32, value: &[u8]) -> SysResult<()> {
        if level != libc::SOL_PACKET {
            return Err(Errno::NOPROTOOPT);
        }
        match name {
            libc::PACKET_ADD_MEMBERSHIP | libc::PACKET_DROP_MEMBERSHIP => {
                return self.membership(value, name == libc::PACKET_ADD_MEMBERSHIP);
            }
            PACKET_RX_RING => return self.set_ring(value),
            // Sending by rings is refused as by a kernel without them.
            PACKET_TX_RING => return Err(Errno::NOPROTOOPT),
            _ => {}
        }
        let number = int(value)?;
        let mut state = self.0.state.lock();
        match name {
            libc::PACKET_AUXDATA => state.auxdata = number != 0,
            PACKET_IGNORE_OUTGOING if !(0..=1).contains(&number) => return Err(Errno::INVAL),
            PACKET_IGNORE_OUTGOING => state.ignores_outgoing = number != 0,
            libc::PACKET_VERSION | PACKET_RESERVE if state.ring.is_some() => return Err(Errno::BUSY),
            libc::PACKET_VERSION => {
                ring::header_len(number)?;
                state.version = number;
            }
            PACKET_RESERVE => state.reserve = u32::try_from(number).map_err(|_| Errno::INVAL)?,
            _ => return Err(Errno::NOPROTOOPT),
        }
        Ok(())
    }

    fn answer_option(&self, level: i32, name: i32, question: Question<'_>) -> Option<SysResult<Value>> {
        let asks = (level, name) == (libc::SOL_PACKET, PACKET_HDRLEN);
        asks.then(|| ring::header_len(int(&question(size_of::<i32>())?)?).map(|len| len.as_bytes().into()))
    }

    fn mmap(&self) -> SysResult<Arc<OwnedFd>> {
        self.0.state.lock().ring.as_ref().map(Store::memory).ok_or(Errno::INVAL)
    }

    fn ioctl(&self, t: &Task, cmd: u32, arg: Addr) -> SysResult {
        let value = match u64::from(cmd) {
            libc::FIONREAD => self.0.state.lock().inbox.front().map_or(0, |frame| frame.data.len() as i32),
            libc::TIOCOUTQ => 0,
            _ => return Err(Errno::NOTTY),
        };
        t.mem().write(arg, &value).map(|()| 0)
    }

    fn poll(&self) -> Events {
        let state = self.0.state.lock();
        let has_input = !state.inbox.is_empty() || state.ring.as_ref().is_some_and(Store::is_readable);
        Events::of_datagrams(has_input, self.0.options.has_error())
    }

    fn wait_queue(&self) -> &WaitQueue {
        &self.0.queue
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
