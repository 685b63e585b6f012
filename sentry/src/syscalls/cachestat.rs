//! `cachestat(2)`.

use crate::errno::{Errno, SysResult};
use crate::fs::access::{self, MAY_WRITE};
use crate::fs::attr::FileKind;
use crate::kernel::Task;
use crate::mm::Addr;

const PAGE: u64 = 4096;

/// `cachestat(2)`: how many pages of a file are in memory.
///
/// # Differences from Linux
/// All that a file has counts as in memory and written out, as `mincore(2)` has it.
pub async fn cachestat(t: &Task, fd: i32, range: Addr, told_at: Addr, flags: u32) -> SysResult<()> {
    let file = t.file(fd)?;
    let [offset, length] = t.mem().read::<[u64; 2]>(range)?;
    let inode = file.inode();
    if let Some(inode) = &inode {
        let perm = inode.perm()?;
        let creds = t.creds();
        let may =
            file.is_writable() || access::is_owner(&perm, &creds) || access::check(&perm, &creds, MAY_WRITE).is_ok();
        if !may {
            return Err(Errno::PERM);
        }
    }
    if flags != 0 {
        return Err(Errno::INVAL);
    }
    let is_regular = inode.is_some_and(|inode| inode.kind() == FileKind::Regular);
    let pages = if is_regular { file.ops.size()?.div_ceil(PAGE) } else { 0 };
    let first = offset / PAGE;
    let end = match length {
        0 => pages,
        length => (offset.saturating_add(length - 1) / PAGE).saturating_add(1).min(pages),
    };
    // In memory, dirty, being written, driven out, driven out lately.
    t.mem().write(told_at, &[end.saturating_sub(first), 0, 0, 0, 0])
}
