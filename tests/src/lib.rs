//! What integration tests share: running a program natively and in the sandbox, in time, and comparing.

mod bundle;
mod cable;
mod cases;
mod oci;
mod pids;
mod random;
mod run;
mod sandbox;
mod scratch;

pub use bundle::{Bundle, eventually};
pub use cable::{Cable, HTTPD, Server, Weather, may_make_namespaces};
pub use cases::{cases, compile, run_cases, run_trials, trial};
pub use oci::oci_bundle;
pub use pids::PidsGroup;
pub use random::Random;
pub use run::{Outcome, Program, Status, sandboxed, sandboxed_with};
pub use sandbox::{Sandbox, children, status_field, threads};
pub use scratch::Scratch;

use anyhow::{Result, bail};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Files of the tests, beside this crate.
pub fn here() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The `runsc` under test: `$RUNSC`, or the one built last.
pub fn runsc() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("RUNSC") {
        return Ok(path.into());
    }
    // target/<profile>/<bin> or target/<profile>/deps/<test>-<hash>
    let exe = std::env::current_exe()?;
    let at = |dir: &Path| ["release", "debug"].map(|profile| dir.join(profile).join("runsc"));
    let target = exe.ancestors().find(|dir| at(dir).iter().any(|path| path.exists())).unwrap_or(Path::new("target"));
    let built = at(target);
    let age = |path: &PathBuf| path.metadata().and_then(|m| m.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
    let newest = built.into_iter().filter(|path| path.exists()).max_by_key(age);
    newest.ok_or_else(|| anyhow::anyhow!("no runsc below {}: run cargo build first", target.display()))
}

/// Compares what a program did natively with what it did in the sandbox; the error shows where they part.
pub fn compare(native: &Outcome, sandbox: &Outcome) -> Result<()> {
    if native.stdout == sandbox.stdout && native.status == sandbox.status {
        return Ok(());
    }
    let mut report = String::new();
    if native.status != sandbox.status {
        report.push_str(&format!("status: natively {}, in the sandbox {}\n", native.status, sandbox.status));
    }
    let (native_text, sandbox_text) =
        (String::from_utf8_lossy(&native.stdout), String::from_utf8_lossy(&sandbox.stdout));
    report.push_str(&first_differences(&native_text, &sandbox_text));
    report.push_str(&format!("sandbox's standard error:\n{}", last_lines(&sandbox.stderr)));
    bail!(report)
}

/// How many differing lines are shown, and how many lines of standard error.
const SHOWN: usize = 12;

fn first_differences(native: &str, sandbox: &str) -> String {
    let (mut native_lines, mut sandbox_lines) = (native.lines(), sandbox.lines());
    let mut out = String::new();
    let mut shown = 0;
    for number in 1.. {
        let pair = (native_lines.next(), sandbox_lines.next());
        if pair == (None, None) || shown == SHOWN {
            break;
        }
        if pair.0 != pair.1 {
            let show = |line: Option<&str>| line.unwrap_or("(nothing)").to_owned();
            out.push_str(&format!("line {number}\n  native  {}\n  sandbox {}\n", show(pair.0), show(pair.1)));
            shown += 1;
        }
    }
    out
}

fn last_lines(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(SHOWN)..].join("\n")
}
