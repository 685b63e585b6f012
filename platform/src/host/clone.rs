//! `clone(2)` of a process into new namespaces.
//!
//! Invariant: only called while the process has one thread, so that the child finds no lock taken by a thread
//! that it does not have.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

bitflags::bitflags! {
    /// Namespaces of the child that are not its parent's.
    #[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
    pub struct Namespaces: i32 {
        /// User and group ids, capabilities.
        const USER = libc::CLONE_NEWUSER;
        /// Process ids.
        const PID = libc::CLONE_NEWPID;
        /// Mounts.
        const MOUNT = libc::CLONE_NEWNS;
        /// Network.
        const NET = libc::CLONE_NEWNET;
        /// System V IPC and message queues.
        const IPC = libc::CLONE_NEWIPC;
        /// Host name.
        const UTS = libc::CLONE_NEWUTS;
        /// The root of cgroups.
        const CGROUP = libc::CLONE_NEWCGROUP;
    }
}

/// What [`clone`] returns, twice.
#[derive(Debug)]
pub enum Clone {
    /// In the parent: the child.
    Parent {
        /// Its id.
        pid: i32,
        /// A descriptor of it.
        pidfd: OwnedFd,
    },
    /// In the child.
    Child,
}

/// Makes a child with a copy of the memory and of the descriptors, in new namespaces.
pub fn clone(namespaces: Namespaces) -> io::Result<Clone> {
    let threads = std::fs::read_dir("/proc/self/task")?.count();
    if threads != 1 {
        return Err(io::Error::other("cannot clone a process with more than one thread"));
    }
    let mut pidfd: libc::c_int = -1;
    let flags = namespaces.bits() | libc::CLONE_PIDFD | libc::SIGCHLD;
    // SAFETY: without CLONE_VM the child has its own memory and stack, as after fork(2); there is one thread,
    // so no lock is held by another. `pidfd` lives across the call.
    let pid = unsafe { libc::syscall(libc::SYS_clone, i64::from(flags), 0, &raw mut pidfd, 0, 0) };
    match pid {
        0 => Ok(Clone::Child),
        // SAFETY: the kernel has just stored a new descriptor there, which nobody else knows.
        1.. => Ok(Clone::Parent { pid: pid as i32, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } }),
        _ => Err(io::Error::last_os_error()),
    }
}
