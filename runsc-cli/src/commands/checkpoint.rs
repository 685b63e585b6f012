//! `runsc checkpoint` and `runsc restore`: not supported yet.

use anyhow::{Result, bail};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Whatever is asked for
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    _args: Vec<String>,
}

pub(crate) fn checkpoint(_: &Args) -> Result<u8> {
    bail!("checkpoint is not yet supported")
}

pub(crate) fn restore(_: &Args) -> Result<u8> {
    bail!("restore is not yet supported")
}
