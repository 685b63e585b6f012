//! Start of the sentry in the process that the command line has confined.

pub mod config;
mod control;
mod log;

use crate::errno::{Errno, SysResult};
use crate::executor;
use crate::fs::devpts::relay::{self, Relay};
use crate::fs::host_stdio::HostStdio;
use crate::fs::inode::Caller;
use crate::fs::path::FsContext;
use crate::fs::walk::{Resolve, Walk};
use crate::fs::{self, FdTable, File};
use crate::kernel::{self, CapSet, Creds, Kernel, Uts};
use crate::loader::Strings;
use crate::strace;
use crate::sync::{Condvar, Mutex};
use config::{PlatformKind, ProcessSpec, SandboxConfig, SeccompMode, TerminalSpec};
use platform::host::FilterAction;
use platform::notify::{NotifyPlatform, selftest, spawner};
use std::sync::Arc;

/// How the sandbox ended: the wait status of its first process, or why the sentry gave up.
static END: (Mutex<Option<Result<i32, String>>>, Condvar) = (Mutex::new(None), Condvar::new());

fn end(how: Result<i32, String>) {
    END.0.lock().get_or_insert(how);
    END.1.notify_all();
}

/// Runs a sandbox to its end; returns the exit status of its first process, 128 + signal if it was killed.
pub fn run(config: SandboxConfig) -> i32 {
    match start(config) {
        Ok(()) => {}
        Err(e) => {
            eprintln!("runsc: {e}");
            return e.status;
        }
    }
    let status = wait_for_end();
    relay::flush();
    status
}

fn wait_for_end() -> i32 {
    let mut ended = END.0.lock();
    loop {
        match ended.take() {
            Some(Ok(status)) if status & 0x7f == 0 => return status >> 8 & 0xff,
            Some(Ok(status)) => return 128 + (status & 0x7f),
            Some(Err(why)) => {
                eprintln!("runsc: the sandbox failed: {why}");
                return 128;
            }
            None => END.1.wait(&mut ended),
        }
    }
}

/// Why a sandbox did not start, and the status that the command line exits with.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
struct StartError {
    what: String,
    status: i32,
}

fn failed(what: impl std::fmt::Display, e: impl std::fmt::Display) -> StartError {
    StartError { what: format!("{what}: {e}"), status: 1 }
}

/// A panic is logged in one line, without the backtrace that the standard library would open files for.
fn log_panics() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let what = info.payload_as_str().unwrap_or("something that is no text");
        tracing::error!(place, "panic: {what}");
    }));
}

fn start(config: SandboxConfig) -> Result<(), StartError> {
    log_panics();
    if config.platform != PlatformKind::Notify {
        return Err(StartError { what: "platform \"ptrace\" is not supported yet; use notify".into(), status: 1 });
    }
    match selftest::is_usable() {
        Ok(true) => {}
        Ok(false) => {
            let what = "this kernel loses answers to interrupted calls; it needs Linux 6.18 or a stable release of \
                        October 2025 or later";
            return Err(StartError { what: what.into(), status: 1 });
        }
        Err(e) => return Err(failed("the notify platform's self-test failed", e)),
    }
    // The spawner is forked while this is the only thread.
    let spawner = spawner::start(config.guest_cgroups).map_err(|e| failed("cannot start the spawner", e))?;
    if let Some(out) = config.debug_log {
        log::start(out);
    }
    if let Some(out) = config.strace {
        strace::start(out);
    }
    let fatal = |why: &str| end(Err(why.to_owned()));
    let procfs = config.procfs.try_clone().map_err(|e| failed("cannot duplicate a descriptor", e))?;
    fs::host::open_self_fd(&procfs).map_err(|e| failed("cannot open /proc/self/fd", e))?;
    fs::proc::set_host(procfs);
    let platform = NotifyPlatform::start(spawner, config.procfs, executor::run_local, fatal)
        .map_err(|e| failed("cannot start the platform", e))?;
    executor::start_workers(1);
    fs::boot::register();
    let tree = fs::boot::Tree {
        mounts: config.mounts,
        masked: &config.masked_paths,
        readonly: &config.readonly_paths,
        readonly_root: config.readonly_root,
    };
    let root = fs::boot::build(tree).map_err(|e| failed("cannot build the file system", e))?;
    let kernel = Arc::new(Kernel::new(
        Arc::new(platform),
        Uts { hostname: config.hostname, domainname: config.domainname },
        |status| end(Ok(status)),
    ));
    kernel.tree.lock().max_tasks = config.pids_limit;
    let files = stdio(config.stdio).map_err(|e| failed("cannot take over standard input, output and error", e))?;
    if let Some(spec) = config.terminal {
        terminal(spec, &root, &files).map_err(|e| failed("cannot make a terminal", e))?;
    }
    control::start(&kernel, config.control);
    confine(config.seccomp)?;
    first_process(kernel, config.process, root, files)
}

/// The sentry's own filter, on all its threads and those they will start.
fn confine(mode: SeccompMode) -> Result<(), StartError> {
    let action = match mode {
        SeccompMode::Kill => FilterAction::Kill,
        SeccompMode::Errno => FilterAction::Errno,
        SeccompMode::Off => return Ok(()),
    };
    let filter = platform::host::sentry_filter(action).map_err(|e| failed("cannot build the sentry's filter", e))?;
    platform::host::install_filter(&filter).map_err(|e| failed("cannot install the sentry's filter", e))
}

fn stdio(given: [Option<std::os::fd::OwnedFd>; 3]) -> SysResult<Arc<FdTable>> {
    let files = FdTable::new();
    for (fd, host) in given.into_iter().enumerate() {
        if let Some(host) = host {
            files.install_at(fd as i32, HostStdio::open(host)?, false, u64::MAX)?;
        }
    }
    Ok(files)
}

/// Connects the host's terminal to one of the sandbox, which becomes standard input, output, error where wanted.
fn terminal(spec: TerminalSpec, root: &FsContext, files: &FdTable) -> SysResult<()> {
    let stdio = spec.stdio;
    let relay = Relay::start(spec)?;
    let path = format!("/dev/pts/{}", relay.name());
    let start = root.root();
    // Without a devpts at its usual place the terminal has no name, but works.
    let caller = Caller::kernel();
    let place = Walk::new(&caller, start.clone(), start, Resolve::empty()).to(path.as_bytes(), true).ok();
    let file = File::new(relay.open()?, place, libc::O_RDWR | fs::open::O_LARGEFILE);
    for (fd, _) in stdio.into_iter().enumerate().filter(|(_, is_terminal)| *is_terminal) {
        files.install_at(fd as i32, file.clone(), false, u64::MAX)?;
    }
    Ok(())
}

fn credentials(p: &ProcessSpec) -> Creds {
    let all: CapSet = p.caps.bounding;
    let mut creds = Creds::new(p.uid, p.gid, &p.groups, all);
    creds.permitted = p.caps.permitted;
    creds.effective = p.caps.effective;
    creds.inheritable = p.caps.inheritable;
    creds.bounding = p.caps.bounding;
    creds.ambient = p.caps.ambient;
    creds.no_new_privs = p.no_new_privs;
    creds
}

/// Starts process 1 and waits until its program runs or is known not to.
fn first_process(
    kernel: Arc<Kernel>,
    spec: ProcessSpec,
    root: Arc<FsContext>,
    files: Arc<FdTable>,
) -> Result<(), StartError> {
    let (tell, told) = std::sync::mpsc::channel();
    let name = String::from_utf8_lossy(spec.args.first().map_or(&b""[..], |a| a)).into_owned();
    root.set_umask(spec.umask);
    executor::spawn(async move {
        let creds = credentials(&spec);
        let limits: Vec<_> = spec.rlimits.iter().map(|l| (l.resource, l.soft, l.hard)).collect();
        let strings = Strings { args: spec.args, env: spec.env, filename: Vec::new() };
        let started =
            kernel::start_first(&kernel, creds, &limits, root, files, &spec.cwd, strings, spec.virtual_init).await;
        let _ = tell.send(started);
    });
    executor::run_local();
    match told.recv() {
        Ok(Ok(())) => Ok(()),
        Ok(Err(e)) => Err(start_error(&name, e)),
        Err(_) => Err(StartError { what: "the sentry panicked while starting".into(), status: 128 }),
    }
}

/// In the words of runc, for engines look at them; 127 and 126 are a shell's.
fn start_error(name: &str, e: Errno) -> StartError {
    let (what, status) = match e {
        Errno::NOENT if name.contains('/') => {
            (format!("exec: \"{name}\": stat {name}: no such file or directory"), 127)
        }
        Errno::NOENT => (format!("exec: \"{name}\": executable file not found in $PATH"), 127),
        Errno::ACCES => (format!("exec: \"{name}\": permission denied"), 126),
        Errno::NOEXEC => (format!("exec: \"{name}\": exec format error"), 126),
        e => (format!("exec: \"{name}\": {e}"), 126),
    };
    StartError { what, status }
}
