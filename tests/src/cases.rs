//! Cases that are found at run time: one per file of a directory.

use crate::{Scratch, here};
use anyhow::{Context, Result, bail};
use libtest_mimic::{Arguments, Failed, Trial};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs `check` on each case's source and name. Does not return.
pub fn run_cases(dir: &str, ext: &str, check: fn(&Path, &str) -> Result<()>) -> Result<()> {
    let trials = cases(dir, ext)?.into_iter();
    run_trials(trials.map(|(source, name)| trial(name.clone(), move || check(&source, &name))).collect())
}

/// Runs trials as the command line asks. Does not return.
pub fn run_trials(trials: Vec<Trial>) -> Result<()> {
    libtest_mimic::run(&Arguments::from_args(), trials).exit()
}

/// A trial of this name.
pub fn trial(name: String, check: impl FnOnce() -> Result<()> + Send + 'static) -> Trial {
    Trial::test(name, move || check().map_err(|e| Failed::from(format!("{e:#}"))))
}

/// The files of `dir` (in the tests' directory) that end in `ext`, each with its name without that.
pub fn cases(dir: &str, ext: &str) -> Result<Vec<(PathBuf, String)>> {
    let mut cases = Vec::new();
    for entry in std::fs::read_dir(here().join(dir))? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == ext) {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            cases.push((path, name));
        }
    }
    cases.sort();
    Ok(cases)
}

/// Compiles a C program to a file named like it in `scratch`.
pub fn compile(source: &Path, scratch: &Scratch) -> Result<PathBuf> {
    let exe = scratch.path().join(source.file_stem().context("a source without a name")?);
    let output = Command::new("cc")
        .args(["-O1", "-g", "-Wall", "-pthread", "-o"])
        .arg(&exe)
        .arg(source)
        .args(["-lrt", "-lm"])
        .output()
        .context("cannot start cc")?;
    if !output.status.success() {
        bail!("{}:\n{}", source.display(), String::from_utf8_lossy(&output.stderr));
    }
    Ok(exe)
}
