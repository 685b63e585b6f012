//! From the `config.json` of an OCI bundle to a [`Plan`].

mod capabilities;
mod linux;
mod mounts;
mod process;
mod seccomp;

pub(crate) use capabilities::names as capability_names;
pub(crate) use linux::own_mappings;
pub(crate) use mounts::options as mount_options;

use crate::log::warn;
use crate::plan::{Limits, Mount, Plan, Source, Terminal};
use anyhow::{Context, Result};
use oci_spec::runtime::{Linux, LinuxNamespace, LinuxNamespaceType, LinuxResources, Process, Spec};
use sentry::boot::config::ProcessSpec;
use serde_json::Value;
use std::path::Path;

/// Properties of a configuration that mean nothing on Linux.
const OTHER_PLATFORMS: [&str; 5] = ["freebsd", "solaris", "vm", "windows", "zos"];

/// The configuration of the bundle in the directory `bundle`.
pub(crate) fn load(bundle: &Path) -> Result<Spec> {
    let path = bundle.join("config.json");
    let text = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut value: Value = serde_json::from_slice(&text).with_context(|| format!("{}", path.display()))?;
    if let Some(process) = value.get_mut("process") {
        warn_unknown(process);
        process::rename_flags(process);
    }
    if let Some(properties) = value.as_object_mut() {
        properties.retain(|name, _| !OTHER_PLATFORMS.contains(&name.as_str()));
    }
    serde_json::from_value(value).with_context(|| format!("{}", path.display()))
}

/// The plan for a configuration.
pub(crate) fn plan(spec: &Spec, bundle: &Path, id: String) -> Result<Plan> {
    from_spec(spec, bundle, id).with_context(|| format!("{}", bundle.join("config.json").display()))
}

fn warn_unknown(process: &mut Value) {
    let unknown = capabilities::take_unknown(process);
    if !unknown.is_empty() {
        warn(&format!("ignoring unknown or unavailable capabilities: [{}]", unknown.join(" ")));
    }
}

/// A process of the container that `spec` describes: its own, or a further one.
pub(crate) fn process(spec: &Spec, rootfs: &Path, config: &Process) -> Result<ProcessSpec> {
    let mut process = process::process(config)?;
    let personality = spec.linux().as_ref().and_then(|linux| linux.personality().as_ref());
    process.personality = personality.map(linux::personality).transpose()?.unwrap_or(0);
    let filter = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
    process.seccomp = filter.map(seccomp::compile).transpose()?.flatten();
    process::add_home(&mut process, rootfs);
    Ok(process)
}

/// `process` of a configuration, from JSON.
pub(crate) fn parse_process(text: &[u8]) -> Result<Process> {
    let mut value = serde_json::from_slice(text)?;
    warn_unknown(&mut value);
    process::rename_flags(&mut value);
    Ok(serde_json::from_value(value)?)
}

fn from_spec(spec: &Spec, bundle: &Path, id: String) -> Result<Plan> {
    let root = spec.root().as_ref().context("root is missing")?;
    if root.path().as_os_str().is_empty() {
        anyhow::bail!("root.path must not be empty");
    }
    let rootfs = bundle.join(root.path());
    let config = spec.process().as_ref().context("process is missing")?;
    let linux = spec.linux().clone().unwrap_or_default();
    linux::check_namespaces(spec, &linux)?;
    linux::check_unsupported(&linux)?;
    let process = process(spec, &rootfs, config)?;
    let mut mounts = vec![Mount::new("/", Source::Host { path: rootfs.clone(), writable: true, recursive: true }, 0)];
    for mount in spec.mounts().iter().flatten() {
        mounts.push(mounts::mount(mount, bundle, &rootfs)?);
    }
    if !mounts.iter().any(|mount| mount.dest == b"/dev") {
        // Every container has the usual devices, wherever they come from.
        mounts.insert(1, Mount::new("/dev", Source::Devtmpfs, libc::MS_NOSUID));
    }
    let propagation = linux.rootfs_propagation().as_deref().filter(|name| !name.is_empty());
    let bytes = |paths: &Option<Vec<String>>| paths.iter().flatten().map(|p| p.clone().into_bytes()).collect();
    Ok(Plan {
        id,
        process,
        hostname: hostname(spec, &linux),
        domainname: spec.domainname().clone().unwrap_or_else(|| "(none)".into()).into_bytes(),
        mounts,
        masked_paths: bytes(linux.masked_paths()),
        readonly_paths: bytes(linux.readonly_paths()),
        readonly_root: root.readonly().unwrap_or(false),
        root_propagation: propagation.map(mounts::propagation).transpose()?.unwrap_or(0),
        sysctls: linux::sysctls(&linux)?,
        devices: linux::devices(&linux)?,
        uid_map: linux::mappings(linux.uid_mappings(), linux::OWN_UIDS),
        gid_map: linux::mappings(linux.gid_mappings(), linux::OWN_GIDS),
        limits: limits(linux.resources().as_ref()),
        timeout: None,
        terminal: if config.terminal().unwrap_or(false) { Terminal::Required } else { Terminal::Never },
    })
}

/// The name that is given; that of the host where its names are not to be others.
fn hostname(spec: &Spec, linux: &Linux) -> Vec<u8> {
    let is_own = |namespace: &LinuxNamespace| namespace.typ() == LinuxNamespaceType::Uts;
    let given = spec.hostname().clone().filter(|name| !name.is_empty());
    match (given, linux.namespaces().iter().flatten().any(is_own)) {
        (Some(name), _) => name.into_bytes(),
        (None, true) => b"localhost".to_vec(),
        (None, false) => rustix::system::uname().nodename().to_bytes().to_vec(),
    }
}

fn limits(resources: Option<&LinuxResources>) -> Limits {
    let Some(resources) = resources else { return Limits::default() };
    // Negative is "no limit" in all three.
    let positive = |n: i64| u64::try_from(n).ok().filter(|n| *n > 0);
    let memory = resources.memory().as_ref().and_then(|m| m.limit()).and_then(positive);
    let pids = resources.pids().as_ref().and_then(|p| positive(p.limit()));
    let cpu = resources.cpu().as_ref().and_then(|c| {
        let quota = c.quota().and_then(positive)?;
        let period = c.period().filter(|p| *p > 0).unwrap_or(100_000);
        Some((quota.saturating_mul(1000) / period).max(1))
    });
    Limits { memory, millicpus: cpu, pids }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(change: impl FnOnce(&mut Value)) -> Result<Plan> {
        let mut value = serde_json::to_value(Spec::default()).expect("the example is valid");
        change(&mut value);
        from_spec(&serde_json::from_value(value).expect("it is still one"), Path::new("/bundle"), "x".into())
    }

    fn refusal(change: impl FnOnce(&mut Value)) -> String {
        planned(change).map_or_else(|e| format!("{e:#}"), |_| "accepted".into())
    }

    #[test]
    fn example_makes_a_plan() {
        let plan = planned(|_| {}).expect("the example is valid");
        assert_eq!(plan.mounts[0].host_path(), Some(Path::new("/bundle/rootfs")));
        assert!(plan.mounts.iter().any(|m| matches!(m.source, Source::Devtmpfs)));
        assert_eq!(plan.process.args, [b"sh"]);
        assert_ne!(plan.process.caps.bounding, 0);
        assert!(plan.readonly_root);
    }

    #[test]
    fn namespaces_are_checked() {
        let twice = refusal(|spec| spec["linux"]["namespaces"] = serde_json::json!([{"type": "pid"}, {"type": "pid"}]));
        assert!(twice.starts_with("malformed spec file: duplicated ns"), "{twice}");
        let nowhere =
            refusal(|spec| spec["linux"]["namespaces"] = serde_json::json!([{"type": "network", "path": "/no/ns"}]));
        assert!(nowhere.starts_with("invalid namespace path: stat /no/ns"), "{nowhere}");
        let hostname = refusal(|spec| {
            spec["linux"]["namespaces"] = serde_json::json!([]);
            spec["hostname"] = "box".into();
        });
        assert_eq!(hostname, "unable to set hostname without a private UTS namespace");
    }

    #[test]
    fn sysctls_need_their_namespace() {
        let refused = refusal(|spec| spec["linux"]["sysctl"] = serde_json::json!({"vm.swappiness": "1"}));
        assert_eq!(refused, "sysctl \"vm.swappiness\" is not in a separate kernel namespace");
        let plan = planned(|spec| spec["linux"]["sysctl"] = serde_json::json!({"kernel.shmmax": "1"}));
        assert_eq!(plan.expect("it may be set").sysctls, [("kernel.shmmax".to_owned(), "1".to_owned())]);
    }

    #[test]
    fn doubled_limits_are_refused() {
        let limit = serde_json::json!({"type": "RLIMIT_CORE", "soft": 1, "hard": 1});
        let refused = refusal(|spec| spec["process"]["rlimits"] = serde_json::json!([limit, limit]));
        assert!(refused.starts_with("duplicated rlimit"), "{refused}");
    }
}
