//! Real programs (`tests/programs/*.sh`): each script runs natively, then in the sandbox; output and exit status
//! must be equal. `NAME.prepare`, if there, runs once before, natively, in the directory that both see as `$PREP`.

use anyhow::Result;
use libtest_mimic::{Arguments, Failed, Trial};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tests::{Program, Scratch, compare, here, sandboxed};

/// A script may ask for more with a line `# timeout: SECONDS`.
const TIMEOUT: Duration = Duration::from_secs(60);

fn main() -> Result<()> {
    let args = Arguments::from_args();
    let mut scripts: Vec<PathBuf> = std::fs::read_dir(here().join("programs"))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|ext| ext == "sh"))
        .collect();
    scripts.sort();
    let trials = scripts.into_iter().map(|script| {
        let name = script.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Trial::test(name.clone(), move || check(&script, &name))
    });
    libtest_mimic::run(&args, trials.collect()).exit()
}

fn check(script: &Path, name: &str) -> Result<(), Failed> {
    let scratch = Scratch::new(name)?;
    let prep = scratch.fresh("prep")?;
    let env = vec![("PREP", prep.clone().into()), ("LC_ALL", "C.UTF-8".into()), ("TZ", "UTC".into())];
    let bash = |script: &Path, cwd: &Path| Program {
        args: vec!["bash".into(), script.into()],
        cwd: cwd.into(),
        env: env.clone(),
        timeout: timeout(script),
    };
    let prepare = script.with_extension("prepare");
    if prepare.exists() {
        let prepared = bash(&prepare, &prep).run()?;
        if prepared.status != tests::Status::Exited(0) {
            return Err(format!("preparing failed: {}", String::from_utf8_lossy(&prepared.stderr)).into());
        }
    }
    let native = bash(script, &scratch.fresh("work")?).run()?;
    if native.status != tests::Status::Exited(0) {
        return Err(format!("natively: {}\n{}", native.status, String::from_utf8_lossy(&native.stderr)).into());
    }
    let sandbox = sandboxed(&bash(script, &scratch.fresh("work")?))?.run()?;
    eprintln!(
        "{name}: {:.2} s natively, {:.2} s in the sandbox",
        native.time.as_secs_f64(),
        sandbox.time.as_secs_f64()
    );
    compare(&native, &sandbox).map_err(Failed::from)
}

fn timeout(script: &Path) -> Duration {
    let text = std::fs::read_to_string(script).unwrap_or_default();
    let asked = text.lines().find_map(|line| line.strip_prefix("# timeout: ")).and_then(|s| s.trim().parse().ok());
    asked.map_or(TIMEOUT, Duration::from_secs)
}
