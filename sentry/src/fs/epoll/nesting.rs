//! Epolls that watch epolls: no loops, no deep chains, no wide trees.

use super::{Core, Epoll};
use crate::errno::{Errno, SysResult};
use crate::sync::{Mutex, MutexGuard};
use std::collections::HashMap;
use std::sync::{Arc, Weak};

/// How many epolls an event may pass on its way up (`EP_MAX_NESTS`).
const MAX_NESTS: usize = 4;
/// How many epolls may watch one epoll. Linux bounds the number of paths; either keeps one event from
/// causing wake-ups without end.
const MAX_WATCHERS: usize = 16;

static LOCK: Mutex<()> = Mutex::new(());

/// Whether `core` may watch `target`: `ELOOP` or `EINVAL` if not. No other nesting changes while the guard lives.
pub(super) fn check(core: &Arc<Core>, target: &Arc<Core>) -> SysResult<MutexGuard<'static, ()>> {
    let guard = LOCK.lock();
    let below = depth_below(target, core, &mut HashMap::new()).ok_or(Errno::LOOP)?;
    let above = depth_above(core, &mut HashMap::new());
    if below + 1 + above > MAX_NESTS {
        return Err(Errno::LOOP);
    }
    let watchers = target.file.get().and_then(Weak::upgrade).map_or(0, |file| file.links.len());
    if watchers >= MAX_WATCHERS {
        return Err(Errno::INVAL);
    }
    Ok(guard)
}

fn id(core: &Arc<Core>) -> usize {
    Arc::as_ptr(core) as usize
}

/// Length of the longest chain of epolls that `core` watches; `None` if `goal` is among them.
fn depth_below(core: &Arc<Core>, goal: &Arc<Core>, known: &mut HashMap<usize, usize>) -> Option<usize> {
    if Arc::ptr_eq(core, goal) {
        return None;
    }
    if let Some(depth) = known.get(&id(core)) {
        return Some(*depth);
    }
    let items: Vec<_> = core.inner.lock().items.values().cloned().collect();
    let mut depth = 0;
    for item in items {
        let Some(file) = item.file() else { continue };
        if let Some(child) = file.downcast::<Epoll>() {
            depth = depth.max(1 + depth_below(&child.core, goal, known)?);
        }
    }
    known.insert(id(core), depth);
    Some(depth)
}

/// Length of the longest chain of epolls that watch `core`.
fn depth_above(core: &Arc<Core>, known: &mut HashMap<usize, usize>) -> usize {
    if let Some(depth) = known.get(&id(core)) {
        return *depth;
    }
    let file = core.file.get().and_then(Weak::upgrade);
    let parents = file.map(|file| file.links.watchers()).unwrap_or_default();
    let depth = parents.iter().map(|parent| 1 + depth_above(parent, known)).max().unwrap_or(0);
    known.insert(id(core), depth);
    depth
}
