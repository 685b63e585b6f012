//! Programs that attack the sandbox from inside (`tests/hostile/*.c`). They cannot run natively; what must come of
//! each attack stands in the program's head, in lines `expect NAME: OUTCOME`.

use anyhow::{Context, Result, bail};
use libtest_mimic::{Arguments, Failed, Trial};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tests::{Program, Scratch, Status, here, sandboxed};

/// Attacks that are ended by the platform take seconds each.
const TIMEOUT: Duration = Duration::from_secs(120);

fn main() -> Result<()> {
    let args = Arguments::from_args();
    let mut sources: Vec<PathBuf> = std::fs::read_dir(here().join("hostile"))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|ext| ext == "c"))
        .collect();
    sources.sort();
    let trials = sources.into_iter().map(|source| {
        let name = source.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Trial::test(name.clone(), move || check(&source, &name).map_err(|e| Failed::from(format!("{e:#}"))))
    });
    libtest_mimic::run(&args, trials.collect()).exit()
}

fn check(source: &Path, name: &str) -> Result<()> {
    let text = std::fs::read_to_string(source)?;
    let expected: Vec<&str> = text.lines().filter_map(|l| l.trim().strip_prefix("* expect ")).collect();
    let scratch = Scratch::new(name)?;
    let exe = compile(source, &scratch)?;
    let program = Program { args: vec![exe.into()], cwd: scratch.fresh("cwd")?, env: Vec::new(), timeout: TIMEOUT };
    let outcome = sandboxed(&program)?.run()?;
    let stdout = String::from_utf8_lossy(&outcome.stdout).into_owned();
    let seen: Vec<&str> = stdout.lines().collect();
    if outcome.status != Status::Exited(0) || seen != expected {
        let stderr = String::from_utf8_lossy(&outcome.stderr);
        bail!("{}\nexpected: {expected:#?}\nseen: {seen:#?}\n{stderr}", outcome.status);
    }
    Ok(())
}

fn compile(source: &Path, scratch: &Scratch) -> Result<PathBuf> {
    let exe = scratch.path().join("hostile");
    let compiled = Command::new("cc").args(["-O1", "-w", "-pthread", "-o"]).arg(&exe).arg(source).output();
    let output = compiled.context("cannot start cc")?;
    if !output.status.success() {
        bail!("{}:\n{}", source.display(), String::from_utf8_lossy(&output.stderr));
    }
    Ok(exe)
}
