//! `runsc spec`: an example `config.json`.

use anyhow::{Context, Result};
use oci_spec::runtime::Spec;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Directory of the bundle
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    bundle: PathBuf,
    /// For an ordinary user
    #[arg(long)]
    rootless: bool,
}

pub(crate) fn run(args: &Args) -> Result<u8> {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let mut spec = if args.rootless { Spec::rootless(uid, gid) } else { Spec::default() };
    spec.set_hostname(Some("runsc".into()));
    if let Some(process) = spec.process_mut() {
        process.set_terminal(Some(true));
        // Nothing is handed on by an execve, as it is with engines.
        let capabilities = process.capabilities().clone().map(|mut sets| {
            sets.set_inheritable(None).set_ambient(None);
            sets
        });
        process.set_capabilities(capabilities);
    }
    let mut text = serde_json::to_vec_pretty(&spec)?;
    text.push(b'\n');
    let path = args.bundle.join("config.json");
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&path)
        .with_context(|| format!("cannot make {}", path.display()))?;
    file.write_all(&text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(0)
}
