//! The `ioctl`s on network devices (`netdevice(7)`): there are `lo` and the interfaces of the stack.

use crate::errno::{Errno, SysResult};
use crate::kernel::{Cap, Task};
use crate::mm::Addr;
use crate::net::stack::{self, Stack, link::Link, route};
use std::net::IpAddr;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `struct ifreq`: a name and a union.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Ifreq {
    name: [u8; 16],
    value: [u8; 24],
}

/// `struct ifconf`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Ifconf {
    len: i32,
    pad: u32,
    buf: u64,
}

const SIOCGIFNAME: u32 = 0x8910;
const SIOCGIFCONF: u32 = 0x8912;
const SIOCGIFFLAGS: u32 = 0x8913;
const SIOCGIFADDR: u32 = 0x8915;
const SIOCGIFDSTADDR: u32 = 0x8917;
const SIOCGIFBRDADDR: u32 = 0x8919;
const SIOCGIFNETMASK: u32 = 0x891b;
const SIOCGIFMETRIC: u32 = 0x891d;
const SIOCGIFMTU: u32 = 0x8921;
const SIOCGIFHWADDR: u32 = 0x8927;
const SIOCGIFINDEX: u32 = 0x8933;
const SIOCGIFTXQLEN: u32 = 0x8942;
/// Those that change a device: the even numbers beside the odd ones above, and a few more.
const SETTERS: [u32; 10] = [0x8914, 0x8916, 0x8918, 0x891a, 0x891c, 0x891e, 0x8922, 0x8923, 0x8924, 0x8943];

/// `IFF_UP | IFF_LOOPBACK | IFF_RUNNING`.
const FLAGS: u16 = 0x49;
const MTU: i32 = 65536;
const INDEX: i32 = 1;
const TXQLEN: i32 = 1000;
/// `ARPHRD_LOOPBACK`.
const ARPHRD_LOOPBACK: u16 = 772;

/// `ioctl(2)` on any socket.
pub fn ioctl(t: &Task, cmd: u32, arg: Addr) -> SysResult {
    if cmd == SIOCGIFCONF {
        return list(t, arg);
    }
    let known = (SIOCGIFNAME..=SIOCGIFTXQLEN + 1).contains(&cmd);
    if !known {
        return Err(Errno::NOTTY);
    }
    let mut request: Ifreq = t.mem().read(arg)?;
    if cmd == SIOCGIFNAME {
        let index = request.value.first_chunk::<4>().map_or(0, |bytes| i32::from_ne_bytes(*bytes));
        let link = links().find(|link| link.index as i32 == index);
        request.name = match link {
            _ if index == INDEX => name("lo"),
            Some(link) => name(&link.name),
            None => return Err(Errno::NODEV),
        };
    } else {
        let asked = request.name.split(|b| *b == 0).next().unwrap_or_default();
        let link = links().find(|link| link.name.as_bytes() == asked);
        let is_lo = asked == b"lo";
        if SETTERS.contains(&cmd) {
            return Err(if t.creds().has(Cap::NetAdmin) { Errno::OPNOTSUPP } else { Errno::PERM });
        }
        let value = property(cmd).ok_or(Errno::NOTTY)?;
        request.value = match link {
            _ if is_lo => value,
            Some(link) => property_of(link, cmd)?,
            None => return Err(Errno::NODEV),
        };
    }
    t.mem().write(arg, &request).map(|()| 0)
}

fn links() -> impl Iterator<Item = &'static Link> {
    stack::get().into_iter().flat_map(Stack::links)
}

fn name(text: &str) -> [u8; 16] {
    let mut name = [0; 16];
    // The last byte stays zero.
    for (to, from) in name.iter_mut().take(15).zip(text.bytes()) {
        *to = from;
    }
    name
}

/// What an interface of the stack answers to a question: `EADDRNOTAVAIL` if it has no address to tell.
fn property_of(link: &Link, cmd: u32) -> SysResult<[u8; 24]> {
    /// `IFF_UP | IFF_BROADCAST | IFF_RUNNING | IFF_MULTICAST`.
    const FLAGS: u16 = 0x1043;
    let first = link.addresses.iter().find_map(|(ip, prefix)| match ip {
        IpAddr::V4(v4) => Some((*ip, *v4, *prefix)),
        IpAddr::V6(_) => None,
    });
    let address = |ip: [u8; 4]| [(libc::AF_INET as u32).to_ne_bytes(), ip].concat();
    let (ip, v4, prefix) = match first {
        Some(found) => found,
        None if matches!(cmd, SIOCGIFADDR | SIOCGIFDSTADDR | SIOCGIFBRDADDR | SIOCGIFNETMASK) => {
            return Err(Errno::ADDRNOTAVAIL);
        }
        None => (IpAddr::from([0; 4]), [0; 4].into(), 0),
    };
    let bytes = match cmd {
        SIOCGIFFLAGS => FLAGS.to_ne_bytes().to_vec(),
        SIOCGIFADDR | SIOCGIFDSTADDR => address(v4.octets()),
        SIOCGIFBRDADDR => match route::broadcast((ip, prefix)) {
            Some(IpAddr::V4(all)) => address(all.octets()),
            _ => address([0; 4]),
        },
        SIOCGIFNETMASK => address(route::mask(prefix).to_be_bytes()),
        SIOCGIFMTU => (link.mtu as i32).to_ne_bytes().to_vec(),
        SIOCGIFHWADDR => [libc::ARPHRD_ETHER.to_ne_bytes().as_slice(), &link.mac].concat(),
        SIOCGIFINDEX => link.index.to_ne_bytes().to_vec(),
        _ => return property(cmd).ok_or(Errno::NOTTY),
    };
    let mut value = [0; 24];
    value.get_mut(..bytes.len()).ok_or(Errno::INVAL)?.copy_from_slice(&bytes);
    Ok(value)
}

/// What `lo` answers to a question.
fn property(cmd: u32) -> Option<[u8; 24]> {
    let mut value = [0; 24];
    let address = |ip: [u8; 4]| [(libc::AF_INET as u32).to_ne_bytes(), ip].concat();
    let bytes = match cmd {
        SIOCGIFFLAGS => FLAGS.to_ne_bytes().to_vec(),
        SIOCGIFADDR | SIOCGIFDSTADDR => address([127, 0, 0, 1]),
        SIOCGIFBRDADDR => address([0, 0, 0, 0]),
        SIOCGIFNETMASK => address([255, 0, 0, 0]),
        SIOCGIFMETRIC => 0i32.to_ne_bytes().to_vec(),
        SIOCGIFMTU => MTU.to_ne_bytes().to_vec(),
        SIOCGIFHWADDR => ARPHRD_LOOPBACK.to_ne_bytes().to_vec(),
        SIOCGIFINDEX => INDEX.to_ne_bytes().to_vec(),
        SIOCGIFTXQLEN => TXQLEN.to_ne_bytes().to_vec(),
        _ => return None,
    };
    value.get_mut(..bytes.len())?.copy_from_slice(&bytes);
    Some(value)
}

/// `SIOCGIFCONF`: the interfaces with an IPv4 address.
fn list(t: &Task, arg: Addr) -> SysResult {
    let mut conf: Ifconf = t.mem().read(arg)?;
    let size = size_of::<Ifreq>();
    let lo = Ifreq { name: name("lo"), value: property(SIOCGIFADDR).ok_or(Errno::INVAL)? };
    let of_link =
        |link: &Link| property_of(link, SIOCGIFADDR).ok().map(|value| Ifreq { name: name(&link.name), value });
    let mut all: Vec<Ifreq> = std::iter::once(lo).chain(links().filter_map(of_link)).collect();
    if conf.buf != 0 {
        all.truncate(conf.len.max(0) as usize / size);
        t.mem().write_bytes(Addr(conf.buf), all.as_bytes())?;
    }
    conf.len = (all.len() * size) as i32;
    t.mem().write(arg, &conf).map(|()| 0)
}
