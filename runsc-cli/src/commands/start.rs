//! `runsc start`: lets the first process of a created container run.

use crate::Globals;
use crate::container::{self, Container};
use anyhow::Result;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of the container
    #[arg(value_name = "ID")]
    id: String,
}

pub(crate) fn run(args: &Args, globals: &Globals) -> Result<u8> {
    container::start(&mut Container::load(&globals.root(), &args.id)?)?;
    Ok(0)
}
