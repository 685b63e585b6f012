//! The host's namespaces of a container's monitor, as `linux.namespaces` asks.
//!
//! They confine nothing that runs guest code: the sentry has namespaces of its own. Engines, hooks and network
//! plugins find the container by them.

use crate::log::warn;
use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns, unshare};
use oci_spec::runtime::{Linux, LinuxIdMapping, LinuxNamespaceType, Spec};
use platform::host::Namespaces;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

/// What `linux.namespaces` comes to.
#[derive(Debug, Default)]
pub(crate) struct Spaces {
    /// Those to be made.
    pub(super) new: Namespaces,
    /// Those to be joined.
    joined: Vec<(Namespaces, File)>,
    /// Those of others that a sandbox of its own does not have.
    unshared: Namespaces,
    uid_map: Vec<LinuxIdMapping>,
    gid_map: Vec<LinuxIdMapping>,
}

impl Spaces {
    /// Checks and opens what the configuration names.
    pub(crate) fn of(spec: &Spec) -> Result<Spaces> {
        let none = Linux::default();
        let linux = spec.linux().as_ref().unwrap_or(&none);
        let mut spaces = Spaces::default();
        let mut seen = Namespaces::empty();
        for namespace in linux.namespaces().iter().flatten() {
            let Some(kind) = kind(namespace.typ())? else { continue };
            if seen.contains(kind) {
                bail!("malformed spec file: duplicated ns {:?}", namespace.typ());
            }
            seen |= kind;
            match namespace.path() {
                None => spaces.new |= kind,
                Some(path) if !path.is_absolute() => {
                    bail!("namespace path {} is not an absolute path", path.display())
                }
                Some(path) => {
                    let file = File::open(path).with_context(|| format!("namespace path: stat {}", path.display()))?;
                    spaces.joined.push((kind, file));
                }
            }
        }
        let mappings = |given: &Option<Vec<LinuxIdMapping>>| given.clone().unwrap_or_default();
        (spaces.uid_map, spaces.gid_map) = (mappings(linux.uid_mappings()), mappings(linux.gid_mappings()));
        let is_user_new = spaces.new.contains(Namespaces::USER);
        if is_user_new && (spaces.uid_map.is_empty() || spaces.gid_map.is_empty()) {
            bail!("user namespaces enabled, but no uid or gid mappings found");
        }
        let has_maps = !spaces.uid_map.is_empty() || !spaces.gid_map.is_empty();
        if has_maps && !seen.contains(Namespaces::USER) {
            bail!("user namespace mappings specified, but user namespace isn't enabled in the config");
        }
        spaces.unshared = (Namespaces::PID | Namespaces::IPC) - spaces.new;
        Ok(spaces)
    }

    /// Without the right to make namespaces the monitor stays in those of its caller: the sentry makes its own in a user
    /// namespace, as for `do`.
    pub(super) fn without_privileges(mut self) -> Result<Spaces> {
        if let Some((kind, _)) = self.joined.first() {
            bail!("cannot join the {} given without privileges", crate::supervise::names(*kind));
        }
        self.new = Namespaces::empty();
        Ok(self)
    }

    /// Says of what the container will share nothing, though its configuration has it in namespaces of the host or of
    /// other containers: inside, a sandbox of its own has its own.
    pub(super) fn warn_of_unshared(&self) {
        if !self.unshared.is_empty() {
            let names = crate::supervise::names(self.unshared);
            warn(&format!("a sandbox does not share the {names} of the host or of other containers"));
        }
    }

    /// What tells the namespace of a kind that is to be joined from others.
    pub(super) fn joined_id(&self, kind: Namespaces) -> Option<(u64, u64)> {
        let (_, file) = self.joined.iter().find(|(joined, _)| *joined == kind)?;
        file.metadata().ok().map(|found| (found.dev(), found.ino()))
    }

    /// The same of the one that the container will be in; a new one is like no other.
    pub(super) fn id(&self, kind: Namespaces, name: &str) -> Option<(u64, u64)> {
        match self.new.contains(kind) {
            true => None,
            false => self.joined_id(kind).or_else(|| namespace("self", name)),
        }
    }

    /// Whether ids are mapped by a user namespace of the container's own.
    pub(super) fn maps_ids(&self) -> bool {
        self.new.contains(Namespaces::USER)
    }

    /// Whether the container is in another's user namespace.
    pub(super) fn joins_user(&self) -> bool {
        self.joined.iter().any(|(kind, _)| *kind == Namespaces::USER)
    }

    /// Has it join the user namespace of a process in place of one of its own.
    pub(super) fn share_user(&mut self, pid: i32) -> Result<()> {
        let file = File::open(format!("/proc/{pid}/ns/user")).context("cannot open the pod's user namespace")?;
        self.new.remove(Namespaces::USER);
        self.joined.push((Namespaces::USER, file));
        Ok(())
    }

    /// Whether `spec` maps ids as this one does.
    pub(super) fn maps_as(&self, spec: &Spec) -> bool {
        let linux = spec.linux().clone().unwrap_or_default();
        let is_same = |own: &[LinuxIdMapping], other: &Option<Vec<LinuxIdMapping>>| {
            other.as_ref().is_some_and(|other| other == own)
        };
        is_same(&self.uid_map, linux.uid_mappings()) && is_same(&self.gid_map, linux.gid_mappings())
    }

    /// Those of the new ones that the monitor is born in. What a joined user namespace is to own is made in it, by
    /// [`join`](Spaces::join).
    pub(super) fn at_birth(&self) -> Namespaces {
        if self.joins_user() { self.new & Namespaces::PID } else { self.new }
    }

    /// Whether the container has a network namespace of its own or a given one.
    pub(super) fn has_network(&self) -> bool {
        self.new.contains(Namespaces::NET) || self.joined.iter().any(|(kind, _)| *kind == Namespaces::NET)
    }

    /// The namespace of processes that children of this process are to be in; undone by [`restore_children`].
    pub(super) fn join_for_children(&self) -> Result<()> {
        for (_, file) in self.joined.iter().filter(|(kind, _)| *kind == Namespaces::PID) {
            setns(file, CloneFlags::CLONE_NEWPID).context("cannot join the pid namespace")?;
        }
        Ok(())
    }

    /// Children of this process are in its own namespace of processes again.
    pub(super) fn restore_children(&self) -> Result<()> {
        if self.joined.iter().any(|(kind, _)| *kind == Namespaces::PID) {
            let own = File::open("/proc/self/ns/pid").context("cannot open the own pid namespace")?;
            setns(own, CloneFlags::CLONE_NEWPID).context("cannot return to the own pid namespace")?;
        }
        Ok(())
    }

    /// Enters those that a process enters itself.
    pub(super) fn join(&self) -> Result<()> {
        // The user namespace first: it gives the right to join what it owns. The mounts last: paths change.
        let order = |kind: &Namespaces| (*kind != Namespaces::USER, *kind == Namespaces::MOUNT);
        let mut joined: Vec<_> = self.joined.iter().filter(|(kind, _)| *kind != Namespaces::PID).collect();
        joined.sort_by_key(|(kind, _)| order(kind));
        for (kind, file) in joined {
            let flag = CloneFlags::from_bits_retain(kind.bits());
            setns(file, flag).with_context(|| format!("cannot join the {}", crate::supervise::names(*kind)))?;
        }
        let late = self.new - self.at_birth();
        unshare(CloneFlags::from_bits_retain(late.bits()))
            .with_context(|| format!("cannot make the {}", crate::supervise::names(late)))
    }

    /// Writes the mappings of ids of the process `pid`, which has just been made.
    pub(super) fn map_ids(&self, pid: i32) -> Result<()> {
        if !self.maps_ids() {
            return Ok(());
        }
        let is_root = platform::host::has_cap(platform::host::Caps::SETUID);
        let own = |map: &[LinuxIdMapping], id: u32| match map {
            [only] => only.size() == 1 && only.host_id() == id,
            _ => false,
        };
        if !is_root {
            // The host demands it of whoever maps groups without privilege; newgidmap allows it again.
            let _ = std::fs::write(format!("/proc/{pid}/setgroups"), "deny");
        }
        let write = |file: &str, helper: &str, map: &[LinuxIdMapping], direct: bool| {
            if direct {
                let lines: String =
                    map.iter().map(|m| format!("{} {} {}\n", m.container_id(), m.host_id(), m.size())).collect();
                return std::fs::write(format!("/proc/{pid}/{file}"), lines)
                    .with_context(|| format!("cannot write the container's {file}"));
            }
            let ids = map.iter().flat_map(|m| [m.container_id(), m.host_id(), m.size()]);
            let done = Command::new(helper).arg(pid.to_string()).args(ids.map(|id| id.to_string())).output();
            let done = done.with_context(|| format!("{helper} is needed to map ids without privileges"))?;
            if !done.status.success() {
                bail!("{helper}: {}", String::from_utf8_lossy(&done.stderr).trim());
            }
            Ok(())
        };
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        write("uid_map", "newuidmap", &self.uid_map, is_root || own(&self.uid_map, uid))?;
        write("gid_map", "newgidmap", &self.gid_map, is_root || own(&self.gid_map, gid))
    }
}

/// What tells a namespace of a process from others.
pub(crate) fn namespace(process: &str, name: &str) -> Option<(u64, u64)> {
    std::fs::metadata(format!("/proc/{process}/ns/{name}")).ok().map(|found| (found.dev(), found.ino()))
}

/// `None` for one that means nothing to a sandbox.
fn kind(typ: LinuxNamespaceType) -> Result<Option<Namespaces>> {
    Ok(Some(match typ {
        LinuxNamespaceType::User => Namespaces::USER,
        LinuxNamespaceType::Pid => Namespaces::PID,
        LinuxNamespaceType::Mount => Namespaces::MOUNT,
        LinuxNamespaceType::Network => Namespaces::NET,
        LinuxNamespaceType::Ipc => Namespaces::IPC,
        LinuxNamespaceType::Uts => Namespaces::UTS,
        LinuxNamespaceType::Cgroup => Namespaces::CGROUP,
        LinuxNamespaceType::Time => return Ok(None),
    }))
}
