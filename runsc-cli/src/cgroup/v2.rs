//! Limits through version 2: one hierarchy, controllers handed down from group to group.

use super::{Cgroup, GUESTS, wall, write};
use anyhow::{Context, Result, bail};
use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxResources};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// Makes the child group, and has parents hand down all that they have. The container's own group hands down
/// nothing, so that it may have processes and children both.
pub(super) fn prepare(cgroup: &Cgroup) -> Result<()> {
    let dir = cgroup.v2().context("the host has no cgroups")?;
    // With systemd these are its.
    let parents = dir.ancestors().skip(1).filter(|_| cgroup.unit.is_none());
    let mut parents: Vec<&Path> = parents.take_while(|p| p.join("cgroup.controllers").exists()).collect();
    parents.reverse();
    for parent in parents {
        let given = fs::read_to_string(parent.join("cgroup.controllers")).unwrap_or_default();
        for controller in given.split_whitespace() {
            // One that cannot be handed down is missed where a limit needs it.
            let _ = fs::write(parent.join("cgroup.subtree_control"), format!("+{controller}"));
        }
    }
    match fs::create_dir(dir.join(GUESTS)) {
        Err(e) if e.kind() != ErrorKind::AlreadyExists => Err(e).context("cannot make the guests' cgroup"),
        _ => Ok(()),
    }
}

/// Sets what `resources` names.
pub(super) fn set(cgroup: &Cgroup, resources: &LinuxResources) -> Result<()> {
    let Some(dir) = cgroup.v2() else { return Ok(()) };
    if let Some(memory) = resources.memory() {
        set_memory(dir, memory)?;
    }
    if let Some(cpu) = resources.cpu() {
        set_cpu(dir, cpu)?;
    }
    if let Some(limit) = resources.pids().map(|pids| pids.limit()).filter(|limit| *limit != 0) {
        write(&dir.join("pids.max"), wall(limit))?;
    }
    if let Some(block_io) = resources.block_io() {
        set_block_io(dir, block_io)?;
    }
    for limit in resources.hugepage_limits().iter().flatten() {
        write(&dir.join(format!("hugetlb.{}.max", limit.page_size())), limit.limit())?;
    }
    for (device, limit) in resources.rdma().iter().flatten() {
        let part = |name, n: Option<u32>| n.map_or(String::new(), |n| format!(" {name}={n}"));
        let text =
            format!("{device}{}{}", part("hca_handle", limit.hca_handles()), part("hca_object", limit.hca_objects()));
        write(&dir.join("rdma.max"), text)?;
    }
    for (file, value) in resources.unified().iter().flatten() {
        if file.contains('/') {
            bail!("unified resource \"{file}\" must be a file name (no slashes)");
        }
        if !file.contains('.') || file.starts_with('.') || file.ends_with('.') {
            bail!("unified resource \"{file}\" must be in the form CONTROLLER.PARAMETER");
        }
        write(&dir.join(file), value).with_context(|| format!("unified resource \"{file}\" can't be set"))?;
    }
    Ok(())
}

fn set_memory(dir: &Path, memory: &LinuxMemory) -> Result<()> {
    let shown = |n: i64| if n == -1 { "max".to_owned() } else { n.to_string() };
    let limit = memory.limit().filter(|n| *n != 0);
    let swap = swap_alone(limit, memory.swap().filter(|n| *n != 0))?;
    if memory.check_before_update() == Some(true) {
        check_usage(dir, limit)?;
    }
    if let Some(swap) = swap {
        write(&dir.join("memory.swap.max"), shown(swap))?;
    }
    if let Some(limit) = limit {
        write(&dir.join("memory.max"), shown(limit))?;
    }
    match memory.reservation().filter(|n| *n != 0) {
        Some(reservation) => write(&dir.join("memory.low"), shown(reservation)),
        None => Ok(()),
    }
}

/// Configurations limit memory and swap together, version 2 swap alone.
pub(super) fn swap_alone(limit: Option<i64>, both: Option<i64>) -> Result<Option<i64>> {
    Ok(match (limit, both) {
        (Some(-1), None) => Some(-1),
        (_, None) => None,
        (_, Some(-1)) => Some(-1),
        (Some(limit @ 1..), Some(both)) if both >= limit => Some(both - limit),
        (Some(1..), Some(_)) => bail!("memory+swap limit should be >= memory limit"),
        (_, Some(_)) => bail!("unable to set swap limit without memory limit"),
    })
}

fn check_usage(dir: &Path, limit: Option<i64>) -> Result<()> {
    let usage = fs::read_to_string(dir.join("memory.current")).ok().and_then(|text| text.trim().parse::<i64>().ok());
    match (limit, usage) {
        (Some(limit @ 1..), Some(usage)) if limit < usage => {
            bail!("rejecting memory limit {limit}, because it is lower than memory.current {usage}")
        }
        _ => Ok(()),
    }
}

fn set_cpu(dir: &Path, cpu: &LinuxCpu) -> Result<()> {
    if let Some(idle) = cpu.idle() {
        write(&dir.join("cpu.idle"), idle)?;
    }
    if let Some(shares) = cpu.shares().filter(|shares| *shares != 0) {
        write(&dir.join("cpu.weight"), weight(shares))?;
    }
    let quota = cpu.quota().filter(|quota| *quota != 0);
    let period = cpu.period().filter(|period| *period != 0);
    if quota.is_some() || period.is_some() {
        let quota = quota.filter(|quota| *quota > 0).map_or("max".to_owned(), |quota| quota.to_string());
        write(&dir.join("cpu.max"), format!("{quota} {}", period.unwrap_or(100_000)))?;
    }
    if let Some(burst) = cpu.burst() {
        write(&dir.join("cpu.max.burst"), burst)?;
    }
    for (file, value) in [("cpuset.cpus", cpu.cpus()), ("cpuset.mems", cpu.mems())] {
        if let Some(value) = value.as_deref().filter(|value| !value.is_empty()) {
            write(&dir.join(file), value)?;
        }
    }
    Ok(())
}

/// From shares, 2 to 262144, to a weight, 1 to 10000.
pub(super) fn weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

/// From the range of the scheduler BFQ, 10 to 1000, to 1 to 10000.
pub(super) fn io_weight(weight: u16) -> u64 {
    1 + (u64::from(weight.clamp(10, 1000)) - 10) * 9999 / 990
}

fn set_block_io(dir: &Path, block_io: &LinuxBlockIo) -> Result<()> {
    if let Some(weight) = block_io.weight().filter(|weight| *weight != 0) {
        let (file, weight) = match dir.join("io.bfq.weight").exists() {
            true => ("io.bfq.weight", u64::from(weight)),
            false => ("io.weight", io_weight(weight)),
        };
        write(&dir.join(file), weight)?;
    }
    for device in block_io.weight_device().iter().flatten() {
        if let Some(weight) = device.weight().filter(|weight| *weight != 0) {
            write(&dir.join("io.bfq.weight"), format!("{}:{} {weight}", device.major(), device.minor()))?;
        }
    }
    let throttles = [
        ("rbps", block_io.throttle_read_bps_device()),
        ("wbps", block_io.throttle_write_bps_device()),
        ("riops", block_io.throttle_read_iops_device()),
        ("wiops", block_io.throttle_write_iops_device()),
    ];
    for (key, devices) in throttles {
        for device in devices.iter().flatten() {
            let rate = if device.rate() == 0 { "max".to_owned() } else { device.rate().to_string() };
            write(&dir.join("io.max"), format!("{}:{} {key}={rate}", device.major(), device.minor()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_become_weights() {
        assert_eq!([0, 2, 1024, 262_144, u64::MAX].map(weight), [1, 1, 39, 10000, 10000]);
    }

    #[test]
    fn swap_is_what_is_above_memory() {
        assert_eq!(swap_alone(Some(100), Some(150)).ok(), Some(Some(50)));
        assert_eq!(swap_alone(Some(-1), None).ok(), Some(Some(-1)));
        assert_eq!(swap_alone(Some(100), None).ok(), Some(None));
        assert!(swap_alone(Some(100), Some(50)).is_err());
        assert!(swap_alone(None, Some(50)).is_err());
    }
}
