//! File handles: `name_to_handle_at(2)`, `open_by_handle_at(2)`.

use super::at;
use crate::errno::{Errno, SysResult};
use crate::fs::inode::Caller;
use crate::kernel::{Cap, Task};
use crate::mm::Addr;

/// `MAX_HANDLE_SZ`.
const LONGEST: u32 = 128;

/// `name_to_handle_at(2)`: `EOPNOTSUPP`, as on file systems that cannot be exported.
pub async fn name_to_handle_at(
    t: &Task,
    dir: i32,
    path: Addr,
    _handle: Addr,
    _mount: Addr,
    flags: i32,
) -> SysResult<()> {
    /// `AT_HANDLE_FID` is the bit of `AT_REMOVEDIR`; `AT_HANDLE_MNT_ID_UNIQUE` is 1.
    const OF_HANDLES: i32 = libc::AT_REMOVEDIR | 1;
    at::check_flags(flags, libc::AT_SYMLINK_FOLLOW | libc::AT_EMPTY_PATH | OF_HANDLES)?;
    let nofollow = if flags & libc::AT_SYMLINK_FOLLOW == 0 { libc::AT_SYMLINK_NOFOLLOW } else { 0 };
    at::target(t, &Caller::of(t), dir, path, flags & libc::AT_EMPTY_PATH | nofollow)?;
    Err(Errno::OPNOTSUPP)
}

/// `open_by_handle_at(2)`: no handle was ever given out.
pub async fn open_by_handle_at(t: &Task, mount: i32, handle: Addr, _flags: i32) -> SysResult<i32> {
    let [size, _kind] = t.mem().read::<[u32; 2]>(handle)?;
    if size == 0 || size > LONGEST {
        return Err(Errno::INVAL);
    }
    if mount != libc::AT_FDCWD {
        t.files().get_any(mount)?;
    }
    Err(if t.creds().has(Cap::DacReadSearch) { Errno::STALE } else { Errno::PERM })
}
