//! `runsc`: runs programs in a sandbox that answers their system calls itself.
//!
//! A command makes a [`plan::Plan`]; [`supervise`] carries it out: it clones a child that builds the outer walls
//! ([`confine`]) and becomes the sentry, and stays as its parent to wait, forward signals and clean up.

mod args;
mod cgroup;
mod commands;
mod confine;
mod container;
mod foreign;
mod hooks;
mod log;
mod network;
mod oci;
mod overlay;
mod plan;
mod settings;
mod supervise;
mod terminal;
mod usage;

use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};
use sentry::boot::config::{PlatformKind, SeccompMode};
use sentry::timings::mark;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::ExitCode;

/// Three lines that engines read.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\ncommit: unknown\nspec: 1.2.1");

#[derive(Debug, Parser)]
#[command(name = "runsc", version = VERSION, disable_version_flag = true, about = "Runs programs in a sandbox that answers their system calls itself")]
struct Cli {
    /// Show the version
    #[arg(short = 'v', long, short_alias = 'V', action = clap::ArgAction::Version)]
    version: Option<bool>,
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
    /// Say on standard error when each stage of the start and the end is reached
    #[arg(long, global = true)]
    timings: bool,
    /// Say at the end what each system call cost, in the debug log (standard error without one)
    #[arg(long, global = true)]
    stats: bool,
    /// Write what each system call cost to FILE at the end, as JSON
    #[arg(long, global = true, value_name = "FILE")]
    metrics: Option<PathBuf>,
    /// Write what the sandbox has to say about itself to FILE
    #[arg(long, global = true, value_name = "FILE")]
    debug_log: Option<PathBuf>,
    /// How system calls are intercepted
    #[arg(long, global = true, value_enum, default_value = "notify")]
    platform: PlatformName,
    /// Whether calls that a program makes often may be made without being intercepted
    #[arg(long, global = true, value_enum, default_value = "on")]
    fast_path: FastPath,
    /// Start even if the host cannot give every outer wall
    #[arg(long, global = true)]
    allow_weaker: bool,
    /// What a system call of the sentry outside its own list does (for development)
    #[arg(long, global = true, value_enum, default_value = "kill", hide = true, value_name = "ACTION")]
    sentry_seccomp: SeccompName,
    /// Directory for the state of containers
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Take options from FILE first, lines of `flag = "value"` (/etc/runsc/runsc.toml if that is there)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Let annotations dev.gvisor.flag.FLAG of a container set flags
    #[arg(long)]
    allow_flag_override: bool,
    /// Append errors and warnings to FILE
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// The form of lines in the log
    #[arg(long, value_enum, default_value = "text", value_name = "FORMAT")]
    log_format: log::Format,
    /// Have systemd make cgroups
    #[arg(long)]
    systemd_cgroup: bool,
    /// What containers have of a network besides lo
    #[arg(long, global = true, value_enum, default_value = "sandbox", value_name = "MODE")]
    network: network::Mode,
    /// With --network=user: have a port of the host lead into the sandbox
    #[arg(long, global = true, value_name = "[HOSTIP:]HOSTPORT:PORT[/udp]")]
    publish: Vec<network::user::Publish>,
    /// With --network=user: let 10.0.2.2 mean the host's own loopback
    #[arg(long, global = true)]
    host_loopback: bool,
    /// What of a container's files gets a layer in memory, so that writes do not go through: none, or root:memory
    /// or all:memory (for memory also self or dir=PATH, which mean the same here)
    #[arg(long, value_name = "WHICH:MEDIUM", default_value = "none")]
    overlay2: overlay::Overlay,
    /// Use the host's cgroups neither for limits nor for statistics
    #[arg(long)]
    ignore_cgroups: bool,
    /// Accepted: what the caller may do is found out
    #[arg(long, value_name = "BOOL", hide = true, num_args = 0..=1, require_equals = true)]
    rootless: Option<String>,
    /// Accepted, as of runc: --debug-log is what there is
    #[arg(long)]
    debug: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum FastPath {
    /// Where it pays
    On,
    /// Never
    Off,
    /// Also while no core idles (for development)
    Always,
}

impl From<FastPath> for platform::FastPath {
    fn from(mode: FastPath) -> platform::FastPath {
        match mode {
            FastPath::On => platform::FastPath::On,
            FastPath::Off => platform::FastPath::Off,
            FastPath::Always => platform::FastPath::Always,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum PlatformName {
    /// Seccomp user notification
    #[value(alias = "systrap", alias = "kvm")]
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
    /// Run the container of an OCI bundle
    Run(commands::run::Args),
    /// Make a container whose process waits for start
    Create(commands::create::Args),
    /// Let the process of a created container run
    Start(commands::OneContainer),
    /// Run a further process in a container
    Exec(Box<commands::exec::Args>),
    /// Send a signal to a container
    Kill(commands::kill::Args),
    /// Remove a container
    Delete(commands::delete::Args),
    /// Show the state of a container
    State(commands::OneContainer),
    /// List containers
    List(commands::state::ListArgs),
    /// Show the processes of a container
    Ps(commands::ps::Args),
    /// Stop all processes of a container for a while
    Pause(commands::OneContainer),
    /// Let them go on
    Resume(commands::OneContainer),
    /// Wait for the end of a container
    Wait(commands::wait::Args),
    /// Change the limits of a container
    Update(Box<commands::update::Args>),
    /// Show what a container uses, and when it runs out of memory
    Events(commands::events::Args),
    /// Say what this runtime does of the OCI specification
    Features(commands::features::Args),
    /// Save a running container (not yet supported)
    #[command(disable_help_flag = true)]
    Checkpoint(commands::checkpoint::Args),
    /// Run a saved container (not yet supported)
    #[command(disable_help_flag = true)]
    Restore(commands::checkpoint::Args),
    /// Write an example config.json
    Spec(commands::spec::Args),
    /// List the system calls and how far each is supported
    Syscalls(commands::syscalls::Args),
    /// Say what this host offers and lacks
    Doctor(commands::doctor::Args),
    /// Write a shell's completions to standard output
    Completion(commands::completion::CompletionArgs),
    /// Write the manual pages
    Man(commands::completion::ManArgs),
}

impl Globals {
    /// Directory for the state of containers.
    fn root(&self) -> PathBuf {
        self.root.clone().unwrap_or_else(container::default_root)
    }
}

/// An exit status other than 1 for an error.
#[derive(Debug, thiserror::Error)]
#[error("exit status {0}")]
struct Exit(u8);

fn main() -> ExitCode {
    let start = std::time::Instant::now();
    let (cli, matches, ignored) = match parse() {
        Ok(parsed) => parsed,
        Err(code) => return code,
    };
    // The definitions of all options are of no use to a sandbox, which would have a copy.
    platform::host::trim();
    if cli.globals.timings {
        sentry::timings::start(start);
        mark("options are read");
    }
    // What the caller left open is none of a sandbox's business, and must not get into it.
    supervise::close_others(&(3..3 + cli.command.preserved()).collect::<Vec<_>>());
    let opened = cli.globals.log.as_ref().map(|path| (path, log::open(path, cli.globals.log_format)));
    if let Some((path, Err(e))) = opened {
        log::error(&format!("--log {}: {e}", path.display()));
        return ExitCode::FAILURE;
    }
    if !ignored.is_empty() {
        log::warn(&format!("without effect here: {}", ignored.join(" ")));
    }
    let sub = matches.subcommand().map(|(name, sub)| {
        log::name_command(name);
        sub
    });
    let ended = run(cli, sub);
    mark("all is cleaned up");
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(e) => {
            let exit = e.downcast_ref::<Exit>().map(|exit| exit.0);
            match exit {
                // Its context is the whole message.
                Some(_) => log::error(&e.to_string()),
                None => log::error(&format!("{e:#}")),
            }
            ExitCode::from(exit.unwrap_or(1))
        }
    }
}

/// Reads the command line and the file of options, and says which of them have no effect; the exit status if that is all
/// there is to do.
fn parse() -> Result<(Cli, ArgMatches, Vec<String>), ExitCode> {
    // What is said later wins: a file's options come first.
    let mut command = Cli::command().args_override_self(true);
    command.build();
    let given = settings::with_file(std::env::args_os().collect()).map_err(|e| {
        log::error(&format!("{e:#}"));
        ExitCode::FAILURE
    })?;
    let mut ignored = Vec::new();
    let args = args::normalize(&command, given.into_iter(), &mut ignored);
    let matches = command.try_get_matches_from(args);
    let parsed = matches.and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, matches)));
    let (cli, matches) = parsed.map_err(|e| usage::report(&e))?;
    Ok((cli, matches, ignored))
}

fn run(cli: Cli, sub: Option<&ArgMatches>) -> anyhow::Result<u8> {
    let globals = &cli.globals;
    match (cli.command, sub) {
        (Command::Do(args), Some(sub)) => commands::r#do::run(*args, sub, globals),
        (Command::Do(_), None) => unreachable!("a parsed command has its matches"),
        (Command::Run(args), _) => commands::run::run(args, globals),
        (Command::Create(args), _) => commands::create::run(args, globals),
        (Command::Start(args), _) => commands::start::run(&args, globals),
        (Command::Exec(args), _) => commands::exec::run(*args, globals),
        (Command::Kill(args), _) => commands::kill::run(&args, globals),
        (Command::Delete(args), _) => commands::delete::run(&args, globals),
        (Command::State(args), _) => commands::state::run(&args, globals),
        (Command::List(args), _) => commands::state::list(&args, globals),
        (Command::Ps(args), _) => commands::ps::run(&args, globals),
        (Command::Pause(args), _) => commands::pause::pause(&args, globals),
        (Command::Resume(args), _) => commands::pause::resume(&args, globals),
        (Command::Wait(args), _) => commands::wait::run(&args, globals),
        (Command::Update(args), _) => commands::update::run(*args, globals),
        (Command::Events(args), _) => commands::events::run(&args, globals),
        (Command::Features(args), _) => commands::features::run(&args),
        (Command::Checkpoint(args), _) => commands::checkpoint::checkpoint(&args),
        (Command::Restore(args), _) => commands::checkpoint::restore(&args),
        (Command::Spec(args), _) => commands::spec::run(&args),
        (Command::Syscalls(args), _) => commands::syscalls::run(&args),
        (Command::Doctor(args), _) => commands::doctor::run(&args),
        (Command::Completion(args), _) => commands::completion::completion(&args),
        (Command::Man(args), _) => commands::completion::man(&args),
    }
}

impl Command {
    /// How many descriptors from 3 on are for the container: those asked for, and those of socket activation.
    fn preserved(&self) -> i32 {
        let asked = match self {
            Command::Run(args) => args.create.preserve_fds,
            Command::Create(args) => args.preserve_fds,
            Command::Exec(args) => args.preserve_fds,
            _ => return 0,
        };
        preserved_count(asked)
    }
}

/// `LISTEN_FDS` of sd_listen_fds(3), if that is meant for this process.
fn listen_fds() -> u32 {
    let number = |name| std::env::var(name).ok().and_then(|count| count.parse::<u32>().ok());
    if number("LISTEN_PID") == Some(std::process::id()) { number("LISTEN_FDS").unwrap_or(0) } else { 0 }
}

/// What tells the container's first process of them.
fn listen_env() -> Vec<Vec<u8>> {
    match listen_fds() {
        0 => Vec::new(),
        count => vec![format!("LISTEN_FDS={count}").into_bytes(), b"LISTEN_PID=1".to_vec()],
    }
}

/// How many descriptors that is, with `asked` of `--preserve-fds`.
fn preserved_count(asked: u32) -> i32 {
    asked.saturating_add(listen_fds()).min(sentry::boot::protocol::FDS_MAX as u32) as i32
}

/// Takes the descriptors from 3 on that are for a container.
fn preserved_fds(asked: u32) -> anyhow::Result<Vec<OwnedFd>> {
    use anyhow::Context;
    let me = rustix::process::pidfd_open(rustix::process::getpid(), rustix::process::PidfdFlags::empty());
    let me = me.context("cannot open this process")?;
    // A number alone is no descriptor that could be duplicated without unsafe code.
    let take = |fd| {
        let taken = rustix::process::pidfd_getfd(&me, fd, rustix::process::PidfdGetfdFlags::empty());
        taken.with_context(|| format!("--preserve-fds: descriptor {fd} is not open"))
    };
    (3..3 + preserved_count(asked)).map(take).collect()
}
