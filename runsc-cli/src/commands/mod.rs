//! The subcommands, one file each.

pub(crate) mod r#do;
pub(crate) mod doctor;
pub(crate) mod run;
pub(crate) mod spec;
pub(crate) mod syscalls;

use std::io::{ErrorKind, Write};

/// Writes `text` to standard output. A reader that has seen enough is not an error.
fn print(text: &[u8]) -> anyhow::Result<u8> {
    match std::io::stdout().write_all(text) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => {
            Err(anyhow::Error::new(e).context("cannot write to standard output"))
        }
        _ => Ok(0),
    }
}
