//! The tree of processes: ids, parentage, process groups, sessions.

use super::{Task, ThreadGroup};
use crate::errno::{Errno, SysResult};
use std::any::Any;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// `kernel.pid_max`: ids are below this.
pub const PID_MAX: i32 = 32768;
/// Ids below this are given only once, as on Linux.
const RESERVED_PIDS: i32 = 300;

/// A process in the tree, alive or zombie.
#[derive(Debug)]
pub struct Node {
    /// The process.
    pub group: Arc<ThreadGroup>,
    /// Its parent; 0 for process 1.
    pub parent: i32,
    /// Its children, zombies included.
    pub children: BTreeSet<i32>,
    /// Process group.
    pub pgid: i32,
    /// Session.
    pub sid: i32,
    /// `PR_SET_CHILD_SUBREAPER`.
    pub subreaper: bool,
}

/// All processes and threads of a sandbox.
#[derive(Default)]
pub struct Tree {
    tasks: HashMap<i32, Arc<Task>>,
    nodes: BTreeMap<i32, Node>,
    /// Controlling terminals of sessions.
    terminals: HashMap<i32, Arc<dyn Any + Send + Sync>>,
    /// Ids handed out whose task is not in the tree yet.
    reserved: BTreeSet<i32>,
    last: i32,
    /// Ids have been handed out up to [`PID_MAX`]: from then on a new one may be an old one.
    wrapped: bool,
}

impl std::fmt::Debug for Tree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tree({} tasks, {} processes)", self.tasks.len(), self.nodes.len())
    }
}

impl Tree {
    /// Takes an unused id; `EAGAIN` if there is none.
    pub fn new_pid(&mut self) -> SysResult<i32> {
        for _ in 0..PID_MAX {
            self.last += 1;
            if self.last >= PID_MAX {
                (self.last, self.wrapped) = (RESERVED_PIDS, true);
            }
            if !self.wrapped || self.is_free(self.last) {
                self.reserved.insert(self.last);
                return Ok(self.last);
            }
        }
        Err(Errno::AGAIN)
    }

    /// Gives an id back that no task came to use.
    pub fn cancel_pid(&mut self, pid: i32) {
        self.reserved.remove(&pid);
    }

    fn is_free(&self, pid: i32) -> bool {
        // A process group or session keeps its id in use as long as it has members.
        !self.tasks.contains_key(&pid)
            && !self.nodes.contains_key(&pid)
            && !self.reserved.contains(&pid)
            && !self.nodes.values().any(|n| n.pgid == pid || n.sid == pid)
    }

    /// The task with this id.
    pub fn task(&self, tid: i32) -> Option<Arc<Task>> {
        self.tasks.get(&tid).cloned()
    }

    /// The process with this id.
    pub fn group(&self, tgid: i32) -> Option<Arc<ThreadGroup>> {
        self.nodes.get(&tgid).map(|n| n.group.clone())
    }

    /// The node of a process.
    pub fn node(&self, tgid: i32) -> Option<&Node> {
        self.nodes.get(&tgid)
    }

    /// The node of a process, to change it.
    pub fn node_mut(&mut self, tgid: i32) -> Option<&mut Node> {
        self.nodes.get_mut(&tgid)
    }

    /// All processes, by id.
    pub fn nodes(&self) -> impl Iterator<Item = (i32, &Node)> {
        self.nodes.iter().map(|(tgid, n)| (*tgid, n))
    }

    /// How many threads live.
    pub fn task_count(&self) -> usize {
        self.tasks.len()
    }

    /// The id handed out last.
    pub fn last_pid(&self) -> i32 {
        self.last
    }

    /// Adds a thread.
    pub fn add_task(&mut self, task: &Arc<Task>) {
        self.reserved.remove(&task.tid());
        self.tasks.insert(task.tid(), task.clone());
    }

    /// Removes a thread.
    pub fn remove_task(&mut self, tid: i32) {
        self.tasks.remove(&tid);
    }

    /// Adds a process as child of `parent`, in its process group and session.
    pub fn add_group(&mut self, group: &Arc<ThreadGroup>, parent: i32) {
        let tgid = group.tgid;
        let (pgid, sid) = match self.nodes.get_mut(&parent) {
            Some(p) => {
                p.children.insert(tgid);
                (p.pgid, p.sid)
            }
            None => (tgid, tgid),
        };
        let node = Node { group: group.clone(), parent, children: BTreeSet::new(), pgid, sid, subreaper: false };
        self.nodes.insert(tgid, node);
    }

    /// Removes a zombie that was waited for.
    pub fn remove_group(&mut self, tgid: i32) {
        let Some(node) = self.nodes.remove(&tgid) else { return };
        node.group.charge.lock().take();
        if let Some(parent) = self.nodes.get_mut(&node.parent) {
            parent.children.remove(&tgid);
        }
    }

    /// Hands the children of a dying process to its nearest subreaper or process 1; returns those.
    pub fn reparent_children(&mut self, tgid: i32) -> Vec<Arc<ThreadGroup>> {
        let reaper = self.reaper_of(tgid);
        let children = self.nodes.get_mut(&tgid).map(|n| std::mem::take(&mut n.children)).unwrap_or_default();
        let mut moved = Vec::new();
        for child in children {
            if let Some(node) = self.nodes.get_mut(&child) {
                node.parent = reaper;
                moved.push(node.group.clone());
            }
            if let Some(node) = self.nodes.get_mut(&reaper) {
                node.children.insert(child);
            }
        }
        moved
    }

    fn reaper_of(&self, tgid: i32) -> i32 {
        let mut at = self.nodes.get(&tgid).map_or(1, |n| n.parent);
        while let Some(node) = self.nodes.get(&at) {
            if node.subreaper || at == 1 {
                return at;
            }
            at = node.parent;
        }
        1
    }

    /// The members of a process group.
    pub fn pgrp(&self, pgid: i32) -> Vec<Arc<ThreadGroup>> {
        self.nodes.values().filter(|n| n.pgid == pgid).map(|n| n.group.clone()).collect()
    }

    /// Whether no member of the process group has a parent in another group of the same session: then nobody is
    /// left who could continue its stopped members (POSIX's orphaned process group).
    pub fn is_orphaned(&self, pgid: i32, without: Option<i32>) -> bool {
        // A process 1 that is the sentry's own continues nobody; one of a container may be a shell.
        let could_continue = |p: &Node| p.group.process().host_pid() != 0;
        !self.nodes.iter().any(|(tgid, n)| {
            let parent = self.nodes.get(&n.parent);
            n.pgid == pgid
                && Some(*tgid) != without
                && !n.group.state.lock().is_zombie()
                && parent.is_some_and(|p| p.pgid != pgid && p.sid == n.sid && could_continue(p))
        })
    }

    /// Whether the process group exists in that session.
    pub fn has_pgrp(&self, pgid: i32, sid: i32) -> bool {
        self.nodes.values().any(|n| n.pgid == pgid && n.sid == sid)
    }

    /// The controlling terminal of a session.
    pub fn terminal(&self, sid: i32) -> Option<Arc<dyn Any + Send + Sync>> {
        self.terminals.get(&sid).cloned()
    }

    /// Gives a session its controlling terminal, or takes it away.
    pub fn set_terminal(&mut self, sid: i32, terminal: Option<Arc<dyn Any + Send + Sync>>) {
        match terminal {
            Some(terminal) => self.terminals.insert(sid, terminal),
            None => self.terminals.remove(&sid),
        };
    }
}
