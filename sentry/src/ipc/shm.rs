//! Shared memory segments (`shmop(2)`): memory files of the host that guests map.

use super::{Object, Perm, Table, now};
use crate::abi::{IpcPerm, ShmidDs};
use crate::errno::{Errno, SysResult};
use crate::sync::Mutex;
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, LazyLock};

/// `SHMMNI`. Each segment is a descriptor of the sentry.
const MAX_SEGMENTS: usize = 4096;
/// `SHMMAX`: pages are the guests' own, charged to who touches them.
pub const MAX_SIZE: usize = 1 << 40;

/// All segments.
pub static SEGMENTS: LazyLock<Table<Segment>> = LazyLock::new(|| Table::new(MAX_SEGMENTS));

/// By process and address.
type Attached = BTreeMap<(i32, u64), Arc<Segment>>;

/// What is attached.
static ATTACHED: LazyLock<Mutex<Attached>> = LazyLock::new(Mutex::default);

#[derive(Debug)]
struct State {
    perm: Perm,
    ds: ShmidDs,
}

/// A segment.
#[derive(Debug)]
pub struct Segment {
    file: OwnedFd,
    state: Mutex<State>,
}

impl Object for Segment {
    fn perm(&self) -> Perm {
        self.state.lock().perm
    }
}

impl Segment {
    /// A segment of zeroes.
    pub fn new(perm: Perm, size: usize, pid: i32) -> SysResult<Segment> {
        let file = memfd_create("sysv", MemfdFlags::CLOEXEC)?;
        ftruncate(&file, size as u64)?;
        let ds = ShmidDs { segsz: size as u64, ctime: now(), cpid: pid, ..ShmidDs::default() };
        Ok(Segment { file, state: Mutex::new(State { perm, ds }) })
    }

    /// What to map.
    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.state.lock().ds.segsz
    }

    /// `IPC_SET`.
    pub fn set_perm(&self, perm: &IpcPerm) {
        let mut state = self.state.lock();
        state.perm.set(perm);
        state.ds.ctime = now();
    }

    /// `IPC_STAT`.
    pub fn stat(self: &Arc<Self>) -> ShmidDs {
        let attached = ATTACHED.lock().values().filter(|segment| Arc::ptr_eq(segment, self)).count();
        let state = self.state.lock();
        ShmidDs { perm: state.perm.to_abi(), nattch: attached as u64, ..state.ds }
    }
}

/// Process `pid` has attached `segment` at `addr`.
pub fn attached(pid: i32, addr: u64, segment: &Arc<Segment>) {
    {
        let mut state = segment.state.lock();
        state.ds.atime = now();
        state.ds.lpid = pid;
    }
    ATTACHED.lock().insert((pid, addr), segment.clone());
}

/// What is attached at `addr` in process `pid`, or was in the process it was forked from.
pub fn at(pid: i32, addr: u64) -> SysResult<Arc<Segment>> {
    let attached = ATTACHED.lock();
    let inherited = || attached.iter().find(|((_, other), _)| *other == addr).map(|(_, segment)| segment);
    attached.get(&(pid, addr)).or_else(inherited).cloned().ok_or(Errno::INVAL)
}

/// Process `pid` has detached what was at `addr`.
pub fn detached(pid: i32, addr: u64, segment: &Segment) {
    ATTACHED.lock().remove(&(pid, addr));
    let mut state = segment.state.lock();
    state.ds.dtime = now();
    state.ds.lpid = pid;
}

/// A process ends.
pub(super) fn forget(pid: i32) {
    ATTACHED.lock().retain(|(owner, _), _| *owner != pid);
}
