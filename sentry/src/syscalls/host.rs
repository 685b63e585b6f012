//! What belongs to the host: its swap, its modules, its ports, its end. Arguments and rights are checked as Linux
//! checks them; then it is refused as by a machine that is locked.

use crate::errno::{Errno, SysResult};
use crate::kernel::{Cap, Task};
use crate::mm::Addr;

fn need(t: &Task, cap: Cap) -> SysResult<()> {
    if t.creds().has(cap) { Ok(()) } else { Err(Errno::PERM) }
}

/// `vhangup(2)`: terminals are not taken away from those who use them.
pub async fn vhangup(_t: &Task) -> SysResult<()> {
    Err(Errno::PERM)
}

/// `acct(2)`: `ENOSYS` to those who may, as on a kernel without accounting.
pub async fn acct(t: &Task, _path: Addr) -> SysResult<()> {
    need(t, Cap::SysPacct)?;
    Err(Errno::NOSYS)
}

/// `swapon(2)`.
pub async fn swapon(t: &Task, path: Addr, flags: i32) -> SysResult<()> {
    /// Preference with its priority, and discarding.
    const FLAGS: i32 = 0x7_ffff;
    if flags & !FLAGS != 0 {
        return Err(Errno::INVAL);
    }
    swapoff(t, path).await
}

/// `swapoff(2)`.
pub async fn swapoff(t: &Task, path: Addr) -> SysResult<()> {
    need(t, Cap::SysAdmin)?;
    t.mem().read_path(path)?;
    Err(Errno::PERM)
}

/// `reboot(2)`.
pub async fn reboot(t: &Task, magic: u32, magic2: u32, _cmd: u32, _arg: Addr) -> SysResult<()> {
    const MAGIC: u32 = 0xfee1_dead;
    const MAGIC2: [u32; 4] = [0x2812_1969, 0x0512_1996, 0x1604_1998, 0x2011_2000];
    need(t, Cap::SysBoot)?;
    if magic != MAGIC || !MAGIC2.contains(&magic2) {
        return Err(Errno::INVAL);
    }
    Err(Errno::PERM)
}

/// `kexec_load(2)`: as if it were disabled for good, as all that follows.
pub async fn kexec_load(_t: &Task, _entry: u64, _count: u64, _segments: Addr, _flags: u64) -> SysResult<()> {
    Err(Errno::PERM)
}

/// `kexec_file_load(2)`.
pub async fn kexec_file_load(_t: &Task, _kernel: i32, _initrd: i32, _len: u64, _line: Addr, _: u64) -> SysResult<()> {
    Err(Errno::PERM)
}

/// `init_module(2)`.
pub async fn init_module(_t: &Task, _image: Addr, _len: u64, _args: Addr) -> SysResult<()> {
    Err(Errno::PERM)
}

/// `finit_module(2)`.
pub async fn finit_module(_t: &Task, _fd: i32, _args: Addr, _flags: i32) -> SysResult<()> {
    Err(Errno::PERM)
}

/// `delete_module(2)`.
pub async fn delete_module(_t: &Task, _name: Addr, _flags: u32) -> SysResult<()> {
    Err(Errno::PERM)
}

/// `iopl(2)`: only what gives no access.
pub async fn iopl(_t: &Task, level: u32) -> SysResult<()> {
    const HIGHEST: u32 = 3;
    match level {
        0 => Ok(()),
        level if level > HIGHEST => Err(Errno::INVAL),
        _ => Err(Errno::PERM),
    }
}

/// `ioperm(2)`: only what gives no access.
pub async fn ioperm(_t: &Task, from: u64, count: u64, on: i32) -> SysResult<()> {
    const PORTS: u64 = 65536;
    if from.checked_add(count).is_none_or(|end| end <= from || end > PORTS) {
        return Err(Errno::INVAL);
    }
    if on != 0 { Err(Errno::PERM) } else { Ok(()) }
}
