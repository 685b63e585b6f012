//! `runsc wait`: waits until a container, or a process in it, has ended, and says how.

use crate::Globals;
use crate::container::{Container, Status};
use anyhow::{Result, bail};
use sentry::boot::protocol::{Reply, Request};
use serde::Serialize;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Wait for this process of the container, by its id in it
    #[arg(long, value_name = "PID")]
    pid: Option<i32>,
    /// Wait for this process, by its id in the sandbox's first container
    #[arg(long, value_name = "PID", conflicts_with = "pid")]
    rootpid: Option<i32>,
    /// Name of the container
    #[arg(value_name = "ID")]
    id: String,
}

/// In the shape of gVisor.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Ended<'a> {
    id: &'a str,
    /// 128 and the signal for a process that was killed.
    exit_status: i32,
}

pub(crate) fn run(args: &Args, globals: &Globals) -> Result<u8> {
    let container = Container::load(&globals.root(), &args.id)?;
    if container.status() == Status::Stopped {
        bail!("container not running");
    }
    let first = match (args.rootpid, container.pod()) {
        (Some(_), Some(pod)) => Some(Container::load(&globals.root(), pod)?),
        _ => None,
    };
    let client = first.as_ref().unwrap_or(&container).connect()?;
    drop(first);
    // Others may do with it what they like meanwhile.
    drop(container);
    client.wait_at_most(None)?;
    let Reply::Exited { status } = client.ask(&Request::Wait { pid: args.pid.or(args.rootpid) })? else {
        bail!("the sentry answered something else");
    };
    let exit_status = if status & 0x7f == 0 { status >> 8 & 0xff } else { 128 + (status & 0x7f) };
    super::print(format!("{}\n", serde_json::to_string(&Ended { id: &args.id, exit_status })?).as_bytes())
}
