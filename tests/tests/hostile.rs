//! Programs that attack the sandbox from inside (`tests/hostile/*.c`). They cannot run natively; what must come of
//! each attack stands in the program's head, in lines `expect NAME: OUTCOME`.

use anyhow::{Result, bail};
use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;
use tests::{Program, Scratch, Status, compile, run_cases, sandboxed_with};

/// Attacks that are ended by the platform take seconds each.
const TIMEOUT: Duration = Duration::from_secs(120);

fn main() -> Result<()> {
    run_cases("hostile", "c", check)
}

fn check(source: &Path, name: &str) -> Result<()> {
    let text = std::fs::read_to_string(source)?;
    let expected: Vec<&str> = text.lines().filter_map(|l| l.trim().strip_prefix("* expect ")).collect();
    let scratch = Scratch::new(name)?;
    let exe = compile(source, &scratch)?;
    let program = Program { args: vec![exe.into()], cwd: scratch.fresh("cwd")?, env: Vec::new(), timeout: TIMEOUT };
    // What attacks the fast path finds it however the tests are run, and calls through shared memory wherever it can.
    let options: &[&OsStr] = match name {
        "channel" => &["--fast-path=always".as_ref()],
        "fastpath" => &["--fast-path=on".as_ref()],
        _ => &[],
    };
    let outcome = sandboxed_with(&program, options)?.run()?;
    let stdout = String::from_utf8_lossy(&outcome.stdout).into_owned();
    let seen: Vec<&str> = stdout.lines().collect();
    if outcome.status != Status::Exited(0) || seen != expected {
        let stderr = String::from_utf8_lossy(&outcome.stderr);
        bail!("{}\nexpected: {expected:#?}\nseen: {seen:#?}\n{stderr}", outcome.status);
    }
    Ok(())
}
