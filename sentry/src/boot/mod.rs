//! Start of the sentry in the process that the command line has confined.

pub mod config;
mod control;
mod log;
mod process;
pub mod protocol;

use crate::executor;
use crate::fs;
use crate::fs::devpts::relay::Relay;
use crate::kernel::{Kernel, Uts, machine};
use crate::net;
use crate::strace;
use crate::sync::{Condvar, Mutex};
use config::{PlatformKind, SandboxConfig, SeccompMode};
use control::{Control, Ending, Main};
use platform::host::FilterAction;
use platform::notify::{NotifyPlatform, selftest, spawner};
use process::Start;
use protocol::Reply;
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
    let Ok(control) = config.control.try_clone() else { return 1 };
    let ended = match start(config) {
        Ok(terminal) => {
            let ended = wait_for_end();
            if let Some(terminal) = terminal {
                terminal.flush();
            }
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

/// Gets everything ready and the first process started, or ready to be; returns its terminal.
fn start(config: SandboxConfig) -> Result<Option<Arc<Relay>>, Failure> {
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
    // The spawner is forked while this is the only thread.
    let spawner = spawner::start(config.guest_cgroups).map_err(|e| failed("cannot start the spawner", e))?;
    if let Some(out) = config.debug_log {
        log::start(out);
    }
    // What guests answer themselves is seen by nobody else.
    let local_answers = config.fast_path && config.strace.is_none();
    if let Some(out) = config.strace {
        strace::start(out);
    }
    let fatal = |why: &str| end(Err(why.to_owned()));
    let procfs = config.procfs.try_clone().map_err(|e| failed("cannot duplicate a descriptor", e))?;
    fs::host::open_self_fd(&procfs).map_err(|e| failed("cannot open /proc/self/fd", e))?;
    fs::proc::set_host(procfs);
    let platform = NotifyPlatform::start(spawner, config.procfs, executor::run_local, local_answers, fatal)
        .map_err(|e| failed("cannot start the platform", e))?;
    executor::start_workers(1);
    fs::boot::register();
    machine::set(config.machine);
    fs::proc::set_sysctls(&config.sysctls).map_err(|e| failed("cannot set a kernel parameter", e))?;
    let tree = fs::boot::Tree {
        mounts: config.mounts,
        devices: &config.devices,
        propagation: config.root_propagation,
        masked: &config.masked_paths,
        readonly: &config.readonly_paths,
        readonly_root: config.readonly_root,
    };
    let root = fs::boot::build(tree).map_err(|e| failed("cannot build the file system", e))?;
    let uts = Uts { hostname: config.hostname, domainname: config.domainname };
    let kernel = Arc::new(Kernel::new(Arc::new(platform), uts));
    kernel.tree.lock().max_tasks = config.pids_limit;
    let is_terminal = config.terminal.as_ref().map_or([false; 3], |spec| spec.stdio);
    let terminal = config.terminal.map(Relay::start).transpose().map_err(|e| failed("cannot make a terminal", e))?;
    let files =
        process::files(&root, config.stdio, config.preserved, terminal.as_ref().map(|relay| (relay, is_terminal)))
            .map_err(|e| failed("cannot take over standard input, output and error", e))?;
    net::stack::start(config.network).map_err(|e| failed("cannot serve the network", e))?;
    confine(config.seccomp)?;
    let ending = Arc::new(Mutex::new(Ending::default()));
    let told = ending.clone();
    let on_exit = Box::new(move |status| {
        Ending::tell(&told, status);
        end(Ok(status));
    });
    let start = Start { fs: root.clone(), files, terminal: terminal.clone(), on_exit };
    let prepared = process::first(&kernel, config.process, start)?;
    let (main, running) = if config.hold { (Main::Held(prepared), None) } else { (Main::Started, Some(prepared)) };
    let control = Control { kernel, root, main: Mutex::new(main), ending, terminal: terminal.clone() };
    control::start(control, config.control, config.listener).map_err(|e| failed("cannot serve commands", e))?;
    if let Some(prepared) = running {
        prepared.go();
        executor::run_local();
    }
    Ok(terminal)
}

/// The sentry's own filter, on all its threads and those they will start.
fn confine(mode: SeccompMode) -> Result<(), Failure> {
    let action = match mode {
        SeccompMode::Kill => FilterAction::Kill,
        SeccompMode::Errno => FilterAction::Errno,
        SeccompMode::Off => return Ok(()),
    };
    let filter = platform::host::sentry_filter(action).map_err(|e| failed("cannot build the sentry's filter", e))?;
    platform::host::install_filter(&filter).map_err(|e| failed("cannot install the sentry's filter", e))
}
