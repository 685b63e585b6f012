//! Whether one process may look into another (`ptrace(2)`, "Ptrace access mode checking").

use super::{Cap, Task};
use crate::errno::{Errno, SysResult};
use std::sync::Arc;

/// Which of the caller's ids count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ids {
    /// Those for files (`PTRACE_MODE_FSCREDS`).
    File,
    /// The real ones (`PTRACE_MODE_REALCREDS`).
    Real,
}

/// `EPERM` if `t` may not look into `target`.
pub fn may_inspect(t: &Task, target: &Task, ids: Ids) -> SysResult<()> {
    if Arc::ptr_eq(&t.group, &target.group) {
        return Ok(());
    }
    let (mine, its) = (t.creds(), target.creds());
    if mine.has(Cap::SysPtrace) {
        return Ok(());
    }
    let (uid, gid) = if ids == Ids::File { (mine.fsuid, mine.fsgid) } else { (mine.uid, mine.gid) };
    let caps = if ids == Ids::File { mine.effective } else { mine.permitted };
    let same = [its.uid, its.euid, its.suid].iter().all(|id| *id == uid)
        && [its.gid, its.egid, its.sgid].iter().all(|id| *id == gid);
    let covers = its.permitted & !caps == 0;
    if same && covers && target.group.dumpable.get() == 1 { Ok(()) } else { Err(Errno::PERM) }
}
