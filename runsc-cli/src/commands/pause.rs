//! `runsc pause` and `runsc resume`: all guests of a container stand still, and go on.

use crate::Globals;
use crate::container::{Container, Status};
use anyhow::{Result, bail};
use sentry::boot::protocol::Request;

pub(crate) fn pause(args: &super::OneContainer, globals: &Globals) -> Result<u8> {
    let container = Container::load(&globals.root(), &args.id)?;
    match container.status() {
        Status::Running | Status::Created => {}
        status => bail!("container not running or created: {status}"),
    }
    let cgroup = container.cgroup("pause")?;
    let sentry = container.connect()?;
    sentry.ask(&Request::Pause(true))?;
    if let Err(e) = cgroup.freeze(true) {
        let _ = cgroup.freeze(false);
        sentry.ask(&Request::Pause(false))?;
        return Err(e);
    }
    Ok(0)
}

pub(crate) fn resume(args: &super::OneContainer, globals: &Globals) -> Result<u8> {
    let container = Container::load(&globals.root(), &args.id)?;
    match container.status() {
        Status::Paused => container.thaw()?,
        _ => bail!("container not paused"),
    }
    Ok(0)
}
