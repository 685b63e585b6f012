//! `tmpfs(5)`: files in memory; and, with a directory beneath it, the memory layer of an
//! [`overlay`](super::overlay).
//!
//! A [`Node`] is an inode. [`dir`] holds directories, [`listing`] the names of lower ones, [`data`] what regular files contain, [`file`] what is
//! open. A node that stands for something in the lower directory is made at lookup and forgotten with its
//! dentry, until it is changed: from then on its directory keeps it ([`node`]).

mod data;
mod dir;
mod file;
mod inode;
mod listing;
mod node;
mod options;
mod xattr;

pub use data::ANY_SEAL;
pub use file::TmpFile;
pub use node::Node;
pub use options::Options;

use super::attr::{FileKind, FsStat, now};
use super::dentry::Dentry;
use super::host::Lower;
use super::inode::FileSystem;
use super::superblock::{SuperBlock, alloc_dev};
use crate::errno::{Errno, SysResult};
use crate::sync::Mutex;
use listing::Listings;
use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Unit of accounting.
const PAGE: u64 = 4096;

/// `TMPFS_MAGIC`.
const MAGIC: u64 = 0x0102_1994;
/// `OVERLAYFS_SUPER_MAGIC`.
const OVERLAY_MAGIC: u64 = 0x794c_7630;

/// First inode number of nodes in memory above a lower directory, whose own numbers come from the host.
const OVERLAY_INO: u64 = 1 << 48;

/// What all nodes of a file system share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) dev: u64,
    is_overlay: bool,
    /// Pages in use in the lower directory's file system, which `statfs(2)` shows beside the layer's own.
    beneath: u64,
    next_ino: AtomicU64,
    /// Pages and inodes in use, and at most.
    pages: Gauge,
    inodes: Gauge,
    /// Bytes of extended attributes, for which the limit of data holds once more.
    xattrs: Gauge,
    /// Held while nodes of the lower directory begin to be kept or lose their names.
    keeping: Mutex<Links>,
    listings: Listings,
}

/// Nodes of the lower directory that have several names there, by number. One that was changed is kept.
#[derive(Debug, Default)]
struct Links {
    kept: HashMap<u64, Arc<Node>>,
    known: HashMap<u64, std::sync::Weak<Node>>,
}

/// A use with a limit.
#[derive(Debug)]
struct Gauge {
    used: AtomicU64,
    max: AtomicU64,
}

impl Gauge {
    fn new(max: u64) -> Gauge {
        Gauge { used: AtomicU64::new(0), max: AtomicU64::new(max) }
    }

    fn take(&self, count: u64) -> SysResult<()> {
        let max = self.max.load(Ordering::Relaxed);
        let more = |used: u64| used.checked_add(count).filter(|sum| *sum <= max);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).map(drop).map_err(|_| Errno::NOSPC)
    }

    /// Takes what is in use already, whatever the limit.
    fn force(&self, count: u64) {
        self.used.fetch_add(count, Ordering::Relaxed);
    }

    fn give(&self, count: u64) {
        self.used.fetch_sub(count, Ordering::Relaxed);
    }

    fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    fn free(&self) -> u64 {
        self.max().saturating_sub(self.used())
    }

    fn max(&self) -> u64 {
        self.max.load(Ordering::Relaxed)
    }
}

/// The file system.
#[derive(Debug)]
pub struct Tmpfs {
    shared: Arc<Shared>,
    options: Options,
}

impl Tmpfs {
    /// A new, empty one; its root dentry.
    pub fn mount(source: &str, options: Options) -> Arc<Dentry> {
        let shared = Shared::new(&options, None);
        let root = Node::memory_root(&shared, &options);
        SuperBlock::make(Tmpfs { shared, options }, root, source)
    }

    /// A memory layer over `lower`.
    pub(super) fn mount_over(source: &str, lower: Lower, options: Options) -> SysResult<Arc<Dentry>> {
        if lower.root.kind() != FileKind::Directory {
            return Err(Errno::NOTDIR);
        }
        let shared = Shared::new(&options, Some(lower.used.div_ceil(PAGE)));
        let root = Node::over(&shared, lower.root, None)?;
        Ok(SuperBlock::make(Tmpfs { shared, options }, root, source))
    }
}

impl Shared {
    /// `beneath` are the pages in use below an overlay.
    fn new(options: &Options, beneath: Option<u64>) -> Arc<Shared> {
        let is_overlay = beneath.is_some();
        Arc::new(Shared {
            dev: alloc_dev(),
            is_overlay,
            beneath: beneath.unwrap_or(0),
            next_ino: AtomicU64::new(if is_overlay { OVERLAY_INO } else { 1 }),
            pages: Gauge::new(options.size.div_ceil(PAGE)),
            inodes: Gauge::new(options.inodes),
            xattrs: Gauge::new(options.size),
            keeping: Mutex::default(),
            listings: Listings::default(),
        })
    }
}

impl FileSystem for Tmpfs {
    fn fstype(&self) -> &'static str {
        if self.shared.is_overlay { "overlay" } else { "tmpfs" }
    }

    fn dev(&self) -> u64 {
        self.shared.dev
    }

    fn statfs(&self) -> SysResult<FsStat> {
        let (pages, inodes) = (&self.shared.pages, &self.shared.inodes);
        let bfree = pages.free();
        Ok(FsStat {
            magic: if self.shared.is_overlay { OVERLAY_MAGIC } else { MAGIC },
            bsize: PAGE,
            blocks: pages.max().saturating_add(self.shared.beneath),
            bfree,
            bavail: bfree,
            files: inodes.max(),
            ffree: inodes.free(),
            namelen: 255,
        })
    }

    fn options(&self) -> String {
        if self.shared.is_overlay { String::new() } else { self.options.show() }
    }

    fn shrink(&self) {
        self.shared.listings.clear();
    }

    fn remount(&self, options: &[u8]) -> SysResult<()> {
        let mut new = Options {
            size: self.shared.pages.max().saturating_mul(PAGE),
            inodes: self.shared.inodes.max(),
            ..self.options.clone()
        };
        new.parse(options)?;
        if new.size.div_ceil(PAGE) < self.shared.pages.used() || new.inodes < self.shared.inodes.used() {
            return Err(Errno::INVAL);
        }
        self.shared.pages.max.store(new.size.div_ceil(PAGE), Ordering::Relaxed);
        self.shared.inodes.max.store(new.inodes, Ordering::Relaxed);
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// A regular file without a name or a mount, for `memfd_create(2)` and shared anonymous memory.
///
/// All of them together have the room of one file system: their pages are nobody's that the host could kill.
pub fn unnamed_file(mode: u32, uid: u32, gid: u32, seals: u32) -> SysResult<Arc<Node>> {
    use std::sync::OnceLock;
    static KERNEL_MOUNT: OnceLock<Arc<Shared>> = OnceLock::new();
    let shared = KERNEL_MOUNT.get_or_init(|| Shared::new(&Options { inodes: u64::MAX, ..Options::default() }, None));
    let new = super::attr::NewNode { kind: FileKind::Regular, mode, uid, gid, rdev: 0, target: Vec::new() };
    let node = Node::make(shared, &new, now())?;
    node.set_seals(seals);
    node.lose_name();
    Ok(node)
}
