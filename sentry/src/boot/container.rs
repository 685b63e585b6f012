//! Making containers: the first of a sandbox, and those that join it later.

use super::config::ContainerConfig;
use super::control::{Control, Ending, Main};
use super::handle::Handle;
use super::process::{self, Start};
use super::{Failure, failed};
use crate::fs;
use crate::fs::FdTable;
use crate::fs::devpts::relay::Relay;
use crate::fs::path::FsContext;
use crate::ipc::IpcNamespace;
use crate::kernel::container::Container;
use crate::kernel::start::{OnExit, Prepared};
use crate::kernel::{Kernel, Uts};
use crate::sync::Mutex;
use platform::Platform;
use platform::notify::NotifyPlatform;
use std::sync::Arc;

/// A container with all it needs but its first process.
pub(super) struct Furnished {
    kernel: Arc<Kernel>,
    root: Arc<FsContext>,
    files: Arc<FdTable>,
    terminal: Option<Arc<Relay>>,
    process: super::config::ProcessSpec,
    hold: bool,
    /// For commands.
    pub(super) listener: Option<Handle>,
}

/// What a sandbox's first container is to those that join it.
#[derive(Clone)]
pub(super) struct Host {
    pub(super) platform: Arc<NotifyPlatform>,
    /// None yet while that is being made.
    pub(super) first: Option<Arc<Kernel>>,
}

impl Host {
    /// Builds a container's files and opens its terminal.
    pub(super) fn furnish(&self, config: ContainerConfig) -> Result<Furnished, Failure> {
        let mut sysctls = fs::proc::sysctls(&config.sysctls).map_err(|e| failed("cannot set a kernel parameter", e))?;
        let shares = config.shares;
        let mut ipc = Arc::<IpcNamespace>::default();
        let mut platform: Arc<dyn Platform> = self.platform.clone();
        if let Some(first) = &self.first {
            // Those of the network are the network's, which is the first one's.
            let of_network = |path: &str| path.starts_with("net/");
            sysctls.retain(|path, _| !of_network(path));
            let of_first = first.container.sysctls.iter().filter(|(path, _)| of_network(path));
            sysctls.extend(of_first.map(|(path, value)| (path.clone(), value.clone())));
            if shares.ipc {
                ipc = first.container.ipc.clone();
            }
            if !config.guest_cgroups.is_empty() {
                let groups: Vec<_> = config.guest_cgroups.into_iter().map(Handle::into_fd).collect();
                let beside = self.platform.beside(&groups);
                platform = Arc::new(beside.map_err(|e| failed("cannot make the container's spawner", e))?);
            }
        }
        let container = Container { machine: config.machine, ipc, sysctls, ..Container::default() }.begin();
        let uts = Uts { hostname: config.hostname, domainname: config.domainname };
        let mut kernel = Kernel::new(platform, container.clone(), uts);
        if let Some(first) = &self.first {
            kernel = kernel.joining(first, shares.processes, shares.names);
        }
        kernel.pids.set_max(config.pids_limit);
        container.within(|| {
            let tree = fs::boot::Tree {
                mounts: config.mounts,
                devices: &config.devices,
                propagation: config.root_propagation,
                masked: &config.masked_paths,
                readonly: &config.readonly_paths,
                readonly_root: config.readonly_root,
                // Engines leave it to the runtime; a person who names one that is missing is mistaken.
                cwd: config.hold.then_some(&config.process.cwd),
            };
            let root = fs::boot::build(tree).map_err(|e| failed("cannot build the file system", e))?;
            let is_terminal = config.terminal.as_ref().map_or([false; 3], |spec| spec.stdio);
            let terminal =
                config.terminal.map(Relay::start).transpose().map_err(|e| failed("cannot make a terminal", e))?;
            if let Some(relay) = &terminal
                && let Err(e) = fs::boot::console(&root, &relay.name())
            {
                tracing::warn!("there is no /dev/console: {e}");
            }
            let of_terminal = terminal.as_ref().map(|relay| (relay, is_terminal));
            let files = process::files(&root, config.stdio, config.preserved, of_terminal)
                .map_err(|e| failed("cannot take over standard input, output and error", e))?;
            let (process, hold, listener) = (config.process, config.hold, config.listener);
            Ok(Furnished { kernel: Arc::new(kernel), root, files, terminal, process, hold, listener })
        })
    }
}

impl Furnished {
    /// Loads the first process; with `hold` it waits for a command, else for the caller. `ended` gets its status.
    pub(super) fn load(self, host: &Host, ended: OnExit) -> Result<(Arc<Control>, Option<Prepared>), Failure> {
        let ending = Arc::new(Mutex::new(Ending::default()));
        let told = ending.clone();
        let on_exit = Box::new(move |status| {
            Ending::tell(&told, status);
            ended(status);
        });
        let start = Start { fs: self.root.clone(), files: self.files, terminal: self.terminal.clone(), on_exit };
        let prepared = process::first(&self.kernel, self.process, start)?;
        let (main, running) = if self.hold { (Main::Held(prepared), None) } else { (Main::Started, Some(prepared)) };
        let host = Host { first: Some(host.first.clone().unwrap_or_else(|| self.kernel.clone())), ..host.clone() };
        let control = Control {
            kernel: self.kernel,
            root: self.root,
            main: Mutex::new(main),
            ending,
            terminal: self.terminal,
            host,
        };
        Ok((Arc::new(control), running))
    }

    /// The terminal of the first process.
    pub(super) fn terminal(&self) -> Option<Arc<Relay>> {
        self.terminal.clone()
    }
}
