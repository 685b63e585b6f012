//! Advisory locks: `flock(2)`, and `fcntl(2)`'s locks of ranges.

use crate::abi::Flock;
use crate::errno::{Errno, SysResult};
use crate::executor::Events;
use crate::fs::file::File;
use crate::fs::lock::{self, Owner, Range, Waiting};
use crate::kernel::Task;
use crate::mm::Addr;

/// `flock(2)`.
pub async fn flock(t: &Task, fd: i32, operation: i32) -> SysResult<()> {
    /// Mandatory locks, which Linux no longer has: taken for done.
    const LOCK_MAND: i32 = 32;
    if operation & LOCK_MAND != 0 {
        return Ok(());
    }
    let exclusive = match operation & !libc::LOCK_NB {
        libc::LOCK_UN => None,
        libc::LOCK_SH => Some(false),
        libc::LOCK_EX => Some(true),
        _ => return Err(Errno::INVAL),
    };
    let file = t.file(fd)?;
    let locks = lock::of(&file);
    let Some(exclusive) = exclusive else {
        locks.unlock_whole(file.id);
        return Ok(());
    };
    let attempt = || locks.lock_whole(&file, exclusive, t.group.tgid);
    if operation & libc::LOCK_NB != 0 {
        return attempt();
    }
    t.block_on(&locks.queue, Events::IN, None, attempt).await
}

/// The lock commands of `fcntl(2)`.
pub(super) async fn fcntl_lock(t: &Task, file: &File, cmd: i32, addr: Addr) -> SysResult<()> {
    let is_ofd = matches!(cmd, libc::F_OFD_GETLK | libc::F_OFD_SETLK | libc::F_OFD_SETLKW);
    let flock: Flock = t.mem().read(addr)?;
    if is_ofd && flock.pid != 0 {
        return Err(Errno::INVAL);
    }
    let kind = i32::from(flock.kind);
    let owner = if is_ofd { Owner::Description(file.id) } else { Owner::Process(t.files().id) };
    let (start, last) = range(file, &flock)?;
    let pid = if is_ofd { -1 } else { t.group.tgid };
    let wanted = Range { start, last, exclusive: kind == libc::F_WRLCK, owner, pid };
    match cmd {
        libc::F_GETLK | libc::F_OFD_GETLK => {
            if kind != libc::F_RDLCK && kind != libc::F_WRLCK {
                return Err(Errno::INVAL);
            }
            let found = lock::of(file).conflict(&wanted);
            return t.mem().write(addr, &answer(flock, found));
        }
        _ => {}
    }
    match kind {
        libc::F_RDLCK if !file.is_readable() => Err(Errno::BADF),
        libc::F_WRLCK if !file.is_writable() => Err(Errno::BADF),
        libc::F_UNLCK => {
            lock::of(file).unlock(&wanted);
            Ok(())
        }
        libc::F_RDLCK | libc::F_WRLCK => lock_range(t, file, &wanted, cmd).await,
        _ => Err(Errno::INVAL),
    }
}

async fn lock_range(t: &Task, file: &File, wanted: &Range, cmd: i32) -> SysResult<()> {
    let locks = lock::of(file);
    if matches!(cmd, libc::F_SETLK | libc::F_OFD_SETLK) {
        return locks.lock(file, wanted);
    }
    let mut waiting = None;
    t.block_on(&locks.queue, Events::IN, None, || {
        // The holder may be another one each time.
        waiting = None;
        let done = locks.lock(file, wanted);
        if done == Err(Errno::AGAIN)
            && let (Owner::Process(_), Some(holder)) = (wanted.owner, locks.conflict(wanted))
        {
            waiting = Some(Waiting::new(wanted.owner, holder.owner)?);
        }
        done
    })
    .await
}

/// First and last byte.
fn range(file: &File, flock: &Flock) -> SysResult<(u64, u64)> {
    let base = match i32::from(flock.whence) {
        libc::SEEK_SET => 0,
        libc::SEEK_CUR => file.pos.lock().cast_signed(),
        libc::SEEK_END => file.ops.size()?.cast_signed(),
        _ => return Err(Errno::INVAL),
    };
    let start = base.checked_add(flock.start).ok_or(Errno::OVERFLOW)?;
    if start < 0 {
        return Err(Errno::INVAL);
    }
    let (first, last) = match flock.len {
        0 => (start, None),
        len if len > 0 => (start, Some(start.checked_add(len - 1).ok_or(Errno::OVERFLOW)?)),
        len => (start.checked_add(len).filter(|first| *first >= 0).ok_or(Errno::INVAL)?, Some(start - 1)),
    };
    Ok((first.cast_unsigned(), last.map_or(u64::MAX, i64::cast_unsigned)))
}

fn answer(asked: Flock, found: Option<Range>) -> Flock {
    let Some(found) = found else { return Flock { kind: libc::F_UNLCK as i16, ..asked } };
    let len = if found.last == u64::MAX { 0 } else { (found.last - found.start + 1).cast_signed() };
    Flock {
        kind: if found.exclusive { libc::F_WRLCK } else { libc::F_RDLCK } as i16,
        whence: libc::SEEK_SET as i16,
        start: found.start.cast_signed(),
        len,
        pid: found.pid,
        ..asked
    }
}
