//! `runsc start`: lets the first process of a created container run.

use crate::Globals;
use crate::container::{self, Container};
use anyhow::Result;

pub(crate) fn run(args: &super::OneContainer, globals: &Globals) -> Result<u8> {
    container::start(&mut Container::load(&globals.root(), &args.id)?)?;
    Ok(0)
}
