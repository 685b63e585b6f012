//! The first half of a container's life: `create`, `start`, and `run`, which is both.

use super::console::check_terminal;
use super::monitor::{Monitor, Parts};
use super::namespaces::{Spaces, namespace};
use super::pod::Pod;
use super::{Console, Container, Saved, Status, check_id, exec};
use crate::cgroup::{self, Cgroup};
use crate::confine::Furniture;
use crate::hooks;
use crate::plan::{Plan, Terminal};
use crate::supervise::{Beside, Failure, Logs, forwarded_signals, release_stdio};
use crate::terminal::RawTerminal;
use crate::{Globals, log, network, oci, settings};
use anyhow::{Context, Result, anyhow, bail};
use oci_spec::runtime::{ContainerState, Hooks, LinuxResources, Spec};
use platform::host::{self, Caps, Namespaces};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{WaitId, WaitIdOptions, waitid};
use sentry::boot::config::NetworkSpec;
use sentry::boot::handle::Handle;
use sentry::boot::protocol::Request;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What `create` and `run` are asked for.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) id: String,
    pub(crate) bundle: PathBuf,
    pub(crate) console_socket: Option<PathBuf>,
    pub(crate) pid_file: Option<PathBuf>,
    /// Descriptors from 3 on that the first process gets.
    pub(crate) preserved: Vec<OwnedFd>,
    /// The caller does not wait for the end.
    pub(crate) is_detached: bool,
    /// After the end the container stays until `delete`.
    pub(crate) is_kept: bool,
}

/// A failure as the command line reports it: the text, and what to exit with.
pub(crate) fn failed(failure: Failure) -> anyhow::Error {
    anyhow!(crate::Exit(failure.status)).context(failure.what)
}

/// Makes a container whose first process is loaded and has not run an instruction.
pub(crate) fn create(options: Options, globals: &Globals) -> Result<Container> {
    make(options, globals).map(|(container, _)| container)
}

/// Lets the first process of a created container run.
pub(crate) fn start(container: &mut Container) -> Result<()> {
    match container.status() {
        Status::Created => {}
        Status::Stopped => bail!("cannot start a container that has stopped"),
        Status::Running | Status::Paused => bail!("cannot start an already running container"),
        Status::Creating => bail!("cannot start a container that is being created"),
    }
    let client = container.connect()?;
    let hooks = container.hooks();
    if let Some(hooks) = hooks.start_container()
        && let Err(e) = exec::run_hooks_inside(container, hooks)
    {
        container.kill()?;
        return Err(e);
    }
    client.ask(&Request::Start)?;
    container.saved.is_started = true;
    container.save()?;
    if let Some(hooks) = hooks.poststart()
        && let Err(e) =
            hooks::run("poststart", hooks, &container.state(ContainerState::Running), &container.saved.bundle)
    {
        // As the specification has it since 1.2.1, and runc and crun before it.
        container.destroy()?;
        return Err(e);
    }
    Ok(())
}

/// Both, then waits for the end and removes the container, unless it is to go on alone.
pub(crate) fn run(options: Options, globals: &Globals) -> Result<u8> {
    let (is_detached, is_kept) = (options.is_detached, options.is_kept);
    let (mut container, monitor) = make(options, globals)?;
    let signals = (!is_detached).then(forwarded_signals).transpose()?;
    if let Err(e) = start(&mut container) {
        let _ = container.destroy();
        return Err(e);
    }
    let Some(signals) = signals else { return Ok(0) };
    container.unlock()?;
    release_stdio();
    let status = loop {
        let mut fds = [PollFd::new(&monitor.pidfd, PollFlags::IN), PollFd::new(&signals, PollFlags::IN)];
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e).context("cannot wait for the container"),
        }
        let has_ended = !fds[0].revents().is_empty();
        while let Some(info) = signals.read_signal().context("cannot read signals")? {
            if let Some(signal) = rustix::process::Signal::from_named_raw(info.ssi_signo as i32) {
                let _ = rustix::process::pidfd_send_signal(&monitor.pidfd, signal);
            }
        }
        if has_ended {
            let ended = waitid(WaitId::PidFd(monitor.pidfd.as_fd()), WaitIdOptions::EXITED);
            let ended = ended.context("cannot wait for the container")?.context("the container's end was lost")?;
            let of_signal = ended.terminating_signal().map(|signo| 128 + signo);
            break ended.exit_status().or(of_signal).unwrap_or(1) as u8;
        }
    };
    drop(monitor);
    if !is_kept {
        container.relock()?;
        container.destroy()?;
    }
    Ok(status)
}

fn make(options: Options, globals: &Globals) -> Result<(Container, Monitor)> {
    let id = options.id.clone();
    check_id(&id)?;
    let bundle = options.bundle.canonicalize().with_context(|| format!("bundle {}", options.bundle.display()))?;
    let spec = oci::load(&bundle)?;
    let globals = &settings::overridden(globals, &spec)?;
    let mut plan = oci::plan(&spec, &bundle, id.clone())?;
    globals.overlay2.apply(&mut plan.mounts)?;
    plan.process.env.extend(crate::listen_env());
    let mut spaces = Spaces::of(&spec)?;
    let shares_network = !spaces.has_network();
    if !spaces.maps_ids() && !host::has_cap(Caps::SYS_ADMIN) {
        spaces = spaces.without_privileges()?;
    }
    let wants_terminal = plan.terminal == Terminal::Required;
    check_terminal(wants_terminal, options.is_detached, options.console_socket.as_deref())?;
    let request = cgroup::Placement {
        id: &id,
        path: spec.linux().as_ref().and_then(|linux| linux.cgroups_path().as_deref()),
        is_systemd: globals.systemd_cgroup,
        is_user: super::is_rootless(),
        is_rootless: super::is_rootless() || spaces.maps_ids(),
        annotations: spec.annotations().as_ref(),
    };
    let pod = Pod::of(&globals.root(), &spec, &mut spaces)?;
    if pod.is_none() {
        spaces.warn_of_unshared();
    }
    if shares_network && pod.is_none() && globals.network == network::Mode::Sandbox {
        log::warn(&format!(
            "container {id} has no network namespace of its own and gets lo alone; --network=host gives it the host's network"
        ));
    }
    let saved = Saved {
        id: id.clone(),
        rootfs: rootfs(&spec, &bundle),
        bundle,
        created: humantime::format_rfc3339_nanos(SystemTime::now()).to_string(),
        owner: owner(),
        monitor: None,
        is_created: false,
        is_started: false,
        is_paused: false,
        cgroup: Some(if globals.ignore_cgroups { Cgroup::none() } else { Cgroup::locate(&request)? }),
        pod: pod.as_ref().map(|pod| pod.id.clone()),
        spec: spec.clone(),
    };
    let mut container = Container::new(&globals.root(), saved)?;
    let made = furnish(&mut container, options, (plan, spaces, pod), &request, globals);
    if made.is_err() {
        // Nothing half-made is left behind.
        let _ = container.destroy();
    }
    made.map(|monitor| (container, monitor))
}

/// Makes all that a container consists of on the host.
fn furnish(
    container: &mut Container,
    options: Options,
    (mut plan, spaces, pod): (Plan, Spaces, Option<Pod>),
    request: &cgroup::Placement<'_>,
    globals: &Globals,
) -> Result<Monitor> {
    let resources = if globals.ignore_cgroups { LinuxResources::default() } else { container.resources() };
    let kept = container.saved.cgroup.as_mut().map(|cgroup| cgroup.make(request, &resources)).transpose()?;
    container.save()?;
    let cgroup = container.cgroup("create")?.clone();
    let size = container.console_size();
    let console = options.console_socket.as_deref().map(|socket| Console::send(socket, size)).transpose()?;
    let terminal = if console.is_some() { None } else { RawTerminal::enter(plan.terminal)? };
    let configured = container.hooks();
    let inside = container.state(ContainerState::Creating);
    let bundle = container.saved.bundle.clone();
    let create_container = configured.create_container().clone().unwrap_or_default();
    let network = match pod {
        // It has that of the sandbox.
        Some(_) => NetworkSpec::default(),
        None => network::of_user(globals, &mut plan, &cgroup.sentry_doors()?)?,
    };
    let parts = Parts {
        cgroups: cgroup.doors()?,
        plan,
        spaces,
        beside: Beside {
            sentry_cgroups: cgroup.sentry_doors_apart()?,
            container: Furniture {
                guest_cgroups: if pod.is_some() { cgroup.member_doors()? } else { cgroup.guest_doors()? },
                limits: cgroup.machine_limits(),
                listener: Some(container.listen()?.into()),
                hold: true,
                preserved: options.preserved.into_iter().map(Handle::from).collect(),
                shares: pod.as_ref().map(|pod| pod.shares).unwrap_or_default(),
            },
            network,
            fresh: Namespaces::empty(),
            // While this process is who the caller is: the monitor may become the root of a user namespace.
            logs: Logs::open(globals)?,
        },
        pod: pod.map(|pod| pod.connect(&globals.root())).transpose()?,
        console,
        terminal,
        create_container: Box::new(move |pid| {
            let mut state = inside;
            state.set_pid(Some(pid));
            hooks::run("createContainer", &create_container, &state, &bundle)
        }),
        network_of_command: namespace("self", "net"),
        oom_score_adj: container.saved.spec.process().as_ref().and_then(|process| process.oom_score_adj()),
    };
    let monitor = Monitor::fork(container, parts, globals)?;
    container.saved.monitor = Some(monitor.identity);
    container.save()?;
    let explained = |failure: Failure| match cgroup.oom_kills() {
        0 => failed(failure),
        _ => failed(failure).context("the memory limit is too low: the host has killed the container's own processes"),
    };
    cgroup.attach(monitor.identity.pid)?;
    monitor.place().map_err(explained)?;
    drop(kept);
    let state = container.state(ContainerState::Creating);
    let first = [("prestart", configured.prestart()), ("createRuntime", configured.create_runtime())];
    for (stage, hooks) in first {
        hooks::run(stage, hooks.as_deref().unwrap_or_default(), &state, &container.saved.bundle)?;
    }
    monitor.create().map_err(explained)?;
    if let Some(path) = &options.pid_file {
        write_pid(path, monitor.identity.pid)?;
    }
    container.saved.is_created = true;
    container.save()?;
    Ok(monitor)
}

impl Container {
    pub(super) fn hooks(&self) -> Hooks {
        self.saved.spec.hooks().clone().unwrap_or_default()
    }

    fn resources(&self) -> LinuxResources {
        self.saved.spec.linux().as_ref().and_then(|linux| linux.resources().clone()).unwrap_or_default()
    }

    /// Rows and columns.
    fn console_size(&self) -> Option<(u16, u16)> {
        let size = self.saved.spec.process().as_ref()?.console_size()?;
        Some((u16::try_from(size.height()).ok()?, u16::try_from(size.width()).ok()?))
    }
}

/// Writes a pid file, at once or not at all.
pub(super) fn write_pid(path: &Path, pid: i32) -> Result<()> {
    let name = path.file_name().with_context(|| format!("--pid-file {}: is no file", path.display()))?;
    let new = path.with_file_name([std::ffi::OsStr::new("."), name].join(std::ffi::OsStr::new("")));
    fs::write(&new, pid.to_string())
        .and_then(|()| fs::rename(&new, path))
        .with_context(|| format!("--pid-file {}", path.display()))
}

fn rootfs(spec: &Spec, bundle: &Path) -> PathBuf {
    spec.root().as_ref().map(|root| bundle.join(root.path())).unwrap_or_default()
}

/// The name of the user who makes the container; the number if there is none.
fn owner() -> String {
    let uid = nix::unistd::geteuid();
    nix::unistd::User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name)
}
