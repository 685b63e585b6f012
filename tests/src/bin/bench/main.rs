//! Benchmarks: every row natively, in the sandbox with its fast path and without and, with `--peer PATH`, in gVisor's
//! `runsc`, in turn within one run, on all cores and then pinned to one; medians and ratios as a table of Markdown.
//! `cargo run --release -p tests --bin bench -- [--peer PATH] [--pairs N] [--only TEXT] [--cores all|one] [--json FILE]`.

mod place;
mod rows;
mod table;
mod veth;

use anyhow::{Context, Result, bail};
use place::{Cores, Place};
use std::path::PathBuf;
use std::process::Command;
use table::Table;

struct Options {
    peer: Option<PathBuf>,
    pairs: usize,
    only: String,
    cores: Vec<Cores>,
    json: Option<PathBuf>,
}

fn main() -> Result<()> {
    let options = options()?;
    let setup = tests::here().join("setup.sh");
    let is_ready = Command::new(&setup).stdout(std::io::stderr()).status().context("cannot run tests/setup.sh")?;
    if !is_ready.success() {
        bail!("some programs that are measured are missing: run {} as root", setup.display());
    }
    let scratch = tests::Scratch::new("bench")?;
    let dir = scratch.fresh("bench")?;
    rows::prepare(&dir)?;
    let mut tables = Vec::new();
    for cores in &options.cores {
        let mut table = Table::new(*cores);
        for pair in 0..options.pairs {
            for place in Place::all(options.peer.as_deref()) {
                eprintln!("{cores}, pair {} of {}: {place}", pair + 1, options.pairs);
                for (name, us) in rows::measure(&place, *cores, &options.only, &dir)? {
                    table.add(&name, &place, us);
                }
            }
        }
        print!("{table}");
        tables.push(table);
    }
    if let Some(path) = &options.json {
        std::fs::write(path, table::json(&tables)).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn options() -> Result<Options> {
    let all = vec![Cores::All, Cores::One];
    let mut options = Options { peer: None, pairs: 3, only: String::new(), cores: all, json: None };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().with_context(|| format!("{arg} needs a value"));
        match arg.as_str() {
            "--peer" => options.peer = Some(value()?.into()),
            "--pairs" => options.pairs = value()?.parse().context("--pairs takes a number")?,
            "--only" => options.only = value()?,
            "--json" => options.json = Some(value()?.into()),
            "--cores" => {
                options.cores = match value()?.as_str() {
                    "all" => vec![Cores::All],
                    "one" => vec![Cores::One],
                    other => bail!("--cores takes all or one, not {other}"),
                }
            }
            _ => bail!("unknown option {arg}; see the head of tests/src/bin/bench/main.rs"),
        }
    }
    Ok(options)
}
