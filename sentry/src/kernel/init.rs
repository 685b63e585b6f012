//! A process 1 that is the sentry's own, for programs that do not expect to be it.
//!
//! It has no threads: it exists as the parent of orphans, which are reaped at once because it ignores SIGCHLD.

use super::signal::{SIG_IGN, SigAction, SigHand};
use super::{Kernel, ThreadGroup, group};
use crate::errno::SysResult;
use platform::{Fact, Known, Layout, Process, Usage};
use std::io;
use std::sync::Arc;

/// No host process is behind it.
#[derive(Debug)]
struct NoProcess;

impl Process for NoProcess {
    fn read(&self, _: u64, _: &mut [u8]) -> usize {
        0
    }

    fn write(&self, _: u64, _: &[u8]) -> usize {
        0
    }

    fn kill(&self) {}

    fn is_gone(&self) -> bool {
        false
    }

    fn host_pid(&self) -> i32 {
        0
    }

    fn usage(&self) -> Usage {
        Usage::default()
    }

    fn set_rlimit(&self, _: u32, _: u64, _: u64) {}

    fn proc_file(&self, _: &str) -> io::Result<Vec<u8>> {
        Ok(Vec::new())
    }

    fn is_reserved(&self, _: u64, _: u64) -> bool {
        false
    }

    fn set_known(&self, _: &Known) -> bool {
        true
    }

    fn forget(&self, _: Fact) {}

    fn layout(&self) -> Layout {
        Layout::default()
    }
}

/// Makes it; the id must be the first one taken.
pub(super) fn make(kernel: &Arc<Kernel>) -> SysResult<()> {
    let sighand = SigHand::default();
    sighand.set(libc::SIGCHLD, SigAction { handler: SIG_IGN, ..SigAction::default() });
    let mut tree = kernel.tree.lock();
    let pid = tree.new_pid()?;
    let init = ThreadGroup::new(pid, Arc::new(NoProcess), Arc::new(sighand), group::default_limits(), 0);
    tree.add_group(&Arc::new(init), 0);
    Ok(())
}
