//! Limits through version 1: one hierarchy per controller.

use super::host::Hierarchies;
use super::{Cgroup, GUESTS, MemoryGroup, SPARE_PIDS, remove_stale, write};
use crate::plan::Limits;
use anyhow::{Context, Result};
use std::path::PathBuf;

/// Period over which processor time is measured, in microseconds (the kernel's default).
const CPU_PERIOD: u64 = 100_000;

pub(super) fn create(cgroup: &mut Cgroup, host: &Hierarchies, name: &str, limits: &Limits) -> Result<()> {
    if let Some(bytes) = limits.memory {
        let group = make(cgroup, host, "memory", name)?;
        write(&group.join("memory.limit_in_bytes"), bytes)?;
        // Absent where the host does not account swap.
        let with_swap = group.join("memory.memsw.limit_in_bytes");
        if with_swap.exists() {
            write(&with_swap, bytes)?;
        }
        cgroup.memory = Some(MemoryGroup::V1(group));
    }
    if let Some(millicpus) = limits.millicpus {
        let group = make(cgroup, host, "cpu", name)?;
        write(&group.join("cpu.cfs_period_us"), CPU_PERIOD)?;
        write(&group.join("cpu.cfs_quota_us"), millicpus.saturating_mul(CPU_PERIOD) / 1000)?;
    }
    if let Some(pids) = limits.pids {
        let group = make(cgroup, host, "pids", name)?;
        write(&group.join(GUESTS).join("pids.max"), pids.saturating_add(SPARE_PIDS))?;
    }
    Ok(())
}

fn make(cgroup: &mut Cgroup, host: &Hierarchies, controller: &str, name: &str) -> Result<PathBuf> {
    let own = host.v1(controller).with_context(|| format!("the host has no cgroup controller \"{controller}\""))?;
    remove_stale(&own);
    let group = own.join(name);
    if !cgroup.groups.contains(&group) {
        cgroup.make(&group)?;
    }
    Ok(group)
}
