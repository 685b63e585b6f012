//! `runsc pause` and `runsc resume`: all guests of a container stand still, and go on.

use crate::Globals;
use crate::container::{Container, Status};
use anyhow::{Result, bail};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of the container
    #[arg(value_name = "ID")]
    id: String,
}

pub(crate) fn pause(args: &Args, globals: &Globals) -> Result<u8> {
    let container = Container::load(&globals.root(), &args.id)?;
    match container.status() {
        Status::Running | Status::Created => container.cgroup("pause")?.freeze(true)?,
        _ => bail!("container not running or created: {}", container.status()),
    }
    Ok(0)
}

pub(crate) fn resume(args: &Args, globals: &Globals) -> Result<u8> {
    let container = Container::load(&globals.root(), &args.id)?;
    match container.status() {
        Status::Paused => container.cgroup("resume")?.freeze(false)?,
        _ => bail!("container not paused"),
    }
    Ok(0)
}
