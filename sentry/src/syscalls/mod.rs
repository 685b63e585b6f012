//! The system calls, one short function each, in files named after their man-page neighbourhood.

pub mod aio;
pub mod at;
pub mod cachestat;
pub mod cred;
pub mod deadline;
pub mod dir;
pub mod epoll;
pub mod eventfd;
pub mod fd;
pub mod futex;
mod futex_pi;
pub mod handle;
pub mod host;
pub mod ids;
pub mod inotify;
pub mod inspect;
pub mod ioctl;
pub mod ioprio;
pub mod iovec;
pub mod keys;
pub mod link;
pub mod lock;
pub mod mm;
pub mod mount;
pub mod mount_fd;
pub mod mqueue;
pub mod numa;
pub mod open;
mod pair;
pub mod perm;
pub mod pipe;
pub mod poll;
pub mod prctl;
pub mod process;
pub mod resource;
pub mod rw;
pub mod sched;
pub mod seccomp;
mod seekable;
pub mod select;
mod sigmask;
pub mod signal;
pub mod signalfd;
pub mod size;
pub mod socket;
mod socket_control;
pub mod socket_mmsg;
pub mod socket_msg;
pub mod socket_opt;
pub mod splice;
pub mod stat;
pub mod system;
pub mod sysv_msg;
pub mod sysv_sem;
pub mod sysv_shm;
pub mod time;
pub mod timerfd;
pub mod unshare;
pub mod wait;
pub mod xattr;

use crate::errno::{Errno, SysResult};
use crate::kernel::Task;
use crate::mm::Addr;

/// Makes a typed argument of a register.
pub trait FromArg {
    /// Truncates as the kernel's `SYSCALL_DEFINE` does.
    fn from_arg(value: u64) -> Self;
}

macro_rules! from_arg {
    ($($t:ty),*) => { $(impl FromArg for $t {
        fn from_arg(value: u64) -> $t {
            value as $t
        }
    })* };
}
from_arg!(i32, u32, i64, u64, usize, u16);

impl FromArg for Addr {
    fn from_arg(value: u64) -> Addr {
        Addr(value)
    }
}

/// What a handler may return.
pub trait IntoRet {
    /// The value for `rax`.
    fn into_ret(self) -> i64;
}

macro_rules! into_ret {
    ($($t:ty),*) => { $(impl IntoRet for $t {
        fn into_ret(self) -> i64 {
            self as i64
        }
    })* };
}
into_ret!(i32, u32, i64, u64, usize);

impl IntoRet for () {
    fn into_ret(self) -> i64 {
        0
    }
}

macro_rules! dispatcher {
    ($( $nr:literal $name:ident [$($arg:ident)*] $support:ident ($($handler:path)?) $note:literal; )*) => {
        /// Runs the call `nr` for `t`.
        pub async fn dispatch(t: &Task, nr: u32, args: [u64; 6]) -> SysResult {
            match nr {
                $( $nr => dispatcher!(@call t, args, [$($arg)*] $($handler)?), )*
                _ => Err(Errno::NOSYS),
            }
        }
    };
    (@call $t:ident, $args:ident, [$($arg:ident)*] $handler:path) => {{
        let mut args = $args.into_iter();
        let _ = &mut args;
        $handler($t $(, FromArg::from_arg(dispatcher!(@next args $arg)))*).await.map(IntoRet::into_ret)
    }};
    (@call $t:ident, $args:ident, [$($arg:ident)*]) => { unsupported($t, $args) };
    (@next $args:ident $arg:ident) => { $args.next().unwrap_or_default() };
}
syscalls_table::for_each_syscall!(dispatcher);

/// A call that has no handler: `ENOSYS`, and one line in the log.
fn unsupported(t: &Task, args: [u64; 6]) -> SysResult {
    tracing::warn!(tid = t.tid(), ?args, "unsupported system call");
    Err(Errno::NOSYS)
}
