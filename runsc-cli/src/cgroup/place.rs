//! Where a container's group is: from `linux.cgroupsPath` to a path below each hierarchy.

use anyhow::{Result, bail};
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
pub(super) fn place(path: Option<&Path>, id: &str, is_systemd: bool) -> Result<Place> {
    let path = path.filter(|path| !path.as_os_str().is_empty());
    if is_systemd {
        return Ok(Place::Absolute(unit(path, id)?));
    }
    Ok(match path {
        None => Place::Relative(id.into()),
        Some(path) if path.is_absolute() => Place::Absolute(clean(path)),
        Some(path) => Place::Relative(clean(path)),
    })
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

/// `slice:prefix:name` as the path that systemd gives to the unit.
fn unit(path: Option<&Path>, id: &str) -> Result<PathBuf> {
    let text = match path {
        None => format!(":runsc:{id}"),
        Some(path) => path.display().to_string(),
    };
    let [slice, prefix, name] = text.split(':').collect::<Vec<_>>()[..] else {
        bail!("expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got \"{text}\" instead");
    };
    let slice = if slice.is_empty() { "system.slice" } else { slice };
    let scope = match name.strip_suffix(".slice") {
        Some(_) => name.to_owned(),
        None if prefix.is_empty() => format!("{name}.scope"),
        None => format!("{prefix}-{name}.scope"),
    };
    Ok(expand_slice(slice)?.join(scope))
}

/// `a-b.slice` is inside of `a.slice`: `a.slice/a-b.slice`.
fn expand_slice(slice: &str) -> Result<PathBuf> {
    let Some(name) = slice.strip_suffix(".slice").filter(|n| !n.is_empty() && !n.contains('/')) else {
        bail!("invalid slice name: {slice}");
    };
    let mut path = PathBuf::new();
    if name == "-" {
        return Ok(path);
    }
    let mut whole = String::new();
    for part in name.split('-') {
        if part.is_empty() {
            bail!("invalid slice name: {slice}");
        }
        if !whole.is_empty() {
            whole.push('-');
        }
        whole.push_str(part);
        path.push(format!("{whole}.slice"));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cgroupfs(path: &str) -> Place {
        place(Some(Path::new(path)), "box", false).expect("any path is fine")
    }

    #[test]
    fn paths_cannot_escape() {
        assert_eq!(cgroupfs("/a/../../b/c"), Place::Absolute("b/c".into()));
        assert_eq!(cgroupfs("../a/./b"), Place::Relative("a/b".into()));
        assert_eq!(cgroupfs(""), Place::Relative("box".into()));
    }

    #[test]
    fn units_of_systemd() {
        let unit = |path: &str| place(Some(Path::new(path)), "box", true).ok();
        assert_eq!(unit("system.slice:docker:x"), Some(Place::Absolute("system.slice/docker-x.scope".into())));
        assert_eq!(unit("a-b.slice:p:x"), Some(Place::Absolute("a.slice/a-b.slice/p-x.scope".into())));
        assert_eq!(unit(":p:x"), Some(Place::Absolute("system.slice/p-x.scope".into())));
        assert_eq!(unit("/a/b"), None);
        assert_eq!(unit("a--b.slice:p:x"), None);
    }
}
