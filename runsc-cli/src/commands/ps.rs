//! `runsc ps`: the processes of a container, by their pids on the host.

use crate::Globals;
use crate::container::{Container, Status};
use anyhow::{Context, Result, bail};
use sentry::boot::protocol::{Reply, Request};
use std::collections::HashSet;
use std::fs;
use std::io::Write;
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
        super::state::Format::Json => serde_json::to_string(&pids)?,
        super::state::Format::Table => table(&pids, &args.options)?,
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(0)
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
    candidates.retain(|pid| parent_and_inner(*pid).is_some_and(|(_, inner)| wanted.contains(&inner)));
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

/// Parent, and id in the innermost pid namespace.
fn parent_and_inner(pid: i32) -> Option<(i32, i32)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    let parent = field("PPid:")?.trim().parse().ok()?;
    let inner = field("NSpid:")?.split_whitespace().last()?.parse().ok()?;
    Some((parent, inner))
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
