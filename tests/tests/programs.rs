//! Real programs (`tests/programs/*.sh`): each script runs natively, then in the sandbox; output and exit status
//! must be equal. `NAME.prepare`, if there, runs once before, natively, in the directory that both see as `$PREP`.

use anyhow::{Result, bail};
use std::path::Path;
use std::time::Duration;
use tests::{Program, Scratch, Status, compare, run_cases, sandboxed};

/// A script may ask for more with a line `# timeout: SECONDS`.
const TIMEOUT: Duration = Duration::from_secs(60);

fn main() -> Result<()> {
    run_cases("programs", "sh", check)
}

fn check(script: &Path, name: &str) -> Result<()> {
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
        if prepared.status != Status::Exited(0) {
            bail!("preparing failed: {}", String::from_utf8_lossy(&prepared.stderr));
        }
    }
    let native = bash(script, &scratch.fresh("work")?).run()?;
    if native.status != Status::Exited(0) {
        bail!("natively: {}\n{}", native.status, String::from_utf8_lossy(&native.stderr));
    }
    let sandbox = sandboxed(&bash(script, &scratch.fresh("work")?))?.run()?;
    eprintln!(
        "{name}: {:.2} s natively, {:.2} s in the sandbox",
        native.time.as_secs_f64(),
        sandbox.time.as_secs_f64()
    );
    compare(&native, &sandbox)
}

fn timeout(script: &Path) -> Duration {
    let text = std::fs::read_to_string(script).unwrap_or_default();
    let asked = text.lines().find_map(|line| line.strip_prefix("# timeout: ")).and_then(|s| s.trim().parse().ok());
    asked.map_or(TIMEOUT, Duration::from_secs)
}
