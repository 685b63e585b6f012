//! Options that are set by a file or by a container's annotations, where users of gVisor set them.
//!
//! `runsc.toml` (the file that `--config` names) has a table `[runsc_config]` or plain lines of `flag = "value"`;
//! a bundle has annotations `dev.gvisor.flag.FLAG`, which count only where the file says `allow-flag-override`.

use crate::log::warn;
use crate::{Globals, foreign};
use anyhow::{Context, Result, bail};
use oci_spec::runtime::Spec;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The file that is read unless another is named.
const USUAL_FILE: &str = "/etc/runsc/runsc.toml";

/// What annotations begin with.
const ANNOTATION: &str = "dev.gvisor.flag.";

/// Flags by name, in the order of the file.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Settings(Vec<(String, String)>);

impl Settings {
    /// Of a file.
    pub(crate) fn read(path: &Path) -> Result<Settings> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Settings::parse(&text).with_context(|| format!("{}", path.display()))
    }

    /// The part of TOML that such files are written in: tables, comments, and keys with plain values.
    fn parse(text: &str) -> Result<Settings> {
        let mut settings = Settings::default();
        let mut counts = true;
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(table) = line.strip_prefix('[') {
                // Other tables are the containerd shim's.
                counts = table.trim_end_matches(']').trim() == "runsc_config";
                continue;
            }
            let (name, value) = line.split_once('=').with_context(|| format!("line {}: no \"=\"", at + 1))?;
            if counts {
                let name = unquoted(name.trim())?.replace('_', "-");
                settings.0.push((name, unquoted(without_comment(value).trim())?));
            }
        }
        Ok(settings)
    }

    /// As arguments of a command line.
    pub(crate) fn arguments(&self) -> impl Iterator<Item = String> {
        let is_own = |(name, _): &&(String, String)| name != "allow-flag-override";
        self.0.iter().filter(is_own).map(|(name, value)| format!("--{name}={value}"))
    }
}

/// A command line behind the options of the file that it names, or of the usual one.
pub(crate) fn with_file(args: Vec<OsString>) -> Result<Vec<OsString>> {
    let file = match named_file(&args) {
        Some(file) => file,
        None if Path::new(USUAL_FILE).exists() => USUAL_FILE.into(),
        None => return Ok(args),
    };
    let settings = Settings::read(&file)?;
    let mut args = args.into_iter();
    let program = args.next();
    Ok(program.into_iter().chain(settings.arguments().map(OsString::from)).chain(args).collect())
}

/// The value of `--config` before the command.
fn named_file(args: &[OsString]) -> Option<PathBuf> {
    let mut args = args.iter().skip(1).map(|arg| arg.to_string_lossy()).take_while(|arg| arg != "--");
    while let Some(arg) = args.next() {
        let name = arg.trim_start_matches('-');
        match name.strip_prefix("config") {
            Some("") if name.len() < arg.len() => return args.next().map(|file| file.into_owned().into()),
            Some(rest) if name.len() < arg.len() && rest.starts_with('=') => return Some(rest[1..].into()),
            _ => {}
        }
    }
    None
}

/// The options with those that annotations of a container set.
pub(crate) fn overridden(globals: &Globals, spec: &Spec) -> Result<Globals> {
    let mut globals = globals.clone();
    for (name, value) in spec.annotations().iter().flatten() {
        let Some(flag) = name.strip_prefix(ANNOTATION) else { continue };
        if !globals.allow_flag_override {
            bail!("flag override disabled, use --allow-flag-override to enable it: {name}");
        }
        let is_set = || value.parse().with_context(|| format!("{name}: {value} is neither true nor false"));
        match flag {
            "debug" => globals.debug = is_set()?,
            "strace" => globals.strace = is_set()?,
            "overlay2" => globals.overlay2 = value.parse().with_context(|| name.clone())?,
            "debug-log" => globals.debug_log = Some(value.into()),
            "platform" => {
                globals.platform =
                    clap::ValueEnum::from_str(value, true).map_err(|e| anyhow::anyhow!("{name}: {e}"))?;
            }
            "network" => {
                globals.network = clap::ValueEnum::from_str(value, true).map_err(|e| anyhow::anyhow!("{name}: {e}"))?;
            }
            _ if foreign::takes_value(flag).is_some() => warn(&format!("annotation {name}: without effect here")),
            _ => bail!("annotation {name}: this flag cannot be set by a container"),
        }
    }
    Ok(globals)
}

/// Up to a `#` outside quotes.
fn without_comment(value: &str) -> &str {
    let mut quoted = false;
    for (at, c) in value.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '#' if !quoted => return &value[..at],
            _ => {}
        }
    }
    value
}

fn unquoted(text: &str) -> Result<String> {
    for quote in ['"', '\''] {
        if let Some(rest) = text.strip_prefix(quote) {
            let inner = rest.strip_suffix(quote).context("a quote without its end")?;
            if inner.contains(quote) || quote == '"' && inner.contains('\\') {
                bail!("escapes are not supported: {text}");
            }
            return Ok(inner.to_owned());
        }
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_gvisor() {
        let text = "log_path = \"/x\"\n[runsc_config]\n  debug = \"true\" # all\n  \"platform\" = 'notify'\nstrace=true\n[other]\na = 1\n";
        let settings = Settings::parse(text).expect("it is valid");
        let arguments: Vec<String> = settings.arguments().collect();
        assert_eq!(arguments, ["--log-path=/x", "--debug=true", "--platform=notify", "--strace=true"]);
        assert!(Settings::parse("debug").is_err());
        assert!(Settings::parse("a = \"b").is_err());
    }

    #[test]
    fn the_file_is_named_in_all_forms() {
        let named = |args: &[&str]| named_file(&args.iter().map(OsString::from).collect::<Vec<_>>());
        assert_eq!(named(&["runsc", "--root", "/r", "--config", "/f", "list"]), Some("/f".into()));
        assert_eq!(named(&["runsc", "-config=/f", "list"]), Some("/f".into()));
        assert_eq!(named(&["runsc", "do", "config", "--", "--config", "/f"]), None);
    }
}
