//! `/proc/sys` with the values that the container's configuration gives.

use super::sysctl::ENTRIES;
use super::sysctl_net;
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

/// Where the parameters of a network namespace are.
const NET: &str = "net/";
/// Where interfaces are listed: behind what there always is.
const LINKS_AT: u64 = 16;

/// The number of an interface's directory; that by default is `ino`.
fn of_interface(ino: u64, index: u32) -> u64 {
    ino.wrapping_add(u64::from(index) << 40)
}

impl SysctlDir {
    /// Whether the reader's namespace has no such entry, as only the first has it.
    fn is_hidden(&self, reader: &Reader, path: &str) -> bool {
        path.strip_prefix(NET).is_some_and(sysctl_net::is_of_first) && !reader.task.net().is_first()
    }

    fn path_of(&self, name: &[u8]) -> String {
        format!("{}{}", self.path, String::from_utf8_lossy(name))
    }

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
        let path = self.path_of(name);
        if self.is_hidden(reader, &path) {
            return Err(Errno::NOENT);
        }
        let link = self.link(reader, name);
        let mut node = self.fixed.lookup(reader, if link.is_some() { b"default" } else { name })?;
        if let Body::Dir(dir) = &node.body {
            if let Some(FixedDir { dev, ino, entries }) = dir.as_any().downcast_ref() {
                let ino = of_interface(*ino, link.map_or(0, |link| link.index));
                let fixed = FixedDir { dev: *dev, ino, entries };
                node = Node::new(*dev, ino, 0o555, Body::Dir(Box::new(SysctlDir { fixed, path: path + "/" })));
            }
        } else if let Some(below) = path.strip_prefix(NET) {
            let (ino, mode, text) = (node.ino(), sysctl_net::mode(below), node.body);
            let file: Box<dyn Content> = match below {
                "ipv4/route/flush" => Box::new(Flush { is_ipv4: true }),
                "ipv6/route/flush" => Box::new(Flush { is_ipv4: false }),
                _ => Box::new(Parameter { path, text }),
            };
            node = Node::new(self.fixed.dev, ino, mode, Body::File(file));
        } else if let Some(value) = Container::current().sysctls.get(&path).cloned() {
            node.body = Body::File(Box::new(move |_: &Reader| Ok(value.as_bytes().to_vec())));
        }
        Ok(node)
    }

    fn list(&self, reader: &Reader) -> SysResult<Vec<Listed>> {
        let mut all = self.fixed.list(reader)?;
        all.retain(|entry| !self.is_hidden(reader, &self.path_of(&entry.name)));
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
        // Another reader may see another interface of the name, or none, or less than another.
        if self.is_hidden(reader, &self.path_of(name)) {
            return false;
        }
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

/// A parameter of the network, which guests may change.
struct Parameter {
    path: String,
    /// The file with its default.
    text: Body,
}

impl Content for Parameter {
    fn read(&self, reader: &Reader) -> SysResult<Vec<u8>> {
        if let Some(value) = reader.task.net().parameter(&self.path) {
            return Ok((value + "\n").into_bytes());
        }
        match &self.text {
            Body::File(text) => text.read(reader),
            _ => Err(Errno::INVAL),
        }
    }

    fn write(&self, reader: &Reader, data: &[u8]) -> SysResult<()> {
        let net = reader.task.net();
        if self.path.strip_prefix(NET).is_some_and(|below| sysctl_net::mode(below) == 0o444) {
            return Err(Errno::PERM);
        }
        let present = self.read(reader)?;
        net.set_parameter(&self.path, &String::from_utf8_lossy(&present), data)
    }
}

/// Whatever number is written: what routers have said about ways is forgotten.
struct Flush {
    is_ipv4: bool,
}

impl Content for Flush {
    fn read(&self, _: &Reader) -> SysResult<Vec<u8>> {
        Err(Errno::INVAL)
    }

    fn write(&self, reader: &Reader, data: &[u8]) -> SysResult<()> {
        let _: i32 = String::from_utf8_lossy(data).trim().parse().map_err(|_| Errno::INVAL)?;
        reader.task.net().forget_paths(self.is_ipv4);
        Ok(())
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
