//! The host process that lives exactly as long as a container: parent of its sentry, known to engines by the pid
//! file, in the container's cgroup and in the namespaces that its configuration names.

use super::namespaces::Spaces;
use super::process::Identity;
use super::view::View;
use super::{Console, Container};
use crate::plan::Plan;
use crate::supervise::{Beside, End, Failure, Sandbox, forwarded_signals, release_stdio};
use crate::terminal::RawTerminal;
use crate::{Globals, cgroup, log, network, oci};
use anyhow::{Context, Result, anyhow};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask, raise};
use platform::host::{self, Clone, Namespaces};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use sentry::boot::config::NetworkSpec;
use sentry::boot::protocol;
use serde::{Deserialize, Serialize};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

/// What a monitor tells the command that made it.
#[derive(Debug, Serialize, Deserialize)]
enum Told {
    /// It is in its namespaces.
    Placed,
    /// The first process is loaded.
    Created,
    /// It came to nothing.
    Failed { what: String, status: u8 },
}

/// What the command tells the monitor.
#[derive(Debug, Serialize, Deserialize)]
enum Go {
    /// Ids are mapped.
    Place,
    /// The hooks that come before have run.
    Create,
}

/// What a monitor is made with.
pub(super) struct Parts {
    /// The doors to the container's groups.
    pub(super) cgroups: Vec<OwnedFd>,
    pub(super) plan: Plan,
    pub(super) spaces: Spaces,
    pub(super) beside: Beside,
    /// The sentry of the pod that it joins.
    pub(super) pod: Option<OwnedFd>,
    /// A terminal that an engine holds the other end of.
    pub(super) console: Option<Console>,
    /// Or the caller's, which the caller restores.
    pub(super) terminal: Option<RawTerminal>,
    /// Run in the container's namespaces, before its root is built.
    pub(super) create_container: Box<dyn FnOnce(i32) -> Result<()>>,
    pub(super) oom_score_adj: Option<i32>,
    /// The network namespace of the command, which is not the container's to take over.
    pub(super) network_of_command: Option<(u64, u64)>,
}

/// A monitor, seen by the command that made it.
pub(super) struct Monitor {
    pub(super) identity: Identity,
    pub(super) pidfd: OwnedFd,
    sync: OwnedFd,
    /// Restores the caller's terminal when dropped.
    #[expect(dead_code, reason = "kept for its end")]
    terminal: Option<RawTerminal>,
    spaces: Spaces,
}

impl Monitor {
    /// Makes one, which waits in new namespaces for [`place`](Monitor::place). In the child the container's lock is
    /// let go.
    pub(super) fn fork(container: &Container, parts: Parts, globals: &Globals) -> Result<Monitor> {
        let (sync, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .context("cannot make a socket")?;
        parts.spaces.join_for_children()?;
        let made = host::clone(parts.spaces.at_birth());
        if !matches!(made, Ok(Clone::Child)) {
            parts.spaces.restore_children()?;
        }
        match made {
            Err(e) => {
                let missing = crate::supervise::missing_namespaces(parts.spaces.new & Namespaces::USER);
                let names = crate::supervise::names(missing & parts.spaces.new);
                Err(anyhow!(e).context(format!("the host gives no new {names} for the container")))
            }
            Ok(Clone::Parent { pid, pidfd }) => {
                let identity = Identity::of(pid)?;
                let Parts { spaces, terminal, .. } = parts;
                Ok(Monitor { identity, pidfd, sync, terminal, spaces })
            }
            Ok(Clone::Child) => {
                container.leave();
                drop(sync);
                let code = live(parts, &theirs, globals);
                std::process::exit(code)
            }
        }
    }

    /// Maps its ids and lets it enter its namespaces.
    pub(super) fn place(&self) -> Result<(), Failure> {
        let failed = |e: anyhow::Error| Failure { what: format!("{e:#}"), status: 1 };
        self.spaces.map_ids(self.identity.pid).map_err(failed)?;
        self.tell(&Go::Place).map_err(failed)?;
        self.hear()
    }

    /// Has it start the sentry, with the first process loaded when this returns.
    pub(super) fn create(&self) -> Result<(), Failure> {
        self.tell(&Go::Create).map_err(|e| Failure { what: format!("{e:#}"), status: 1 })?;
        self.hear()
    }

    fn tell(&self, go: &Go) -> Result<()> {
        protocol::send(&self.sync, go, &[]).context("the container's monitor is gone")
    }

    fn hear(&self) -> Result<(), Failure> {
        match protocol::receive(&self.sync) {
            Ok(Some((Told::Placed | Told::Created, _))) => Ok(()),
            Ok(Some((Told::Failed { what, status }, _))) => Err(Failure { what, status }),
            _ => Err(Failure { what: "the container's monitor died".into(), status: 1 }),
        }
    }
}

/// The monitor's life; returns what to exit with.
fn live(parts: Parts, sync: &OwnedFd, globals: &Globals) -> i32 {
    let (sandbox, signals) = match make(parts, sync, globals) {
        Ok(made) => made,
        Err(Failure { what, status }) => {
            let _ = protocol::send(sync, &Told::Failed { what, status }, &[]);
            return status.into();
        }
    };
    if protocol::send(sync, &Told::Created, &[]).is_err() {
        // Whoever wanted the container is gone.
        sandbox.kill();
    }
    match sandbox.wait(&signals, None) {
        Ok(End::Exited(status)) => status.into(),
        Ok(End::Signalled(signo)) => die_of(signo),
        Ok(End::Killed(_) | End::TimedOut) => die_of(libc::SIGKILL),
        Ok(End::Failed(failure)) => failure.status.into(),
        Err(_) => 1,
    }
}

fn make(
    mut parts: Parts,
    sync: &OwnedFd,
    globals: &Globals,
) -> Result<(Sandbox, nix::sys::signalfd::SignalFd), Failure> {
    let failed = |e: anyhow::Error| Failure { what: format!("{e:#}"), status: 1 };
    wait_for(sync, |go| matches!(go, Go::Place)).map_err(failed)?;
    place(&parts).map_err(failed)?;
    if parts.spaces.joins_user() {
        (parts.plan.uid_map, parts.plan.gid_map) = oci::own_mappings();
    }
    protocol::send(sync, &Told::Placed, &[]).context("the command is gone").map_err(failed)?;
    wait_for(sync, |go| matches!(go, Go::Create)).map_err(failed)?;
    let pid = own_pid().map_err(failed)?;
    (parts.create_container)(pid).map_err(failed)?;
    let terminal = parts.console.map(Console::into_terminal);
    if let Some(terminal) = &terminal {
        // So that changes of its size are signalled to this process.
        let _ = rustix::process::ioctl_tiocsctty(terminal.host());
    }
    let signals = forwarded_signals().map_err(failed)?;
    let mut beside = parts.beside;
    if parts.pod.is_none() && globals.network == network::Mode::Sandbox && parts.spaces.has_network() {
        beside.network = match network::is_own(parts.network_of_command) {
            true => network::take_over().map_err(failed)?,
            false => NetworkSpec::default(),
        };
    }
    // Those that were made for the container and hold nothing are the sentry's as well: making them costs time.
    beside.fresh = parts.spaces.new & (Namespaces::IPC | Namespaces::UTS);
    if beside.network.host {
        // The one that the configuration names, or the command's.
        beside.fresh |= Namespaces::NET;
    } else if beside.network.interfaces.is_empty() && network::is_own(parts.network_of_command) {
        beside.fresh |= parts.spaces.new & Namespaces::NET;
    }
    let mut of_caller = parts.terminal;
    let terminal = terminal.as_ref().or(of_caller.as_ref());
    let view = parts.spaces.new.contains(Namespaces::MOUNT).then(|| View::of(&parts.plan.mounts));
    let sandbox = match parts.pod {
        Some(sentry) => Sandbox::join(parts.plan, sentry, beside.container, terminal),
        None => Sandbox::start(parts.plan, globals, beside, terminal),
    };
    let sandbox = sandbox.map_err(failed)?;
    // The sentry has what it needs of the host's files and of standard input, output and error once it has started;
    // what is needed of them here is needed before the root changes.
    sandbox.started()?;
    if let Some(terminal) = &mut of_caller {
        terminal.leave_raw();
    }
    release_stdio();
    release_stderr();
    if let Some(view) = view {
        // It is a courtesy to engines: without it they see the host's files in its place.
        if let Err(e) = view.enter() {
            log::warn(&format!("engines will not find the container's files: {e:#}"));
        }
    }
    Ok((sandbox, signals))
}

fn wait_for(sync: &OwnedFd, wanted: impl Fn(&Go) -> bool) -> Result<()> {
    match protocol::receive(sync) {
        Ok(Some((go, _))) if wanted(&go) => Ok(()),
        _ => Err(anyhow!("the command that makes the container is gone")),
    }
}

/// Goes where the container's process belongs.
fn place(parts: &Parts) -> Result<()> {
    cgroup::enter(&parts.cgroups)?;
    rustix::process::setsid().context("cannot make a session")?;
    if let Some(adjustment) = parts.oom_score_adj
        && let Err(e) = std::fs::write("/proc/self/oom_score_adj", adjustment.to_string())
        // Lowering it needs a privilege that the caller may lack; what it cannot have is no reason to fail.
        && e.raw_os_error() != Some(libc::EACCES) && e.raw_os_error() != Some(libc::EPERM)
    {
        return Err(e).context("cannot set oom_score_adj");
    }
    parts.spaces.join()?;
    if parts.spaces.maps_ids() || parts.spaces.joins_user() {
        // Whoever made or joined the user namespace has every right in it, but is nobody yet.
        let _ = rustix::thread::set_thread_groups(&[]);
        let root = (rustix::process::Gid::ROOT, rustix::process::Uid::ROOT);
        rustix::thread::set_thread_res_gid(root.0, root.0, root.0).context("cannot become the container's root")?;
        rustix::thread::set_thread_res_uid(root.1, root.1, root.1).context("cannot become the container's root")?;
    }
    if parts.spaces.new.contains(Namespaces::UTS) && !parts.plan.hostname.is_empty() {
        nix::unistd::sethostname(std::ffi::OsStr::from_bytes(&parts.plan.hostname))
            .context("cannot set the host name")?;
    }
    if parts.spaces.new.contains(Namespaces::MOUNT) {
        host::private_mounts().context("cannot make the mount namespace private")?;
    }
    Ok(())
}

/// This process's id as whoever reads the hooks' state knows it: outside of a pid namespace of its own.
fn own_pid() -> Result<i32> {
    let link = std::fs::read_link("/proc/self").context("cannot read /proc/self")?;
    link.to_str().and_then(|pid| pid.parse().ok()).context("/proc/self leads nowhere")
}

pub(super) fn release_stderr() {
    if let Ok(null) = std::fs::File::options().write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stderr(null.as_fd());
    }
}

/// Ends as the first process has ended.
pub(super) fn die_of(signo: i32) -> i32 {
    if let Ok(signo) = Signal::try_from(signo) {
        let _ = rustix::process::setrlimit(
            rustix::process::Resource::Core,
            rustix::process::Rlimit { current: Some(0), maximum: Some(0) },
        );
        let _ = pthread_sigmask(SigmaskHow::SIG_UNBLOCK, Some(&SigSet::from(signo)), None);
        let _ = raise(signo);
    }
    // Process 1 of a namespace cannot die of its own signals.
    128 + signo
}
