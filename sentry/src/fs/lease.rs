//! Leases of files (`F_SETLEASE` of `fcntl(2)`): who opens or truncates a leased file in a way that a lease excludes
//! has its holder told by a signal, and waits until the holder gives way or its time is up (`fs/locks.c`).

use super::attr::FileKind;
use super::fasync;
use super::file::File;
use super::inode::Inode;
use super::lock::{self, Key};
use crate::errno::{Errno, SysResult};
use crate::executor::{Events, WaitQueue};
use crate::kernel::{Cap, Kernel, Task};
use crate::sync::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// Bit of [`File::tag`]: the description holds a lease.
const HOLDS_LEASE: u32 = 1 << 29;
/// Bit of [`File::tag`]: it counts as a reader of its inode.
const IS_READER: u32 = 1 << 28;

/// `/proc/sys/fs/lease-break-time`: seconds that a holder has to give way; 0 for as long as it likes.
pub static BREAK_TIME: AtomicI32 = AtomicI32::new(45);
/// `/proc/sys/fs/leases-enable`.
pub static ENABLED: AtomicI32 = AtomicI32::new(1);

static LEASES: Mutex<Option<HashMap<Key, Arc<Leases>>>> = Mutex::new(None);
/// How many inodes have leases: nothing is looked up while there are none.
static LEASED: AtomicUsize = AtomicUsize::new(0);

/// What a lease keeps others from: writing, or also reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Read,
    Write,
}

/// Until when a holder may take its time; `None` for ever.
type Until = Option<Instant>;

#[derive(Debug)]
struct Lease {
    file: Weak<File>,
    /// The descriptor that it was taken by, for `si_fd`.
    fd: i32,
    pid: i32,
    kind: Kind,
    /// Someone waits for it to become a read lease.
    downgrade: Option<Until>,
    /// Someone waits for it to end.
    unlock: Option<Until>,
}

impl Lease {
    /// What it is about to become, which is what its holder sees.
    fn target(&self) -> Option<Kind> {
        match (self.unlock, self.downgrade) {
            (Some(_), _) => None,
            (None, Some(_)) => Some(Kind::Read),
            (None, None) => Some(self.kind),
        }
    }

    fn excludes(&self, writes: bool) -> bool {
        writes || self.kind == Kind::Write
    }
}

/// The leases of one inode, by description.
#[derive(Debug, Default)]
pub struct Leases {
    held: Mutex<BTreeMap<u64, Lease>>,
    /// Told when one ends or is weakened.
    queue: WaitQueue,
    /// Those who wait, as if they had opened the file already.
    writers: AtomicI32,
    readers: AtomicI32,
}

/// One who waits.
struct Waiter<'a>(&'a AtomicI32);

impl<'a> Waiter<'a> {
    fn new(leases: &'a Leases, writes: bool) -> Waiter<'a> {
        let count = if writes { &leases.writers } else { &leases.readers };
        count.fetch_add(1, Ordering::Relaxed);
        Waiter(count)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn find(key: Key) -> Option<Arc<Leases>> {
    if LEASED.load(Ordering::Relaxed) == 0 {
        return None;
    }
    LEASES.lock().as_ref()?.get(&key).cloned()
}

/// The leases of `file`'s inode, made if there are none yet.
fn of(key: Key) -> Arc<Leases> {
    let mut all = LEASES.lock();
    let all = all.get_or_insert_default();
    let leases = all.entry(key).or_default().clone();
    LEASED.store(all.len(), Ordering::Relaxed);
    leases
}

/// Forgets an inode that has no leases any more.
fn forget(key: Key) {
    let mut all = LEASES.lock();
    let Some(all) = all.as_mut() else { return };
    let unused = |leases: &Arc<Leases>| Arc::strong_count(leases) == 1 && leases.held.lock().is_empty();
    if all.get(&key).is_some_and(unused) {
        all.remove(&key);
    }
    LEASED.store(all.len(), Ordering::Relaxed);
}

fn is_over(until: Option<Until>) -> bool {
    until.flatten().is_some_and(|until| until <= Instant::now())
}

impl Leases {
    /// Ends or weakens those whose holders had time enough (`time_out_leases`).
    fn expire(&self) {
        let mut changed = false;
        let mut ended = Vec::new();
        self.held.lock().retain(|_, lease| {
            if is_over(lease.downgrade) {
                lease.kind = Kind::Read;
                lease.downgrade = None;
                changed = true;
            }
            let ends = is_over(lease.unlock);
            if ends {
                ended.extend(lease.file.upgrade());
            }
            !ends
        });
        for file in &ended {
            disown(file);
        }
        if changed || !ended.is_empty() {
            self.queue.notify(Events::IN);
        }
    }

    fn excludes(&self, writes: bool) -> bool {
        self.held.lock().values().any(|lease| lease.excludes(writes))
    }

    /// Asks the holders of what stands in the way to end it or to make do with a read lease; when the first of them
    /// has had time enough.
    fn ask(&self, kernel: &Arc<Kernel>, writes: bool) -> Until {
        let seconds = u64::try_from(BREAK_TIME.load(Ordering::Relaxed)).unwrap_or(0);
        let until = (seconds > 0).then(|| Instant::now() + Duration::from_secs(seconds));
        let mut told = Vec::new();
        let mut first: Until = None;
        for lease in self.held.lock().values_mut().filter(|lease| lease.excludes(writes)) {
            let pending = if writes { &mut lease.unlock } else { &mut lease.downgrade };
            let is_asked = pending.is_some();
            let until = *pending.get_or_insert(until);
            first = [first, until].into_iter().flatten().min();
            if !is_asked && (writes || lease.unlock.is_none()) {
                told.extend(lease.file.upgrade().map(|file| (file, lease.fd)));
            }
        }
        for (file, fd) in told {
            /// `POLL_MSG`, and its `POLLIN | POLLRDNORM | POLLMSG`.
            const POLL_MSG: (i32, u32) = (3, 0x441);
            fasync::signal_owner(kernel, &file, fd, POLL_MSG.0, Events::from_bits_retain(POLL_MSG.1));
        }
        first
    }
}

/// Whether a lease keeps `inode` from being opened, for writing or only for reading; its holder is asked to give way.
pub fn conflict(t: &Task, key: Key, writes: bool) -> Option<Arc<Leases>> {
    let leases = find(key)?;
    leases.expire();
    if !leases.excludes(writes) {
        return None;
    }
    leases.ask(&t.kernel, writes);
    Some(leases)
}

/// Waits until no lease keeps the file from being opened.
pub async fn wait(t: &Task, leases: &Leases, writes: bool) -> SysResult<()> {
    let _counted = Waiter::new(leases, writes);
    loop {
        let until = leases.ask(&t.kernel, writes);
        let attempt = || if leases.excludes(writes) { Err(Errno::AGAIN) } else { Ok(()) };
        match t.block_on(&leases.queue, Events::IN, until, attempt).await {
            Err(Errno::AGAIN) => leases.expire(),
            done => return done,
        }
    }
}

/// `F_GETLEASE`.
pub fn get(file: &File) -> i32 {
    let Some(leases) = find(lock::key(file)) else { return libc::F_UNLCK };
    leases.expire();
    let target = leases.held.lock().get(&file.id).and_then(Lease::target);
    target.map_or(libc::F_UNLCK, |kind| if kind == Kind::Read { libc::F_RDLCK } else { libc::F_WRLCK })
}

/// `F_SETLEASE`.
pub fn set(t: &Task, fd: i32, file: &Arc<File>, arg: i32) -> SysResult<()> {
    let kind = match arg {
        libc::F_RDLCK => Some(Kind::Read),
        libc::F_WRLCK => Some(Kind::Write),
        libc::F_UNLCK => None,
        _ => return Err(Errno::INVAL),
    };
    let inode = file.inode().ok_or(Errno::INVAL)?;
    let creds = t.creds();
    if inode.perm()?.uid != creds.fsuid && !creds.has(Cap::Lease) {
        return Err(Errno::ACCES);
    }
    if inode.kind() != FileKind::Regular || ENABLED.load(Ordering::Relaxed) == 0 {
        return Err(Errno::INVAL);
    }
    let key = lock::key(file);
    let leases = of(key);
    leases.expire();
    let done = match kind {
        Some(kind) => leases.add(t, fd, file, &*inode, kind),
        None if leases.remove(file) => Ok(()),
        None => Err(Errno::AGAIN),
    };
    drop(leases);
    forget(key);
    done
}

impl Leases {
    fn add(&self, t: &Task, fd: i32, file: &Arc<File>, inode: &dyn Inode, kind: Kind) -> SysResult<()> {
        if self.is_open_otherwise(file, inode, kind) {
            return Err(Errno::AGAIN);
        }
        let mut held = self.held.lock();
        let others = held.iter().filter(|(id, _)| **id != file.id);
        for (_, other) in others {
            // None begins while another one is about to end.
            if kind == Kind::Write || other.unlock.is_some() {
                return Err(Errno::AGAIN);
            }
        }
        if let Some(own) = held.get_mut(&file.id) {
            own.kind = kind;
            if kind == Kind::Read {
                own.downgrade = None;
            }
            drop(held);
            self.queue.notify(Events::IN);
            return Ok(());
        }
        let pid = t.group.tgid;
        let lease = Lease { file: Arc::downgrade(file), fd, pid, kind, downgrade: None, unlock: None };
        held.insert(file.id, lease);
        drop(held);
        file.tag.fetch_or(HOLDS_LEASE, Ordering::Relaxed);
        let _ = file.owner.compare_exchange(0, pid, Ordering::Relaxed, Ordering::Relaxed);
        Ok(())
    }

    /// Whether the file is open in a way that the lease is to exclude (`check_conflicting_open`).
    fn is_open_otherwise(&self, file: &File, inode: &dyn Inode, kind: Kind) -> bool {
        let own = (i32::from(file.is_writable()), i32::from(!file.is_writable()));
        // What has no name is not counted, and is open this way only.
        let (writers, readers) = match file.path {
            Some(_) => (inode.ext().writers.load(Ordering::Relaxed), inode.ext().readers.load(Ordering::Relaxed)),
            None => own,
        };
        let writers = writers.saturating_add(self.writers.load(Ordering::Relaxed));
        let readers = readers.saturating_add(self.readers.load(Ordering::Relaxed));
        match kind {
            Kind::Read => writers > 0,
            Kind::Write => (writers, readers) != own,
        }
    }

    fn remove(&self, file: &File) -> bool {
        let was_held = self.held.lock().remove(&file.id).is_some();
        if was_held {
            disown(file);
            self.queue.notify(Events::IN);
        }
        was_held
    }
}

/// With its lease a description loses whom to tell, and how.
fn disown(file: &File) {
    file.tag.fetch_and(!HOLDS_LEASE, Ordering::Relaxed);
    file.owner.store(0, Ordering::Relaxed);
    file.signal.store(0, Ordering::Relaxed);
}

/// Ends the lease of a description that is closed for the last time.
pub(super) fn release(file: &File) {
    let tag = file.tag.load(Ordering::Relaxed);
    if tag & IS_READER != 0
        && let Some(inode) = file.inode()
    {
        inode.ext().readers.fetch_sub(1, Ordering::Relaxed);
    }
    if tag & HOLDS_LEASE != 0
        && let Some(leases) = find(lock::key(file))
    {
        leases.remove(file);
        drop(leases);
        forget(lock::key(file));
    }
}

/// Counts a new description of a regular file that only reads.
pub(super) fn count_reader(file: &File, inode: &dyn Inode) {
    if !file.is_writable() && file.tag.fetch_or(IS_READER, Ordering::Relaxed) & IS_READER == 0 {
        inode.ext().readers.fetch_add(1, Ordering::Relaxed);
    }
}

/// The lines of `/proc/locks`, without their numbers.
pub(super) fn describe() -> Vec<String> {
    let all: Vec<(Key, Arc<Leases>)> =
        LEASES.lock().iter().flatten().map(|(key, leases)| (*key, leases.clone())).collect();
    let mut lines = Vec::new();
    for ((dev, ino), leases) in all {
        for lease in leases.held.lock().values() {
            let is_broken = lease.unlock.is_some() || lease.downgrade.is_some();
            let state = if is_broken { "BREAKING " } else { "ACTIVE   " };
            let kind = lease.target().map_or("UNLCK", |kind| if kind == Kind::Read { "READ" } else { "WRITE" });
            let (major, minor) = (libc::major(dev), libc::minor(dev));
            lines.push(format!("LEASE  {state} {kind} {} {major:02x}:{minor:02x}:{ino} 0 EOF", lease.pid));
        }
    }
    lines
}
