//! Pending signals as data (`signalfd(2)`).

use crate::errno::{Errno, SysResult};
use crate::executor::{Events, WaitQueue};
use crate::fs::{File, FileOps};
use crate::kernel::signal::{SigInfo, SigSet};
use crate::kernel::{Task, ThreadGroup};
use crate::sync::Mutex;
use std::any::Any;
use std::sync::{Arc, Weak};
use zerocopy::{Immutable, IntoBytes};

/// `struct signalfd_siginfo`.
#[derive(Debug, Clone, Copy, Default, IntoBytes, Immutable)]
#[repr(C)]
pub struct SignalfdSiginfo {
    signo: u32,
    errno: i32,
    code: i32,
    pid: i32,
    uid: u32,
    fd: i32,
    tid: u32,
    band: u32,
    overrun: i32,
    trapno: u32,
    status: i32,
    int: i32,
    ptr: u64,
    utime: u64,
    stime: u64,
    addr: u64,
    addr_lsb: u16,
    pad2: u16,
    syscall: i32,
    call_addr: u64,
    arch: u32,
    pad: [u8; 28],
}

impl From<&SigInfo> for SignalfdSiginfo {
    fn from(info: &SigInfo) -> SignalfdSiginfo {
        let base =
            SignalfdSiginfo { signo: info.signo as u32, errno: info.errno, code: info.code, ..Default::default() };
        let sender = SignalfdSiginfo { pid: info.pid(), uid: info.uid(), ..base };
        match (info.signo, info.code) {
            (_, libc::SI_TIMER) => SignalfdSiginfo {
                tid: info.field_i32(0) as u32,
                overrun: info.field_i32(4),
                ptr: info.field_u64(8),
                int: info.field_i32(8),
                ..base
            },
            (libc::SIGCHLD, 1..) => SignalfdSiginfo {
                status: info.field_i32(8),
                utime: info.field_u64(16),
                stime: info.field_u64(24),
                ..sender
            },
            (libc::SIGSEGV | libc::SIGBUS | libc::SIGFPE | libc::SIGILL | libc::SIGTRAP, 1..) => {
                SignalfdSiginfo { addr: info.field_u64(0), ..base }
            }
            (_, code) if code < 0 && code != libc::SI_TKILL => {
                SignalfdSiginfo { ptr: info.field_u64(8), int: info.field_i32(8), ..sender }
            }
            (libc::SIGIO, 1..) => SignalfdSiginfo { band: info.field_i32(0) as u32, fd: info.field_i32(8), ..base },
            _ => sender,
        }
    }
}

/// A set of signals to read, as a file.
///
/// Reading takes the signals of whoever reads. Readiness is that of the process that made it.
#[derive(Debug)]
pub struct SignalFd {
    mask: Mutex<SigSet>,
    maker: Weak<Task>,
    group: Arc<ThreadGroup>,
}

impl SignalFd {
    /// An open description that reads the signals of `mask`.
    pub fn open(t: &Task, mask: SigSet, flags: i32) -> Arc<File> {
        let maker = t.arc().map(|task| Arc::downgrade(&task)).unwrap_or_default();
        let signals = SignalFd { mask: Mutex::new(mask), maker, group: t.group.clone() };
        File::anonymous(signals, flags | libc::O_RDWR)
    }

    /// Reads other signals from now on.
    pub fn set_mask(&self, mask: SigSet) {
        *self.mask.lock() = mask;
        self.group.signal_wait.notify(Events::IN);
    }

    /// Takes a signal of `t`; `EAGAIN` if none is pending.
    pub fn take(&self, t: &Task) -> SysResult<SignalfdSiginfo> {
        let mask = *self.mask.lock();
        t.take_signal(mask).map(|info| SignalfdSiginfo::from(&info)).ok_or(Errno::AGAIN)
    }
}

impl FileOps for SignalFd {
    fn poll(&self, _: &File) -> Events {
        let pending = match self.maker.upgrade() {
            Some(task) => task.pending_signals(),
            None => self.group.pending.lock().set(),
        };
        if pending.and(*self.mask.lock()).is_empty() { Events::empty() } else { Events::IN }
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.group.signal_wait)
    }

    fn ignores_seek(&self) -> bool {
        true
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn describe(&self) -> String {
        "anon_inode:[signalfd]".into()
    }

    fn fdinfo(&self) -> String {
        format!("sigmask:\t{:016x}\n", self.mask.lock().0)
    }
}
