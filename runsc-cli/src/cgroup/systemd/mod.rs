//! Groups that systemd makes: a scope for each container, with the limits as its properties.
//!
//! What of limits systemd does not know is set beside it, in the files of the group, which is delegated. A scope
//! begins with a process: that is a [`Keeper`] until the container's own are there. The client of D-Bus is ours
//! ([`bus`], [`wire`]): three methods and one signal are needed, and the crates for it bring fifty others or a C
//! library.

mod bus;
mod property;
mod wire;

use super::{Placement, Version, host_pids, v2};
use anyhow::{Context, Result, bail};
use bus::{Bus, Refused, transient};
use oci_spec::runtime::LinuxResources;
use platform::host::{self, Clone as Side, Namespaces};
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};
use serde::{Deserialize, Serialize};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use wire::Value;

/// Where systemd says that it runs.
const RUNS: &str = "/run/systemd/system";

/// The period of CPU time when none is said, in microseconds.
const PERIOD: u64 = 100_000;

/// systemd counts CPU time in hundredths of a processor.
const QUOTA_STEP: u64 = 10_000;

/// A scope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Unit {
    slice: String,
    name: String,
    /// Of the user's systemd.
    pub(super) is_user: bool,
}

impl Unit {
    /// The one that `linux.cgroupsPath` names, `slice:prefix:name`.
    pub(super) fn named(path: Option<&Path>, id: &str, is_user: bool) -> Result<Unit> {
        let text = match path.filter(|path| !path.as_os_str().is_empty()) {
            None => format!(":runsc:{id}"),
            Some(path) => path.display().to_string(),
        };
        let [slice, prefix, name] = text.split(':').collect::<Vec<_>>()[..] else {
            bail!(
                "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got \"{text}\" instead"
            );
        };
        if name.ends_with(".slice") {
            bail!("a container is a scope, not a slice: {name}");
        }
        let usual = if is_user { "user.slice" } else { "system.slice" };
        let slice = if slice.is_empty() { usual } else { slice }.to_owned();
        let name = if prefix.is_empty() { format!("{name}.scope") } else { format!("{prefix}-{name}.scope") };
        Ok(Unit { slice, name, is_user })
    }

    /// Its group below the root of a hierarchy.
    pub(super) fn path(&self) -> Result<PathBuf> {
        let below = expand_slice(&self.slice)?.join(&self.name);
        if !self.is_user {
            return Ok(below);
        }
        let own = self.bus()?.property("ControlGroup")?;
        Ok(Path::new(own.trim_start_matches('/')).join(below))
    }

    /// Fails where there is no systemd.
    pub(super) fn check_host(&self) -> Result<()> {
        match Path::new(RUNS).is_dir() {
            true => Ok(()),
            false => bail!("systemd not running on this host, cannot use systemd cgroups manager"),
        }
    }

    /// Has systemd make it, with the keeper in it.
    pub(super) fn start(
        &self,
        keeper: &Keeper,
        placement: &Placement<'_>,
        version: Version,
        resources: &LinuxResources,
    ) -> Result<()> {
        let given = placement.annotations.map(property::of).transpose()?.unwrap_or_default();
        let mut properties = vec![
            ("Description", Value::String(format!("runsc container {}", placement.id))),
            ("Slice", Value::String(self.slice.clone())),
            ("PIDs", Value::Numbers(vec![keeper.pid as u32])),
            ("Delegate", Value::Bool(true)),
            ("DefaultDependencies", Value::Bool(false)),
            // Nobody is to look at a container that has failed by way of systemd.
            ("CollectMode", Value::String("inactive-or-failed".into())),
        ];
        let accounting = ["CPUAccounting", "MemoryAccounting", "TasksAccounting"];
        let of_blocks = if version == Version::V1 { "BlockIOAccounting" } else { "IOAccounting" };
        properties.extend(accounting.into_iter().chain([of_blocks]).map(|name| (name, Value::Bool(true))));
        properties.extend(limits(version, resources)?);
        properties.extend(given.iter().map(|(name, value)| (name.as_str(), value.clone())));
        let mut bus = self.bus()?;
        let mut begin = || bus.job("StartTransientUnit", "ssa(sv)a(sa(sv))", |w| transient(w, &self.name, &properties));
        let begun = match begin() {
            Err(e) if is(&e, "UnitExists") => {
                // One of that name has failed before.
                bus.manager("ResetFailedUnit", "s", |w| w.string(&self.name))?;
                bus.job("StartTransientUnit", "ssa(sv)a(sa(sv))", |w| transient(w, &self.name, &properties))
            }
            begun => begun,
        };
        begun.with_context(|| format!("cannot make the unit {}", self.name))
    }

    /// Changes its limits.
    pub(super) fn set(&self, version: Version, resources: &LinuxResources) -> Result<()> {
        let limits = limits(version, resources)?;
        if limits.is_empty() {
            return Ok(());
        }
        let set = self.bus()?.manager("SetUnitProperties", "sba(sv)", |w| {
            w.string(&self.name);
            // Until the machine is started anew.
            w.bool(true);
            w.properties(&limits);
        });
        set.map(drop).with_context(|| format!("cannot change the unit {}", self.name))
    }

    /// Has systemd put a process into it, where the caller may not.
    pub(super) fn attach(&self, pid: i32) -> Result<()> {
        let attached = self.bus()?.manager("AttachProcessesToUnit", "ssau", |w| {
            w.string(&self.name);
            w.string("");
            w.array(4, |w| w.u32(pid as u32));
        });
        attached.map(drop).with_context(|| format!("cannot join the unit {}", self.name))
    }

    /// Ends it; one that is gone is fine.
    pub(super) fn stop(&self) -> Result<()> {
        let stopped = self.bus()?.job("StopUnit", "ss", |w| {
            w.string(&self.name);
            w.string("replace");
        });
        match stopped {
            Err(e) if !is(&e, "NoSuchUnit") => Err(e).with_context(|| format!("cannot end the unit {}", self.name)),
            _ => Ok(()),
        }
    }

    fn bus(&self) -> Result<Bus> {
        let bus = if self.is_user { Bus::user() } else { Bus::system() };
        bus.context("cannot reach systemd")
    }
}

/// Whether systemd has refused something with this error.
fn is(e: &anyhow::Error, name: &str) -> bool {
    e.chain().any(|e| e.downcast_ref::<Refused>().is_some_and(|refused| refused.name.ends_with(name)))
}

/// `a-b.slice` is inside of `a.slice`: `a.slice/a-b.slice`.
fn expand_slice(slice: &str) -> Result<PathBuf> {
    let Some(name) = slice.strip_suffix(".slice").filter(|n| !n.is_empty() && !n.contains('/')) else {
        bail!("invalid slice name: {slice}");
    };
    let mut path = PathBuf::new();
    if name == "-" {
        return Ok(path);
    }
    let mut whole = String::new();
    for part in name.split('-') {
        if part.is_empty() {
            bail!("invalid slice name: {slice}");
        }
        if !whole.is_empty() {
            whole.push('-');
        }
        whole.push_str(part);
        path.push(format!("{whole}.slice"));
    }
    Ok(path)
}

/// What of `resources` systemd has properties for.
fn limits(version: Version, resources: &LinuxResources) -> Result<Vec<(&'static str, Value)>> {
    // Negative is no limit, and so is the largest number; 0 is nothing said.
    let number = |n: i64| u64::try_from(n).unwrap_or(u64::MAX);
    let said = |n: Option<i64>| n.filter(|n| *n != 0).map(number);
    let mut found: Vec<(&'static str, u64)> = Vec::new();
    let is_v1 = version == Version::V1;
    if let Some(memory) = resources.memory() {
        let limit = if is_v1 { "MemoryLimit" } else { "MemoryMax" };
        found.extend(said(memory.limit()).map(|n| (limit, n)));
        if !is_v1 {
            found.extend(said(memory.reservation()).map(|n| ("MemoryLow", n)));
            let swap = v2::swap_alone(memory.limit().filter(|n| *n != 0), memory.swap().filter(|n| *n != 0))?;
            found.extend(swap.map(|n| ("MemorySwapMax", number(n))));
        }
    }
    if let Some(pids) = resources.pids().and_then(|pids| said(Some(pids.limit()))) {
        // In version 1 the sandbox's processes are counted beside the container's group.
        found.push(("TasksMax", if is_v1 || pids == u64::MAX { pids } else { host_pids(pids) }));
    }
    let mut processors = Vec::new();
    if let Some(cpu) = resources.cpu() {
        if let Some(shares) = cpu.shares().filter(|shares| *shares != 0) {
            found.push(if is_v1 { ("CPUShares", shares) } else { ("CPUWeight", v2::weight(shares)) });
        }
        found.extend(quota(cpu.quota(), cpu.period()));
        let sets = [("AllowedCPUs", cpu.cpus()), ("AllowedMemoryNodes", cpu.mems())];
        for (name, list) in sets.into_iter().filter(|_| !is_v1) {
            if let Some(list) = list.as_deref().filter(|list| !list.is_empty()) {
                processors.push((name, Value::Bytes(bitmap(list)?)));
            }
        }
    }
    if let Some(weight) = resources.block_io().as_ref().and_then(|io| io.weight()).filter(|weight| *weight != 0) {
        found.push(match is_v1 {
            true => ("BlockIOWeight", weight.into()),
            false => ("IOWeight", v2::io_weight(weight)),
        });
    }
    let numbers = found.into_iter().map(|(name, n)| (name, Value::U64(n)));
    Ok(numbers.chain(processors).collect())
}

fn quota(quota: Option<i64>, period: Option<u64>) -> Vec<(&'static str, u64)> {
    let period = period.filter(|period| *period != 0);
    let quota = quota.filter(|quota| *quota != 0);
    let of_second = quota.map(|quota| match u64::try_from(quota) {
        Ok(quota) => {
            let exact = quota.saturating_mul(1_000_000) / period.unwrap_or(PERIOD);
            exact.checked_next_multiple_of(QUOTA_STEP).unwrap_or(u64::MAX)
        }
        Err(_) => u64::MAX,
    });
    let period = period.map(|period| ("CPUQuotaPeriodUSec", period));
    period.into_iter().chain(of_second.map(|n| ("CPUQuotaPerSecUSec", n))).collect()
}

/// A list such as `0-2,5` as bits, the lowest first.
fn bitmap(list: &str) -> Result<Vec<u8>> {
    /// More processors than a machine has.
    const BITS_MAX: usize = 8192;
    let mut bits = Vec::new();
    for range in list.split(',').map(str::trim).filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let number = |text: &str| text.parse::<usize>().ok().filter(|n| *n < BITS_MAX);
        let (Some(first), Some(last)) = (number(first), number(last)) else { bail!("invalid list: {list}") };
        for bit in first..=last {
            if bits.len() <= bit / 8 {
                bits.resize(bit / 8 + 1, 0);
            }
            bits[bit / 8] |= 1 << (bit % 8);
        }
    }
    Ok(bits)
}

/// A process that does nothing: a scope ends with its last one. It goes when this is dropped, or with its parent.
#[derive(Debug)]
pub(crate) struct Keeper {
    pid: i32,
    pidfd: OwnedFd,
}

impl Keeper {
    pub(super) fn new() -> Result<Keeper> {
        let parent = rustix::process::getpid();
        match host::clone(Namespaces::empty()).context("cannot make a process")? {
            Side::Parent { pid, pidfd } => Ok(Keeper { pid, pidfd }),
            Side::Child => {
                let followed = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
                // It may have died before that.
                while followed.is_ok() && rustix::process::getppid() == Some(parent) {
                    std::thread::park();
                }
                std::process::exit(0)
            }
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        let _ = waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_named_by_the_path() {
        let path = |text: &str| Unit::named(Some(Path::new(text)), "box", false).and_then(|unit| unit.path()).ok();
        assert_eq!(path("system.slice:docker:x"), Some("system.slice/docker-x.scope".into()));
        assert_eq!(path("a-b.slice:p:x"), Some("a.slice/a-b.slice/p-x.scope".into()));
        assert_eq!(path(":p:x"), Some("system.slice/p-x.scope".into()));
        assert_eq!(path("::x"), Some("system.slice/x.scope".into()));
        assert_eq!(path(""), Some("system.slice/runsc-box.scope".into()));
        assert_eq!((path("/a/b"), path("a--b.slice:p:x"), path("a.slice:p:x.slice")), (None, None, None));
    }

    #[test]
    fn limits_become_properties() {
        let resources = serde_json::json!({
            "memory": {"limit": 64, "swap": 96, "reservation": -1}, "pids": {"limit": 10},
            "cpu": {"shares": 1024, "quota": 15_001, "period": 100_000, "cpus": "0-2,9"}, "blockIO": {"weight": 10},
        });
        let resources: LinuxResources = serde_json::from_value(resources).expect("they are valid");
        let found = |version| limits(version, &resources).expect("they can be set");
        let number = |n| Value::U64(n);
        assert_eq!(
            found(Version::V1),
            [
                ("MemoryLimit", number(64)),
                ("TasksMax", number(10)),
                ("CPUShares", number(1024)),
                ("CPUQuotaPeriodUSec", number(100_000)),
                ("CPUQuotaPerSecUSec", number(160_000)),
                ("BlockIOWeight", number(10)),
            ]
        );
        assert_eq!(
            found(Version::V2),
            [
                ("MemoryMax", number(64)),
                ("MemoryLow", number(u64::MAX)),
                ("MemorySwapMax", number(32)),
                ("TasksMax", number(host_pids(10))),
                ("CPUWeight", number(39)),
                ("CPUQuotaPeriodUSec", number(100_000)),
                ("CPUQuotaPerSecUSec", number(160_000)),
                ("IOWeight", number(1)),
                ("AllowedCPUs", Value::Bytes(vec![7, 2])),
            ]
        );
    }
}
