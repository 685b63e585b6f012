//! The machine that guests see: as large as the limits that its cgroups have at the moment, else as the host.

use super::container::Container;
use crate::boot::handle::Handle;
use crate::errno::SysResult;
use rustix::system::Sysinfo;
use serde::{Deserialize, Serialize};

/// Files of the container's cgroups, open for reading, so that changed limits are seen at once.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Limits {
    /// `memory.limit_in_bytes` or `memory.max`.
    pub memory_limit: Option<Handle>,
    /// `memory.usage_in_bytes` or `memory.current`.
    pub memory_usage: Option<Handle>,
    /// `cpu.cfs_quota_us` or `cpu.max`.
    pub cpu_quota: Option<Handle>,
    /// `cpu.cfs_period_us`; none where the quota's file has it.
    pub cpu_period: Option<Handle>,
}

impl Limits {
    /// All files.
    pub fn files(&self) -> impl Iterator<Item = &Handle> {
        [&self.memory_limit, &self.memory_usage, &self.cpu_quota, &self.cpu_period].into_iter().flatten()
    }

    /// Microseconds of a processor in each period of so many, if there is a limit.
    pub fn cpu_quota(&self) -> Option<(u64, u64)> {
        let text = text(self.cpu_quota.as_ref()?)?;
        let mut words = text.split_whitespace();
        // `max` and -1 are no limit.
        let quota: u64 = words.next()?.parse().ok()?;
        let period = match words.next() {
            Some(period) => period.parse().ok()?,
            None => number(self.cpu_period.as_ref()?)?,
        };
        Some((quota, period))
    }
}

/// What a machine says of itself.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Machine {
    /// Its size.
    pub limits: Limits,
    /// `/proc/PID/uid_map`: inside, outside, count.
    pub uid_map: Vec<(u32, u32, u32)>,
    /// `/proc/PID/gid_map`.
    pub gid_map: Vec<(u32, u32, u32)>,
}

/// The host's memory, and the sandbox's share of it.
pub fn sysinfo() -> Sysinfo {
    let mut info = rustix::system::sysinfo();
    let unit = u64::from(info.mem_unit).max(1);
    if let Some((limit, used)) = memory() {
        let (limit, used) = (limit / unit, used / unit);
        if limit < info.totalram {
            info.totalram = limit;
            info.freeram = info.freeram.min(limit.saturating_sub(used));
            info.sharedram = info.sharedram.min(used);
            info.bufferram = 0;
            (info.totalswap, info.freeswap) = (0, 0);
        }
    }
    info
}

/// Total memory in bytes.
pub fn total_memory() -> u64 {
    let info = sysinfo();
    info.totalram.saturating_mul(u64::from(info.mem_unit))
}

/// Limit and use in bytes, if there is a limit.
pub fn memory() -> Option<(u64, u64)> {
    let container = Container::current();
    let limits = &container.machine.limits;
    let limit = number(limits.memory_limit.as_ref()?)?;
    Some((limit, memory_used().unwrap_or(0)))
}

/// Use in bytes, if the sandbox has a group of its own.
pub fn memory_used() -> Option<u64> {
    Container::current().machine.limits.memory_usage.as_ref().and_then(number)
}

/// How many processors there are to run on: those that a quota is worth, at least one.
pub fn processors() -> u32 {
    let host = host_processors();
    quota().map_or(host, |wanted| wanted.clamp(1, host))
}

/// How many the host has. Guests may find themselves on any of them.
pub fn host_processors() -> u32 {
    std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1))
}

fn quota() -> Option<u32> {
    let (quota, period) = cpu_quota()?;
    u32::try_from(quota.checked_next_multiple_of(period)?.checked_div(period)?).ok()
}

/// Microseconds of a processor in each period of so many, if there is a limit.
pub fn cpu_quota() -> Option<(u64, u64)> {
    Container::current().machine.limits.cpu_quota()
}

fn number(file: &Handle) -> Option<u64> {
    text(file)?.trim().parse().ok()
}

fn text(file: &Handle) -> Option<String> {
    /// Two numbers and a blank.
    const LONGEST: usize = 64;
    let mut bytes = [0u8; LONGEST];
    let len = rustix::io::pread(file, &mut bytes, 0).ok()?;
    Some(String::from_utf8_lossy(bytes.get(..len)?).into_owned())
}

/// `/proc/PID/uid_map`.
pub fn uid_map() -> SysResult<Vec<u8>> {
    Ok(shown(&Container::current().machine.uid_map))
}

/// `/proc/PID/gid_map`.
pub fn gid_map() -> SysResult<Vec<u8>> {
    Ok(shown(&Container::current().machine.gid_map))
}

/// Without a map all ids are what they are.
fn shown(map: &[(u32, u32, u32)]) -> Vec<u8> {
    let all = [(0, 0, u32::MAX)];
    let map = if map.is_empty() { &all[..] } else { map };
    map.iter()
        .map(|(inside, outside, count)| format!("{inside:>10} {outside:>10} {count:>10}\n"))
        .collect::<String>()
        .into()
}
