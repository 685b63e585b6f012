//! `runsc events`: what a container uses, and when it runs out of memory.

use crate::Globals;
use crate::cgroup::stats::NetworkInterface;
use crate::container::{Container, Status, namespace};
use anyhow::{Result, bail};
use sentry::boot::protocol::{Reply, Request};
use serde::Serialize;
use std::time::{Duration, Instant};

/// How often the end of the container and the count of kills are looked at.
const LOOK: Duration = Duration::from_millis(100);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Show the figures of now and end
    #[arg(long)]
    stats: bool,
    /// Time between two reports, such as 5s or 500ms
    #[arg(long, default_value = "5s", value_name = "TIME", value_parser = parse_interval)]
    interval: Duration,
    /// Name of the container
    #[arg(value_name = "ID")]
    id: String,
}

/// In the shape of runc.
#[derive(Debug, Serialize)]
struct Event<'a, T> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<T>,
}

pub(crate) fn run(args: &Args, globals: &Globals) -> Result<u8> {
    let container = Container::load(&globals.root(), &args.id)?;
    if container.status() == Status::Stopped {
        bail!("container with id {} is not running", args.id);
    }
    container.unlock()?;
    if args.stats {
        return stats(&container);
    }
    let cgroup = container.cgroup("events")?.clone();
    let mut kills = cgroup.oom_kills();
    let mut next = Instant::now();
    while container.status() != Status::Stopped {
        let killed = cgroup.oom_kills();
        for _ in kills..killed {
            show(&Event::<()> { kind: "oom", id: &args.id, data: None })?;
        }
        kills = killed;
        if Instant::now() >= next {
            next = Instant::now() + args.interval;
            stats(&container)?;
        }
        std::thread::sleep(LOOK.min(args.interval));
    }
    Ok(0)
}

fn stats(container: &Container) -> Result<u8> {
    let mut stats = container.cgroup("events")?.stats();
    // One that is just ending has no answer.
    if let Ok(Reply::Pids { current, max }) = container.connect().and_then(|sandbox| sandbox.ask(&Request::Pids)) {
        stats.set_pids(current, max);
    }
    let pid = container.pid();
    // Of the host's own nothing is the container's.
    if namespace(&pid.to_string(), "net") != namespace("self", "net") {
        stats.network_interfaces = NetworkInterface::of_process(pid);
    }
    show(&Event { kind: "stats", id: &container.saved.id, data: Some(stats) })
}

fn show(event: &impl Serialize) -> Result<u8> {
    super::print(format!("{}\n", serde_json::to_string(event)?).as_bytes())
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    let interval = humantime::parse_duration(text).map_err(|e| e.to_string())?;
    if interval.is_zero() { Err("duration interval must be greater than 0".into()) } else { Ok(interval) }
}
