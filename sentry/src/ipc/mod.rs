//! System V IPC (`sysvipc(7)`): semaphores, message queues, shared memory; and POSIX message queues ([`mqueue`]).
//!
//! Each kind has a [`Table`] of objects by id and by key; the objects are in [`sem`], [`msg`] and [`shm`].

pub mod mqueue;
pub mod mqueue_fs;
pub mod msg;
pub mod sem;
pub mod shm;

use crate::abi::IpcPerm;
use crate::errno::{Errno, SysResult};
use crate::kernel::container::Container;
use crate::kernel::{Cap, Creds, Task, ThreadGroup};
use crate::sync::Mutex;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// Seconds of the wall clock, as the `time` fields have them.
pub(crate) fn now() -> i64 {
    rustix::time::clock_gettime(rustix::time::ClockId::Realtime).tv_sec
}

/// Most namespaces of a sandbox (`max_ipc_namespaces`): each may have objects up to the limits of its kinds.
const MAX_NAMESPACES: usize = 1024;

/// How many there are.
static NAMESPACES: AtomicUsize = AtomicUsize::new(0);

/// All objects of these kinds that some processes share (`ipc_namespaces(7)`): at first, those of a container.
#[derive(Debug)]
pub struct IpcNamespace {
    /// Unique number, for `/proc/PID/ns/ipc`.
    pub id: u64,
    /// Semaphores.
    pub sets: Table<sem::SemSet>,
    /// Message queues.
    pub queues: Table<msg::MsgQueue>,
    /// Shared memory.
    pub segments: Table<shm::Segment>,
    pub(crate) undo: Mutex<sem::Undo>,
    /// What processes have attached, whatever namespace they are in now.
    pub(crate) attached: Arc<Mutex<shm::Attached>>,
    /// POSIX message queues, by name.
    pub(crate) names: Mutex<mqueue::Names>,
    /// The directory that shows these.
    pub(crate) root: OnceLock<Arc<mqueue_fs::Root>>,
}

impl Default for IpcNamespace {
    /// A container's first.
    fn default() -> IpcNamespace {
        /// `PROC_IPC_INIT_INO`.
        const FIRST: u64 = 0xefff_ffff;
        IpcNamespace::with(FIRST, Arc::default())
    }
}

impl IpcNamespace {
    fn with(id: u64, attached: Arc<Mutex<shm::Attached>>) -> IpcNamespace {
        NAMESPACES.fetch_add(1, Ordering::Relaxed);
        IpcNamespace {
            id,
            sets: Table::new(sem::MAX_SETS),
            queues: Table::new(msg::MAX_QUEUES),
            segments: Table::new(shm::MAX_SEGMENTS),
            undo: Mutex::default(),
            attached,
            names: Mutex::default(),
            root: OnceLock::new(),
        }
    }

    /// A new one without objects (`CLONE_NEWIPC`).
    pub fn another(&self) -> SysResult<Arc<IpcNamespace>> {
        /// Apart from the numbers of other kinds.
        static NEXT: AtomicU64 = AtomicU64::new(0xf900_0000);
        if NAMESPACES.load(Ordering::Relaxed) >= MAX_NAMESPACES {
            return Err(Errno::NOSPC);
        }
        SEVERAL.store(true, Ordering::Relaxed);
        Ok(Arc::new(IpcNamespace::with(NEXT.fetch_add(1, Ordering::Relaxed), self.attached.clone())))
    }
}

impl Drop for IpcNamespace {
    fn drop(&mut self) {
        NAMESPACES.fetch_sub(1, Ordering::Relaxed);
    }
}

/// There has been one that is not a container's first.
static SEVERAL: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// That of the task that this thread runs.
    static CURRENT: RefCell<Option<Arc<IpcNamespace>>> = const { RefCell::new(None) };
}

/// That of the task that this thread runs; the container's first where there is none.
pub fn own() -> Arc<IpcNamespace> {
    let entered = SEVERAL.load(Ordering::Relaxed).then(|| CURRENT.with_borrow(Clone::clone)).flatten();
    entered.unwrap_or_else(|| Container::current().ipc.clone())
}

/// Has the namespace of `t` be the current one whenever its future runs.
pub async fn scope<T>(t: &Task, future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    poll_fn(|cx| {
        // A task may have others run: what was current is so again.
        let before = SEVERAL.load(Ordering::Relaxed).then(|| CURRENT.replace(Some(t.ipc())));
        let polled = future.as_mut().poll(cx);
        if SEVERAL.load(Ordering::Relaxed) {
            CURRENT.set(before.flatten());
        }
        polled
    })
    .await
}

/// `t`, which is running, goes to another namespace. What it was to undo is undone; what it has attached stays.
pub fn enter(t: &Task, namespace: Arc<IpcNamespace>) {
    leave_undo(t);
    CURRENT.set(Some(namespace.clone()));
    t.set_ipc(namespace);
}

/// Has `t` share what is to be undone with nobody (`CLONE_SYSVSEM` of `unshare`): it is undone, if it is its own.
pub fn leave_undo(t: &Task) {
    if t.group.tasks().len() <= 1 {
        sem::undo_all(Who::of(&t.group));
    }
}

/// A process as IPC knows it: by its id, and by a number that no other has, for containers with ids of their own may
/// share all this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Who {
    /// Its id.
    pub pid: i32,
    /// Its number.
    pub number: u64,
}

impl Who {
    /// A process.
    pub fn of(group: &ThreadGroup) -> Who {
        Who { pid: group.tgid, number: group.number }
    }
}

/// A process ends: what it was to undo is undone, and it no longer has segments attached.
pub fn on_exit(group: &Arc<ThreadGroup>) {
    sem::undo_all(Who::of(group));
    shm::forget(Who::of(group));
}

/// Owner and permissions of an object.
#[derive(Debug, Clone, Copy)]
pub struct Perm {
    key: i32,
    uid: u32,
    gid: u32,
    cuid: u32,
    cgid: u32,
    mode: u32,
}

impl Perm {
    fn new(key: i32, flags: i32, creds: &Creds) -> Perm {
        let (uid, gid) = (creds.euid, creds.egid);
        Perm { key, uid, gid, cuid: uid, cgid: gid, mode: flags as u32 & 0o777 }
    }

    /// Whether `creds` may do what the permission bits of `flags` say (`ipcperms`).
    pub fn check(&self, creds: &Creds, flags: u32) -> SysResult<()> {
        let wanted = (flags >> 6 | flags >> 3 | flags) & 0o7;
        let in_group = |gid| creds.egid == gid || creds.groups.contains(&gid);
        let granted = if creds.euid == self.uid || creds.euid == self.cuid {
            self.mode >> 6
        } else if in_group(self.gid) || in_group(self.cgid) {
            self.mode >> 3
        } else {
            self.mode
        };
        if wanted & !granted & 0o7 == 0 || creds.has(Cap::IpcOwner) { Ok(()) } else { Err(Errno::ACCES) }
    }

    /// Whether `creds` may change or remove the object.
    pub fn check_owner(&self, creds: &Creds) -> SysResult<()> {
        let owner = creds.euid == self.uid || creds.euid == self.cuid || creds.has(Cap::SysAdmin);
        if owner { Ok(()) } else { Err(Errno::PERM) }
    }

    /// `IPC_SET`: the parts an owner may change.
    pub fn set(&mut self, new: &IpcPerm) {
        self.uid = new.uid;
        self.gid = new.gid;
        self.mode = self.mode & !0o777 | new.mode & 0o777;
    }

    fn set_flag(&mut self, flag: u32, on: bool) {
        self.mode = self.mode & !flag | if on { flag } else { 0 };
    }

    /// As a guest sees it.
    pub fn to_abi(self) -> IpcPerm {
        let Perm { key, uid, gid, cuid, cgid, mode } = self;
        IpcPerm { key, uid, gid, cuid, cgid, mode, ..IpcPerm::default() }
    }
}

/// An object of a [`Table`].
pub trait Object {
    /// Its owner and permissions now.
    fn perm(&self) -> Perm;
}

/// The objects of one kind.
#[derive(Debug)]
pub struct Table<T> {
    inner: Mutex<Inner<T>>,
    max: usize,
}

#[derive(Debug)]
struct Inner<T> {
    /// By index, the low bits of the id.
    slots: BTreeMap<i32, (i32, Arc<T>)>,
    by_key: HashMap<i32, i32>,
    last: i32,
    sequence: i32,
}

/// Bits of an id that are the index (`ipcmni_seq_shift`).
const INDEX_BITS: u32 = 15;

impl<T> Inner<T> {
    /// An id for a new object: ids are not soon given again, so that a stale one does not name another object.
    fn new_id(&mut self, max: i32) -> i32 {
        let free = |range: std::ops::Range<i32>| range.into_iter().find(|index| !self.slots.contains_key(index));
        let index = free(self.last + 1..max).or_else(|| free(0..max)).unwrap_or(0);
        if index <= self.last {
            self.sequence = (self.sequence + 1) & 0xffff;
        }
        self.last = index;
        self.sequence << INDEX_BITS | index
    }

    fn get(&self, id: i32) -> Option<&Arc<T>> {
        self.slots.get(&(id & ((1 << INDEX_BITS) - 1))).filter(|(known, _)| *known == id).map(|(_, object)| object)
    }
}

impl<T: Object> Table<T> {
    /// An empty table of at most `max` objects.
    pub fn new(max: usize) -> Table<T> {
        let inner = Inner { slots: BTreeMap::new(), by_key: HashMap::new(), last: -1, sequence: 0 };
        Table { inner: Mutex::new(inner), max }
    }

    /// `semget`, `msgget`, `shmget`: the id of the object with `key`, made by `make` if there is none; `fits`
    /// checks one that there is.
    pub fn get(
        &self,
        t: &Task,
        key: i32,
        flags: i32,
        fits: impl FnOnce(&T) -> SysResult<()>,
        make: impl FnOnce(Perm) -> SysResult<T>,
    ) -> SysResult<i32> {
        let creds = t.creds();
        let mut inner = self.inner.lock();
        let existing = if key == libc::IPC_PRIVATE { None } else { inner.by_key.get(&key).copied() };
        if let Some(id) = existing {
            let object = inner.get(id).ok_or(Errno::NOENT)?;
            if flags & libc::IPC_CREAT != 0 && flags & libc::IPC_EXCL != 0 {
                return Err(Errno::EXIST);
            }
            fits(object)?;
            object.perm().check(&creds, flags as u32)?;
            return Ok(id);
        }
        if key != libc::IPC_PRIVATE && flags & libc::IPC_CREAT == 0 {
            return Err(Errno::NOENT);
        }
        let object = Arc::new(make(Perm::new(key, flags, &creds))?);
        if inner.slots.len() >= self.max {
            return Err(Errno::NOSPC);
        }
        let id = inner.new_id(self.max as i32);
        let index = inner.last;
        inner.slots.insert(index, (id, object));
        if key != libc::IPC_PRIVATE {
            inner.by_key.insert(key, id);
        }
        Ok(id)
    }

    /// The object with an id.
    pub fn find(&self, id: i32) -> SysResult<Arc<T>> {
        self.inner.lock().get(id).cloned().ok_or(Errno::INVAL)
    }

    /// Id and object at an index, as `SEM_STAT` and its kin count them.
    pub fn at(&self, index: i32) -> SysResult<(i32, Arc<T>)> {
        let index = index & ((1 << INDEX_BITS) - 1);
        self.inner.lock().slots.get(&index).cloned().ok_or(Errno::INVAL)
    }

    /// Takes an object out.
    pub fn remove(&self, id: i32) -> SysResult<Arc<T>> {
        self.forget_key(id)?;
        let mut inner = self.inner.lock();
        let (_, object) = inner.slots.remove(&(id & ((1 << INDEX_BITS) - 1))).ok_or(Errno::INVAL)?;
        Ok(object)
    }

    /// Leaves an object its id alone.
    fn forget_key(&self, id: i32) -> SysResult<()> {
        let mut inner = self.inner.lock();
        let key = inner.get(id).ok_or(Errno::INVAL)?.perm().key;
        if inner.by_key.get(&key) == Some(&id) {
            inner.by_key.remove(&key);
        }
        Ok(())
    }

    /// Most objects there may be.
    pub fn max(&self) -> i32 {
        self.max as i32
    }

    /// Highest index in use (0 for none, too), and all objects.
    pub fn all(&self) -> (i32, Vec<Arc<T>>) {
        let inner = self.inner.lock();
        let highest = inner.slots.last_key_value().map_or(0, |(index, _)| *index);
        (highest, inner.slots.values().map(|(_, object)| object.clone()).collect())
    }
}
