//! `runsc pause` and `runsc resume`: all guests of a container stand still, and go on.

use crate::Globals;
use crate::container::{Container, Status};
use anyhow::{Result, bail};
use sentry::boot::protocol::{Reply, Request};

pub(crate) fn pause(args: &super::OneContainer, globals: &Globals) -> Result<u8> {
    let mut container = Container::load(&globals.root(), &args.id)?;
    match container.status() {
        Status::Running => freeze(&container)?,
        Status::Created => hold(&mut container)?,
        status => bail!("container not running or created: {status}"),
    }
    Ok(0)
}

fn freeze(container: &Container) -> Result<()> {
    let cgroup = container.cgroup("pause")?;
    let sentry = container.connect()?;
    sentry.ask(&Request::Pause(true))?;
    if let Err(e) = cgroup.freeze(true) {
        let _ = cgroup.freeze(false);
        sentry.ask(&Request::Pause(false))?;
        return Err(e);
    }
    Ok(())
}

/// The first process stands still already, in the sentry's hands, where no freezer gets at it.
fn hold(container: &mut Container) -> Result<()> {
    if let Reply::Processes(others) = container.connect()?.ask(&Request::Processes)?
        && others.len() > 1
    {
        bail!("cannot pause a container that is not started and has further processes");
    }
    container.saved.is_paused = true;
    container.save()
}

pub(crate) fn resume(args: &super::OneContainer, globals: &Globals) -> Result<u8> {
    let mut container = Container::load(&globals.root(), &args.id)?;
    match container.status() {
        Status::Paused if container.saved.is_paused => {
            container.saved.is_paused = false;
            container.save()?;
        }
        Status::Paused => container.thaw()?,
        _ => bail!("container not paused"),
    }
    Ok(0)
}
