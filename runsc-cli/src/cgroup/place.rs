//! Where a container's group is: from `linux.cgroupsPath` to a path below each hierarchy.

use std::path::{Component, Path, PathBuf};

/// A place in every hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// Below the root of a hierarchy.
    Absolute(PathBuf),
    /// Below the caller's own group.
    Relative(PathBuf),
}

/// The place that `path` names for the container `id`.
pub(super) fn place(path: Option<&Path>, id: &str) -> Place {
    match path.filter(|path| !path.as_os_str().is_empty()) {
        None => Place::Relative(id.into()),
        Some(path) if path.is_absolute() => Place::Absolute(clean(path)),
        Some(path) => Place::Relative(clean(path)),
    }
}

/// Without `.` and without any `..` that leads above the start.
fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                clean.pop();
            }
            _ => {}
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cgroupfs(path: &str) -> Place {
        place(Some(Path::new(path)), "box")
    }

    #[test]
    fn paths_cannot_escape() {
        assert_eq!(cgroupfs("/a/../../b/c"), Place::Absolute("b/c".into()));
        assert_eq!(cgroupfs("../a/./b"), Place::Relative("a/b".into()));
        assert_eq!(cgroupfs(""), Place::Relative("box".into()));
    }
}
