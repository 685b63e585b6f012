//! Host processes that outlive the command that made them.

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use std::fs;
use std::time::Duration;

/// How long a process may take to die with all that it holds.
const DEATH_LIMIT: Duration = Duration::from_secs(10);

/// A process, told from a later one with the same pid by the time of its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Identity {
    /// As the command line sees it.
    pub(crate) pid: i32,
    /// In clock ticks since the host's start.
    start_time: u64,
}

impl Identity {
    /// That of a process that is alive or a zombie.
    pub(crate) fn of(pid: i32) -> Result<Identity> {
        let (_, start_time) = stat(pid).with_context(|| format!("process {pid} is gone"))?;
        Ok(Identity { pid, start_time })
    }

    /// Whether it has not ended; a zombie has.
    pub(crate) fn is_alive(&self) -> bool {
        stat(self.pid).is_some_and(|(state, start_time)| start_time == self.start_time && !matches!(state, 'Z' | 'X'))
    }

    /// Kills it and waits for its end.
    pub(crate) fn kill(&self) -> Result<()> {
        let Some(pid) = Pid::from_raw(self.pid) else { return Ok(()) };
        let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { return Ok(()) };
        if !self.is_alive() {
            return Ok(());
        }
        pidfd_send_signal(&pidfd, Signal::KILL).with_context(|| format!("cannot kill process {pid}"))?;
        let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
        let limit = Timespec { tv_sec: DEATH_LIMIT.as_secs() as i64, tv_nsec: 0 };
        match poll(&mut fds, Some(&limit)) {
            Ok(0) => anyhow::bail!("process {pid} does not die"),
            _ => Ok(()),
        }
    }
}

/// State and time of start, of `/proc/PID/stat`.
fn stat(pid: i32) -> Option<(char, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything.
    let (_, rest) = text.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive() {
        let me = Identity::of(std::process::id() as i32).expect("it is there");
        assert!(me.is_alive());
        assert!(!Identity { start_time: me.start_time + 1, ..me }.is_alive());
    }
}
