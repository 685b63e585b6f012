//! `runsc syscalls`: the table of calls.

use anyhow::Result;
use std::io::Write;
use syscalls_table::{Support, TABLE};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Write JSON
    #[arg(long)]
    json: bool,
}

#[derive(serde::Serialize)]
struct Row {
    number: u32,
    name: &'static str,
    support: &'static str,
    note: &'static str,
}

pub(crate) fn run(args: &Args) -> Result<u8> {
    let rows = TABLE.iter().map(|e| Row { number: e.nr, name: e.name, support: word(e.support), note: e.note });
    let mut text = Vec::new();
    if args.json {
        serde_json::to_writer_pretty(&mut text, &rows.collect::<Vec<_>>())?;
        text.push(b'\n');
    } else {
        writeln!(text, "{:>4}  {:24} {:8} NOTE", "NR", "NAME", "SUPPORT")?;
        for row in rows {
            let line = format!("{:>4}  {:24} {:8} {}", row.number, row.name, row.support, row.note);
            writeln!(text, "{}", line.trim_end())?;
        }
    }
    super::print(&text)
}

fn word(support: Support) -> &'static str {
    match support {
        Support::Full => "full",
        Support::Partial => "partial",
        Support::None => "none",
    }
}
