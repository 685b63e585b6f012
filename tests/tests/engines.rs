//! Container engines with our runtime: `tests/engines/*.sh`, each starts its engine itself.

use libtest_mimic::{Arguments, Failed, Trial};
use std::process::{Command, ExitCode, Stdio};
use tests::{here, runsc};

/// What a script exits with where its engine is not installed.
const SKIPPED: i32 = 77;

fn main() -> ExitCode {
    let trials = ["containerd", "cri", "docker", "podman"].map(|engine| Trial::test(engine, move || run(engine)));
    libtest_mimic::run(&Arguments::from_args(), trials.into()).exit_code()
}

fn run(engine: &str) -> Result<(), Failed> {
    let script = here().join("engines").join(format!("{engine}.sh"));
    let output = Command::new("timeout")
        .args(["-k", "20", "900"])
        .arg(script)
        .env("RUNSC", runsc()?)
        .stdin(Stdio::null())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    match output.status.code() {
        Some(0) => Ok(()),
        Some(SKIPPED) => {
            eprintln!("{text}");
            Ok(())
        }
        _ => Err(text.into()),
    }
}
