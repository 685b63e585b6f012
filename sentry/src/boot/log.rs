//! `--debug-log`: what the sentry has to say about itself, a line per event.

use crate::sync::Mutex;
use std::fmt::{Debug, Write as _};
use std::fs::File;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::time::Instant;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// How much is told.
const LEVEL: Level = Level::DEBUG;

/// From now on events are written to `out`.
pub(super) fn start(out: OwnedFd) {
    let log = Log { out: Mutex::new(File::from(out)), start: Instant::now() };
    // One that is there already keeps the events.
    let _ = tracing::subscriber::set_global_default(log);
}

struct Log {
    out: Mutex<File>,
    start: Instant,
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= LEVEL
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::from_level(LEVEL))
    }

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        let since = self.start.elapsed().as_secs_f64();
        let mut line = Line(format!("{since:.6} {:5} {}:", metadata.level(), metadata.target()));
        event.record(&mut line);
        line.0.push('\n');
        // A log that cannot be written is no reason to stop.
        let _ = self.out.lock().write_all(line.0.as_bytes());
    }

    // The sentry has no spans: its tasks are in the fields of its events.

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// A line, as its fields are added.
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = match field.name() {
            "message" => write!(self.0, " {value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}
