//! Device rules of version 1. Guests never reach devices of the host, whatever these say; but tools read them back.

use super::write;
use anyhow::{Context, Result};
use oci_spec::runtime::LinuxDeviceCgroup;
use std::path::Path;

/// What every container may use, as runc has it.
const DEFAULTS: [&str; 11] = [
    "c *:* m",
    "b *:* m",
    "c 1:3 rwm",
    "c 1:8 rwm",
    "c 1:7 rwm",
    "c 5:0 rwm",
    "c 1:5 rwm",
    "c 1:9 rwm",
    "c 5:1 rwm",
    "c 136:* rwm",
    "c 5:2 rwm",
];

/// Sets the rules of a container's group.
pub(super) fn set(dir: &Path, rules: &[LinuxDeviceCgroup]) -> Result<()> {
    let lists = rules.iter().map(|rule| Ok((rule.allow(), line(rule)?))).collect::<Result<Vec<_>>>()?;
    let defaults = DEFAULTS.map(|text| (true, text.to_owned()));
    // All is forbidden first; a rule that allows all makes the group allow what no other rule forbids.
    let all = [(false, "a *:* rwm".to_owned())];
    for (allow, text) in all.into_iter().chain(lists).chain(defaults) {
        let file = if allow { "devices.allow" } else { "devices.deny" };
        write(&dir.join(file), text)?;
    }
    Ok(())
}

fn line(rule: &LinuxDeviceCgroup) -> Result<String> {
    let access = rule.access().as_deref().filter(|a| !a.is_empty());
    let access = access.context("invalid device cgroup rule: device access cannot be empty")?;
    let number = |n: Option<i64>| n.filter(|n| *n >= 0).map_or("*".to_owned(), |n| n.to_string());
    let kind = rule.typ().unwrap_or_default();
    Ok(format!("{} {}:{} {access}", kind.as_str(), number(rule.major()), number(rule.minor())))
}
