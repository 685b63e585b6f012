//! A sandbox that goes on while a test looks at it from the host.

use crate::runsc;
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running `runsc do`, killed when it is dropped.
#[derive(Debug)]
pub struct Sandbox {
    /// The command, with pipes for standard input and output.
    pub runsc: Child,
}

impl Sandbox {
    /// Runs a program in the directory `cwd`.
    pub fn start(cwd: &Path, program: &[&str]) -> Result<Sandbox> {
        Sandbox::start_with(cwd, &[], program)
    }

    /// The same, with options of `runsc do`.
    pub fn start_with(cwd: &Path, options: &[&str], program: &[&str]) -> Result<Sandbox> {
        let runsc = Command::new(runsc()?)
            .args(["do", "--timeout", "60"])
            .args(options)
            .arg("--")
            .args(program)
            .current_dir(cwd)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        Ok(Sandbox { runsc })
    }

    /// One that sleeps.
    pub fn sleeping() -> Result<Sandbox> {
        Sandbox::start(Path::new("/"), &["sleep", "50"])
    }

    /// The sentry's id once it is behind its filter.
    pub fn sentry(&self) -> Result<u32> {
        let deadline = Instant::now() + Duration::from_secs(20);
        while Instant::now() < deadline {
            let filtered = |pid: &u32| status_field(*pid, "Seccomp:").is_ok_and(|mode| mode == "2");
            if let Some(pid) = children(self.runsc.id()).into_iter().find(filtered) {
                return Ok(pid);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        anyhow::bail!("no sentry behind a filter")
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = self.runsc.kill();
        let _ = self.runsc.wait();
    }
}

/// The threads of a process of the host.
pub fn threads(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    tasks.filter_map(|task| task.file_name().to_str()?.parse().ok()).collect()
}

/// The children of a process of the host, whichever of its threads made them.
pub fn children(pid: u32) -> Vec<u32> {
    let of = |tid| fs::read_to_string(format!("/proc/{pid}/task/{tid}/children")).unwrap_or_default();
    let text: String = threads(pid).into_iter().map(of).collect();
    text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// A field of `/proc/PID/status` of the host, such as `Uid:`.
pub fn status_field(pid: u32, name: &str) -> Result<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = status.lines().find_map(|line| line.strip_prefix(name)).context("no such field")?;
    Ok(field.trim().to_owned())
}
