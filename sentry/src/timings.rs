//! `--timings`: when each stage of a start, and of the end, was reached.
//!
//! The processes that a sandbox consists of come from one another without `execve`, so that they all know when the
//! first one began; each says on standard error what it has reached.

use std::io::Write;
use std::sync::OnceLock;
use std::time::Instant;

static START: OnceLock<Instant> = OnceLock::new();

/// From now on stages are reported, in microseconds since `start`.
pub fn start(start: Instant) {
    let _ = START.set(start);
}

/// A stage was reached.
pub fn mark(stage: &str) {
    if let Some(start) = START.get() {
        // One write, so that lines of two processes stay whole.
        let line = format!("{:>8} us  {stage}\n", start.elapsed().as_micros());
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
}
