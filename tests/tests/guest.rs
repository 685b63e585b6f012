//! Guest programs in C (`tests/guest/*.c`): each is compiled, run natively, run in the sandbox; output and exit
//! status must be equal. Those of the file system run a second time with their files on the host.

use anyhow::{Context, Result, bail};
use libtest_mimic::{Arguments, Failed, Trial};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tests::{Program, Scratch, compare, here, sandboxed_with};

/// Guest programs take below 2 s each; the rest is for a loaded machine.
const TIMEOUT: Duration = Duration::from_secs(60);

fn main() -> Result<()> {
    let args = Arguments::from_args();
    let mut sources: Vec<PathBuf> = std::fs::read_dir(here().join("guest"))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|ext| ext == "c"))
        .collect();
    sources.sort();
    let trials = sources.into_iter().flat_map(|source| {
        let name = source.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let bound = name.starts_with("fs_").then(|| {
            let (source, name) = (source.clone(), format!("{name}_bound"));
            Trial::test(name.clone(), move || check(&source, &name, true))
        });
        [Trial::test(name.clone(), move || check(&source, &name, false))].into_iter().chain(bound)
    });
    libtest_mimic::run(&args, trials.collect()).exit()
}

/// `bound`: what the program changes goes to the host, in place of a layer in memory.
fn check(source: &Path, name: &str, bound: bool) -> Result<(), Failed> {
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
    compare(&native, &sandbox).map_err(Failed::from)
}

fn compile(source: &Path, scratch: &Scratch) -> Result<PathBuf> {
    let exe = scratch.path().join("guest");
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
