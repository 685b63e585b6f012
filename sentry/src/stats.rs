//! `--stats` and `--metrics`: how often guests made each call, how it came, and how long its answer took.
//!
//! What guests answer themselves, and what the host kernel does for them natively, comes by nobody and is not counted.
//! Off, it costs one test per call.

use crate::fs::counters::FILES;
use crate::sync::Mutex;
use platform::counters::{self, PLATFORM};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use syscalls_table::lookup;

/// Above the highest number of a call.
const CALLS: usize = 512;
/// Buckets per power of two: what is read from the histogram is at most an eighth off.
const FINE: u64 = 4;
/// Up to 2^40 ns, some 18 minutes.
const BUCKETS: usize = (40 * FINE) as usize;

struct Stats {
    calls: [OnceLock<Box<Call>>; CALLS],
    start: Instant,
    /// Where the table goes, and where the JSON does.
    outputs: Mutex<(Option<File>, Option<File>)>,
}

/// What is counted of all calls of one number.
struct Call {
    fast: AtomicU64,
    notified: AtomicU64,
    blocked: AtomicU64,
    /// Nanoseconds.
    total: AtomicU64,
    times: [AtomicU64; BUCKETS],
}

static STATS: OnceLock<Box<Stats>> = OnceLock::new();

/// From now on calls are counted, for a table and as JSON.
pub fn start(table: Option<OwnedFd>, json: Option<OwnedFd>) {
    let outputs = Mutex::new((table.map(File::from), json.map(File::from)));
    counters::start();
    let _ = STATS.set(Box::new(Stats { calls: [const { OnceLock::new() }; CALLS], start: Instant::now(), outputs }));
}

/// A call under way.
#[derive(Debug)]
pub struct Timing {
    nr: u32,
    is_fast: bool,
    begin: Instant,
}

/// Begins to time a call, if calls are counted at all. `is_fast`: whether it came without a notification.
pub fn enter(nr: u32, is_fast: impl FnOnce() -> bool) -> Option<Timing> {
    STATS.get()?;
    Some(Timing { nr, is_fast: is_fast(), begin: Instant::now() })
}

impl Timing {
    /// The call is about to be answered; it had to wait or had not.
    pub fn exit(self, has_waited: bool) {
        let Some(slot) = STATS.get().and_then(|stats| stats.calls.get(self.nr as usize)) else { return };
        let call = slot.get_or_init(|| Box::new(Call::new()));
        let add = |count: &AtomicU64, n| count.fetch_add(n, Ordering::Relaxed);
        let time = u64::try_from(self.begin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        add(if self.is_fast { &call.fast } else { &call.notified }, 1);
        add(&call.blocked, has_waited.into());
        add(&call.total, time);
        call.times.get(bucket(time)).map(|count| add(count, 1));
    }
}

/// The bucket of a time in nanoseconds.
fn bucket(time: u64) -> usize {
    let time = time.max(FINE);
    let log = u64::from(time.ilog2());
    let fine = time >> (log - 2) & (FINE - 1);
    ((log * FINE + fine) as usize).min(BUCKETS - 1)
}

/// The middle of a bucket, in nanoseconds.
fn middle(bucket: usize) -> u64 {
    let (log, fine) = (bucket as u64 / FINE, bucket as u64 % FINE);
    let step = (1 << log) / FINE;
    (1 << log) + step * fine + step / 2
}

impl Call {
    fn new() -> Call {
        let zero = || AtomicU64::new(0);
        Call {
            fast: zero(),
            notified: zero(),
            blocked: zero(),
            total: zero(),
            times: [const { AtomicU64::new(0) }; BUCKETS],
        }
    }

    /// The time within which so much of the calls were answered.
    fn quantile(&self, part: f64) -> u64 {
        let counts = || self.times.iter().map(|count| count.load(Ordering::Relaxed));
        let wanted = (counts().sum::<u64>() as f64 * part).ceil() as u64;
        let mut seen = 0;
        let is_there = |count: u64| {
            seen += count;
            seen >= wanted
        };
        middle(counts().map(is_there).position(|there| there).unwrap_or(0))
    }
}

/// What is said of one call.
#[derive(Debug, Serialize)]
struct Line {
    name: &'static str,
    number: usize,
    count: u64,
    /// How many came through shared memory.
    fast: u64,
    /// How many were notifications.
    notified: u64,
    /// How many had to wait for something.
    blocked: u64,
    total_ns: u64,
    p50_ns: u64,
    p99_ns: u64,
}

/// What is said of the sandbox.
#[derive(Debug, Serialize)]
struct Report {
    wall_ns: u64,
    /// The sentry's own processor time.
    user_ns: u64,
    system_ns: u64,
    /// How often a thread of the sentry went to sleep, and how often it was made to wait.
    voluntary_switches: i64,
    involuntary_switches: i64,
    /// How often the host was asked for what, and what the sentry knew by itself.
    counts: BTreeMap<&'static str, u64>,
    calls: Vec<Line>,
}

impl Stats {
    fn report(&self) -> Report {
        let line = |(number, slot): (usize, &OnceLock<Box<Call>>)| {
            let call = slot.get()?;
            let [fast, notified, blocked, total_ns] =
                [&call.fast, &call.notified, &call.blocked, &call.total].map(|n| n.load(Ordering::Relaxed));
            let name = lookup(number as u32).map_or("?", |entry| entry.name);
            let (p50_ns, p99_ns) = (call.quantile(0.5), call.quantile(0.99));
            Some(Line { name, number, count: fast + notified, fast, notified, blocked, total_ns, p50_ns, p99_ns })
        };
        let mut calls: Vec<Line> = self.calls.iter().enumerate().filter_map(line).collect();
        calls.sort_by_key(|line| std::cmp::Reverse(line.total_ns));
        let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF).ok();
        let time = |time: Option<nix::sys::time::TimeVal>| {
            time.map_or(0, |t| (t.tv_sec() * 1_000_000_000 + t.tv_usec() * 1000).unsigned_abs())
        };
        Report {
            wall_ns: u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX),
            user_ns: time(usage.map(|u| u.user_time())),
            system_ns: time(usage.map(|u| u.system_time())),
            voluntary_switches: usage.map_or(0, |u| u.voluntary_context_switches()),
            involuntary_switches: usage.map_or(0, |u| u.involuntary_context_switches()),
            counts: PLATFORM.iter().chain(&FILES).map(|counter| (counter.name, counter.get())).collect(),
            calls,
        }
    }
}

impl Report {
    fn table(&self) -> String {
        let mut out = String::new();
        let secs = |ns| Duration::from_nanos(ns).as_secs_f64();
        let micros = |ns: u64| ns as f64 / 1000.0;
        let _ = writeln!(
            out,
            "{:20} {:>9} {:>9} {:>9} {:>9} {:>10} {:>9} {:>9}",
            "call", "count", "fast", "notified", "blocked", "total s", "p50 us", "p99 us"
        );
        for l in &self.calls {
            let _ = writeln!(
                out,
                "{:20} {:>9} {:>9} {:>9} {:>9} {:>10.4} {:>9.1} {:>9.1}",
                l.name,
                l.count,
                l.fast,
                l.notified,
                l.blocked,
                secs(l.total_ns),
                micros(l.p50_ns),
                micros(l.p99_ns)
            );
        }
        let _ = writeln!(
            out,
            "the sentry: {:.3} s user, {:.3} s system in {:.3} s; {} waits, {} preemptions",
            secs(self.user_ns),
            secs(self.system_ns),
            secs(self.wall_ns),
            self.voluntary_switches,
            self.involuntary_switches
        );
        for (name, count) in &self.counts {
            let _ = writeln!(out, "{name:40} {count:>9}");
        }
        out
    }
}

/// Writes what was counted to where it is wanted.
pub fn finish() {
    let Some(stats) = STATS.get() else { return };
    let report = stats.report();
    let (table, json) = std::mem::take(&mut *stats.outputs.lock());
    let write = |file: Option<File>, text: &dyn Fn() -> io::Result<String>| {
        let Some(mut file) = file else { return };
        if let Err(e) = text().and_then(|text| file.write_all(text.as_bytes())) {
            tracing::error!("cannot write the statistics: {e}");
        }
    };
    write(table, &|| Ok(report.table()));
    write(json, &|| Ok(serde_json::to_string_pretty(&report)? + "\n"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_fall_into_buckets_near_them() {
        for time in [4, 5, 7, 8, 100, 999, 1000, 123_456, 1 << 30] {
            let near = middle(bucket(time));
            assert!(near.abs_diff(time) * 8 <= time, "{time} is not {near}");
        }
        assert_eq!((bucket(0), bucket(u64::MAX)), (bucket(4), BUCKETS - 1));
    }

    #[test]
    fn quantiles_are_those_of_the_times() {
        let call = Call::new();
        for time in 1..=1000u64 {
            call.times[bucket(time * 1000)].fetch_add(1, Ordering::Relaxed);
        }
        assert!(call.quantile(0.5).abs_diff(500_000) < 70_000);
        assert!(call.quantile(0.99).abs_diff(990_000) < 130_000);
    }
}
