//! `ioprio_get(2)`, `ioprio_set(2)`: kept and told; the host's disks are not scheduled by guests.

use super::sched::{target, targets};
use crate::errno::{Errno, SysResult};
use crate::kernel::{Cap, Task};
use std::sync::Arc;

const CLASS_NONE: u16 = 0;
const CLASS_REALTIME: u16 = 1;
const CLASS_BEST_EFFORT: u16 = 2;
const CLASS_IDLE: u16 = 3;
/// The level that best effort starts with (`IOPRIO_BE_NORM`).
const NORMAL: u16 = 4;
/// What `which` may be; `getpriority(2)` counts the same from zero.
const WHO_PROCESS: i32 = 1;
const WHO_USER: i32 = 3;

fn class(ioprio: u16) -> u16 {
    ioprio >> 13
}

fn of(t: &Task, which: i32, who: i32) -> SysResult<Vec<Arc<Task>>> {
    match which {
        WHO_PROCESS => Ok(vec![target(t, who).map_err(|_| Errno::SRCH)?]),
        2..=WHO_USER => targets(t, which - WHO_PROCESS, who),
        _ => Err(Errno::INVAL),
    }
}

/// Whether the caller may ask for this priority.
pub(super) fn check(t: &Task, ioprio: i32) -> SysResult<u16> {
    /// Class, hint and level.
    const MASK: i32 = 0xffff;
    let value = (ioprio & MASK) as u16;
    let creds = t.creds();
    match (ioprio & !MASK == 0).then_some(class(value)) {
        Some(CLASS_REALTIME) if !creds.has(Cap::SysAdmin) && !creds.has(Cap::SysNice) => Err(Errno::PERM),
        Some(CLASS_NONE) if value & 7 != 0 => Err(Errno::INVAL),
        Some(CLASS_NONE | CLASS_REALTIME | CLASS_BEST_EFFORT | CLASS_IDLE) => Ok(value),
        _ => Err(Errno::INVAL),
    }
}

/// `ioprio_set(2)`.
pub async fn ioprio_set(t: &Task, which: i32, who: i32, ioprio: i32) -> SysResult<()> {
    let value = check(t, ioprio)?;
    let creds = t.creds();
    for task in of(t, which, who)? {
        let its = task.creds();
        if its.uid != creds.euid && its.uid != creds.uid && !creds.has(Cap::SysNice) {
            return Err(Errno::PERM);
        }
        task.traits.lock().ioprio = value;
    }
    Ok(())
}

/// `ioprio_get(2)`: of several the most favoured.
pub async fn ioprio_get(t: &Task, which: i32, who: i32) -> SysResult<u32> {
    let all = of(t, which, who)?;
    let values = all.iter().map(|task| task.traits.lock().ioprio);
    let best = if which == WHO_PROCESS {
        values.min()
    } else {
        // None said is as good as the middle of best effort.
        let said = |v| if class(v) == CLASS_NONE { CLASS_BEST_EFFORT << 13 | NORMAL } else { v };
        values.map(said).min()
    };
    best.map(u32::from).ok_or(Errno::SRCH)
}
