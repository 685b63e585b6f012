//! `runsc completion` and `runsc man`: what is generated from the definition of the command line.

use anyhow::{Context, Result};
use clap::CommandFactory;
use clap_complete::Shell;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(crate) struct CompletionArgs {
    /// Whose completions to write to standard output
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ManArgs {
    /// Directory to write the pages to
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

pub(crate) fn completion(args: &CompletionArgs) -> Result<u8> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut crate::Cli::command(), "runsc", &mut script);
    super::print(&script)
}

pub(crate) fn man(args: &ManArgs) -> Result<u8> {
    std::fs::create_dir_all(&args.dir).with_context(|| format!("cannot make {}", args.dir.display()))?;
    clap_mangen::generate_to(crate::Cli::command(), &args.dir)
        .with_context(|| format!("cannot write to {}", args.dir.display()))?;
    Ok(0)
}
