//! User and group ids, groups, capabilities: `credentials(7)`.

use crate::errno::{Errno, SysResult};
use crate::kernel::{CAP_ALL, Cap, Creds, Task};
use crate::mm::Addr;
use std::sync::Arc;

/// "No change" in the calls that set several ids.
const KEEP: u32 = u32::MAX;
/// `NGROUPS_MAX`.
const GROUPS_MAX: usize = 65536;
/// `SECBIT_NO_SETUID_FIXUP`, `SECBIT_KEEP_CAPS`.
const NO_SETUID_FIXUP: u32 = 1 << 2;
const KEEP_CAPS: u32 = 1 << 4;

/// `getuid(2)`.
pub async fn getuid(t: &Task) -> SysResult<u32> {
    Ok(t.creds().uid)
}

/// `geteuid(2)`.
pub async fn geteuid(t: &Task) -> SysResult<u32> {
    Ok(t.creds().euid)
}

/// `getgid(2)`.
pub async fn getgid(t: &Task) -> SysResult<u32> {
    Ok(t.creds().gid)
}

/// `getegid(2)`.
pub async fn getegid(t: &Task) -> SysResult<u32> {
    Ok(t.creds().egid)
}

/// `getresuid(2)`.
pub async fn getresuid(t: &Task, r: Addr, e: Addr, s: Addr) -> SysResult<()> {
    let c = t.creds();
    let mem = t.mem();
    mem.write(r, &c.uid)?;
    mem.write(e, &c.euid)?;
    mem.write(s, &c.suid)
}

/// `getresgid(2)`.
pub async fn getresgid(t: &Task, r: Addr, e: Addr, s: Addr) -> SysResult<()> {
    let c = t.creds();
    let mem = t.mem();
    mem.write(r, &c.gid)?;
    mem.write(e, &c.egid)?;
    mem.write(s, &c.sgid)
}

/// What a change of user ids does to capabilities (`capabilities(7)`, "Effect of user ID changes").
fn set_uids(t: &Task, old: &Creds, mut new: Creds) {
    if old.securebits & NO_SETUID_FIXUP == 0 {
        let had_root = [old.uid, old.euid, old.suid].contains(&0);
        let has_root = [new.uid, new.euid, new.suid].contains(&0);
        if had_root && !has_root && old.securebits & KEEP_CAPS == 0 {
            (new.permitted, new.effective, new.ambient) = (0, 0, 0);
        }
        if old.euid == 0 && new.euid != 0 {
            new.effective = 0;
        }
        if old.euid != 0 && new.euid == 0 {
            new.effective = new.permitted;
        }
        fix_fs_caps(old, &mut new);
    }
    t.set_creds(new);
}

/// Capabilities on files follow the file system user id.
fn fix_fs_caps(old: &Creds, new: &mut Creds) {
    const FS_CAPS: u64 = 1 << Cap::Chown as u8
        | 1 << Cap::DacOverride as u8
        | 1 << Cap::DacReadSearch as u8
        | 1 << Cap::Fowner as u8
        | 1 << Cap::Fsetid as u8
        | 1 << Cap::LinuxImmutable as u8
        | 1 << Cap::Mknod as u8
        | 1 << Cap::MacOverride as u8;
    if old.fsuid == 0 && new.fsuid != 0 {
        new.effective &= !FS_CAPS;
    }
    if old.fsuid != 0 && new.fsuid == 0 {
        new.effective |= new.permitted & FS_CAPS;
    }
}

/// `setuid(2)`.
pub async fn setuid(t: &Task, uid: u32) -> SysResult<()> {
    let old = t.creds();
    let mut new = (*old).clone();
    if uid == KEEP {
        return Err(Errno::INVAL);
    }
    if old.has(Cap::Setuid) {
        (new.uid, new.suid) = (uid, uid);
    } else if uid != old.uid && uid != old.suid {
        return Err(Errno::PERM);
    }
    (new.euid, new.fsuid) = (uid, uid);
    set_uids(t, &old, new);
    Ok(())
}

/// `setgid(2)`.
pub async fn setgid(t: &Task, gid: u32) -> SysResult<()> {
    let old = t.creds();
    let mut new = (*old).clone();
    if gid == KEEP {
        return Err(Errno::INVAL);
    }
    if old.has(Cap::Setgid) {
        (new.gid, new.sgid) = (gid, gid);
    } else if gid != old.gid && gid != old.sgid {
        return Err(Errno::PERM);
    }
    (new.egid, new.fsgid) = (gid, gid);
    t.set_creds(new);
    Ok(())
}

/// `setreuid(2)`.
pub async fn setreuid(t: &Task, ruid: u32, euid: u32) -> SysResult<()> {
    let old = t.creds();
    let mut new = (*old).clone();
    let may = old.has(Cap::Setuid);
    if ruid != KEEP {
        if !may && ruid != old.uid && ruid != old.euid {
            return Err(Errno::PERM);
        }
        new.uid = ruid;
    }
    if euid != KEEP {
        if !may && ![old.uid, old.euid, old.suid].contains(&euid) {
            return Err(Errno::PERM);
        }
        new.euid = euid;
    }
    if ruid != KEEP || euid != KEEP && euid != old.uid {
        new.suid = new.euid;
    }
    new.fsuid = new.euid;
    set_uids(t, &old, new);
    Ok(())
}

/// `setregid(2)`.
pub async fn setregid(t: &Task, rgid: u32, egid: u32) -> SysResult<()> {
    let old = t.creds();
    let mut new = (*old).clone();
    let may = old.has(Cap::Setgid);
    if rgid != KEEP {
        if !may && rgid != old.gid && rgid != old.egid {
            return Err(Errno::PERM);
        }
        new.gid = rgid;
    }
    if egid != KEEP {
        if !may && ![old.gid, old.egid, old.sgid].contains(&egid) {
            return Err(Errno::PERM);
        }
        new.egid = egid;
    }
    if rgid != KEEP || egid != KEEP && egid != old.gid {
        new.sgid = new.egid;
    }
    new.fsgid = new.egid;
    t.set_creds(new);
    Ok(())
}

/// `setresuid(2)`.
pub async fn setresuid(t: &Task, ruid: u32, euid: u32, suid: u32) -> SysResult<()> {
    let old = t.creds();
    let known = [old.uid, old.euid, old.suid, KEEP];
    if !old.has(Cap::Setuid) && [ruid, euid, suid].iter().any(|u| !known.contains(u)) {
        return Err(Errno::PERM);
    }
    let mut new = (*old).clone();
    for (field, value) in [(&mut new.uid, ruid), (&mut new.euid, euid), (&mut new.suid, suid)] {
        if value != KEEP {
            *field = value;
        }
    }
    new.fsuid = new.euid;
    set_uids(t, &old, new);
    Ok(())
}

/// `setresgid(2)`.
pub async fn setresgid(t: &Task, rgid: u32, egid: u32, sgid: u32) -> SysResult<()> {
    let old = t.creds();
    let known = [old.gid, old.egid, old.sgid, KEEP];
    if !old.has(Cap::Setgid) && [rgid, egid, sgid].iter().any(|g| !known.contains(g)) {
        return Err(Errno::PERM);
    }
    let mut new = (*old).clone();
    for (field, value) in [(&mut new.gid, rgid), (&mut new.egid, egid), (&mut new.sgid, sgid)] {
        if value != KEEP {
            *field = value;
        }
    }
    new.fsgid = new.egid;
    t.set_creds(new);
    Ok(())
}

/// `setfsuid(2)`: returns the old id, whether it was changed or not.
pub async fn setfsuid(t: &Task, uid: u32) -> SysResult<u32> {
    let old = t.creds();
    if [old.uid, old.euid, old.suid, old.fsuid].contains(&uid) || old.has(Cap::Setuid) && uid != KEEP {
        let mut new = (*old).clone();
        new.fsuid = uid;
        fix_fs_caps(&old, &mut new);
        t.set_creds(new);
    }
    Ok(old.fsuid)
}

/// `setfsgid(2)`: returns the old id, whether it was changed or not.
pub async fn setfsgid(t: &Task, gid: u32) -> SysResult<u32> {
    let old = t.creds();
    if [old.gid, old.egid, old.sgid, old.fsgid].contains(&gid) || old.has(Cap::Setgid) && gid != KEEP {
        let mut new = (*old).clone();
        new.fsgid = gid;
        t.set_creds(new);
    }
    Ok(old.fsgid)
}

/// `getgroups(2)`.
pub async fn getgroups(t: &Task, size: i32, list: Addr) -> SysResult<i32> {
    let groups = t.creds().groups.clone();
    let size = usize::try_from(size).map_err(|_| Errno::INVAL)?;
    if size != 0 {
        if size < groups.len() {
            return Err(Errno::INVAL);
        }
        t.mem().write_bytes(list, zerocopy::IntoBytes::as_bytes(&*groups))?;
    }
    Ok(groups.len() as i32)
}

/// `setgroups(2)`.
pub async fn setgroups(t: &Task, size: i32, list: Addr) -> SysResult<()> {
    let old = t.creds();
    if !old.has(Cap::Setgid) {
        return Err(Errno::PERM);
    }
    let size = usize::try_from(size).ok().filter(|n| *n <= GROUPS_MAX).ok_or(Errno::INVAL)?;
    let mut groups: Vec<u32> = t.mem().read_array(list, size)?;
    // In order, as Linux keeps them.
    groups.sort_unstable();
    t.set_creds(Creds { groups: groups.into(), ..(*old).clone() });
    Ok(())
}

const V1: u32 = 0x1998_0330;
const V2: u32 = 0x2007_1026;
const V3: u32 = 0x2008_0522;

/// How many 32-bit triples a version has; an unknown version is answered with the one to use.
fn cap_words(t: &Task, header: Addr) -> SysResult<(usize, i32)> {
    let [version, pid]: [u32; 2] = t.mem().read(header)?;
    let words = match version {
        V1 => 1,
        V2 | V3 => 2,
        _ => {
            t.mem().write(header, &V3)?;
            return Err(Errno::INVAL);
        }
    };
    Ok((words, pid as i32))
}

/// `capget(2)`.
pub async fn capget(t: &Task, header: Addr, data: Addr) -> SysResult<()> {
    let (words, pid) = match cap_words(t, header) {
        // Probing for the version without a place for the data succeeds.
        Err(Errno::INVAL) if data.is_null() => return Ok(()),
        other => other?,
    };
    if pid < 0 {
        return Err(Errno::INVAL);
    }
    let c = match (pid, t.kernel.task(pid)) {
        (0, _) => t.creds(),
        (_, Some(task)) => task.creds(),
        // The sentry's own process 1, which may do all, or one that has ended.
        (1, None) => Arc::new(Creds::new(0, 0, &[], CAP_ALL)),
        (_, None) => return Err(Errno::SRCH),
    };
    if data.is_null() {
        return Ok(());
    }
    let mut out = [0u32; 6];
    for (n, triple) in out.chunks_exact_mut(3).enumerate() {
        let half = |set: u64| (set >> (32 * n)) as u32;
        triple.copy_from_slice(&[half(c.effective), half(c.permitted), half(c.inheritable)]);
    }
    t.mem().write_bytes(data, zerocopy::IntoBytes::as_bytes(out.get(..3 * words).unwrap_or_default()))
}

/// `capset(2)`.
pub async fn capset(t: &Task, header: Addr, data: Addr) -> SysResult<()> {
    let (words, pid) = cap_words(t, header)?;
    if pid != 0 && pid != t.tid() {
        return Err(Errno::PERM);
    }
    let given: Vec<u32> = t.mem().read_array(data, 3 * words)?;
    let set = |n: usize| {
        let half = |w: usize| given.get(3 * w + n).copied().map_or(0, u64::from);
        (half(0) | half(1) << 32) & CAP_ALL
    };
    let (effective, permitted, inheritable) = (set(0), set(1), set(2));
    let old = t.creds();
    let within = |a: u64, b: u64| a & !b == 0;
    let may_inherit =
        if old.has(Cap::Setpcap) { old.inheritable | old.bounding } else { old.inheritable | old.permitted };
    if !within(inheritable, may_inherit)
        || !within(inheritable, old.inheritable | old.bounding)
        || !within(permitted, old.permitted)
        || !within(effective, permitted)
    {
        return Err(Errno::PERM);
    }
    let ambient = old.ambient & permitted & inheritable;
    t.set_creds(Creds { effective, permitted, inheritable, ambient, ..(*old).clone() });
    Ok(())
}
