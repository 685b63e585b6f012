//! `shmget(2)`, `shmat(2)`, `shmdt(2)`, `shmctl(2)`.

use crate::abi::{ShmUse, ShmidDs, Shminfo};
use crate::errno::{Errno, SysResult};
use crate::ipc::shm::{self, MAX_SIZE, Segment};
use crate::ipc::{Object, Who, own};
use crate::kernel::{Cap, Outcome, Task};
use crate::loader::{PAGE, page_up};
use crate::mm::Addr;
use platform::{Call, WINDOW_FD};

/// `shmget(2)`: finds or makes a segment.
///
/// # Differences from Linux
/// `SHM_HUGETLB` is refused: the pool of huge pages is the whole host's.
pub async fn shmget(t: &Task, key: i32, size: usize, flags: i32) -> SysResult<i32> {
    let fits = |segment: &Segment| if size as u64 > segment.size() { Err(Errno::INVAL) } else { Ok(()) };
    own().segments.get(t, key, flags, fits, |perm| {
        if size == 0 || size > MAX_SIZE {
            return Err(Errno::INVAL);
        }
        if flags & libc::SHM_HUGETLB != 0 {
            return Err(Errno::NOMEM);
        }
        Segment::new(perm, size, t.group.tgid)
    })
}

/// `shmat(2)`: attaches a segment.
pub async fn shmat(t: &Task, id: i32, addr: Addr, flags: i32) -> SysResult {
    if id < 0 {
        return Err(Errno::INVAL);
    }
    let mut addr = addr.0;
    if !addr.is_multiple_of(PAGE) {
        if flags & libc::SHM_RND == 0 {
            return Err(Errno::INVAL);
        }
        addr -= addr % PAGE;
    }
    if addr == 0 && flags & libc::SHM_REMAP != 0 {
        return Err(Errno::INVAL);
    }
    let segment = own().segments.find(id)?;
    let readonly = flags & libc::SHM_RDONLY != 0;
    let exec = flags & libc::SHM_EXEC != 0;
    segment.perm().check(&t.creds(), 0o444 | if readonly { 0 } else { 0o222 } | if exec { 0o111 } else { 0 })?;
    let mut prot = libc::PROT_READ;
    prot |= if readonly { 0 } else { libc::PROT_WRITE };
    prot |= if exec { libc::PROT_EXEC } else { 0 };
    let fixed = match addr {
        0 => 0,
        _ if flags & libc::SHM_REMAP != 0 => libc::MAP_FIXED,
        _ => libc::MAP_FIXED_NOREPLACE,
    };
    let kind = (libc::MAP_SHARED | fixed) as u64;
    let args = [addr, page_up(segment.size()), prot as u64, kind, u64::from(WINDOW_FD), 0];
    let call = Call { nr: libc::SYS_mmap as u32, args };
    let thread = t.thread();
    thread.enter(0).await?;
    t.set_outcome(Outcome::StoppedReturn);
    let results = thread.run_with_files(&[segment.file()], &[call]).await?;
    let at = match results.first().copied().unwrap_or(-i64::from(libc::ENOMEM)) {
        error if (-4095..0).contains(&error) => {
            let error = Errno::from_raw(-error as i32);
            return Err(if error == Errno::EXIST { Errno::INVAL } else { error });
        }
        at => at,
    };
    shm::attached(Who::of(&t.group), at as u64, id, &segment);
    Ok(at)
}

/// `shmdt(2)`: detaches a segment.
pub async fn shmdt(t: &Task, addr: Addr) -> SysResult<()> {
    if !addr.0.is_multiple_of(PAGE) {
        return Err(Errno::INVAL);
    }
    let who = Who::of(&t.group);
    let segment = shm::at(who, addr.0)?;
    let call = Call { nr: libc::SYS_munmap as u32, args: [addr.0, page_up(segment.size()), 0, 0, 0, 0] };
    let thread = t.thread();
    thread.enter(0).await?;
    t.set_outcome(Outcome::StoppedReturn);
    thread.run(&[call]).await?;
    shm::detached(who, addr.0);
    Ok(())
}

/// `shmctl(2)`: asks and changes.
pub async fn shmctl(t: &Task, id: i32, cmd: i32, arg: Addr) -> SysResult<i32> {
    if id < 0 {
        return Err(Errno::INVAL);
    }
    let creds = t.creds();
    match cmd {
        libc::IPC_INFO => return limits(t, arg),
        SHM_INFO => return used(t, arg),
        SHM_STAT | SHM_STAT_ANY => {
            let (id, segment) = own().segments.at(id)?;
            if cmd == SHM_STAT {
                segment.perm().check(&creds, 0o444)?;
            }
            t.mem().write(arg, &segment.stat())?;
            return Ok(id);
        }
        _ => {}
    }
    let segment = own().segments.find(id)?;
    match cmd {
        libc::IPC_STAT => {
            segment.perm().check(&creds, 0o444)?;
            t.mem().write(arg, &segment.stat())?;
        }
        libc::IPC_SET => {
            let new: ShmidDs = t.mem().read(arg)?;
            segment.perm().check_owner(&creds)?;
            segment.set_perm(&new.perm);
        }
        libc::IPC_RMID => {
            segment.perm().check_owner(&creds)?;
            shm::remove(id, &segment)?;
        }
        // Nothing of a sandbox is ever swapped by the sentry: locking is granted, as mlock is.
        libc::SHM_LOCK | libc::SHM_UNLOCK => {
            if !creds.has(Cap::IpcLock) {
                segment.perm().check_owner(&creds)?;
                if cmd == libc::SHM_LOCK && t.rlimit(libc::RLIMIT_MEMLOCK) == 0 {
                    return Err(Errno::PERM);
                }
            }
            segment.set_locked(cmd == libc::SHM_LOCK);
        }
        _ => return Err(Errno::INVAL),
    }
    Ok(0)
}

const SHM_STAT: i32 = 13;
const SHM_INFO: i32 = 14;
const SHM_STAT_ANY: i32 = 15;

/// `IPC_INFO`.
fn limits(t: &Task, addr: Addr) -> SysResult<i32> {
    let most = own().segments.max() as u64;
    let pages = shm::MAX_SIZE as u64 / PAGE * most;
    let info = Shminfo {
        shmmax: shm::MAX_SIZE as u64,
        shmmin: 1,
        shmmni: most,
        shmseg: most,
        shmall: pages,
        ..Shminfo::default()
    };
    t.mem().write(addr, &info)?;
    Ok(own().segments.all().0)
}

/// `SHM_INFO`.
fn used(t: &Task, addr: Addr) -> SysResult<i32> {
    let (highest, all) = own().segments.all();
    let pages = all.iter().map(|segment| page_up(segment.size()) / PAGE).sum();
    let resident = all.iter().map(|segment| segment.resident() / PAGE).sum();
    let info = ShmUse { used_ids: all.len() as i32, shm_tot: pages, shm_rss: resident, ..ShmUse::default() };
    t.mem().write(addr, &info)?;
    Ok(highest)
}
