//! `runsc wait`: waits until a container has ended.

use crate::Globals;
use crate::container::Container;
use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of the container
    #[arg(value_name = "ID")]
    id: String,
}

pub(crate) fn run(args: &Args, globals: &Globals) -> Result<u8> {
    let pidfd = {
        let container = Container::load(&globals.root(), &args.id)?;
        Pid::from_raw(container.pid()).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok())
    };
    if let Some(pidfd) = pidfd {
        let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
        while let Err(e) = poll(&mut fds, None) {
            if e != rustix::io::Errno::INTR {
                return Err(e).context("cannot wait for the container");
            }
        }
    }
    Ok(0)
}
