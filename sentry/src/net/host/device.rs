//! The `ioctl`s on network devices (`netdevice(7)`), answered from the [`view`](super::view) of the host's.

use super::view::{Address, Interface, View};
use crate::abi::Ifreq;
use crate::errno::{Errno, SysResult};
use crate::kernel::{Cap, Task};
use crate::mm::Addr;
use crate::net::inet::ethtool;
use crate::net::stack::route::mask;
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
/// Those that change a device.
const SETTERS: [u32; 10] = [0x8914, 0x8916, 0x8918, 0x891a, 0x891c, 0x891e, 0x8922, 0x8923, 0x8924, 0x8943];

/// `ioctl(2)` on any socket.
pub fn ioctl(view: &View, t: &Task, cmd: u32, arg: Addr) -> SysResult {
    if cmd == SIOCGIFCONF {
        return list(view, t, arg);
    }
    if cmd == ethtool::SIOCETHTOOL {
        let all = view.interfaces()?;
        return ethtool::ioctl(t, arg, |asked| all.iter().any(|interface| interface.name.as_bytes() == asked));
    }
    if !(SIOCGIFNAME..=SIOCGIFTXQLEN + 1).contains(&cmd) {
        return Err(Errno::NOTTY);
    }
    let mut request: Ifreq = t.mem().read(arg)?;
    let all = view.interfaces()?;
    if cmd == SIOCGIFNAME {
        let index = request.value.first_chunk().map_or(0, |bytes| u32::from_ne_bytes(*bytes));
        request.name = Ifreq::name_of(&all.iter().find(|i| i.index == index).ok_or(Errno::NODEV)?.name);
    } else if SETTERS.contains(&cmd) {
        return Err(if t.creds().has(Cap::NetAdmin) { Errno::OPNOTSUPP } else { Errno::PERM });
    } else {
        let asked = request.name.split(|b| *b == 0).next().unwrap_or_default();
        let found = all.iter().find(|interface| interface.name.as_bytes() == asked);
        request.set(&property(found.ok_or(Errno::NODEV)?, cmd)?);
    }
    t.mem().write(arg, &request).map(|()| 0)
}

fn first(interface: &Interface) -> Option<&Address> {
    interface.addresses.iter().find(|address| address.own.is_ipv4())
}

/// What an interface answers to a question: `EADDRNOTAVAIL` if it has no address to tell.
fn property(interface: &Interface, cmd: u32) -> SysResult<Vec<u8>> {
    let address = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => [(libc::AF_INET as u32).to_ne_bytes(), ip.octets()].concat(),
        IpAddr::V6(_) => vec![0; 8],
    };
    let of_first = || first(interface).ok_or(Errno::ADDRNOTAVAIL);
    Ok(match cmd {
        SIOCGIFFLAGS => (interface.flags as u16).to_ne_bytes().to_vec(),
        SIOCGIFADDR => address(of_first()?.own),
        SIOCGIFDSTADDR => address(of_first()?.peer),
        SIOCGIFBRDADDR => address(of_first()?.broadcast.unwrap_or(IpAddr::from([0; 4]))),
        SIOCGIFNETMASK => address(IpAddr::from(mask(of_first()?.prefix).to_be_bytes())),
        SIOCGIFMETRIC => 0i32.to_ne_bytes().to_vec(),
        SIOCGIFMTU => interface.mtu.to_ne_bytes().to_vec(),
        SIOCGIFHWADDR => [interface.hardware.to_ne_bytes().as_slice(), &interface.mac].concat(),
        SIOCGIFINDEX => interface.index.to_ne_bytes().to_vec(),
        SIOCGIFTXQLEN => interface.txqlen.to_ne_bytes().to_vec(),
        _ => return Err(Errno::NOTTY),
    })
}

/// `SIOCGIFCONF`: the interfaces with an IPv4 address.
fn list(view: &View, t: &Task, arg: Addr) -> SysResult {
    let mut conf: crate::abi::Ifconf = t.mem().read(arg)?;
    let interfaces = view.interfaces()?;
    let of = |interface: &Interface| {
        let mut entry = Ifreq { name: Ifreq::name_of(&interface.name), value: [0; 24] };
        entry.set(&property(interface, SIOCGIFADDR).ok()?);
        Some(entry)
    };
    let mut all: Vec<Ifreq> = interfaces.iter().filter_map(of).collect();
    if conf.buf != 0 {
        all.truncate(conf.len.max(0) as usize / size_of::<Ifreq>());
        t.mem().write_bytes(Addr(conf.buf), all.as_bytes())?;
    }
    conf.len = (all.len() * size_of::<Ifreq>()) as i32;
    t.mem().write(arg, &conf).map(|()| 0)
}
