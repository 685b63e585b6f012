//! Smaller files of a process that programs read now and then.

use super::process::Subject;
use super::status::{escaped, set_oom_score_adj};
use crate::errno::{Errno, SysResult};
use crate::fs::pseudo::Reader;
use crate::kernel::{Cap, Task};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// `oom_adj` goes from -17 to 15, `oom_score_adj` from -1000 to 1000.
const OOM_DISABLE: i32 = -17;
const OOM_MAX: i32 = 15;
const SCORE_MAX: i32 = 1000;

/// `oom_adj`, the elder scale of `oom_score_adj`.
pub(super) fn oom_adj(_: &Reader, subject: &Subject) -> SysResult<Vec<u8>> {
    let score = subject.group.oom_score_adj.load(Ordering::Relaxed);
    let adj = if score == SCORE_MAX { OOM_MAX } else { score * -OOM_DISABLE / SCORE_MAX };
    Ok(format!("{adj}\n").into_bytes())
}

/// `oom_adj`, written.
pub(super) fn set_oom_adj(reader: &Reader, subject: &Subject, data: &[u8]) -> SysResult<()> {
    let text = std::str::from_utf8(data).map_err(|_| Errno::INVAL)?;
    let adj: i32 = text.trim().parse().map_err(|_| Errno::INVAL)?;
    if !(OOM_DISABLE..=OOM_MAX).contains(&adj) {
        return Err(Errno::INVAL);
    }
    let score = if adj == OOM_MAX { SCORE_MAX } else { adj * SCORE_MAX / -OOM_DISABLE };
    set_oom_score_adj(reader, subject, score.to_string().as_bytes())
}

/// `mountstats`.
pub(super) fn mountstats(_: &Reader, subject: &Subject) -> SysResult<Vec<u8>> {
    let fs = subject.task()?.fs();
    let mut text = Vec::new();
    for mount in fs.namespace().list(&fs.root()) {
        text.extend_from_slice(b"device ");
        text.extend(escaped(mount.source.as_bytes()));
        text.extend_from_slice(b" mounted on ");
        text.extend(escaped(&mount.point));
        text.extend(format!(" with fstype {}\n", mount.fstype).into_bytes());
    }
    Ok(text)
}

/// `schedstat`: time on a processor, time waiting for one (not known), turns.
pub(super) fn schedstat(_: &Reader, subject: &Subject) -> SysResult<Vec<u8>> {
    let usage = subject.group.usage();
    Ok(format!("{} 0 {}\n", usage.utime + usage.stime, usage.nvcsw + usage.nivcsw).into_bytes())
}

/// Whose slack is shown: one's own, or with `CAP_SYS_NICE` any.
fn with_slack(reader: &Reader, subject: &Subject) -> SysResult<Arc<Task>> {
    let task = subject.task()?;
    let may = Arc::ptr_eq(&task, &reader.task) || reader.task.creds().has(Cap::SysNice);
    if may { Ok(task) } else { Err(Errno::PERM) }
}

/// `timerslack_ns`.
pub(super) fn timer_slack(reader: &Reader, subject: &Subject) -> SysResult<Vec<u8>> {
    let slack = with_slack(reader, subject)?.timer_slack.load(Ordering::Relaxed);
    Ok(format!("{slack}\n").into_bytes())
}

/// `timerslack_ns`, written; 0 is the default.
pub(super) fn set_timer_slack(reader: &Reader, subject: &Subject, data: &[u8]) -> SysResult<()> {
    let text = std::str::from_utf8(data).map_err(|_| Errno::INVAL)?;
    let value: u64 = text.trim().parse().map_err(|_| Errno::INVAL)?;
    let task = with_slack(reader, subject)?;
    let default = task.traits.lock().default_timer_slack;
    task.timer_slack.store(if value == 0 { default } else { value }, Ordering::Relaxed);
    Ok(())
}
