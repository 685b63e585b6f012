//! Groups of the host that limit processes, for native runs and for the host's own limits around a sandbox.

use crate::Program;
use anyhow::Result;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long the killed may take to be gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// A group with a limit on processes, removed when it is dropped.
#[derive(Debug)]
pub struct PidsGroup(PathBuf);

impl PidsGroup {
    /// Makes one that allows `max`; `None` where the host gives no such groups to this user.
    pub fn new(name: &str, max: u64) -> Result<Option<PidsGroup>> {
        // Of version 1, or of version 2 if that has the controller.
        for root in ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"] {
            let dir = Path::new(root).join(format!("runsc-test-{name}-{}", std::process::id()));
            match fs::create_dir(&dir) {
                Err(e) if e.kind() == ErrorKind::AlreadyExists => return Err(e.into()),
                Err(_) => continue,
                Ok(()) => {}
            }
            let group = PidsGroup(dir);
            if group.0.join("pids.max").exists() {
                group.set_max(max)?;
                return Ok(Some(group));
            }
        }
        Ok(None)
    }

    /// Changes how many it allows.
    pub fn set_max(&self, max: u64) -> Result<()> {
        Ok(fs::write(self.0.join("pids.max"), max.to_string())?)
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The same program in it.
    pub fn holding(&self, program: &Program) -> Program {
        let enter = ["sh", "-c", "echo $$ >\"$0/cgroup.procs\" && exec \"$@\""].map(Into::into);
        let args = enter.into_iter().chain([self.0.clone().into()]).chain(program.args.iter().cloned()).collect();
        Program { args, ..program.clone() }
    }
}

impl Drop for PidsGroup {
    fn drop(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while fs::remove_dir(&self.0).is_err_and(|e| e.kind() == ErrorKind::ResourceBusy) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
