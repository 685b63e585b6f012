//! `/proc/sys` with the values that the container's configuration gives.

use super::sysctl::ENTRIES;
use crate::errno::{Errno, SysResult};
use crate::fs::attr::FileKind;
use crate::fs::inode::Inode;
use crate::fs::pseudo::{Body, Content, Directory, Fixed, FixedDir, Listed, Node, Reader};
use crate::kernel::container::Container;
use crate::net::stack::link::Link;
use crate::net::sysctl::{has_links, of_link};
use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Values by path below `/proc/sys`.
pub type Given = BTreeMap<String, String>;

/// Other values for parameters; the error names one that there is not.
pub fn sysctls(given: &[(String, String)]) -> Result<Given, String> {
    let mut paths = BTreeMap::new();
    for (name, value) in given {
        // Names may be written either way; with slashes dots are part of a name.
        let path = if name.contains('/') { name.clone() } else { name.replace('.', "/") };
        if !exists(&path) {
            return Err(format!("open /proc/sys/{path}: no such file or directory"));
        }
        paths.insert(path, format!("{}\n", as_shown(value)));
    }
    Ok(paths)
}

/// Several numbers are shown with tabs between them, however they were written.
fn as_shown(value: &str) -> String {
    let words: Vec<&str> = value.split_whitespace().collect();
    let are_numbers = words.iter().all(|word| word.parse::<i64>().is_ok());
    if are_numbers { words.join("\t") } else { value.to_owned() }
}

/// The value that the configuration gives to a parameter.
pub fn given(path: &str) -> Option<String> {
    Container::current().sysctls.get(path).map(|value| value.trim().to_owned())
}

fn exists(path: &str) -> bool {
    let mut entries = ENTRIES;
    let as_default = of_link(path).map(|(within, _, name)| format!("{within}default/{name}"));
    let mut names = as_default.as_deref().unwrap_or(path).split('/').peekable();
    while let Some(name) = names.next() {
        match entries.iter().find(|(known, _)| *known == name) {
            Some((_, Fixed::Dir(below))) => entries = below,
            Some(_) => return names.peek().is_none(),
            None => return false,
        }
    }
    false
}

/// A directory below `/proc/sys`, or that itself.
pub(super) struct SysctlDir {
    fixed: FixedDir,
    /// With a slash behind it unless empty.
    path: String,
}

/// Where interfaces are listed: behind what there always is.
const LINKS_AT: u64 = 16;

/// The number of an interface's directory; that by default is `ino`.
fn of_interface(ino: u64, index: u32) -> u64 {
    ino.wrapping_add(u64::from(index) << 40)
}

impl SysctlDir {
    fn is_of_links(&self) -> bool {
        has_links(&self.path)
    }

    /// The interface that an entry is named after.
    fn link(&self, reader: &Reader, name: &[u8]) -> Option<Arc<Link>> {
        let found = || reader.task.net().layout().link_named(name).cloned();
        found().filter(|_| self.is_of_links() && !matches!(name, b"all" | b"default"))
    }

    /// `/proc/sys`.
    pub(super) fn root(dev: u64, ino: u64) -> Box<dyn Directory> {
        Box::new(SysctlDir { fixed: FixedDir { dev, ino, entries: ENTRIES }, path: String::new() })
    }
}

impl Directory for SysctlDir {
    fn lookup(&self, reader: &Reader, name: &[u8]) -> SysResult<Node> {
        let path = format!("{}{}", self.path, String::from_utf8_lossy(name));
        let link = self.link(reader, name);
        let mut node = self.fixed.lookup(reader, if link.is_some() { b"default" } else { name })?;
        if let Body::Dir(dir) = &node.body {
            if let Some(FixedDir { dev, ino, entries }) = dir.as_any().downcast_ref() {
                let ino = of_interface(*ino, link.map_or(0, |link| link.index));
                let fixed = FixedDir { dev: *dev, ino, entries };
                node = Node::new(*dev, ino, 0o555, Body::Dir(Box::new(SysctlDir { fixed, path: path + "/" })));
            }
        } else if path.starts_with("net/") {
            let ino = node.ino();
            let (mode, text) = (if READ_ONLY.contains(&&*path) { 0o444 } else { 0o644 }, node.body);
            node = Node::new(self.fixed.dev, ino, mode, Body::File(Box::new(Parameter { path, text })));
        } else if let Some(value) = Container::current().sysctls.get(&path).cloned() {
            node.body = Body::File(Box::new(move |_: &Reader| Ok(value.as_bytes().to_vec())));
        }
        Ok(node)
    }

    fn list(&self, reader: &Reader) -> SysResult<Vec<Listed>> {
        let mut all = self.fixed.list(reader)?;
        if self.is_of_links() {
            let ino = self.fixed.lookup(reader, b"default")?.ino();
            all.extend(reader.task.net().layout().links().iter().map(|link| Listed {
                at: LINKS_AT + u64::from(link.index),
                name: link.name.as_bytes().to_vec(),
                kind: FileKind::Directory,
                ino: of_interface(ino, link.index),
            }));
        }
        Ok(all)
    }

    fn is_current(&self, reader: &Reader, name: &[u8], child: &Node) -> bool {
        // Another reader may see another interface of the name, or none.
        if !self.is_of_links() || matches!(name, b"all" | b"default") {
            return true;
        }
        let default = self.fixed.lookup(reader, b"default").map_or(0, |node| node.ino());
        self.link(reader, name).is_some_and(|link| of_interface(default, link.index) == child.ino())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Those that tell what cannot be changed.
const READ_ONLY: [&str; 8] = [
    "net/core/rmem_default",
    "net/core/rmem_max",
    "net/core/wmem_default",
    "net/core/wmem_max",
    "net/ipv4/tcp_available_congestion_control",
    "net/ipv4/tcp_allowed_congestion_control",
    "net/ipv4/conf/lo/mc_forwarding",
    "net/ipv6/conf/lo/mc_forwarding",
];

/// A parameter of the network, which guests may change.
struct Parameter {
    path: String,
    /// The file with its default.
    text: Body,
}

impl Content for Parameter {
    fn read(&self, reader: &Reader) -> SysResult<Vec<u8>> {
        if let Some(value) = reader.task.net().sysctl.text(&self.path) {
            return Ok((value + "\n").into_bytes());
        }
        match &self.text {
            Body::File(text) => text.read(reader),
            _ => Err(Errno::INVAL),
        }
    }

    fn write(&self, reader: &Reader, data: &[u8]) -> SysResult<()> {
        if READ_ONLY.contains(&&*self.path) {
            return Err(Errno::PERM);
        }
        let present = self.read(reader)?;
        reader.task.net().set_parameter(&self.path, &String::from_utf8_lossy(&present), data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_files() {
        assert!(exists("kernel/shmmax") && exists("net/ipv4/ip_unprivileged_port_start"));
        assert!(!exists("kernel") && !exists("kernel/nonsense") && !exists("kernel/shmmax/x") && !exists(""));
    }
}
