//! The `ioctl`s on network devices (`netdevice(7)`): there are `lo` and the interfaces of the stack.

use super::ethtool;
use crate::abi::{Ifconf, Ifreq};
use crate::errno::{Errno, SysResult};
use crate::kernel::{Cap, Task};
use crate::mm::Addr;
use crate::net::devices::{self, Device};
use crate::net::host;
use crate::net::stack::{self, Stack, link::Link, route};
use std::net::IpAddr;
use zerocopy::IntoBytes;

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
const SIOCSIFFLAGS: u32 = 0x8914;
const SIOCSIFADDR: u32 = 0x8916;
const SIOCSIFMTU: u32 = 0x8922;
const SIOCSIFTXQLEN: u32 = 0x8943;
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
    if let Some(view) = host::get() {
        return host::device::ioctl(view, t, cmd, arg);
    }
    if cmd == SIOCGIFCONF {
        return list(t, arg);
    }
    let known = (SIOCGIFNAME..=SIOCGIFTXQLEN + 1).contains(&cmd);
    if cmd == ethtool::SIOCETHTOOL {
        let exists = |asked: &[u8]| {
            devices::all().iter().any(|device| device.name.as_bytes() == asked)
                || links().any(|link| link.name.as_bytes() == asked)
        };
        return ethtool::ioctl(t, arg, exists);
    }
    if !known {
        return Err(Errno::NOTTY);
    }
    let mut request: Ifreq = t.mem().read(arg)?;
    if cmd == SIOCGIFNAME {
        let index = request.value.first_chunk::<4>().map_or(0, |bytes| i32::from_ne_bytes(*bytes));
        let link = links().find(|link| link.index as i32 == index);
        request.name = match link {
            Some(link) => Ifreq::name_of(&link.name),
            None => {
                let mut all = devices::all().into_iter();
                Ifreq::name_of(&all.find(|device| device.index as i32 == index).ok_or(Errno::NODEV)?.name)
            }
        };
    } else {
        let asked = request.name.split(|b| *b == 0).next().unwrap_or_default();
        let link = links().find(|link| link.name.as_bytes() == asked);
        if SETTERS.contains(&cmd) {
            return set(t, cmd, asked, &request.value);
        }
        property(cmd).ok_or(Errno::NOTTY)?;
        let device = devices::all().into_iter().find(|device| device.name.as_bytes() == asked);
        request.value = match (link, device) {
            (_, Some(device)) => property_of_own(&device, cmd)?,
            (Some(link), _) => property_of(link, cmd)?,
            _ => return Err(Errno::NODEV),
        };
    }
    t.mem().write(arg, &request).map(|()| 0)
}

/// Changes one of the sandbox's own interfaces.
fn set(t: &Task, cmd: u32, asked: &[u8], value: &[u8]) -> SysResult {
    let device = devices::all().into_iter().find(|device| device.name.as_bytes() == asked);
    if !t.creds().has(Cap::NetAdmin) {
        return Err(Errno::PERM);
    }
    let Some(device) = device else {
        let is_link = links().any(|link| link.name.as_bytes() == asked);
        return Err(if is_link { Errno::OPNOTSUPP } else { Errno::NODEV });
    };
    let number = value.first_chunk::<4>().map_or(0, |bytes| i32::from_ne_bytes(*bytes));
    match cmd {
        SIOCSIFFLAGS => devices::change(device.index, |device| {
            device.up = number & 1 != 0;
            Ok(())
        })?,
        SIOCSIFMTU => devices::change(device.index, |device| {
            device.mtu = u32::try_from(number).map_err(|_| Errno::INVAL)?;
            Ok(())
        })?,
        SIOCSIFTXQLEN => devices::change(device.index, |device| {
            device.txqlen = u32::try_from(number).map_err(|_| Errno::INVAL)?;
            Ok(())
        })?,
        SIOCSIFADDR => {
            let ip = value.get(4..).and_then(|rest| rest.first_chunk::<4>()).ok_or(Errno::INVAL)?;
            let first = device.addresses.iter().position(|(ip, _)| ip.is_ipv4());
            devices::change(device.index, |device| {
                let prefix = first.and_then(|at| device.addresses.get(at)).map_or(24, |(_, prefix)| *prefix);
                let new = (IpAddr::from(*ip), prefix);
                match first.and_then(|at| device.addresses.get_mut(at)) {
                    Some(old) => *old = new,
                    None => device.addresses.push(new),
                }
                Ok(())
            })?;
        }
        _ => return Err(Errno::OPNOTSUPP),
    }
    Ok(0)
}

/// What one of the sandbox's own interfaces answers.
fn property_of_own(device: &Device, cmd: u32) -> SysResult<[u8; 24]> {
    const UP: u16 = 0x41;
    const LOOPBACK: u16 = 8;
    const DUMMY: u16 = 0x82;
    let first = device.addresses.iter().find_map(|(ip, prefix)| match ip {
        IpAddr::V4(ip) => Some((ip.octets(), *prefix)),
        IpAddr::V6(_) => None,
    });
    let address = |ip: [u8; 4]| [(libc::AF_INET as u32).to_ne_bytes(), ip].concat();
    let bytes = match (cmd, first) {
        (SIOCGIFADDR | SIOCGIFDSTADDR, Some((ip, _))) => address(ip),
        (SIOCGIFNETMASK, Some((_, prefix))) => address(route::mask(prefix).to_be_bytes()),
        (SIOCGIFBRDADDR, Some(_)) => address([0; 4]),
        (SIOCGIFADDR | SIOCGIFDSTADDR | SIOCGIFNETMASK | SIOCGIFBRDADDR, None) => return Err(Errno::ADDRNOTAVAIL),
        (SIOCGIFFLAGS, _) => {
            let kind = if device.is_loopback() { LOOPBACK } else { DUMMY };
            (kind | if device.up { UP } else { 0 }).to_ne_bytes().to_vec()
        }
        (SIOCGIFMTU, _) => device.mtu.to_ne_bytes().to_vec(),
        (SIOCGIFINDEX, _) => device.index.to_ne_bytes().to_vec(),
        (SIOCGIFTXQLEN, _) => device.txqlen.to_ne_bytes().to_vec(),
        (SIOCGIFHWADDR, _) if !device.is_loopback() => {
            [libc::ARPHRD_ETHER.to_ne_bytes().as_slice(), &device.mac].concat()
        }
        _ => return property(cmd).ok_or(Errno::NOTTY),
    };
    let mut value = [0; 24];
    value.get_mut(..bytes.len()).ok_or(Errno::INVAL)?.copy_from_slice(&bytes);
    Ok(value)
}

fn links() -> impl Iterator<Item = &'static Link> {
    stack::get().into_iter().flat_map(Stack::links)
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
    let of_own = |device: Device| {
        property_of_own(&device, SIOCGIFADDR).ok().map(|value| Ifreq { name: Ifreq::name_of(&device.name), value })
    };
    let of_link = |link: &Link| {
        property_of(link, SIOCGIFADDR).ok().map(|value| Ifreq { name: Ifreq::name_of(&link.name), value })
    };
    let mut all: Vec<Ifreq> =
        devices::all().into_iter().filter_map(of_own).chain(links().filter_map(of_link)).collect();
    if conf.buf != 0 {
        all.truncate(conf.len.max(0) as usize / size);
        t.mem().write_bytes(Addr(conf.buf), all.as_bytes())?;
    }
    conf.len = (all.len() * size) as i32;
    t.mem().write(arg, &conf).map(|()| 0)
}
