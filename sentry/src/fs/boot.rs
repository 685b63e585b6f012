//! The tree of files that a container starts with.

use super::attr::{FileKind, SetAttr, makedev};
use super::cgroupfs;
use super::dentry::Dentry;
use super::dev;
use super::devpts;
use super::file::File;
use super::host::{Access, HostFs};
use super::inode::Caller;
use super::mount::{self, Mount, MountFlags, MountNamespace, Propagation};
use super::namei::{self, Make};
use super::overlay;
use super::path::{FsContext, PathRef};
use super::proc;
use super::sysfs;
use super::tmpfs::{Options, Tmpfs};
use super::walk::{Last, Resolve, Walk};
use crate::boot::config::{DeviceSpec, MountKind, MountSpec, TmpfsSpec};
use crate::errno::{Errno, SysResult};
use crate::sync::RwLock;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Makes a file system of the type it is registered for. Gets the source and the options of `mount(2)`.
pub type MakeFs = fn(source: &str, options: &[u8]) -> SysResult<Arc<Dentry>>;

static TYPES: RwLock<BTreeMap<&'static str, MakeFs>> = RwLock::new(BTreeMap::new());

/// Registers a type of file system, for `mount(2)` and for the mounts of the configuration.
pub fn register_type(name: &'static str, make: MakeFs) {
    TYPES.write().insert(name, make);
}

/// Makes a file system of a type; `ENODEV` if there is no such type.
pub fn make_type(name: &str, source: &str, options: &[u8]) -> SysResult<Arc<Dentry>> {
    let make = TYPES.read().get(name).copied().ok_or(Errno::NODEV)?;
    make(source, options)
}

/// The types there are, for `/proc/filesystems`.
pub fn types() -> Vec<&'static str> {
    TYPES.read().keys().copied().collect()
}

/// Registers what this module and its neighbours implement.
pub fn register() {
    dev::register();
    proc::register();
    devpts::register();
    sysfs::register();
    cgroupfs::register();
    crate::ipc::mqueue_fs::register();
    register_type("tmpfs", |source, options| Ok(Tmpfs::mount(source, parsed(Options::default(), options)?)));
    register_type("ramfs", |source, options| {
        // Bounded as a tmpfs is, for it is the host's memory.
        Ok(Tmpfs::mount(source, parsed(Options { mode: 0o755, ..Options::default() }, options)?))
    });
    register_type("devtmpfs", |source, options| {
        dev::mount(source, parsed(Options { mode: 0o755, ..Options::default() }, options)?)
    });
}

fn parsed(mut options: Options, text: &[u8]) -> SysResult<Options> {
    options.parse(text)?;
    Ok(options)
}

/// What the configuration says of the tree.
#[derive(Debug)]
pub struct Tree<'a> {
    /// The mounts; the first is the root.
    pub mounts: Vec<MountSpec>,
    /// Devices besides the usual ones.
    pub devices: &'a [DeviceSpec],
    /// Propagation of the root, as `MS_*` flags.
    pub propagation: u64,
    /// Paths that are covered by something empty.
    pub masked: &'a [Vec<u8>],
    /// Paths that become read-only.
    pub readonly: &'a [Vec<u8>],
    /// The root becomes read-only at the end.
    pub readonly_root: bool,
    /// A directory that is made if it is missing.
    pub cwd: Option<&'a Vec<u8>>,
}

/// A place of the tree that cannot be as the configuration says.
#[derive(Debug, thiserror::Error)]
#[error("cannot mount at {}: {}", String::from_utf8_lossy(place), std::io::Error::from_raw_os_error(errno.raw()))]
pub struct BuildError {
    place: Vec<u8>,
    errno: Errno,
}

/// Says at which place something failed.
fn at<T>(place: &[u8], result: SysResult<T>) -> Result<T, BuildError> {
    result.map_err(|errno| BuildError { place: place.to_vec(), errno })
}

/// Builds the tree; the context of a first process in it.
pub fn build(tree: Tree<'_>) -> Result<Arc<FsContext>, BuildError> {
    let mut mounts = tree.mounts.into_iter();
    let root = at(b"/", mounts.next().ok_or(Errno::INVAL))?;
    // The root stays writable until all mount points are made.
    let flags = mount_flags(root.flags);
    let files = at(b"/", file_system(root.kind, &root.source, root.data.as_bytes()).and_then(directory))?;
    let root_mount = Mount::new(files, flags.difference(MountFlags::READONLY));
    let namespace = MountNamespace::new(root_mount.clone());
    let caller = Caller::kernel();
    for spec in mounts {
        at(&spec.dest.clone(), add(&caller, &namespace, spec))?;
    }
    for device in tree.devices {
        at(&device.path, make_device(&caller, &namespace, device))?;
    }
    if let Some(cwd) = tree.cwd {
        // What cannot be made is told when the first process goes there.
        let _ = mount_point(&caller, &namespace, cwd, true);
    }
    if let Some(propagation) = Propagation::from_mount(tree.propagation) {
        mount::set_propagation(&root_mount, propagation, tree.propagation & libc::MS_REC != 0);
    }
    for path in tree.readonly {
        at(path, remount_readonly(&caller, &namespace, path))?;
    }
    for path in tree.masked {
        at(path, mask(&caller, &namespace, path))?;
    }
    if tree.readonly_root || flags.contains(MountFlags::READONLY) {
        mount::reconfigure(&root_mount, flags | MountFlags::READONLY);
    }
    Ok(FsContext::new(namespace))
}

fn directory(root: Arc<Dentry>) -> SysResult<Arc<Dentry>> {
    if root.inode()?.kind() == FileKind::Directory { Ok(root) } else { Err(Errno::NOTDIR) }
}

fn mount_flags(flags: u64) -> MountFlags {
    MountFlags::from_mount(flags)
}

fn file_system(kind: MountKind, source: &str, data: &[u8]) -> SysResult<Arc<Dentry>> {
    match kind {
        MountKind::HostDir { fd, writable } | MountKind::HostFile { fd, writable } => {
            HostFs::mount(source, fd.into_fd(), if writable { Access::Writable } else { Access::ReadOnly })
        }
        MountKind::Overlay { lower } => overlay::mount("overlay", HostFs::lower(lower.into_fd())?, Options::default()),
        MountKind::Tmpfs(spec) => Ok(Tmpfs::mount(source, parsed(tmpfs_options(spec), data)?)),
        MountKind::Proc => make_type("proc", source, data),
        MountKind::Sysfs => make_type("sysfs", source, data),
        MountKind::Devtmpfs => make_type("devtmpfs", source, data),
        MountKind::Devpts if data.is_empty() => make_type("devpts", source, DEVPTS_OPTIONS),
        MountKind::Devpts => make_type("devpts", source, data),
        MountKind::Mqueue => make_type("mqueue", source, data),
        MountKind::Cgroup => make_type("cgroup2", source, data),
        MountKind::Text(text) => file_with(text.as_bytes()),
    }
}

/// A file in memory, alone in its file system.
fn file_with(text: &[u8]) -> SysResult<Arc<Dentry>> {
    let mount = Mount::new(Tmpfs::mount("tmpfs", Options { mode: 0o755, ..Options::default() }), MountFlags::empty());
    let caller = Caller::kernel();
    let made = namei::make(&caller, &mount.root_path(), b"text", &Make::new(FileKind::Regular, 0o644))?;
    made.inode()?.set_attr(&SetAttr { mode: Some(0o644), ..SetAttr::default() })?;
    let file = File::new(made.inode()?.clone().open(&caller, libc::O_WRONLY)?, Some(made.clone()), libc::O_WRONLY);
    file.ops.write(&file, text, 0)?;
    Ok(made.dentry)
}

/// As container engines have it.
const DEVPTS_OPTIONS: &[u8] = b"newinstance,ptmxmode=0666,mode=0620,gid=5";

fn tmpfs_options(spec: TmpfsSpec) -> Options {
    let mut options = Options { mode: spec.mode, uid: spec.uid, gid: spec.gid, ..Options::default() };
    if let Some(size) = spec.size {
        options.size = size;
    }
    options
}

fn add(caller: &Caller<'_>, namespace: &Arc<MountNamespace>, mut spec: MountSpec) -> SysResult<()> {
    // A tmpfs of which nothing is said looks like the directory in its place, as runc and crun have it.
    if let MountKind::Tmpfs(tmpfs) = &mut spec.kind
        && let Some(place) = find(caller, namespace, &spec.dest)?
    {
        tmpfs.mode = place.inode()?.attr()?.mode & 0o7777;
    }
    let root = match file_system(spec.kind, &spec.source, spec.data.as_bytes()) {
        // A kind that this sentry lacks leaves the place as it is.
        Err(Errno::NODEV) => {
            tracing::warn!(dest = %String::from_utf8_lossy(&spec.dest), "no such file system");
            return Ok(());
        }
        root => root?,
    };
    let is_dir = root.inode()?.kind() == FileKind::Directory;
    let place = mount_point(caller, namespace, &spec.dest, is_dir)?;
    if place.is_dir() != is_dir {
        return Err(Errno::NOTDIR);
    }
    let mount = mount::attach_new(root, mount_flags(spec.flags), &place)?;
    if let Some(propagation) = Propagation::from_mount(spec.flags) {
        mount::set_propagation(&mount, propagation, spec.flags & libc::MS_REC != 0);
    }
    Ok(())
}

/// The place at `path`; what is missing is made.
fn mount_point(caller: &Caller<'_>, namespace: &Arc<MountNamespace>, path: &[u8], is_dir: bool) -> SysResult<PathRef> {
    let root = namespace.root_path();
    let mut names = path.split(|b| *b == b'/').filter(|name| !name.is_empty()).peekable();
    let mut at = root.clone();
    while let Some(name) = names.next() {
        // Links in the image are followed, but never out of the container's root.
        let mut walk = Walk::new(caller, root.clone(), at.clone(), Resolve::empty());
        at = match walk.to(name, true) {
            Ok(found) => found,
            Err(Errno::NOENT) => {
                let last = names.peek().is_none();
                let kind = if last && !is_dir { FileKind::Regular } else { FileKind::Directory };
                make_point(caller, &root, &at, name, kind)?
            }
            Err(e) => return Err(e),
        };
    }
    Ok(at)
}

fn make_point(caller: &Caller<'_>, root: &PathRef, dir: &PathRef, name: &[u8], kind: FileKind) -> SysResult<PathRef> {
    let mode = if kind == FileKind::Directory { 0o755 } else { 0o644 };
    let made = namei::make(caller, dir, name, &Make::new(kind, mode));
    if made != Err(Errno::EXIST) {
        return made;
    }
    // A link that leads nowhere: what it names is made.
    let mut walk = Walk::new(caller, root.clone(), dir.clone(), Resolve::empty());
    let link = walk.child(name)?.ok_or(Errno::NOENT)?;
    let target = walk.follow(&link)?.ok_or(Errno::NOENT)?;
    match walk.to_parent(&target)? {
        Last::Name(name, _) => namei::make(caller, walk.at(), &name, &Make::new(kind, mode)),
        _ => Err(Errno::EXIST),
    }
}

/// Of what an image or a mount has there already, a device of the same numbers gets the mode and owner that are wanted.
fn make_device(caller: &Caller<'_>, namespace: &Arc<MountNamespace>, device: &DeviceSpec) -> SysResult<()> {
    let kind = FileKind::from_mode(device.mode).ok_or(Errno::INVAL)?;
    let at = device.path.iter().rposition(|b| *b == b'/').ok_or(Errno::INVAL)?;
    let (dir, name) = device.path.split_at_checked(at).ok_or(Errno::INVAL)?;
    let dir = mount_point(caller, namespace, dir, true)?;
    let name = name.get(1..).unwrap_or_default();
    let rdev = makedev(device.rdev.0, device.rdev.1);
    let made = match namei::make(caller, &dir, name, &Make { kind, mode: device.mode & 0o7777, rdev, target: b"" }) {
        Err(Errno::EXIST) => match find(caller, namespace, &device.path)? {
            Some(there) if is_device(&there, kind, rdev)? => there,
            _ => return Ok(()),
        },
        made => made?,
    };
    let (uid, gid) = (Some(device.uid), Some(device.gid));
    made.inode()?.set_attr(&SetAttr { mode: Some(device.mode & 0o7777), uid, gid, ..SetAttr::default() })
}

fn is_device(place: &PathRef, kind: FileKind, rdev: u64) -> SysResult<bool> {
    let inode = place.inode()?;
    Ok(inode.kind() == kind && inode.attr()?.rdev == rdev)
}

/// Has the terminal `name` of the first process be `/dev/console` as well.
pub fn console(fs: &FsContext, name: &str) -> SysResult<()> {
    let (caller, namespace) = (Caller::kernel(), fs.namespace());
    let Some(terminal) = find(&caller, &namespace, format!("/dev/pts/{name}").as_bytes())? else { return Ok(()) };
    let place = mount_point(&caller, &namespace, b"/dev/console", false)?;
    mount::bind(&terminal, false, &place).map(drop)
}

fn find(caller: &Caller<'_>, namespace: &Arc<MountNamespace>, path: &[u8]) -> SysResult<Option<PathRef>> {
    let root = namespace.root_path();
    match Walk::new(caller, root.clone(), root, Resolve::empty()).to(path, true) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(e) => Err(e),
    }
}

fn remount_readonly(caller: &Caller<'_>, namespace: &Arc<MountNamespace>, path: &[u8]) -> SysResult<()> {
    let Some(place) = find(caller, namespace, path)? else { return Ok(()) };
    let mount = mount::bind(&place, true, &place)?;
    mount::reconfigure(&mount, mount.flags() | MountFlags::READONLY);
    Ok(())
}

fn mask(caller: &Caller<'_>, namespace: &Arc<MountNamespace>, path: &[u8]) -> SysResult<()> {
    let Some(place) = find(caller, namespace, path)? else { return Ok(()) };
    let empty = Tmpfs::mount("tmpfs", Options { size: 4096, inodes: 2, mode: 0o755, ..Options::default() });
    if place.is_dir() {
        mount::attach_new(empty, MountFlags::READONLY, &place)?;
        return Ok(());
    }
    // A file is covered by an empty one that nobody can read more from than from `/dev/null`.
    let mount = Mount::new(empty, MountFlags::empty());
    let cover = namei::make(caller, &mount.root_path(), b"empty", &Make::new(FileKind::Regular, 0o444))?;
    cover.inode()?.set_attr(&SetAttr { mode: Some(0o444), ..SetAttr::default() })?;
    mount::attach_new(cover.dentry, MountFlags::READONLY, &place)?;
    Ok(())
}
