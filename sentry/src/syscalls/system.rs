//! The machine: `uname(2)`, `sysinfo(2)`, host name, and what nobody may do in a sandbox.

use crate::errno::{Errno, SysResult};
use crate::kernel::{Cap, Task};
use crate::mm::Addr;
use std::sync::atomic::Ordering;

/// Length of a field of `struct utsname`, with its NUL.
const FIELD: usize = 65;

/// The Linux that the sentry is: programs decide by it what they may use.
pub const RELEASE: &str = "6.12.0";
/// `uname -v`.
pub const VERSION: &str = "#1 SMP PREEMPT_DYNAMIC runsc";

/// The execution domain in `personality(2)`.
const PER_MASK: u32 = 0xff;
const PER_LINUX32: u32 = 8;

/// `uname(2)`.
pub async fn uname(t: &Task, buf: Addr) -> SysResult<()> {
    let uts = t.uts().names.read().clone();
    let machine: &[u8] = match t.personality.load(Ordering::Relaxed) & PER_MASK {
        PER_LINUX32 => b"i686",
        _ => b"x86_64",
    };
    let fields: [&[u8]; 6] =
        [b"Linux", &uts.hostname, RELEASE.as_bytes(), VERSION.as_bytes(), machine, &uts.domainname];
    let mut out = Vec::with_capacity(6 * FIELD);
    for (n, field) in fields.into_iter().enumerate() {
        out.extend(field.iter().take(FIELD - 1));
        out.resize((n + 1) * FIELD, 0);
    }
    t.mem().write_bytes(buf, &out)
}

fn read_name(t: &Task, name: Addr, len: i32) -> SysResult<Vec<u8>> {
    if !t.creds().has(Cap::SysAdmin) {
        return Err(Errno::PERM);
    }
    let len = usize::try_from(len).ok().filter(|n| *n < FIELD).ok_or(Errno::INVAL)?;
    let mut bytes = vec![0; len];
    t.mem().read_bytes(name, &mut bytes)?;
    Ok(bytes)
}

/// `sethostname(2)`.
pub async fn sethostname(t: &Task, name: Addr, len: i32) -> SysResult<()> {
    let name = read_name(t, name, len)?;
    t.uts().names.write().hostname = name;
    Ok(())
}

/// `setdomainname(2)`.
pub async fn setdomainname(t: &Task, name: Addr, len: i32) -> SysResult<()> {
    let name = read_name(t, name, len)?;
    t.uts().names.write().domainname = name;
    Ok(())
}

/// `sysinfo(2)`.
pub async fn sysinfo(t: &Task, info: Addr) -> SysResult<()> {
    let host = crate::kernel::machine::sysinfo();
    let processes = t.kernel.tree.lock().task_count() as u64;
    let words = [
        t.kernel.started.elapsed().as_secs(),
        host.loads[0],
        host.loads[1],
        host.loads[2],
        host.totalram,
        host.freeram,
        host.sharedram,
        host.bufferram,
        host.totalswap,
        host.freeswap,
        processes & 0xffff,
        host.totalhigh,
        host.freehigh,
        u64::from(host.mem_unit),
    ];
    t.mem().write(info, &words)
}

/// `getrandom(2)`, where the platform does not run it natively.
pub async fn getrandom(t: &Task, buf: Addr, len: usize, flags: u32) -> SysResult<usize> {
    const CHUNK: usize = 256;
    if flags & !(libc::GRND_NONBLOCK | libc::GRND_RANDOM | libc::GRND_INSECURE) != 0 {
        return Err(Errno::INVAL);
    }
    let len = len.min(1 << 20);
    let mut done = 0;
    while done < len {
        let mut bytes = [0u8; CHUNK];
        let part = bytes.get_mut(..CHUNK.min(len - done)).unwrap_or_default();
        rustix::rand::getrandom(&mut *part, rustix::rand::GetRandomFlags::empty())?;
        t.mem().write_bytes(buf.offset(done), part)?;
        done += part.len();
    }
    Ok(done)
}

/// Calls that would change the host: refused as Linux refuses them to the unprivileged.
pub async fn refused(_t: &Task) -> SysResult<()> {
    Err(Errno::PERM)
}

/// `syslog(2)`: an empty kernel log.
pub async fn syslog(t: &Task, op: i32, _buf: Addr, len: i32) -> SysResult<i32> {
    const READ_ALL: i32 = 3;
    const SIZE_BUFFER: i32 = 10;
    match op {
        READ_ALL | SIZE_BUFFER if len >= 0 => Ok(0),
        0..=10 if !t.creds().has(Cap::Syslog) => Err(Errno::PERM),
        0 | 1 | 4..=9 => Ok(0),
        _ => Err(Errno::INVAL),
    }
}
