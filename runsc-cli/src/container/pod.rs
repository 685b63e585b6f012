//! Containers in another's sandbox: those of a pod have one network, so one sentry serves them all.

use super::namespaces::{Spaces, namespace};
use super::{Container, Saved, client};
use anyhow::{Context, Result, bail};
use oci_spec::runtime::Spec;
use platform::host::Namespaces;
use sentry::boot::config::Shares;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;

/// How containerd and CRI-O call a container's kind and its sandbox. (Podman's pods are known by their network.)
const ANNOTATIONS: [(&str, &str); 2] = [
    ("io.kubernetes.cri.container-type", "io.kubernetes.cri.sandbox-id"),
    ("io.kubernetes.cri-o.ContainerType", "io.kubernetes.cri-o.SandboxID"),
];

/// The container whose sandbox another one joins.
#[derive(Debug)]
pub(super) struct Pod {
    /// Its name.
    pub(super) id: String,
    /// The namespaces of its monitor that the joining one is to be in as well.
    pub(super) shares: Shares,
}

impl Pod {
    /// That of a container to be; `None` if it gets a sandbox of its own.
    pub(super) fn of(root: &Path, spec: &Spec, spaces: &mut Spaces) -> Result<Option<Pod>> {
        let Some(first) = named(root, spec).or_else(|| connected(root, spaces)) else { return Ok(None) };
        let Some(pid) = first.monitor.as_ref().map(|monitor| monitor.pid) else { return Ok(None) };
        if spaces.maps_ids() {
            // One sentry opens the files of all, and is one user of the host.
            if !spaces.maps_as(&first.spec) {
                bail!("a container in the pod of {} cannot map ids in another way than that", first.id);
            }
            spaces.share_user(pid)?;
        }
        let is_common =
            |kind, name| namespace(&pid.to_string(), name).is_some_and(|its| spaces.id(kind, name) == Some(its));
        if !is_common(Namespaces::NET, "net") {
            bail!("a container in the pod of {} cannot have another network than that", first.id);
        }
        let shares = Shares {
            processes: is_common(Namespaces::PID, "pid"),
            names: is_common(Namespaces::UTS, "uts"),
            ipc: is_common(Namespaces::IPC, "ipc"),
        };
        Ok(Some(Pod { id: first.id, shares }))
    }

    /// A connection to its sentry.
    pub(super) fn connect(&self, root: &Path) -> Result<OwnedFd> {
        client::connect_unlocked(&root.join(&self.id))
            .with_context(|| format!("cannot join the sandbox of {}", self.id))
    }
}

/// The sandbox that the configuration names.
fn named(root: &Path, spec: &Spec) -> Option<Saved> {
    let annotations = spec.annotations().as_ref()?;
    let of_pod = ANNOTATIONS.iter().find(|(kind, _)| annotations.get(*kind).is_some_and(|kind| kind == "container"))?;
    owner(root, annotations.get(of_pod.1)?)
}

/// The sandbox that has the network that a configuration names by its path.
fn connected(root: &Path, spaces: &Spaces) -> Option<Saved> {
    let network = spaces.joined_id(Namespaces::NET)?;
    if [namespace("self", "net"), namespace("1", "net")].contains(&Some(network)) {
        return None;
    }
    let entries = fs::read_dir(root).ok()?.flatten();
    let mut saved = entries.filter_map(|entry| Saved::peek(&entry.path()));
    let found = saved.find(|saved| {
        let monitor = saved.monitor.filter(|monitor| monitor.is_alive());
        monitor.is_some_and(|monitor| namespace(&monitor.pid.to_string(), "net") == Some(network))
    })?;
    owner(root, &found.id)
}

/// Whose sandbox the container `id` is in, if that runs.
fn owner(root: &Path, id: &str) -> Option<Saved> {
    super::check_id(id).ok()?;
    let saved = Saved::peek(&root.join(id))?;
    match &saved.pod {
        Some(first) if *first != saved.id => owner(root, first),
        _ => saved.monitor.is_some_and(|monitor| monitor.is_alive()).then_some(saved),
    }
}

impl Container {
    /// In whose sandbox it is.
    pub(crate) fn pod(&self) -> Option<&str> {
        self.saved.pod.as_deref()
    }
}
