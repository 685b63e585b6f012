//! `--log`: what engines read when a command fails, one line each.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, OnceLock};
use std::time::SystemTime;

/// The form of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// `time="…" level=error msg="…"`
    Text,
    /// An object
    Json,
}

static LOG: OnceLock<(Mutex<File>, Format)> = OnceLock::new();

/// Opens the log, to which lines are appended.
pub(crate) fn open(path: &Path, format: Format) -> std::io::Result<()> {
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    let _ = LOG.set((Mutex::new(file), format));
    Ok(())
}

/// Tells that something asked for is not as it should be.
pub(crate) fn warn(what: &str) {
    let what = one_line(what);
    eprintln!("runsc: warning: {what}");
    write("warning", &what);
}

/// Tells why the command fails.
pub(crate) fn error(what: &str) {
    let what = one_line(what);
    eprintln!("runsc: {what}");
    write("error", &what);
}

/// Names of files and arguments may hold anything, line feeds and a terminal's commands too.
fn one_line(what: &str) -> String {
    let shown = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    what.trim_end().chars().map(shown).collect()
}

fn write(level: &str, what: &str) {
    let Some((file, format)) = LOG.get() else { return };
    let time = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let line = match format {
        Format::Json => format!("{}\n", serde_json::json!({ "level": level, "msg": what, "time": time })),
        Format::Text => format!("time={time:?} level={level} msg={what:?}\n"),
    };
    if let Ok(mut file) = file.lock() {
        // There is nowhere else to report a log that cannot be written.
        let _ = file.write_all(line.as_bytes());
    }
}
