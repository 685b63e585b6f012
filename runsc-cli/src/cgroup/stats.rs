//! What a container uses, in the shapes of runc's `events`.

use super::{Cgroup, Version, key, v1};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Ticks of `cpuacct.stat` in a second: the host's USER_HZ, the same everywhere.
const USER_HZ: u64 = 100;

const NANOSECONDS: u64 = 1_000_000_000;

/// `data` of an event of the type `stats`.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Stats {
    cpu: Cpu,
    cpuset: Cpuset,
    memory: Memory,
    pids: Pids,
    blkio: Blkio,
    hugetlb: BTreeMap<String, Entry>,
    intel_rdt: Empty,
    /// Of the container's network namespace, which this module does not know.
    pub(crate) network_interfaces: Vec<NetworkInterface>,
}

/// An object without members.
#[derive(Debug, Default, Serialize)]
struct Empty {}

#[derive(Debug, Default, Serialize)]
struct Cpu {
    usage: CpuUsage,
    throttling: Throttling,
}

/// Nanoseconds.
#[derive(Debug, Default, Serialize)]
struct CpuUsage {
    #[serde(skip_serializing_if = "is_zero")]
    total: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    percpu: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    percpu_kernel: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    percpu_user: Vec<u64>,
    kernel: u64,
    user: u64,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Throttling {
    #[serde(skip_serializing_if = "is_zero")]
    periods: u64,
    #[serde(skip_serializing_if = "is_zero")]
    throttled_periods: u64,
    /// Nanoseconds.
    #[serde(skip_serializing_if = "is_zero")]
    throttled_time: u64,
}

#[derive(Debug, Default, Serialize)]
struct Cpuset {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cpus: Vec<u16>,
    cpu_exclusive: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mems: Vec<u16>,
    mem_hardwall: u64,
    mem_exclusive: u64,
    memory_migrate: u64,
    memory_spread_page: u64,
    memory_spread_slab: u64,
    memory_pressure: u64,
    sched_load_balance: u64,
    sched_relax_domain_level: i64,
}

#[derive(Debug, Default, Serialize)]
struct Memory {
    #[serde(skip_serializing_if = "is_zero")]
    cache: u64,
    usage: Entry,
    swap: Entry,
    kernel: Entry,
    #[serde(rename = "kernelTCP")]
    kernel_tcp: Entry,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    raw: BTreeMap<String, u64>,
}

#[derive(Debug, Default, Serialize)]
struct Entry {
    limit: u64,
    #[serde(skip_serializing_if = "is_zero")]
    usage: u64,
    #[serde(skip_serializing_if = "is_zero")]
    max: u64,
    failcnt: u64,
}

#[derive(Debug, Default, Serialize)]
struct Pids {
    #[serde(skip_serializing_if = "is_zero")]
    current: u64,
    #[serde(skip_serializing_if = "is_zero")]
    limit: u64,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Blkio {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    io_service_bytes_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    io_serviced_recursive: Vec<BlkioEntry>,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct BlkioEntry {
    #[serde(skip_serializing_if = "is_zero")]
    major: u64,
    #[serde(skip_serializing_if = "is_zero")]
    minor: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    op: String,
    #[serde(skip_serializing_if = "is_zero")]
    value: u64,
}

/// One interface of the container.
#[derive(Debug, Default, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct NetworkInterface {
    pub(crate) name: String,
    pub(crate) rx_bytes: u64,
    pub(crate) rx_packets: u64,
    pub(crate) rx_errors: u64,
    pub(crate) rx_dropped: u64,
    pub(crate) tx_bytes: u64,
    pub(crate) tx_packets: u64,
    pub(crate) tx_errors: u64,
    pub(crate) tx_dropped: u64,
}

impl NetworkInterface {
    /// Those in the network namespace of a process, but `lo`: of those that a sandbox has taken over the host still
    /// counts what comes and goes.
    pub(crate) fn of_process(pid: i32) -> Vec<NetworkInterface> {
        let text = fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap_or_default();
        text.lines().filter_map(NetworkInterface::parse).filter(|interface| interface.name != "lo").collect()
    }

    /// A line of `/proc/net/dev`: bytes, packets, errors, dropped and four more, received and then sent.
    fn parse(line: &str) -> Option<NetworkInterface> {
        let (name, numbers) = line.split_once(':')?;
        let numbers: Vec<u64> = numbers.split_whitespace().map_while(|number| number.parse().ok()).collect();
        let [rx_bytes, rx_packets, rx_errors, rx_dropped, _, _, _, _, tx_bytes, tx_packets, tx_errors, tx_dropped, ..] =
            numbers[..]
        else {
            return None;
        };
        Some(NetworkInterface {
            name: name.trim().to_owned(),
            rx_bytes,
            rx_packets,
            rx_errors,
            rx_dropped,
            tx_bytes,
            tx_packets,
            tx_errors,
            tx_dropped,
        })
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl Stats {
    /// What the container counts of its threads, in place of what the host counts of processes behind them.
    pub(crate) fn set_pids(&mut self, current: u64, limit: Option<u64>) {
        self.pids = Pids { current, limit: limit.unwrap_or(0) };
    }
}

impl Cgroup {
    /// The figures of now. What the host does not count is 0.
    pub(crate) fn stats(&self) -> Stats {
        match self.version {
            Version::V1 => self.stats_v1(),
            Version::V2 => self.v2().map(stats_v2).unwrap_or_default(),
        }
    }

    fn stats_v1(&self) -> Stats {
        let dir = |controller: &str| Dir(self.v1(controller).map(Path::to_path_buf).unwrap_or_default());
        let pids = dir("pids");
        let apart = Dir(v1::sandbox_pids(&pids.0));
        Stats {
            cpu: cpu_v1(&dir("cpuacct"), &dir("cpu")),
            cpuset: cpuset(&dir("cpuset")),
            memory: memory_v1(&dir("memory")),
            pids: Pids {
                current: pids.number("pids.current") + apart.number("pids.current"),
                limit: pids.number("pids.max"),
            },
            blkio: blkio_v1(&dir("blkio")),
            hugetlb: hugetlb(&dir("hugetlb"), ["limit_in_bytes", "usage_in_bytes", "max_usage_in_bytes"]),
            ..Stats::default()
        }
    }
}

/// A group's directory; what cannot be read is empty.
struct Dir(PathBuf);

impl Dir {
    fn text(&self, file: &str) -> String {
        fs::read_to_string(self.0.join(file)).unwrap_or_default()
    }

    /// `max` is 0, "no limit", as runc shows it.
    fn number(&self, file: &str) -> u64 {
        self.text(file).trim().parse().unwrap_or(0)
    }

    fn numbers(&self, file: &str) -> Vec<u64> {
        self.text(file).split_whitespace().filter_map(|n| n.parse().ok()).collect()
    }
}

fn cpu_v1(acct: &Dir, cpu: &Dir) -> Cpu {
    let split = acct.text("cpuacct.stat");
    let ticks = |name| key(&split, name) * (NANOSECONDS / USER_HZ);
    let throttling = cpu.text("cpu.stat");
    Cpu {
        usage: CpuUsage {
            total: acct.number("cpuacct.usage"),
            percpu: acct.numbers("cpuacct.usage_percpu"),
            percpu_kernel: acct.numbers("cpuacct.usage_percpu_sys"),
            percpu_user: acct.numbers("cpuacct.usage_percpu_user"),
            kernel: ticks("system"),
            user: ticks("user"),
        },
        throttling: Throttling {
            periods: key(&throttling, "nr_periods"),
            throttled_periods: key(&throttling, "nr_throttled"),
            throttled_time: key(&throttling, "throttled_time"),
        },
    }
}

fn cpuset(dir: &Dir) -> Cpuset {
    let number = |name: &str| dir.number(&format!("cpuset.{name}"));
    Cpuset {
        cpus: ranges(&dir.text("cpuset.cpus")),
        cpu_exclusive: number("cpu_exclusive"),
        mems: ranges(&dir.text("cpuset.mems")),
        mem_hardwall: number("mem_hardwall"),
        mem_exclusive: number("mem_exclusive"),
        memory_migrate: number("memory_migrate"),
        memory_spread_page: number("memory_spread_page"),
        memory_spread_slab: number("memory_spread_slab"),
        memory_pressure: number("memory_pressure"),
        sched_load_balance: number("sched_load_balance"),
        sched_relax_domain_level: dir.text("cpuset.sched_relax_domain_level").trim().parse().unwrap_or(0),
    }
}

/// `0-2,5` as its members.
fn ranges(text: &str) -> Vec<u16> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse::<u16>().ok()?..=last.parse::<u16>().ok()?)
    };
    text.trim().split(',').filter_map(range).flatten().collect()
}

fn memory_v1(dir: &Dir) -> Memory {
    let entry = |prefix: &str| Entry {
        limit: dir.number(&format!("{prefix}.limit_in_bytes")),
        usage: dir.number(&format!("{prefix}.usage_in_bytes")),
        max: dir.number(&format!("{prefix}.max_usage_in_bytes")),
        failcnt: dir.number(&format!("{prefix}.failcnt")),
    };
    let raw = pairs(&dir.text("memory.stat"));
    Memory {
        cache: raw.get("cache").copied().unwrap_or(0),
        usage: entry("memory"),
        swap: entry("memory.memsw"),
        kernel: entry("memory.kmem"),
        kernel_tcp: entry("memory.kmem.tcp"),
        raw,
    }
}

fn pairs(text: &str) -> BTreeMap<String, u64> {
    let pair = |line: &str| line.split_once(' ').and_then(|(name, n)| Some((name.to_owned(), n.parse().ok()?)));
    text.lines().filter_map(pair).collect()
}

/// The scheduler's own count where there is one, else what passed the throttle.
fn blkio_v1(dir: &Dir) -> Blkio {
    let read = |name: &str| {
        let files = [format!("blkio.bfq.{name}_recursive"), format!("blkio.throttle.{name}_recursive")];
        files.iter().map(|file| blkio_entries(&dir.text(file))).find(|found| !found.is_empty()).unwrap_or_default()
    };
    Blkio { io_service_bytes_recursive: read("io_service_bytes"), io_serviced_recursive: read("io_serviced") }
}

/// Lines of `major:minor operation value`; the last, a total of all devices, is not of one.
fn blkio_entries(text: &str) -> Vec<BlkioEntry> {
    let entry = |line: &str| {
        let mut words = line.split_whitespace();
        let (major, minor) = words.next()?.split_once(':')?;
        let op = words.next()?.to_owned();
        Some(BlkioEntry {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
            op,
            value: words.next()?.parse().ok()?,
        })
    };
    text.lines().filter_map(entry).collect()
}

fn hugetlb(dir: &Dir, [limit, usage, max]: [&str; 3]) -> BTreeMap<String, Entry> {
    let names = fs::read_dir(&dir.0).into_iter().flatten().flatten().filter_map(|e| e.file_name().into_string().ok());
    let sizes = names.filter_map(|name| {
        let size = name.strip_prefix("hugetlb.")?.strip_suffix(limit)?.strip_suffix('.')?;
        (!size.contains('.')).then(|| size.to_owned())
    });
    let entry = |size: String| {
        let number = |what: &str| dir.number(&format!("hugetlb.{size}.{what}"));
        let failcnt = number("failcnt") + key(&dir.text(&format!("hugetlb.{size}.events")), "max");
        (size.clone(), Entry { limit: 0, usage: number(usage), max: number(max), failcnt })
    };
    sizes.map(entry).collect()
}

fn stats_v2(dir: &Path) -> Stats {
    let dir = Dir(dir.to_path_buf());
    let cpu = dir.text("cpu.stat");
    let microseconds = |name| key(&cpu, name) * 1000;
    let raw = pairs(&dir.text("memory.stat"));
    let events = dir.text("memory.events");
    let memory = Entry {
        limit: dir.number("memory.max"),
        usage: dir.number("memory.current"),
        max: dir.number("memory.peak"),
        failcnt: key(&events, "max"),
    };
    // Version 2 counts swap alone; these figures are of memory and swap together.
    let swap = Entry {
        limit: dir.number("memory.swap.max").saturating_add(memory.limit),
        usage: dir.number("memory.swap.current").saturating_add(memory.usage),
        ..Entry::default()
    };
    let (bytes, operations) = io_v2(&dir.text("io.stat"));
    Stats {
        cpu: Cpu {
            usage: CpuUsage {
                total: microseconds("usage_usec"),
                kernel: microseconds("system_usec"),
                user: microseconds("user_usec"),
                ..CpuUsage::default()
            },
            throttling: Throttling {
                periods: key(&cpu, "nr_periods"),
                throttled_periods: key(&cpu, "nr_throttled"),
                throttled_time: microseconds("throttled_usec"),
            },
        },
        memory: Memory { cache: raw.get("file").copied().unwrap_or(0), usage: memory, swap, raw, ..Memory::default() },
        pids: Pids { current: dir.number("pids.current"), limit: dir.number("pids.max") },
        blkio: Blkio { io_service_bytes_recursive: bytes, io_serviced_recursive: operations },
        hugetlb: hugetlb(&dir, ["max", "current", "peak"]),
        ..Stats::default()
    }
}

/// Bytes and operations from lines of `major:minor rbytes=N wbytes=N rios=N …`.
fn io_v2(text: &str) -> (Vec<BlkioEntry>, Vec<BlkioEntry>) {
    let (mut bytes, mut operations) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let device = words.next().and_then(|d| d.split_once(':'));
        let Some((Ok(major), Ok(minor))) = device.map(|(major, minor)| (major.parse(), minor.parse())) else {
            continue;
        };
        for (name, value) in words.filter_map(|word| word.split_once('=')) {
            let (list, op) = match name {
                "rbytes" => (&mut bytes, "Read"),
                "wbytes" => (&mut bytes, "Write"),
                "dbytes" => (&mut bytes, "Discard"),
                "rios" => (&mut operations, "Read"),
                "wios" => (&mut operations, "Write"),
                "dios" => (&mut operations, "Discard"),
                _ => continue,
            };
            list.push(BlkioEntry { major, minor, op: op.to_owned(), value: value.parse().unwrap_or(0) });
        }
    }
    (bytes, operations)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_processors() {
        assert_eq!(ranges("0-2,5\n"), [0, 1, 2, 5]);
        assert!(ranges("\n").is_empty());
    }

    #[test]
    fn traffic_of_devices() {
        let entry = |op: &str, value| BlkioEntry { major: 8, minor: 0, op: op.to_owned(), value };
        assert_eq!(blkio_entries("8:0 Read 7\n8:0 Write 9\nTotal 16\n"), [entry("Read", 7), entry("Write", 9)]);
        let (bytes, operations) = io_v2("8:0 rbytes=5 wbytes=6 rios=1 wios=2\n");
        assert_eq!(bytes, [entry("Read", 5), entry("Write", 6)]);
        assert_eq!(operations, [entry("Read", 1), entry("Write", 2)]);
    }

    #[test]
    fn what_is_absent_is_nothing() {
        let stats = serde_json::to_value(stats_v2(Path::new("/nonexistent"))).expect("it serializes");
        assert_eq!(stats["pids"], serde_json::json!({}));
        assert_eq!(stats["memory"]["usage"], serde_json::json!({"limit": 0, "failcnt": 0}));
    }
}
