//! The end of what is left of a container.

use super::{Container, Identity, Status};
use crate::hooks;
use crate::log;
use anyhow::{Context, Result, bail};
use oci_spec::runtime::ContainerState;
use sentry::boot::protocol::Request;
use std::fs;
use std::path::Path;

/// Removes a container. One that runs is an error unless `force` is given; then one that does not exist is none.
pub(crate) fn delete(root: &Path, id: &str, force: bool) -> Result<()> {
    super::check_id(id)?;
    let container = match Container::find(root, id) {
        Ok(Some(container)) => container,
        Ok(None) if force => return Ok(()),
        Ok(None) => bail!("container does not exist"),
        // Whatever made it died before it had written anything down.
        Err(_) if force => return remove_dir(&root.join(id)),
        Err(e) => return Err(e),
    };
    match container.status() {
        Status::Stopped | Status::Created => {}
        Status::Creating if force => {}
        status if !force => bail!("cannot delete container {id} that is not stopped: {status}"),
        _ => {}
    }
    container.destroy()
}

impl Container {
    /// Lets guests go on if they are frozen.
    pub(crate) fn thaw(&self) -> Result<()> {
        let Some(cgroup) = self.saved.cgroup.as_ref().filter(|cgroup| cgroup.is_frozen()) else { return Ok(()) };
        cgroup.freeze(false)?;
        if let Ok(sentry) = self.connect() {
            let _ = sentry.ask(&Request::Pause(false));
        }
        Ok(())
    }

    /// Ends what lives of the container.
    pub(super) fn kill(&self) -> Result<()> {
        // What is frozen does not die.
        self.thaw()?;
        self.saved.monitor.as_ref().map_or(Ok(()), Identity::kill)
    }

    /// Kills what lives of the container and removes it from the host.
    pub(super) fn destroy(&self) -> Result<()> {
        self.kill()?;
        if !self.dir.exists() {
            // That was done, and its hooks have run.
            return Ok(());
        }
        if let Some(cgroup) = self.saved.cgroup.as_ref().filter(|cgroup| !cgroup.remove_empty()) {
            cgroup.kill_all()?;
            cgroup.remove()?;
        }
        if self.saved.monitor.is_some()
            && let Some(hooks) = self.hooks().poststop()
        {
            let state = self.state(ContainerState::Stopped);
            hooks::run_all("poststop", hooks, &state, &self.saved.bundle, |what| log::warn(&what));
        }
        remove_dir(&self.dir)
    }
}

fn remove_dir(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(e).with_context(|| format!("cannot remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}
