//! Shared memory segments (`shmop(2)`): memory files of the host that guests map.

use super::{IpcNamespace, Object, Perm, Who, now, own};
use crate::abi::{IpcPerm, ShmidDs};
use crate::errno::{Errno, SysResult};
use crate::sync::Mutex;
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

/// `SHMMNI`, in all namespaces together: each segment is a descriptor of the sentry.
pub(super) const MAX_SEGMENTS: usize = 4096;

/// How many there are.
static SEGMENTS: AtomicUsize = AtomicUsize::new(0);

/// `SHMMAX`: pages are the guests' own, charged to who touches them.
pub const MAX_SIZE: usize = 1 << 40;

/// What is attached, by process and address: id and segment.
pub(crate) type Attached = BTreeMap<(u64, u64), (i32, Arc<Segment>)>;

#[derive(Debug)]
struct State {
    perm: Perm,
    ds: ShmidDs,
}

/// A segment.
#[derive(Debug)]
pub struct Segment {
    file: OwnedFd,
    /// Where it can be found.
    namespace: Weak<IpcNamespace>,
    state: Mutex<State>,
}

impl Drop for Segment {
    fn drop(&mut self) {
        SEGMENTS.fetch_sub(1, Ordering::Relaxed);
    }
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
        if SEGMENTS.fetch_add(1, Ordering::Relaxed) >= MAX_SEGMENTS {
            SEGMENTS.fetch_sub(1, Ordering::Relaxed);
            return Err(Errno::NOSPC);
        }
        let ds = ShmidDs { segsz: size as u64, ctime: now(), cpid: pid, ..ShmidDs::default() };
        let namespace = Arc::downgrade(&own());
        Ok(Segment { file, namespace, state: Mutex::new(State { perm, ds }) })
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

    /// `SHM_LOCK`, `SHM_UNLOCK`.
    pub fn set_locked(&self, locked: bool) {
        self.state.lock().perm.set_flag(SHM_LOCKED, locked);
    }

    /// Bytes of it that are in memory.
    pub fn resident(&self) -> u64 {
        /// What `st_blocks` counts in.
        const BLOCK: u64 = 512;
        rustix::fs::fstat(&self.file).map_or(0, |stat| stat.st_blocks.cast_unsigned() * BLOCK)
    }

    /// `IPC_STAT`.
    pub fn stat(self: &Arc<Self>) -> ShmidDs {
        let attached = attachments(self);
        let state = self.state.lock();
        ShmidDs { perm: state.perm.to_abi(), nattch: attached as u64, ..state.ds }
    }
}

/// Bits of the mode beside permissions: it goes with its last user; `SHM_LOCK`.
const SHM_DEST: u32 = 0o1000;
const SHM_LOCKED: u32 = 0o2000;

fn attachments(segment: &Arc<Segment>) -> usize {
    own().attached.lock().values().filter(|(_, other)| Arc::ptr_eq(other, segment)).count()
}

/// `IPC_RMID`: nobody finds it by its key any more, and it goes with its last user.
pub fn remove(id: i32, segment: &Arc<Segment>) -> SysResult<()> {
    if attachments(segment) == 0 {
        return own().segments.remove(id).map(drop);
    }
    own().segments.forget_key(id)?;
    let mut state = segment.state.lock();
    state.perm.set_flag(SHM_DEST, true);
    state.perm.key = libc::IPC_PRIVATE;
    Ok(())
}

/// A process has attached `segment`, the one with `id`, at `addr`.
pub fn attached(who: Who, addr: u64, id: i32, segment: &Arc<Segment>) {
    {
        let mut state = segment.state.lock();
        state.ds.atime = now();
        state.ds.lpid = who.pid;
    }
    own().attached.lock().insert((who.number, addr), (id, segment.clone()));
}

/// What is attached at `addr` in a process.
pub fn at(who: Who, addr: u64) -> SysResult<Arc<Segment>> {
    own().attached.lock().get(&(who.number, addr)).map(|(_, segment)| segment.clone()).ok_or(Errno::INVAL)
}

/// A process has detached what was at `addr`.
pub fn detached(who: Who, addr: u64) {
    let removed = own().attached.lock().remove(&(who.number, addr));
    if let Some((id, segment)) = removed {
        left(who.pid, id, &segment);
    }
}

fn left(pid: i32, id: i32, segment: &Arc<Segment>) {
    let doomed = {
        let mut state = segment.state.lock();
        state.ds.dtime = now();
        state.ds.lpid = pid;
        state.perm.mode & SHM_DEST != 0
    };
    if doomed && attachments(segment) == 0 {
        // Another may have been as late, and the namespace is gone if nobody else is in it.
        let _ = segment.namespace.upgrade().map(|namespace| namespace.segments.remove(id));
    }
}

/// A child has what its parent had attached.
pub fn forked(parent: Who, child: Who) {
    let own = own();
    let mut attached = own.attached.lock();
    let range = (parent.number, 0)..=(parent.number, u64::MAX);
    let inherited: Vec<_> =
        attached.range(range).map(|((_, addr), found)| ((child.number, *addr), found.clone())).collect();
    attached.extend(inherited);
}

/// A process ends, or begins a new program.
pub fn forget(who: Who) {
    let gone: Vec<_> = {
        let own = own();
        let mut attached = own.attached.lock();
        let keys: Vec<_> = attached.range((who.number, 0)..=(who.number, u64::MAX)).map(|(key, _)| *key).collect();
        keys.iter().filter_map(|key| attached.remove(key)).collect()
    };
    for (id, segment) in gone {
        left(who.pid, id, &segment);
    }
}
