//! Start of the sentry in the process that the command line has confined.

pub mod config;
mod container;
mod control;
pub mod handle;
mod log;
mod process;
pub mod protocol;

use crate::executor;
use crate::fs;
use crate::fs::devpts::relay::Relay;
use crate::net;
use crate::stats;
use crate::strace;
use crate::sync::{Condvar, Mutex};
use crate::timings::mark;
use config::{PlatformKind, SandboxConfig, SeccompMode};
use container::Host;
use handle::Handle;
use platform::FastPath;
use platform::host::{FilterAction, Reach};
use platform::notify::{NotifyPlatform, selftest, spawner};
use protocol::Reply;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// How the sandbox ended: the wait status of its first process, or why the sentry gave up.
static END: (Mutex<Option<Result<i32, String>>>, Condvar) = (Mutex::new(None), Condvar::new());

fn end(how: Result<i32, String>) {
    END.0.lock().get_or_insert(how);
    END.1.notify_all();
}

/// Runs a sandbox to its end; returns the exit status of its first process, 128 + signal if it was killed.
///
/// Whether it started is told over `config.control`, and so is why it failed if it did.
pub fn run(config: SandboxConfig) -> i32 {
    platform::host::share_arenas();
    let Ok(control) = config.control.try_clone() else { return 1 };
    let ended = match start(config) {
        Ok(terminal) => {
            let ended = wait_for_end();
            if let Some(terminal) = terminal {
                terminal.flush();
            }
            mark("the program has ended");
            stats::finish();
            ended
        }
        Err(e) => Err(e),
    };
    match ended {
        Ok(status) => {
            let _ = protocol::send(&control, &Reply::Exited { status }, &[]);
            if status & 0x7f == 0 { status >> 8 & 0xff } else { 128 + (status & 0x7f) }
        }
        Err(e) => {
            let _ = protocol::send(&control, &Reply::Failed { what: e.what, status: e.status }, &[]);
            e.status
        }
    }
}

fn wait_for_end() -> Result<i32, Failure> {
    let mut ended = END.0.lock();
    loop {
        match ended.take() {
            Some(Ok(status)) => return Ok(status),
            Some(Err(why)) => return Err(Failure { what: format!("the sandbox failed: {why}"), status: 128 }),
            None => END.1.wait(&mut ended),
        }
    }
}

/// Why a sandbox or process did not start, and the status that the command line exits with.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
struct Failure {
    what: String,
    status: i32,
}

fn failed(what: impl std::fmt::Display, e: impl std::fmt::Display) -> Failure {
    Failure { what: format!("{what}: {e}"), status: 1 }
}

/// A panic is logged in one line, without the backtrace that the standard library would open files for.
fn log_panics() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let what = info.payload_as_str().unwrap_or("something that is no text");
        tracing::error!(place, "panic: {what}");
    }));
}

/// Has the host make room for many descriptors at once, while this is the only thread: to make more for a process with
/// threads it waits until all its cores have let go of the old table, some milliseconds (`expand_fdtable` in Linux's
/// `fs/file.c`), and so would the guest whose call needs one more.
fn reserve_descriptors(any: &OwnedFd) {
    /// Tables of 32 and 8 KiB; the host has no room for more than may be open.
    const MANY: [i32; 2] = [4096, 1024];
    let _ = MANY.into_iter().find(|many| rustix::io::fcntl_dupfd_cloexec(any, many - 1).is_ok());
}

/// Gets everything ready and the first process started, or ready to be; returns its terminal.
fn start(mut config: SandboxConfig) -> Result<Option<Arc<Relay>>, Failure> {
    mark("the outer walls stand");
    log_panics();
    if config.platform != PlatformKind::Notify {
        return Err(Failure { what: "platform \"ptrace\" is not supported yet; use notify".into(), status: 1 });
    }
    match selftest::is_usable() {
        Ok(true) => {}
        Ok(false) => {
            let what = "this kernel loses answers to interrupted calls; it needs Linux 6.18 or a stable release of \
                        October 2025 or later";
            return Err(Failure { what: what.into(), status: 1 });
        }
        Err(e) => return Err(failed("the notify platform's self-test failed", e)),
    }
    let guest_cgroups = std::mem::take(&mut config.container.guest_cgroups);
    let guest_cgroups = guest_cgroups.into_iter().map(Handle::into_fd).collect();
    // The spawner is forked while this is the only thread.
    let spawner = spawner::start(guest_cgroups).map_err(|e| failed("cannot start the spawner", e))?;
    reserve_descriptors(&config.procfs);
    if let Some(out) = config.debug_log {
        log::start(out);
    }
    // What guests answer themselves is seen by nobody else.
    let fast_path = if config.strace.is_some() { FastPath::Off } else { config.fast_path };
    if let Some(out) = config.strace {
        strace::start(out);
    }
    if config.stats.is_some() || config.metrics.is_some() {
        stats::start(config.stats, config.metrics);
    }
    let fatal = |why: &str| end(Err(why.to_owned()));
    let procfs = config.procfs.try_clone().map_err(|e| failed("cannot duplicate a descriptor", e))?;
    fs::host::open_self_fd(&procfs).map_err(|e| failed("cannot open /proc/self/fd", e))?;
    fs::proc::set_host(procfs);
    let quota = config.container.machine.limits.cpu_quota();
    let cores = quota.map_or(usize::MAX, |(quota, period)| (quota / period.max(1)) as usize);
    let platform = NotifyPlatform::start(spawner, config.procfs, executor::run_local, fast_path, cores, fatal)
        .map_err(|e| failed("cannot start the platform", e))?;
    mark("the platform is ready");
    let threads = executor::start_workers(1).and_then(|()| Ok(executor::Timers::start()?));
    threads.map_err(|e| failed("cannot start the sentry's threads", e))?;
    fs::boot::register();
    // Modes of files made on the host are what guests' own masks leave.
    rustix::process::umask(rustix::fs::Mode::empty());
    let host = Host { platform: Arc::new(platform), first: None };
    let mut furnished = host.furnish(config.container)?;
    let (listener, terminal) = (furnished.listener.take(), furnished.terminal());
    let reach = if config.network.host { Reach::Network } else { Reach::Handed };
    match reach {
        Reach::Network => net::host::start(),
        Reach::Handed => net::stack::start(config.network),
    }
    .map_err(|e| failed("cannot serve the network", e))?;
    confine(config.seccomp, reach)?;
    mark("files and network are there");
    let (control, running) = furnished.load(&host, Box::new(|status| end(Ok(status))))?;
    control::start(&control, config.control, listener).map_err(|e| failed("cannot serve commands", e))?;
    if let Some(prepared) = running {
        mark("the program is loaded");
        prepared.go();
        executor::run_local();
    }
    Ok(terminal)
}

/// The sentry's own filter, on all its threads and those they will start.
fn confine(mode: SeccompMode, reach: Reach) -> Result<(), Failure> {
    let action = match mode {
        SeccompMode::Kill => FilterAction::Kill,
        SeccompMode::Errno => FilterAction::Errno,
        SeccompMode::Off => return Ok(()),
    };
    let filter =
        platform::host::sentry_filter(action, reach).map_err(|e| failed("cannot build the sentry's filter", e))?;
    platform::host::install_filter(&filter).map_err(|e| failed("cannot install the sentry's filter", e))
}
