//! Readiness of descriptors of the host: one thread waits for all of them, in one epoll.

use crate::errno::{Errno, SysResult};
use crate::executor::{self, Events, WaitQueue};
use crate::sync::Mutex;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

/// Events taken at a time.
const BATCH: usize = 64;

/// A descriptor of the host and those who wait for it.
pub struct Watched {
    /// The descriptor.
    pub fd: OwnedFd,
    /// Where its readiness is announced.
    pub queue: WaitQueue,
    /// By which its readiness is told, if it is.
    key: OnceLock<u64>,
}

impl std::fmt::Debug for Watched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Watched({:?})", self.fd)
    }
}

impl Drop for Watched {
    /// Others may have it open: then closing it does not end the watch, and a later descriptor of the same number
    /// could not be watched.
    fn drop(&mut self) {
        if let (Some(key), Ok(events)) = (self.key.get(), HostEvents::get()) {
            let _ = epoll::delete(&events.epoll, &self.fd);
            events.watched.lock().remove(key);
        }
    }
}

impl Watched {
    /// All that can be waited for of what has one kind of data.
    pub const ALL: Events = Watched::INPUT.union(Events::OUT).union(Events::WRNORM).union(Events::WRBAND);
    /// The same without what concerns writing.
    pub const INPUT: Events =
        Events::IN.union(Events::PRI).union(Events::RDHUP).union(Events::RDNORM).union(Events::RDBAND);

    /// A descriptor that nobody watches yet.
    pub fn new(fd: OwnedFd) -> Watched {
        Watched { fd, queue: WaitQueue::new(), key: OnceLock::new() }
    }

    /// What is ready now.
    pub fn ready(&self) -> Events {
        let mut fds = [PollFd::new(&self.fd, PollFlags::from_bits_truncate(Watched::ALL.bits() as u16))];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        if poll(&mut fds, Some(&now)).is_err() {
            return Events::ERR;
        }
        let found = fds.first().map_or(0, |fd| fd.revents().bits());
        Events::from_bits_truncate(found.into())
    }

    /// Has changes of its readiness announced from now on.
    pub fn watch(self: &Arc<Self>, what: Events) -> SysResult<()> {
        HostEvents::get()?.watch(self, what)
    }

    /// The same for something else than before.
    pub fn watch_also(&self, what: Events) -> SysResult<()> {
        let Some(key) = self.key.get() else { return Ok(()) };
        Ok(epoll::modify(&HostEvents::get()?.epoll, &self.fd, EventData::new_u64(*key), edges(what))?)
    }
}

/// Edge-triggered: whoever waits has looked after registering, and is woken by what comes later.
fn edges(what: Events) -> EventFlags {
    EventFlags::from_bits_truncate(what.bits()) | EventFlags::ET
}

/// The thread that waits for readiness of host descriptors.
struct HostEvents {
    epoll: OwnedFd,
    next: AtomicU64,
    watched: Mutex<HashMap<u64, Weak<Watched>>>,
}

impl HostEvents {
    /// The one of this process; the first call starts its thread, or a later one, if the host has no room for it yet.
    fn get() -> SysResult<&'static HostEvents> {
        static EVENTS: OnceLock<HostEvents> = OnceLock::new();
        static STARTING: Mutex<()> = Mutex::new(());
        if let Some(events) = EVENTS.get() {
            return Ok(events);
        }
        let _one = STARTING.lock();
        if EVENTS.get().is_none() {
            let epoll = epoll::create(CreateFlags::CLOEXEC)?;
            std::thread::Builder::new().name("host-io".into()).spawn(|| EVENTS.wait().run())?;
            let _ = EVENTS.set(HostEvents { epoll, next: AtomicU64::new(0), watched: Mutex::default() });
        }
        EVENTS.get().ok_or(Errno::AGAIN)
    }

    fn watch(&self, watched: &Arc<Watched>, what: Events) -> SysResult<()> {
        let key = self.next.fetch_add(1, Ordering::Relaxed);
        let _ = watched.key.set(key);
        self.watched.lock().insert(key, Arc::downgrade(watched));
        match epoll::add(&self.epoll, &watched.fd, EventData::new_u64(key), edges(what)) {
            // Something that is always ready, such as /dev/null.
            Err(rustix::io::Errno::PERM) => Ok(()),
            done => Ok(done?),
        }
    }

    fn run(&self) {
        let mut buffer = Vec::with_capacity(BATCH);
        loop {
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut buffer), None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => {
                    tracing::error!(%e, "no more readiness of host descriptors");
                    return;
                }
            }
            for event in buffer.drain(..) {
                let (data, flags) = (event.data, event.flags);
                let (key, flags) = (data.u64(), flags.bits());
                let watched = self.watched.lock().get(&key).and_then(Weak::upgrade);
                match watched {
                    Some(watched) => watched.queue.notify(Events::from_bits_truncate(flags)),
                    // Closed here but still open outside, or the host would not report it.
                    None => drop(self.watched.lock().remove(&key)),
                }
            }
            executor::run_local();
        }
    }
}
