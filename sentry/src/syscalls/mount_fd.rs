//! Mounting by descriptors: `fsopen(2)`, `fsconfig(2)`, `fsmount(2)`, `fspick(2)`, `open_tree(2)`, `move_mount(2)`,
//! `mount_setattr(2)`.

use super::at;
use super::mount::{is_mount_root, is_ours, may_mount};
use crate::abi::{MountAttr, read_extensible};
use crate::errno::{Errno, SysResult};
use crate::fs::File;
use crate::fs::inode::Caller;
use crate::fs::mount::{self, Detached, MountContext, MountFlags, Parameter, Propagation};
use crate::fs::open::PathOnly;
use crate::fs::path::PathRef;
use crate::kernel::Task;
use crate::loader::PAGE;
use crate::mm::Addr;

/// `FSOPEN_CLOEXEC`, `FSMOUNT_CLOEXEC`, `FSPICK_CLOEXEC`.
const CLOEXEC: u32 = 1;
/// Keys and texts of parameters, with their ends.
const PARAMETER_MAX: usize = 256;

/// Attributes of mounts (`MOUNT_ATTR_*`).
mod attr {
    pub(super) const ATIME: u64 = 0x70;
    pub(super) const RELATIME: u64 = 0;
    pub(super) const NOATIME: u64 = 0x10;
    pub(super) const STRICTATIME: u64 = 0x20;
    pub(super) const NODIRATIME: u64 = 0x80;
    pub(super) const NOSYMFOLLOW: u64 = 0x20_0000;
    /// All that can be set here: with `RDONLY`, `NOSUID`, `NODEV`, `NOEXEC` in the lowest bits.
    pub(super) const VALID: u64 = 0xf | ATIME | NODIRATIME | NOSYMFOLLOW;
}

/// The options that attributes stand for.
fn flags_of(attributes: u64) -> MountFlags {
    // The lowest four are the same.
    let mut flags = MountFlags::from_bits_truncate((attributes & 0xf) as u32);
    flags.set(MountFlags::NODIRATIME, attributes & attr::NODIRATIME != 0);
    flags.set(MountFlags::NOSYMFOLLOW, attributes & attr::NOSYMFOLLOW != 0);
    flags
}

/// What they say of access times; `EINVAL` if that is nothing that there is.
fn atime_of(attributes: u64) -> SysResult<MountFlags> {
    match attributes & attr::ATIME {
        attr::RELATIME => Ok(MountFlags::RELATIME),
        attr::NOATIME => Ok(MountFlags::NOATIME),
        attr::STRICTATIME => Ok(MountFlags::empty()),
        _ => Err(Errno::INVAL),
    }
}

fn find(t: &Task, dirfd: i32, path: Addr, follow: bool, may_be_empty: bool) -> SysResult<PathRef> {
    let follow = if follow { 0 } else { libc::AT_SYMLINK_NOFOLLOW };
    let empty = if may_be_empty { libc::AT_EMPTY_PATH } else { 0 };
    at::target(t, &Caller::of(t), dirfd, path, follow | empty)?.path_or(Errno::INVAL)
}

fn context(file: &File) -> SysResult<&MountContext> {
    file.downcast().ok_or(Errno::INVAL)
}

/// `fsopen(2)`: begins a new file system.
pub async fn fsopen(t: &Task, name: Addr, flags: u32) -> SysResult<i32> {
    may_mount(t)?;
    if flags & !CLOEXEC != 0 {
        return Err(Errno::INVAL);
    }
    let context = MountContext::new(&t.mem().read_cstr(name, 4096, Errno::INVAL)?)?;
    t.install(File::anonymous(context, libc::O_RDWR), flags & CLOEXEC != 0)
}

/// `fspick(2)`: begins changes of a mounted file system.
pub async fn fspick(t: &Task, dirfd: i32, path: Addr, flags: u32) -> SysResult<i32> {
    const SYMLINK_NOFOLLOW: u32 = 2;
    const NO_AUTOMOUNT: u32 = 4;
    const EMPTY_PATH: u32 = 8;
    may_mount(t)?;
    if flags & !(CLOEXEC | SYMLINK_NOFOLLOW | NO_AUTOMOUNT | EMPTY_PATH) != 0 {
        return Err(Errno::INVAL);
    }
    let place = find(t, dirfd, path, flags & SYMLINK_NOFOLLOW == 0, flags & EMPTY_PATH != 0)?;
    if !is_mount_root(&place) {
        return Err(Errno::INVAL);
    }
    t.install(File::anonymous(MountContext::of(place.dentry.clone()), libc::O_RDWR), flags & CLOEXEC != 0)
}

/// Commands of `fsconfig(2)`.
mod cmd {
    pub(super) const SET_FLAG: u32 = 0;
    pub(super) const SET_STRING: u32 = 1;
    pub(super) const SET_BINARY: u32 = 2;
    pub(super) const SET_PATH: u32 = 3;
    pub(super) const SET_PATH_EMPTY: u32 = 4;
    pub(super) const SET_FD: u32 = 5;
    pub(super) const CREATE: u32 = 6;
    pub(super) const RECONFIGURE: u32 = 7;
    pub(super) const CREATE_EXCL: u32 = 8;
}

/// `fsconfig(2)`: gives a parameter, or has the file system made or changed.
pub async fn fsconfig(t: &Task, fd: i32, cmd: u32, key: Addr, value: Addr, aux: i32) -> SysResult<()> {
    /// Most bytes of a binary parameter.
    const BINARY_MAX: i32 = 1 << 20;
    let (has_key, has_value) = (!key.is_null(), !value.is_null());
    let is_right = fd >= 0
        && match cmd {
            cmd::SET_FLAG => has_key && !has_value && aux == 0,
            cmd::SET_STRING => has_key && has_value && aux == 0,
            cmd::SET_BINARY => has_key && has_value && (1..=BINARY_MAX).contains(&aux),
            cmd::SET_PATH | cmd::SET_PATH_EMPTY => has_key && has_value && (aux == libc::AT_FDCWD || aux >= 0),
            cmd::SET_FD => has_key && !has_value && aux >= 0,
            cmd::CREATE | cmd::CREATE_EXCL | cmd::RECONFIGURE => !has_key && !has_value && aux == 0,
            _ => return Err(if fd < 0 { Errno::INVAL } else { Errno::OPNOTSUPP }),
        };
    if !is_right {
        return Err(Errno::INVAL);
    }
    let file = t.file(fd)?;
    let context = context(&file)?;
    match cmd {
        cmd::CREATE | cmd::CREATE_EXCL | cmd::RECONFIGURE => {
            may_mount(t)?;
            return if cmd == cmd::RECONFIGURE { context.reconfigure() } else { context.create() };
        }
        _ => {}
    }
    let key = t.mem().read_cstr(key, PARAMETER_MAX, Errno::INVAL)?;
    let parameter = match cmd {
        cmd::SET_FLAG => Parameter::Flag,
        cmd::SET_STRING => Parameter::Text(t.mem().read_cstr(value, PARAMETER_MAX, Errno::INVAL)?),
        cmd::SET_FD => t.files().get_any(aux).map(|_| Parameter::Other)?,
        cmd::SET_BINARY => {
            t.mem().read_bytes(value, &mut vec![0; aux.unsigned_abs() as usize]).map(|()| Parameter::Other)?
        }
        _ => t.mem().read_path(value).map(|_| Parameter::Other)?,
    };
    context.set(&key, &parameter)
}

/// `fsmount(2)`: a mount of what was made, which stands nowhere yet.
pub async fn fsmount(t: &Task, fd: i32, flags: u32, attributes: u32) -> SysResult<i32> {
    let attributes = u64::from(attributes);
    may_mount(t)?;
    if flags & !CLOEXEC != 0 || attributes & !attr::VALID != 0 {
        return Err(Errno::INVAL);
    }
    let options = flags_of(attributes) | atime_of(attributes)?;
    let file = t.file(fd)?;
    let mounted = context(&file)?.mount(&t.fs().namespace(), options)?;
    t.install(mounted, flags & CLOEXEC != 0)
}

/// `open_tree(2)`: a descriptor for what is mounted somewhere, or for a copy of it that stands nowhere yet.
pub async fn open_tree(t: &Task, dirfd: i32, path: Addr, flags: u32) -> SysResult<i32> {
    const CLONE: u32 = 1;
    const OPEN_CLOEXEC: u32 = libc::O_CLOEXEC as u32;
    const AT: u32 = (libc::AT_EMPTY_PATH | libc::AT_NO_AUTOMOUNT | libc::AT_SYMLINK_NOFOLLOW) as u32;
    const RECURSIVE: u32 = libc::AT_RECURSIVE as u32;
    if flags & !(CLONE | OPEN_CLOEXEC | AT | RECURSIVE) != 0 || flags & (RECURSIVE | CLONE) == RECURSIVE {
        return Err(Errno::INVAL);
    }
    if flags & CLONE != 0 {
        may_mount(t)?;
    }
    let follow = flags & libc::AT_SYMLINK_NOFOLLOW as u32 == 0;
    let place = find(t, dirfd, path, follow, flags & libc::AT_EMPTY_PATH as u32 != 0)?;
    let file = if flags & CLONE == 0 {
        File::new(Box::new(PathOnly), Some(place), libc::O_PATH)
    } else if is_ours(t, &place.mount) {
        Detached::copy(&t.fs().namespace(), &place, flags & RECURSIVE != 0)?
    } else {
        return Err(Errno::INVAL);
    };
    t.install(file, flags & OPEN_CLOEXEC != 0)
}

/// `move_mount(2)`: puts a mount somewhere, from elsewhere or from nowhere.
///
/// # Differences from Linux
/// `MOVE_MOUNT_SET_GROUP` and `MOVE_MOUNT_BENEATH` are `EINVAL`.
pub async fn move_mount(t: &Task, from: i32, from_path: Addr, to: i32, to_path: Addr, flags: u32) -> SysResult<()> {
    const FROM_SYMLINKS: u32 = 1;
    const FROM_EMPTY: u32 = 4;
    const TO_SYMLINKS: u32 = 0x10;
    const TO_EMPTY: u32 = 0x40;
    const AUTOMOUNTS: u32 = 0x22;
    may_mount(t)?;
    if flags & !(FROM_SYMLINKS | FROM_EMPTY | TO_SYMLINKS | TO_EMPTY | AUTOMOUNTS) != 0 {
        return Err(Errno::INVAL);
    }
    let source = find(t, from, from_path, flags & FROM_SYMLINKS != 0, flags & FROM_EMPTY != 0)?;
    let place = find(t, to, to_path, flags & TO_SYMLINKS != 0, flags & TO_EMPTY != 0)?;
    let is_attached = source.mount.mountpoint().is_some();
    if !is_mount_root(&source) || !is_ours(t, &place.mount) || is_attached && !is_ours(t, &source.mount) {
        return Err(Errno::INVAL);
    }
    if source.is_dir() != place.is_dir() {
        return Err(Errno::INVAL);
    }
    if is_attached { mount::attach(&source.mount, &place) } else { mount::attach_detached(&source.mount, &place) }
}

/// `mount_setattr(2)`: changes the attributes of a mount, or of all that stand on it too.
///
/// # Differences from Linux
/// `MOUNT_ATTR_IDMAP` is `EINVAL`, as for file systems that cannot map ids.
pub async fn mount_setattr(t: &Task, dirfd: i32, path: Addr, flags: i32, attr: Addr, size: usize) -> SysResult<()> {
    let known = libc::AT_EMPTY_PATH | libc::AT_RECURSIVE | libc::AT_SYMLINK_NOFOLLOW | libc::AT_NO_AUTOMOUNT;
    at::check_flags(flags, known)?;
    // Whether there could be such a structure is asked before who may.
    if (size_of::<MountAttr>()..=PAGE as usize).contains(&size) {
        may_mount(t)?;
    }
    let wanted: MountAttr = read_extensible(t, attr, size, size_of::<MountAttr>())?;
    if wanted.set | wanted.clear | wanted.propagation == 0 {
        return Ok(());
    }
    let change = Change::new(&wanted)?;
    let follow = flags & libc::AT_SYMLINK_NOFOLLOW == 0;
    let place = find(t, dirfd, path, follow, flags & libc::AT_EMPTY_PATH != 0)?;
    let is_detached = place.mount.namespace().is_none();
    if !is_mount_root(&place) || !is_detached && !is_ours(t, &place.mount) {
        return Err(Errno::INVAL);
    }
    let recursive = flags & libc::AT_RECURSIVE != 0;
    let mounts = if recursive { place.mount.subtree() } else { vec![place.mount.clone()] };
    for mount in &mounts {
        mount::reconfigure(mount, mount.flags().difference(change.clear) | change.set);
    }
    if let Some(propagation) = change.propagation {
        mount::set_propagation(&place.mount, propagation, recursive);
    }
    Ok(())
}

/// What is to be done to a mount.
struct Change {
    set: MountFlags,
    clear: MountFlags,
    propagation: Option<Propagation>,
}

impl Change {
    fn new(wanted: &MountAttr) -> SysResult<Change> {
        let propagation = match wanted.propagation {
            0 => None,
            kind => Some(Propagation::from_mount(kind).filter(|_| kind.count_ones() == 1).ok_or(Errno::INVAL)?),
        };
        if (wanted.set | wanted.clear) & !attr::VALID != 0 {
            return Err(Errno::INVAL);
        }
        let mut change = Change { set: flags_of(wanted.set), clear: flags_of(wanted.clear), propagation };
        match (wanted.clear & attr::ATIME, wanted.set & attr::ATIME) {
            (0, 0) => {}
            // Access times are one of several ways: which one is said by clearing all.
            (attr::ATIME, _) => {
                change.clear |= MountFlags::NOATIME | MountFlags::RELATIME;
                change.set |= atime_of(wanted.set)?;
            }
            _ => return Err(Errno::INVAL),
        }
        Ok(change)
    }
}
