//! First numbers and time stamps of connections (RFC 6528, RFC 7323). Those of a connection follow on those of the one
//! before between the same ends: a host that still waits for late packets of that one takes the new one for new, and
//! not for late. Whoever does not know the secret cannot guess them.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::sync::LazyLock;
use std::time::Duration;

static SECRET: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// The first number of a connection that begins `since` after the clock did, which goes on every 64 ns: faster than a
/// connection uses numbers up.
pub(super) fn first(local: SocketAddr, remote: SocketAddr, since: Duration) -> u32 {
    let ticks = (since.as_nanos() >> 6) as u32;
    (SECRET.hash_one((local, remote)) as u32).wrapping_add(ticks)
}

/// Where the time stamps between two hosts begin.
pub(super) fn stamps(local: IpAddr, remote: IpAddr) -> u32 {
    SECRET.hash_one((local, remote)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_connection_of_two_ends_has_later_numbers() {
        let [a, b, c] = ["10.0.0.1:80", "10.0.0.2:4000", "10.0.0.2:4001"].map(|text| text.parse().unwrap());
        let at = |seconds| Duration::from_secs(seconds);
        assert_eq!(first(a, b, at(1)).wrapping_sub(first(a, b, at(0))), 15_625_000);
        assert_ne!(first(a, b, at(0)), first(a, c, at(0)));
        assert_eq!(stamps(a.ip(), b.ip()), stamps(a.ip(), c.ip()));
    }
}
