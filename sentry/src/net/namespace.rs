//! Network namespaces (`network_namespaces(7)`): each has interfaces, addresses, routes, ports, names, parameters and
//! counters of its own.
//!
//! The first is the one that the engine has furnished, with the interfaces it gave. Others begin with a loopback
//! interface that is off. Tasks, sockets and open files (`/proc/PID/ns/net`) keep a namespace; what it holds itself
//! knows it weakly, and goes with it.

use super::counters::Counters;
use super::layout::{Layout, V6};
use super::netlink::Origin;
use super::stack::link::{Device, Link};
use super::stack::{Traffic, lifecycle, random};
use super::sysctl::Sysctls;
use super::{inet, netlink, packet, unix};
use crate::errno::{Errno, SysResult};
use crate::executor;
use crate::sync::{Mutex, RwLock};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Weak};

/// Most that there may be: each takes some KiB before it is used.
const NAMESPACES_MAX: i32 = 256;
/// `PROC_NET_INIT_INO` of Linux 6.18.
const FIRST: u64 = 0xefff_fff7;

/// How many guests may make (`/proc/sys/user/max_net_namespaces`).
pub static MAX: AtomicI32 = AtomicI32::new(NAMESPACES_MAX);
/// How many there are.
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// A network namespace.
pub struct Net {
    /// Unique number, for `/proc/PID/ns/net`.
    pub id: u64,
    /// `SO_NETNS_COOKIE`: another one, that never comes again.
    pub cookie: u64,
    /// Parameters.
    pub sysctl: Sysctls,
    /// What has passed.
    pub counters: Counters,
    /// What packets over interfaces need.
    pub(super) traffic: Traffic,
    pub(super) inet: inet::Tables,
    pub(super) taps: packet::Taps,
    /// Abstract names of `AF_UNIX`.
    pub(super) names: unix::Names,
    /// Addresses of `AF_NETLINK`.
    pub(super) netlink: netlink::Ids,
    layout: RwLock<Arc<Layout>>,
    /// Held by whoever makes the next layout.
    changing: Mutex<()>,
    loopback_is_up: AtomicBool,
    /// Other namespaces by the numbers that they have here (`NETNSA_NSID`).
    known: Mutex<Vec<Weak<Net>>>,
    me: Weak<Net>,
}

impl std::fmt::Debug for Net {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Net({})", self.id)
    }
}

impl Net {
    /// The one that containers begin in.
    pub fn first() -> &'static Arc<Net> {
        static NET: LazyLock<Arc<Net>> = LazyLock::new(|| {
            let net = Net::with(FIRST, 1, true);
            let _ = net.change(|layout| layout.set_up(Link::LOOPBACK, true, V6::Full));
            net
        });
        &NET
    }

    /// A new one (`CLONE_NEWNET`): `ENOSPC` if there are too many.
    pub fn create() -> SysResult<Arc<Net>> {
        /// Apart from the numbers of other namespaces.
        static NEXT: AtomicU64 = AtomicU64::new(0xfc00_0000);
        static COOKIE: AtomicU64 = AtomicU64::new(0x1001);
        let most = usize::try_from(MAX.load(Ordering::Relaxed).min(NAMESPACES_MAX)).unwrap_or(0);
        let took = COUNT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < most).then_some(n + 1));
        took.map_err(|_| Errno::NOSPC)?;
        Ok(Net::with(NEXT.fetch_add(1, Ordering::Relaxed), COOKIE.fetch_add(1, Ordering::Relaxed), false))
    }

    fn with(id: u64, cookie: u64, is_first: bool) -> Arc<Net> {
        Arc::new_cyclic(|me: &Weak<Net>| Net {
            id,
            cookie,
            sysctl: Sysctls::new(is_first),
            counters: Counters::default(),
            traffic: Traffic::new(random()),
            inet: Default::default(),
            taps: Default::default(),
            names: Default::default(),
            netlink: Default::default(),
            layout: RwLock::new(Arc::new(Layout::new(Device::loopback(me)))),
            changing: Mutex::default(),
            loopback_is_up: AtomicBool::new(false),
            known: Mutex::default(),
            me: me.clone(),
        })
    }

    /// Whether it is the one that containers begin in.
    pub fn is_first(&self) -> bool {
        self.id == FIRST
    }

    /// A counted reference to itself; none while it goes.
    pub fn arc(&self) -> Option<Arc<Net>> {
        self.me.upgrade()
    }

    /// A reference that does not keep it.
    pub fn weak(&self) -> Weak<Net> {
        self.me.clone()
    }

    /// Its interfaces and routes as they are now.
    pub fn layout(&self) -> Arc<Layout> {
        self.layout.read().clone()
    }

    /// Changes interfaces or routes, wholly or, after an error, not at all.
    pub fn change<T>(&self, act: impl FnOnce(&mut Layout) -> SysResult<T>) -> SysResult<T> {
        self.change_for(Origin::default(), act)
    }

    /// The same for a request that is to be told of to those who listen; errors may say more.
    pub(super) fn change_for<T, E>(
        &self,
        origin: Origin,
        act: impl FnOnce(&mut Layout) -> Result<T, E>,
    ) -> Result<T, E> {
        let changing = self.changing.lock();
        let mut next = Layout::clone(&self.layout());
        let done = act(&mut next)?;
        next.index();
        self.loopback_is_up.store(next.link(Link::LOOPBACK).is_some_and(|lo| lo.up), Ordering::Release);
        let next = Arc::new(next);
        let old = std::mem::replace(&mut *self.layout.write(), next.clone());
        drop(changing);
        netlink::announce::changes(self, &old, &next, origin);
        Ok(done)
    }

    /// The number that another namespace has here; it gets one if it has none and `makes`.
    pub fn number_of(&self, other: &Net, makes: bool) -> Option<i32> {
        let mut known = self.known.lock();
        let is_it = |known: &Weak<Net>| std::ptr::eq(known.as_ptr(), other);
        let at = known.iter().position(is_it).or_else(|| {
            let free =
                makes.then(|| known.iter().position(|known| known.strong_count() == 0).unwrap_or(known.len()))?;
            if free == known.len() {
                known.push(Weak::new());
            }
            known.get_mut(free).map(|place| *place = other.weak())?;
            Some(free)
        })?;
        i32::try_from(at).ok()
    }

    /// The numbers of all that have one here.
    pub fn numbers(&self) -> Vec<i32> {
        let known = self.known.lock();
        let there = known.iter().zip(0..).filter(|(known, _)| known.strong_count() > 0);
        there.map(|(_, number)| number).collect()
    }

    /// Gives another namespace a number: `EEXIST` if it has one, or another has it.
    pub fn give_number(&self, other: &Net, number: i32) -> SysResult<()> {
        if self.number_of(other, false).is_some() {
            return Err(Errno::EXIST);
        }
        let at = usize::try_from(number).map_err(|_| Errno::INVAL)?;
        // A number is a place in a list, of which there are as many as there may be namespaces.
        if at >= NAMESPACES_MAX as usize {
            return Err(Errno::NOSPC);
        }
        let mut known = self.known.lock();
        if known.len() <= at {
            known.resize(at + 1, Weak::new());
        }
        match known.get_mut(at) {
            Some(place) if place.strong_count() == 0 => *place = other.weak(),
            _ => return Err(Errno::EXIST),
        }
        Ok(())
    }

    /// Whether the loopback interface is on.
    pub fn loopback_is_up(&self) -> bool {
        self.loopback_is_up.load(Ordering::Acquire)
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        if self.id != FIRST {
            COUNT.fetch_sub(1, Ordering::Relaxed);
        }
        let links = self.layout.get_mut().links().to_vec();
        // Whoever let go of it last may hold any lock.
        executor::spawn(async move { links.iter().for_each(lifecycle::orphaned) });
    }
}
