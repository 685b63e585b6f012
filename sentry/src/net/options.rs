//! The options of level `SOL_SOCKET`, which all families share.

use super::message::Ucred;
use super::socket::Socket;
use super::stack;
use crate::abi::Timeval;
use crate::errno::{Errno, SysResult};
use crate::kernel::{Cap, Task};
use crate::sync::Mutex;
use smallvec::SmallVec;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;
use zerocopy::{FromBytes, IntoBytes};

/// An option's value as a guest sees it.
pub type Value = SmallVec<[u8; 16]>;

/// `net.core.wmem_max` and `net.core.rmem_max`, which nobody may change: it bounds what a socket holds.
const BUFFER_MAX: u32 = 4 << 20;
/// `net.core.wmem_default` and `net.core.rmem_default`.
pub const BUFFER_DEFAULT: u32 = 212_992;
/// `SOCK_MIN_SNDBUF`.
const SNDBUF_MIN: u32 = 4608;
/// `SOCK_MIN_RCVBUF`.
const RCVBUF_MIN: u32 = 2304;

/// Options that are a bit here.
const SWITCHES: &[i32] = &[
    libc::SO_DEBUG,
    libc::SO_REUSEADDR,
    libc::SO_DONTROUTE,
    libc::SO_BROADCAST,
    libc::SO_KEEPALIVE,
    libc::SO_OOBINLINE,
    libc::SO_NO_CHECK,
    libc::SO_REUSEPORT,
    libc::SO_PASSCRED,
    libc::SO_PASSSEC,
    libc::SO_TIMESTAMP,
    libc::SO_TIMESTAMPNS,
    libc::SO_RXQ_OVFL,
];

/// Values of the shared options. Each is independent of the others.
#[derive(Debug)]
pub struct Options {
    switches: AtomicU64,
    sndbuf: AtomicU32,
    rcvbuf: AtomicU32,
    rcvlowat: AtomicI32,
    priority: AtomicI32,
    mark: AtomicU32,
    /// Pending error (`SO_ERROR`), 0 if none.
    error: AtomicI32,
    linger: Mutex<Option<Duration>>,
    rcvtimeo: Mutex<Option<Duration>>,
    sndtimeo: Mutex<Option<Duration>>,
}

impl Options {
    /// Defaults, with these buffer sizes.
    pub fn new(sndbuf: u32, rcvbuf: u32) -> Options {
        Options {
            switches: AtomicU64::new(0),
            sndbuf: AtomicU32::new(sndbuf),
            rcvbuf: AtomicU32::new(rcvbuf),
            rcvlowat: AtomicI32::new(1),
            priority: AtomicI32::new(0),
            mark: AtomicU32::new(0),
            error: AtomicI32::new(0),
            linger: Mutex::new(None),
            rcvtimeo: Mutex::new(None),
            sndtimeo: Mutex::new(None),
        }
    }

    /// A copy, as an accepted socket has it of its listener.
    pub fn inherit(&self) -> Options {
        Options {
            switches: AtomicU64::new(self.switches.load(Ordering::Relaxed)),
            sndbuf: AtomicU32::new(self.sndbuf()),
            rcvbuf: AtomicU32::new(self.rcvbuf()),
            rcvlowat: AtomicI32::new(self.rcvlowat.load(Ordering::Relaxed)),
            priority: AtomicI32::new(self.priority.load(Ordering::Relaxed)),
            mark: AtomicU32::new(self.mark.load(Ordering::Relaxed)),
            error: AtomicI32::new(0),
            linger: Mutex::new(*self.linger.lock()),
            rcvtimeo: Mutex::new(*self.rcvtimeo.lock()),
            sndtimeo: Mutex::new(*self.sndtimeo.lock()),
        }
    }

    /// Whether a switch (`SO_REUSEADDR`…) is on.
    pub fn is_on(&self, name: i32) -> bool {
        self.switches.load(Ordering::Relaxed) & bit(name) != 0
    }

    fn switch(&self, name: i32, on: bool) {
        if on {
            self.switches.fetch_or(bit(name), Ordering::Relaxed);
        } else {
            self.switches.fetch_and(!bit(name), Ordering::Relaxed);
        }
    }

    /// `SO_SNDBUF`.
    pub fn sndbuf(&self) -> u32 {
        self.sndbuf.load(Ordering::Relaxed)
    }

    /// `SO_RCVBUF`.
    pub fn rcvbuf(&self) -> u32 {
        self.rcvbuf.load(Ordering::Relaxed)
    }

    /// `SO_RCVLOWAT`.
    pub fn rcvlowat(&self) -> usize {
        self.rcvlowat.load(Ordering::Relaxed).max(1) as usize
    }

    /// `SO_LINGER`.
    pub fn linger(&self) -> Option<Duration> {
        *self.linger.lock()
    }

    #[cfg(test)]
    pub(super) fn set_linger_for_test(&self, time: Duration) {
        *self.linger.lock() = Some(time);
    }

    /// `SO_RCVTIMEO`.
    pub fn rcvtimeo(&self) -> Option<Duration> {
        *self.rcvtimeo.lock()
    }

    /// `SO_SNDTIMEO`.
    pub fn sndtimeo(&self) -> Option<Duration> {
        *self.sndtimeo.lock()
    }

    /// Makes `error` pending.
    pub fn set_error(&self, error: Errno) {
        self.error.store(error.raw(), Ordering::Release);
    }

    /// Whether an error is pending.
    pub fn has_error(&self) -> bool {
        self.error.load(Ordering::Acquire) != 0
    }

    /// Takes the pending error.
    pub fn take_error(&self) -> SysResult<()> {
        match self.error.swap(0, Ordering::AcqRel) {
            0 => Ok(()),
            error => Err(Errno::from_raw(error)),
        }
    }

    /// `getsockopt(2)` with `SOL_SOCKET`.
    pub fn get(&self, socket: &Socket, name: i32) -> SysResult<Value> {
        let value = match name {
            _ if SWITCHES.contains(&name) => i32::from(self.is_on(name)),
            libc::SO_SNDBUF | libc::SO_SNDBUFFORCE => self.sndbuf() as i32,
            libc::SO_RCVBUF | libc::SO_RCVBUFFORCE => self.rcvbuf() as i32,
            libc::SO_RCVLOWAT => self.rcvlowat.load(Ordering::Relaxed),
            libc::SO_SNDLOWAT => 1,
            libc::SO_PRIORITY => self.priority.load(Ordering::Relaxed),
            libc::SO_MARK => self.mark.load(Ordering::Relaxed) as i32,
            libc::SO_TYPE => socket.kind,
            libc::SO_DOMAIN => socket.family,
            libc::SO_PROTOCOL => socket.protocol,
            libc::SO_ERROR => self.error.swap(0, Ordering::AcqRel),
            libc::SO_ACCEPTCONN => i32::from(socket.ops.is_listening()),
            libc::SO_BSDCOMPAT | libc::SO_INCOMING_CPU | libc::SO_SELECT_ERR_QUEUE | libc::SO_LOCK_FILTER => 0,
            libc::SO_PEEK_OFF => -1,
            libc::SO_ZEROCOPY
            | libc::SO_TIMESTAMPING
            | libc::SO_BUSY_POLL
            | libc::SO_NOFCS
            | libc::SO_BINDTOIFINDEX => 0,
            libc::SO_LINGER => return Ok(self.get_linger()),
            libc::SO_RCVTIMEO | SO_RCVTIMEO_NEW => return Ok(timeout_value(self.rcvtimeo())),
            libc::SO_SNDTIMEO | SO_SNDTIMEO_NEW => return Ok(timeout_value(self.sndtimeo())),
            libc::SO_PEERCRED => {
                return Ok(socket.ops.peer_creds().unwrap_or(Ucred::NONE).as_bytes().into());
            }
            libc::SO_PEERNAME => return Ok(socket.ops.peer_address()?.as_bytes().into()),
            libc::SO_BINDTODEVICE => return Ok(Value::new()),
            _ => return Err(Errno::NOPROTOOPT),
        };
        Ok(value.as_bytes().into())
    }

    fn get_linger(&self) -> Value {
        let linger = self.linger();
        let seconds = linger.map_or(0, |time| time.as_secs() as i32);
        [i32::from(linger.is_some()), seconds].as_bytes().into()
    }

    /// `setsockopt(2)` with `SOL_SOCKET`.
    pub fn set(&self, t: &Task, name: i32, value: &[u8]) -> SysResult<()> {
        if name == libc::SO_BINDTODEVICE {
            return bind_to_device(t, value);
        }
        let int = int(value)?;
        match name {
            libc::SO_DEBUG if int != 0 && !t.creds().has(Cap::NetAdmin) => return Err(Errno::ACCES),
            _ if SWITCHES.contains(&name) => self.switch(name, int != 0),
            libc::SO_TYPE | libc::SO_PROTOCOL | libc::SO_DOMAIN | libc::SO_ERROR | libc::SO_ACCEPTCONN => {
                return Err(Errno::NOPROTOOPT);
            }
            libc::SO_SNDBUF => self.sndbuf.store(buffer_size(int, SNDBUF_MIN), Ordering::Relaxed),
            libc::SO_RCVBUF => self.rcvbuf.store(buffer_size(int, RCVBUF_MIN), Ordering::Relaxed),
            libc::SO_SNDBUFFORCE | libc::SO_RCVBUFFORCE => {
                if !t.creds().has(Cap::NetAdmin) {
                    return Err(Errno::PERM);
                }
                let (buffer, min) =
                    if name == libc::SO_SNDBUFFORCE { (&self.sndbuf, SNDBUF_MIN) } else { (&self.rcvbuf, RCVBUF_MIN) };
                buffer.store(buffer_size(int.max(0), min), Ordering::Relaxed);
            }
            libc::SO_RCVLOWAT => {
                let lowat = if int < 0 { i32::MAX } else { int.max(1) };
                self.rcvlowat.store(lowat, Ordering::Relaxed);
            }
            libc::SO_PRIORITY => self.set_priority(t, int)?,
            libc::SO_MARK => {
                let creds = t.creds();
                if !creds.has(Cap::NetRaw) && !creds.has(Cap::NetAdmin) {
                    return Err(Errno::PERM);
                }
                self.mark.store(int as u32, Ordering::Relaxed);
            }
            libc::SO_BSDCOMPAT => {}
            libc::SO_LINGER => self.set_linger(value)?,
            libc::SO_RCVTIMEO | SO_RCVTIMEO_NEW => *self.rcvtimeo.lock() = timeout(value)?,
            libc::SO_SNDTIMEO | SO_SNDTIMEO_NEW => *self.sndtimeo.lock() = timeout(value)?,
            _ => return Err(Errno::NOPROTOOPT),
        }
        Ok(())
    }

    fn set_priority(&self, t: &Task, priority: i32) -> SysResult<()> {
        let creds = t.creds();
        if !(0..=6).contains(&priority) && !creds.has(Cap::NetRaw) && !creds.has(Cap::NetAdmin) {
            return Err(Errno::PERM);
        }
        self.priority.store(priority, Ordering::Relaxed);
        Ok(())
    }

    fn set_linger(&self, value: &[u8]) -> SysResult<()> {
        let (linger, _) = <[i32; 2]>::read_from_prefix(value).map_err(|_| Errno::INVAL)?;
        let [on, seconds] = linger;
        *self.linger.lock() = (on != 0).then(|| Duration::from_secs(u64::from(seconds.max(0).unsigned_abs())));
        Ok(())
    }
}

/// `SO_RCVTIMEO_NEW`.
const SO_RCVTIMEO_NEW: i32 = 66;
/// `SO_SNDTIMEO_NEW`.
const SO_SNDTIMEO_NEW: i32 = 67;

/// The bit of a switch: names are below 64.
fn bit(name: i32) -> u64 {
    1 << (name & 63)
}

/// An integer option's value: `EINVAL` if the guest gave less.
pub fn int(value: &[u8]) -> SysResult<i32> {
    Ok(i32::from_ne_bytes(*value.first_chunk().ok_or(Errno::INVAL)?))
}

/// Linux doubles what is asked for, for its own overhead.
fn buffer_size(asked: i32, min: u32) -> u32 {
    ((asked as u32).min(BUFFER_MAX) * 2).max(min)
}

fn timeout(value: &[u8]) -> SysResult<Option<Duration>> {
    let (Timeval { sec, usec }, _) = Timeval::read_from_prefix(value).map_err(|_| Errno::INVAL)?;
    if !(0..1_000_000).contains(&usec) {
        return Err(Errno::DOM);
    }
    // A negative timeout has passed already; zero is none.
    let timeout = Duration::from_secs(sec.max(0).unsigned_abs()) + Duration::from_micros(usec.unsigned_abs());
    Ok(Some(if sec < 0 { Duration::from_nanos(1) } else { timeout }).filter(|timeout| !timeout.is_zero()))
}

fn timeout_value(timeout: Option<Duration>) -> Value {
    Timeval::from(timeout.unwrap_or_default()).as_bytes().into()
}

fn bind_to_device(t: &Task, value: &[u8]) -> SysResult<()> {
    if !t.creds().has(Cap::NetRaw) {
        return Err(Errno::PERM);
    }
    let name = value.split(|b| *b == 0).next().unwrap_or_default();
    let is_link = stack::get().is_some_and(|stack| stack.links().iter().any(|link| link.name.as_bytes() == name));
    if name.is_empty() || name == b"lo" || is_link { Ok(()) } else { Err(Errno::NODEV) }
}
