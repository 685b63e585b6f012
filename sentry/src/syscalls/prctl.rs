//! `prctl(2)` and `personality(2)`.

use crate::errno::{Errno, SysResult};
use crate::kernel::traits::{MCE_KILL_DEFAULT, PR_SET_MDWE};
use crate::kernel::{CAP_ALL, Cap, Creds, Outcome, Task};
use crate::mm::Addr;
use platform::Call;
use std::sync::atomic::Ordering;

/// `prctl(2)`.
///
/// # Differences from Linux
/// `PR_SET_MM`, `PR_SET_SYSCALL_USER_DISPATCH`, `PR_SCHED_CORE` and merging of pages are `EINVAL`, as on a kernel
/// built without them; speculation and the time stamp counter cannot be switched.
pub async fn prctl(t: &Task, op: i32, a: u64, b: u64, c: u64, d: u64) -> SysResult {
    let creds = t.creds();
    match op {
        libc::PR_SET_NAME => {
            /// `TASK_COMM_LEN`.
            const LEN: usize = 16;
            let mut name = [0u8; LEN - 1];
            let got = t.mem().read_partial(Addr(a), &mut name)?;
            let end = name.get(..got).and_then(|name| name.iter().position(|b| *b == 0));
            if end.is_none() && got < name.len() {
                return Err(Errno::FAULT);
            }
            t.set_comm(name.get(..end.unwrap_or(got)).unwrap_or_default());
            Ok(0)
        }
        libc::PR_GET_NAME => {
            let mut name = t.comm();
            name.resize(16, 0);
            t.mem().write_bytes(Addr(a), &name)?;
            Ok(0)
        }
        libc::PR_SET_PDEATHSIG if a > 64 => Err(Errno::INVAL),
        libc::PR_SET_PDEATHSIG => {
            t.pdeath_signal.store(a as i32, Ordering::Relaxed);
            Ok(0)
        }
        libc::PR_GET_PDEATHSIG => {
            t.mem().write(Addr(a), &t.pdeath_signal.load(Ordering::Relaxed))?;
            Ok(0)
        }
        // For other guests; the sentry always may look into its host process.
        libc::PR_GET_DUMPABLE => Ok(t.group.dumpable.get().into()),
        libc::PR_SET_DUMPABLE if a > 1 => Err(Errno::INVAL),
        libc::PR_SET_DUMPABLE => {
            t.group.dumpable.set(a as u8);
            Ok(0)
        }
        libc::PR_GET_KEEPCAPS => Ok(i64::from(creds.securebits & KEEP_CAPS != 0)),
        libc::PR_SET_KEEPCAPS => set_keep_caps(t, &creds, a),
        libc::PR_GET_SECUREBITS => Ok(creds.securebits.into()),
        libc::PR_SET_SECUREBITS => set_securebits(t, &creds, a),
        libc::PR_CAPBSET_READ if a > LAST_CAP => Err(Errno::INVAL),
        libc::PR_CAPBSET_READ => Ok((creds.bounding >> a & 1) as i64),
        libc::PR_CAPBSET_DROP if !creds.has(Cap::Setpcap) => Err(Errno::PERM),
        libc::PR_CAPBSET_DROP if a > LAST_CAP => Err(Errno::INVAL),
        libc::PR_CAPBSET_DROP => {
            t.set_creds(Creds { bounding: creds.bounding & !(1 << a), ..(*creds).clone() });
            Ok(0)
        }
        libc::PR_CAP_AMBIENT => ambient(t, &creds, a, b, c | d),
        libc::PR_SET_NO_NEW_PRIVS if a != 1 || b | c | d != 0 => Err(Errno::INVAL),
        libc::PR_SET_NO_NEW_PRIVS => {
            t.set_creds(Creds { no_new_privs: true, ..(*creds).clone() });
            Ok(0)
        }
        libc::PR_GET_NO_NEW_PRIVS if a | b | c | d != 0 => Err(Errno::INVAL),
        libc::PR_GET_NO_NEW_PRIVS => Ok(creds.no_new_privs.into()),
        libc::PR_SET_CHILD_SUBREAPER => {
            if let Some(node) = t.kernel.tree.lock().node_mut(t.group.tgid) {
                node.subreaper = a != 0;
            }
            Ok(0)
        }
        libc::PR_GET_CHILD_SUBREAPER => {
            let is = t.kernel.tree.lock().node(t.group.tgid).is_some_and(|n| n.subreaper);
            t.mem().write(Addr(a), &i32::from(is))?;
            Ok(0)
        }
        libc::PR_SET_TIMERSLACK => {
            let default = t.traits.lock().default_timer_slack;
            t.timer_slack.store(if a.cast_signed() <= 0 { default } else { a }, Ordering::Relaxed);
            Ok(0)
        }
        libc::PR_GET_TIMERSLACK => Ok(t.timer_slack.load(Ordering::Relaxed) as i64),
        libc::PR_GET_TID_ADDRESS => {
            t.mem().write(Addr(a), &t.clear_child_tid.load(Ordering::Relaxed))?;
            Ok(0)
        }
        libc::PR_GET_SECCOMP => Ok(super::seccomp::prctl_get(t)),
        libc::PR_SET_SECCOMP => super::seccomp::prctl_set(t, a, b).await,
        libc::PR_GET_TSC => {
            t.mem().write(Addr(a), &libc::PR_TSC_ENABLE)?;
            Ok(0)
        }
        // What it is anyway.
        libc::PR_SET_TSC if a == libc::PR_TSC_ENABLE as u64 => Ok(0),
        libc::PR_GET_TIMING => Ok(0),
        libc::PR_SET_TIMING if a == 0 => Ok(0),
        // There are no counters that could be switched.
        libc::PR_TASK_PERF_EVENTS_DISABLE | libc::PR_TASK_PERF_EVENTS_ENABLE => Ok(0),
        libc::PR_MCE_KILL if c | d == 0 => set_mce_kill(t, a, b),
        libc::PR_MCE_KILL_GET if a | b | c | d == 0 => Ok(t.traits.lock().mce_kill.into()),
        PR_SET_IO_FLUSHER | PR_GET_IO_FLUSHER if !creds.has(Cap::SysResource) => Err(Errno::PERM),
        PR_SET_IO_FLUSHER if a < 2 && b | c | d == 0 => {
            t.traits.lock().io_flusher = a == 1;
            Ok(0)
        }
        PR_GET_IO_FLUSHER if a | b | c | d == 0 => Ok(t.traits.lock().io_flusher.into()),
        libc::PR_GET_SPECULATION_CTRL if b | c | d == 0 => speculation(a),
        libc::PR_SET_SPECULATION_CTRL if c | d == 0 => speculation(a).and(Err(Errno::NXIO)),
        libc::PR_SET_MM if !creds.has(Cap::SysResource) => Err(Errno::PERM),
        libc::PR_SET_THP_DISABLE | PR_SET_MDWE => of_memory(t, op, [a, b, c, d]).await,
        libc::PR_GET_THP_DISABLE | PR_GET_MDWE => {
            t.set_outcome(Outcome::Native);
            Ok(0)
        }
        libc::PR_SET_VMA => name_vma(t, a, b, c),
        _ => Err(Errno::INVAL),
    }
}

const PR_SET_IO_FLUSHER: i32 = 57;
const PR_GET_IO_FLUSHER: i32 = 58;
const PR_GET_MDWE: i32 = 66;

/// `PR_MCE_KILL`: no page ever fails here, so that it is only kept.
fn set_mce_kill(t: &Task, op: u64, policy: u64) -> SysResult {
    const CLEAR: u64 = 0;
    const SET: u64 = 1;
    let value = match (op, policy) {
        (CLEAR, 0) => MCE_KILL_DEFAULT,
        (SET, 0..=2) => policy as u8,
        _ => return Err(Errno::INVAL),
    };
    t.traits.lock().mce_kill = value;
    Ok(0)
}

/// `PR_GET_SPECULATION_CTRL`: on, and not for guests to switch.
fn speculation(which: u64) -> SysResult {
    /// Indirect branches and flushing the L1 cache come after the store bypass.
    const LAST: u64 = 2;
    if which > LAST { Err(Errno::NODEV) } else { Ok(i64::from(libc::PR_SPEC_ENABLE)) }
}

/// What the host's kernel does for the process's own memory; a new program gets it too.
async fn of_memory(t: &Task, op: i32, [a, b, c, d]: [u64; 4]) -> SysResult {
    let call = Call { nr: libc::SYS_prctl as u32, args: [op as u64, a, b, c, d, 0] };
    let done = super::mm::run_here(t, &call).await?;
    t.group.memory.note(op, a, b);
    Ok(done)
}

const LAST_CAP: u64 = Cap::CheckpointRestore as u64;
const KEEP_CAPS: u32 = 1 << 4;
const KEEP_CAPS_LOCKED: u32 = 1 << 5;
const NO_CAP_AMBIENT_RAISE: u32 = 1 << 6;

/// `PR_SET_VMA_ANON_NAME` gives mappings names that only people read: the host keeps them.
fn name_vma(t: &Task, what: u64, addr: u64, len: u64) -> SysResult {
    if what != libc::PR_SET_VMA_ANON_NAME as u64 || t.thread().process().is_reserved(addr, len) {
        return Err(Errno::INVAL);
    }
    t.set_outcome(Outcome::Native);
    Ok(0)
}

fn set_keep_caps(t: &Task, creds: &Creds, on: u64) -> SysResult {
    if on > 1 {
        return Err(Errno::INVAL);
    }
    if creds.securebits & KEEP_CAPS_LOCKED != 0 {
        return Err(Errno::PERM);
    }
    let bits = creds.securebits & !KEEP_CAPS | if on == 1 { KEEP_CAPS } else { 0 };
    t.set_creds(Creds { securebits: bits, ..creds.clone() });
    Ok(0)
}

fn set_securebits(t: &Task, creds: &Creds, bits: u64) -> SysResult {
    const ALL: u64 = 0xff;
    let locks = (creds.securebits >> 1) & 0x55;
    let changed = (u64::from(creds.securebits) ^ bits) as u32;
    // Locked bits stay, and locks are never opened.
    let opens_lock = creds.securebits & 0xaa & !(bits as u32) != 0;
    if bits & !ALL != 0 || changed & locks != 0 || opens_lock || !creds.has(Cap::Setpcap) {
        return Err(Errno::PERM);
    }
    t.set_creds(Creds { securebits: bits as u32, ..creds.clone() });
    Ok(0)
}

fn ambient(t: &Task, creds: &Creds, op: u64, cap: u64, rest: u64) -> SysResult {
    const IS_SET: u64 = 1;
    const RAISE: u64 = 2;
    const LOWER: u64 = 3;
    const CLEAR_ALL: u64 = 4;
    if rest != 0 || op == CLEAR_ALL && cap != 0 || op != CLEAR_ALL && cap > LAST_CAP {
        return Err(Errno::INVAL);
    }
    let bit = 1u64.checked_shl(cap as u32).unwrap_or(0) & CAP_ALL;
    let new = match op {
        IS_SET => return Ok(i64::from(creds.ambient & bit != 0)),
        CLEAR_ALL => 0,
        LOWER => creds.ambient & !bit,
        RAISE if creds.permitted & creds.inheritable & bit == 0 || creds.securebits & NO_CAP_AMBIENT_RAISE != 0 => {
            return Err(Errno::PERM);
        }
        RAISE => creds.ambient | bit,
        _ => return Err(Errno::INVAL),
    };
    t.set_creds(Creds { ambient: new, ..creds.clone() });
    Ok(0)
}

/// `personality(2)`: recorded and read back; only the execution domain of Linux exists.
pub async fn personality(t: &Task, persona: u32) -> SysResult<u32> {
    const QUERY: u32 = 0xffff_ffff;
    let old = t.personality.load(Ordering::Relaxed);
    if persona != QUERY {
        t.personality.store(persona, Ordering::Relaxed);
    }
    Ok(old)
}
