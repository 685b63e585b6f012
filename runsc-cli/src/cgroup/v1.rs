//! Limits through version 1: one hierarchy per controller.

use super::{Cgroup, GUESTS, devices, wall, write};
use anyhow::{Context, Result, bail};
use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxNetwork, LinuxResources, LinuxThrottleDevice};
use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Where sentry and guests are counted when the pids of a container are limited: beside the container's group.
pub(super) fn sandbox_pids(dir: &Path) -> PathBuf {
    let mut name = OsString::from(dir.file_name().unwrap_or_default());
    name.push(".sandbox");
    dir.with_file_name(name)
}

/// A new group of `cpuset` takes no process before it has processors and memory: those of its parent.
pub(super) fn inherit_cpuset(dir: &Path) -> std::io::Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let Ok(own) = fs::read_to_string(dir.join(file)) else { return Ok(()) };
        if own.trim().is_empty() {
            let parent = dir.parent().map(|parent| parent.join(file));
            fs::write(dir.join(file), fs::read_to_string(parent.unwrap_or_default())?)?;
        }
    }
    Ok(())
}

/// Makes the groups beside and below the container's.
pub(super) fn prepare(cgroup: &Cgroup, resources: &LinuxResources) -> Result<()> {
    let guests = cgroup.v1("freezer").map(|dir| dir.join(GUESTS));
    let apart = cgroup.v1("pids").filter(|_| resources.pids().is_some_and(|p| p.limit() > 0)).map(sandbox_pids);
    for dir in guests.into_iter().chain(apart) {
        match fs::create_dir(&dir) {
            Err(e) if e.kind() != ErrorKind::AlreadyExists => {
                return Err(e).with_context(|| format!("cannot make the cgroup {}", dir.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Sets what `resources` names.
pub(super) fn set(cgroup: &Cgroup, resources: &LinuxResources, is_rootless: bool) -> Result<()> {
    if resources.unified().as_ref().is_some_and(|unified| !unified.is_empty()) {
        bail!("invalid configuration: cannot use unified on cgroup v1");
    }
    if let Some(rules) = resources.devices() {
        // Without privilege the rules cannot be set, and nobody could use a device.
        let done = controller(cgroup, "devices").and_then(|dir| devices::set(dir, rules));
        done.or_else(|e| if is_rootless { Ok(()) } else { Err(e) })?;
    }
    if let Some(memory) = resources.memory() {
        set_memory(cgroup, memory)?;
    }
    if let Some(cpu) = resources.cpu() {
        set_cpu(cgroup, cpu)?;
        set_cpuset(cgroup, cpu)?;
    }
    if let Some(limit) = resources.pids().map(|pids| pids.limit()).filter(|limit| *limit != 0) {
        set_pids(controller(cgroup, "pids")?, limit)?;
    }
    if let Some(block_io) = resources.block_io() {
        set_block_io(cgroup, block_io)?;
    }
    for limit in resources.hugepage_limits().iter().flatten() {
        let dir = controller(cgroup, "hugetlb")?;
        write(&dir.join(format!("hugetlb.{}.limit_in_bytes", limit.page_size())), limit.limit())?;
    }
    if let Some(network) = resources.network() {
        set_network(cgroup, network)?;
    }
    for (device, limit) in resources.rdma().iter().flatten() {
        let part = |name, n: Option<u32>| n.map_or(String::new(), |n| format!(" {name}={n}"));
        let handles = part("hca_handle", limit.hca_handles());
        let objects = part("hca_object", limit.hca_objects());
        write(&controller(cgroup, "rdma")?.join("rdma.max"), format!("{device}{handles}{objects}"))?;
    }
    Ok(())
}

/// The container's group for a limit; an error in the words of runc where there is none.
fn controller<'a>(cgroup: &'a Cgroup, name: &str) -> Result<&'a Path> {
    cgroup.v1(name).with_context(|| format!("cannot set {name} limit: container could not join or create cgroup"))
}

/// One value of a controller, unless it is absent or 0, which configurations use for "not set".
fn set_value(cgroup: &Cgroup, file: &str, value: Option<i64>) -> Result<()> {
    let Some(value) = value.filter(|value| *value != 0) else { return Ok(()) };
    let name = file.split('.').next().unwrap_or_default();
    write(&controller(cgroup, name)?.join(file), value)
}

fn set_memory(cgroup: &Cgroup, memory: &LinuxMemory) -> Result<()> {
    let limit = memory.limit().filter(|n| *n != 0);
    let swap = memory.swap().filter(|n| *n != 0);
    // No limit on memory is no limit on memory and swap together.
    let swap = if limit == Some(-1) && swap.is_none() && has_swap(cgroup) { Some(-1) } else { swap };
    const LIMIT: &str = "memory.limit_in_bytes";
    const SWAP: &str = "memory.memsw.limit_in_bytes";
    // At no time may the first be above the second.
    let current: u64 = cgroup.v1("memory").and_then(|dir| number(&dir.join(LIMIT))).unwrap_or(0);
    let grows = swap.is_some_and(|swap| u64::try_from(swap).map_or(true, |swap| current < swap));
    let order = [(LIMIT, limit), (SWAP, swap)];
    for (file, value) in if grows { [order[1], order[0]] } else { order } {
        set_value(cgroup, file, value).map_err(|e| explain_busy(cgroup, value, e))?;
    }
    set_value(cgroup, "memory.soft_limit_in_bytes", memory.reservation())?;
    set_value(cgroup, "memory.kmem.tcp.limit_in_bytes", memory.kernel_tcp())?;
    if memory.disable_oom_killer() == Some(true) {
        set_value(cgroup, "memory.oom_control", Some(1))?;
    }
    match memory.swappiness() {
        // -1, which configurations use for "not set", as it comes out of an unsigned number.
        None | Some(u64::MAX) => Ok(()),
        Some(n @ 0..=100) => write(&controller(cgroup, "memory")?.join("memory.swappiness"), n),
        Some(n) => bail!("invalid memory swappiness value: {n} (valid range is 0-100)"),
    }
}

fn has_swap(cgroup: &Cgroup) -> bool {
    cgroup.v1("memory").is_some_and(|dir| dir.join("memory.memsw.limit_in_bytes").exists())
}

fn explain_busy(cgroup: &Cgroup, value: Option<i64>, e: anyhow::Error) -> anyhow::Error {
    let is_busy = e.root_cause().downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == ErrorKind::ResourceBusy);
    let figure = |file: &str| cgroup.v1("memory").and_then(|dir| number(&dir.join(file))).unwrap_or(0);
    if !is_busy {
        return e;
    }
    e.context(format!(
        "unable to set memory limit to {} (current usage: {}, peak usage: {})",
        value.unwrap_or(0),
        figure("memory.usage_in_bytes"),
        figure("memory.max_usage_in_bytes"),
    ))
}

fn set_cpu(cgroup: &Cgroup, cpu: &LinuxCpu) -> Result<()> {
    let wide = |n: Option<u64>| n.and_then(|n| i64::try_from(n).ok());
    set_value(cgroup, "cpu.rt_period_us", wide(cpu.realtime_period()))?;
    set_value(cgroup, "cpu.rt_runtime_us", cpu.realtime_runtime())?;
    set_shares(cgroup, cpu.shares().unwrap_or(0))?;
    // With the old quota the new period may be more than a parent allows, and the other way round.
    let period = set_value(cgroup, "cpu.cfs_period_us", wide(cpu.period()));
    set_value(cgroup, "cpu.cfs_quota_us", cpu.quota())?;
    if period.is_err() {
        set_value(cgroup, "cpu.cfs_period_us", wide(cpu.period()))?;
    }
    if let Some(burst) = cpu.burst() {
        write(&controller(cgroup, "cpu")?.join("cpu.cfs_burst_us"), burst)?;
    }
    match cpu.idle() {
        Some(idle) => write(&controller(cgroup, "cpu")?.join("cpu.idle"), idle),
        None => Ok(()),
    }
}

fn set_shares(cgroup: &Cgroup, shares: u64) -> Result<()> {
    if shares == 0 {
        return Ok(());
    }
    let file = controller(cgroup, "cpu")?.join("cpu.shares");
    write(&file, shares)?;
    match number(&file) {
        // The host takes what is nearest without a word.
        Some(set) if set < shares => bail!("the maximum allowed cpu-shares is {set}"),
        Some(set) if set > shares => bail!("the minimum allowed cpu-shares is {set}"),
        _ => Ok(()),
    }
}

fn set_cpuset(cgroup: &Cgroup, cpu: &LinuxCpu) -> Result<()> {
    for (file, value) in [("cpuset.cpus", cpu.cpus()), ("cpuset.mems", cpu.mems())] {
        if let Some(value) = value.as_deref().filter(|value| !value.is_empty()) {
            write(&controller(cgroup, "cpuset")?.join(file), value)?;
        }
    }
    Ok(())
}

/// Rounds of looking for processes of a sandbox that is just making some.
const MOVE_ROUNDS: u32 = 16;

/// Moves the sentry and its guests out of the container's group, where monitors stay: these are children of nobody
/// in it.
fn set_apart(dir: &Path, apart: &Path) {
    for _ in 0..MOVE_ROUNDS {
        let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
        let all: Vec<&str> = text.lines().collect();
        let beside = fs::read_to_string(apart.join("cgroup.procs")).unwrap_or_default();
        let is_inside = |parent: &str| all.contains(&parent) || beside.lines().any(|pid| pid == parent);
        let is_guest = |pid: &&&str| parent_of(pid).is_some_and(|parent| is_inside(&parent));
        let inside: Vec<&&str> = all.iter().filter(is_guest).collect();
        if inside.is_empty() {
            return;
        }
        for pid in inside {
            // One that has just ended need not be moved.
            let _ = fs::write(apart.join("cgroup.procs"), pid);
        }
    }
}

fn parent_of(pid: &str) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(stat.rsplit_once(") ")?.1.split(' ').nth(1)?.to_owned())
}

/// The container's group says what was asked for. Host processes of the sandbox are counted beside it.
fn set_pids(dir: &Path, limit: i64) -> Result<()> {
    let apart = sandbox_pids(dir);
    if limit > 0 && !apart.exists() {
        fs::create_dir(&apart).with_context(|| format!("cannot make the cgroup {}", apart.display()))?;
        set_apart(dir, &apart);
    }
    if apart.exists() {
        write(&apart.join("pids.max"), wall(limit))?;
    }
    write(&dir.join("pids.max"), if limit > 0 { limit.to_string() } else { wall(limit) })
}

fn set_block_io(cgroup: &Cgroup, block_io: &LinuxBlockIo) -> Result<()> {
    let weight = |n: Option<u16>| n.map(i64::from);
    let bfq = cgroup.v1("blkio").is_some_and(|dir| !dir.join("blkio.weight").exists());
    let weight_file = if bfq { "blkio.bfq.weight" } else { "blkio.weight" };
    set_value(cgroup, weight_file, weight(block_io.weight()))?;
    set_value(cgroup, "blkio.leaf_weight", weight(block_io.leaf_weight()))?;
    for device in block_io.weight_device().iter().flatten() {
        let files = [(format!("{weight_file}_device"), device.weight())];
        let leaf = [("blkio.leaf_weight_device".to_owned(), device.leaf_weight())];
        for (file, weight) in files.into_iter().chain(leaf) {
            if let Some(weight) = weight.filter(|weight| *weight != 0) {
                let text = format!("{}:{} {weight}", device.major(), device.minor());
                write(&controller(cgroup, "blkio")?.join(file), text)?;
            }
        }
    }
    set_throttle(cgroup, "read_bps_device", block_io.throttle_read_bps_device())?;
    set_throttle(cgroup, "write_bps_device", block_io.throttle_write_bps_device())?;
    set_throttle(cgroup, "read_iops_device", block_io.throttle_read_iops_device())?;
    set_throttle(cgroup, "write_iops_device", block_io.throttle_write_iops_device())
}

fn set_throttle(cgroup: &Cgroup, file: &str, devices: &Option<Vec<LinuxThrottleDevice>>) -> Result<()> {
    for device in devices.iter().flatten() {
        let text = format!("{}:{} {}", device.major(), device.minor(), device.rate());
        write(&controller(cgroup, "blkio")?.join(format!("blkio.throttle.{file}")), text)?;
    }
    Ok(())
}

fn set_network(cgroup: &Cgroup, network: &LinuxNetwork) -> Result<()> {
    if let Some(class) = network.class_id().filter(|class| *class != 0) {
        write(&controller(cgroup, "net_cls")?.join("net_cls.classid"), class)?;
    }
    for priority in network.priorities().iter().flatten() {
        let text = format!("{} {}", priority.name(), priority.priority());
        write(&controller(cgroup, "net_prio")?.join("net_prio.ifpriomap"), text)?;
    }
    Ok(())
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}
