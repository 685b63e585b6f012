//! `cgroup2` and `cgroup`: the container's own control group as its root, to be read. Limits are those that the
//! sentry knows of; nothing can be changed from inside.

use super::boot::register_type;
use super::dentry::Dentry;
use super::pseudo::{Body, Directory, Fixed, FixedDir, Listed, Node, PseudoFs, Reader};
use super::superblock::{SuperBlock, alloc_dev};
use crate::errno::{Errno, SysResult};
use crate::kernel::group::add_usage;
use crate::kernel::machine;
use crate::kernel::pids::Figures;
use platform::Usage;
use std::any::Any;
use std::fmt::Display;
use std::sync::Arc;

/// `CGROUP2_SUPER_MAGIC` and `CGROUP_SUPER_MAGIC`.
const MAGIC_V2: u64 = 0x6367_7270;
const MAGIC_V1: u64 = 0x0027_e0eb;

const V2: &[(&str, Fixed)] = &[
    ("cgroup.controllers", Fixed::Text("cpuset cpu memory pids\n")),
    ("cgroup.events", Fixed::Text("populated 1\nfrozen 0\n")),
    ("cgroup.freeze", Fixed::Text("0\n")),
    ("cgroup.max.depth", Fixed::Text("0\n")),
    ("cgroup.max.descendants", Fixed::Text("0\n")),
    ("cgroup.procs", Fixed::File(0o444, procs)),
    ("cgroup.stat", Fixed::Text("nr_descendants 0\nnr_dying_descendants 0\n")),
    ("cgroup.subtree_control", Fixed::Text("\n")),
    ("cgroup.threads", Fixed::File(0o444, threads)),
    ("cgroup.type", Fixed::Text("domain\n")),
    ("cpu.max", Fixed::File(0o444, cpu_max)),
    ("cpu.stat", Fixed::File(0o444, cpu_stat)),
    ("cpu.weight", Fixed::Text("100\n")),
    ("cpuset.cpus", Fixed::Text("\n")),
    ("cpuset.cpus.effective", Fixed::File(0o444, cpus)),
    ("cpuset.mems", Fixed::Text("\n")),
    ("cpuset.mems.effective", Fixed::Text("0\n")),
    ("memory.current", Fixed::File(0o444, memory_used)),
    ("memory.high", Fixed::Text("max\n")),
    ("memory.low", Fixed::Text("0\n")),
    ("memory.max", Fixed::File(0o444, memory_max)),
    ("memory.min", Fixed::Text("0\n")),
    ("memory.swap.current", Fixed::Text("0\n")),
    ("memory.swap.max", Fixed::Text("0\n")),
    ("pids.current", Fixed::File(0o444, pids_current)),
    ("pids.events", Fixed::File(0o444, pids_events)),
    ("pids.events.local", Fixed::File(0o444, pids_events)),
    ("pids.max", Fixed::File(0o444, pids_max)),
    ("pids.peak", Fixed::File(0o444, pids_peak)),
];

/// What each hierarchy of the first version has.
const V1: &[(&str, Fixed)] = &[
    ("cgroup.clone_children", Fixed::Text("0\n")),
    ("cgroup.procs", Fixed::File(0o444, procs)),
    ("notify_on_release", Fixed::Text("0\n")),
    ("tasks", Fixed::File(0o444, threads)),
];

/// Controllers of the first version, with their files.
const CONTROLLERS: [(&str, &[(&str, Fixed)]); 8] = [
    ("blkio", &[]),
    (
        "cpu",
        &[
            ("cpu.cfs_period_us", Fixed::File(0o444, |_| line(quota().1))),
            ("cpu.cfs_quota_us", Fixed::File(0o444, |_| quota().0.map_or_else(|| line(-1), line))),
            ("cpu.shares", Fixed::Text("1024\n")),
            ("cpu.stat", Fixed::Text("nr_periods 0\nnr_throttled 0\nthrottled_time 0\n")),
        ],
    ),
    ("cpuacct", &[("cpuacct.usage", Fixed::File(0o444, cpuacct_usage))]),
    (
        "cpuset",
        &[
            ("cpuset.cpus", Fixed::File(0o444, cpus)),
            ("cpuset.effective_cpus", Fixed::File(0o444, cpus)),
            ("cpuset.effective_mems", Fixed::Text("0\n")),
            ("cpuset.mems", Fixed::Text("0\n")),
        ],
    ),
    ("devices", &[("devices.list", Fixed::Text("a *:* rwm\n"))]),
    ("freezer", &[]),
    (
        "memory",
        &[
            ("memory.failcnt", Fixed::Text("0\n")),
            ("memory.limit_in_bytes", Fixed::File(0o444, |_| line(memory_limit().unwrap_or(UNLIMITED_V1)))),
            ("memory.soft_limit_in_bytes", Fixed::File(0o444, |_| line(UNLIMITED_V1))),
            ("memory.swappiness", Fixed::Text("60\n")),
            ("memory.usage_in_bytes", Fixed::File(0o444, memory_used)),
            ("memory.use_hierarchy", Fixed::Text("1\n")),
        ],
    ),
    (
        "pids",
        &[
            ("pids.current", Fixed::File(0o444, pids_current)),
            ("pids.events", Fixed::File(0o444, pids_events)),
            ("pids.max", Fixed::File(0o444, pids_max)),
            ("pids.peak", Fixed::File(0o444, pids_peak)),
        ],
    ),
];

/// What `memory.limit_in_bytes` says where there is no limit: the largest number of whole pages.
const UNLIMITED_V1: u64 = 0x7fff_ffff_ffff_f000;

/// Registers both file systems.
pub(super) fn register() {
    register_type("cgroup2", |source, _| {
        let dev = alloc_dev();
        Ok(make("cgroup2", MAGIC_V2, dev, Body::Dir(Box::new(FixedDir { dev, ino: 1, entries: V2 })), source))
    });
    register_type("cgroup", |source, options| {
        let dev = alloc_dev();
        Ok(make("cgroup", MAGIC_V1, dev, Body::Dir(Box::new(Hierarchy::new(dev, options)?)), source))
    });
}

fn make(fstype: &'static str, magic: u64, dev: u64, root: Body, source: &str) -> Arc<Dentry> {
    SuperBlock::make(PseudoFs { fstype, dev, magic }, Arc::new(Node::new(dev, 1, 0o555, root)), source)
}

/// The root of a hierarchy of the first version: the files of its controllers.
struct Hierarchy {
    parts: Vec<FixedDir>,
}

impl Hierarchy {
    fn new(dev: u64, options: &[u8]) -> SysResult<Hierarchy> {
        let words = || options.split(|b| *b == b',').filter(|word| !word.is_empty());
        let is_all = words().all(|word| word == b"all");
        let mut parts = vec![FixedDir { dev, ino: 1, entries: V1 }];
        for (at, (name, entries)) in CONTROLLERS.iter().enumerate() {
            if is_all || words().any(|word| word == name.as_bytes()) {
                parts.push(FixedDir { dev, ino: 2 + at as u64, entries });
            }
        }
        let is_option = |word: &[u8]| matches!(word, b"all" | b"none" | b"xattr" | b"noprefix" | b"clone_children");
        let is_known = |word: &[u8]| {
            let is_controller = CONTROLLERS.iter().any(|(name, _)| name.as_bytes() == word);
            is_controller || is_option(word) || word.starts_with(b"name=")
        };
        if words().all(is_known) { Ok(Hierarchy { parts }) } else { Err(Errno::INVAL) }
    }
}

impl Directory for Hierarchy {
    fn lookup(&self, reader: &Reader, name: &[u8]) -> SysResult<Node> {
        self.parts.iter().find_map(|part| part.lookup(reader, name).ok()).ok_or(Errno::NOENT)
    }

    fn list(&self, reader: &Reader) -> SysResult<Vec<Listed>> {
        /// More than any controller has files.
        const APART: u64 = 64;
        let mut all = Vec::new();
        for (n, part) in self.parts.iter().enumerate() {
            all.extend(part.list(reader)?.into_iter().map(|entry| Listed { at: entry.at + n as u64 * APART, ..entry }));
        }
        Ok(all)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn line(value: impl Display) -> SysResult<Vec<u8>> {
    Ok(format!("{value}\n").into_bytes())
}

fn lines(ids: Vec<i32>) -> SysResult<Vec<u8>> {
    Ok(ids.into_iter().map(|id| format!("{id}\n")).collect::<String>().into_bytes())
}

fn procs(reader: &Reader) -> SysResult<Vec<u8>> {
    lines(reader.kernel().tree.lock().nodes().map(|(pid, _)| pid).collect())
}

fn threads(reader: &Reader) -> SysResult<Vec<u8>> {
    let tree = reader.kernel().tree.lock();
    lines(tree.nodes().flat_map(|(_, node)| node.group.tasks()).map(|task| task.tid()).collect())
}

fn pids(reader: &Reader) -> Figures {
    reader.kernel().pids.figures()
}

fn pids_current(reader: &Reader) -> SysResult<Vec<u8>> {
    line(pids(reader).current)
}

fn pids_peak(reader: &Reader) -> SysResult<Vec<u8>> {
    line(pids(reader).peak)
}

fn pids_max(reader: &Reader) -> SysResult<Vec<u8>> {
    pids(reader).max.map_or_else(|| line("max"), line)
}

fn pids_events(reader: &Reader) -> SysResult<Vec<u8>> {
    line(format_args!("max {}", pids(reader).refused))
}

fn cpus(_: &Reader) -> SysResult<Vec<u8>> {
    match machine::host_processors().saturating_sub(1) {
        0 => line(0),
        last => line(format_args!("0-{last}")),
    }
}

/// Microseconds of a processor per period, and the period.
fn quota() -> (Option<u64>, u64) {
    /// `CONFIG_CFS_BANDWIDTH`'s default: 100 ms.
    const PERIOD: u64 = 100_000;
    machine::cpu_quota().map_or((None, PERIOD), |(quota, period)| (Some(quota), period))
}

fn cpu_max(_: &Reader) -> SysResult<Vec<u8>> {
    match quota() {
        (Some(quota), period) => line(format_args!("{quota} {period}")),
        (None, period) => line(format_args!("max {period}")),
    }
}

/// What all processes that live or were waited for have used.
fn usage(reader: &Reader) -> Usage {
    let groups: Vec<_> = reader.kernel().tree.lock().nodes().map(|(_, node)| node.group.clone()).collect();
    let mut sum = Usage::default();
    for group in groups {
        add_usage(&mut sum, group.usage());
        let mut children = group.state.lock().children_usage.clone();
        add_usage(&mut sum, children.get());
    }
    sum
}

fn cpu_stat(reader: &Reader) -> SysResult<Vec<u8>> {
    let usage = usage(reader);
    let (user, system) = (usage.utime / 1000, usage.stime / 1000);
    line(format_args!("usage_usec {}\nuser_usec {user}\nsystem_usec {system}", user + system))
}

fn cpuacct_usage(reader: &Reader) -> SysResult<Vec<u8>> {
    let usage = usage(reader);
    line(usage.utime + usage.stime)
}

/// Unless it is more than the host has, which is how no limit looks.
fn memory_limit() -> Option<u64> {
    machine::memory().map(|(limit, _)| limit).filter(|limit| *limit < UNLIMITED_V1)
}

fn memory_max(_: &Reader) -> SysResult<Vec<u8>> {
    memory_limit().map_or_else(|| line("max"), line)
}

/// As the host counts it; without a group of the host, what the processes have resident.
fn memory_used(reader: &Reader) -> SysResult<Vec<u8>> {
    if let Some(used) = machine::memory_used() {
        return line(used);
    }
    let groups: Vec<_> = reader.kernel().tree.lock().nodes().map(|(_, node)| node.group.clone()).collect();
    line(groups.iter().map(|group| resident(&*group.process())).sum::<u64>())
}

fn resident(process: &dyn platform::Process) -> u64 {
    let statm = process.proc_file("statm").unwrap_or_default();
    let pages = String::from_utf8_lossy(&statm).split_ascii_whitespace().nth(1).and_then(|word| word.parse().ok());
    pages.unwrap_or(0u64).saturating_mul(crate::loader::PAGE)
}
