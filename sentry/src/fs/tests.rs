//! Walks, names, mounts and layers, without a guest.

use super::attr::{FileKind, SetAttr};
use super::file::OFFSET_APPEND;
use super::host::{Access, HostFs};
use super::inode::{Caller, Rename};
use super::mount::{self, Mount, MountFlags, MountNamespace, Propagation};
use super::namei::{self, Make, Side};
use super::open::{self, How, Opened};
use super::overlay;
use super::path::{FsContext, PathRef};
use super::tmpfs::{Options, Tmpfs};
use super::walk::{Last, Resolve, Walk};
use crate::errno::{Errno, SysResult};
use crate::fs::File;
use rustix::fs::{Mode, OFlags};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A tree to try things in.
struct World {
    fs: Arc<FsContext>,
    caller: Caller<'static>,
    /// A directory of the host, removed at the end.
    host: Option<PathBuf>,
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(host) = &self.host {
            let _ = std::fs::remove_dir_all(host);
        }
    }
}

impl World {
    fn tmpfs() -> World {
        let root = Tmpfs::mount("tmpfs", Options { mode: 0o755, ..Options::default() });
        World::over(root, None)
    }

    fn over(root: Arc<super::dentry::Dentry>, host: Option<PathBuf>) -> World {
        let namespace = MountNamespace::new(Mount::new(root, MountFlags::empty()));
        World { fs: FsContext::new(namespace), caller: Caller::kernel(), host }
    }

    fn host_dir(name: &str) -> (PathBuf, OwnedFd) {
        let procfs = rustix::fs::open("/proc", OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        super::host::open_self_fd(&procfs).unwrap();
        let dir = std::env::temp_dir().join(format!("runsc-fs-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(dir.join("lower/deep")).unwrap();
        std::fs::write(dir.join("lower/one"), b"one").unwrap();
        std::fs::write(dir.join("lower/deep/two"), b"two").unwrap();
        std::fs::hard_link(dir.join("lower/one"), dir.join("lower/other")).unwrap();
        std::os::unix::fs::symlink("lower/one", dir.join("link")).unwrap();
        let fd = rustix::fs::open(&dir, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        (dir, fd)
    }

    fn overlay(name: &str) -> World {
        let (dir, fd) = World::host_dir(name);
        let root = overlay::mount("overlay", HostFs::lower(fd).unwrap(), Options::default()).unwrap();
        World::over(root, Some(dir))
    }

    fn find(&self, path: &str) -> SysResult<PathRef> {
        Walk::new(&self.caller, self.fs.root(), self.fs.root(), Resolve::empty()).to(path.as_bytes(), true)
    }

    fn parent(&self, path: &str) -> (PathRef, Vec<u8>) {
        let mut walk = Walk::new(&self.caller, self.fs.root(), self.fs.root(), Resolve::empty());
        match walk.to_parent(path.as_bytes()).unwrap() {
            Last::Name(name, _) => (walk.at().clone(), name),
            last => panic!("{last:?}"),
        }
    }

    fn make(&self, path: &str, what: &Make<'_>) -> SysResult<PathRef> {
        let (dir, name) = self.parent(path);
        namei::make(&self.caller, &dir, &name, what)
    }

    fn mkdir(&self, path: &str) -> PathRef {
        self.make(path, &Make::new(FileKind::Directory, 0o755)).unwrap()
    }

    fn symlink(&self, target: &str, path: &str) {
        let what = Make { kind: FileKind::Symlink, mode: 0o777, rdev: 0, target: target.as_bytes() };
        self.make(path, &what).unwrap();
    }

    fn remove(&self, path: &str, is_dir: bool) -> SysResult<()> {
        let (dir, name) = self.parent(path);
        namei::remove(&self.caller, &dir, &name, false, is_dir)
    }

    fn rename(&self, old: &str, new: &str, how: Rename) -> SysResult<()> {
        let (old_dir, old_name) = self.parent(old);
        let (new_dir, new_name) = self.parent(new);
        let old = Side { dir: &old_dir, name: &old_name, slash: false };
        let new = Side { dir: &new_dir, name: &new_name, slash: false };
        namei::rename(&self.caller, &old, &new, how)
    }

    fn open(&self, path: &str, flags: i32) -> SysResult<Arc<File>> {
        let how = How::new(flags, 0o644, Resolve::empty())?;
        let root = self.fs.root();
        match open::open(&self.caller, root.clone(), root, 0o022, path.as_bytes(), &how)? {
            Opened::File(file) => Ok(file),
            Opened::Fifo(_) | Opened::Leased(..) => panic!("not a plain file"),
        }
    }

    fn write(&self, path: &str, bytes: &[u8]) {
        let file = self.open(path, libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC).unwrap();
        assert_eq!(file.ops.write(&file, bytes, 0).unwrap().count, bytes.len());
    }

    fn read(&self, path: &str) -> Vec<u8> {
        let file = self.open(path, libc::O_RDONLY).unwrap();
        let mut bytes = vec![0; 1 << 20];
        let count = file.ops.read(&file, &mut bytes, 0).unwrap();
        bytes.truncate(count);
        bytes
    }

    fn list(&self, path: &str) -> Vec<String> {
        let dir = self.open(path, libc::O_RDONLY | libc::O_DIRECTORY).unwrap();
        let mut names = Vec::new();
        let mut pos = 0;
        loop {
            // One at a time, so that positions are put to the test.
            let mut one = None;
            dir.ops
                .readdir(&dir, &mut pos, &mut |name, _, _, _| {
                    let is_first = one.is_none();
                    if is_first {
                        one = Some(String::from_utf8_lossy(name).into_owned());
                    }
                    is_first
                })
                .unwrap();
            match one {
                Some(name) if name == "." || name == ".." => {}
                Some(name) => names.push(name),
                None => break,
            }
        }
        names.sort();
        names
    }

    fn text(&self, path: &PathRef) -> String {
        String::from_utf8(path.text(&self.fs.root()).0).unwrap()
    }
}

#[test]
fn walks_follow_links_and_dots() {
    let world = World::tmpfs();
    world.mkdir("/a");
    world.mkdir("/a/b");
    world.symlink("b/..", "/a/up");
    world.symlink("/a/loop", "/a/loop");
    assert_eq!(world.text(&world.find("/a/up/b/./../b//").unwrap()), "/a/b");
    assert_eq!(world.text(&world.find("/../..").unwrap()), "/");
    assert_eq!(world.find("/a/loop").unwrap_err(), Errno::LOOP);
    assert_eq!(world.find("/a/none/..").unwrap_err(), Errno::NOENT);
    world.write("/a/file", b"");
    assert_eq!(world.find("/a/file/").unwrap_err(), Errno::NOTDIR);
    assert_eq!(world.find("/a/file/x").unwrap_err(), Errno::NOTDIR);
    assert_eq!(world.find(&"x".repeat(256)).unwrap_err(), Errno::NAMETOOLONG);
}

#[test]
fn resolve_flags_confine_walks() {
    let world = World::tmpfs();
    let dir = world.mkdir("/jail");
    world.symlink("/", "/jail/out");
    let walk =
        |resolve, path: &str| Walk::new(&world.caller, world.fs.root(), dir.clone(), resolve).to(path.as_bytes(), true);
    assert_eq!(walk(Resolve::BENEATH, "out").unwrap_err(), Errno::XDEV);
    assert_eq!(walk(Resolve::BENEATH, "..").unwrap_err(), Errno::XDEV);
    assert_eq!(walk(Resolve::NO_SYMLINKS, "out").unwrap_err(), Errno::LOOP);
    assert_eq!(world.text(&walk(Resolve::IN_ROOT, "out/..").unwrap()), "/jail");
    assert_eq!(world.text(&walk(Resolve::empty(), "out").unwrap()), "/");
}

#[test]
fn names_move_with_their_dentries() {
    let world = World::tmpfs();
    world.mkdir("/a");
    world.mkdir("/a/b");
    world.mkdir("/c");
    let b = world.find("/a/b").unwrap();
    world.rename("/a/b", "/c/d", Rename::Replace).unwrap();
    assert_eq!(world.text(&b), "/c/d");
    assert_eq!(world.find("/a/b").unwrap_err(), Errno::NOENT);
    assert_eq!(world.rename("/c", "/c/d/e", Rename::Replace).unwrap_err(), Errno::INVAL);
    assert_eq!(world.rename("/a", "/c", Rename::Replace).unwrap_err(), Errno::NOTEMPTY);
    assert_eq!(world.rename("/a", "/c", Rename::NoReplace).unwrap_err(), Errno::EXIST);
    world.rename("/a", "/c", Rename::Exchange).unwrap();
    assert_eq!(world.text(&b), "/a/d");
    assert_eq!(world.find("/").unwrap().inode().unwrap().attr().unwrap().nlink, 4);
    assert_eq!(world.remove("/a", true).unwrap_err(), Errno::NOTEMPTY);
    world.remove("/a/d", true).unwrap();
    assert!(b.dentry.is_unlinked());
    assert_eq!(namei::make(&world.caller, &b, b"x", &Make::new(FileKind::Regular, 0)).unwrap_err(), Errno::NOENT);
}

#[test]
fn listings_go_on_where_they_were_while_names_change() {
    let world = World::tmpfs();
    for n in 0..100 {
        world.write(&format!("/f{n}"), b"");
    }
    assert_eq!(world.list("/").len(), 100);
    let dir = world.open("/", libc::O_RDONLY | libc::O_DIRECTORY).unwrap();
    let mut pos = 0;
    let mut seen = Vec::new();
    while seen.len() < 102 {
        let before = seen.len();
        dir.ops
            .readdir(&dir, &mut pos, &mut |name, _, _, _| {
                seen.push(name.to_vec());
                seen.len() < before + 2
            })
            .unwrap();
        // The last one given is to be given again.
        seen.pop();
        if seen.len() == before {
            break;
        }
        let last = String::from_utf8(seen.last().unwrap().clone()).unwrap();
        if last.starts_with('f') {
            world.remove(&format!("/{last}"), false).unwrap();
        }
    }
    assert!(seen.len() >= 101);
}

#[test]
fn files_grow_from_heap_to_memory_file() {
    let world = World::tmpfs();
    let file = world.open("/f", libc::O_CREAT | libc::O_RDWR).unwrap();
    let chunk = [7; 1000];
    for n in 0..200_u64 {
        let written = file.ops.write(&file, &chunk, OFFSET_APPEND).unwrap();
        assert_eq!(written.end, (n + 1) * 1000);
    }
    assert_eq!(world.read("/f"), vec![7; 200_000]);
    let attr = file.inode().unwrap().attr().unwrap();
    assert_eq!((attr.size, attr.blocks), (200_000, 49 * 8));
    file.ops.truncate(10).unwrap();
    file.ops.truncate(100_000).unwrap();
    assert_eq!(file.ops.size().unwrap(), 100_000);
    assert_eq!(file.inode().unwrap().attr().unwrap().blocks, 8);
}

#[test]
fn a_full_tmpfs_says_so_and_gives_back() {
    let options = Options { size: 40 * 4096, inodes: 3, ..Options::default() };
    let world = World::over(Tmpfs::mount("tmpfs", options), None);
    let file = world.open("/f", libc::O_CREAT | libc::O_RDWR).unwrap();
    assert_eq!(file.ops.write(&file, &[1; 41 * 4096], 0).unwrap().count, 40 * 4096);
    assert_eq!(file.ops.write(&file, &[1; 1], 40 * 4096).unwrap_err(), Errno::NOSPC);
    file.ops.truncate(0).unwrap();
    file.ops.write(&file, &[1; 40 * 4096], 0).unwrap();
    world.remove("/f", false).unwrap();
    drop(file);
    world.write("/g", &[1; 40 * 4096]);
    world.write("/h", b"");
    assert_eq!(world.make("/i", &Make::new(FileKind::Regular, 0)).unwrap_err(), Errno::NOSPC);
}

#[test]
fn an_overlay_hides_changes_from_below() {
    let world = World::overlay("hides");
    let host = world.host.clone().unwrap();
    assert_eq!(world.read("/link"), b"one");
    world.write("/lower/one", b"changed");
    assert_eq!(world.read("/lower/other"), b"changed");
    assert_eq!(std::fs::read(host.join("lower/one")).unwrap(), b"one");
    world.remove("/lower/one", false).unwrap();
    assert_eq!(world.find("/lower/one").unwrap_err(), Errno::NOENT);
    assert_eq!(world.read("/lower/other"), b"changed");
    assert_eq!(world.find("/lower/other").unwrap().inode().unwrap().attr().unwrap().nlink, 1);
    assert_eq!(world.list("/lower"), ["deep", "other"]);
    world.write("/lower/one", b"new");
    assert_eq!(world.list("/lower"), ["deep", "one", "other"]);
}

#[test]
fn an_overlay_moves_directories_from_below() {
    let world = World::overlay("moves");
    world.rename("/lower", "/upper", Rename::Replace).unwrap();
    assert_eq!(world.list("/"), ["link", "upper"]);
    assert_eq!(world.read("/upper/deep/two"), b"two");
    world.mkdir("/lower");
    assert_eq!(world.list("/lower"), Vec::<String>::new());
    world.remove("/upper/deep/two", false).unwrap();
    world.remove("/upper/deep", true).unwrap();
    assert_eq!(world.list("/upper"), ["one", "other"]);
}

#[test]
fn an_overlay_keeps_attributes_when_dentries_are_forgotten() {
    let world = World::overlay("attributes");
    let two = world.find("/lower/deep/two").unwrap();
    let change = SetAttr { uid: Some(7), mode: Some(0o600), ..SetAttr::default() };
    two.inode().unwrap().set_attr(&change).unwrap();
    let ino = two.inode().unwrap().ino();
    let sb = two.dentry.sb.clone();
    drop(two);
    sb.shrink();
    let attr = world.find("/lower/deep/two").unwrap().inode().unwrap().attr().unwrap();
    assert_eq!((attr.uid, attr.mode & 0o7777, attr.size, attr.ino), (7, 0o600, 3, ino));
}

#[test]
fn names_are_forgotten_when_the_host_is_short_of_memory() {
    use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType};
    let world = World::overlay("pressure");
    let two = Arc::downgrade(&world.find("/lower/deep/two").unwrap().dentry);
    assert!(two.strong_count() > 0);
    // As the host's trigger does, it has an exceptional condition: here a byte out of band.
    let kind = (AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC);
    let (host, trigger) = rustix::net::socketpair(kind.0, kind.1, kind.2, None).unwrap();
    std::thread::spawn(move || super::pressure::relieve(&trigger));
    std::thread::sleep(Duration::from_millis(50));
    assert!(two.strong_count() > 0);
    rustix::net::send(&host, b"!", SendFlags::OOB).unwrap();
    let since = Instant::now();
    while two.strong_count() > 0 {
        assert!(since.elapsed() < Duration::from_secs(20), "the name is still there");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(world.read("/lower/deep/two"), b"two");
}

#[test]
fn host_changes_show_and_writes_go_through() {
    let (dir, fd) = World::host_dir("shared");
    let world = World::over(HostFs::mount("none", fd, Access::Writable).unwrap(), Some(dir.clone()));
    assert_eq!(world.find("/new").unwrap_err(), Errno::NOENT);
    std::fs::write(dir.join("new"), b"x").unwrap();
    assert_eq!(world.read("/new"), b"x");
    world.write("/mine", b"mine");
    assert_eq!(std::fs::read(dir.join("mine")).unwrap(), b"mine");
    world.rename("/mine", "/lower/yours", Rename::Replace).unwrap();
    assert_eq!(std::fs::read(dir.join("lower/yours")).unwrap(), b"mine");
    assert_eq!(world.list("/lower"), ["deep", "one", "other", "yours"]);
    let open = world.open("/new", libc::O_RDWR).unwrap();
    world.remove("/new", false).unwrap();
    assert_eq!(open.inode().unwrap().attr().unwrap().nlink, 0);
    std::os::unix::fs::symlink("/etc", dir.join("escape")).unwrap();
    assert_eq!(world.find("/escape/passwd").unwrap_err(), Errno::NOENT);
}

#[test]
fn mounts_cover_and_uncover() {
    let world = World::tmpfs();
    let place = world.mkdir("/mnt");
    let other = Tmpfs::mount("tmpfs", Options::default());
    let mount = mount::attach_new(other, MountFlags::empty(), &place).unwrap();
    world.mkdir("/mnt/inner");
    assert_eq!(world.text(&world.find("/mnt/inner/..").unwrap()), "/mnt");
    assert_eq!(world.remove("/mnt", true).unwrap_err(), Errno::BUSY);
    let bound = world.mkdir("/bound");
    mount::bind(&world.find("/mnt/inner").unwrap(), false, &bound).unwrap();
    world.write("/bound/file", b"x");
    assert_eq!(world.read("/mnt/inner/file"), b"x");
    mount::detach(&mount, true, |_| false).unwrap();
    assert_eq!(world.find("/mnt/inner").unwrap_err(), Errno::NOENT);
    assert_eq!(world.read("/bound/file"), b"x");
}

#[test]
fn shared_mounts_propagate_and_private_ones_do_not() {
    let world = World::tmpfs();
    let a = world.mkdir("/a");
    let b = world.mkdir("/b");
    let mount_a = mount::attach_new(Tmpfs::mount("tmpfs", Options::default()), MountFlags::empty(), &a).unwrap();
    mount::set_propagation(&mount_a, Propagation::Shared, false);
    let mount_b = mount::bind(&world.find("/a").unwrap(), false, &b).unwrap();
    let sub = world.mkdir("/a/sub");
    let inner = mount::attach_new(Tmpfs::mount("tmpfs", Options::default()), MountFlags::empty(), &sub).unwrap();
    world.write("/a/sub/file", b"x");
    assert_eq!(world.read("/b/sub/file"), b"x");
    mount::detach(&inner, false, |_| false).unwrap();
    assert_eq!(world.list("/b/sub"), Vec::<String>::new());
    mount::set_propagation(&mount_b, Propagation::Private, false);
    let sub = world.find("/a/sub").unwrap();
    mount::attach_new(Tmpfs::mount("tmpfs", Options::default()), MountFlags::empty(), &sub).unwrap();
    world.write("/a/sub/file", b"x");
    assert_eq!(world.list("/b/sub"), Vec::<String>::new());
}

#[test]
fn deep_trees_are_dropped_without_deep_stacks() {
    let world = World::tmpfs();
    let mut at = world.fs.root();
    for _ in 0..100_000 {
        at = namei::make(&world.caller, &at, b"d", &Make::new(FileKind::Directory, 0o755)).unwrap();
    }
    drop(at);
    drop(world);
}
