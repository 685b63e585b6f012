//! `/sys/class/net` and `/sys/devices/virtual/net`: a directory for each interface.

use super::text;
use crate::errno::{Errno, SysResult};
use crate::fs::attr::FileKind;
use crate::fs::pseudo::{Body, Directory, Listed, Node, Reader};
use crate::net::counters;
use crate::net::devices;
use crate::net::host;
use crate::net::stack::{self, link::Mac};
use std::any::Any;
use std::sync::atomic::Ordering;

/// What is told of an interface.
struct Interface {
    index: u32,
    name: String,
    mac: Mac,
    mtu: u32,
    txqlen: u32,
    up: bool,
    loopback: bool,
    /// Bytes and packets received, then sent; packets lost.
    passed: [u64; 5],
}

fn all() -> Vec<Interface> {
    if let Some(view) = host::get() {
        return view.interfaces().unwrap_or_default().into_iter().map(of_host).collect();
    }
    let (bytes, packets) = (counters::LO_BYTES.get(), counters::LO_PACKETS.get());
    let own = devices::all().into_iter().map(|device| Interface {
        loopback: device.is_loopback(),
        passed: if device.is_loopback() { [bytes, packets, bytes, packets, 0] } else { [0; 5] },
        index: device.index,
        name: device.name,
        mac: device.mac,
        mtu: device.mtu,
        txqlen: device.txqlen,
        up: device.up,
    });
    let given = stack::get().into_iter().flat_map(|stack| stack.links()).map(|link| {
        let c = &link.counters;
        let counters = [&c.rx_bytes, &c.rx_packets, &c.tx_bytes, &c.tx_packets, &c.tx_dropped];
        Interface {
            index: link.index,
            name: link.name.clone(),
            mac: link.mac,
            mtu: link.mtu as u32,
            txqlen: 1000,
            up: true,
            loopback: false,
            passed: counters.map(|counter| counter.load(Ordering::Relaxed)),
        }
    });
    own.chain(given).collect()
}

/// One of the host's.
fn of_host(interface: host::view::Interface) -> Interface {
    let is = |flag: i32| interface.flags & flag as u32 != 0;
    Interface {
        up: is(libc::IFF_UP),
        loopback: is(libc::IFF_LOOPBACK),
        mac: interface.mac.as_slice().try_into().unwrap_or_default(),
        index: interface.index,
        name: interface.name,
        mtu: interface.mtu,
        txqlen: interface.txqlen,
        passed: interface.passed,
    }
}

impl Interface {
    fn find(name: &[u8]) -> SysResult<Interface> {
        all().into_iter().find(|interface| interface.name.as_bytes() == name).ok_or(Errno::NOENT)
    }

    /// Its files and what they say.
    fn files(&self) -> Vec<(&'static str, String)> {
        let mac = |mac: Mac| mac.map(|byte| format!("{byte:02x}")).join(":");
        let broadcast = if self.loopback { [0; 6] } else { stack::link::BROADCAST };
        let flags = if self.loopback { 8 } else { 0x1002 } | u32::from(self.up);
        let state = match (self.loopback, self.up) {
            (true, true) => "unknown",
            (false, true) => "up",
            _ => "down",
        };
        let number = |value: u64| value.to_string();
        vec![
            ("addr_assign_type", number(0)),
            ("addr_len", number(6)),
            ("address", mac(self.mac)),
            ("broadcast", mac(broadcast)),
            ("carrier", number(u64::from(self.up))),
            ("carrier_changes", number(0)),
            ("dev_id", "0x0".into()),
            ("dev_port", number(0)),
            ("dormant", number(0)),
            ("flags", format!("{flags:#x}")),
            ("ifalias", String::new()),
            ("ifindex", number(self.index.into())),
            ("iflink", number(self.index.into())),
            ("link_mode", number(0)),
            ("mtu", number(self.mtu.into())),
            ("netdev_group", number(0)),
            ("operstate", state.into()),
            ("tx_queue_len", number(self.txqlen.into())),
            ("type", number(if self.loopback { 772 } else { 1 })),
            ("uevent", format!("INTERFACE={}\nIFINDEX={}", self.name, self.index)),
        ]
    }

    fn statistics(&self) -> Vec<(&'static str, String)> {
        let [rx_bytes, rx, tx_bytes, tx, lost] = self.passed;
        let rows = [
            ("collisions", 0),
            ("multicast", 0),
            ("rx_bytes", rx_bytes),
            ("rx_dropped", 0),
            ("rx_errors", 0),
            ("rx_packets", rx),
            ("tx_bytes", tx_bytes),
            ("tx_dropped", lost),
            ("tx_errors", 0),
            ("tx_packets", tx),
        ];
        rows.map(|(name, value)| (name, value.to_string())).into()
    }
}

/// The directory of all interfaces; `links`: of links to their directories.
struct NetDir {
    dev: u64,
    ino: u64,
    links: bool,
}

/// `/sys/class/net`.
pub(super) fn class(dev: u64, ino: u64) -> Box<dyn Directory> {
    Box::new(NetDir { dev, ino, links: true })
}

/// `/sys/devices/virtual/net`.
pub(super) fn devices(dev: u64, ino: u64) -> Box<dyn Directory> {
    Box::new(NetDir { dev, ino, links: false })
}

impl NetDir {
    fn child(&self, index: u32) -> u64 {
        (self.ino << 24) + (1 << 20) + u64::from(index) * 4
    }
}

impl Directory for NetDir {
    fn lookup(&self, _: &Reader, name: &[u8]) -> SysResult<Node> {
        let interface = Interface::find(name)?;
        let ino = self.child(interface.index);
        if self.links {
            let target = format!("../../devices/virtual/net/{}", interface.name).into_bytes();
            return Ok(Node::new(self.dev, ino, 0o777, Body::Link(Box::new(move |_: &Reader| Ok(target.clone())))));
        }
        let dir = InterfaceDir { dev: self.dev, ino, name: name.to_vec(), statistics: false };
        Ok(Node::new(self.dev, ino, 0o555, Body::Dir(Box::new(dir))))
    }

    fn list(&self, _: &Reader) -> SysResult<Vec<Listed>> {
        let kind = if self.links { FileKind::Symlink } else { FileKind::Directory };
        let listed = all().into_iter().map(|interface| Listed {
            at: interface.index.into(),
            name: interface.name.into_bytes(),
            kind,
            ino: self.child(interface.index),
        });
        Ok(listed.collect())
    }

    fn is_current(&self, _: &Reader, name: &[u8], _: &Node) -> bool {
        Interface::find(name).is_ok()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The directory of an interface, or its `statistics`.
struct InterfaceDir {
    dev: u64,
    ino: u64,
    name: Vec<u8>,
    statistics: bool,
}

/// Where `statistics` and `subsystem` stand in a listing, behind all files.
const STATISTICS: u64 = 64;
const SUBSYSTEM: u64 = 65;

impl InterfaceDir {
    fn rows(&self) -> SysResult<Vec<(&'static str, String)>> {
        let interface = Interface::find(&self.name)?;
        Ok(if self.statistics { interface.statistics() } else { interface.files() })
    }
}

impl Directory for InterfaceDir {
    fn lookup(&self, _: &Reader, name: &[u8]) -> SysResult<Node> {
        match name {
            b"statistics" if !self.statistics => {
                let ino = self.ino + 1;
                let dir = InterfaceDir { dev: self.dev, ino, name: self.name.clone(), statistics: true };
                Ok(Node::new(self.dev, ino, 0o555, Body::Dir(Box::new(dir))))
            }
            b"subsystem" if !self.statistics => {
                let target = |_: &Reader| Ok(b"../../../../class/net".to_vec());
                Ok(Node::new(self.dev, self.ino + 2, 0o777, Body::Link(Box::new(target))))
            }
            _ => {
                let rows = self.rows()?;
                let found = rows.into_iter().enumerate().find(|(_, (known, _))| known.as_bytes() == name);
                let (at, (_, content)) = found.ok_or(Errno::NOENT)?;
                Ok(text(self.dev, (self.ino << 7) + at as u64, content + "\n"))
            }
        }
    }

    fn list(&self, _: &Reader) -> SysResult<Vec<Listed>> {
        let entry = |at, name: &str, kind, ino| Listed { at, name: name.into(), kind, ino };
        let mut all: Vec<_> = self
            .rows()?
            .iter()
            .enumerate()
            .map(|(at, (name, _))| entry(at as u64, name, FileKind::Regular, (self.ino << 7) + at as u64))
            .collect();
        if !self.statistics {
            all.push(entry(STATISTICS, "statistics", FileKind::Directory, self.ino + 1));
            all.push(entry(SUBSYSTEM, "subsystem", FileKind::Symlink, self.ino + 2));
        }
        Ok(all)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
