//! The resolver that an engine runs for a container. Guests reach it at an address of the loopback network; their
//! queries go over sockets of the host that the command line has connected to it.

use crate::boot::config::NetworkSpec;
use crate::sync::Mutex;
use rustix::net::{RecvFlags, SendFlags};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a query may take before its socket serves another guest: what resolvers wait at least.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest answer over UDP.
const ANSWER_MAX: usize = 65535;

/// Who gets the answers.
pub trait Asker: Send + Sync {
    /// An answer came.
    fn answer(&self, from: SocketAddr, data: &[u8]);
}

struct Query {
    asker: Arc<dyn Asker>,
    /// Answers still to come.
    open: u32,
    last: Instant,
}

/// The sockets to a resolver. There are none where no engine runs one.
#[derive(Default)]
pub struct Resolver {
    sockets: Vec<OwnedFd>,
    queries: Mutex<Vec<Option<Query>>>,
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Resolver({})", self.sockets.len())
    }
}

impl Resolver {
    pub(super) fn new(sockets: Vec<OwnedFd>) -> Resolver {
        let queries = Mutex::new(sockets.iter().map(|_| None).collect());
        Resolver { sockets, queries }
    }

    /// Where guests find it.
    pub fn address() -> SocketAddr {
        (IpAddr::from(NetworkSpec::RESOLVER), 53).into()
    }

    /// Whether datagrams to `to` go there.
    pub fn serves(&self, to: SocketAddr) -> bool {
        !self.sockets.is_empty() && to == Resolver::address()
    }

    pub(super) fn sockets(&self) -> &[OwnedFd] {
        &self.sockets
    }

    /// Sends a query. With too many under way it is lost, as a datagram may be.
    pub fn ask(&self, asker: &Arc<impl Asker + 'static>, data: &[u8]) {
        let now = Instant::now();
        let mut queries = self.queries.lock();
        let is_theirs = |query: &Option<Query>| {
            query.as_ref().is_some_and(|query| Arc::as_ptr(&query.asker).addr() == Arc::as_ptr(asker).addr())
        };
        let is_free = |query: &Option<Query>| {
            query.as_ref().is_none_or(|query| query.open == 0 || now.duration_since(query.last) > PATIENCE)
        };
        let at = queries.iter().position(is_theirs).or_else(|| queries.iter().position(is_free));
        let Some((at, socket)) = at.and_then(|at| Some((at, self.sockets.get(at)?))) else { return };
        let Some(slot) = queries.get_mut(at) else { return };
        if !is_theirs(slot) {
            // What was for another must not reach this one.
            while rustix::net::recv(socket, &mut [0; 1][..], RecvFlags::DONTWAIT).is_ok() {}
            *slot = Some(Query { asker: asker.clone(), open: 0, last: now });
        }
        if rustix::net::send(socket, data, SendFlags::DONTWAIT).is_ok()
            && let Some(query) = slot
        {
            query.open += 1;
            query.last = now;
        }
    }

    /// Forgets a socket that is closed.
    pub fn forget(&self, asker: &Arc<impl Asker + 'static>) {
        for slot in self.queries.lock().iter_mut() {
            if slot.as_ref().is_some_and(|query| Arc::as_ptr(&query.asker).addr() == Arc::as_ptr(asker).addr()) {
                *slot = None;
            }
        }
    }

    /// An answer may have come over a socket.
    pub(super) fn input(&self, at: usize) {
        let Some(socket) = self.sockets.get(at) else { return };
        let mut buffer = vec![0; ANSWER_MAX];
        // An error, such as of a resolver that is gone, is taken off the socket as well.
        while let Ok((_, count)) = rustix::net::recv(socket, &mut buffer[..], RecvFlags::DONTWAIT) {
            let asker = {
                let mut queries = self.queries.lock();
                let Some(Some(query)) = queries.get_mut(at) else { continue };
                query.open = query.open.saturating_sub(1);
                query.asker.clone()
            };
            asker.answer(Resolver::address(), buffer.get(..count).unwrap_or_default());
        }
    }
}
