//! Addresses, and how two ends find each other.

use super::super::addr;
use super::super::ports::Claim;
use super::endpoint::{Phase, Tcp, abandon};
use super::flow::{Flow, Key};
use super::{defer, flows};
use crate::errno::{Errno, SysResult};
use crate::executor::Events;
use crate::net::options::Options;
use crate::net::stack::scope;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

impl Tcp {
    fn claim(&self, ip: IpAddr) -> Claim {
        Claim {
            ip,
            v6only: self.ints.is_on(libc::IPPROTO_IPV6, libc::IPV6_V6ONLY),
            reuse_addr: self.options.is_on(libc::SO_REUSEADDR),
            reuse_port: self.options.is_on(libc::SO_REUSEPORT),
            range: self.ints.port_range(),
            uid: self.uid,
        }
    }

    /// Binds to `address`, which is local.
    pub(super) fn bind(self: &Arc<Self>, address: SocketAddr) -> SysResult<()> {
        let mut ports = self.net().inet.tcp.ports.lock();
        if self.state.lock().local.is_some() {
            return Err(Errno::INVAL);
        }
        let port = ports.bind(&self.net().sysctl, address.port(), self.claim(address.ip()), self)?;
        let mut state = self.state.lock();
        state.local = Some(addr::with_port(address, port));
        state.holds_port = true;
        Ok(())
    }

    /// Gives its address back.
    fn unbind(self: &Arc<Self>) {
        let mut ports = self.net().inet.tcp.ports.lock();
        let mut state = self.state.lock();
        state.holds_port = false;
        if let Some(local) = state.local.take() {
            ports.release(local.port(), self);
        }
    }

    /// Takes connections.
    pub(super) fn listen(self: &Arc<Self>, backlog: usize) -> SysResult<()> {
        if self.state.lock().local.is_none() {
            self.bind(SocketAddr::new(addr::any(self.family), 0))?;
        }
        let local = self.state.lock().local;
        // Held while the phase changes, or two could begin to listen at once.
        let ports = self.net().inet.tcp.ports.lock();
        if local.is_some_and(|local| !ports.may_listen(local.port(), self)) {
            return Err(Errno::ADDRINUSE);
        }
        let mut state = self.state.lock();
        let state = &mut *state;
        match &mut state.phase {
            Phase::Closed if state.dead => return Err(Errno::INVAL),
            Phase::Closed => {
                state.rcv_shut = false;
                state.snd_shut = false;
                state.phase = Phase::Listening { backlog, pending: VecDeque::new(), waiting: VecDeque::new() };
            }
            Phase::Listening { backlog: old, .. } => *old = backlog,
            Phase::Connecting | Phase::Established | Phase::Remote(_) => return Err(Errno::INVAL),
        }
        Ok(())
    }

    /// Connects to `to`, which is local: see [`SocketOps::connect`](crate::net::socket::SocketOps::connect).
    pub(super) fn connect(self: &Arc<Self>, to: SocketAddr, nonblocking: bool) -> SysResult<()> {
        if let Some(flow) = self.flow() {
            return self.connect_again(&flow, nonblocking);
        }
        {
            let mut state = self.state.lock();
            let state = &mut *state;
            match state.phase {
                Phase::Established if std::mem::take(&mut state.unreported) => return Ok(()),
                Phase::Established | Phase::Listening { .. } | Phase::Remote(_) => return Err(Errno::ISCONN),
                Phase::Connecting => return Err(if nonblocking { Errno::ALREADY } else { Errno::AGAIN }),
                Phase::Closed => self.options.take_error()?,
            }
        }
        let chooses = self.state.lock().local.is_none();
        self.take_local_address(to)?;
        if !addr::is_local(self.net(), to.ip()) {
            return self.connect_from_free_port(to, nonblocking, chooses);
        }
        let from = self.state.lock().local.ok_or(Errno::ADDRNOTAVAIL)?;
        if from == to {
            return self.connect_to_itself();
        }
        let listener = self.net().inet.tcp.ports.lock().find(to, from, |end| {
            let listens = matches!(end.state.lock().phase, Phase::Listening { .. });
            listens.then_some(0)
        });
        {
            let mut state = self.state.lock();
            state.phase = Phase::Connecting;
            state.remote = Some(to);
            state.rcv_shut = false;
            state.snd_shut = false;
            state.fin_received = false;
            state.unreported = nonblocking;
        }
        self.net().counters.tcp_active.add(1);
        match listener {
            Some(listener) => self.enter_backlog(&listener),
            None => self.refuse(),
        }
        if nonblocking { Err(Errno::INPROGRESS) } else { self.connect_outcome() }
    }

    /// Connects over an interface; from another port, if the guest has not named one and that which was found has a
    /// connection there of a socket that is closed already.
    fn connect_from_free_port(self: &Arc<Self>, to: SocketAddr, nonblocking: bool, chooses: bool) -> SysResult<()> {
        /// Each finds one of few such connections among thousands of ports.
        const TRIES: usize = 16;
        for _ in 1..if chooses { TRIES } else { 1 } {
            match self.connect_out(to, nonblocking) {
                Err(Errno::ADDRNOTAVAIL) => {}
                done => return done,
            }
            self.unbind();
            self.take_local_address(to)?;
        }
        self.connect_out(to, nonblocking)
    }

    /// What it sends is what it receives: both ends began at once, and are one.
    fn connect_to_itself(self: &Arc<Self>) -> SysResult<()> {
        let mut state = self.state.lock();
        state.phase = Phase::Established;
        state.remote = state.local;
        state.peer = Some(self.clone());
        state.rcv_shut = false;
        state.snd_shut = false;
        state.fin_received = false;
        drop(state);
        self.queue.notify(Events::OUT | Events::WRNORM);
        Ok(())
    }

    /// Connects over an interface.
    fn connect_out(self: &Arc<Self>, to: SocketAddr, nonblocking: bool) -> SysResult<()> {
        let local = self.state.lock().local.ok_or(Errno::ADDRNOTAVAIL)?;
        self.net().counters.tcp_active.add(1);
        let flow = flows::connect(self, Key { local, remote: to })?;
        let mut state = self.state.lock();
        state.phase = Phase::Remote(flow);
        state.remote = Some(to);
        drop(state);
        if nonblocking { Err(Errno::INPROGRESS) } else { self.connect_outcome() }
    }

    /// `connect` of a socket that has or had a connection over an interface.
    fn connect_again(self: &Arc<Self>, flow: &Arc<Flow>, nonblocking: bool) -> SysResult<()> {
        match flow.outcome() {
            Ok(()) if flow.take_unreported() => Ok(()),
            Ok(()) => Err(Errno::ISCONN),
            Err(Errno::AGAIN) if nonblocking => Err(Errno::ALREADY),
            Err(error) => {
                if error != Errno::AGAIN {
                    // It failed: the next one tries anew.
                    self.state.lock().phase = Phase::Closed;
                }
                Err(error)
            }
        }
    }

    /// The socket of a connection that this listener gets over an interface.
    pub(super) fn adopt(&self, flow: &Arc<Flow>) -> Arc<Tcp> {
        let end = Tcp::new(self.family, self.uid, flow.options(), self.ints.inherit());
        let mut state = end.state.lock();
        state.local = Some(flow.key.local);
        state.remote = Some(flow.key.remote);
        state.phase = Phase::Remote(flow.clone());
        drop(state);
        end
    }

    /// There is a connection: it is to be accepted, at once or when there is data.
    pub(super) fn arrived(self: &Arc<Self>, end: Arc<Tcp>) {
        if let Some(end) = defer::until_data(self, end) {
            self.offer(end);
        }
    }

    /// Puts a connection into the queue of those to be accepted.
    pub(super) fn offer(&self, end: Arc<Tcp>) {
        let mut state = self.state.lock();
        if let Phase::Listening { pending, .. } = &mut state.phase {
            pending.push_back(end);
            drop(state);
            self.queue.notify(Events::IN | Events::RDNORM);
        } else {
            drop(state);
            end.close();
        }
    }

    /// What a blocking `connect` says now.
    fn connect_outcome(&self) -> SysResult<()> {
        if let Some(flow) = self.flow() {
            let outcome = flow.outcome();
            if outcome.is_err_and(|error| error != Errno::AGAIN) {
                self.state.lock().phase = Phase::Closed;
            }
            return outcome;
        }
        let state = self.state.lock();
        match state.phase {
            Phase::Established => Ok(()),
            Phase::Connecting => Err(Errno::AGAIN),
            _ => {
                drop(state);
                self.options.take_error()?;
                Err(Errno::CONNREFUSED)
            }
        }
    }

    /// Whether a blocking `connect` that waited is done.
    pub(super) fn resume_connect(&self) -> SysResult<()> {
        self.connect_outcome()
    }

    /// Gives an unbound socket an address towards `to`.
    fn take_local_address(self: &Arc<Self>, to: SocketAddr) -> SysResult<()> {
        let source = addr::source_by(self.net(), to.ip(), &self.query())?;
        let own = |port| addr::own(self.net(), source, port, scope::interface(&to));
        let local = self.state.lock().local;
        match local {
            None => {
                self.bind(own(0)).map_err(|_| Errno::ADDRNOTAVAIL)?;
            }
            Some(local) if local.ip().is_unspecified() => {
                self.net().inet.tcp.ports.lock().narrow(local.port(), self, source);
                self.state.lock().local = Some(own(local.port()));
            }
            Some(local) if local.ip().is_ipv4() != to.ip().is_ipv4() => return Err(Errno::NETUNREACH),
            Some(_) => {}
        }
        Ok(())
    }

    /// Joins the listener's queue, or waits for room in it.
    fn enter_backlog(self: &Arc<Self>, listener: &Arc<Tcp>) {
        {
            let mut state = listener.state.lock();
            let Phase::Listening { backlog, pending, waiting } = &mut state.phase else {
                drop(state);
                return self.refuse();
            };
            if pending.len() > *backlog {
                self.net().counters.tcp_overflows.add(1);
                waiting.retain(|end| end.strong_count() > 0);
                waiting.push_back(Arc::downgrade(self));
                return;
            }
        }
        let server = self.establish(listener);
        listener.arrived(server);
        self.queue.notify(Events::OUT | Events::WRNORM);
    }

    /// Makes the server's end of a connection, and joins the two.
    fn establish(self: &Arc<Self>, listener: &Tcp) -> Arc<Tcp> {
        let options: Arc<Options> = Arc::new(listener.options.inherit());
        let server = Tcp::new(listener.family, listener.uid, options, listener.ints.inherit());
        self.net().counters.tcp_passive.add(1);
        self.net().counters.tcp_segments.add(3);
        let (local, remote) = {
            let mut state = self.state.lock();
            state.phase = Phase::Established;
            state.peer = Some(server.clone());
            (state.local, state.remote)
        };
        if let Some(own) = remote.filter(|own| scope::interface(own) > 0) {
            server.options.bind_interface(scope::interface(&own));
        }
        let mut state = server.state.lock();
        state.phase = Phase::Established;
        state.peer = Some(self.clone());
        state.local = remote;
        state.remote = local;
        drop(state);
        server
    }

    /// Takes a connection.
    pub(super) fn accept(self: &Arc<Self>) -> SysResult<Arc<Tcp>> {
        let (end, next) = {
            let mut state = self.state.lock();
            let Phase::Listening { pending, waiting, .. } = &mut state.phase else { return Err(Errno::INVAL) };
            let end = pending.pop_front().ok_or(Errno::AGAIN)?;
            let next = std::iter::from_fn(|| waiting.pop_front()).find_map(|end| end.upgrade());
            (end, next)
        };
        if let Some(next) = next {
            let still_waits = matches!(next.state.lock().phase, Phase::Connecting);
            if still_waits {
                next.enter_backlog(self);
            }
        }
        Ok(end)
    }

    /// `connect` to `AF_UNSPEC`: breaks the connection, keeps the port if it was bound.
    pub(super) fn disconnect(&self) {
        let mut state = self.state.lock();
        let phase = std::mem::take(&mut state.phase);
        let peer = state.peer.take();
        state.remote = None;
        state.inbox.clear();
        state.unreported = false;
        drop(state);
        if let Some(peer) = peer {
            peer.reset();
        }
        if let Phase::Remote(flow) = &phase {
            flow.close(true);
        }
        abandon(phase);
        self.notify_all();
    }
}
