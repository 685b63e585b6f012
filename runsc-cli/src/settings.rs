//! Options that are set by a file or by a container's annotations, where users of gVisor set them.
//!
//! `runsc.toml` (the file that `--config` names) has a table `[runsc_config]` or plain lines of `flag = "value"`;
//! a bundle has annotations `dev.gvisor.flag.FLAG`, which count only where the file says `allow-flag-override`.

use anyhow::{Context, Result, bail};
use std::path::Path;

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

/// The flags that annotations of a container set.
pub(crate) fn of_annotations<'a>(annotations: impl IntoIterator<Item = (&'a String, &'a String)>) -> Vec<(String, String)> {
    let flag = |(name, value): (&String, &String)| Some((name.strip_prefix(ANNOTATION)?.to_owned(), value.clone()));
    annotations.into_iter().filter_map(flag).collect()
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
    fn annotations_of_gvisor() {
        let all = [("dev.gvisor.flag.debug", "true"), ("other", "x")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        let flags = of_annotations(all.iter().map(|(a, b)| (a, b)));
        assert_eq!(flags, [("debug".to_owned(), "true".to_owned())]);
    }
}
