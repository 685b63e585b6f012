//! Commands from outside the walls: over the socket to whoever started the sandbox, and over connections to a
//! listening socket in the container's state directory, which only the host's administrator can reach.

use super::Failure;
use super::config::{ContainerConfig, TerminalSpec};
use super::container::Host;
use super::handle::Handle;
use super::process::{self, Start};
use super::protocol::{self, ExecRequest, GuestProcess, Reply, Request, Stdio};
use crate::errno::{Errno, SysResult};
use crate::executor::{self, Events, block_on};
use crate::fs::devpts::relay::Relay;
use crate::fs::path::FsContext;
use crate::kernel::pids::Figures;
use crate::kernel::signal::{DefaultAction, SigInfo, default_action};
use crate::kernel::start::Prepared;
use crate::kernel::{Kernel, ThreadGroup};
use crate::sync::Mutex;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::net::{SocketFlags, accept_with};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;

/// The first process.
pub(super) enum Main {
    /// Loaded, waiting for [`Request::Start`].
    Held(Prepared),
    /// Runs, or has run.
    Started,
}

/// How the first process ended, and who wants to know.
#[derive(Default)]
pub(super) struct Ending {
    status: Option<i32>,
    waiting: Vec<Arc<OwnedFd>>,
    /// Becomes readable for threads that are to end with the container.
    event: Option<OwnedFd>,
}

impl Ending {
    fn event(&mut self) -> io::Result<OwnedFd> {
        if self.event.is_none() {
            self.event = Some(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        }
        self.event.as_ref().map_or_else(|| Err(io::ErrorKind::NotFound.into()), OwnedFd::try_clone)
    }

    fn announce(&self) {
        if let Some(event) = &self.event {
            let _ = rustix::io::write(event, &1u64.to_ne_bytes());
        }
    }

    /// It has: whoever waits is told, before anything else comes of it.
    pub(super) fn tell(ending: &Mutex<Ending>, status: i32) {
        let mut ending = ending.lock();
        ending.status = Some(status);
        for socket in ending.waiting.drain(..) {
            let _ = protocol::send(&*socket, &Reply::Exited { status }, &[]);
        }
    }
}

/// What all connections share.
pub(super) struct Control {
    pub(super) kernel: Arc<Kernel>,
    /// Whose root and mounts new processes get.
    pub(super) root: Arc<FsContext>,
    pub(super) main: Mutex<Main>,
    pub(super) ending: Arc<Mutex<Ending>>,
    /// That of the first process.
    pub(super) terminal: Option<Arc<Relay>>,
    /// For further containers.
    pub(super) host: Host,
}

/// Starts the threads that obey; when `owner` closes, so does the sandbox.
pub(super) fn start(control: &Arc<Control>, owner: OwnedFd, listener: Option<Handle>) -> io::Result<()> {
    let pid = control.kernel.main.load(Ordering::Relaxed);
    protocol::send(&owner, &Reply::Started { pid }, &[])?;
    let first = control.clone();
    std::thread::Builder::new().name("control".into()).spawn(move || {
        Connection { control: first, socket: Arc::new(owner), exec: None, is_owner: false }.serve();
        super::end(Ok(libc::SIGKILL));
    })?;
    match listener {
        Some(listener) => control.clone().serve(listener),
        None => Ok(()),
    }
}

impl Control {
    /// Starts the thread that takes connections, until the container has ended.
    fn serve(self: Arc<Self>, listener: Handle) -> io::Result<()> {
        let ended = self.ending.lock().event()?;
        let body = move || listen(&self, &listener, &ended);
        std::thread::Builder::new().name("listener".into()).spawn(body).map(drop)
    }
}

fn listen(control: &Arc<Control>, listener: &Handle, ended: &OwnedFd) {
    loop {
        let mut fds = [PollFd::new(listener, PollFlags::IN), PollFd::new(ended, PollFlags::IN)];
        let polled = poll(&mut fds, None);
        if polled.is_ok() && fds.last().is_some_and(|ended| !ended.revents().is_empty()) {
            return;
        }
        match accept_with(listener, SocketFlags::CLOEXEC) {
            Ok(socket) => {
                let connection =
                    Connection { control: control.clone(), socket: Arc::new(socket), exec: None, is_owner: false };
                // Without a thread the caller sees its connection close.
                let _ = std::thread::Builder::new().name("command".into()).spawn(move || connection.serve());
            }
            Err(rustix::io::Errno::INTR | rustix::io::Errno::CONNABORTED) => {}
            Err(e) => {
                tracing::error!("no further commands are taken: {e}");
                return;
            }
        }
    }
}

/// One end of a socket whose other end gives commands.
struct Connection {
    control: Arc<Control>,
    socket: Arc<OwnedFd>,
    /// The process that was started over it.
    exec: Option<Running>,
    /// The container was made over it and ends with it.
    is_owner: bool,
}

/// A process started by [`Request::Exec`].
struct Running {
    group: Arc<ThreadGroup>,
    terminal: Option<Arc<Relay>>,
}

impl Connection {
    fn serve(mut self) {
        loop {
            let (request, fds) = match protocol::receive(&*self.socket) {
                Ok(Some(message)) => message,
                Ok(None) => break,
                Err(e) => {
                    tracing::warn!("a command cannot be understood: {e}");
                    break;
                }
            };
            let reply = self.obey(request, fds);
            let reply = reply.unwrap_or_else(|e| Some(Reply::Failed { what: e.what, status: e.status }));
            if reply.is_some_and(|reply| protocol::send(&*self.socket, &reply, &[]).is_err()) {
                break;
            }
            executor::run_local();
        }
        if let Some(exec) = &self.exec {
            exec.group.kill(libc::SIGKILL);
            executor::run_local();
        }
        if self.is_owner {
            self.control.kill();
        }
    }

    /// Carries out a request; returns the reply that is still to be given.
    fn obey(&mut self, request: Request, fds: Vec<OwnedFd>) -> Result<Option<Reply>, Failure> {
        Ok(Some(match request {
            Request::Start => return self.start().map(|()| None),
            Request::Container(config) => return self.container(*config).map(|()| None),
            Request::Exec(request) => return self.exec(*request, fds).map(|()| None),
            Request::Signal { signo, all } => {
                // Told before it is done, for the sandbox may end of it.
                protocol::send(&*self.socket, &Reply::Done, &[]).map_err(|e| super::failed("signal", e))?;
                match (&self.exec, all) {
                    (_, true) => self.control.signal_all(signo),
                    (Some(exec), false) => signal(&self.control.kernel, &exec.group, signo),
                    (None, false) => self.control.signal_main(signo),
                }
                return Ok(None);
            }
            Request::Wait { pid: None } => return Ok(self.wait_for_main()),
            Request::Wait { pid: Some(pid) } => self.control.wait_for(pid)?,
            Request::WindowSize => {
                let terminal = match &self.exec {
                    Some(exec) => &exec.terminal,
                    None => &self.control.terminal,
                };
                if let Some(terminal) = terminal {
                    terminal.resize();
                }
                Reply::Done
            }
            Request::Processes => self.control.processes(),
            Request::Pause(is_paused) => {
                self.control.kernel.platform.pause(is_paused);
                Reply::Done
            }
            Request::Limits { pids } => {
                self.control.kernel.pids.set_max(pids);
                Reply::Done
            }
            Request::Pids => {
                let Figures { current, max, .. } = self.control.kernel.pids.figures();
                Reply::Pids { current, max }
            }
        }))
    }

    /// Lets the first process run. The caller hears of it before: the process may end, and the sandbox with it,
    /// before anything else could be said.
    fn start(&self) -> Result<(), Failure> {
        let main = std::mem::replace(&mut *self.control.main.lock(), Main::Started);
        match main {
            Main::Held(prepared) => {
                protocol::send(&*self.socket, &Reply::Done, &[]).map_err(|e| super::failed("start", e))?;
                prepared.go();
                executor::run_local();
                Ok(())
            }
            Main::Started => Err(Failure { what: "the container runs already".into(), status: 1 }),
        }
    }

    /// Makes a further container; from now on this connection is its.
    fn container(&mut self, config: ContainerConfig) -> Result<(), Failure> {
        if self.exec.is_some() || self.is_owner {
            return Err(Failure { what: "this connection has its process".into(), status: 1 });
        }
        let host = self.control.host.clone();
        let mut furnished = host.furnish(config)?;
        let (listener, terminal) = (furnished.listener.take(), furnished.terminal());
        let (tell, told) = std::sync::mpsc::channel();
        let ended = Box::new(move |status| {
            let _ = tell.send(status);
        });
        let (control, running) = furnished.load(&host, ended)?;
        (self.control, self.is_owner) = (control.clone(), true);
        let (theirs, socket) = (control.clone(), self.socket.clone());
        let watcher = std::thread::Builder::new().name("container".into()).spawn(move || {
            let status = told.recv().unwrap_or(libc::SIGKILL);
            theirs.kill();
            if let Some(terminal) = terminal {
                terminal.flush();
                terminal.end();
            }
            theirs.kernel.platform.end();
            theirs.ending.lock().announce();
            let _ = protocol::send(&*socket, &Reply::Exited { status }, &[]);
        });
        watcher.map_err(|e| super::failed("container", e))?;
        if let Some(listener) = listener {
            control.clone().serve(listener).map_err(|e| super::failed("cannot serve commands", e))?;
        }
        let pid = control.kernel.main.load(Ordering::Relaxed);
        protocol::send(&*self.socket, &Reply::Started { pid }, &[]).map_err(|e| super::failed("container", e))?;
        if let Some(prepared) = running {
            prepared.go();
            executor::run_local();
        }
        Ok(())
    }

    /// The status of the first process; none yet if it runs.
    fn wait_for_main(&self) -> Option<Reply> {
        let mut ending = self.control.ending.lock();
        if ending.status.is_none() {
            ending.waiting.push(self.socket.clone());
        }
        ending.status.map(|status| Reply::Exited { status })
    }

    /// Starts a process; its end is told over the same connection.
    fn exec(&mut self, request: ExecRequest, fds: Vec<OwnedFd>) -> Result<(), Failure> {
        if self.exec.is_some() {
            return Err(Failure { what: "this connection has its process".into(), status: 1 });
        }
        let (tell, told) = std::sync::mpsc::channel();
        let (start, terminal) = self.start_of(&request, fds, tell).map_err(|e| super::failed("exec", e))?;
        let prepared = process::further(&self.control.kernel, request.process, start)?;
        let group = prepared.group().clone();
        let pid = group.tgid;
        self.exec = Some(Running { group, terminal: terminal.clone() });
        let socket = self.socket.clone();
        let watcher = std::thread::Builder::new().name("exec".into()).spawn(move || {
            // Without a status the process was never let go.
            let Ok(status) = told.recv() else { return };
            if let Some(terminal) = terminal {
                terminal.flush();
                terminal.end();
            }
            let _ = protocol::send(&*socket, &Reply::Exited { status }, &[]);
        });
        watcher.map_err(|e| super::failed("exec", e))?;
        // The caller hears of the start before it can hear of the end.
        protocol::send(&*self.socket, &Reply::Started { pid }, &[]).map_err(|e| super::failed("exec", e))?;
        prepared.go();
        executor::run_local();
        Ok(())
    }

    fn start_of(
        &self,
        request: &ExecRequest,
        fds: Vec<OwnedFd>,
        tell: Sender<i32>,
    ) -> SysResult<(Start, Option<Arc<Relay>>)> {
        let mut fds = fds.into_iter();
        let mut stdio = [None, None, None];
        for (slot, kind) in stdio.iter_mut().zip(request.stdio) {
            if kind == Stdio::Given {
                *slot = fds.next().map(Handle::from);
            }
        }
        let is_terminal = request.stdio.map(|kind| kind == Stdio::Terminal);
        let container = &self.control.kernel.container;
        let relay = match (request.terminal, fds.len() > request.preserved) {
            (Some(size), true) => match fds.next() {
                Some(host) => {
                    let spec = TerminalSpec { host: host.into(), stdio: is_terminal, termios: None, size };
                    Some(container.within(|| Relay::start(spec))?)
                }
                None => None,
            },
            _ => None,
        };
        let fs = self.control.root.fork();
        let files = process::files(
            &fs,
            stdio,
            fds.map(Handle::from).collect(),
            relay.as_ref().map(|relay| (relay, is_terminal)),
        )?;
        let on_exit = Box::new(move |status| {
            let _ = tell.send(status);
        });
        Ok((Start { fs, files, terminal: relay.clone(), on_exit }, relay))
    }
}

impl Control {
    fn signal_main(&self, signo: i32) {
        {
            let mut main = self.main.lock();
            if let Main::Held(prepared) = &*main {
                // It has no handlers yet; what would end it does.
                if matches!(default_action(signo), DefaultAction::Terminate | DefaultAction::Core) {
                    prepared.group().kill(signo);
                    // It goes no further than to its end.
                    if let Main::Held(prepared) = std::mem::replace(&mut *main, Main::Started) {
                        prepared.go();
                    }
                }
                return;
            }
        }
        let main = self.kernel.main.load(Ordering::Relaxed);
        if let Some(group) = self.kernel.group(main) {
            signal(&self.kernel, &group, signo);
        }
    }

    fn signal_all(&self, signo: i32) {
        if matches!(*self.main.lock(), Main::Held(_)) {
            return self.signal_main(signo);
        }
        for group in self.groups() {
            signal(&self.kernel, &group, signo);
        }
    }

    /// The container's processes: all of the tree, unless that is another's as well.
    fn groups(&self) -> Vec<Arc<ThreadGroup>> {
        let tree = self.kernel.tree.lock();
        let all = tree.nodes().map(|(_, node)| node.group.clone());
        all.filter(|group| self.kernel.holds(group)).collect()
    }

    /// Kills all processes of the container.
    fn kill(&self) {
        self.signal_main(libc::SIGKILL);
        for group in self.groups() {
            group.kill(libc::SIGKILL);
        }
        executor::run_local();
    }

    /// Waits for the end of a process; this connection has nothing else to do.
    fn wait_for(&self, pid: i32) -> Result<Reply, Failure> {
        let missing = || Failure { what: format!("there is no process {pid}"), status: 1 };
        let group = self.kernel.group(pid).ok_or_else(missing)?;
        let status = block_on(&group.exit_wait, Events::IN, || {
            let state = group.state.lock();
            state.exit.filter(|_| state.is_zombie()).ok_or(Errno::AGAIN)
        });
        Ok(Reply::Exited { status: status.map_err(|e| super::failed("wait", e))? })
    }

    fn processes(&self) -> Reply {
        let groups = self.groups();
        let alive = groups.iter().filter(|group| !group.state.lock().is_zombie());
        let shown = alive.map(|group| GuestProcess { pid: group.tgid, host_pid: group.process().host_pid() });
        // A process 1 of the sentry's own has none.
        Reply::Processes(shown.filter(|process| process.host_pid != 0).collect())
    }
}

/// From outside the container: SIGKILL and SIGSTOP work on process 1 too.
fn signal(kernel: &Arc<Kernel>, group: &Arc<ThreadGroup>, signo: i32) {
    match signo {
        libc::SIGKILL => group.kill(signo),
        _ => group.send_signal(kernel, SigInfo::new(signo, libc::SI_USER)),
    }
}
