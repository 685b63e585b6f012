//! Control groups of a sandbox: `runsc-ID` with the limits, and below it one group for the sentry and one for
//! guests, so that the host's out-of-memory killer and a freezer can tell them apart.

mod host;
mod v1;
mod v2;

use crate::plan::Limits;
use anyhow::{Context, Result};
use std::fs::{self, File, OpenOptions};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Names of the child groups.
const SENTRY: &str = "sentry";
const GUESTS: &str = "guests";

/// Host processes that a sandbox needs for itself among the guests: ready stub processes and what makes them.
const SPARE_PIDS: u64 = 16;

/// How often the removal of a group is tried; the host may take a moment to forget the dead.
const REMOVE_ATTEMPTS: u32 = 50;

/// The groups of one sandbox, one per hierarchy. Removed when dropped.
#[derive(Debug)]
pub(crate) struct Cgroup {
    groups: Vec<PathBuf>,
    /// The hierarchy that counts out-of-memory kills.
    memory: Option<MemoryGroup>,
}

#[derive(Debug)]
enum MemoryGroup {
    V1(PathBuf),
    V2(PathBuf),
}

impl Cgroup {
    /// Makes the groups for a sandbox called `id` and sets `limits`.
    pub(crate) fn create(id: &str, limits: &Limits) -> Result<Cgroup> {
        let host = host::Hierarchies::read().context("cannot tell the host's cgroups")?;
        let name = format!("runsc-{id}");
        let mut cgroup = Cgroup { groups: Vec::new(), memory: None };
        if host.has_v1_controllers() {
            v1::create(&mut cgroup, &host, &name, limits)?;
        } else {
            v2::create(&mut cgroup, &host, &name, limits)?;
        }
        Ok(cgroup)
    }

    /// `cgroup.procs` of the sentry's groups, open for writing.
    pub(crate) fn sentry_procs(&self) -> Result<Vec<OwnedFd>> {
        self.open_procs(SENTRY)
    }

    /// `cgroup.procs` of the guests' groups, open for writing.
    pub(crate) fn guest_procs(&self) -> Result<Vec<OwnedFd>> {
        self.open_procs(GUESTS)
    }

    fn open_procs(&self, child: &str) -> Result<Vec<OwnedFd>> {
        let open = |group: &PathBuf| {
            let path = group.join(child).join("cgroup.procs");
            let file: Result<File> = OpenOptions::new().write(true).open(&path).with_context(|| shown(&path));
            file.map(OwnedFd::from)
        };
        self.groups.iter().map(open).collect()
    }

    /// How many processes the host has killed for want of memory.
    pub(crate) fn oom_kills(&self) -> u64 {
        let read = |path: PathBuf| key(&fs::read_to_string(path).unwrap_or_default(), "oom_kill");
        match &self.memory {
            Some(MemoryGroup::V1(group)) => {
                [SENTRY, GUESTS].into_iter().map(|child| read(group.join(child).join("memory.oom_control"))).sum()
            }
            Some(MemoryGroup::V2(group)) => read(group.join("memory.events")),
            None => 0,
        }
    }

    /// Makes `group` with its children; it will be removed with `self`.
    fn make(&mut self, group: &Path) -> Result<()> {
        fs::create_dir(group).with_context(|| format!("cannot make the cgroup {}", group.display()))?;
        self.groups.push(group.to_path_buf());
        for child in [SENTRY, GUESTS] {
            let path = group.join(child);
            fs::create_dir(&path).with_context(|| format!("cannot make the cgroup {}", path.display()))?;
        }
        Ok(())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for group in &self.groups {
            for dir in [group.join(SENTRY), group.join(GUESTS), group.clone()] {
                remove(&dir);
            }
        }
    }
}

fn remove(dir: &Path) {
    for _ in 0..REMOVE_ATTEMPTS {
        match fs::remove_dir(dir) {
            Err(e) if e.kind() == std::io::ErrorKind::ResourceBusy => std::thread::sleep(Duration::from_millis(2)),
            _ => return,
        }
    }
}

/// Removes groups of `runsc do` below `parent` whose command line was killed and could not.
fn remove_stale(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|n| n.strip_prefix("runsc-do-")).and_then(|n| n.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            for dir in [entry.path().join(SENTRY), entry.path().join(GUESTS), entry.path()] {
                // A group that still has processes stays; it is not ours to kill.
                let _ = fs::remove_dir(dir);
            }
        }
    }
}

fn write(path: &Path, value: impl ToString) -> Result<()> {
    let value = value.to_string();
    fs::write(path, &value).with_context(|| format!("cannot write {value} to {}", path.display()))
}

fn shown(path: &Path) -> String {
    format!("cannot open {}", path.display())
}

/// The number after `name` in a file of `name number` lines.
fn key(text: &str, name: &str) -> u64 {
    let mut pairs = text.lines().filter_map(|line| line.split_once(' '));
    pairs.find(|(key, _)| *key == name).and_then(|(_, value)| value.trim().parse().ok()).unwrap_or(0)
}
