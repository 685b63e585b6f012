//! `linux` of a configuration.

use crate::log::warn;
use anyhow::{Context, Result, bail};
use oci_spec::runtime::{
    Linux, LinuxDevice, LinuxDeviceType, LinuxIdMapping, LinuxNamespace, LinuxNamespaceType, LinuxPersonality,
    LinuxPersonalityDomain, Spec,
};
use sentry::boot::config::DeviceSpec;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

/// `PER_LINUX32` of `personality(2)`.
const PER_LINUX32: u32 = 8;

/// Checks what needs a namespace, and the namespaces themselves, in the words of runc.
pub(super) fn check_namespaces(spec: &Spec, linux: &Linux) -> Result<()> {
    let namespaces = linux.namespaces().as_deref().unwrap_or_default();
    for (at, namespace) in namespaces.iter().enumerate() {
        if namespaces.iter().take(at).any(|other| other.typ() == namespace.typ()) {
            bail!("malformed spec file: duplicated ns {:?}", namespace.typ());
        }
        if let Some(path) = namespace.path().as_ref().filter(|path| !path.as_os_str().is_empty()) {
            std::fs::metadata(path).with_context(|| format!("invalid namespace path: stat {}", path.display()))?;
        }
    }
    let has = |typ| namespaces.iter().any(|namespace| namespace.typ() == typ);
    let is_set = |name: &Option<String>| name.as_ref().is_some_and(|name| !name.is_empty());
    if is_set(spec.hostname()) && !has(LinuxNamespaceType::Uts) {
        bail!("unable to set hostname without a private UTS namespace");
    }
    if is_set(spec.domainname()) && !has(LinuxNamespaceType::Uts) {
        bail!("unable to set domainname without a private UTS namespace");
    }
    if linux.time_offsets().as_ref().is_some_and(|offsets| !offsets.is_empty()) {
        if !has(LinuxNamespaceType::Time) {
            bail!("time namespace offsets specified, but time namespace isn't enabled in the config");
        }
        bail!("timeOffsets are not supported");
    }
    check_mappings(namespaces, linux)
}

fn check_mappings(namespaces: &[LinuxNamespace], linux: &Linux) -> Result<()> {
    let user = namespaces.iter().find(|namespace| namespace.typ() == LinuxNamespaceType::User);
    let is_empty = |mappings: &Option<Vec<LinuxIdMapping>>| mappings.as_ref().is_none_or(Vec::is_empty);
    match user {
        None if !is_empty(linux.uid_mappings()) || !is_empty(linux.gid_mappings()) => {
            bail!("user namespace mappings specified, but user namespace isn't enabled in the config")
        }
        Some(user) if user.path().is_none() => {
            if is_empty(linux.uid_mappings()) {
                bail!("user namespaces enabled, but no uid mappings found");
            }
            if is_empty(linux.gid_mappings()) {
                bail!("user namespaces enabled, but no gid mappings found");
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Warns of or refuses what there is no counterpart for.
pub(super) fn check_unsupported(linux: &Linux) -> Result<()> {
    if linux.intel_rdt().is_some() {
        bail!("intelRdt is specified in config, but Intel RDT is not supported");
    }
    if linux.mount_label().as_ref().is_some_and(|label| !label.is_empty()) {
        bail!("selinux label is specified in config, but selinux is disabled or not supported");
    }
    Ok(())
}

/// How a user namespace maps ids: inside, outside, count.
pub(crate) type Mappings = Vec<(u32, u32, u32)>;

/// Those of the user namespace that this process is in.
pub(super) const OWN_UIDS: &str = "/proc/self/uid_map";
pub(super) const OWN_GIDS: &str = "/proc/self/gid_map";

/// How the user namespace that this process is in maps users and groups.
pub(crate) fn own_mappings() -> (Mappings, Mappings) {
    (mappings(&None, OWN_UIDS), mappings(&None, OWN_GIDS))
}

/// Those given.
///
/// Without any they are those of the user namespace that this process is in.
pub(super) fn mappings(mappings: &Option<Vec<LinuxIdMapping>>, own: &str) -> Mappings {
    let given: Vec<_> = mappings.iter().flatten().map(|m| (m.container_id(), m.host_id(), m.size())).collect();
    if !given.is_empty() {
        return given;
    }
    let text = std::fs::read_to_string(own).unwrap_or_default();
    let numbers: Vec<u32> = text.split_whitespace().map_while(|number| number.parse().ok()).collect();
    numbers.as_chunks::<3>().0.iter().map(|[inside, outside, count]| (*inside, *outside, *count)).collect()
}

/// Names and values, each one that a container may set, as runc judges it.
pub(super) fn sysctls(linux: &Linux) -> Result<Vec<(String, String)>> {
    /// Of the IPC namespace.
    const IPC: [&str; 8] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    let namespaces = linux.namespaces().as_deref().unwrap_or_default();
    let has = |typ| namespaces.iter().any(|namespace| namespace.typ() == typ);
    let mut sysctls: Vec<(String, String)> = Vec::new();
    for (name, value) in linux.sysctl().iter().flatten() {
        let dotted = name.replace('/', ".");
        let ipc = IPC.contains(&dotted.as_str()) || dotted.starts_with("fs.mqueue.");
        let needed = match dotted.as_str() {
            _ if ipc => Some(LinuxNamespaceType::Ipc),
            _ if dotted.starts_with("net.") => Some(LinuxNamespaceType::Network),
            "kernel.domainname" => Some(LinuxNamespaceType::Uts),
            "kernel.hostname" => {
                bail!("sysctl \"{name}\" is not allowed as it conflicts with the OCI \"hostname\" field")
            }
            _ => None,
        };
        if !needed.is_some_and(has) {
            bail!("sysctl \"{name}\" is not in a separate kernel namespace");
        }
        sysctls.push((name.clone(), value.clone()));
    }
    Ok(sysctls)
}

/// Devices in the guest's `/dev`.
pub(super) fn devices(linux: &Linux) -> Result<Vec<DeviceSpec>> {
    /// As many are named when many do not open, as in a privileged container, which has all of the host's.
    const NAMED: usize = 5;
    let devices: Vec<DeviceSpec> = linux.devices().iter().flatten().map(device).collect::<Result<_>>()?;
    let closed: Vec<_> = devices.iter().filter(|device| !opens(device)).map(|d| d.path.escape_ascii()).collect();
    if !closed.is_empty() {
        let names: Vec<String> = closed.iter().take(NAMED).map(ToString::to_string).collect();
        let more = if closed.len() > NAMED { format!(" and {} more", closed.len() - NAMED) } else { String::new() };
        warn(&format!("a sandbox has no such devices, which are there and do not open: {}{more}", names.join(", ")));
    }
    Ok(devices)
}

/// Whether a sandbox has a device of that number: memory's `null`, `zero`, `full`, `random`, `urandom`, terminals.
fn opens(device: &DeviceSpec) -> bool {
    let is_terminal_or_memory = matches!(device.rdev, (1, 3 | 5 | 7 | 8 | 9) | (5, 0..=2) | (136, _));
    match device.mode & libc::S_IFMT {
        libc::S_IFCHR => is_terminal_or_memory,
        kind => kind == libc::S_IFIFO,
    }
}

fn device(device: &LinuxDevice) -> Result<DeviceSpec> {
    let path = device.path();
    if !path.is_absolute() {
        bail!("device path {} is not an absolute path", path.display());
    }
    let kind = match device.typ() {
        LinuxDeviceType::C | LinuxDeviceType::U => libc::S_IFCHR,
        LinuxDeviceType::B => libc::S_IFBLK,
        LinuxDeviceType::P => libc::S_IFIFO,
        LinuxDeviceType::A => bail!("invalid device type for {}: a", path.display()),
    };
    let number = |n: i64| u32::try_from(n).ok();
    let rdev = if kind == libc::S_IFIFO { Some((0, 0)) } else { number(device.major()).zip(number(device.minor())) };
    Ok(DeviceSpec {
        path: OsString::from(path).into_vec(),
        mode: kind | device.file_mode().unwrap_or(0o666) & 0o7777,
        rdev: rdev.with_context(|| format!("invalid device number for {}", path.display()))?,
        uid: device.uid().unwrap_or(0),
        gid: device.gid().unwrap_or(0),
    })
}

/// For `personality(2)`.
pub(super) fn personality(personality: &LinuxPersonality) -> Result<u32> {
    if personality.flags().as_ref().is_some_and(|flags| !flags.is_empty()) {
        bail!("unsupported personality flags");
    }
    Ok(match personality.domain() {
        LinuxPersonalityDomain::PerLinux => 0,
        LinuxPersonalityDomain::PerLinux32 => PER_LINUX32,
    })
}
