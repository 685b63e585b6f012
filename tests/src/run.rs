//! Running one program with a deadline, and leaving nothing of it behind.

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A program to run.
#[derive(Debug, Clone)]
pub struct Program {
    /// Program and arguments.
    pub args: Vec<OsString>,
    /// Working directory.
    pub cwd: PathBuf,
    /// Additional environment.
    pub env: Vec<(&'static str, OsString)>,
    /// When it is killed.
    pub timeout: Duration,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// With this exit status (128 and a signal's number for signals, as shells and `runsc do` have it).
    Exited(i32),
    /// It did not.
    TimedOut,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Status::Exited(code) => write!(f, "exit {code}"),
            Status::TimedOut => f.write_str("killed after its time was up"),
        }
    }
}

/// What a program left.
#[derive(Debug)]
pub struct Outcome {
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
    /// How it ended.
    pub status: Status,
    /// How long it took.
    pub time: Duration,
}

/// The same program inside `runsc do`.
pub fn sandboxed(program: &Program) -> Result<Program> {
    sandboxed_with(program, &[])
}

/// The same with further options of `runsc do`.
pub fn sandboxed_with(program: &Program, more: &[&OsStr]) -> Result<Program> {
    let mut args: Vec<OsString> = vec![crate::runsc()?.into(), "do".into()];
    // Options for experiments, such as `--sentry-seccomp`.
    let options = std::env::var("RUNSC_DO_OPTIONS").unwrap_or_default();
    args.extend(options.split_whitespace().map(OsString::from));
    args.extend(more.iter().map(OsString::from));
    args.push("--".into());
    args.extend(program.args.iter().cloned());
    Ok(Program { args, ..program.clone() })
}

impl Program {
    /// Runs it to its end or its deadline.
    pub fn run(&self) -> Result<Outcome> {
        let (name, args) = self.args.split_first().context("no program")?;
        let start = Instant::now();
        let mut child = Command::new(name)
            .args(args)
            .current_dir(&self.cwd)
            .envs(self.env.iter().map(|(k, v)| (k, v)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", name.display()))?;
        let stdout = collect(child.stdout.take());
        let stderr = collect(child.stderr.take());
        let status = wait(&mut child, start + self.timeout)?;
        // What it left running would hold the pipes open, and outlive the test.
        let _ = killpg(Pid::from_raw(child.id() as i32), Signal::SIGKILL);
        let join = |handle: JoinHandle<Vec<u8>>| handle.join().unwrap_or_default();
        Ok(Outcome { stdout: join(stdout), stderr: join(stderr), status, time: start.elapsed() })
    }
}

fn collect(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut bytes);
        }
        bytes
    })
}

fn wait(child: &mut Child, deadline: Instant) -> Result<Status> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Status::Exited(code(status)));
        }
        if Instant::now() >= deadline {
            let _ = killpg(Pid::from_raw(child.id() as i32), Signal::SIGKILL);
            child.wait()?;
            return Ok(Status::TimedOut);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}
