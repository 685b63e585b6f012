//! Process descriptors: `pidfd_open(2)`.

use super::{File, FileOps};
use crate::errno::SysResult;
use crate::executor::{Events, WaitQueue};
use crate::kernel::{Task, ThreadGroup};
use std::any::Any;
use std::sync::Arc;

/// What a pidfd refers to.
#[derive(Debug)]
pub struct PidFd {
    /// The process.
    pub group: Arc<ThreadGroup>,
}

impl FileOps for PidFd {
    fn poll(&self, _: &File) -> Events {
        if self.group.state.lock().is_zombie() { Events::IN | Events::RDNORM } else { Events::empty() }
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.group.exit_wait)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn describe(&self) -> String {
        "anon_inode:[pidfd]".into()
    }

    fn fdinfo(&self) -> String {
        let pid = if self.group.state.lock().is_zombie() { -1 } else { self.group.tgid };
        format!("Pid:\t{pid}\nNSpid:\t{pid}\n")
    }
}

/// A new descriptor for a process; always close-on-exec.
pub fn open(t: &Task, group: &Arc<ThreadGroup>) -> SysResult<i32> {
    t.install(File::anonymous(PidFd { group: group.clone() }, libc::O_RDWR), true)
}
