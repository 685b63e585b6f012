//! The root of `/proc`.

use super::process::{ProcessDir, Subject};
use super::sysctl_dir::SysctlDir;
use super::{ROOT_INO, system};
use crate::errno::{Errno, SysResult};
use crate::fs::attr::FileKind;
use crate::fs::pseudo::{Directory, Fixed, FixedDir, Listed, Node, Reader};
use std::any::Any;
use std::sync::Arc;

/// What is there besides processes.
const ENTRIES: &[(&str, Fixed)] = &[
    ("cgroups", Fixed::Text(CGROUPS)),
    ("cmdline", Fixed::Text("console=none\n")),
    ("cpuinfo", Fixed::File(0o444, system::cpuinfo)),
    ("consoles", Fixed::Text("")),
    ("devices", Fixed::File(0o444, system::devices)),
    ("diskstats", Fixed::Text("")),
    ("execdomains", Fixed::Text("0-0\tLinux           \t[kernel]\n")),
    ("filesystems", Fixed::File(0o444, system::filesystems)),
    ("loadavg", Fixed::File(0o444, system::loadavg)),
    ("locks", Fixed::File(0o444, |_| Ok(crate::fs::lock::describe().into_bytes()))),
    ("meminfo", Fixed::File(0o444, system::meminfo)),
    ("modules", Fixed::Text("")),
    ("mounts", Fixed::Link("self/mounts")),
    ("net", Fixed::Link("self/net")),
    ("partitions", Fixed::Text("major minor  #blocks  name\n\n")),
    ("self", Fixed::LinkTo(own_process)),
    ("stat", Fixed::File(0o444, system::stat)),
    ("swaps", Fixed::Text("Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n")),
    ("sys", Fixed::Made(SysctlDir::root)),
    ("sysvipc", Fixed::Dir(super::sysvipc::ENTRIES)),
    ("thread-self", Fixed::LinkTo(own_thread)),
    ("tty", Fixed::Dir(&[("drivers", Fixed::Text(TTY_DRIVERS))])),
    ("uptime", Fixed::File(0o444, system::uptime)),
    ("version", Fixed::File(0o444, system::version)),
    ("vmstat", Fixed::File(0o444, system::vmstat)),
];

/// What `ps` knows terminals by.
const TTY_DRIVERS: &str = "\
/dev/tty             /dev/tty        5       0 system:/dev/tty
/dev/console         /dev/console    5       1 system:console
/dev/ptmx            /dev/ptmx       5       2 system
pty_slave            /dev/pts      136 0-1048575 pty:slave
pty_master           /dev/ptm      128 0-1048575 pty:master
";

/// All in the second version's hierarchy, by which programs tell that it is the one in use.
const CGROUPS: &str = "\
#subsys_name\thierarchy\tnum_cgroups\tenabled
cpuset\t0\t1\t1
cpu\t0\t1\t1
cpuacct\t0\t1\t1
memory\t0\t1\t1
pids\t0\t1\t1
";

fn own_process(reader: &Reader) -> SysResult<Vec<u8>> {
    Ok(reader.task.group.tgid.to_string().into_bytes())
}

fn own_thread(reader: &Reader) -> SysResult<Vec<u8>> {
    Ok(format!("{}/task/{}", reader.task.group.tgid, reader.task.tid()).into_bytes())
}

/// Positions of processes in the listing begin here.
const PROCESSES: u64 = 256;

/// The directory.
#[derive(Debug)]
pub(super) struct Root {
    pub(super) dev: u64,
}

impl Root {
    fn fixed(&self) -> FixedDir {
        FixedDir { dev: self.dev, ino: ROOT_INO, entries: ENTRIES }
    }

    fn subject(reader: &Reader, name: &[u8]) -> SysResult<Subject> {
        let pid = number(name).ok_or(Errno::NOENT)?;
        let tree = reader.kernel().tree.lock();
        // A thread's id leads to the thread, although it is not listed.
        let subject = match tree.group(pid) {
            Some(group) => Subject { group, task: None },
            None => {
                let task = tree.task(pid).ok_or(Errno::NOENT)?;
                Subject { group: task.group.clone(), task: Some(task) }
            }
        };
        Ok(subject)
    }
}

/// A decimal number as the kernel writes it: no sign, no leading zero.
pub(super) fn number(name: &[u8]) -> Option<i32> {
    let text = std::str::from_utf8(name).ok()?;
    let is_plain = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0') || text == "0";
    is_plain.then(|| text.parse().ok()).flatten()
}

impl Directory for Root {
    fn lookup(&self, reader: &Reader, name: &[u8]) -> SysResult<Node> {
        match self.fixed().lookup(reader, name) {
            Err(Errno::NOENT) => Ok(ProcessDir::node(self.dev, Arc::new(Self::subject(reader, name)?))),
            found => found,
        }
    }

    fn lookup_fixed(&self, name: &[u8]) -> SysResult<Node> {
        self.fixed().lookup_fixed(name)
    }

    fn list(&self, reader: &Reader) -> SysResult<Vec<Listed>> {
        let mut entries = self.fixed().list(reader)?;
        let tree = reader.kernel().tree.lock();
        entries.extend(tree.nodes().map(|(tgid, _)| Listed {
            at: PROCESSES + u64::from(tgid.unsigned_abs()),
            name: tgid.to_string().into_bytes(),
            kind: FileKind::Directory,
            ino: ProcessDir::ino(tgid),
        }));
        Ok(entries)
    }

    fn is_current(&self, reader: &Reader, name: &[u8], child: &Node) -> bool {
        let Some(subject) = ProcessDir::subject_of(child) else { return true };
        Self::subject(reader, name).is_ok_and(|now| Arc::ptr_eq(&now.group, &subject.group))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
