//! The processes of a container's groups: who they are, stopping and ending them, and the end of the groups.

use super::systemd::Unit;
use super::{Cgroup, Version, key, v1, write};
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long guests may take to stop: each comes to a point where the host can stop it within a few milliseconds of
/// running, for which it may have to wait on a busy host, the more if its processor time is limited.
const FREEZE_TIMEOUT: Duration = Duration::from_secs(20);

/// How long the killed may take to be gone; a large address space takes its time.
const DEATH_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest pause between two looks.
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

impl Cgroup {
    /// Stops all guests or lets them go on; returns when that is done.
    pub(crate) fn freeze(&self, is_frozen: bool) -> Result<()> {
        let dir = self.freezer().filter(|dir| dir.exists()).context("the container has no cgroup to freeze")?;
        let (file, value) = match self.version {
            Version::V1 => ("freezer.state", if is_frozen { "FROZEN" } else { "THAWED" }),
            Version::V2 => ("cgroup.freeze", if is_frozen { "1" } else { "0" }),
        };
        // Version 1 stays at FREEZING for as long as new processes come; writing again counts them in.
        let done = retry(FREEZE_TIMEOUT, || {
            write(&dir.join(file), value)?;
            Ok((self.is_frozen() == is_frozen).then_some(()))
        })?;
        if done.is_none() {
            let undo = if self.version == Version::V1 { "THAWED" } else { "0" };
            write(&dir.join(file), undo)?;
            bail!("unable to freeze");
        }
        Ok(())
    }

    /// Whether all guests are stopped.
    pub(crate) fn is_frozen(&self) -> bool {
        let Some(dir) = self.freezer() else { return false };
        let read = |file: &str| fs::read_to_string(dir.join(file)).unwrap_or_default();
        match self.version {
            Version::V1 => read("freezer.state").trim() == "FROZEN",
            Version::V2 => key(&read("cgroup.events"), "frozen") == 1,
        }
    }

    /// Host processes of the guests, those included that wait to become one.
    pub(crate) fn host_pids(&self) -> Vec<Pid> {
        self.freezer().map(|dir| in_tree(&dir)).unwrap_or_default()
    }

    /// Kills whatever is in the groups, monitors and sentry included, and waits until it is gone.
    pub(crate) fn kill_all(&self) -> Result<()> {
        // What is frozen does not die.
        if self.is_frozen() {
            let _ = self.freeze(false);
        }
        let gone = retry(DEATH_TIMEOUT, || {
            let pids: Vec<Pid> = self.dirs().iter().flat_map(|dir| in_tree(dir)).collect();
            for pid in &pids {
                // It may just have died.
                let _ = kill_process(*pid, Signal::KILL);
            }
            Ok(pids.is_empty().then_some(()))
        })?;
        gone.context("processes of the container do not end")
    }

    /// Removes the groups if nobody is in them, without looking; false if that was not all of them.
    pub(crate) fn remove_empty(&self) -> bool {
        if self.unit.is_some() {
            return false;
        }
        let guests = self.freezer();
        let dirs = guests.into_iter().chain(self.dirs());
        let gone = dirs.map(|dir| match fs::remove_dir(dir) {
            Err(e) => e.kind() == ErrorKind::NotFound,
            Ok(()) => true,
        });
        let left = gone.filter(|is_gone| !is_gone).count();
        left == 0 && self.remove().is_ok()
    }

    /// Removes the groups, and parents made for them unless others use these now. What is gone already is fine.
    pub(crate) fn remove(&self) -> Result<()> {
        let mut result = self.unit.as_ref().map_or(Ok(()), Unit::stop);
        for dir in self.dirs() {
            if let Err(e) = remove_tree(&dir) {
                result = Err(e).with_context(|| format!("cannot remove the cgroup {}", dir.display()));
            }
        }
        for parent in self.made.iter().rev() {
            let _ = fs::remove_dir(parent);
        }
        result
    }

    /// Removes groups beside these whose name is `prefix` and the id of a process that is gone: those of command
    /// lines that were killed.
    pub(crate) fn remove_abandoned(&self, prefix: &str) {
        for parent in self.groups.iter().filter_map(|group| group.dir.parent()) {
            for dir in children(parent) {
                let name = dir.file_stem().and_then(|n| n.to_str()).and_then(|n| n.strip_prefix(prefix));
                let pid = name.and_then(|n| n.parse::<u32>().ok());
                // One that still has processes stays; these are not ours to kill.
                if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) && in_tree(&dir).is_empty() {
                    let _ = remove_tree(&dir);
                }
            }
        }
    }

    fn dirs(&self) -> Vec<PathBuf> {
        let apart = self.v1("pids").map(v1::sandbox_pids);
        self.groups.iter().map(|group| group.dir.clone()).chain(apart).collect()
    }
}

/// Tries until there is an answer or `limit` has passed.
fn retry<T>(limit: Duration, mut attempt: impl FnMut() -> Result<Option<T>>) -> Result<Option<T>> {
    let deadline = Instant::now() + limit;
    let mut pause = Duration::from_micros(500);
    loop {
        let answer = attempt()?;
        if answer.is_some() || Instant::now() >= deadline {
            return Ok(answer);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Processes of a group and of those below it.
pub(super) fn in_tree(dir: &Path) -> Vec<Pid> {
    let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    let own = text.lines().filter_map(|line| line.parse().ok().and_then(Pid::from_raw));
    own.chain(children(dir).iter().flat_map(|child| in_tree(child))).collect()
}

fn children(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter(|e| e.file_type().is_ok_and(|kind| kind.is_dir())).map(|e| e.path()).collect()
}

fn remove_tree(dir: &Path) -> Result<()> {
    match fs::remove_dir(dir) {
        Ok(()) => return Ok(()),
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(_) => {}
    }
    // Engines make groups inside a container's, too.
    for child in children(dir) {
        remove_tree(&child)?;
    }
    // The host may take a moment to forget the dead.
    let done = retry(DEATH_TIMEOUT, || match fs::remove_dir(dir) {
        Err(e) if e.kind() == ErrorKind::ResourceBusy => Ok(None),
        Err(e) if e.kind() != ErrorKind::NotFound => Err(e.into()),
        _ => Ok(Some(())),
    })?;
    done.context("it still has processes")
}
