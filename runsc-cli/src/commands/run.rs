//! `runsc run`: creates a container, starts it and waits for its end.

use super::create;
use crate::{Globals, container};
use anyhow::Result;
use std::path::PathBuf;

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

pub(crate) fn run(mut args: Args, globals: &Globals) -> Result<u8> {
    // For people: the directory of a bundle in place of a name.
    let named = PathBuf::from(&args.create.id);
    if args.create.bundle.is_none() && named.join("config.json").is_file() {
        args.create.bundle = Some(named);
        args.create.id = format!("run-{}", std::process::id());
    }
    container::run(args.create.options(args.detach, args.keep)?, globals)
}
