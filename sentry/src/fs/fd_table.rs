//! File descriptor tables.

use super::file::File;
use crate::errno::{Errno, SysResult};
use crate::sync::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Most descriptors a process may ever have, whatever its `RLIMIT_NOFILE` (`fs.nr_open`).
pub const NR_OPEN: u64 = 1 << 20;

#[derive(Clone)]
struct Slot {
    file: Arc<File>,
    cloexec: bool,
}

#[derive(Default, Clone)]
struct Inner {
    slots: Vec<Option<Slot>>,
    /// No descriptor below this is free.
    first_free: usize,
    open: usize,
}

/// The descriptors of a process, or of several that share them (`CLONE_FILES`).
pub struct FdTable {
    /// Unique, for lock ownership.
    pub id: u64,
    inner: Mutex<Inner>,
}

impl std::fmt::Debug for FdTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FdTable({} open)", self.inner.lock().open)
    }
}

impl FdTable {
    fn with(inner: Inner) -> Arc<FdTable> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Arc::new(FdTable { id: NEXT.fetch_add(1, Ordering::Relaxed), inner: Mutex::new(inner) })
    }

    /// An empty table.
    pub fn new() -> Arc<FdTable> {
        FdTable::with(Inner::default())
    }

    /// A copy, as `fork` makes it.
    pub fn fork(&self) -> Arc<FdTable> {
        FdTable::with(self.inner.lock().clone())
    }

    /// The description behind `fd`; `O_PATH` ones included.
    pub fn get_any(&self, fd: i32) -> SysResult<Arc<File>> {
        let inner = self.inner.lock();
        usize::try_from(fd)
            .ok()
            .and_then(|fd| inner.slots.get(fd))
            .and_then(|s| s.as_ref())
            .map(|s| s.file.clone())
            .ok_or(Errno::BADF)
    }

    /// The description behind `fd`, for I/O: `EBADF` for `O_PATH` ones.
    pub fn get(&self, fd: i32) -> SysResult<Arc<File>> {
        let file = self.get_any(fd)?;
        if file.flags() & libc::O_PATH != 0 { Err(Errno::BADF) } else { Ok(file) }
    }

    /// Puts `file` at the lowest free number that is `min` or above and below `limit` (`RLIMIT_NOFILE`).
    pub fn install_from(&self, min: i32, file: Arc<File>, cloexec: bool, limit: u64) -> SysResult<i32> {
        let limit = limit.min(NR_OPEN) as usize;
        let mut inner = self.inner.lock();
        let mut at = usize::try_from(min).map_err(|_| Errno::INVAL)?.max(inner.first_free);
        while inner.slots.get(at).is_some_and(|s| s.is_some()) {
            at += 1;
        }
        if at >= limit {
            return Err(Errno::MFILE);
        }
        inner.put(at, Slot { file, cloexec });
        if at == inner.first_free {
            inner.first_free = at + 1;
        }
        Ok(at as i32)
    }

    /// Whether there is a free number below `limit`: for calls that must not begin what they could not finish.
    pub fn has_room(&self, limit: u64) -> bool {
        let inner = self.inner.lock();
        let limit = limit.min(NR_OPEN) as usize;
        inner.open < limit && (inner.first_free..limit).any(|at| inner.slots.get(at).is_none_or(Option::is_none))
    }

    /// Puts `file` at exactly `fd`; returns what was there.
    pub fn install_at(&self, fd: i32, file: Arc<File>, cloexec: bool, limit: u64) -> SysResult<Option<Arc<File>>> {
        let at = usize::try_from(fd).map_err(|_| Errno::BADF)?;
        if at as u64 >= limit.min(NR_OPEN) {
            return Err(Errno::BADF);
        }
        let mut inner = self.inner.lock();
        Ok(inner.put(at, Slot { file, cloexec }).map(|old| old.file))
    }

    /// Empties `fd`; returns what was there.
    pub fn remove(&self, fd: i32) -> SysResult<Arc<File>> {
        let at = usize::try_from(fd).map_err(|_| Errno::BADF)?;
        let mut inner = self.inner.lock();
        let old = inner.slots.get_mut(at).and_then(Option::take).ok_or(Errno::BADF)?;
        inner.open -= 1;
        inner.first_free = inner.first_free.min(at);
        Ok(old.file)
    }

    /// The close-on-exec flag.
    pub fn cloexec(&self, fd: i32) -> SysResult<bool> {
        let inner = self.inner.lock();
        usize::try_from(fd)
            .ok()
            .and_then(|fd| inner.slots.get(fd))
            .and_then(|s| s.as_ref())
            .map(|s| s.cloexec)
            .ok_or(Errno::BADF)
    }

    /// Changes the close-on-exec flag.
    pub fn set_cloexec(&self, fd: i32, on: bool) -> SysResult<()> {
        let mut inner = self.inner.lock();
        let slot = usize::try_from(fd)
            .ok()
            .and_then(|fd| inner.slots.get_mut(fd))
            .and_then(|s| s.as_mut())
            .ok_or(Errno::BADF)?;
        slot.cloexec = on;
        Ok(())
    }

    /// All open descriptors with their descriptions, ascending.
    pub fn list(&self) -> Vec<(i32, Arc<File>)> {
        let inner = self.inner.lock();
        inner.slots.iter().enumerate().filter_map(|(fd, s)| s.as_ref().map(|s| (fd as i32, s.file.clone()))).collect()
    }

    /// Empties every number for which `which(fd, cloexec)` holds; returns what was there.
    pub fn remove_if(&self, which: impl Fn(i32, bool) -> bool) -> Vec<(i32, Arc<File>)> {
        let mut inner = self.inner.lock();
        let mut removed = Vec::new();
        for (fd, slot) in inner.slots.iter_mut().enumerate() {
            if slot.as_ref().is_some_and(|s| which(fd as i32, s.cloexec))
                && let Some(s) = slot.take()
            {
                removed.push((fd as i32, s.file));
            }
        }
        inner.open -= removed.len();
        if let Some((fd, _)) = removed.first() {
            inner.first_free = inner.first_free.min(*fd as usize);
        }
        removed
    }
}

impl Inner {
    fn put(&mut self, at: usize, slot: Slot) -> Option<Slot> {
        if self.slots.len() <= at {
            self.slots.resize_with(at + 1, || None);
        }
        let old = self.slots.get_mut(at).and_then(|s| s.replace(slot));
        if old.is_none() {
            self.open += 1;
        }
        old
    }
}
