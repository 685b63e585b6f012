//! `runsc run`: the container of an OCI bundle in the foreground.

use crate::{Globals, oci, supervise};
use anyhow::{Result, bail};
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Directory of the bundle
    #[arg(short, long, value_name = "DIR")]
    bundle: Option<PathBuf>,
    /// Name of the container, or the directory of the bundle
    #[arg(value_name = "ID|DIR")]
    id: String,
}

pub(crate) fn run(args: Args, globals: &Globals) -> Result<u8> {
    let (bundle, id) = match args.bundle {
        Some(bundle) => (bundle, args.id),
        None if PathBuf::from(&args.id).join("config.json").is_file() => {
            (PathBuf::from(&args.id), format!("run-{}", std::process::id()))
        }
        None => (PathBuf::from("."), args.id),
    };
    check_id(&id)?;
    supervise::run(oci::plan(&bundle, id)?, globals)
}

/// The characters that runc allows: it becomes the name of files.
fn check_id(id: &str) -> Result<()> {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || "_+-.".contains(c);
    if id.is_empty() || id == "." || id == ".." || id.len() > 1024 || !id.chars().all(is_fine) {
        bail!("\"{id}\" is no name for a container: use letters, digits and _ + - . (or name a bundle's directory)");
    }
    Ok(())
}
