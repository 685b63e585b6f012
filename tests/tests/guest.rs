//! Guest programs in C (`tests/guest/*.c`): each is compiled, run natively, run in the sandbox; output and exit
//! status must be equal. Those of the file system run a second time with their files on the host.

use anyhow::Result;
use std::path::Path;
use std::time::Duration;
use tests::{Program, Scratch, cases, compare, compile, run_trials, sandboxed_with, trial};

/// Guest programs take below 2 s each; the rest is for a loaded machine.
const TIMEOUT: Duration = Duration::from_secs(60);

fn main() -> Result<()> {
    let mut trials = Vec::new();
    for (source, name) in cases("guest", "c")? {
        if name.starts_with("fs_") {
            let (source, name) = (source.clone(), format!("{name}_bound"));
            trials.push(trial(name.clone(), move || check(&source, &name, true)));
        }
        trials.push(trial(name.clone(), move || check(&source, &name, false)));
    }
    run_trials(trials)
}

/// `bound`: what the program changes goes to the host, in place of a layer in memory.
fn check(source: &Path, name: &str, bound: bool) -> Result<()> {
    let scratch = Scratch::new(name)?;
    let exe = compile(source, &scratch)?;
    let program =
        Program { args: vec![exe.into()], cwd: scratch.path().join("cwd"), env: Vec::new(), timeout: TIMEOUT };
    scratch.fresh("cwd")?;
    let native = program.run()?;
    scratch.fresh("cwd")?;
    let place = scratch.path().as_os_str();
    let options = if bound { vec!["--bind".as_ref(), place, place] } else { Vec::new() };
    let sandbox = sandboxed_with(&program, &options)?.run()?;
    compare(&native, &sandbox)
}
