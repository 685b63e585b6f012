//! Files about the machine.

use super::host;
use crate::errno::SysResult;
use crate::fs::boot;
use crate::fs::pseudo::Reader;
use crate::kernel::machine;
use crate::syscalls::system::{RELEASE, VERSION};
use std::fmt::Write;
use std::time::UNIX_EPOCH;

/// Lines of the host's `meminfo` that are shown: what the sandbox runs in, nothing of what the host is made of.
const MEMORY: [&str; 29] = [
    "MemTotal",
    "MemFree",
    "MemAvailable",
    "Buffers",
    "Cached",
    "SwapCached",
    "Active",
    "Inactive",
    "Active(anon)",
    "Inactive(anon)",
    "Active(file)",
    "Inactive(file)",
    "Unevictable",
    "Mlocked",
    "SwapTotal",
    "SwapFree",
    "Dirty",
    "Writeback",
    "AnonPages",
    "Mapped",
    "Shmem",
    "Slab",
    "SReclaimable",
    "SUnreclaim",
    "PageTables",
    "CommitLimit",
    "Committed_AS",
    "VmallocTotal",
    "Hugepagesize",
];

/// `/proc/cpuinfo`: the processors are the host's, and guests can ask them themselves. No more than there are to run on.
pub(super) fn cpuinfo(_: &Reader) -> SysResult<Vec<u8>> {
    let text = String::from_utf8_lossy(&host::read("cpuinfo")?).into_owned();
    let shown = text.split_inclusive("\n\n").take(machine::processors() as usize);
    Ok(shown.collect::<String>().into_bytes())
}

/// `/proc/meminfo`.
pub(super) fn meminfo(_: &Reader) -> SysResult<Vec<u8>> {
    let text = String::from_utf8_lossy(&host::read("meminfo")?).into_owned();
    let share = share();
    let mut out = String::new();
    for (name, value) in text.lines().filter_map(|line| line.split_once(':')).filter(|(name, _)| MEMORY.contains(name))
    {
        let kibibytes: u64 = value.trim().trim_end_matches(" kB").parse().unwrap_or(0);
        let _ = writeln!(
            out,
            "{:<16}{:>8} kB",
            format!("{name}:"),
            share.as_ref().map_or(kibibytes, |share| share.of(name, kibibytes))
        );
    }
    for name in ["HugePages_Total", "HugePages_Free", "HugePages_Rsvd", "HugePages_Surp"] {
        let _ = writeln!(out, "{:<16}{:>8}", format!("{name}:"), 0);
    }
    Ok(out.into_bytes())
}

/// What a limit leaves of the host's memory, in KiB.
struct Share {
    limit: u64,
    used: u64,
}

fn share() -> Option<Share> {
    let (limit, used) = machine::memory()?;
    let host = rustix::system::sysinfo();
    let is_less = limit < host.totalram.saturating_mul(u64::from(host.mem_unit));
    is_less.then(|| Share { limit: limit / 1024, used: used.min(limit) / 1024 })
}

impl Share {
    /// A line of `/proc/meminfo`: the sandbox has no more of anything than it uses in all.
    fn of(&self, name: &str, host: u64) -> u64 {
        match name {
            "MemTotal" => self.limit,
            "MemFree" | "MemAvailable" => host.min(self.limit - self.used),
            "CommitLimit" => host.min(self.limit),
            "VmallocTotal" | "Hugepagesize" => host,
            // How much of the use these are is not known; with MemFree they must not be more than there is.
            "Buffers" | "Cached" | "SwapCached" | "Slab" | "SReclaimable" | "SUnreclaim" => 0,
            "SwapTotal" | "SwapFree" => 0,
            _ => host.min(self.used),
        }
    }
}

/// `/proc/stat`.
pub(super) fn stat(reader: &Reader) -> SysResult<Vec<u8>> {
    let text = String::from_utf8_lossy(&host::read("stat")?).into_owned();
    // The first line is the sum of all.
    let shown = text.lines().filter(|line| line.starts_with("cpu")).take(1 + machine::processors() as usize);
    let mut out: String = shown.flat_map(|line| [line, "\n"]).collect();
    let kernel = reader.kernel();
    let booted = kernel.boot_time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let forks = kernel.forks.load(std::sync::atomic::Ordering::Relaxed);
    let _ = write!(
        out,
        "intr 0\nctxt 0\nbtime {booted}\nprocesses {forks}\nprocs_running 1\nprocs_blocked 0\nsoftirq 0 0 0 0 0 0 0 0 0 0 0\n"
    );
    Ok(out.into_bytes())
}

/// `/proc/uptime`.
pub(super) fn uptime(reader: &Reader) -> SysResult<Vec<u8>> {
    let up = reader.kernel().started.elapsed().as_secs_f64();
    Ok(format!("{up:.2} {:.2}\n", 0.0).into_bytes())
}

/// `/proc/loadavg`.
pub(super) fn loadavg(reader: &Reader) -> SysResult<Vec<u8>> {
    /// Loads of `sysinfo(2)` are in units of this.
    const UNIT: f64 = 65536.0;
    let loads = rustix::system::sysinfo().loads.map(|load| load as f64 / UNIT);
    let tree = reader.kernel().tree.lock();
    let (tasks, last) = (tree.task_count(), tree.last_pid());
    let [one, five, fifteen] = loads;
    Ok(format!("{one:.2} {five:.2} {fifteen:.2} 1/{tasks} {last}\n").into_bytes())
}

/// `/proc/version`.
pub(super) fn version(_: &Reader) -> SysResult<Vec<u8>> {
    Ok(format!("Linux version {RELEASE} (runsc) {VERSION}\n").into_bytes())
}

/// `/proc/filesystems`.
pub(super) fn filesystems(_: &Reader) -> SysResult<Vec<u8>> {
    Ok(boot::types().into_iter().map(|name| format!("nodev\t{name}\n")).collect::<String>().into_bytes())
}

/// `/proc/devices`.
pub(super) fn devices(_: &Reader) -> SysResult<Vec<u8>> {
    Ok(b"Character devices:\n  1 mem\n  5 /dev/tty\n  5 /dev/console\n  5 /dev/ptmx\n136 pts\n\nBlock devices:\n"
        .to_vec())
}

/// `/proc/vmstat`.
pub(super) fn vmstat(_: &Reader) -> SysResult<Vec<u8>> {
    host::read("vmstat")
}
