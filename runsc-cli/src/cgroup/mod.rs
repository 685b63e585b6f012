//! Control groups of a container.
//!
//! The container's group, where `linux.cgroupsPath` says, holds the limits; the container's monitor is in it and
//! engines read its figures there. Guests are in a child `guests`, which a freezer can stop while the sentry runs
//! on; whom the host kills first for want of memory is said by `oom_score_adj`, so that its count of kills is that
//! of the container's group, where engines look.
//!
//! The crate `libcgroups` was considered: it knows neither child groups nor processes in another group than the
//! container's in one hierarchy (see [`Cgroup::sentry_doors`]), does not tell what it made until it has made it
//! (see [`Cgroup::locate`]), and brings 70 packages; this is a tenth of its size.

mod devices;
mod host;
mod place;
mod procs;
pub(crate) mod stats;
mod systemd;
mod v1;

mod v2;

use anyhow::{Context, Result, bail};
use host::{Hierarchies, Hierarchy};
use oci_spec::runtime::LinuxResources;
use place::Place;
use sentry::boot::handle::Handle;
use sentry::kernel::machine::Limits as MachineLimits;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use systemd::{Keeper, Unit};

/// Name of the child group that a freezer acts on.
const GUESTS: &str = "guests";

/// Whatever is made below a parent may find it removed by another container's end just before.
const MAKE_ATTEMPTS: u32 = 16;

/// What decides where a container's group is.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Placement<'a> {
    /// The container's name.
    pub(crate) id: &'a str,
    /// `linux.cgroupsPath`.
    pub(crate) path: Option<&'a Path>,
    /// `--systemd-cgroup`.
    pub(crate) is_systemd: bool,
    /// With that: the user's systemd.
    pub(crate) is_user: bool,
    /// Without the right to make groups there are none, as long as no limit needs them.
    pub(crate) is_rootless: bool,
    /// The container's, which may set systemd's properties.
    pub(crate) annotations: Option<&'a HashMap<String, String>>,
}

/// The groups of one container, as they are saved with its state. Nothing is removed by dropping it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Cgroup {
    version: Version,
    /// One per hierarchy.
    groups: Vec<Group>,
    /// Parents that there were not, outermost first: removed with the last container below.
    made: Vec<PathBuf>,
    /// What systemd makes of it.
    #[serde(default)]
    unit: Option<Unit>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Version {
    V1,
    V2,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Group {
    /// Of version 1; empty for version 2.
    controllers: Vec<String>,
    dir: PathBuf,
}

impl Cgroup {
    /// No group at all (`--ignore-cgroups`).
    pub(crate) fn none() -> Cgroup {
        Cgroup { version: Version::V1, groups: Vec::new(), made: Vec::new(), unit: None }
    }

    /// Makes the groups with their limits; after a failure there is nothing of them.
    pub(crate) fn create(placement: &Placement<'_>, resources: &LinuxResources) -> Result<Cgroup> {
        let mut cgroup = Cgroup::locate(placement)?;
        if let Err(e) = cgroup.make(placement, resources) {
            let _ = cgroup.remove();
            return Err(e);
        }
        Ok(cgroup)
    }

    /// The groups that are to be made, which is nothing yet: so that a container's state can name them before.
    pub(crate) fn locate(placement: &Placement<'_>) -> Result<Cgroup> {
        let unit = placement.is_systemd.then(|| Unit::named(placement.path, placement.id, placement.is_user));
        let unit = unit.transpose()?;
        let place = match &unit {
            None => place::place(placement.path, placement.id),
            Some(unit) => {
                unit.check_host()?;
                Place::Absolute(unit.path()?)
            }
        };
        let host = Hierarchies::read().context("cannot tell the host's cgroups")?;
        let (version, hierarchies) = match host.has_v1_controllers() {
            true => (Version::V1, host.v1()),
            false => (Version::V2, host.v2().into_iter().collect()),
        };
        if unit.as_ref().is_some_and(|unit| unit.is_user) && version == Version::V1 {
            bail!("the user's systemd makes groups of version 2 alone, and this host has version 1");
        }
        let mut cgroup = Cgroup { version, groups: Vec::new(), made: Vec::new(), unit };
        for hierarchy in hierarchies {
            let dir = cgroup.dir(hierarchy, &place);
            let parents = dir.ancestors().skip(1).take_while(|parent| !parent.exists());
            let mut missing: Vec<PathBuf> = parents.map(Path::to_path_buf).collect();
            missing.reverse();
            if cgroup.unit.is_none() {
                cgroup.made.extend(missing);
            }
            cgroup.groups.push(Group { controllers: hierarchy.controllers.clone(), dir });
        }
        Ok(cgroup)
    }

    fn dir(&self, hierarchy: &Hierarchy, place: &Place) -> PathBuf {
        match (place, self.version) {
            (Place::Absolute(path), _) => hierarchy.mount.join(path),
            (Place::Relative(path), Version::V1) => hierarchy.own_dir().join(path),
            // A group with processes hands down no controllers, and the caller's has some: beside it, as runc does.
            (Place::Relative(path), Version::V2) => {
                let own = hierarchy.own_dir();
                let parent = own.parent().filter(|parent| parent.starts_with(&hierarchy.mount));
                parent.unwrap_or(&hierarchy.mount).join(path)
            }
        }
    }

    /// Makes what [`locate`](Cgroup::locate) found. What systemd has made lasts until the keeper is dropped, or a
    /// process of the container has joined.
    pub(crate) fn make(&mut self, placement: &Placement<'_>, resources: &LinuxResources) -> Result<Option<Keeper>> {
        // What others use must not be taken for the container's, whatever happens from here on.
        let (groups, unit) = (std::mem::take(&mut self.groups), self.unit.take());
        groups.iter().try_for_each(|group| ensure_empty(&group.dir))?;
        let keeper = unit.as_ref().map(|unit| {
            let keeper = Keeper::new()?;
            unit.start(&keeper, placement, self.version, resources)?;
            anyhow::Ok(keeper)
        });
        let keeper = keeper.transpose()?;
        self.unit = unit;
        for group in groups {
            match self.make_group(&group) {
                Ok(()) => self.groups.push(group),
                Err(e) if placement.is_rootless && placement.path.is_none() && is_refused(&e) => {}
                Err(e) => return Err(e),
            }
        }
        match self.version {
            Version::V1 => v1::prepare(self, resources)?,
            Version::V2 => v2::prepare(self)?,
        }
        self.set(resources, placement.is_rootless)?;
        Ok(keeper)
    }

    fn make_group(&self, group: &Group) -> Result<()> {
        let context = || format!("cannot make the cgroup {}", group.dir.display());
        for _ in 0..MAKE_ATTEMPTS {
            match make_dirs(&group.dir, self.version) {
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                done => return done.with_context(context),
            }
        }
        bail!(context())
    }

    fn set(&self, resources: &LinuxResources, is_rootless: bool) -> Result<()> {
        match self.version {
            Version::V1 => v1::set(self, resources, is_rootless),
            Version::V2 => v2::set(self, resources),
        }
    }

    /// Changes limits of a container that exists; what `resources` does not name stays.
    pub(crate) fn update(&self, resources: &LinuxResources) -> Result<()> {
        if let Some(unit) = &self.unit {
            unit.set(self.version, resources)?;
        }
        self.set(resources, !rustix::process::geteuid().is_root())
    }

    /// The doors to all groups where the sentry belongs. Where pids are limited by version 1
    /// that is not the container's group, for the limit is on guests alone: the sentry holds them to it, and the
    /// host to a little more.
    pub(crate) fn sentry_doors(&self) -> Result<Vec<OwnedFd>> {
        if self.is_guarded() {
            return Ok(Vec::new());
        }
        self.groups.iter().map(|group| self.door(&self.sandbox_dir(group))).collect()
    }

    /// Those of them that are not the container's own, where its monitor is.
    pub(crate) fn sentry_doors_apart(&self) -> Result<Vec<OwnedFd>> {
        let apart = self.groups.iter().map(|group| (group, self.sandbox_dir(group)));
        apart.filter(|(group, dir)| group.dir != *dir).map(|(_, dir)| self.door(&dir)).collect()
    }

    /// The doors to the groups where guests belong and the sentry, whose children they are, is not.
    pub(crate) fn guest_doors(&self) -> Result<Vec<Handle>> {
        self.freezer().map(|dir| self.door(&dir).map(Handle::from)).into_iter().collect()
    }

    /// The same where the sentry is another container's: of all groups.
    pub(crate) fn member_doors(&self) -> Result<Vec<Handle>> {
        let freezer = self.freezer();
        let place = |group: &Group| match &freezer {
            Some(guests) if guests.parent() == Some(&group.dir) => guests.clone(),
            _ => self.sandbox_dir(group),
        };
        self.groups.iter().map(|group| self.door(&place(group)).map(Handle::from)).collect()
    }

    /// Files that tell a sandbox how large it is.
    pub(crate) fn machine_limits(&self) -> MachineLimits {
        let open = |dir: Option<&Path>, file: &str| {
            File::open(dir?.join(file)).ok().map(|file| Handle::from(OwnedFd::from(file)))
        };
        match self.version {
            Version::V1 => MachineLimits {
                memory_limit: open(self.v1("memory"), "memory.limit_in_bytes"),
                memory_usage: open(self.v1("memory"), "memory.usage_in_bytes"),
                cpu_quota: open(self.v1("cpu"), "cpu.cfs_quota_us"),
                cpu_period: open(self.v1("cpu"), "cpu.cfs_period_us"),
            },
            Version::V2 => MachineLimits {
                memory_limit: open(self.v2(), "memory.max"),
                memory_usage: open(self.v2(), "memory.current"),
                cpu_quota: open(self.v2(), "cpu.max"),
                cpu_period: None,
            },
        }
    }

    /// The doors to the container's own groups, for [`enter`].
    pub(crate) fn doors(&self) -> Result<Vec<OwnedFd>> {
        if self.is_guarded() {
            return Ok(Vec::new());
        }
        self.groups.iter().map(|group| self.door(&group.dir)).collect()
    }

    /// Puts this process, which has one thread, into the container's groups.
    pub(crate) fn join(&self) -> Result<()> {
        self.attach(std::process::id() as i32)?;
        enter(&self.doors()?)
    }

    /// Has a process be put into the groups, if it may not enter them itself.
    pub(crate) fn attach(&self, pid: i32) -> Result<()> {
        let unit = self.unit.as_ref().filter(|unit| unit.is_user);
        unit.map_or(Ok(()), |unit| unit.attach(pid))
    }

    /// Whether nobody but the user's systemd may bring processes in: they come from groups that are the machine's.
    fn is_guarded(&self) -> bool {
        self.unit.as_ref().is_some_and(|unit| unit.is_user)
    }

    /// The file by which a process with one thread enters a group, open for writing. In version 1 that is `tasks`: a
    /// thread that moves itself waits for nobody, while a process that is moved (`cgroup.procs`) waits until all
    /// processors have seen that no other thread of it can be born or die meanwhile, which takes milliseconds.
    fn door(&self, dir: &Path) -> Result<OwnedFd> {
        let path = dir.join(if self.version == Version::V1 { "tasks" } else { "cgroup.procs" });
        let file =
            OpenOptions::new().write(true).open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        Ok(file.into())
    }

    /// The group that holds guests and sentry.
    fn sandbox_dir(&self, group: &Group) -> PathBuf {
        let apart = v1::sandbox_pids(&group.dir);
        if group.has("pids") && apart.exists() { apart } else { group.dir.clone() }
    }

    /// The group that is frozen.
    fn freezer(&self) -> Option<PathBuf> {
        match self.version {
            Version::V1 => self.v1("freezer").map(|dir| dir.join(GUESTS)),
            Version::V2 => self.groups.first().map(|group| group.dir.join(GUESTS)),
        }
    }

    /// The container's group in the hierarchy of a controller of version 1.
    fn v1(&self, controller: &str) -> Option<&Path> {
        self.groups.iter().find(|group| group.has(controller)).map(|group| group.dir.as_path())
    }

    /// The container's group in version 2.
    fn v2(&self) -> Option<&Path> {
        self.groups.iter().find(|group| group.controllers.is_empty()).map(|group| group.dir.as_path())
    }

    /// How many processes the host has killed for want of memory.
    pub(crate) fn oom_kills(&self) -> u64 {
        let file = match self.version {
            Version::V1 => self.v1("memory").map(|dir| dir.join("memory.oom_control")),
            Version::V2 => self.v2().map(|dir| dir.join("memory.events")),
        };
        file.and_then(|file| fs::read_to_string(file).ok()).map_or(0, |text| key(&text, "oom_kill"))
    }
}

impl Group {
    fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|own| own == controller)
    }
}

/// Makes a group and what is missing above it.
fn make_dirs(dir: &Path, version: Version) -> std::io::Result<()> {
    let mut missing: Vec<&Path> = dir.ancestors().take_while(|dir| !dir.exists()).collect();
    missing.reverse();
    for dir in missing {
        match fs::create_dir(dir) {
            Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(e),
            _ if version == Version::V1 => v1::inherit_cpuset(dir)?,
            _ => {}
        }
    }
    Ok(())
}

/// A group that others use is not taken over.
fn ensure_empty(dir: &Path) -> Result<()> {
    let count = procs::in_tree(dir).len();
    if count > 0 {
        bail!("container's cgroup is not empty: {count} process(es) found");
    }
    Ok(())
}

fn is_refused(e: &anyhow::Error) -> bool {
    let kind = e.root_cause().downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    matches!(kind, Some(ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem))
}

/// Has this process, which has one thread, enter groups by their doors.
pub(crate) fn enter(doors: &[OwnedFd]) -> Result<()> {
    for door in doors {
        // 0 is the writer.
        rustix::io::write(door, b"0").context("cannot join the container's cgroup")?;
    }
    Ok(())
}

/// What the host's `pids.max` is for a container with this limit, where host processes of the sandbox are counted.
fn wall(limit: i64) -> String {
    u64::try_from(limit).map_or_else(|_| "max".to_owned(), |limit| host_pids(limit).to_string())
}

/// Most host processes for so many of guests. A limit that the host would refuse is left for it to refuse.
fn host_pids(limit: u64) -> u64 {
    /// `PID_MAX_LIMIT`: more than that `pids.max` does not take.
    const MOST: u64 = 4 << 20;
    if limit > MOST { limit } else { platform::notify::host_tasks(limit).min(MOST) }
}

fn write(path: &Path, value: impl ToString) -> Result<()> {
    let value = value.to_string();
    // Never created: a file that is missing is a controller's that is missing.
    let done = OpenOptions::new().write(true).open(path).and_then(|mut file| {
        use std::io::Write;
        file.write_all(value.as_bytes())
    });
    done.with_context(|| format!("failed to write \"{value}\": {}", path.display()))
}

/// The number after `name` in a file of `name number` lines.
fn key(text: &str, name: &str) -> u64 {
    let mut pairs = text.lines().filter_map(|line| line.split_once(' '));
    pairs.find(|(key, _)| *key == name).and_then(|(_, value)| value.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests;
