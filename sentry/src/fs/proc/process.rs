//! The directory of a process (`/proc/PID`) or thread (`/proc/PID/task/TID`).

use super::{details, fds, mem, net, ns, stat, status};
use crate::errno::{Errno, SysResult};
use crate::fs::attr::FileKind;
use crate::fs::file::{File, FileOps};
use crate::fs::inode::Link;
use crate::fs::path::PathRef;
use crate::fs::pseudo::{Body, Content, Directory, Listed, Node, Owner, Reader, Target};
use crate::kernel::inspect::{Ids, may_inspect};
use crate::kernel::{Task, ThreadGroup, machine};
use std::any::Any;
use std::sync::Arc;

/// Whom a directory is about.
#[derive(Debug)]
pub(super) struct Subject {
    pub(super) group: Arc<ThreadGroup>,
    /// The thread, if it is about one.
    pub(super) task: Option<Arc<Task>>,
}

impl Subject {
    /// A living thread of it; `ESRCH` for zombies.
    pub(super) fn task(&self) -> SysResult<Arc<Task>> {
        self.task.clone().or_else(|| self.group.any_task()).ok_or(Errno::SRCH)
    }

    /// Its id.
    pub(super) fn id(&self) -> i32 {
        self.task.as_ref().map_or(self.group.tgid, |t| t.tid())
    }

    /// Whether the reader may look into it (`PTRACE_MODE_READ_FSCREDS`).
    pub(super) fn inspect(&self, reader: &Reader) -> SysResult<Arc<Task>> {
        let target = self.task()?;
        may_inspect(&reader.task, &target, Ids::File).map_err(|_| Errno::ACCES)?;
        Ok(target)
    }

    fn owner(self: &Arc<Self>) -> Owner {
        let subject = self.clone();
        Box::new(move || match subject.task() {
            Ok(t) if t.group.dumpable.get() == 1 => (t.creds().euid, t.creds().egid),
            _ => (0, 0),
        })
    }
}

/// Makes the text of a file.
type Read = fn(&Reader, &Subject) -> SysResult<Vec<u8>>;
/// Takes what is written to a file.
type Write = fn(&Reader, &Subject, &[u8]) -> SysResult<()>;

/// What an entry is.
enum Entry {
    File(u32, Read),
    Writable(u32, Read, Write),
    Memory,
    Place(fn(&Task) -> SysResult<PathRef>),
    Dir(u32, fn(Arc<Subject>, u64, u64) -> Box<dyn Directory>),
    /// Of processes only.
    Tasks,
}

const ENTRIES: &[(&str, Entry)] = &[
    ("auxv", Entry::File(0o400, status::auxv)),
    ("cgroup", Entry::File(0o444, |_, _| Ok(b"0::/\n".to_vec()))),
    ("cmdline", Entry::File(0o444, status::cmdline)),
    ("comm", Entry::Writable(0o644, status::comm, status::set_comm)),
    ("cpuset", Entry::File(0o444, |_, _| Ok(b"/\n".to_vec()))),
    ("cwd", Entry::Place(|t| Ok(t.fs().cwd()))),
    ("environ", Entry::File(0o400, status::environ)),
    ("exe", Entry::Place(|t| t.group.exe.lock().clone().ok_or(Errno::NOENT))),
    ("fd", Entry::Dir(0o500, |subject, dev, ino| Box::new(fds::FdDir { subject, dev, ino }))),
    ("fdinfo", Entry::Dir(0o555, |subject, dev, ino| Box::new(fds::FdInfoDir { subject, dev, ino }))),
    ("gid_map", Entry::File(0o444, |_, _| machine::gid_map())),
    ("io", Entry::File(0o400, status::io)),
    ("limits", Entry::File(0o444, status::limits)),
    ("loginuid", Entry::File(0o444, |_, _| Ok(b"4294967295".to_vec()))),
    ("maps", Entry::File(0o444, status::maps)),
    ("mem", Entry::Memory),
    ("mountinfo", Entry::File(0o444, status::mountinfo)),
    ("mounts", Entry::File(0o444, status::mounts)),
    ("mountstats", Entry::File(0o400, details::mountstats)),
    ("net", Entry::Dir(0o555, |subject, dev, ino| Box::new(net::NetDir { subject, dev, ino }))),
    ("ns", Entry::Dir(0o511, |subject, dev, ino| Box::new(ns::NsDir { subject, dev, ino }))),
    ("oom_adj", Entry::Writable(0o644, details::oom_adj, details::set_oom_adj)),
    ("oom_score", Entry::File(0o444, |_, subject| status::oom_score(subject))),
    ("oom_score_adj", Entry::Writable(0o644, status::oom_score_adj, status::set_oom_score_adj)),
    ("personality", Entry::File(0o400, status::personality)),
    ("projid_map", Entry::File(0o444, |_, _| Ok(b"         0          0 4294967295\n".to_vec()))),
    ("root", Entry::Place(|t| Ok(t.fs().root()))),
    ("schedstat", Entry::File(0o444, details::schedstat)),
    ("sessionid", Entry::File(0o444, |_, _| Ok(b"4294967295".to_vec()))),
    ("setgroups", Entry::File(0o444, |_, _| Ok(b"allow\n".to_vec()))),
    ("smaps", Entry::File(0o444, status::smaps)),
    ("smaps_rollup", Entry::File(0o444, status::smaps_rollup)),
    ("stat", Entry::File(0o444, stat::stat)),
    ("statm", Entry::File(0o444, status::statm)),
    ("status", Entry::File(0o444, status::status)),
    ("task", Entry::Tasks),
    ("timens_offsets", Entry::File(0o444, |_, _| Ok(TIMENS_OFFSETS.to_vec()))),
    ("timerslack_ns", Entry::Writable(0o666, details::timer_slack, details::set_timer_slack)),
    ("uid_map", Entry::File(0o444, |_, _| machine::uid_map())),
    ("wchan", Entry::File(0o444, |_, _| Ok(b"0".to_vec()))),
];

/// There is one time namespace, the first.
const TIMENS_OFFSETS: &[u8] = b"monotonic           0         0\nboottime            0         0\n";

/// The directory.
pub(super) struct ProcessDir {
    dev: u64,
    subject: Arc<Subject>,
}

/// Inode numbers: the id of the thread above, the entry below.
const PER_PROCESS: u64 = 1 << 32;
/// Numbers of thread directories, apart from those of processes.
const THREADS: u64 = 1 << 62;

/// The process that an open `/proc/PID` refers to, which `pidfd_send_signal(2)` takes for a pidfd.
pub(super) fn opened(file: &File) -> Option<Arc<ThreadGroup>> {
    let inode = file.inode()?;
    let subject = ProcessDir::subject_of(inode.as_any().downcast_ref::<Node>()?)?;
    subject.task.is_none().then(|| subject.group.clone())
}

impl ProcessDir {
    /// The inode number of a process's directory.
    pub(super) fn ino(pid: i32) -> u64 {
        (u64::from(pid.unsigned_abs()) + 1) * PER_PROCESS
    }

    /// The inode of a directory.
    pub(super) fn node(dev: u64, subject: Arc<Subject>) -> Node {
        let base = if subject.task.is_some() { THREADS } else { 0 };
        let ino = Self::ino(subject.id()) + base;
        let owner = subject.owner();
        Node::new(dev, ino, 0o555, Body::Dir(Box::new(ProcessDir { dev, subject }))).owned_by(owner)
    }

    /// Whom a node is about, if it is such a directory.
    pub(super) fn subject_of(node: &Node) -> Option<&Subject> {
        let Body::Dir(dir) = &node.body else { return None };
        let dir: &dyn Any = dir.as_any();
        dir.downcast_ref::<ProcessDir>().map(|dir| &*dir.subject)
    }

    fn own_ino(&self) -> u64 {
        Self::ino(self.subject.id()) + if self.subject.task.is_some() { THREADS } else { 0 }
    }

    fn entry_node(&self, at: usize, entry: &'static Entry) -> Node {
        let ino = self.own_ino() + at as u64 + 1;
        let subject = self.subject.clone();
        let (mode, body) = match entry {
            Entry::File(mode, read) => (*mode, Body::File(Box::new(TextFile { subject, read: *read, write: None }))),
            Entry::Writable(mode, read, write) => {
                (*mode, Body::File(Box::new(TextFile { subject, read: *read, write: Some(*write) })))
            }
            Entry::Memory => (0o600, Body::File(Box::new(MemFile(subject)))),
            Entry::Place(place) => (0o777, Body::Link(Box::new(PlaceLink { subject, place: *place }))),
            Entry::Dir(mode, make) => (*mode, Body::Dir(make(subject, self.dev, ino))),
            Entry::Tasks => (0o555, Body::Dir(Box::new(TasksDir { dev: self.dev, group: subject.group.clone() }))),
        };
        Node::new(self.dev, ino, mode, body).owned_by(self.subject.owner())
    }

    fn has(&self, entry: &Entry) -> bool {
        !matches!(entry, Entry::Tasks) || self.subject.task.is_none()
    }
}

impl Directory for ProcessDir {
    fn lookup(&self, _: &Reader, name: &[u8]) -> SysResult<Node> {
        let mut entries = ENTRIES.iter().enumerate();
        let found = entries.find(|(_, (known, entry))| known.as_bytes() == name && self.has(entry));
        found.map(|(at, (_, entry))| self.entry_node(at, entry)).ok_or(Errno::NOENT)
    }

    fn list(&self, _: &Reader) -> SysResult<Vec<Listed>> {
        let entries = ENTRIES.iter().enumerate().filter(|(_, (_, entry))| self.has(entry));
        let listed = entries.map(|(at, (name, entry))| Listed {
            at: at as u64,
            name: name.as_bytes().to_vec(),
            kind: match entry {
                Entry::File(..) | Entry::Writable(..) | Entry::Memory => FileKind::Regular,
                Entry::Place(_) => FileKind::Symlink,
                Entry::Dir(..) | Entry::Tasks => FileKind::Directory,
            },
            ino: self.own_ino() + at as u64 + 1,
        });
        Ok(listed.collect())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

struct TextFile {
    subject: Arc<Subject>,
    read: Read,
    write: Option<Write>,
}

impl Content for TextFile {
    fn read(&self, reader: &Reader) -> SysResult<Vec<u8>> {
        (self.read)(reader, &self.subject)
    }

    fn write(&self, reader: &Reader, data: &[u8]) -> SysResult<()> {
        self.write.ok_or(Errno::IO)?(reader, &self.subject, data)
    }
}

struct MemFile(Arc<Subject>);

impl Content for MemFile {
    fn read(&self, _: &Reader) -> SysResult<Vec<u8>> {
        Err(Errno::IO)
    }

    fn open(&self, reader: &Reader) -> Option<SysResult<Box<dyn FileOps>>> {
        Some(mem::open(reader, &self.0))
    }
}

struct PlaceLink {
    subject: Arc<Subject>,
    place: fn(&Task) -> SysResult<PathRef>,
}

impl PlaceLink {
    fn place(&self, reader: &Reader) -> SysResult<PathRef> {
        match self.subject.inspect(reader) {
            // A zombie is nowhere.
            Err(Errno::SRCH) => Err(Errno::NOENT),
            task => (self.place)(&*task?),
        }
    }
}

impl Target for PlaceLink {
    fn text(&self, reader: &Reader) -> SysResult<Vec<u8>> {
        Ok(self.place(reader)?.display(&reader.task.fs().root()))
    }

    fn follow(&self, reader: &Reader) -> SysResult<Link> {
        Ok(Link::Jump(self.place(reader)?))
    }
}

/// `/proc/PID/task`.
struct TasksDir {
    dev: u64,
    group: Arc<ThreadGroup>,
}

impl Directory for TasksDir {
    fn lookup(&self, _: &Reader, name: &[u8]) -> SysResult<Node> {
        let tid = super::root::number(name).ok_or(Errno::NOENT)?;
        let task = self.group.tasks().into_iter().find(|t| t.tid() == tid).ok_or(Errno::NOENT)?;
        let subject = Subject { group: self.group.clone(), task: Some(task) };
        Ok(ProcessDir::node(self.dev, Arc::new(subject)))
    }

    fn list(&self, _: &Reader) -> SysResult<Vec<Listed>> {
        let mut tids: Vec<u32> = self.group.tasks().iter().map(|t| t.tid().unsigned_abs()).collect();
        tids.sort_unstable();
        let listed = tids.into_iter().map(|tid| Listed {
            at: tid.into(),
            name: tid.to_string().into_bytes(),
            kind: FileKind::Directory,
            ino: ProcessDir::ino(tid.cast_signed()) + THREADS,
        });
        Ok(listed.collect())
    }

    fn is_current(&self, _: &Reader, name: &[u8], child: &Node) -> bool {
        let known = ProcessDir::subject_of(child).and_then(|subject| subject.task.as_ref());
        let tid = super::root::number(name);
        self.group.tasks().iter().any(|t| Some(t.tid()) == tid && known.is_some_and(|known| Arc::ptr_eq(known, t)))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
