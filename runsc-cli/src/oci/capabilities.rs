//! Capabilities of a configuration.

use crate::log::warn;
use anyhow::{Result, bail};
use oci_spec::runtime::{Capability, LinuxCapabilities};
use sentry::boot::config::CapabilitySets;
use serde_json::Value;
use std::collections::HashSet;

/// Names of capabilities, by their numbers.
const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// All names there are.
pub(crate) fn names() -> Vec<String> {
    CAPABILITIES.iter().map(|name| format!("CAP_{name}")).collect()
}

/// The sets as bits, as Linux lets a process have them.
pub(super) fn sets(caps: &LinuxCapabilities) -> Result<CapabilitySets> {
    let (permitted, inheritable) = (bits(caps.permitted()), bits(caps.inheritable()));
    let effective = bits(caps.effective());
    if effective & !permitted != 0 {
        bail!("unable to apply caps: operation not permitted: effective ones must be permitted");
    }
    let ambient = bits(caps.ambient());
    if ambient & !(permitted & inheritable) != 0 {
        warn("ambient capabilities that are not both permitted and inheritable are left out");
    }
    let ambient = ambient & permitted & inheritable;
    Ok(CapabilitySets { permitted, effective, inheritable, bounding: bits(caps.bounding()), ambient })
}

fn bits(set: &Option<HashSet<Capability>>) -> u64 {
    let number = |cap: &Capability| number(&cap.to_string());
    set.iter().flatten().filter_map(number).fold(0, |bits, number| bits | 1 << number)
}

fn number(name: &str) -> Option<usize> {
    let name = name.strip_prefix("CAP_").unwrap_or(name);
    CAPABILITIES.iter().position(|known| *known == name)
}

/// Takes names that there are not out of a configuration's `process`, and returns them: they are not an error.
pub(super) fn take_unknown(process: &mut Value) -> Vec<String> {
    let mut unknown = Vec::new();
    let sets = process.get_mut("capabilities").and_then(Value::as_object_mut);
    for names in sets.into_iter().flat_map(|sets| sets.values_mut()).filter_map(Value::as_array_mut) {
        names.retain(|name| match name.as_str() {
            Some(name) if number(name).is_none() => {
                unknown.push(name.to_owned());
                false
            }
            _ => true,
        });
    }
    unknown.sort();
    unknown.dedup();
    unknown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_names_are_left_out() {
        let mut process =
            serde_json::json!({"capabilities": {"bounding": ["CAP_KILL", "CAP_FLY"], "ambient": ["CAP_FLY"]}});
        assert_eq!(take_unknown(&mut process), ["CAP_FLY"]);
        assert_eq!(process["capabilities"]["bounding"], serde_json::json!(["CAP_KILL"]));
    }
}
