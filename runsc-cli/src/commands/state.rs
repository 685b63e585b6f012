//! `runsc state` and `runsc list`: what is known of containers.

use crate::Globals;
use crate::container::{Container, OCI_VERSION};
use anyhow::Result;
use serde::Serialize;
use std::collections::HashMap;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    /// How to show them
    #[arg(short, long, value_enum, default_value = "table")]
    format: Format,
    /// Show names only
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people
    Table,
    /// For programs
    Json,
}

/// In the form that runc gives.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    oci_version: &'static str,
    id: String,
    pid: i32,
    status: String,
    bundle: PathBuf,
    rootfs: PathBuf,
    created: String,
    #[serde(skip_serializing_if = "HashMap::is_empty")]
    annotations: HashMap<String, String>,
    owner: String,
}

impl Shown {
    fn of(container: &Container) -> Shown {
        let saved = &container.saved;
        Shown {
            oci_version: OCI_VERSION,
            id: saved.id.clone(),
            pid: container.pid(),
            status: container.status().to_string(),
            bundle: saved.bundle.clone(),
            rootfs: saved.rootfs.clone(),
            created: saved.created.clone(),
            annotations: saved.spec.annotations().clone().unwrap_or_default(),
            owner: saved.owner.clone(),
        }
    }
}

pub(crate) fn run(args: &super::OneContainer, globals: &Globals) -> Result<u8> {
    let container = Container::load(&globals.root(), &args.id)?;
    let mut text = serde_json::to_vec_pretty(&Shown::of(&container))?;
    text.push(b'\n');
    super::print(&text)
}

pub(crate) fn list(args: &ListArgs, globals: &Globals) -> Result<u8> {
    let shown: Vec<Shown> = Container::all(&globals.root()).iter().map(Shown::of).collect();
    let mut text = String::new();
    if args.quiet {
        for container in &shown {
            text += &format!("{}\n", container.id);
        }
    } else if args.format == Format::Json {
        // As runc prints an empty list.
        text = if shown.is_empty() { "null".into() } else { serde_json::to_string(&shown)? };
    } else {
        let width = |of: fn(&Shown) -> usize, least| shown.iter().map(of).max().unwrap_or(0).max(least) + 4;
        let (id, bundle) = (width(|s| s.id.len(), 8), width(|s| s.bundle.as_os_str().len(), 7));
        let mut line = |cells: [&str; 6]| {
            let [name, pid, status, dir, created, owner] = cells;
            text += &format!("{name:id$}{pid:12}{status:12}{dir:bundle$}{created:35}{owner}\n");
        };
        line(["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]);
        for s in &shown {
            line([&s.id, &s.pid.to_string(), &s.status, &s.bundle.to_string_lossy(), &s.created, &s.owner]);
        }
    }
    super::print(text.as_bytes())
}
