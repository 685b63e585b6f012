//! Trees of mounts that stand nowhere yet (`fsmount(2)`, `open_tree(2)`): each lives as long as its descriptor, unless it
//! is put somewhere.

use super::tree::{self, Copied};
use super::{Mount, MountFlags, MountNamespace, propagation};
use crate::errno::{Errno, SysResult};
use crate::fs::dentry::Dentry;
use crate::fs::file::{File, FileOps};
use crate::fs::path::PathRef;
use std::any::Any;
use std::sync::{Arc, Weak};

/// What is behind the descriptor of such a tree.
#[derive(Debug)]
pub struct Detached {
    top: Arc<Mount>,
    /// It counts among the mounts of the namespace that it was made in, for it is as large.
    counted: (Weak<MountNamespace>, usize),
}

impl FileOps for Detached {
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Detached {
    fn file(namespace: &Arc<MountNamespace>, top: Arc<Mount>) -> SysResult<Arc<File>> {
        let size = top.subtree().len();
        if let Err(error) = namespace.reserve(size) {
            tree::scatter(&top);
            return Err(error);
        }
        let path = top.root_path();
        let detached = Detached { top, counted: (Arc::downgrade(namespace), size) };
        Ok(File::new(Box::new(detached), Some(path), libc::O_PATH))
    }

    /// A new mount.
    pub fn mount(namespace: &Arc<MountNamespace>, root: Arc<Dentry>, flags: MountFlags) -> SysResult<Arc<File>> {
        Detached::file(namespace, Mount::new(root, flags))
    }

    /// A copy of the tree at `source`, or of its top alone.
    pub fn copy(namespace: &Arc<MountNamespace>, source: &PathRef, recursive: bool) -> SysResult<Arc<File>> {
        let top = {
            let _lock = tree::lock();
            if propagation::is_unbindable(&source.mount) {
                return Err(Errno::INVAL);
            }
            let what = if recursive { Copied::Bindable } else { Copied::TopOnly };
            let copies = tree::copy_below(&source.mount, &source.dentry, what);
            copies.get(&source.mount.id).cloned().ok_or(Errno::INVAL)?
        };
        Detached::file(namespace, top)
    }
}

impl Drop for Detached {
    fn drop(&mut self) {
        if let Some(namespace) = self.counted.0.upgrade() {
            namespace.release(self.counted.1);
        }
        if self.top.namespace().is_none() {
            tree::scatter(&self.top);
        }
    }
}
