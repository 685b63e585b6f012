//! The subcommands, one file each.

pub(crate) mod checkpoint;
pub(crate) mod completion;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod r#do;
pub(crate) mod doctor;
pub(crate) mod events;
pub(crate) mod exec;
pub(crate) mod features;
pub(crate) mod kill;
pub(crate) mod pause;
pub(crate) mod ps;
pub(crate) mod run;
pub(crate) mod spec;
pub(crate) mod start;
pub(crate) mod state;
pub(crate) mod syscalls;
pub(crate) mod update;
pub(crate) mod wait;

use std::io::{ErrorKind, Write};

/// The argument of commands that act on a container and have no options.
#[derive(Debug, clap::Args)]
pub(crate) struct OneContainer {
    /// Name of the container
    #[arg(value_name = "ID")]
    id: String,
}

/// Writes `text` to standard output. A reader that has seen enough is not an error.
fn print(text: &[u8]) -> anyhow::Result<u8> {
    match std::io::stdout().write_all(text) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => {
            Err(anyhow::Error::new(e).context("cannot write to standard output"))
        }
        _ => Ok(0),
    }
}
