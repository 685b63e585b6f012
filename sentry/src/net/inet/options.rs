//! Options of the levels `IPPROTO_IP`, `IPPROTO_IPV6` and `IPPROTO_TCP` that are numbers: kept, checked and given
//! back, with Linux's defaults.

use crate::errno::{Errno, SysResult};
use crate::net::options::Value;
use crate::sync::Mutex;
use std::collections::BTreeMap;
use zerocopy::IntoBytes;

/// An option that is a number.
#[derive(Debug)]
struct IntOption {
    level: i32,
    name: i32,
    default: i32,
    min: i32,
    max: i32,
    /// What a value out of range gets.
    error: Errno,
}

const fn row(level: i32, name: i32, default: i32, min: i32, max: i32) -> IntOption {
    IntOption { level, name, default, min, max, error: Errno::INVAL }
}

const fn switch(level: i32, name: i32, default: i32) -> IntOption {
    row(level, name, default, i32::MIN, i32::MAX)
}

const IP: i32 = libc::IPPROTO_IP;
const V6: i32 = libc::IPPROTO_IPV6;
const TCP: i32 = libc::IPPROTO_TCP;
/// `TCP_KEEPIDLE` and `TCP_KEEPINTVL` go up to this (`MAX_TCP_KEEPIDLE`).
const KEEP_MAX: i32 = 32767;
const IP_MINTTL: i32 = 21;
const IP_BIND_ADDRESS_NO_PORT: i32 = 24;

/// All of them, with defaults and ranges. Switches take any number and give back 0 or 1.
static TABLE: &[IntOption] = &[
    row(IP, libc::IP_TOS, 0, i32::MIN, i32::MAX),
    row(IP, libc::IP_TTL, 64, 1, 255),
    switch(IP, libc::IP_PKTINFO, 0),
    row(IP, libc::IP_MTU_DISCOVER, 1, 0, 5),
    switch(IP, libc::IP_RECVERR, 0),
    switch(IP, libc::IP_RECVTTL, 0),
    switch(IP, libc::IP_RECVTOS, 0),
    switch(IP, libc::IP_RECVORIGDSTADDR, 0),
    switch(IP, libc::IP_FREEBIND, 0),
    switch(IP, IP_BIND_ADDRESS_NO_PORT, 0),
    row(IP, IP_MINTTL, 0, 0, 255),
    row(IP, libc::IP_MULTICAST_TTL, 1, 0, 255),
    switch(IP, libc::IP_MULTICAST_LOOP, 1),
    switch(IP, libc::IP_MULTICAST_ALL, 1),
    switch(V6, libc::IPV6_V6ONLY, 0),
    row(V6, libc::IPV6_UNICAST_HOPS, 64, 0, 255),
    row(V6, libc::IPV6_MULTICAST_HOPS, 1, 0, 255),
    switch(V6, libc::IPV6_MULTICAST_LOOP, 1),
    row(V6, libc::IPV6_MTU_DISCOVER, 1, 0, 5),
    switch(V6, libc::IPV6_RECVERR, 0),
    switch(V6, libc::IPV6_RECVPKTINFO, 0),
    switch(V6, libc::IPV6_RECVHOPLIMIT, 0),
    switch(V6, libc::IPV6_RECVTCLASS, 0),
    row(V6, libc::IPV6_TCLASS, 0, 0, 255),
    switch(V6, libc::IPV6_FREEBIND, 0),
    switch(V6, libc::IPV6_DONTFRAG, 0),
    switch(TCP, libc::TCP_NODELAY, 0),
    row(TCP, libc::TCP_MAXSEG, 0, 88, 32767),
    switch(TCP, libc::TCP_CORK, 0),
    row(TCP, libc::TCP_KEEPIDLE, 7200, 1, KEEP_MAX),
    row(TCP, libc::TCP_KEEPINTVL, 75, 1, KEEP_MAX),
    row(TCP, libc::TCP_KEEPCNT, 9, 1, 127),
    row(TCP, libc::TCP_SYNCNT, 6, 1, 127),
    row(TCP, libc::TCP_LINGER2, 60, i32::MIN, i32::MAX),
    row(TCP, libc::TCP_DEFER_ACCEPT, 0, i32::MIN, i32::MAX),
    row(TCP, libc::TCP_WINDOW_CLAMP, 0, 0, i32::MAX),
    switch(TCP, libc::TCP_QUICKACK, 1),
    switch(TCP, libc::TCP_THIN_LINEAR_TIMEOUTS, 0),
    switch(TCP, libc::TCP_THIN_DUPACK, 0),
    row(TCP, libc::TCP_USER_TIMEOUT, 0, 0, i32::MAX),
    row(TCP, libc::TCP_FASTOPEN, 0, 0, i32::MAX),
    switch(TCP, libc::TCP_FASTOPEN_CONNECT, 0),
    row(TCP, libc::TCP_TIMESTAMP, 0, i32::MIN, i32::MAX),
    row(TCP, libc::TCP_NOTSENT_LOWAT, 0, i32::MIN, i32::MAX),
];

/// Those whose values a guest sees as set, though any number is allowed.
const PLAIN: &[(i32, i32)] = &[
    (IP, libc::IP_TOS),
    (TCP, libc::TCP_LINGER2),
    (TCP, libc::TCP_DEFER_ACCEPT),
    (TCP, libc::TCP_TIMESTAMP),
    (TCP, libc::TCP_NOTSENT_LOWAT),
];

/// The values of one socket; only what differs from the defaults is stored.
#[derive(Debug, Default)]
pub(super) struct IntOptions {
    set: Mutex<BTreeMap<(i32, i32), i32>>,
}

impl IntOptions {
    /// A copy, for an accepted socket.
    pub(super) fn inherit(&self) -> IntOptions {
        IntOptions { set: Mutex::new(self.set.lock().clone()) }
    }

    /// The value of an option of the table; 0 if there is none.
    pub(super) fn value(&self, level: i32, name: i32) -> i32 {
        if let Some(value) = self.set.lock().get(&(level, name)) {
            return *value;
        }
        find(level, name).map_or(0, |option| option.default)
    }

    /// Whether a switch is on.
    pub(super) fn is_on(&self, level: i32, name: i32) -> bool {
        self.value(level, name) != 0
    }

    /// `getsockopt(2)`.
    pub(super) fn get(&self, level: i32, name: i32, room: usize) -> SysResult<Value> {
        find(level, name).ok_or(Errno::NOPROTOOPT)?;
        let value = self.value(level, name);
        // IPv4's options come in one byte to those who ask for less than four.
        if level == IP && (1..4).contains(&room) && (0..256).contains(&value) {
            return Ok(Value::from_slice(&[value as u8]));
        }
        Ok(value.as_bytes().into())
    }

    /// `setsockopt(2)`.
    pub(super) fn set(&self, level: i32, name: i32, value: &[u8]) -> SysResult<()> {
        let option = find(level, name).ok_or(Errno::NOPROTOOPT)?;
        let int = match (value.first_chunk::<4>(), value.first()) {
            (Some(bytes), _) => i32::from_ne_bytes(*bytes),
            (None, Some(byte)) if level == IP => i32::from(*byte),
            _ => return Err(Errno::INVAL),
        };
        let int = match int {
            // "As the route says."
            -1 if RESETS.contains(&(level, name)) => option.default,
            int if !(option.min..=option.max).contains(&int) => return Err(option.error),
            int if option.min == i32::MIN && !PLAIN.contains(&(level, name)) => i32::from(int != 0),
            int => int,
        };
        self.set.lock().insert((level, name), int);
        Ok(())
    }
}

/// Those for which -1 means the default.
const RESETS: &[(i32, i32)] = &[
    (IP, libc::IP_TTL),
    (IP, libc::IP_MULTICAST_TTL),
    (V6, libc::IPV6_UNICAST_HOPS),
    (V6, libc::IPV6_MULTICAST_HOPS),
    (V6, libc::IPV6_TCLASS),
];

fn find(level: i32, name: i32) -> Option<&'static IntOption> {
    TABLE.iter().find(|option| option.level == level && option.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_checked_and_kept() {
        let options = IntOptions::default();
        assert_eq!(options.set(TCP, libc::TCP_NODELAY, &5i32.to_ne_bytes()), Ok(()));
        assert_eq!(options.value(TCP, libc::TCP_NODELAY), 1);
        assert_eq!(options.set(TCP, libc::TCP_KEEPIDLE, &0i32.to_ne_bytes()), Err(Errno::INVAL));
        assert_eq!(options.value(TCP, libc::TCP_KEEPIDLE), 7200);
        assert_eq!(options.set(IP, libc::IP_TTL, &[9]), Ok(()));
        assert_eq!(options.get(IP, libc::IP_TTL, 1).unwrap().as_slice(), &[9]);
        assert_eq!(options.set(IP, libc::IP_TTL, &(-1i32).to_ne_bytes()), Ok(()));
        assert_eq!(options.value(IP, libc::IP_TTL), 64);
        assert_eq!(options.set(TCP, 9999, &[0; 4]), Err(Errno::NOPROTOOPT));
    }
}
