//! Interfaces.

use super::super::message::{Failure, Reply, Request, attributes};
use super::super::socket::broadcast;
use super::{Answer, group};
use crate::errno::{Errno, SysResult};
use crate::net::devices::{self, Device};
use crate::net::stack::{self, link::Link, link::Mac};
use std::sync::atomic::Ordering;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Hardware type of the loopback interface (`ARPHRD_LOOPBACK`).
const ARPHRD_LOOPBACK: u16 = 772;
const IFF_UP: u32 = 1;
const IFF_BROADCAST: u32 = 2;
const IFF_LOOPBACK: u32 = 8;
const IFF_RUNNING: u32 = 0x40;
const IFF_NOARP: u32 = 0x80;
const IFF_MULTICAST: u32 = 0x1000;
const IFF_LOWER_UP: u32 = 0x10000;
const IFLA_CARRIER: u16 = 33;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_STATS: u16 = 7;
const IFLA_STATS64: u16 = 23;
/// `IF_OPER_UNKNOWN`, `IF_OPER_DOWN`, `IF_OPER_UP`.
const UNKNOWN: u8 = 0;
const DOWN: u8 = 2;
const UP: u8 = 6;
/// Shortest and longest packets of a dummy and of the loopback.
const MTU: std::ops::RangeInclusive<u32> = 0..=i32::MAX as u32;
/// Longest packets if nobody says.
const MTU_DEFAULT: u32 = 1500;
/// `IFNAMSIZ`, with the NUL.
const NAME_MAX: usize = 16;

/// `struct ifinfomsg`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Ifinfomsg {
    family: u8,
    pad: u8,
    kind: u16,
    index: i32,
    flags: u32,
    change: u32,
}

/// An interface as a message tells of it.
struct Shown {
    index: u32,
    name: String,
    hardware: u16,
    flags: u32,
    mtu: u32,
    txqlen: u32,
    mac: Mac,
    all: Mac,
    state: u8,
    kind: Option<&'static str>,
    /// Bytes and packets, received and sent; packets lost.
    passed: [u64; 5],
}

impl Shown {
    fn device(device: &Device) -> Shown {
        let lo = device.is_loopback();
        let up = if device.up { IFF_UP | IFF_RUNNING | IFF_LOWER_UP } else { 0 };
        let kind = if lo { IFF_LOOPBACK } else { IFF_BROADCAST | IFF_NOARP };
        let (bytes, packets) = (crate::net::counters::LO_BYTES.get(), crate::net::counters::LO_PACKETS.get());
        Shown {
            index: device.index,
            name: device.name.clone(),
            hardware: if lo { ARPHRD_LOOPBACK } else { libc::ARPHRD_ETHER },
            flags: kind | up,
            mtu: device.mtu,
            txqlen: device.txqlen,
            mac: device.mac,
            all: if lo { [0; 6] } else { stack::link::BROADCAST },
            state: if device.up { UNKNOWN } else { DOWN },
            kind: (!lo).then_some("dummy"),
            passed: if lo { [bytes, packets, bytes, packets, 0] } else { [0; 5] },
        }
    }

    fn link(link: &Link) -> Shown {
        let counters = &link.counters;
        let passed =
            [&counters.rx_bytes, &counters.rx_packets, &counters.tx_bytes, &counters.tx_packets, &counters.tx_dropped];
        Shown {
            index: link.index,
            name: link.name.clone(),
            hardware: libc::ARPHRD_ETHER,
            flags: IFF_UP | IFF_BROADCAST | IFF_RUNNING | IFF_MULTICAST | IFF_LOWER_UP,
            mtu: link.mtu as u32,
            txqlen: 1000,
            mac: link.mac,
            all: stack::link::BROADCAST,
            state: UP,
            kind: None,
            passed: passed.map(|counter| counter.load(Ordering::Relaxed)),
        }
    }

    fn write(&self, kind: u16, reply: &mut Reply) {
        let (family, pad, change) = (0, 0, 0);
        let info = Ifinfomsg { family, pad, kind: self.hardware, index: self.index as i32, flags: self.flags, change };
        reply.message(kind, info.as_bytes(), |reply| self.attributes(reply));
    }

    fn attributes(&self, reply: &mut Reply) {
        reply.attribute(libc::IFLA_IFNAME, &[self.name.as_bytes(), b"\0"].concat());
        reply.attribute(libc::IFLA_TXQLEN, &self.txqlen.to_ne_bytes());
        reply.attribute(libc::IFLA_OPERSTATE, &[self.state]);
        reply.attribute(libc::IFLA_LINKMODE, &[0]);
        reply.attribute(libc::IFLA_MTU, &self.mtu.to_ne_bytes());
        reply.attribute(libc::IFLA_GROUP, &0u32.to_ne_bytes());
        reply.attribute(libc::IFLA_PROMISCUITY, &0u32.to_ne_bytes());
        reply.attribute(libc::IFLA_NUM_TX_QUEUES, &1u32.to_ne_bytes());
        reply.attribute(libc::IFLA_NUM_RX_QUEUES, &1u32.to_ne_bytes());
        reply.attribute(IFLA_CARRIER, &[u8::from(self.flags & IFF_LOWER_UP != 0)]);
        reply.attribute(libc::IFLA_QDISC, b"noqueue\0");
        reply.attribute(libc::IFLA_ADDRESS, &self.mac);
        reply.attribute(libc::IFLA_BROADCAST, &self.all);
        let [rx_bytes, rx, tx_bytes, tx, lost] = self.passed;
        // `struct rtnl_link_stats64`: packets and bytes each way, errors, losses.
        let mut stats = [0u64; 24];
        for (place, value) in stats.iter_mut().zip([rx, tx, rx_bytes, tx_bytes, 0, 0, 0, lost]) {
            *place = value;
        }
        reply.attribute(IFLA_STATS64, stats.as_bytes());
        reply.attribute(IFLA_STATS, stats.map(|value| value as u32).as_bytes());
        if let Some(kind) = self.kind {
            let info = super::super::message::attribute_bytes(IFLA_INFO_KIND, &[kind.as_bytes(), b"\0"].concat());
            reply.attribute(libc::IFLA_LINKINFO, &info);
        }
    }
}

fn all() -> Vec<Shown> {
    let links = stack::get().into_iter().flat_map(|stack| stack.links());
    let mut all: Vec<_> = devices::all().iter().map(Shown::device).chain(links.map(Shown::link)).collect();
    all.sort_by_key(|shown| shown.index);
    all
}

/// What a message says of an interface.
struct Asked<'a> {
    info: Ifinfomsg,
    name: Option<&'a str>,
}

fn parse<'a>(request: &Request<'a>) -> Result<Asked<'a>, Failure> {
    let (info, _) = Ifinfomsg::read_from_prefix(request.payload).map_err(|_| Errno::INVAL)?;
    let mut name = None;
    for (kind, content) in attributes(request.payload, size_of::<Ifinfomsg>()) {
        if matches!(kind, libc::IFLA_IFNAME | IFLA_ALT_IFNAME) {
            let text = content.split(|byte| *byte == 0).next().unwrap_or_default();
            if text.len() >= NAME_MAX && kind == libc::IFLA_IFNAME {
                return Err(Failure::because(Errno::from_raw(libc::ERANGE), "Attribute failed policy validation"));
            }
            name = Some(std::str::from_utf8(text).map_err(|_| Errno::INVAL)?);
        }
    }
    Ok(Asked { info, name })
}

const IFLA_ALT_IFNAME: u16 = 53;

impl Asked<'_> {
    fn find(&self) -> SysResult<Shown> {
        let index = self.info.index as u32;
        if index == 0 && self.name.is_none() {
            return Err(Errno::INVAL);
        }
        let is_it = |shown: &Shown| if index > 0 { shown.index == index } else { self.name == Some(&shown.name) };
        all().into_iter().find(is_it).ok_or(Errno::NODEV)
    }
}

pub(super) fn get(request: &Request<'_>, dump: bool, reply: &mut Reply) -> Answer {
    if dump {
        all().iter().for_each(|shown| shown.write(libc::RTM_NEWLINK, reply));
        return Ok(());
    }
    let shown = parse(request)?.find()?;
    shown.write(libc::RTM_NEWLINK, reply);
    Ok(())
}

/// Tells those who listen what has become of an interface.
fn announce(shown: &Shown, kind: u16) {
    let mut reply = Reply::unasked();
    shown.write(kind, &mut reply);
    broadcast(group::LINK, &reply.into_bytes());
}

/// `RTM_NEWLINK` and `RTM_SETLINK`: changes an interface, or adds a dummy.
pub(super) fn change(request: &Request<'_>) -> Answer {
    let asked = parse(request)?;
    let found = match asked.find() {
        Err(Errno::NODEV | Errno::INVAL) if request.has(libc::NLM_F_CREATE) => return add(request, &asked),
        Err(Errno::INVAL) if request.header.kind == libc::RTM_NEWLINK => return Err(Errno::NODEV.into()),
        found => found?,
    };
    if request.has(libc::NLM_F_CREATE) && request.has(libc::NLM_F_EXCL) {
        return Err(Errno::EXIST.into());
    }
    let is_own = devices::all().iter().any(|device| device.index == found.index);
    let (flags, mask) = (asked.info.flags, asked.info.change);
    if !is_own {
        // The engine's interfaces are on, and stay as they are.
        let to_up = mask & IFF_UP == 0 || flags & IFF_UP != 0;
        let changes = attributes(request.payload, size_of::<Ifinfomsg>()).any(|(kind, _)| kind != libc::IFLA_IFNAME);
        return if to_up && !changes { Ok(()) } else { Err(Errno::OPNOTSUPP.into()) };
    }
    devices::change(found.index, |device| {
        apply(device, request, asked.info.index > 0)?;
        if mask & IFF_UP != 0 || (mask == 0 && flags != 0) {
            device.up = flags & IFF_UP != 0;
        }
        Ok(())
    })?;
    if let Some(now) = all().iter().find(|shown| shown.index == found.index) {
        announce(now, libc::RTM_NEWLINK);
    }
    Ok(())
}

/// Sets what attributes say. `renames`: the interface was found by its index, so a name is a new one.
fn apply(device: &mut Device, request: &Request<'_>, renames: bool) -> SysResult<()> {
    for (kind, content) in attributes(request.payload, size_of::<Ifinfomsg>()) {
        let number = content.first_chunk::<4>().map(|bytes| u32::from_ne_bytes(*bytes));
        match kind {
            libc::IFLA_MTU => device.mtu = number.filter(|mtu| MTU.contains(mtu)).ok_or(Errno::INVAL)?,
            libc::IFLA_TXQLEN => device.txqlen = number.ok_or(Errno::INVAL)?,
            libc::IFLA_ADDRESS if device.is_loopback() => return Err(Errno::OPNOTSUPP),
            libc::IFLA_ADDRESS => device.mac = <Mac>::try_from(content).map_err(|_| Errno::INVAL)?,
            libc::IFLA_IFNAME if renames => {
                let name = content.split(|byte| *byte == 0).next().unwrap_or_default();
                let name = std::str::from_utf8(name).map_err(|_| Errno::INVAL)?;
                if name != device.name && device.up {
                    return Err(Errno::BUSY);
                }
                name.clone_into(&mut device.name);
            }
            _ => {}
        }
    }
    Ok(())
}

fn add(request: &Request<'_>, asked: &Asked<'_>) -> Answer {
    let mut kind = None;
    let (mut mac, mut mtu) = (None, MTU_DEFAULT);
    for (attribute, content) in attributes(request.payload, size_of::<Ifinfomsg>()) {
        match attribute {
            libc::IFLA_LINKINFO => {
                kind = attributes(content, 0).find(|(kind, _)| *kind == IFLA_INFO_KIND).map(|(_, kind)| kind);
            }
            libc::IFLA_ADDRESS => mac = Some(<Mac>::try_from(content).map_err(|_| Errno::INVAL)?),
            libc::IFLA_MTU => mtu = content.first_chunk::<4>().map_or(mtu, |bytes| u32::from_ne_bytes(*bytes)),
            _ => {}
        }
    }
    let Some(kind) = kind else {
        return Err(if asked.info.index > 0 { Errno::NODEV } else { Errno::OPNOTSUPP }.into());
    };
    if kind.split(|byte| *byte == 0).next() != Some(b"dummy") {
        return Err(Failure::because(Errno::OPNOTSUPP, "Unknown device type"));
    }
    let index = devices::add(asked.name, mac, mtu)?;
    if asked.info.flags & IFF_UP != 0 {
        devices::change(index, |device| {
            device.up = true;
            Ok(())
        })?;
    }
    if let Some(now) = all().iter().find(|shown| shown.index == index) {
        announce(now, libc::RTM_NEWLINK);
    }
    Ok(())
}

pub(super) fn delete(request: &Request<'_>) -> Answer {
    let shown = parse(request)?.find()?;
    let is_own = devices::all().iter().any(|device| device.index == shown.index);
    if !is_own {
        return Err(Errno::OPNOTSUPP.into());
    }
    devices::remove(shown.index)?;
    announce(&shown, libc::RTM_DELLINK);
    Ok(())
}
