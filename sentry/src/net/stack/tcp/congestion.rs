//! How much may be under way: CUBIC (RFC 9438), and how long an answer takes (RFC 6298).

use std::time::{Duration, Instant};

/// Segments that a connection begins with (RFC 6928).
const INITIAL: usize = 10;
/// What is left of the window after a loss.
const BETA: f64 = 0.7;
/// How fast it grows again, in segments for a second cubed.
const C: f64 = 0.4;

/// The congestion window, in bytes.
#[derive(Debug, Clone)]
pub(super) struct Window {
    mss: usize,
    size: usize,
    threshold: usize,
    /// Where the last loss was, in segments.
    plateau: f64,
    /// Since when it grows again, and when it will be back there.
    epoch: Option<(Instant, f64)>,
    /// What Reno would have, in segments.
    reno: f64,
}

impl Window {
    /// That of a new connection.
    pub(super) fn new(mss: usize) -> Window {
        Window { mss, size: INITIAL * mss, threshold: usize::MAX, plateau: 0.0, epoch: None, reno: 0.0 }
    }

    /// Bytes that may be under way.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Where it grows slower.
    pub(super) fn threshold(&self) -> usize {
        self.threshold
    }

    /// Whether it still doubles with each round trip.
    pub(super) fn is_in_slow_start(&self) -> bool {
        self.size < self.threshold
    }

    /// `bytes` arrived while the window was in use.
    pub(super) fn acknowledged(&mut self, bytes: usize, rtt: Duration, now: Instant) {
        if self.is_in_slow_start() {
            self.size += bytes;
            return;
        }
        let segments = self.size as f64 / self.mss as f64;
        let (since, k) = *self.epoch.get_or_insert_with(|| {
            let k = if segments < self.plateau { ((self.plateau - segments) / C).cbrt() } else { 0.0 };
            self.plateau = self.plateau.max(segments);
            self.reno = segments;
            (now, k)
        });
        let time = (now.saturating_duration_since(since) + rtt).as_secs_f64();
        let target = (self.plateau + C * (time - k).powi(3)).clamp(segments, 1.5 * segments);
        let arrived = bytes as f64 / self.mss as f64;
        self.reno += 3.0 * (1.0 - BETA) / (1.0 + BETA) * arrived / segments;
        let grown = (segments + (target - segments) * arrived / segments).max(self.reno);
        self.size = (grown * self.mss as f64) as usize;
    }

    /// A loss: less from now on.
    pub(super) fn lost(&mut self) {
        let segments = self.size as f64 / self.mss as f64;
        // Who had less than the last time leaves room to others.
        self.plateau = if segments < self.plateau { segments * (1.0 + BETA) / 2.0 } else { segments };
        self.threshold = ((self.size as f64 * BETA) as usize).max(2 * self.mss);
        self.size = self.threshold;
        self.epoch = None;
    }

    /// Nothing came for long: what was under way is gone, and so is what was known.
    pub(super) fn timed_out(&mut self) {
        self.lost();
        self.size = self.mss;
    }

    /// Nothing was sent for a while: what was known of the way is old.
    pub(super) fn idle(&mut self) {
        self.size = self.size.min(INITIAL * self.mss);
        self.epoch = None;
    }
}

/// Least and longest time before something is repeated.
const RTO_MIN: Duration = Duration::from_millis(200);
/// `TCP_RTO_MAX`.
pub(super) const RTO_MAX: Duration = Duration::from_secs(120);
/// As long as nothing is known.
const RTO_INITIAL: Duration = Duration::from_secs(1);
/// Doublings after which it is longer than the longest.
const BACKOFF_MAX: u32 = 16;

/// Measured round trips.
#[derive(Debug, Clone, Default)]
pub(super) struct RoundTrip {
    smooth: Option<Duration>,
    variation: Duration,
    least: Option<Duration>,
    /// How often the time was doubled.
    pub(super) backoff: u32,
}

impl RoundTrip {
    /// A measured one.
    pub(super) fn measured(&mut self, time: Duration) {
        self.least = Some(self.least.map_or(time, |least| least.min(time)));
        match self.smooth {
            None => {
                self.smooth = Some(time);
                self.variation = time / 2;
            }
            Some(smooth) => {
                self.variation = (self.variation * 3 + smooth.abs_diff(time)) / 4;
                self.smooth = Some((smooth * 7 + time) / 8);
            }
        }
    }

    /// The usual one, if any was measured.
    pub(super) fn smooth(&self) -> Option<Duration> {
        self.smooth
    }

    /// How much it varies.
    pub(super) fn variation(&self) -> Duration {
        self.variation
    }

    /// The shortest.
    pub(super) fn least(&self) -> Duration {
        self.least.unwrap_or_default()
    }

    /// Time after which something is repeated.
    pub(super) fn timeout(&self) -> Duration {
        let base = self.smooth.map_or(RTO_INITIAL, |smooth| smooth + (self.variation * 4).max(RTO_MIN));
        base.saturating_mul(1 << self.backoff.min(BACKOFF_MAX)).min(RTO_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_falls_and_comes_back() {
        let mut window = Window::new(1000);
        let (start, rtt) = (Instant::now(), Duration::from_millis(50));
        for _ in 0..100 {
            window.acknowledged(1000, rtt, start);
        }
        assert_eq!(window.size(), 110_000);
        window.lost();
        assert_eq!(window.size(), 77_000);
        let mut now = start;
        let mut trips = 0;
        while window.size() < 110_000 {
            now += rtt;
            trips += 1;
            for _ in 0..window.size() / 1000 {
                window.acknowledged(1000, rtt, now);
            }
        }
        // The cube root of (33 segments / 0.4) is 4.35 seconds.
        assert!((40..=90).contains(&trips), "{trips}");
        window.timed_out();
        assert_eq!(window.size(), 1000);
    }

    #[test]
    fn timeouts_follow_what_is_measured() {
        let mut trip = RoundTrip::default();
        assert_eq!(trip.timeout(), RTO_INITIAL);
        trip.measured(Duration::from_millis(100));
        assert_eq!(trip.timeout(), Duration::from_millis(300));
        trip.backoff = 30;
        assert_eq!(trip.timeout(), RTO_MAX);
    }
}
