//! The interfaces that are the sandbox's own: the loopback one, and dummies that guests add. What the engine gave is the
//! [`stack`](super::stack)'s, and stays as it was given.

use super::stack::{self, link::Mac, route::Address};
use crate::errno::{Errno, SysResult};
use crate::sync::Mutex;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// Most interfaces that guests may add: each listing shows all.
const DEVICES_MAX: usize = 256;
/// Most addresses of one.
const ADDRESSES_MAX: usize = 256;
/// Index of the loopback interface.
pub const LOOPBACK: u32 = 1;
/// `IFNAMSIZ`, with the NUL.
const NAME_MAX: usize = 16;

/// An interface.
#[derive(Debug, Clone)]
pub struct Device {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its hardware address; zeros for the loopback.
    pub mac: Mac,
    /// Whether it is on.
    pub up: bool,
    /// Longest packet.
    pub mtu: u32,
    /// Length of its queue, which is only a number.
    pub txqlen: u32,
    /// Its addresses.
    pub addresses: Vec<Address>,
}

impl Device {
    /// Whether it is the loopback interface.
    pub fn is_loopback(&self) -> bool {
        self.index == LOOPBACK
    }
}

static DEVICES: LazyLock<Mutex<Vec<Device>>> = LazyLock::new(|| {
    Mutex::new(vec![Device {
        index: LOOPBACK,
        name: "lo".into(),
        mac: [0; 6],
        up: true,
        mtu: 65536,
        txqlen: 1000,
        addresses: vec![(Ipv4Addr::LOCALHOST.into(), 8), (Ipv6Addr::LOCALHOST.into(), 128)],
    }])
});

/// Whether anything differs from the start, which it seldom does.
static CHANGED: AtomicBool = AtomicBool::new(false);

/// All of them.
pub fn all() -> Vec<Device> {
    DEVICES.lock().clone()
}

/// Whether the loopback interface is on.
pub fn loopback_is_up() -> bool {
    !CHANGED.load(Ordering::Acquire) || DEVICES.lock().first().is_none_or(|lo| lo.up)
}

/// Index of the interface that has `ip`, other than the loopback's own addresses.
pub fn owner(ip: IpAddr) -> Option<u32> {
    if !CHANGED.load(Ordering::Acquire) {
        return None;
    }
    let devices = DEVICES.lock();
    devices.iter().find(|device| device.addresses.iter().any(|(own, _)| *own == ip)).map(|device| device.index)
}

/// Changes an interface: `ENODEV` if there is none with this index.
pub fn change<T>(index: u32, act: impl FnOnce(&mut Device) -> SysResult<T>) -> SysResult<T> {
    let mut devices = DEVICES.lock();
    let device = devices.iter_mut().find(|device| device.index == index).ok_or(Errno::NODEV)?;
    let done = act(device);
    CHANGED.store(true, Ordering::Release);
    done
}

/// Adds a dummy; returns its index.
pub fn add(name: Option<&str>, mac: Option<Mac>, mtu: u32) -> SysResult<u32> {
    let mut devices = DEVICES.lock();
    if devices.len() >= DEVICES_MAX {
        return Err(Errno::NOBUFS);
    }
    let taken = |name: &str| devices.iter().any(|device| device.name == name) || links().any(|link| link.name == name);
    let name = match name {
        Some(name) => name.to_owned(),
        None => (0..).map(|n| format!("dummy{n}")).find(|name| !taken(name)).ok_or(Errno::NOBUFS)?,
    };
    if name.is_empty() || name.len() >= NAME_MAX || name == "." || name == ".." || name.contains(['/', ':', ' ']) {
        return Err(Errno::INVAL);
    }
    if taken(&name) {
        return Err(Errno::EXIST);
    }
    let highest = devices.iter().map(|device| device.index).chain(links().map(|link| link.index)).max();
    let index = highest.unwrap_or(LOOPBACK) + 1;
    let [a, b, c, d] = stack::random().to_ne_bytes();
    // Given by nobody in particular: a locally administered address.
    let mac = mac.unwrap_or([0x02, 0x42, a, b, c, d]);
    devices.push(Device { index, name, mac, up: false, mtu, txqlen: 1000, addresses: Vec::new() });
    CHANGED.store(true, Ordering::Release);
    Ok(index)
}

fn links() -> impl Iterator<Item = &'static stack::link::Link> {
    stack::get().into_iter().flat_map(|stack| stack.links())
}

/// Removes a dummy.
pub fn remove(index: u32) -> SysResult<()> {
    let mut devices = DEVICES.lock();
    let at = devices.iter().position(|device| device.index == index).ok_or(Errno::NODEV)?;
    if index == LOOPBACK {
        return Err(Errno::OPNOTSUPP);
    }
    devices.remove(at);
    Ok(())
}

/// Gives an interface an address.
pub fn add_address(index: u32, address: Address) -> SysResult<()> {
    change(index, |device| {
        if device.addresses.contains(&address) {
            return Err(Errno::EXIST);
        }
        if device.addresses.len() >= ADDRESSES_MAX {
            return Err(Errno::NOBUFS);
        }
        device.addresses.push(address);
        Ok(())
    })
}

/// Takes an address from an interface.
pub fn remove_address(index: u32, (ip, prefix): (IpAddr, Option<u8>)) -> SysResult<Address> {
    change(index, |device| {
        let is_it = |own: &Address| own.0 == ip && prefix.is_none_or(|prefix| prefix == own.1);
        let at = device.addresses.iter().position(is_it).ok_or(Errno::ADDRNOTAVAIL)?;
        Ok(device.addresses.remove(at))
    })
}
