//! The child's side of a start: from a copy of the command line to the sentry behind its outer walls.
//!
//! All that needs the host's files is opened first; then the root becomes an empty directory, then
//! capabilities go. There is no `execve` on the way.

use crate::plan::{Plan, Source};
use crate::supervise::Logs;
use crate::terminal::RawTerminal;
use anyhow::{Context, Result, bail};
use platform::host::{self, Caps};
use platform::{WINDOW_FD, WINDOWS};
use rustix::fs::{Mode, OFlags, open};
use rustix::process::{DumpableBehavior, Rlimit, Signal};
use sentry::boot::config::{ContainerConfig, MountKind, MountSpec, NetworkSpec, PlatformKind};
use sentry::boot::config::{SandboxConfig, SeccompMode, Shares, TerminalSpec};
use sentry::boot::handle::Handle;
use sentry::kernel::machine::{Limits as MachineLimits, Machine};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

/// Whom the sentry and the guests are on the host when root starts them.
const NOBODY: (u32, u32) = (65534, 65534);

/// What the sentry keeps: to act on files of any owner.
const KEPT: Caps =
    Caps::CHOWN.union(Caps::DAC_OVERRIDE).union(Caps::DAC_READ_SEARCH).union(Caps::FOWNER).union(Caps::FSETID);

/// What it keeps besides where it makes sockets of the host: guests get the use of it who have it themselves.
const KEPT_FOR_SOCKETS: Caps = Caps::NET_BIND_SERVICE.union(Caps::NET_RAW);

/// Trees of the host that show the host itself: hidden from the sentry wherever they would appear.
const COVERED: [&str; 3] = ["/proc", "/sys", "/dev"];

/// What a container gets besides its plan, whether the sandbox is its own or another's.
#[derive(Debug, Default)]
pub(crate) struct Furniture {
    /// The doors to the groups where guests are to be born.
    pub(crate) guest_cgroups: Vec<Handle>,
    /// What the machine's size is read from.
    pub(crate) limits: MachineLimits,
    /// A listening socket for commands.
    pub(crate) listener: Option<Handle>,
    /// The first process waits until it is told to run.
    pub(crate) hold: bool,
    /// Descriptors from 3 on that the first process gets.
    pub(crate) preserved: Vec<Handle>,
    /// What it has in common with the first container of another's sandbox.
    pub(crate) shares: Shares,
}

impl Furniture {
    /// All descriptors.
    pub(crate) fn raw_fds(&self) -> Vec<RawFd> {
        let many = self.guest_cgroups.iter().chain(&self.preserved).chain(&self.listener);
        many.chain(self.limits.files()).map(AsRawFd::as_raw_fd).collect()
    }
}

/// Descriptors that the parent made for the child.
#[derive(Debug)]
pub(crate) struct Handles {
    /// The doors to the sentry's groups, those left out in which its parent is.
    pub(crate) sentry_cgroups: Vec<OwnedFd>,
    pub(crate) container: Furniture,
    /// The socket to the parent.
    pub(crate) control: OwnedFd,
    /// What there is of a network besides `lo`.
    pub(crate) network: NetworkSpec,
    pub(crate) logs: Logs,
}

impl Handles {
    /// All of them.
    pub(crate) fn raw_fds(&self) -> Vec<RawFd> {
        let network = self.network.interfaces.iter().map(|i| &i.socket).chain(&self.network.resolver);
        let logs = [&self.logs.strace, &self.logs.stats, &self.logs.metrics, &self.logs.debug].into_iter().flatten();
        let own = self.sentry_cgroups.iter().chain(logs).chain(network).chain([&self.control]);
        own.map(AsRawFd::as_raw_fd).chain(self.container.raw_fds()).collect()
    }
}

/// What the caller's options say about the walls.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Walls {
    pub(crate) platform: PlatformKind,
    pub(crate) fast_path: platform::FastPath,
    pub(crate) allow_weaker: bool,
    pub(crate) seccomp: SeccompMode,
    /// The child is in a user namespace of its own, and was this user and group outside.
    pub(crate) user_namespace: Option<(u32, u32)>,
}

/// Builds the walls around this process. Must be the only thread.
pub(crate) fn confine(
    plan: Plan,
    walls: Walls,
    terminal: Option<&RawTerminal>,
    handles: Handles,
) -> Result<SandboxConfig> {
    if let Some(outer) = walls.user_namespace {
        map_ids((plan.process.uid, plan.process.gid), outer)?;
    }
    // A session of its own keeps signals of the caller's terminal away from guests.
    rustix::process::setsid().context("cannot make a session")?;
    crate::cgroup::enter(&handles.sentry_cgroups)?;
    drop(handles.sentry_cgroups);
    let is_nobody_mapped = is_mapped("uid_map", NOBODY.0) && is_mapped("gid_map", NOBODY.1);
    host::private_mounts().context("cannot make the mount namespace private")?;
    let procfs = host::procfs().context("cannot mount a procfs for the sandbox's pid namespace")?;
    let container = container(plan, handles.container, terminal)?;
    weaker(walls, host::empty_root().context("cannot replace the root by an empty directory"))?;
    limit_self()?;
    let is_root = walls.user_namespace.is_none() && rustix::process::geteuid().is_root();
    let kept = if handles.network.host { KEPT.union(KEPT_FOR_SOCKETS) } else { KEPT };
    host::drop_privileges((is_root && is_nobody_mapped).then_some(NOBODY), kept).context("cannot drop privileges")?;
    die_with_parent(&handles.control)?;
    Ok(SandboxConfig {
        container,
        strace: handles.logs.strace,
        stats: handles.logs.stats,
        metrics: handles.logs.metrics,
        debug_log: handles.logs.debug,
        platform: walls.platform,
        fast_path: walls.fast_path,
        procfs,
        control: handles.control,
        network: handles.network,
        seccomp: walls.seccomp,
    })
}

/// What the sentry is told of a container: with its files open, and the standard descriptors taken from this process.
/// Hides the host's own trees from this process's mount namespace.
pub(crate) fn container(plan: Plan, furniture: Furniture, terminal: Option<&RawTerminal>) -> Result<ContainerConfig> {
    Ok(ContainerConfig {
        stdio: stdio(terminal, furniture.hold)?.map(|fd| fd.map(Handle::from)),
        mounts: open_mounts(plan.mounts)?,
        process: plan.process,
        hostname: plan.hostname,
        domainname: plan.domainname,
        masked_paths: plan.masked_paths,
        readonly_paths: plan.readonly_paths,
        readonly_root: plan.readonly_root,
        root_propagation: plan.root_propagation,
        sysctls: plan.sysctls,
        devices: plan.devices,
        machine: Machine { limits: furniture.limits, uid_map: plan.uid_map, gid_map: plan.gid_map },
        terminal: terminal.map(terminal_spec).transpose()?,
        guest_cgroups: furniture.guest_cgroups,
        pids_limit: plan.limits.pids,
        listener: furniture.listener,
        hold: furniture.hold,
        preserved: furniture.preserved,
        shares: furniture.shares,
    })
}

/// Reports a wall that could not be built, or goes on without it if that is allowed.
pub(crate) fn weaker(walls: Walls, step: Result<()>) -> Result<()> {
    match step {
        Err(e) if walls.allow_weaker => {
            eprintln!("runsc: warning: {e:#}; going on without (--allow-weaker)");
            Ok(())
        }
        Err(e) => Err(e.context("refusing to start (--allow-weaker would)")),
        Ok(()) => Ok(()),
    }
}

/// Inside the user namespace there is nobody but the caller, who is `inner` there.
fn map_ids(inner: (u32, u32), outer: (u32, u32)) -> Result<()> {
    let write = |file: &str, text: String| {
        let path = format!("/proc/self/{file}");
        std::fs::write(&path, text).with_context(|| format!("user namespace: cannot write {path}"))
    };
    // The host demands this of whoever maps groups without privilege.
    write("setgroups", "deny".into())?;
    write("uid_map", format!("{} {} 1", inner.0, outer.0))?;
    write("gid_map", format!("{} {} 1", inner.1, outer.1))
}

/// Whether the user namespace has this id.
fn is_mapped(file: &str, id: u32) -> bool {
    let map = std::fs::read_to_string(format!("/proc/self/{file}")).unwrap_or_default();
    map.lines().any(|line| {
        let mut fields = line.split_whitespace().map(|n| n.parse::<u64>().unwrap_or(0));
        let (first, _, count) = (fields.next().unwrap_or(0), fields.next(), fields.next().unwrap_or(0));
        (first..first.saturating_add(count)).contains(&u64::from(id))
    })
}

/// Takes the standard descriptors for the guest and leaves the sentry none but standard error, and not even that
/// if whoever reads it is to see its end when guests close it.
fn stdio(terminal: Option<&RawTerminal>, take_stderr: bool) -> Result<[Option<OwnedFd>; 3]> {
    let null = open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).context("cannot open /dev/null")?;
    let is_terminal = terminal.map_or([false; 3], |t| t.stdio);
    let take = |fd: std::os::fd::BorrowedFd<'_>, is_terminal: bool| {
        // One that the caller had closed stays closed.
        if is_terminal { None } else { rustix::io::fcntl_dupfd_cloexec(fd, 3).ok() }
    };
    let taken = [
        take(std::io::stdin().as_fd(), is_terminal[0]),
        take(std::io::stdout().as_fd(), is_terminal[1]),
        take(std::io::stderr().as_fd(), is_terminal[2]),
    ];
    rustix::stdio::dup2_stdin(&null).context("cannot replace standard input")?;
    rustix::stdio::dup2_stdout(&null).context("cannot replace standard output")?;
    if take_stderr {
        rustix::stdio::dup2_stderr(&null).context("cannot replace standard error")?;
    }
    Ok(taken)
}

fn open_mounts(mounts: Vec<crate::plan::Mount>) -> Result<Vec<MountSpec>> {
    // What is wanted of the covered trees themselves is opened before they are.
    let is_covered = |path: &Path| COVERED.iter().any(|covered| path.starts_with(covered));
    let mut specs: Vec<Option<MountSpec>> = Vec::new();
    specs.resize_with(mounts.len(), || None);
    let mut pending: Vec<(usize, crate::plan::Mount)> = mounts.into_iter().enumerate().collect();
    pending.sort_by_key(|(at, mount)| (!mount.host_path().is_some_and(is_covered), *at));
    let mut covered = false;
    for (at, mount) in pending {
        if !covered && !mount.host_path().is_some_and(is_covered) {
            cover_host()?;
            covered = true;
        }
        if let Some(slot) = specs.get_mut(at) {
            *slot = Some(open_mount(mount)?);
        }
    }
    Ok(specs.into_iter().flatten().collect())
}

fn cover_host() -> Result<()> {
    for path in COVERED {
        if Path::new(path).is_dir() {
            host::cover(Path::new(path)).with_context(|| format!("cannot hide the host's {path} from the sentry"))?;
        }
    }
    Ok(())
}

fn open_mount(mount: crate::plan::Mount) -> Result<MountSpec> {
    let tree = |path: &PathBuf, writable, recursive| {
        host::detached_tree(path, writable, recursive)
            .map(Handle::from)
            .with_context(|| format!("cannot mount {}", path.display()))
    };
    let kind = match &mount.source {
        Source::Host { path, writable, recursive } => {
            let fd = tree(path, *writable, *recursive)?;
            let is_dir = path.metadata().with_context(|| format!("cannot mount {}", path.display()))?.is_dir();
            match is_dir {
                true => MountKind::HostDir { fd, writable: *writable },
                false => MountKind::HostFile { fd, writable: *writable },
            }
        }
        Source::Overlay(path) => MountKind::Overlay { lower: tree(path, false, true)? },
        Source::Tmpfs(tmpfs) => MountKind::Tmpfs(*tmpfs),
        Source::Proc => MountKind::Proc,
        Source::Sysfs => MountKind::Sysfs,
        Source::Devtmpfs => MountKind::Devtmpfs,
        Source::Devpts => MountKind::Devpts,
        Source::Mqueue => MountKind::Mqueue,
        Source::Cgroup => MountKind::Cgroup,
        Source::Text(text) => MountKind::Text(text.clone()),
    };
    Ok(MountSpec { dest: mount.dest, kind, source: mount.source_name, data: mount.data, flags: mount.flags })
}

/// Limits that the host holds against the sentry itself, and against guests, which have them from it.
fn limit_self() -> Result<()> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    // 1 and not 0: with 0 the host would still start a program that is to take core dumps.
    let core = Rlimit { current: Some(1), maximum: Some(1) };
    setrlimit(Resource::Core, core).context("cannot forbid core dumps")?;
    // The sentry holds the files of all guests.
    let files = getrlimit(Resource::Nofile);
    let needed = u64::from(WINDOW_FD) + WINDOWS as u64;
    if files.maximum.is_some_and(|most| most < needed) {
        bail!("programs cannot be loaded: the limit on open files (RLIMIT_NOFILE) is below {needed}");
    }
    setrlimit(Resource::Nofile, Rlimit { current: files.maximum, maximum: files.maximum })
        .context("cannot raise the limit on open files")
}

/// Has the host kill the sandbox with the command line that started it.
fn die_with_parent(control: &OwnedFd) -> Result<()> {
    // Changing ids has cleared both; guests could not be read were the sentry's children not dumpable.
    rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable).context("cannot stay dumpable")?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).context("cannot follow the parent's death")?;
    // It may have died before that.
    let mut poll = [rustix::event::PollFd::new(control, rustix::event::PollFlags::empty())];
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    rustix::event::poll(&mut poll, Some(&now)).context("cannot poll the control socket")?;
    if poll[0].revents().contains(rustix::event::PollFlags::HUP) {
        bail!("the command that started the sandbox has died");
    }
    Ok(())
}

fn terminal_spec(terminal: &RawTerminal) -> Result<TerminalSpec> {
    Ok(TerminalSpec {
        host: rustix::io::fcntl_dupfd_cloexec(terminal.host(), 3).context("cannot duplicate the terminal")?.into(),
        stdio: terminal.stdio,
        termios: terminal.before().cloned(),
        size: terminal.size(),
    })
}
