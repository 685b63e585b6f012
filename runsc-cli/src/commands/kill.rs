//! `runsc kill`: a signal for a container's first process, or for all of them.

use crate::Globals;
use crate::container::{Container, Status};
use anyhow::{Result, bail};
use nix::sys::signal::Signal;
use sentry::boot::protocol::Request;
use std::str::FromStr;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Signal every process of the container
    #[arg(short, long)]
    all: bool,
    /// Name of the container
    #[arg(value_name = "ID")]
    id: String,
    /// Number or name of the signal
    #[arg(value_name = "SIGNAL", default_value = "SIGTERM")]
    signal: String,
}

pub(crate) fn run(args: &Args, globals: &Globals) -> Result<u8> {
    let signo = parse(&args.signal)?;
    let container = Container::load(&globals.root(), &args.id)?;
    match container.status() {
        Status::Created | Status::Running | Status::Paused => {}
        // With --all what the container left behind is meant, and nothing outlives a sandbox.
        Status::Stopped if args.all => return Ok(0),
        Status::Stopped | Status::Creating => bail!("container not running"),
    }
    let sent = container.connect().and_then(|sentry| sentry.ask(&Request::Signal { signo, all: args.all }));
    match (sent, signo) {
        (Ok(_), libc::SIGKILL) => container.thaw()?,
        (Ok(_), _) => {}
        // A sentry that does not answer is killed with all that it holds.
        (Err(_), libc::SIGKILL) => {
            container.thaw()?;
            if let Some(monitor) = &container.saved.monitor {
                monitor.kill()?;
            }
        }
        (Err(_), _) if container.status() == Status::Stopped => bail!("container not running"),
        (Err(e), _) => return Err(e),
    }
    Ok(0)
}

/// A number, `NAME` or `SIGNAME`.
fn parse(text: &str) -> Result<i32> {
    if let Ok(number) = text.parse::<i32>() {
        if (0..=64).contains(&number) {
            return Ok(number);
        }
        bail!("unknown signal \"{text}\"");
    }
    let name = text.to_ascii_uppercase();
    let name = if name.starts_with("SIG") { name } else { format!("SIG{name}") };
    if let Ok(signal) = Signal::from_str(&name) {
        return Ok(signal as i32);
    }
    let offset = |digits: &str| digits.parse::<i32>().ok().filter(|n| (0..=30).contains(n));
    let real_time = match (name.strip_prefix("SIGRTMIN"), name.strip_prefix("SIGRTMAX")) {
        (Some(""), _) => Some(34),
        (Some(rest), _) => rest.strip_prefix('+').and_then(offset).map(|n| 34 + n),
        (_, Some("")) => Some(64),
        (_, Some(rest)) => rest.strip_prefix('-').and_then(offset).map(|n| 64 - n),
        _ => None,
    };
    match real_time {
        Some(signo) => Ok(signo),
        None => bail!("unknown signal \"{text}\""),
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn signals_have_names_and_numbers() {
        let parsed = |text| parse(text).ok();
        assert_eq!(parsed("9"), Some(9));
        assert_eq!(parsed("kill"), Some(9));
        assert_eq!(parsed("SIGTERM"), Some(15));
        assert_eq!(parsed("SIGRTMIN+3"), Some(37));
        assert_eq!(parsed("RTMAX-1"), Some(63));
        assert_eq!(parsed("SIGNONE"), None);
        assert_eq!(parsed("65"), None);
    }
}
