//! The parent's side of a sandbox: starts it, waits, passes signals on, ends it in time, cleans up.

use crate::cgroup::Cgroup;
use crate::confine::{Handles, Walls, confine};
use crate::plan::{Plan, signal_command};
use crate::terminal::RawTerminal;
use crate::{Globals, SeccompName};
use anyhow::{Context, Result, bail};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use platform::host::{self, Caps, Clone, Namespaces};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{WaitId, WaitIdOptions, WaitIdStatus, waitid};
use sentry::boot::config::Command;
use std::fs::OpenOptions;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// Exit status after `--timeout`, as of timeout(1).
const TIMED_OUT: u8 = 124;

/// Signals that are the first process's business, not ours.
const FORWARDED: [Signal; 9] = [
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGQUIT,
    Signal::SIGHUP,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGWINCH,
    Signal::SIGCONT,
];

/// Namespaces without which there is no wall to speak of.
const ESSENTIAL: Namespaces = Namespaces::PID.union(Namespaces::MOUNT);
const ALL: Namespaces = ESSENTIAL.union(Namespaces::NET).union(Namespaces::IPC).union(Namespaces::UTS);

/// Carries out a plan; returns the exit status for the caller.
pub(crate) fn run(plan: Plan, globals: &Globals) -> Result<u8> {
    if globals.sentry_seccomp != SeccompName::Kill && !globals.allow_weaker {
        bail!("--sentry-seccomp needs --allow-weaker");
    }
    let timeout = plan.timeout;
    let memory = plan.limits.memory;
    let is_forwarding = block_signals()?;
    let cgroup = make_cgroup(&plan, globals)?;
    let terminal = RawTerminal::enter(plan.terminal)?;
    let (sandbox, control) = start(plan, globals, cgroup.as_ref(), terminal.as_ref())?;
    let signals = SignalFd::with_flags(&is_forwarding, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .context("cannot receive signals")?;
    release_stdio();
    let end = Supervisor { sandbox, control, signals, deadline: timeout.map(|t| Instant::now() + t) }.wait();
    drop(terminal);
    if let (Some(limit), Some(1..)) = (memory, cgroup.as_ref().map(Cgroup::oom_kills)) {
        eprintln!("runsc: a process was killed: the sandbox reached its memory limit of {limit} bytes");
    }
    match end? {
        End::Exited(status) => Ok(status),
        End::TimedOut => {
            eprintln!("runsc: killed after the timeout of {} s", timeout.unwrap_or_default().as_secs_f64());
            Ok(TIMED_OUT)
        }
        End::Killed(signal) => {
            eprintln!("runsc: the sandbox itself died of {}", signal_name(signal));
            Ok(128u8.wrapping_add(signal as u8))
        }
    }
}

/// Keeps signals for the first process from ending us.
fn block_signals() -> Result<SigSet> {
    let set: SigSet = FORWARDED.into_iter().collect();
    set.thread_block().context("cannot block signals")?;
    Ok(set)
}

fn make_cgroup(plan: &Plan, globals: &Globals) -> Result<Option<Cgroup>> {
    if plan.limits.is_empty() {
        return Ok(None);
    }
    match Cgroup::create(&plan.id, &plan.limits) {
        Ok(cgroup) => Ok(Some(cgroup)),
        Err(e) if globals.allow_weaker => {
            eprintln!("runsc: warning: {e:#}; going on without limits (--allow-weaker)");
            Ok(None)
        }
        Err(e) => Err(e.context("refusing to start without the limits asked for")),
    }
}

/// Makes the child that becomes the sentry; returns it and the writing end of its control pipe.
fn start(
    plan: Plan,
    globals: &Globals,
    cgroup: Option<&Cgroup>,
    terminal: Option<&RawTerminal>,
) -> Result<(OwnedFd, OwnedFd)> {
    let (control, control_writer) = pipe_with(PipeFlags::CLOEXEC).context("cannot make a pipe")?;
    let handles = Handles {
        sentry_cgroups: cgroup.map(Cgroup::sentry_procs).transpose()?.unwrap_or_default(),
        guest_cgroups: cgroup.map(Cgroup::guest_procs).transpose()?.unwrap_or_default(),
        control,
        strace: globals.strace.then(|| log_file(globals)).transpose()?,
        debug_log: globals.debug_log.is_some().then(|| log_file(globals)).transpose()?,
    };
    // Without the right to make mounts we make it ourselves: whoever makes a user namespace has it there.
    let user_namespace = (!host::has_cap(Caps::SYS_ADMIN))
        .then(|| (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()));
    let walls = Walls {
        platform: globals.platform.into(),
        allow_weaker: globals.allow_weaker,
        seccomp: globals.sentry_seccomp.into(),
        user_namespace,
    };
    match clone_into_namespaces(walls)? {
        Clone::Parent(sandbox) => Ok((sandbox, control_writer)),
        Clone::Child => {
            drop(control_writer);
            child(plan, walls, terminal, handles)
        }
    }
}

/// The rest of the child's life.
fn child(plan: Plan, walls: Walls, terminal: Option<&RawTerminal>, handles: Handles) -> ! {
    let unblocked = SigSet::all().thread_unblock().context("cannot unblock signals");
    let code = match unblocked.and_then(|()| confine(plan, walls, terminal, handles)) {
        Ok(config) => sentry::boot::run(config),
        Err(e) => {
            eprintln!("runsc: {e:#}");
            1
        }
    };
    std::process::exit(code)
}

fn clone_into_namespaces(walls: Walls) -> Result<Clone> {
    let user = if walls.user_namespace.is_some() { Namespaces::USER } else { Namespaces::empty() };
    match host::clone(ALL | user) {
        Ok(side) => Ok(side),
        Err(e) => {
            let missing = missing_namespaces(user);
            if !walls.allow_weaker || missing.intersects(ESSENTIAL | Namespaces::USER) {
                let e = anyhow::Error::new(e);
                return Err(e.context(format!("refusing to start: the host gives no new {}", names(missing))));
            }
            eprintln!("runsc: warning: going on without a new {} (--allow-weaker)", names(missing));
            host::clone((ALL | user) - missing).context("cannot make the sandbox's process")
        }
    }
}

/// Which namespaces cannot be made, each tried on its own.
pub(crate) fn missing_namespaces(user: Namespaces) -> Namespaces {
    let fails = |namespaces: Namespaces| match host::clone(namespaces) {
        Ok(Clone::Child) => std::process::exit(0),
        Ok(Clone::Parent(child)) => {
            let _ = waitid(WaitId::PidFd(child.as_fd()), WaitIdOptions::EXITED);
            false
        }
        Err(_) => true,
    };
    if !user.is_empty() && fails(user) {
        return user;
    }
    ALL.iter().filter(|namespace| fails(*namespace | user)).collect()
}

/// Names for a person.
pub(crate) fn names(namespaces: Namespaces) -> String {
    let name = |n: Namespaces| match n {
        Namespaces::USER => "user namespace",
        Namespaces::PID => "pid namespace",
        Namespaces::MOUNT => "mount namespace",
        Namespaces::NET => "network namespace",
        Namespaces::IPC => "IPC namespace",
        _ => "UTS namespace",
    };
    let names: Vec<&str> = namespaces.iter().map(name).collect();
    if names.is_empty() { "namespaces together".into() } else { names.join(", ") }
}

fn log_file(globals: &Globals) -> Result<OwnedFd> {
    match &globals.debug_log {
        Some(path) => {
            let file = OpenOptions::new().create(true).append(true).open(path);
            Ok(file.with_context(|| format!("--debug-log {}", path.display()))?.into())
        }
        None => std::io::stderr().as_fd().try_clone_to_owned().context("cannot duplicate standard error"),
    }
}

/// Lets go of the program's input and output, so that the other ends see it close them.
fn release_stdio() {
    if let Ok(null) = open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) {
        let _ = rustix::stdio::dup2_stdin(&null);
        let _ = rustix::stdio::dup2_stdout(&null);
    }
}

/// How a sandbox ended.
enum End {
    Exited(u8),
    /// The sentry was killed by this signal.
    Killed(i32),
    TimedOut,
}

struct Supervisor {
    sandbox: OwnedFd,
    control: OwnedFd,
    signals: SignalFd,
    deadline: Option<Instant>,
}

impl Supervisor {
    fn wait(self) -> Result<End> {
        loop {
            let (ended, signalled) = self.poll()?;
            if signalled {
                self.forward_signals()?;
            }
            if ended {
                return self.reap();
            }
            if self.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                let _ = rustix::process::pidfd_send_signal(&self.sandbox, rustix::process::Signal::KILL);
                self.reap()?;
                return Ok(End::TimedOut);
            }
        }
    }

    fn poll(&self) -> Result<(bool, bool)> {
        let mut fds = [PollFd::new(&self.sandbox, PollFlags::IN), PollFd::new(&self.signals, PollFlags::IN)];
        let left = self.deadline.map(|d| d.saturating_duration_since(Instant::now()) + Duration::from_millis(1));
        let left = left.map(|d| Timespec { tv_sec: d.as_secs() as i64, tv_nsec: i64::from(d.subsec_nanos()) });
        match poll(&mut fds, left.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e).context("cannot wait for the sandbox"),
        }
        Ok((!fds[0].revents().is_empty(), !fds[1].revents().is_empty()))
    }

    fn forward_signals(&self) -> Result<()> {
        while let Some(info) = self.signals.read_signal().context("cannot read signals")? {
            let signo = info.ssi_signo as u8;
            // A sandbox that is just ending has closed the pipe: the signal comes too late, as it may natively.
            let _ = if i32::from(signo) == libc::SIGWINCH {
                rustix::io::write(&self.control, &[Command::WindowSize as u8])
            } else {
                rustix::io::write(&self.control, &signal_command(signo))
            };
        }
        Ok(())
    }

    fn reap(&self) -> Result<End> {
        let status: Option<WaitIdStatus> = waitid(WaitId::PidFd(self.sandbox.as_fd()), WaitIdOptions::EXITED)
            .context("cannot wait for the sandbox")?;
        let status = status.context("the sandbox was reaped by someone else")?;
        match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Ok(End::Exited(code as u8)),
            (None, Some(signal)) => Ok(End::Killed(signal)),
            (None, None) => bail!("the sandbox ended in a way unknown to wait(2)"),
        }
    }
}

fn signal_name(signal: i32) -> String {
    Signal::try_from(signal).map_or_else(|_| format!("signal {signal}"), |s| s.as_str().to_owned())
}
