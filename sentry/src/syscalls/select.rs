//! `select(2)` and `pselect6(2)`.

use super::deadline::{Deadline, restarted_without_handler};
use super::poll::{Watched, wait_any};
use crate::abi::{Timespec, Timeval};
use crate::errno::{Errno, SysResult};
use crate::executor::Events;
use crate::fs::fd_table::NR_OPEN;
use crate::kernel::Task;
use crate::mm::Addr;
use std::time::Duration;
use zerocopy::IntoBytes;

/// What makes a descriptor readable, writable or exceptional, as `fs/select.c` has it.
const SETS: [Events; 3] = [
    Events::RDNORM.union(Events::RDBAND).union(Events::IN).union(Events::HUP).union(Events::ERR),
    Events::WRBAND.union(Events::WRNORM).union(Events::OUT).union(Events::ERR),
    Events::PRI,
];

/// `select(2)`: waits for descriptors of three sets.
pub async fn select(t: &Task, n: i32, read: Addr, write: Addr, except: Addr, timeout: Addr) -> SysResult<usize> {
    let deadline = if timeout.is_null() {
        Deadline::Never
    } else {
        let Timeval { sec, usec } = t.mem().read(timeout)?;
        Deadline::after(lenient_duration(sec, usec)?)
    };
    let found = do_select(t, n, [read, write, except], deadline).await;
    if let Some(left) = deadline.remaining() {
        let _ = t.mem().write_opt(timeout, &Timeval::from(left));
    }
    found
}

/// `pselect6(2)`: as `select`, in nanoseconds, with another signal mask meanwhile: `mask` points to a pointer and a size.
pub async fn pselect6(
    t: &Task,
    n: i32,
    read: Addr,
    write: Addr,
    except: Addr,
    timeout: Addr,
    mask: Addr,
) -> SysResult<usize> {
    let [mask, size] = if mask.is_null() { [0, 0] } else { t.mem().read::<[u64; 2]>(mask)? };
    let deadline = if timeout.is_null() {
        Deadline::Never
    } else {
        Deadline::after(t.mem().read::<Timespec>(timeout)?.to_duration()?)
    };
    super::sigmask::set_temporary(t, Addr(mask), size as usize)?;
    let found = do_select(t, n, [read, write, except], deadline).await;
    if let Some(left) = deadline.remaining() {
        let _ = t.mem().write_opt(timeout, &Timespec::from(left));
    }
    super::sigmask::restore(t, found)
}

/// `select` takes microseconds beyond a second.
fn lenient_duration(sec: i64, usec: i64) -> SysResult<Duration> {
    let carried = sec.checked_add(usec / 1_000_000).ok_or(Errno::INVAL)?;
    Timeval { sec: carried, usec: usec % 1_000_000 }.to_duration()
}

/// One descriptor that is in some of the sets.
struct Candidate {
    fd: usize,
    watched: Watched,
    /// In which sets.
    member: [bool; 3],
}

impl Candidate {
    /// In which of its sets it is ready.
    fn ready(&self) -> [bool; 3] {
        let ready = self.watched.ready();
        let mut out = self.member;
        for (out, set) in out.iter_mut().zip(SETS) {
            *out &= ready.intersects(set);
        }
        out
    }
}

async fn do_select(t: &Task, n: i32, addrs: [Addr; 3], deadline: Deadline) -> SysResult<usize> {
    let n = usize::try_from(n).map_err(|_| Errno::INVAL)?.min(NR_OPEN as usize);
    let words = n.div_ceil(64);
    let mut sets = [vec![], vec![], vec![]];
    for (set, addr) in sets.iter_mut().zip(addrs) {
        *set = if addr.is_null() { vec![0u64; words] } else { t.mem().read_array(addr, words)? };
    }
    let candidates = candidates(t, n, &sets)?;
    let scan = || candidates.iter().flat_map(Candidate::ready).filter(|ready| *ready).count();
    let found = wait_any(t, candidates.iter().map(|c| &c.watched), deadline, scan).await;
    let found = found.map_err(restarted_without_handler)?;
    for set in &mut sets {
        set.fill(0);
    }
    if found > 0 {
        mark_ready(&candidates, &mut sets);
    }
    for (set, addr) in sets.iter().zip(addrs) {
        if !addr.is_null() {
            t.mem().write_bytes(addr, set.as_bytes())?;
        }
    }
    Ok(sets.iter().flatten().map(|word| word.count_ones() as usize).sum())
}

/// The descriptors below `n` that are in any set; `EBADF` if one is not open.
fn candidates(t: &Task, n: usize, sets: &[Vec<u64>; 3]) -> SysResult<Vec<Candidate>> {
    let mut found = Vec::new();
    for at in 0..n.div_ceil(64) {
        let words = sets.each_ref().map(|set| set.get(at).copied().unwrap_or(0));
        let mut any = words.iter().fold(0, |all, word| all | word);
        while any != 0 {
            let bit = any.trailing_zeros();
            any &= any - 1;
            let fd = at * 64 + bit as usize;
            if fd >= n {
                break;
            }
            let member = words.map(|word| word >> bit & 1 != 0);
            let asked = member.iter().zip(SETS).filter(|(member, _)| **member);
            let wanted = asked.fold(Events::ALWAYS, |all, (_, set)| all | set);
            found.push(Candidate { fd, watched: Watched { file: t.file(fd as i32)?, wanted }, member });
        }
    }
    Ok(found)
}

fn mark_ready(candidates: &[Candidate], sets: &mut [Vec<u64>; 3]) {
    for candidate in candidates {
        for (set, ready) in sets.iter_mut().zip(candidate.ready()) {
            if let (true, Some(word)) = (ready, set.get_mut(candidate.fd / 64)) {
                *word |= 1 << (candidate.fd % 64);
            }
        }
    }
}
