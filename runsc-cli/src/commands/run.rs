//! `runsc run`: creates a container, starts it and waits for its end.

use super::create;
use crate::{Globals, container};
use anyhow::Result;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) create: create::Args,
    /// Do not wait for the container's end
    #[arg(short, long)]
    detach: bool,
    /// Keep the container after its end, until it is deleted
    #[arg(long)]
    keep: bool,
    /// Accepted: orphans are always reaped
    #[arg(long)]
    no_subreaper: bool,
}

pub(crate) fn run(args: Args, globals: &Globals) -> Result<u8> {
    container::run(args.create.options(args.detach, args.keep)?, globals)
}
