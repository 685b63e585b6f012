//! Which cgroup hierarchies the host has, and where the caller is in them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A mounted hierarchy.
#[derive(Debug, PartialEq, Eq)]
struct Hierarchy {
    /// Controllers of version 1; empty for version 2.
    controllers: Vec<String>,
    /// Where it is mounted.
    mount: PathBuf,
    /// Which group is mounted there.
    root: PathBuf,
    /// The caller's group.
    own: PathBuf,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Hierarchies(Vec<Hierarchy>);

impl Hierarchies {
    pub(super) fn read() -> io::Result<Hierarchies> {
        let mountinfo = fs::read_to_string("/proc/self/mountinfo")?;
        let cgroup = fs::read_to_string("/proc/self/cgroup")?;
        Ok(Hierarchies::parse(&mountinfo, &cgroup))
    }

    fn parse(mountinfo: &str, cgroup: &str) -> Hierarchies {
        Hierarchies(mountinfo.lines().filter_map(|line| parse_mount(line, cgroup)).collect())
    }

    /// Whether limits are set through version 1.
    pub(super) fn has_v1_controllers(&self) -> bool {
        self.v1("memory").is_some() || self.v1("pids").is_some() || self.v1("cpu").is_some()
    }

    /// The caller's own group in the hierarchy of a controller of version 1.
    pub(super) fn v1(&self, controller: &str) -> Option<PathBuf> {
        self.0.iter().find(|h| h.controllers.iter().any(|c| c == controller)).map(Hierarchy::own_dir)
    }

    /// Mount point and the caller's own group of version 2.
    pub(super) fn v2(&self) -> Option<(&Path, PathBuf)> {
        self.0.iter().find(|h| h.controllers.is_empty()).map(|h| (h.mount.as_path(), h.own_dir()))
    }
}

impl Hierarchy {
    fn own_dir(&self) -> PathBuf {
        // Outside of what is mounted, the mount is the nearest group that can be named.
        self.own.strip_prefix(&self.root).map_or_else(|_| self.mount.clone(), |below| self.mount.join(below))
    }
}

/// One line of mountinfo(5): `id parent dev root mount options fields - type source super`.
fn parse_mount(line: &str, cgroup: &str) -> Option<Hierarchy> {
    let (front, back) = line.split_once(" - ")?;
    let mut front = front.split(' ').skip(3);
    let (root, mount) = (PathBuf::from(front.next()?), PathBuf::from(front.next()?));
    let mut back = back.split(' ');
    let (kind, options) = (back.next()?, back.nth(1)?);
    let groups = cgroup.lines().filter_map(|l| {
        let mut fields = l.splitn(3, ':').skip(1);
        Some((fields.next()?, fields.next()?))
    });
    match kind {
        "cgroup2" => {
            let own = groups.filter(|(controllers, _)| controllers.is_empty()).map(|(_, path)| path).next()?;
            Some(Hierarchy { controllers: Vec::new(), mount, root, own: own.into() })
        }
        "cgroup" => {
            let (controllers, own) = groups
                .filter(|(controllers, _)| !controllers.is_empty())
                .find(|(controllers, _)| controllers.split(',').all(|c| options.split(',').any(|o| o == c)))?;
            let controllers = controllers.split(',').map(str::to_owned).collect();
            Some(Hierarchy { controllers, mount, root, own: own.into() })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTINFO: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
35 31 0:32 /box /sys/fs/cgroup/memory rw,relatime shared:3 - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw";

    #[test]
    fn finds_groups_of_both_versions() {
        let host = Hierarchies::parse(MOUNTINFO, "4:memory:/box/a\n1:cpu:/\n0::/user\n");
        assert_eq!(host.v1("memory"), Some("/sys/fs/cgroup/memory/a".into()));
        assert_eq!(host.v1("cpu"), Some("/sys/fs/cgroup/cpu/".into()));
        assert_eq!(host.v1("pids"), None);
        let (mount, own) = host.v2().expect("version 2 is mounted");
        assert_eq!(mount, Path::new("/sys/fs/cgroup/unified"));
        assert_eq!(own, Path::new("/sys/fs/cgroup/unified/user"));
    }
}
