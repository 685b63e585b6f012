//! `prctl(2)` and `personality(2)`.

use crate::errno::{Errno, SysResult};
use crate::kernel::{CAP_ALL, Cap, Creds, Task};
use crate::mm::Addr;
use std::sync::atomic::Ordering;

/// `prctl(2)`.
///
/// # Differences from Linux
/// Operations on the machine (`PR_SET_MM`, speculation, tagged addresses, core scheduling…) are `EINVAL`, as on a
/// kernel built without them.
pub async fn prctl(t: &Task, op: i32, a: u64, b: u64, c: u64, d: u64) -> SysResult {
    let creds = t.creds();
    match op {
        libc::PR_SET_NAME => {
            /// `TASK_COMM_LEN`.
            const LEN: usize = 16;
            let mut name = [0u8; LEN];
            let got = t.mem().read_partial(Addr(a), &mut name)?;
            let name = name.get(..got.min(LEN - 1)).unwrap_or_default();
            t.set_comm(name.split(|b| *b == 0).next().unwrap_or_default());
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
        // Whether other guests may look into it is a matter of the sentry; on the host it always may.
        libc::PR_GET_DUMPABLE => Ok(1),
        libc::PR_SET_DUMPABLE if a > 1 => Err(Errno::INVAL),
        libc::PR_SET_DUMPABLE => Ok(0),
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
            const DEFAULT: u64 = 50_000;
            t.timer_slack.store(if a == 0 { DEFAULT } else { a }, Ordering::Relaxed);
            Ok(0)
        }
        libc::PR_GET_TIMERSLACK => Ok(t.timer_slack.load(Ordering::Relaxed) as i64),
        libc::PR_GET_TID_ADDRESS => {
            t.mem().write(Addr(a), &t.clear_child_tid.load(Ordering::Relaxed))?;
            Ok(0)
        }
        libc::PR_GET_SECCOMP => Ok(0),
        libc::PR_GET_TSC => {
            t.mem().write(Addr(a), &libc::PR_TSC_ENABLE)?;
            Ok(0)
        }
        libc::PR_GET_TIMING => Ok(0),
        libc::PR_SET_TIMING if a == 0 => Ok(0),
        libc::PR_MCE_KILL_GET => Ok(2),
        libc::PR_GET_THP_DISABLE => Ok(0),
        libc::PR_SET_VMA => name_vma(a),
        _ => Err(Errno::INVAL),
    }
}

const LAST_CAP: u64 = Cap::CheckpointRestore as u64;
const KEEP_CAPS: u32 = 1 << 4;
const KEEP_CAPS_LOCKED: u32 = 1 << 5;
const NO_CAP_AMBIENT_RAISE: u32 = 1 << 6;

/// `PR_SET_VMA_ANON_NAME` gives mappings names that only people read: as a kernel built without it.
fn name_vma(_what: u64) -> SysResult {
    Err(Errno::INVAL)
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
