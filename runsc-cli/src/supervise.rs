//! The parent's side of a sandbox: starts it, waits, passes signals on, ends it in time, cleans up.

use crate::cgroup::{Cgroup, Placement};
use crate::confine::{self, Furniture, Handles, Walls, confine};
use crate::plan::Plan;
use crate::terminal::RawTerminal;
use crate::{Globals, SeccompName};
use anyhow::{Context, Result, bail};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use platform::host::{self, Caps, Clone, Namespaces};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{WaitId, WaitIdOptions, WaitIdStatus, waitid};
use sentry::boot::config::NetworkSpec;
use sentry::boot::protocol::{self, Reply, Request};
use sentry::timings::mark;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::time::{Duration, Instant};

/// Exit status after `--timeout`, as of timeout(1).
const TIMED_OUT: u8 = 124;

/// A sandbox that lives for so long may live on for days: what its start took is given back.
const QUIET: Duration = Duration::from_millis(250);

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
pub(crate) fn run(mut plan: Plan, globals: &Globals) -> Result<u8> {
    if globals.sentry_seccomp != SeccompName::Kill && !globals.allow_weaker {
        bail!("--sentry-seccomp needs --allow-weaker");
    }
    let timeout = plan.timeout;
    let memory = plan.limits.memory;
    let signals = forwarded_signals()?;
    let cgroup = make_cgroup(&plan, globals)?;
    let terminal = RawTerminal::enter(plan.terminal)?;
    let sentry_cgroups = cgroup.as_ref().map(|own| own.0.sentry_doors()).transpose()?.unwrap_or_default();
    let beside = Beside {
        network: crate::network::of_user(globals, &mut plan, &sentry_cgroups)?,
        sentry_cgroups,
        container: Furniture {
            guest_cgroups: cgroup.as_ref().map(|own| own.0.guest_doors()).transpose()?.unwrap_or_default(),
            limits: cgroup.as_ref().map(|own| own.0.machine_limits()).unwrap_or_default(),
            ..Furniture::default()
        },
        logs: Logs::open(globals)?,
        // With the host's network the sentry stays where it is.
        fresh: if globals.network == crate::network::Mode::Host { Namespaces::NET } else { Namespaces::empty() },
    };
    let sandbox = Sandbox::start(plan, globals, beside, terminal.as_ref())?;
    release_stdio();
    let end = match sandbox.started() {
        Ok(_) => sandbox.wait(&signals, timeout),
        Err(failure) => Ok(End::Failed(failure)),
    };
    mark("the sandbox is gone");
    drop(terminal);
    let end = end?;
    if let (Some(limit), Some(1..)) = (memory, cgroup.as_ref().map(|own| own.0.oom_kills())) {
        if let End::Failed(failure) = &end {
            eprintln!("runsc: --memory {limit}: {}", failure.what);
            return Ok(failure.status);
        }
        eprintln!("runsc: a process was killed: the sandbox reached its memory limit of {limit} bytes");
    }
    match end {
        End::Exited(status) => Ok(status),
        End::Signalled(signal) => Ok(128u8.wrapping_add(signal as u8)),
        End::TimedOut => {
            eprintln!("runsc: killed after the timeout of {} s", timeout.unwrap_or_default().as_secs_f64());
            Ok(TIMED_OUT)
        }
        End::Failed(failure) => {
            eprintln!("runsc: {}", failure.what);
            Ok(failure.status)
        }
        End::Killed(signal) => {
            eprintln!("runsc: the sandbox itself died of {}", signal_name(signal));
            Ok(128u8.wrapping_add(signal as u8))
        }
    }
}

/// Receives the signals that are for the first process, and keeps them from ending us.
pub(crate) fn forwarded_signals() -> Result<SignalFd> {
    let set: SigSet = FORWARDED.into_iter().collect();
    set.thread_block().context("cannot block signals")?;
    SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).context("cannot receive signals")
}

/// The groups of a sandbox that ends with this process.
struct OwnCgroup(Cgroup);

impl Drop for OwnCgroup {
    fn drop(&mut self) {
        if let Err(e) = self.0.remove() {
            eprintln!("runsc: warning: {e:#}");
        }
    }
}

fn make_cgroup(plan: &Plan, globals: &Globals) -> Result<Option<OwnCgroup>> {
    if plan.limits.is_empty() {
        return Ok(None);
    }
    let name = format!("runsc-{}", plan.id);
    match Cgroup::create(&Placement { id: &name, ..Placement::default() }, &plan.limits.resources()) {
        Ok(cgroup) => {
            cgroup.remove_abandoned("runsc-do-");
            Ok(Some(OwnCgroup(cgroup)))
        }
        Err(e) if globals.allow_weaker => {
            eprintln!("runsc: warning: {e:#}; going on without limits (--allow-weaker)");
            Ok(None)
        }
        Err(e) => Err(e.context("refusing to start without the limits asked for")),
    }
}

/// What a sandbox gets besides its plan.
pub(crate) struct Beside {
    /// The doors to the sentry's groups, those left out in which its parent is.
    pub(crate) sentry_cgroups: Vec<OwnedFd>,
    /// What its container gets.
    pub(crate) container: Furniture,
    /// What there is of a network besides `lo`.
    pub(crate) network: NetworkSpec,
    /// Namespaces that were made for this sandbox already, and that nothing else uses.
    pub(crate) fresh: Namespaces,
    pub(crate) logs: Logs,
}

/// Where a sandbox says what it has to say about itself.
#[derive(Debug)]
pub(crate) struct Logs {
    pub(crate) strace: Option<OwnedFd>,
    pub(crate) stats: Option<OwnedFd>,
    pub(crate) metrics: Option<OwnedFd>,
    pub(crate) debug: Option<OwnedFd>,
}

impl Logs {
    /// Those that are asked for.
    pub(crate) fn open(globals: &Globals) -> Result<Logs> {
        Ok(Logs {
            strace: globals.strace.then(|| log_file(globals)).transpose()?,
            stats: globals.stats.then(|| log_file(globals)).transpose()?,
            metrics: globals.metrics.as_deref().map(metrics_file).transpose()?,
            debug: globals.debug_log.is_some().then(|| log_file(globals)).transpose()?,
        })
    }
}

/// A running sandbox, seen by its parent; or one container in another's.
pub(crate) struct Sandbox {
    /// None if the sandbox is another's.
    process: Option<OwnedFd>,
    /// The socket to its sentry.
    control: OwnedFd,
}

/// Why a sandbox failed, and what to exit with.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) what: String,
    pub(crate) status: u8,
}

impl Sandbox {
    /// Makes the child that becomes the sentry.
    pub(crate) fn start(
        plan: Plan,
        globals: &Globals,
        beside: Beside,
        terminal: Option<&RawTerminal>,
    ) -> Result<Sandbox> {
        let (control, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .context("cannot make a socket")?;
        let handles = Handles {
            sentry_cgroups: beside.sentry_cgroups,
            container: beside.container,
            control: theirs,
            network: beside.network,
            logs: beside.logs,
        };
        // Without the right to make mounts we make it ourselves: whoever makes a user namespace has it there.
        let user_namespace = (!host::has_cap(Caps::SYS_ADMIN))
            .then(|| (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()));
        let walls = Walls {
            platform: globals.platform.into(),
            fast_path: globals.fast_path.into(),
            allow_weaker: globals.allow_weaker,
            seccomp: globals.sentry_seccomp.into(),
            user_namespace,
        };
        mark("the sandbox is planned");
        match clone_into_namespaces(walls, ALL - beside.fresh)? {
            Clone::Parent { pidfd, .. } => Ok(Sandbox { process: Some(pidfd), control }),
            Clone::Child => {
                mark("the sentry's process has its namespaces");
                drop(control);
                child(plan, walls, terminal, handles)
            }
        }
    }

    /// Makes a further container in the sandbox whose sentry `control` leads to.
    pub(crate) fn join(
        plan: Plan,
        control: OwnedFd,
        container: Furniture,
        terminal: Option<&RawTerminal>,
    ) -> Result<Sandbox> {
        let (failed, tell) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).context("cannot make a pipe")?;
        // What is hidden to open the container's files is hidden from a child only.
        match host::clone(Namespaces::MOUNT).context("the host gives no new mount namespace")? {
            Clone::Child => {
                let sent = host::private_mounts()
                    .context("cannot make the mount namespace private")
                    .and_then(|()| confine::container(plan, container, terminal))
                    .and_then(|config| {
                        let request = Request::Container(Box::new(config));
                        protocol::send(&control, &request, &[]).context("the pod's sandbox takes no containers")
                    });
                if let Err(e) = sent {
                    let _ = std::fs::File::from(tell).write_all(format!("{e:#}").as_bytes());
                }
                std::process::exit(0)
            }
            Clone::Parent { pidfd, .. } => {
                drop(tell);
                let error = std::io::read_to_string(std::fs::File::from(failed)).context("cannot read a pipe")?;
                waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED).context("cannot wait for a child")?;
                if error.is_empty() { Ok(Sandbox { process: None, control }) } else { bail!(error) }
            }
        }
    }

    /// Waits until the first process is loaded; returns its id in the sandbox.
    pub(crate) fn started(&self) -> Result<i32, Failure> {
        match self.told() {
            Some(Reply::Started { pid }) => Ok(pid),
            Some(Reply::Failed { what, status }) => Err(Failure { what, status: status as u8 }),
            _ => Err(Failure { what: "the sandbox died while starting".into(), status: 1 }),
        }
    }

    fn told(&self) -> Option<Reply> {
        protocol::receive(&self.control).ok().flatten().map(|(reply, _)| reply)
    }

    /// Passes signals on until the sandbox ends or its time is up.
    pub(crate) fn wait(&self, signals: &SignalFd, timeout: Option<Duration>) -> Result<End> {
        let deadline = timeout.map(|t| Instant::now() + t);
        let mut quiet = Some(Instant::now() + QUIET);
        let mut last = None;
        let mut is_open = true;
        loop {
            let wake_at = deadline.into_iter().chain(quiet).min();
            let [ended, signalled, told] = self.poll(signals, wake_at, is_open)?;
            if quiet.take_if(|quiet| *quiet <= Instant::now()).is_some() {
                host::give_back();
            }
            if signalled {
                forward_signals(signals, &self.control)?;
            }
            if told {
                match self.told() {
                    Some(reply @ (Reply::Failed { .. } | Reply::Exited { .. })) => last = Some(reply),
                    Some(_) => {}
                    None => is_open = false,
                }
                if self.process.is_none() && (last.is_some() || !is_open) {
                    return self.reap(last);
                }
            } else if ended {
                return self.reap(last);
            }
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                self.kill();
                self.reap(None)?;
                return Ok(End::TimedOut);
            }
        }
    }

    /// Kills the sentry, and with it all guests; or the container alone in another's sandbox.
    pub(crate) fn kill(&self) {
        let _ = match &self.process {
            Some(sentry) => rustix::process::pidfd_send_signal(sentry, rustix::process::Signal::KILL),
            None => rustix::net::shutdown(&self.control, rustix::net::Shutdown::Write),
        };
    }

    fn poll(&self, signals: &SignalFd, deadline: Option<Instant>, is_open: bool) -> Result<[bool; 3]> {
        let mut fds = vec![PollFd::new(signals, PollFlags::IN)];
        fds.extend(is_open.then(|| PollFd::new(&self.control, PollFlags::IN)));
        fds.extend(self.process.as_ref().map(|sentry| PollFd::new(sentry, PollFlags::IN)));
        let left = deadline.map(|d| d.saturating_duration_since(Instant::now()) + Duration::from_millis(1));
        let left = left.map(|d| Timespec { tv_sec: d.as_secs() as i64, tv_nsec: i64::from(d.subsec_nanos()) });
        match poll(&mut fds, left.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e).context("cannot wait for the sandbox"),
        }
        let mut happened = fds.iter().map(|fd| !fd.revents().is_empty());
        let mut next = |is_polled: bool| is_polled && happened.next().unwrap_or(false);
        let (signalled, told) = (next(true), next(is_open));
        Ok([next(self.process.is_some()), signalled, told])
    }

    /// How it ended, by its last words if it had any.
    fn reap(&self, last: Option<Reply>) -> Result<End> {
        let (code, signal) = match &self.process {
            Some(sentry) => {
                let status: Option<WaitIdStatus> = waitid(WaitId::PidFd(sentry.as_fd()), WaitIdOptions::EXITED)
                    .context("cannot wait for the sandbox")?;
                let status = status.context("the sandbox was reaped by someone else")?;
                (status.exit_status(), status.terminating_signal())
            }
            // Without a word it went with the sandbox.
            None => (None, Some(libc::SIGKILL)),
        };
        match (last, code, signal) {
            (Some(Reply::Failed { what, status }), _, _) => Ok(End::Failed(Failure { what, status: status as u8 })),
            (Some(Reply::Exited { status }), _, _) if status & 0x7f == 0 => Ok(End::Exited((status >> 8) as u8)),
            (Some(Reply::Exited { status }), _, _) => Ok(End::Signalled(status & 0x7f)),
            (_, Some(code), _) => Ok(End::Exited(code as u8)),
            (_, None, Some(signal)) => Ok(End::Killed(signal)),
            (_, None, None) => bail!("the sandbox ended in a way unknown to wait(2)"),
        }
    }
}

/// Hands the signals that have come to the process at the other end of a sentry's connection.
pub(crate) fn forward_signals(signals: &SignalFd, control: &OwnedFd) -> Result<()> {
    while let Some(info) = signals.read_signal().context("cannot read signals")? {
        let request = match info.ssi_signo as i32 {
            libc::SIGWINCH => Request::WindowSize,
            signo => Request::Signal { signo, all: false },
        };
        // A sandbox that is just ending has closed it: the signal comes too late, as it may natively.
        let _ = protocol::send(control, &request, &[]);
    }
    Ok(())
}

/// Closes all descriptors but the standard ones and those to keep.
pub(crate) fn close_others(keep: &[RawFd]) {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else { return };
    let open: Vec<RawFd> = entries.filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok()).collect();
    for fd in open.into_iter().filter(|fd| *fd > 2 && !keep.contains(fd)) {
        // One of these is the directory just read, closed by now: the error is of no interest.
        let _ = nix::unistd::close(fd);
    }
}

/// The rest of the child's life.
fn child(plan: Plan, walls: Walls, terminal: Option<&RawTerminal>, handles: Handles) -> ! {
    let Ok(control) = handles.control.try_clone() else { std::process::exit(1) };
    close_others(
        &[
            &[control.as_raw_fd()][..],
            &handles.raw_fds(),
            &terminal.map(|t| t.host().as_raw_fd()).into_iter().collect::<Vec<_>>(),
        ]
        .concat(),
    );
    let unblocked = SigSet::all().thread_unblock().context("cannot unblock signals");
    let code = match unblocked.and_then(|()| confine(plan, walls, terminal, handles)) {
        Ok(config) => sentry::boot::run(config),
        Err(e) => {
            let _ = protocol::send(&control, &Reply::Failed { what: format!("{e:#}"), status: 1 }, &[]);
            1
        }
    };
    std::process::exit(code)
}

fn clone_into_namespaces(walls: Walls, wanted: Namespaces) -> Result<Clone> {
    let user = if walls.user_namespace.is_some() { Namespaces::USER } else { Namespaces::empty() };
    match host::clone(wanted | user) {
        Ok(side) => Ok(side),
        Err(e) => {
            let missing = missing_namespaces(user);
            if !walls.allow_weaker || missing.intersects(ESSENTIAL | Namespaces::USER) {
                let e = anyhow::Error::new(e);
                return Err(e.context(format!("refusing to start: the host gives no new {}", names(missing))));
            }
            eprintln!("runsc: warning: going on without a new {} (--allow-weaker)", names(missing));
            host::clone((wanted | user) - missing).context("cannot make the sandbox's process")
        }
    }
}

/// Which namespaces cannot be made, each tried on its own.
pub(crate) fn missing_namespaces(user: Namespaces) -> Namespaces {
    let fails = |namespaces: Namespaces| match host::clone(namespaces) {
        Ok(Clone::Child) => std::process::exit(0),
        Ok(Clone::Parent { pidfd, .. }) => {
            let _ = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
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
        Namespaces::CGROUP => "cgroup namespace",
        _ => "UTS namespace",
    };
    let names: Vec<&str> = namespaces.iter().map(name).collect();
    if names.is_empty() { "namespaces together".into() } else { names.join(", ") }
}

fn log_file(globals: &Globals) -> Result<OwnedFd> {
    match &globals.debug_log {
        Some(path) => {
            let path = crate::log::debug_file(path);
            let file = OpenOptions::new().create(true).append(true).open(&path);
            Ok(file.with_context(|| format!("--debug-log {}", path.display()))?.into())
        }
        None => std::io::stderr().as_fd().try_clone_to_owned().context("cannot duplicate standard error"),
    }
}

fn metrics_file(path: &Path) -> Result<OwnedFd> {
    let file = OpenOptions::new().create(true).write(true).truncate(true).open(path);
    Ok(file.with_context(|| format!("--metrics {}", path.display()))?.into())
}

/// Lets go of the program's input and output, so that the other ends see it close them.
pub(crate) fn release_stdio() {
    if let Ok(null) = open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) {
        let _ = rustix::stdio::dup2_stdin(&null);
        let _ = rustix::stdio::dup2_stdout(&null);
    }
}

/// How a sandbox ended.
pub(crate) enum End {
    Exited(u8),
    /// The first process died of this signal.
    Signalled(i32),
    /// The sentry was killed by this signal.
    Killed(i32),
    /// The sentry gave up.
    Failed(Failure),
    TimedOut,
}

fn signal_name(signal: i32) -> String {
    Signal::try_from(signal).map_or_else(|_| format!("signal {signal}"), |s| s.as_str().to_owned())
}
