//! `runsc delete`: removes a container that has stopped.

use crate::{Globals, container};
use anyhow::Result;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Kill the container if it runs; no error if there is none
    #[arg(short, long)]
    force: bool,
    /// Name of the container
    #[arg(value_name = "ID")]
    id: String,
}

pub(crate) fn run(args: &Args, globals: &Globals) -> Result<u8> {
    container::delete(&globals.root(), &args.id, args.force)?;
    Ok(0)
}
