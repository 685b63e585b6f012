//! `sysfs(5)`: what programs look up of the machine: processors, network interfaces, empty lists of devices.

mod net;

use super::boot::register_type;
use super::pseudo::{Body, Directory, Fixed, FixedDir, Listed, Node, PseudoFs, Reader};
use super::superblock::{SuperBlock, alloc_dev};
use crate::errno::{Errno, SysResult};
use crate::fs::attr::FileKind;
use crate::kernel::machine::{host_processors, processors};
use std::any::Any;
use std::sync::Arc;

/// `SYSFS_MAGIC`.
const MAGIC: u64 = 0x6265_6572;

const ROOT: &[(&str, Fixed)] = &[
    ("block", Fixed::Dir(&[])),
    ("bus", Fixed::Dir(&[])),
    ("class", Fixed::Dir(CLASS)),
    ("dev", Fixed::Dir(&[("block", Fixed::Dir(&[])), ("char", Fixed::Dir(&[]))])),
    ("devices", Fixed::Dir(DEVICES)),
    ("firmware", Fixed::Dir(&[])),
    ("fs", Fixed::Dir(&[("cgroup", Fixed::Dir(&[]))])),
    ("kernel", Fixed::Dir(KERNEL)),
    ("module", Fixed::Dir(&[])),
    ("power", Fixed::Dir(&[])),
];

const CLASS: &[(&str, Fixed)] = &[("net", Fixed::Made(net::class))];

const DEVICES: &[(&str, Fixed)] = &[
    ("system", Fixed::Dir(&[("cpu", Fixed::Made(cpus)), ("node", Fixed::Dir(NODES))])),
    ("virtual", Fixed::Dir(&[("net", Fixed::Made(net::devices))])),
];

const NODES: &[(&str, Fixed)] = &[
    ("has_cpu", Fixed::Text("0\n")),
    ("node0", Fixed::Dir(NODE)),
    ("online", Fixed::Text("0\n")),
    ("possible", Fixed::Text("0\n")),
];

const NODE: &[(&str, Fixed)] = &[
    ("cpulist", Fixed::File(0o444, online)),
    ("cpumap", Fixed::File(0o444, all_mask)),
    ("distance", Fixed::Text("10\n")),
];

const KERNEL: &[(&str, Fixed)] = &[
    ("mm", Fixed::Dir(&[("transparent_hugepage", Fixed::Dir(HUGE))])),
    ("security", Fixed::Dir(&[])),
    ("uevent_seqnum", Fixed::Text("0\n")),
];

const HUGE: &[(&str, Fixed)] = &[
    ("enabled", Fixed::Text("always [madvise] never\n")),
    ("hpage_pmd_size", Fixed::Text("2097152\n")),
    ("shmem_enabled", Fixed::Text("always within_size advise [never] deny force\n")),
];

/// Registers the file system.
pub fn register() {
    register_type("sysfs", |source, _| {
        let dev = alloc_dev();
        let root = Node::new(dev, 1, 0o555, Body::Dir(Box::new(FixedDir { dev, ino: 1, entries: ROOT })));
        Ok(SuperBlock::make(PseudoFs { fstype: "sysfs", dev, magic: MAGIC }, Arc::new(root), source))
    });
}

/// A list of processors such as `0-3`.
fn list(count: u32) -> SysResult<Vec<u8>> {
    let last = count.saturating_sub(1);
    Ok(if last == 0 { b"0\n".to_vec() } else { format!("0-{last}\n").into_bytes() })
}

fn online(_: &Reader) -> SysResult<Vec<u8>> {
    list(processors())
}

/// Programs take this for the numbers that a processor may have.
fn possible(_: &Reader) -> SysResult<Vec<u8>> {
    list(host_processors())
}

/// `/sys/devices/system/cpu`.
fn cpus(dev: u64, ino: u64) -> Box<dyn Directory> {
    Box::new(CpusDir { dev, ino })
}

struct CpusDir {
    dev: u64,
    ino: u64,
}

const CPUS: &[(&str, Fixed)] = &[
    ("isolated", Fixed::Text("\n")),
    ("kernel_max", Fixed::Text("8191\n")),
    ("offline", Fixed::Text("\n")),
    ("online", Fixed::File(0o444, online)),
    ("possible", Fixed::File(0o444, possible)),
    ("present", Fixed::File(0o444, possible)),
];

impl CpusDir {
    fn fixed(&self) -> FixedDir {
        FixedDir { dev: self.dev, ino: self.ino, entries: CPUS }
    }

    fn cpu_ino(&self, number: u32) -> u64 {
        (self.ino << 24) + (1 << 20) + u64::from(number)
    }
}

impl Directory for CpusDir {
    fn lookup(&self, reader: &Reader, name: &[u8]) -> SysResult<Node> {
        let number = std::str::from_utf8(name).ok().and_then(|name| name.strip_prefix("cpu")?.parse::<u32>().ok());
        match number {
            Some(number) if number < processors() && format!("cpu{number}").as_bytes() == name => {
                let (dev, ino) = (self.dev, self.cpu_ino(number));
                Ok(Node::new(dev, ino, 0o555, Body::Dir(Box::new(CpuDir { dev, ino, number }))))
            }
            _ => self.fixed().lookup(reader, name),
        }
    }

    fn list(&self, reader: &Reader) -> SysResult<Vec<Listed>> {
        let mut entries = self.fixed().list(reader)?;
        let first = entries.len() as u64;
        entries.extend((0..processors()).map(|number| Listed {
            at: first + u64::from(number),
            name: format!("cpu{number}").into_bytes(),
            kind: FileKind::Directory,
            ino: self.cpu_ino(number),
        }));
        Ok(entries)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// `/sys/devices/system/cpu/cpuN`: its topology, each processor a core of its own.
struct CpuDir {
    dev: u64,
    ino: u64,
    number: u32,
}

/// What a file below `topology` says.
#[derive(Debug, Clone, Copy)]
enum Fact {
    /// The processor itself, as a bit mask or a list.
    OwnMask,
    OwnList,
    /// All processors, as a bit mask or a list.
    AllMask,
    AllList,
    /// The processor's number.
    Number,
    Zero,
}

const TOPOLOGY: [(&str, Fact); 15] = [
    ("core_cpus", Fact::OwnMask),
    ("core_cpus_list", Fact::OwnList),
    ("core_id", Fact::Number),
    ("core_siblings", Fact::AllMask),
    ("core_siblings_list", Fact::AllList),
    ("die_cpus", Fact::AllMask),
    ("die_cpus_list", Fact::AllList),
    ("die_id", Fact::Zero),
    ("package_cpus", Fact::AllMask),
    ("package_cpus_list", Fact::AllList),
    ("physical_package_id", Fact::Zero),
    ("thread_siblings", Fact::OwnMask),
    ("thread_siblings_list", Fact::OwnList),
    ("cluster_cpus", Fact::OwnMask),
    ("cluster_cpus_list", Fact::OwnList),
];

/// A bit mask of processors as the kernel writes it: words of 32 bits, the highest first.
fn mask(has: impl Fn(u32) -> bool) -> String {
    let words = processors().div_ceil(32);
    let word = |n: u32| (0..32).filter(|bit| has(n * 32 + bit)).fold(0u32, |word, bit| word | 1 << bit);
    let text: Vec<String> = (0..words).rev().map(|n| format!("{:08x}", word(n))).collect();
    let text = text.join(",");
    // The first word goes without leading zeros.
    let first = text.trim_start_matches('0');
    format!("{}\n", if first.is_empty() { "0" } else { first })
}

/// `/sys/devices/system/node/node0/cpumap`.
fn all_mask(_: &Reader) -> SysResult<Vec<u8>> {
    Ok(mask(|cpu| cpu < processors()).into_bytes())
}

impl Directory for CpuDir {
    fn lookup(&self, _: &Reader, name: &[u8]) -> SysResult<Node> {
        let ino = self.ino << 8;
        match name {
            b"online" => Ok(text(self.dev, ino + 1, "1\n".into())),
            b"topology" => {
                let dir = TopologyDir { dev: self.dev, ino: ino + 2, number: self.number };
                Ok(Node::new(self.dev, ino + 2, 0o555, Body::Dir(Box::new(dir))))
            }
            _ => Err(Errno::NOENT),
        }
    }

    fn list(&self, _: &Reader) -> SysResult<Vec<Listed>> {
        let ino = self.ino << 8;
        let entry = |at, name: &str, kind| Listed { at, name: name.into(), kind, ino: ino + at + 1 };
        Ok(vec![entry(0, "online", FileKind::Regular), entry(1, "topology", FileKind::Directory)])
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

struct TopologyDir {
    dev: u64,
    ino: u64,
    number: u32,
}

impl Directory for TopologyDir {
    fn lookup(&self, reader: &Reader, name: &[u8]) -> SysResult<Node> {
        let mut files = TOPOLOGY.iter().enumerate();
        let (at, (_, fact)) = files.find(|(_, (known, _))| known.as_bytes() == name).ok_or(Errno::NOENT)?;
        let content = match fact {
            Fact::OwnMask => mask(|cpu| cpu == self.number),
            Fact::AllMask => mask(|cpu| cpu < processors()),
            Fact::AllList => String::from_utf8_lossy(&online(reader)?).into_owned(),
            Fact::OwnList | Fact::Number => format!("{}\n", self.number),
            Fact::Zero => "0\n".into(),
        };
        Ok(text(self.dev, (self.ino << 8) + at as u64, content))
    }

    fn list(&self, _: &Reader) -> SysResult<Vec<Listed>> {
        let listed = TOPOLOGY.iter().enumerate().map(|(at, (name, _))| Listed {
            at: at as u64,
            name: name.as_bytes().to_vec(),
            kind: FileKind::Regular,
            ino: (self.ino << 8) + at as u64,
        });
        Ok(listed.collect())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn text(dev: u64, ino: u64, content: String) -> Node {
    let read = move |_: &Reader| Ok(content.clone().into_bytes());
    Node::new(dev, ino, 0o444, Body::File(Box::new(read)))
}
