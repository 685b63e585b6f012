//! Hooks of a configuration: programs of the host that are run at points of a container's life.

use anyhow::{Context, Result, bail};
use oci_spec::runtime::{Hook, State};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How much of what a hook printed an error shows.
const SHOWN_OUTPUT: u64 = 4096;

/// Runs the hooks of a stage (`prestart`, `createRuntime`, …) in their order, each with `state` on its standard
/// input and in the directory `dir`. The first that fails is the last that is run.
pub(crate) fn run(stage: &str, hooks: &[Hook], state: &State, dir: &Path) -> Result<()> {
    let state = serde_json::to_vec(state).context("cannot tell hooks the state")?;
    for (at, hook) in hooks.iter().enumerate() {
        run_one(hook, &state, dir).with_context(|| format!("error running {stage} hook #{at}"))?;
    }
    Ok(())
}

/// The same where the container goes its way whatever the hooks do: all of them are run, and failures are warnings.
pub(crate) fn run_all(stage: &str, hooks: &[Hook], state: &State, dir: &Path, warn: impl Fn(String)) {
    let state = serde_json::to_vec(state).unwrap_or_default();
    for (at, hook) in hooks.iter().enumerate() {
        if let Err(e) = run_one(hook, &state, dir) {
            warn(format!("error running {stage} hook #{at}: {e:#}"));
        }
    }
}

fn run_one(hook: &Hook, state: &[u8], dir: &Path) -> Result<()> {
    if let Some(timeout) = hook.timeout().filter(|seconds| *seconds <= 0) {
        bail!("timeout of {timeout} s: it must be above zero");
    }
    // Memory files and not pipes: neither a hook that does not read nor a daemon that it leaves can block us.
    let mut input = memory_file()?;
    input.write_all(state).and_then(|()| input.rewind()).context("cannot write the state for a hook")?;
    let (stdout, stderr) = (memory_file()?, memory_file()?);
    let mut child = command(hook, dir)
        .stdin(input)
        .stdout(stdout.try_clone()?)
        .stderr(stderr.try_clone()?)
        .spawn()
        .with_context(|| format!("fork/exec {}", hook.path().display()))?;
    let status = match hook.timeout().and_then(|seconds| u64::try_from(seconds).ok()) {
        Some(seconds) => wait_for(&mut child, Duration::from_secs(seconds))?,
        None => child.wait().context("cannot wait for a hook")?,
    };
    if !status.success() {
        bail!("{}, stdout: {}, stderr: {}", ended(status), shown(stdout), shown(stderr));
    }
    Ok(())
}

fn command(hook: &Hook, dir: &Path) -> Command {
    let mut command = Command::new(hook.path());
    command.current_dir(dir).stdin(Stdio::null());
    if let Some((name, args)) = hook.args().as_ref().and_then(|args| args.split_first()) {
        command.arg0(name).args(args);
    }
    if let Some(env) = hook.env() {
        let pairs = env.iter().filter_map(|variable| variable.split_once('='));
        command.env_clear().envs(pairs);
    }
    command
}

fn wait_for(child: &mut Child, timeout: Duration) -> Result<ExitStatus> {
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty()).context("cannot watch a hook")?;
    let deadline = Instant::now() + timeout;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&left)) {
            Ok(0) => break,
            Ok(_) => return child.wait().context("cannot wait for a hook"),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e).context("cannot wait for a hook"),
        }
    }
    // It may just have ended.
    let _ = child.kill();
    child.wait().context("cannot wait for a hook")?;
    bail!("hook ran past specified timeout of {:.1}s", timeout.as_secs_f64())
}

/// In the words of Go, which engines know.
fn ended(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, signal) => format!("signal: {}", signal.unwrap_or(0)),
    }
}

fn memory_file() -> Result<File> {
    let fd = memfd_create("hook", MemfdFlags::CLOEXEC).context("cannot make a memory file")?;
    Ok(fd.into())
}

fn shown(mut file: File) -> String {
    let mut text = Vec::new();
    // An error within an error is not worth a report.
    let _ = file.seek(SeekFrom::Start(0)).and_then(|_| file.take(SHOWN_OUTPUT).read_to_end(&mut text));
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(script: &str, timeout: Option<i64>) -> Hook {
        let mut hook = Hook::default();
        let args = ["sh", "-c", script].map(String::from).to_vec();
        hook.set_path("/bin/sh".into()).set_args(Some(args)).set_timeout(timeout);
        hook
    }

    fn error(hooks: &[Hook]) -> String {
        run("prestart", hooks, &State::default(), Path::new("/")).map_or_else(|e| format!("{e:#}"), |()| String::new())
    }

    #[test]
    fn order_and_first_failure() {
        assert_eq!(error(&[hook("test $(pwd) = /", None), hook("grep -q ociVersion", None)]), "");
        let failed = error(&[hook("true", None), hook("echo out; echo err >&2; exit 3", None), hook("exit 4", None)]);
        assert_eq!(failed, "error running prestart hook #1: exit status 3, stdout: out\n, stderr: err\n");
    }

    #[test]
    fn too_slow() {
        let failed = error(&[hook("exec sleep 60", Some(1))]);
        assert_eq!(failed, "error running prestart hook #0: hook ran past specified timeout of 1.0s");
    }
}
