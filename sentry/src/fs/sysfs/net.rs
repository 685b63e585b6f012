//! `/sys/class/net` and `/sys/devices/virtual/net`: a directory for each interface.

use super::text;
use crate::errno::{Errno, SysResult};
use crate::fs::attr::FileKind;
use crate::fs::pseudo::{Body, Directory, Listed, Node, Reader};
use crate::net::host;
use crate::net::namespace::Net;
use crate::net::stack::link::{BROADCAST, Device, Kind, Link, Mac, flag};
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The interfaces of the network that the reader sees.
fn all(reader: &Reader) -> Vec<Arc<Link>> {
    let net = reader.task.net();
    match host::of(&net) {
        Some(view) => view.interfaces().unwrap_or_default().into_iter().map(|link| of_host(link, &net)).collect(),
        None => net.layout().links().to_vec(),
    }
}

/// One of the host's.
fn of_host(interface: host::view::Interface, net: &Net) -> Arc<Link> {
    let device = match interface.hardware {
        libc::ARPHRD_LOOPBACK => Device::loopback(&net.weak()),
        _ => Device::shown(&net.weak()),
    };
    let up = interface.flags & flag::UP != 0;
    device.set_up(up);
    let [rx_bytes, rx_packets, tx_bytes, tx_packets, lost] = interface.passed;
    let c = &device.counters;
    let counters = [&c.rx_bytes, &c.rx_packets, &c.tx_bytes, &c.tx_packets, &c.tx_dropped];
    for (counter, value) in counters.into_iter().zip([rx_bytes, rx_packets, tx_bytes, tx_packets, lost]) {
        counter.store(value, Ordering::Relaxed);
    }
    let mac = interface.mac.as_slice().try_into().unwrap_or_default();
    let (index, mtu, txqlen) = (interface.index, interface.mtu as usize, interface.txqlen);
    let flags = interface.flags & !(flag::UP | flag::RUNNING | flag::LOWER_UP);
    Arc::new(Link { index, mtu, txqlen, up, flags, ..Link::new(interface.name, mac, device) })
}

/// The interface with a name.
fn find(reader: &Reader, name: &[u8]) -> SysResult<Arc<Link>> {
    all(reader).into_iter().find(|link| link.name.as_bytes() == name).ok_or(Errno::NOENT)
}

/// Its files and what they say.
fn files(link: &Link) -> Vec<(&'static str, String)> {
    let mac = |mac: Mac| mac.map(|byte| format!("{byte:02x}")).join(":");
    let all = if link.is_loopback() { [0; 6] } else { BROADCAST };
    // What others see of it is not a file's.
    let flags = link.all_flags() & !(flag::RUNNING | flag::LOWER_UP);
    let carrier = link.device.has_carrier();
    let is_silent = matches!(link.device.kind, Kind::Loopback | Kind::Dummy);
    let state = match () {
        () if !link.up => "down",
        () if is_silent => "unknown",
        () if carrier => "up",
        () => "lowerlayerdown",
    };
    let number = |value: u64| value.to_string();
    let peer = link.device.peer().and_then(|peer| peer.place()).map_or(link.index, |(_, peer)| peer.index);
    let has_wire = link.up && matches!(link.device.kind, Kind::Veth(_) | Kind::Host(_));
    let of_wire = OF_WIRES.map(|(name, told)| (name, if has_wire { told.to_owned() } else { String::new() }));
    let mut files = vec![
        ("addr_assign_type", number(0)),
        ("addr_len", number(6)),
        ("address", mac(link.mac)),
        ("broadcast", mac(all)),
        ("carrier", number(u64::from(carrier))),
        ("carrier_changes", number(0)),
        ("dev_id", "0x0".into()),
        ("dev_port", number(0)),
        ("dormant", number(0)),
        ("flags", format!("{flags:#x}")),
        ("ifalias", link.alias.clone()),
        ("ifindex", number(link.index.into())),
        ("iflink", number(peer.into())),
        ("link_mode", number(0)),
        ("mtu", number(link.mtu as u64)),
        ("name_assign_type", number(if link.is_loopback() { 2 } else { 3 })),
        ("netdev_group", number(link.group.into())),
        ("operstate", state.into()),
        ("proto_down", number(0)),
        ("tx_queue_len", number(link.txqlen.into())),
        ("type", number(if link.is_loopback() { 772 } else { 1 })),
        ("uevent", format!("INTERFACE={}\nIFINDEX={}", link.name, link.index)),
    ];
    files.extend(of_wire);
    files
}

/// What is counted of wires, and of what is compressed.
const NEVER: [&str; 14] = [
    "rx_compressed",
    "rx_crc_errors",
    "rx_fifo_errors",
    "rx_frame_errors",
    "rx_length_errors",
    "rx_missed_errors",
    "rx_nohandler",
    "rx_over_errors",
    "tx_aborted_errors",
    "tx_carrier_errors",
    "tx_compressed",
    "tx_fifo_errors",
    "tx_heartbeat_errors",
    "tx_window_errors",
];

/// What only interfaces that are on and have a wire tell, if in name alone: others refuse to be read.
const OF_WIRES: [(&str, &str); 2] = [("duplex", "full"), ("speed", "10000")];

fn statistics(link: &Link, net: &Net) -> Vec<(&'static str, String)> {
    let passed = link.passed(net);
    let rows = [
        ("collisions", 0),
        ("multicast", 0),
        ("rx_bytes", passed.rx_bytes),
        ("rx_dropped", passed.rx_dropped),
        ("rx_errors", 0),
        ("rx_packets", passed.rx_packets),
        ("tx_bytes", passed.tx_bytes),
        ("tx_dropped", passed.tx_dropped),
        ("tx_errors", 0),
        ("tx_packets", passed.tx_packets),
    ];
    // Nothing of the kind happens to frames here.
    let none = NEVER.iter().map(|name| (*name, 0));
    rows.into_iter().chain(none).map(|(name, value)| (name, value.to_string())).collect()
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
    fn lookup(&self, reader: &Reader, name: &[u8]) -> SysResult<Node> {
        let interface = find(reader, name)?;
        let ino = self.child(interface.index);
        if self.links {
            let target = format!("../../devices/virtual/net/{}", interface.name).into_bytes();
            return Ok(Node::new(self.dev, ino, 0o777, Body::Link(Box::new(move |_: &Reader| Ok(target.clone())))));
        }
        let dir = InterfaceDir { dev: self.dev, ino, name: name.to_vec(), statistics: false };
        Ok(Node::new(self.dev, ino, 0o555, Body::Dir(Box::new(dir))))
    }

    fn list(&self, reader: &Reader) -> SysResult<Vec<Listed>> {
        let kind = if self.links { FileKind::Symlink } else { FileKind::Directory };
        let listed = all(reader).into_iter().map(|interface| Listed {
            at: interface.index.into(),
            name: interface.name.clone().into_bytes(),
            kind,
            ino: self.child(interface.index),
        });
        Ok(listed.collect())
    }

    fn is_current(&self, reader: &Reader, name: &[u8], child: &Node) -> bool {
        // Another reader may see another interface of the name.
        find(reader, name).is_ok_and(|interface| self.child(interface.index) == crate::fs::inode::Inode::ino(child))
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
    fn rows(&self, reader: &Reader) -> SysResult<Vec<(&'static str, String)>> {
        let link = find(reader, &self.name)?;
        Ok(if self.statistics { statistics(&link, &reader.task.net()) } else { files(&link) })
    }
}

impl Directory for InterfaceDir {
    fn lookup(&self, reader: &Reader, name: &[u8]) -> SysResult<Node> {
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
                let rows = self.rows(reader)?;
                let found = rows.into_iter().enumerate().find(|(_, (known, _))| known.as_bytes() == name);
                let (at, (known, content)) = found.ok_or(Errno::NOENT)?;
                if content.is_empty() && OF_WIRES.iter().any(|(name, _)| *name == known) {
                    let body = Body::File(Box::new(|_: &Reader| Err(Errno::INVAL)));
                    return Ok(Node::new(self.dev, (self.ino << 7) + at as u64, 0o444, body));
                }
                Ok(text(self.dev, (self.ino << 7) + at as u64, content + "\n"))
            }
        }
    }

    fn list(&self, reader: &Reader) -> SysResult<Vec<Listed>> {
        let entry = |at, name: &str, kind, ino| Listed { at, name: name.into(), kind, ino };
        let mut all: Vec<_> = self
            .rows(reader)?
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
