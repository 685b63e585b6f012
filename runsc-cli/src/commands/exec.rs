//! `runsc exec`: a further process in a running container.

use crate::container::{self, Container, ExecOptions};
use crate::{Globals, oci, preserved_fds};
use anyhow::{Context, Result, bail};
use oci_spec::runtime::{Capability, Process, User};
use std::collections::HashSet;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Send the master of the process's terminal to this socket
    #[arg(long, value_name = "SOCKET")]
    console_socket: Option<PathBuf>,
    /// Working directory
    #[arg(long, value_name = "DIR")]
    cwd: Option<PathBuf>,
    /// Set an environment variable
    #[arg(short, long, value_name = "NAME=VALUE", action = clap::ArgAction::Append)]
    env: Vec<String>,
    /// Give the process a terminal
    #[arg(short, long)]
    tty: bool,
    /// User and group: UID[:GID]
    #[arg(short, long, value_name = "UID[:GID]")]
    user: Option<String>,
    /// Further groups
    #[arg(short = 'g', long, value_name = "GID", action = clap::ArgAction::Append)]
    additional_gids: Vec<u32>,
    /// Take the process from FILE, in the form of config.json
    #[arg(short, long, value_name = "FILE")]
    process: Option<PathBuf>,
    /// Do not wait for the process's end
    #[arg(short, long)]
    detach: bool,
    /// Write the pid of the process on the host to FILE
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// Forbid the process to gain privileges
    #[arg(long)]
    no_new_privs: bool,
    /// Add a capability
    #[arg(short, long, value_name = "CAP", action = clap::ArgAction::Append)]
    cap: Vec<String>,
    /// Pass this many descriptors from 3 on
    #[arg(long, value_name = "N", default_value = "0")]
    pub(crate) preserve_fds: u32,
    /// Accepted: there is one process label
    #[arg(long, value_name = "LABEL", hide = true)]
    process_label: Option<String>,
    /// Accepted: there is no such profile in a sandbox
    #[arg(long, value_name = "PROFILE", hide = true)]
    apparmor: Option<String>,
    /// Run the process even if the container is paused (not supported)
    #[arg(long, hide = true)]
    ignore_paused: bool,
    /// Name of the container
    #[arg(value_name = "ID")]
    id: String,
    /// The program and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "PROGRAM")]
    command: Vec<String>,
}

pub(crate) fn run(args: Args, globals: &Globals) -> Result<u8> {
    let container = Container::load(&globals.root(), &args.id)?;
    let process = match &args.process {
        Some(path) => {
            let text = std::fs::read(path).with_context(|| format!("--process {}", path.display()))?;
            let mut process = oci::parse_process(&text).with_context(|| format!("--process {}", path.display()))?;
            if process.capabilities().is_none() {
                let of_container = container.saved.spec.process().as_ref();
                process.set_capabilities(of_container.and_then(|process| process.capabilities().clone()));
            }
            process
        }
        None => process(&args, &container)?,
    };
    let options = ExecOptions {
        process,
        console_socket: args.console_socket,
        pid_file: args.pid_file,
        preserved: preserved_fds(args.preserve_fds)?,
        is_detached: args.detach,
    };
    container::exec(container, options, globals)
}

/// The process of the container's configuration, changed as the options say.
fn process(args: &Args, container: &Container) -> Result<Process> {
    if args.command.is_empty() {
        bail!("process args cannot be empty");
    }
    let mut process = container.saved.spec.process().clone().context("the container has no process")?;
    process.set_args(Some(args.command.clone()));
    process.set_terminal(Some(args.tty));
    process.set_console_size(None);
    if let Some(cwd) = &args.cwd {
        process.set_cwd(cwd.clone());
    }
    let env = process.env().iter().flatten().chain(&args.env).cloned().collect();
    process.set_env(Some(env));
    if args.no_new_privs {
        process.set_no_new_privileges(Some(true));
    }
    if let Some(user) = &args.user {
        process.set_user(parse_user(user, process.user())?);
    }
    let mut user = process.user().clone();
    let groups = user.additional_gids().iter().flatten().chain(&args.additional_gids).copied().collect();
    user.set_additional_gids(Some(groups));
    process.set_user(user);
    add_capabilities(&mut process, &args.cap)?;
    Ok(process)
}

fn parse_user(text: &str, of_container: &User) -> Result<User> {
    let (uid, gid) = text.split_once(':').map_or((text, None), |(uid, gid)| (uid, Some(gid)));
    let parse =
        |what: &str, id: &str| id.parse::<u32>().with_context(|| format!("parsing {id} as int for {what} failed"));
    let mut user = of_container.clone();
    user.set_uid(parse("uid", uid)?);
    if let Some(gid) = gid {
        user.set_gid(parse("gid", gid)?);
    }
    Ok(user)
}

fn add_capabilities(process: &mut Process, names: &[String]) -> Result<()> {
    let mut sets = process.capabilities().clone().unwrap_or_default();
    for name in names {
        let cap: Capability =
            serde_json::from_value(name.clone().into()).with_context(|| format!("--cap {name}: no such capability"))?;
        let with = |set: &Option<HashSet<Capability>>| set.iter().flatten().copied().chain([cap]).collect();
        let (bounding, effective, permitted) = (with(sets.bounding()), with(sets.effective()), with(sets.permitted()));
        sets.set_bounding(Some(bounding)).set_effective(Some(effective)).set_permitted(Some(permitted));
    }
    if !names.is_empty() {
        process.set_capabilities(Some(sets));
    }
    Ok(())
}
