//! `runsc ps`: the processes of a container, by their pids on the host.

use crate::Globals;
use crate::container::{Container, Status};
use anyhow::{Context, Result, bail};
use sentry::boot::protocol::{Reply, Request};
use std::collections::HashSet;
use std::fs;
use std::process::Command;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How to show them
    #[arg(short, long, value_enum, default_value = "table")]
    format: super::state::Format,
    /// Name of the container
    #[arg(value_name = "ID")]
    id: String,
    /// Options for ps(1)
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTIONS")]
    options: Vec<String>,
}

pub(crate) fn run(args: &Args, globals: &Globals) -> Result<u8> {
    let container = Container::load(&globals.root(), &args.id)?;
    if container.status() == Status::Stopped {
        bail!("container not running");
    }
    let pids = host_pids(&container)?;
    let text = match args.format {
        super::state::Format::Json => serde_json::to_string(&pids)? + "\n",
        super::state::Format::Table => table(&pids, &args.options)?,
    };
    super::print(text.as_bytes())
}

/// The host's processes behind the guests, as seen from here. The sentry knows them by the ids of its own pid
/// namespace, the host by all: those of the guests' cgroup are looked through.
fn host_pids(container: &Container) -> Result<Vec<i32>> {
    let Reply::Processes(guests) = container.connect()?.ask(&Request::Processes)? else {
        bail!("the sentry answered something else");
    };
    let wanted: HashSet<i32> = guests.iter().map(|guest| guest.host_pid).collect();
    let in_cgroup = container.saved.cgroup.as_ref().map(|cgroup| cgroup.host_pids()).unwrap_or_default();
    let mut candidates: Vec<i32> = in_cgroup.into_iter().map(|pid| pid.as_raw_nonzero().get()).collect();
    let sentry = sentry_of(container.pid());
    if candidates.is_empty() {
        candidates = children_of(sentry);
    }
    candidates.retain(|pid| inner_pid(*pid).is_some_and(|inner| wanted.contains(&inner)));
    candidates.sort_unstable();
    Ok(candidates)
}

/// The sentry is its monitor's only child.
fn sentry_of(monitor: i32) -> i32 {
    children_of(monitor).first().copied().unwrap_or(0)
}

fn children_of(parent: i32) -> Vec<i32> {
    let text = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// The id of a process in the innermost pid namespace that it is in.
fn inner_pid(pid: i32) -> Option<i32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    ids.split_whitespace().last()?.parse().ok()
}

/// What the host's ps(1) prints about them.
fn table(pids: &[i32], options: &[String]) -> Result<String> {
    let default = ["-ef".to_owned()];
    let options = if options.is_empty() { &default[..] } else { options };
    let output = Command::new("ps").args(options).output().context("cannot run ps")?;
    if !output.status.success() {
        bail!("ps: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut lines = text.lines();
    let head = lines.next().unwrap_or_default();
    let at = head.split_whitespace().position(|column| column == "PID").context("ps shows no PID column")?;
    let is_ours = |line: &&str| {
        let pid = line.split_whitespace().nth(at).and_then(|pid| pid.parse().ok());
        pid.is_some_and(|pid| pids.contains(&pid))
    };
    Ok(std::iter::once(head).chain(lines.filter(is_ours)).map(|line| format!("{line}\n")).collect())
}
