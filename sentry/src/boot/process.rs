//! From the description of a process to one that is ready to run.

use super::Failure;
use super::config::ProcessSpec;
use super::handle::Handle;
use crate::errno::{Errno, SysResult};
use crate::executor;
use crate::fs::devpts::relay::Relay;
use crate::fs::host_stdio::HostStdio;
use crate::fs::inode::Caller;
use crate::fs::path::FsContext;
use crate::fs::walk::{Resolve, Walk};
use crate::fs::{self, FdTable, File};
use crate::kernel::start::{self, NewProcess, OnExit, Prepared, StartError};
use crate::kernel::{CapSet, Creds, Kernel};
use crate::loader::Strings;
use std::future::Future;
use std::sync::Arc;

/// What a process gets besides its description.
pub(super) struct Start {
    pub(super) fs: Arc<FsContext>,
    pub(super) files: Arc<FdTable>,
    pub(super) terminal: Option<Arc<Relay>>,
    pub(super) on_exit: OnExit,
}

/// Its descriptors; those of the standard ones that are `None` are the terminal, if there is one that says so.
pub(super) fn files(
    root: &FsContext,
    stdio: [Option<Handle>; 3],
    preserved: Vec<Handle>,
    terminal: Option<(&Arc<Relay>, [bool; 3])>,
) -> SysResult<Arc<FdTable>> {
    let files = FdTable::new();
    let given = stdio.into_iter().chain(preserved.into_iter().map(Some));
    for (fd, host) in (0..).zip(given) {
        if let Some(host) = host {
            files.install_at(fd, HostStdio::open(host.into_fd())?, false, u64::MAX)?;
        }
    }
    if let Some((relay, stdio)) = terminal {
        let file = terminal_file(root, relay)?;
        for (fd, _) in (0..).zip(stdio).filter(|(_, is_terminal)| *is_terminal) {
            files.install_at(fd, file.clone(), false, u64::MAX)?;
        }
    }
    Ok(files)
}

fn terminal_file(root: &FsContext, relay: &Relay) -> SysResult<Arc<File>> {
    let path = format!("/dev/pts/{}", relay.name());
    let start = root.root();
    // Without a devpts at its usual place the terminal has no name, but works.
    let caller = Caller::kernel();
    let place = Walk::new(&caller, start.clone(), start, Resolve::empty()).to(path.as_bytes(), true).ok();
    Ok(File::new(relay.open()?, place, libc::O_RDWR | fs::open::O_LARGEFILE))
}

/// Makes the first process.
pub(super) fn first(kernel: &Arc<Kernel>, spec: ProcessSpec, with: Start) -> Result<Prepared, Failure> {
    let (names, virtual_init) = (Names::of(&spec), spec.virtual_init);
    let (kernel, new) = (kernel.clone(), new_process(spec, with));
    let container = kernel.container.clone();
    wait(&names, container.scope(async move { start::first(&kernel, new, virtual_init).await }))
}

/// Makes a further process, child of nobody in the sandbox.
pub(super) fn further(kernel: &Arc<Kernel>, spec: ProcessSpec, with: Start) -> Result<Prepared, Failure> {
    let names = Names::of(&spec);
    let (kernel, new) = (kernel.clone(), new_process(spec, with));
    let container = kernel.container.clone();
    wait(&names, container.scope(async move { start::prepare(&kernel, new, 0).await }))
}

/// Runs a future on the executor and waits for what it gives.
fn wait(
    names: &Names,
    future: impl Future<Output = Result<Prepared, StartError>> + Send + 'static,
) -> Result<Prepared, Failure> {
    let (tell, told) = std::sync::mpsc::channel();
    executor::spawn(async move {
        let _ = tell.send(future.await);
    });
    executor::run_local();
    match told.recv() {
        Ok(Ok(prepared)) => Ok(prepared),
        Ok(Err(e)) => Err(start_error(names, e)),
        Err(_) => Err(Failure { what: "the sentry panicked while starting".into(), status: 128 }),
    }
}

/// What a message about a process that could not be started speaks of.
struct Names {
    program: String,
    cwd: String,
}

impl Names {
    fn of(spec: &ProcessSpec) -> Names {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Names { program: text(spec.args.first().map_or(&b""[..], |a| a)), cwd: text(&spec.cwd) }
    }
}

fn new_process(spec: ProcessSpec, with: Start) -> NewProcess {
    with.fs.set_umask(spec.umask);
    NewProcess {
        creds: credentials(&spec),
        limits: spec.rlimits.iter().map(|l| (l.resource, l.soft, l.hard)).collect(),
        fs: with.fs,
        files: with.files,
        cwd: spec.cwd,
        strings: Strings { args: spec.args, env: spec.env, filename: Vec::new() },
        oom_score_adj: spec.oom_score_adj,
        personality: spec.personality,
        seccomp: spec.seccomp,
        scheduling: spec.scheduling,
        terminal: with.terminal,
        on_exit: with.on_exit,
    }
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

/// In the words of runc, for engines look at them; 127 and 126 are a shell's.
fn start_error(names: &Names, e: StartError) -> Failure {
    let name = &names.program;
    let e = match e {
        StartError::Program(e) => e,
        StartError::Cwd(e) => {
            let error = std::io::Error::from_raw_os_error(e.raw());
            return Failure { what: format!("cannot change to the directory {:?}: {error}", names.cwd), status: 1 };
        }
    };
    let (what, status) = match e {
        Errno::NOENT if name.contains('/') => {
            (format!("exec: \"{name}\": stat {name}: no such file or directory"), 127)
        }
        Errno::NOENT => (format!("exec: \"{name}\": executable file not found in $PATH"), 127),
        Errno::ACCES => (format!("exec: \"{name}\": permission denied"), 126),
        Errno::NOEXEC => (format!("exec: \"{name}\": exec format error"), 126),
        e => (format!("exec: \"{name}\": {e}"), 126),
    };
    Failure { what, status }
}
