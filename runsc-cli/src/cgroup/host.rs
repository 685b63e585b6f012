//! Which cgroup hierarchies the host has, and where the caller is in them.

use std::fs;
use std::io;
use std::path::PathBuf;

/// A mounted hierarchy.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Hierarchy {
    /// Controllers of version 1, or the name of a hierarchy without (`name=systemd`); empty for version 2.
    pub(super) controllers: Vec<String>,
    /// Where it is mounted.
    pub(super) mount: PathBuf,
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
        ["memory", "pids", "cpu"].into_iter().any(|c| self.0.iter().any(|h| h.controllers.iter().any(|own| own == c)))
    }

    /// The hierarchies of version 1, each once, wherever it is mounted first.
    pub(super) fn v1(&self) -> Vec<&Hierarchy> {
        let mut found: Vec<&Hierarchy> = Vec::new();
        for hierarchy in self.0.iter().filter(|h| !h.controllers.is_empty()) {
            if !found.iter().any(|other| other.controllers == hierarchy.controllers) {
                found.push(hierarchy);
            }
        }
        found
    }

    /// The hierarchy of version 2.
    pub(super) fn v2(&self) -> Option<&Hierarchy> {
        self.0.iter().find(|h| h.controllers.is_empty())
    }
}

impl Hierarchy {
    /// The directory of the caller's own group.
    pub(super) fn own_dir(&self) -> PathBuf {
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
        let v1: Vec<_> = host.v1().into_iter().map(|h| (h.controllers.join(","), h.own_dir())).collect();
        let expected = [("cpu", "/sys/fs/cgroup/cpu/"), ("memory", "/sys/fs/cgroup/memory/a")];
        assert_eq!(v1, expected.map(|(name, dir)| (name.to_owned(), PathBuf::from(dir))));
        let v2 = host.v2().expect("version 2 is mounted");
        assert_eq!(v2.mount, PathBuf::from("/sys/fs/cgroup/unified"));
        assert_eq!(v2.own_dir(), PathBuf::from("/sys/fs/cgroup/unified/user"));
    }
}
