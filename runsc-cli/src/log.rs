//! `--log`: what engines read when a command fails, one line each.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
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

/// The command that this process carries out.
static COMMAND: OnceLock<String> = OnceLock::new();

static LOG: OnceLock<(Mutex<File>, Format)> = OnceLock::new();

/// Opens the log, to which lines are appended.
pub(crate) fn open(path: &Path, format: Format) -> std::io::Result<()> {
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    let _ = LOG.set((Mutex::new(file), format));
    Ok(())
}

/// The file of `--debug-log`. A directory gets a file for each command, and `%TIMESTAMP%` and `%COMMAND%` in a name
/// are the time and the command, as users of gVisor have it.
pub(crate) fn debug_file(path: &Path) -> PathBuf {
    let text = path.to_string_lossy();
    let is_directory = text.ends_with('/') || path.is_dir();
    let pattern = if is_directory { path.join("runsc.log.%TIMESTAMP%.%COMMAND%.txt") } else { path.to_owned() };
    let Some(text) = pattern.to_str().filter(|text| text.contains('%')) else { return pattern };
    let time = humantime::format_rfc3339_micros(SystemTime::now()).to_string().replace([':', '-', 'T', 'Z'], "");
    if let Some(parent) = pattern.parent().filter(|_| is_directory) {
        // What cannot be made is told when the file is opened.
        let _ = std::fs::create_dir_all(parent);
    }
    let command = COMMAND.get().map_or("runsc", String::as_str);
    text.replace("%TIMESTAMP%", &time).replace("%COMMAND%", command).into()
}

/// Says which command this process carries out.
pub(crate) fn name_command(name: &str) {
    let _ = COMMAND.set(name.to_owned());
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
