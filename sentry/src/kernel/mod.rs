//! Processes: tasks, thread groups, sessions, credentials, signals.
//!
//! Lock order, outermost first; a lock may be taken while holding those above it, never the other way:
//!
//! - `Kernel::tree` (parentage, process groups, sessions)
//!   - `ThreadGroup::state`
//!     - `ThreadGroup::pending`
//!       - `Task::signals`
//!         - `SigHand::actions`
//!           - a task's small slots (credentials, descriptors, names)
//!
//! None is held across an await or a copy from or to guest memory.

pub mod aio;
mod clone;
pub mod container;
mod creds;
mod exec;
mod exit;
pub(crate) mod group;
mod init;
pub mod inspect;
pub mod io_count;
pub mod keys;
pub mod machine;
pub mod namespaces;
pub mod pi;
pub mod pids;
mod robust;
mod run;
pub mod signal;
pub mod start;
pub mod task;
pub mod timers;
pub mod traits;
pub mod tree;

pub use clone::{CloneArgs, clone};
pub use creds::{CAP_ALL, Cap, CapSet, Creds};
pub use exec::{execve, find_program};
pub use group::{GroupState, Limit, ThreadGroup, Wait};
pub use task::{Outcome, Registration, Task, Work};
pub use traits::{Dumpable, MemoryTraits};
pub use tree::{Node, Tree};

use crate::sync::Mutex;
use container::Container;
use platform::Platform;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::time::{Instant, SystemTime};

/// `uname(2)`, the parts that can change.
#[derive(Debug, Clone, Default)]
pub struct Uts {
    /// Host name.
    pub hostname: Vec<u8>,
    /// NIS domain name.
    pub domainname: Vec<u8>,
}

/// What all tasks of a container share. A sandbox may hold several containers.
#[derive(Debug)]
pub struct Kernel {
    /// Makes and controls guest threads.
    pub platform: Arc<dyn Platform>,
    /// What is the container's own elsewhere.
    pub container: Arc<Container>,
    /// Who descends from whom. Containers that see each other's processes share one.
    pub tree: Arc<Mutex<Tree>>,
    /// How many there are of this container's, and may be.
    pub pids: Arc<pids::Pids>,
    /// The tree was another container's before.
    shares_tree: bool,
    /// The first names of the machine.
    pub uts: Arc<namespaces::UtsNamespace>,
    /// When the sandbox started.
    pub started: Instant,
    /// When the sandbox started, by the calendar.
    pub boot_time: SystemTime,
    /// Futexes with priority inheritance that someone waits for.
    pub pi: pi::PiTable,
    /// Forks since the start, for `/proc/stat`.
    pub forks: AtomicU64,
    /// The process whose end is the end of the container: 1, or 2 if process 1 is the sentry's own, or any if the tree
    /// is another's too.
    pub main: AtomicI32,
}

impl Kernel {
    /// A kernel without processes.
    pub fn new(platform: Arc<dyn Platform>, container: Arc<Container>, uts: Uts) -> Kernel {
        Kernel {
            platform,
            container,
            tree: Arc::default(),
            pids: Arc::default(),
            shares_tree: false,
            uts: namespaces::UtsNamespace::first(uts),
            started: Instant::now(),
            boot_time: SystemTime::now(),
            pi: pi::PiTable::default(),
            forks: AtomicU64::new(0),
            main: AtomicI32::new(1),
        }
    }

    /// Has it share the processes, the names of the machine, or both, of another container. Before it has processes.
    #[must_use]
    pub fn joining(mut self, other: &Kernel, processes: bool, names: bool) -> Kernel {
        if processes {
            (self.tree, self.shares_tree) = (other.tree.clone(), true);
        }
        if names {
            self.uts = other.uts.clone();
        }
        self
    }

    /// Whether a process of the tree is of this container.
    pub fn holds(&self, group: &ThreadGroup) -> bool {
        !self.shares_tree && Arc::strong_count(&self.tree) == 1
            || group.tasks().first().is_some_and(|task| std::ptr::eq(task.kernel.as_ref(), self))
    }

    /// Whether the end of `tgid` is the end of all processes in the tree, too.
    pub(crate) fn is_last_word(&self, tgid: i32) -> bool {
        tgid == self.main.load(Ordering::Relaxed) && !self.shares_tree
    }

    /// Counts a new process or thread.
    pub fn count_fork(&self) {
        self.forks.fetch_add(1, Ordering::Relaxed);
    }

    /// The task with this id.
    pub fn task(&self, tid: i32) -> Option<Arc<Task>> {
        self.tree.lock().task(tid)
    }

    /// The process with this id; zombies included.
    pub fn group(&self, tgid: i32) -> Option<Arc<ThreadGroup>> {
        self.tree.lock().group(tgid)
    }
}
