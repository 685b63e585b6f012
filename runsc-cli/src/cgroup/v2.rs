//! Limits through version 2: one hierarchy, controllers handed down from group to group.

use super::host::Hierarchies;
use super::{Cgroup, GUESTS, MemoryGroup, SPARE_PIDS, remove_stale, write};
use crate::plan::Limits;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

/// Period over which processor time is measured, in microseconds (the kernel's default).
const CPU_PERIOD: u64 = 100_000;

pub(super) fn create(cgroup: &mut Cgroup, host: &Hierarchies, name: &str, limits: &Limits) -> Result<()> {
    let (mount, own) = host.v2().context("the host has no cgroups")?;
    let controllers = controllers(limits);
    let parent = parent(mount, &own, &controllers)?;
    remove_stale(&parent);
    let group = parent.join(name);
    cgroup.make(&group)?;
    if let Some(bytes) = limits.memory {
        write(&group.join("memory.max"), bytes)?;
        let swap = group.join("memory.swap.max");
        if swap.exists() {
            write(&swap, 0)?;
        }
        cgroup.memory = Some(MemoryGroup::V2(group.clone()));
    }
    if let Some(millicpus) = limits.millicpus {
        let quota = millicpus.saturating_mul(CPU_PERIOD) / 1000;
        write(&group.join("cpu.max"), format!("{quota} {CPU_PERIOD}"))?;
    }
    if let Some(pids) = limits.pids {
        write(&group.join("cgroup.subtree_control"), "+pids")?;
        write(&group.join(GUESTS).join("pids.max"), pids.saturating_add(SPARE_PIDS))?;
    }
    Ok(())
}

fn controllers(limits: &Limits) -> Vec<&'static str> {
    let wanted =
        [(limits.memory.is_some(), "memory"), (limits.millicpus.is_some(), "cpu"), (limits.pids.is_some(), "pids")];
    wanted.into_iter().filter(|(is_wanted, _)| *is_wanted).map(|(_, name)| name).collect()
}

/// The nearest group below which one with `controllers` can be made. A group with processes of its own hands
/// down no controllers, unless it is the root: so the caller's own group rarely serves, but its parent may.
fn parent(mount: &Path, own: &Path, controllers: &[&str]) -> Result<PathBuf> {
    for group in own.ancestors().take_while(|g| g.starts_with(mount)) {
        if rustix::fs::access(group, rustix::fs::Access::WRITE_OK).is_ok() && hands_down(group, controllers) {
            return Ok(group.to_path_buf());
        }
    }
    bail!("no cgroup from {} upwards lets the caller use {}", own.display(), controllers.join(", "))
}

fn hands_down(group: &Path, controllers: &[&str]) -> bool {
    let path = group.join("cgroup.subtree_control");
    controllers.iter().all(|controller| {
        let given = fs::read_to_string(&path).unwrap_or_default();
        given.split_whitespace().any(|c| c == *controller) || fs::write(&path, format!("+{controller}")).is_ok()
    })
}
