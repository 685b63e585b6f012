//! Structures that cross the border to guests, in the layout of x86-64 Linux.
//!
//! Constants come from `libc`; structures are our own, for they need `zerocopy`'s guarantees.

mod aio;
mod fs;
mod ipc;
mod poll;
pub mod process;
mod socket;
mod stat;
mod termios;
mod time;

pub use aio::{AioRing, AioSigset, IoEvent, Iocb};
pub use fs::{FOwnerEx, Flock, Iovec, MountAttr, OpenHow, Ustat, Utimbuf, XattrArgs};
pub use ipc::{IpcPerm, MqAttr, Msginfo, MsqidDs, Sembuf, SemidDs, Seminfo, ShmUse, ShmidDs, Shminfo};
pub use poll::{EpollEvent, PollFd};
pub use process::{CloneArgsAbi, Rusage, SCHED_ATTR_SIZE_VER0, SchedAttr, read_extensible};
pub use socket::{Cmsghdr, Ifconf, Ifreq, Mmsghdr, Msghdr};
pub use stat::{Stat, Statfs, Statx, StatxTimestamp};
pub use termios::{NCCS, Termio, Termios, Termios2, Winsize};
pub use time::{Timespec, Timeval, Timex};
