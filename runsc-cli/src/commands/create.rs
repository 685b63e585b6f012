//! `runsc create`, and the options that it shares with `runsc run`.

use crate::container::{self, Options};
use crate::{Globals, preserved_fds};
use anyhow::Result;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
// `run` has these options among its own, and one group of each name.
#[group(skip)]
pub(crate) struct Args {
    /// Directory of the bundle; the working directory if not given
    #[arg(short, long, value_name = "DIR")]
    pub(crate) bundle: Option<PathBuf>,
    /// Send the master of the container's terminal to this socket
    #[arg(long, value_name = "SOCKET")]
    console_socket: Option<PathBuf>,
    /// Write the pid of the container's process on the host to FILE
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// Pass this many descriptors from 3 on
    #[arg(long, value_name = "N", default_value = "0", allow_negative_numbers = true)]
    pub(crate) preserve_fds: u32,
    /// Accepted: the sentry's root is empty either way
    #[arg(long)]
    no_pivot: bool,
    /// Accepted: the sandbox has keyrings of nobody
    #[arg(long)]
    no_new_keyring: bool,
    /// Name of the container
    #[arg(value_name = "ID")]
    pub(crate) id: String,
}

impl Args {
    /// As the container module takes them.
    pub(crate) fn options(self, is_detached: bool, is_kept: bool) -> Result<Options> {
        Ok(Options {
            preserved: preserved_fds(self.preserve_fds)?,
            id: self.id,
            bundle: self.bundle.unwrap_or_else(|| ".".into()),
            console_socket: self.console_socket,
            pid_file: self.pid_file,
            is_detached,
            is_kept,
        })
    }
}

pub(crate) fn run(args: Args, globals: &Globals) -> Result<u8> {
    container::create(args.options(true, true)?, globals)?;
    Ok(0)
}
