//! `/proc/PID/ns`: links to the namespaces of a process.

use super::process::Subject;
use crate::errno::{Errno, SysResult};
use crate::fs::attr::FileKind;
use crate::fs::inode::Link;
use crate::fs::nsfs;
use crate::fs::pseudo::{Body, Directory, Listed, Node, Reader, Target};
use crate::kernel::namespaces::{KINDS, Kind, Namespace};
use std::any::Any;
use std::sync::Arc;

/// The directory.
pub(super) struct NsDir {
    pub(super) subject: Arc<Subject>,
    pub(super) dev: u64,
    pub(super) ino: u64,
}

impl NsDir {
    /// Behind the numbers of the process's entries.
    fn link_ino(&self, at: usize) -> u64 {
        self.ino + ((at as u64 + 1) << 8)
    }
}

impl Directory for NsDir {
    fn lookup(&self, _: &Reader, name: &[u8]) -> SysResult<Node> {
        let mut all = KINDS.into_iter().enumerate();
        let (at, kind) = all.find(|(_, kind)| kind.name.as_bytes() == name).ok_or(Errno::NOENT)?;
        let link = NsLink { subject: self.subject.clone(), kind };
        Ok(Node::new(self.dev, self.link_ino(at), 0o777, Body::Link(Box::new(link))))
    }

    fn list(&self, _: &Reader) -> SysResult<Vec<Listed>> {
        let listed = KINDS.into_iter().enumerate().map(|(at, kind)| Listed {
            at: at as u64,
            name: kind.name.as_bytes().to_vec(),
            kind: FileKind::Symlink,
            ino: self.link_ino(at),
        });
        Ok(listed.collect())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

struct NsLink {
    subject: Arc<Subject>,
    kind: Kind,
}

impl NsLink {
    fn namespace(&self, reader: &Reader) -> SysResult<Namespace> {
        Ok(Namespace::of(&*self.subject.inspect(reader)?, self.kind))
    }
}

impl Target for NsLink {
    fn text(&self, reader: &Reader) -> SysResult<Vec<u8>> {
        Ok(self.namespace(reader)?.text().into_bytes())
    }

    fn follow(&self, reader: &Reader) -> SysResult<Link> {
        Ok(Link::Jump(nsfs::place(self.namespace(reader)?)))
    }
}
