//! `seccomp(2)`.

use crate::errno::{Errno, SysResult};
use crate::kernel::{Cap, Task};
use crate::mm::Addr;
use crate::seccomp::bpf::{INSTRUCTIONS_MAX, Instruction};
use crate::seccomp::{self, Mode, Options};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// `struct sock_fprog`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Fprog {
    len: u16,
    pad: [u16; 3],
    filter: u64,
}

const TSYNC: u32 = libc::SECCOMP_FILTER_FLAG_TSYNC as u32;
const LOG: u32 = libc::SECCOMP_FILTER_FLAG_LOG as u32;
const SPEC_ALLOW: u32 = libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW as u32;
const NEW_LISTENER: u32 = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER as u32;
const TSYNC_ESRCH: u32 = libc::SECCOMP_FILTER_FLAG_TSYNC_ESRCH as u32;
const WAIT_KILLABLE_RECV: u32 = libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV as u32;
const FLAGS: u32 = TSYNC | LOG | SPEC_ALLOW | NEW_LISTENER | TSYNC_ESRCH | WAIT_KILLABLE_RECV;

/// `seccomp(2)`.
///
/// # Differences from Linux
/// A listener is not asked about calls that the host runs (memory, futexes, clocks): these are `ENOSYS` then.
pub async fn seccomp(t: &Task, op: u32, flags: u32, args: Addr) -> SysResult<i32> {
    match op {
        libc::SECCOMP_SET_MODE_STRICT if flags != 0 || !args.is_null() => Err(Errno::INVAL),
        libc::SECCOMP_SET_MODE_STRICT => seccomp::set_strict(t).await.map(|()| 0),
        libc::SECCOMP_SET_MODE_FILTER => set_filter(t, flags, args).await,
        libc::SECCOMP_GET_ACTION_AVAIL if flags != 0 => Err(Errno::INVAL),
        libc::SECCOMP_GET_ACTION_AVAIL => action_available(t.mem().read(args)?),
        libc::SECCOMP_GET_NOTIF_SIZES if flags != 0 => Err(Errno::INVAL),
        libc::SECCOMP_GET_NOTIF_SIZES => t.mem().write(args, &seccomp::notify::SIZES).map(|()| 0),
        _ => Err(Errno::INVAL),
    }
}

fn action_available(action: u32) -> SysResult<i32> {
    match action {
        libc::SECCOMP_RET_KILL_PROCESS
        | libc::SECCOMP_RET_KILL_THREAD
        | libc::SECCOMP_RET_TRAP
        | libc::SECCOMP_RET_ERRNO
        | libc::SECCOMP_RET_USER_NOTIF
        | libc::SECCOMP_RET_TRACE
        | libc::SECCOMP_RET_LOG
        | libc::SECCOMP_RET_ALLOW => Ok(0),
        _ => Err(Errno::OPNOTSUPP),
    }
}

async fn set_filter(t: &Task, flags: u32, args: Addr) -> SysResult<i32> {
    let listens = flags & NEW_LISTENER != 0;
    // A thread's id and a descriptor cannot both be the answer.
    let is_ambiguous = listens && flags & TSYNC != 0 && flags & TSYNC_ESRCH == 0;
    if flags & !FLAGS != 0 || is_ambiguous || flags & WAIT_KILLABLE_RECV != 0 && !listens {
        return Err(Errno::INVAL);
    }
    let fprog: Fprog = t.mem().read(args)?;
    let len = usize::from(fprog.len);
    if len == 0 || len > INSTRUCTIONS_MAX {
        return Err(Errno::INVAL);
    }
    let creds = t.creds();
    if !creds.no_new_privs && !creds.has(Cap::SysAdmin) {
        return Err(Errno::ACCES);
    }
    let mut code = vec![Instruction::new_zeroed(); len];
    t.mem().read_bytes(Addr(fprog.filter), code.as_mut_bytes())?;
    let mut options = Options::new(flags & LOG != 0, flags & TSYNC != 0);
    if listens {
        if !t.files().has_room(t.rlimit(libc::RLIMIT_NOFILE)) {
            return Err(Errno::MFILE);
        }
        options.listen(flags & WAIT_KILLABLE_RECV != 0);
    }
    match seccomp::set_filter(t, code, &options).await? {
        tid if tid != 0 && flags & TSYNC_ESRCH != 0 => Err(Errno::SRCH),
        0 => options.listener_file().map_or(Ok(0), |file| t.install(file, true)),
        tid => Ok(tid),
    }
}

/// `PR_SET_SECCOMP`.
pub(super) async fn prctl_set(t: &Task, mode: u64, filter: u64) -> SysResult {
    match mode {
        m if m == u64::from(libc::SECCOMP_MODE_STRICT) => seccomp::set_strict(t).await.map(|()| 0),
        m if m == u64::from(libc::SECCOMP_MODE_FILTER) => set_filter(t, 0, Addr(filter)).await.map(i64::from),
        _ => Err(Errno::INVAL),
    }
}

/// `PR_GET_SECCOMP`.
pub(super) fn prctl_get(t: &Task) -> i64 {
    match t.seccomp.mode() {
        Mode::Disabled => 0,
        Mode::Strict => 1,
        Mode::Filter => 2,
    }
}
