//! `runsc`: runs programs in a sandbox that answers their system calls itself.
//!
//! A command makes a [`plan::Plan`]; [`supervise`] carries it out: it clones a child that builds the outer walls
//! ([`confine`]) and becomes the sentry, and stays as its parent to wait, forward signals and clean up.

#[expect(dead_code, reason = "the commands of the life cycle are to use the rest")]
mod cgroup;
mod commands;
mod confine;
#[expect(dead_code, reason = "the commands of the life cycle are to use them")]
mod hooks;
mod oci;
mod plan;
mod supervise;
mod terminal;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use sentry::boot::config::{PlatformKind, SeccompMode};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, Parser)]
#[command(name = "runsc", version, about = "Runs programs in a sandbox that answers their system calls itself")]
struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

/// Options that every command takes.
#[derive(Debug, Clone, clap::Args)]
struct Globals {
    /// Write each system call of the program, decoded, to the debug log (standard error without one)
    #[arg(long, global = true)]
    strace: bool,
    /// Write what the sandbox has to say about itself to FILE
    #[arg(long, global = true, value_name = "FILE")]
    debug_log: Option<PathBuf>,
    /// How system calls are intercepted
    #[arg(long, global = true, value_enum, default_value = "notify")]
    platform: PlatformName,
    /// Start even if the host cannot give every outer wall
    #[arg(long, global = true)]
    allow_weaker: bool,
    /// What a system call of the sentry outside its own list does (for development)
    #[arg(long, global = true, value_enum, default_value = "kill", hide = true, value_name = "ACTION")]
    sentry_seccomp: SeccompName,
    /// Directory for the state of containers
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum PlatformName {
    /// Seccomp user notification
    Notify,
    /// Tracing, for hosts without notifications
    Ptrace,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum SeccompName {
    Kill,
    Errno,
    Off,
}

impl From<SeccompName> for SeccompMode {
    fn from(name: SeccompName) -> SeccompMode {
        match name {
            SeccompName::Kill => SeccompMode::Kill,
            SeccompName::Errno => SeccompMode::Errno,
            SeccompName::Off => SeccompMode::Off,
        }
    }
}

impl From<PlatformName> for PlatformKind {
    fn from(name: PlatformName) -> PlatformKind {
        match name {
            PlatformName::Notify => PlatformKind::Notify,
            PlatformName::Ptrace => PlatformKind::Ptrace,
        }
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a program on the host's files, with all that it writes kept in memory
    Do(Box<commands::r#do::Args>),
    /// Run the container of an OCI bundle in the foreground
    Run(commands::run::Args),
    /// Write an example config.json
    Spec(commands::spec::Args),
    /// List the system calls and how far each is supported
    Syscalls(commands::syscalls::Args),
    /// Say what this host offers and lacks
    Doctor(commands::doctor::Args),
}

fn main() -> ExitCode {
    // What the caller left open is none of a sandbox's business, and must not get into it.
    close_inherited();
    let matches = Cli::command().get_matches();
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(e) => e.exit(),
    };
    let sub = matches.subcommand().map(|(_, sub)| sub);
    let done = match (cli.command, sub) {
        (Command::Do(args), Some(sub)) => commands::r#do::run(*args, sub, &cli.globals),
        (Command::Do(_), None) => unreachable!("a parsed command has its matches"),
        (Command::Run(args), _) => commands::run::run(args, &cli.globals),
        (Command::Spec(args), _) => commands::spec::run(&args),
        (Command::Syscalls(args), _) => commands::syscalls::run(&args),
        (Command::Doctor(args), _) => commands::doctor::run(&args),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(e) => {
            eprintln!("runsc: {e:#}");
            ExitCode::FAILURE
        }
    }
}

/// Closes all descriptors but the standard ones.
fn close_inherited() {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else { return };
    let open: Vec<i32> = entries.filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok()).collect();
    for fd in open.into_iter().filter(|fd| *fd > 2) {
        // One of these is the directory just read, closed by now: the error is of no interest.
        let _ = nix::unistd::close(fd);
    }
}
