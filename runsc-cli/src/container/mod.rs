//! Containers with a life of their own: what is known of each stands in a directory below `--root`.
//!
//! `ROOT/ID/` holds `state.json` and the socket `control.sock` to the sentry. Whoever changes a container holds a
//! lock on its directory. A crash at any point leaves a directory that `delete --force` can clean up from: what is
//! about to be made on the host is written down first.

pub(crate) mod client;
mod console;
mod create;
mod delete;
mod exec;
mod monitor;
mod namespaces;
mod pod;
mod process;
mod view;

use console::Console;
pub(crate) use create::{Options, create, run, start};
pub(crate) use delete::delete;
pub(crate) use exec::{ExecOptions, exec};
pub(crate) use namespaces::namespace;
pub(crate) use process::Identity;

use crate::cgroup::Cgroup;
use anyhow::{Context, Result, bail};
use oci_spec::runtime::{ContainerState, Spec, State};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs::{self, DirBuilder, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The version of the runtime specification that is followed.
pub(crate) const OCI_VERSION: &str = "1.2.1";

const STATE: &str = "state.json";
const SOCKET: &str = "control.sock";

/// What is written down of a container.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Saved {
    pub(crate) id: String,
    pub(crate) bundle: PathBuf,
    pub(crate) rootfs: PathBuf,
    /// When, in RFC 3339.
    pub(crate) created: String,
    /// The user who made it.
    pub(crate) owner: String,
    /// The host process that lives as long as the container; none yet while it is being made.
    pub(crate) monitor: Option<Identity>,
    /// `create` has come to its end.
    pub(crate) is_created: bool,
    /// `start` has been called.
    pub(crate) is_started: bool,
    /// `pause` was called before `start`, which then waits for `resume`.
    #[serde(default)]
    pub(crate) is_paused: bool,
    /// The groups that were made or are about to be.
    pub(crate) cgroup: Option<Cgroup>,
    /// The container in whose sandbox this one is, if that is another's.
    #[serde(default)]
    pub(crate) pod: Option<String>,
    /// `config.json` as it was.
    pub(crate) spec: Spec,
}

impl Saved {
    /// What is written down in a container's directory, without waiting for whoever holds its lock.
    fn peek(dir: &Path) -> Option<Saved> {
        serde_json::from_slice(&fs::read(dir.join(STATE)).ok()?).ok()
    }
}

/// What a container is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Creating,
    Created,
    Running,
    Paused,
    Stopped,
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Status::Creating => "creating",
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        })
    }
}

/// A container whose directory is locked by this process.
#[derive(Debug)]
pub(crate) struct Container {
    dir: PathBuf,
    /// The directory, open and locked.
    lock: File,
    pub(crate) saved: Saved,
}

impl Container {
    /// Makes the directory for a new container.
    pub(crate) fn new(root: &Path, saved: Saved) -> Result<Container> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o711)
            .create(root)
            .with_context(|| format!("cannot make the state directory {}", root.display()))?;
        let dir = root.join(&saved.id);
        match DirBuilder::new().mode(0o711).create(&dir) {
            Ok(()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => bail!("container with given ID already exists"),
            Err(e) => return Err(e).with_context(|| format!("cannot make {}", dir.display())),
        }
        let lock = lock(&dir)?.context("the container's directory was removed at once")?;
        let container = Container { dir, lock, saved };
        container.save()?;
        Ok(container)
    }

    /// Opens a container; `None` if there is no such one.
    pub(crate) fn find(root: &Path, id: &str) -> Result<Option<Container>> {
        check_id(id)?;
        let dir = root.join(id);
        let Some(lock) = lock(&dir)? else { return Ok(None) };
        let path = dir.join(STATE);
        let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let saved = serde_json::from_slice(&text).with_context(|| format!("{} is damaged", path.display()))?;
        Ok(Some(Container { dir, lock, saved }))
    }

    /// Opens a container that must be there.
    pub(crate) fn load(root: &Path, id: &str) -> Result<Container> {
        Container::find(root, id)?.context("container does not exist")
    }

    /// All containers, those that vanish or are damaged left out.
    pub(crate) fn all(root: &Path) -> Vec<Container> {
        let entries = fs::read_dir(root).into_iter().flatten().flatten();
        let mut ids: Vec<String> = entries.filter_map(|e| e.file_name().into_string().ok()).collect();
        ids.sort_unstable();
        ids.iter().filter_map(|id| Container::find(root, id).ok().flatten()).collect()
    }

    /// Writes down what is known, at once or not at all.
    pub(crate) fn save(&self) -> Result<()> {
        let text = serde_json::to_vec(&self.saved).context("cannot describe the container")?;
        let (path, new) = (self.dir.join(STATE), self.dir.join("state.json.new"));
        fs::write(&new, text)
            .and_then(|()| fs::rename(&new, &path))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// In a child that goes on without the container: closes its copy of the lock, which would keep it held.
    fn leave(&self) {
        let _ = nix::unistd::close(self.lock.as_raw_fd());
    }

    /// Lets others at the container. For a command that goes on to wait.
    pub(crate) fn unlock(&self) -> Result<()> {
        flock(&self.lock, FlockOperation::Unlock).context("cannot unlock the container")
    }

    /// Ends what [`unlock`](Container::unlock) began; the state may have changed meanwhile.
    pub(crate) fn relock(&mut self) -> Result<()> {
        flock(&self.lock, FlockOperation::LockExclusive).context("cannot lock the container")?;
        if let Ok(text) = fs::read(self.dir.join(STATE)) {
            self.saved = serde_json::from_slice(&text).context("the container's state is damaged")?;
        }
        Ok(())
    }

    /// What the container is at now.
    pub(crate) fn status(&self) -> Status {
        match &self.saved.monitor {
            None => Status::Creating,
            Some(monitor) if !monitor.is_alive() => Status::Stopped,
            Some(_) if !self.saved.is_created => Status::Creating,
            Some(_) if self.saved.is_paused => Status::Paused,
            Some(_) if self.saved.cgroup.as_ref().is_some_and(Cgroup::is_frozen) => Status::Paused,
            Some(_) if self.saved.is_started => Status::Running,
            Some(_) => Status::Created,
        }
    }

    /// The pid of the container's process on the host; 0 if there is none any more.
    pub(crate) fn pid(&self) -> i32 {
        self.saved.monitor.as_ref().filter(|m| m.is_alive()).map_or(0, |m| m.pid)
    }

    /// The state as hooks get it.
    pub(crate) fn state(&self, status: ContainerState) -> State {
        let mut state = State::default();
        state.set_version(OCI_VERSION.into());
        state.set_id(self.saved.id.clone());
        state.set_status(status);
        state.set_pid(Some(self.pid()).filter(|pid| *pid != 0));
        state.set_bundle(self.saved.bundle.clone());
        state.set_annotations(self.annotations());
        state
    }

    fn annotations(&self) -> Option<HashMap<String, String>> {
        self.saved.spec.annotations().clone().filter(|annotations| !annotations.is_empty())
    }

    /// The container's cgroup; an error names what cannot be done without one.
    pub(crate) fn cgroup(&self, action: &str) -> Result<&Cgroup> {
        self.saved.cgroup.as_ref().with_context(|| format!("cannot {action}: the container has no cgroup"))
    }
}

/// Locks a directory; `None` if it is not there.
fn lock(dir: &Path) -> Result<Option<File>> {
    loop {
        let file = match File::open(dir) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e).with_context(|| format!("cannot open {}", dir.display())),
        };
        flock(&file, FlockOperation::LockExclusive).with_context(|| format!("cannot lock {}", dir.display()))?;
        // While we waited it may have been removed, and another made in its place.
        let same = |a: &fs::Metadata, b: &fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
        match (file.metadata(), fs::metadata(dir)) {
            (Ok(held), Ok(there)) if same(&held, &there) => return Ok(Some(file)),
            (_, Err(_)) => return Ok(None),
            _ => {}
        }
    }
}

/// The characters that runc allows: it becomes the name of files.
pub(crate) fn check_id(id: &str) -> Result<()> {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || "_+-.".contains(c);
    if id.is_empty() || id == "." || id == ".." || id.len() > 1024 || !id.chars().all(is_fine) {
        bail!("invalid container ID format: {id:?} (use letters, digits and _ + - .)");
    }
    Ok(())
}

/// Where containers are written down when `--root` is not given.
pub(crate) fn default_root() -> PathBuf {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty());
    match runtime {
        Some(dir) if is_rootless() => PathBuf::from(dir).join("runsc"),
        None if is_rootless() => PathBuf::from(format!("/tmp/runsc-{}", rustix::process::geteuid().as_raw())),
        _ => "/run/runsc".into(),
    }
}

/// Whether this process is an ordinary user's: rootless engines call as the root of a user namespace, which is one.
fn is_rootless() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let is_own = !map.is_empty() && map.split_whitespace().ne(["0", "0", "4294967295"]);
    is_own || !rustix::process::geteuid().is_root()
}
