//! What each container of a sandbox has for itself, though all are served by one sentry: the size of the machine, IPC,
//! kernel parameters, terminals. (What its processes are, see [`Kernel`](super::Kernel); files, its mount namespace.)
//!
//! Code that no task is passed to finds the container of the task that is running on its thread. Nearly all sandboxes
//! hold one container, and then there is nothing to find.

use super::machine::Machine;
use crate::fs::devpts::Instance;
use crate::fs::proc;
use crate::ipc::IpcNamespace;
use crate::sync::RwLock;
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// A container's own.
#[derive(Debug, Default)]
pub struct Container {
    /// What it sees of the machine.
    pub machine: Machine,
    /// Its IPC objects; containers may share them.
    pub ipc: Arc<IpcNamespace>,
    /// `linux.sysctl`.
    pub sysctls: proc::Given,
    /// The `devpts` that was mounted first.
    pub terminals: OnceLock<Arc<Instance>>,
}

/// The sandbox's first.
static FIRST: RwLock<Option<Arc<Container>>> = RwLock::new(None);
/// There has been more than one.
static SEVERAL: AtomicBool = AtomicBool::new(false);

thread_local! {
    static CURRENT: RefCell<Option<Arc<Container>>> = const { RefCell::new(None) };
}

impl Container {
    /// Makes it known: from now on it may be the current one.
    pub fn begin(self) -> Arc<Container> {
        let new = Arc::new(self);
        let mut first = FIRST.write();
        match *first {
            Some(_) => SEVERAL.store(true, Ordering::Relaxed),
            None => *first = Some(new.clone()),
        }
        new
    }

    /// That of the task that this thread runs, or the first.
    pub fn current() -> Arc<Container> {
        let own = SEVERAL.load(Ordering::Relaxed).then(|| CURRENT.with_borrow(Clone::clone)).flatten();
        own.or_else(|| FIRST.read().clone()).unwrap_or_default()
    }

    /// Does something for it.
    pub fn within<T>(self: &Arc<Self>, act: impl FnOnce() -> T) -> T {
        if !SEVERAL.load(Ordering::Relaxed) {
            return act();
        }
        /// What was current before is so again at the end, whichever way that comes.
        struct Restore(Option<Arc<Container>>);
        impl Drop for Restore {
            fn drop(&mut self) {
                CURRENT.set(self.0.take());
            }
        }
        let _restore = Restore(CURRENT.replace(Some(self.clone())));
        act()
    }

    /// Has it be the current one whenever a future runs.
    pub async fn scope<T>(self: Arc<Self>, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        poll_fn(|cx| self.within(|| future.as_mut().poll(cx))).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_finds_its_own() {
        let [a, b] = [1, 2].map(|id| {
            let machine = Machine { uid_map: vec![(0, id, 1)], ..Machine::default() };
            Container { machine, ..Container::default() }.begin()
        });
        let seen = |container: &Arc<Container>| container.within(|| Container::current().machine.uid_map.clone());
        assert_eq!((seen(&a), seen(&b)), (vec![(0, 1, 1)], vec![(0, 2, 1)]));
        assert_eq!(a.within(|| seen(&b)), vec![(0, 2, 1)]);
    }
}
