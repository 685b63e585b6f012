//! `ioctl(2)`: what every file understands; the rest is the file's own.

use crate::errno::{Errno, SysResult};
use crate::fs::attr::FileKind;
use crate::fs::fasync;
use crate::fs::file::File;
use crate::kernel::Task;
use crate::mm::Addr;
use crate::seccomp::notify;

/// `FIOQSIZE`.
const FIOQSIZE: u32 = 0x5460;
/// `FS_IOC_GETFLAGS`, `FS_IOC_SETFLAGS`, `FS_IOC_FSGETXATTR`: file systems in memory have no such flags.
const FS_IOC: [u32; 3] = [0x8008_6601, 0x4008_6602, 0x801c_581f];

/// `ioctl(2)`.
pub async fn ioctl(t: &Task, fd: i32, cmd: u32, arg: u64) -> SysResult<i64> {
    let file = t.file(fd)?;
    match cmd as libc::Ioctl {
        libc::FIOCLEX => t.files().set_cloexec(fd, true).map(|()| 0),
        libc::FIONCLEX => t.files().set_cloexec(fd, false).map(|()| 0),
        libc::FIONBIO => set_flag(t, &file, libc::O_NONBLOCK, Addr(arg)),
        libc::FIOASYNC => {
            let done = set_flag(t, &file, libc::O_ASYNC, Addr(arg))?;
            fasync::set(t, fd, &file, file.flags() & libc::O_ASYNC != 0);
            Ok(done)
        }
        libc::FIONREAD if is(&file, FileKind::Regular) => {
            let left = file.ops.size()?.saturating_sub(*file.pos.lock());
            t.mem().write(Addr(arg), &(left as i32)).map(|()| 0)
        }
        _ if cmd == FIOQSIZE => size(t, &file, Addr(arg)),
        _ if FS_IOC.contains(&cmd) => Err(Errno::NOTTY),
        _ if let Some(listener) = notify::listener_of(&file) => Box::pin(notify::ioctl(t, listener, cmd, arg)).await,
        _ => file.ops.ioctl(t, &file, cmd, arg),
    }
}

fn is(file: &File, kind: FileKind) -> bool {
    file.inode().is_some_and(|inode| inode.kind() == kind)
}

fn set_flag(t: &Task, file: &File, flag: i32, arg: Addr) -> SysResult {
    let on: i32 = t.mem().read(arg)?;
    file.set_flags(flag, if on != 0 { flag } else { 0 });
    Ok(0)
}

fn size(t: &Task, file: &File, arg: Addr) -> SysResult {
    if !is(file, FileKind::Regular) && !is(file, FileKind::Directory) && !is(file, FileKind::Symlink) {
        return Err(Errno::NOTTY);
    }
    let size = file.inode().ok_or(Errno::NOTTY)?.attr()?.size;
    t.mem().write(arg, &size).map(|()| 0)
}
