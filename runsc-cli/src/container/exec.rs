//! Further processes in a running container: `exec`, and hooks that run inside.

use super::client::Client;
use super::console::check_terminal;
use super::create::{failed, write_pid};
use super::monitor::die_of;
use super::process::Identity;
use super::{Console, Container, Status};
use crate::cgroup::Cgroup;
use crate::plan::Terminal;
use crate::supervise::{Failure, forward_signals, forwarded_signals, release_stdio};
use crate::terminal::RawTerminal;
use crate::{Globals, oci};
use anyhow::{Context, Result, anyhow, bail};
use nix::sys::signalfd::SignalFd;
use oci_spec::runtime::{ContainerState, Hook, Process};
use platform::host::{self, Clone, Namespaces};
use rustix::event::{PollFd, PollFlags, poll};
use sentry::boot::config::ProcessSpec;
use sentry::boot::protocol::{ExecRequest, Reply, Request, Stdio};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

/// What `exec` is asked for.
#[derive(Debug)]
pub(crate) struct ExecOptions {
    pub(crate) process: Process,
    pub(crate) console_socket: Option<PathBuf>,
    pub(crate) pid_file: Option<PathBuf>,
    pub(crate) preserved: Vec<OwnedFd>,
    pub(crate) is_detached: bool,
}

/// Runs a process in a container; returns its exit status, or at once if it is to go on alone.
pub(crate) fn exec(container: Container, options: ExecOptions, _: &Globals) -> Result<u8> {
    match container.status() {
        Status::Running | Status::Created => {}
        Status::Stopped => bail!("cannot exec in a stopped container"),
        Status::Paused => bail!("cannot exec in a paused container"),
        Status::Creating => bail!("cannot exec in a container that is being created"),
    }
    let spec = oci::process(&container.saved.spec, &container.saved.rootfs, &options.process)?;
    let wants_terminal = options.process.terminal().unwrap_or(false);
    check_terminal(wants_terminal, options.is_detached, options.console_socket.as_deref())?;
    let size = options.process.console_size().map(|size| (size.height() as u16, size.width() as u16));
    let console = options.console_socket.as_deref().map(|socket| Console::send(socket, size)).transpose()?;
    let terminal = match console {
        Some(console) => Some(console.into_terminal()),
        None if wants_terminal => RawTerminal::enter(Terminal::Required)?,
        None => None,
    };
    let client = container.connect()?;
    if !options.is_detached {
        let me = Identity::of(std::process::id() as i32)?;
        join(&container)?;
        drop(container);
        let signals = forwarded_signals()?;
        begin(&client, spec, terminal.as_ref(), &options.preserved).map_err(failed)?;
        if let Some(path) = &options.pid_file {
            write_pid(path, me.pid)?;
        }
        release_stdio();
        return Ok(match follow(&client, &signals)? {
            status if status & 0x7f == 0 => (status >> 8) as u8,
            status => 128 + (status & 0x7f) as u8,
        });
    }
    detach(&container, &client, spec, terminal.as_ref(), &options)
}

fn join(container: &Container) -> Result<()> {
    container.saved.cgroup.as_ref().map_or(Ok(()), Cgroup::join)
}

/// Leaves a process of the host behind that ends as the one in the container does.
fn detach(
    container: &Container,
    client: &Client,
    spec: ProcessSpec,
    terminal: Option<&RawTerminal>,
    options: &ExecOptions,
) -> Result<u8> {
    let (told, tell) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).context("cannot make a pipe")?;
    match host::clone(Namespaces::empty()).context("cannot make a process")? {
        Clone::Child => {
            let joined = join(container);
            container.leave();
            drop(told);
            std::process::exit(live(joined, client, spec, terminal, options, tell));
        }
        Clone::Parent { pid, .. } => {
            drop(tell);
            // An empty message is success.
            let text = std::io::read_to_string(File::from(told)).context("the process's monitor is gone")?;
            if let Some((status, what)) = text.split_once(' ') {
                return Err(failed(Failure { what: what.into(), status: status.parse().unwrap_or(1) }));
            }
            if text != "started" {
                bail!("the process's monitor died");
            }
            if let Some(path) = &options.pid_file {
                write_pid(path, pid)?;
            }
            Ok(0)
        }
    }
}

/// The life of a detached process's monitor; returns what to exit with.
fn live(
    joined: Result<()>,
    client: &Client,
    spec: ProcessSpec,
    terminal: Option<&RawTerminal>,
    options: &ExecOptions,
    tell: OwnedFd,
) -> i32 {
    let mut tell = File::from(tell);
    let session = || rustix::process::setsid().context("cannot make a session");
    let began = joined.and_then(|()| session()).and_then(|_| {
        if let Some(terminal) = terminal {
            // So that changes of its size are signalled to this process.
            let _ = rustix::process::ioctl_tiocsctty(terminal.host());
        }
        forwarded_signals()
    });
    let began = began.map_err(|e| Failure { what: format!("{e:#}"), status: 1 });
    let began = began.and_then(|signals| begin(client, spec, terminal, &options.preserved).map(|()| signals));
    let signals = match began {
        Ok(signals) => signals,
        Err(Failure { what, status }) => {
            let _ = write!(tell, "{status} {what}");
            return status.into();
        }
    };
    release_stdio();
    super::monitor::release_stderr();
    let _ = tell.write_all(b"started");
    drop(tell);
    match follow(client, &signals) {
        Ok(status) if status & 0x7f == 0 => status >> 8,
        Ok(status) => die_of(status & 0x7f),
        Err(_) => 1,
    }
}

/// Has the sentry start the process.
fn begin(
    client: &Client,
    process: ProcessSpec,
    terminal: Option<&RawTerminal>,
    preserved: &[OwnedFd],
) -> Result<(), Failure> {
    let failed = |e: anyhow::Error| Failure { what: format!("{e:#}"), status: 1 };
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let standard = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
    let is_terminal = terminal.map_or([false; 3], |t| t.stdio);
    let mut fds: Vec<BorrowedFd<'_>> = Vec::new();
    let stdio = [0, 1, 2].map(|at| match (is_terminal[at], rustix::io::fcntl_getfd(standard[at])) {
        (true, _) => Stdio::Terminal,
        (false, Ok(_)) => {
            fds.push(standard[at]);
            Stdio::Given
        }
        (false, Err(_)) => Stdio::Closed,
    });
    fds.extend(terminal.map(|t| t.host().as_fd()));
    fds.extend(preserved.iter().map(AsFd::as_fd));
    let request = ExecRequest { process, stdio, terminal: terminal.map(RawTerminal::size), preserved: preserved.len() };
    client.send(&Request::Exec(Box::new(request)), &fds).map_err(failed)?;
    match client.receive().map_err(failed)? {
        Some(Reply::Started { .. }) => Ok(()),
        Some(Reply::Failed { what, status }) => Err(Failure { what, status: status as u8 }),
        _ => Err(Failure { what: "the container has ended".into(), status: 1 }),
    }
}

/// Passes signals on until the process ends; returns its wait status. A container that ends takes it along.
fn follow(client: &Client, signals: &SignalFd) -> Result<i32> {
    client.wait_at_most(None)?;
    loop {
        let mut fds = [PollFd::new(client.socket(), PollFlags::IN), PollFd::new(signals, PollFlags::IN)];
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e).context("cannot wait for the process"),
        }
        let [told, signalled] = [0, 1].map(|i| !fds[i].revents().is_empty());
        if signalled {
            forward_signals(signals, client.socket())?;
        }
        if told {
            match client.receive() {
                Ok(Some(Reply::Exited { status })) => return Ok(status),
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return Ok(libc::SIGKILL),
            }
        }
    }
}

/// Runs `startContainer` hooks: inside, each with the state on its standard input.
pub(super) fn run_hooks_inside(container: &Container, hooks: &[Hook]) -> Result<()> {
    let state = serde_json::to_vec(&container.state(ContainerState::Created)).context("cannot describe the state")?;
    for (at, hook) in hooks.iter().enumerate() {
        let shown = || format!("error running startContainer hook #{at}");
        run_inside(container, hook, &state).with_context(shown)?;
    }
    Ok(())
}

fn run_inside(container: &Container, hook: &Hook, state: &[u8]) -> Result<()> {
    let (stdin, mut writer) = std::io::pipe().context("cannot make a pipe")?;
    let null = File::options().write(true).open("/dev/null").context("cannot open /dev/null")?;
    let config = container.saved.spec.process().as_ref().context("the container has no process")?;
    let mut process = oci::process(&container.saved.spec, &container.saved.rootfs, config)?;
    let path = hook.path().to_string_lossy().into_owned().into_bytes();
    let args = hook.args().iter().flatten().skip(1).map(|arg| arg.clone().into_bytes());
    process.args = std::iter::once(path).chain(args).collect();
    process.env = hook.env().iter().flatten().map(|e| e.clone().into_bytes()).collect();
    let client = container.connect()?;
    let request = ExecRequest { process, stdio: [Stdio::Given; 3], terminal: None, preserved: 0 };
    client.send(&Request::Exec(Box::new(request)), &[stdin.as_fd(), null.as_fd(), null.as_fd()])?;
    drop(stdin);
    if let Reply::Failed { what, .. } = client.receive()?.context("the sentry died")? {
        bail!("{what}");
    }
    // One that does not read it may have closed it.
    let _ = writer.write_all(state);
    drop(writer);
    let limit = hook.timeout().and_then(|seconds| u64::try_from(seconds).ok()).filter(|seconds| *seconds > 0);
    client.wait_at_most(limit.map(std::time::Duration::from_secs))?;
    loop {
        match client.receive() {
            Ok(Some(Reply::Exited { status: 0 })) => return Ok(()),
            Ok(Some(Reply::Exited { status })) if status & 0x7f == 0 => bail!("exit status {}", status >> 8),
            Ok(Some(Reply::Exited { status })) => bail!("signal: {}", status & 0x7f),
            Ok(Some(_)) => {}
            Ok(None) => bail!("the sentry died"),
            Err(_) => return Err(anyhow!("it did not end in its time")),
        }
    }
}
