//! `--overlay2`: layers in memory over a container's files, as gVisor calls them.

use crate::plan::{Mount, Source};
use anyhow::{Result, bail};
use std::str::FromStr;

/// Which files get a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overlay {
    /// None: writes go through to the host.
    None,
    /// The root.
    Root,
    /// The root and all directories that are bound in and may be written to.
    All,
}

impl FromStr for Overlay {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Overlay> {
        if text == "none" {
            return Ok(Overlay::None);
        }
        // Later versions of gVisor add a limit.
        let plain = text.split_once(",size=").map_or(text, |(plain, _)| plain);
        let which = match plain.split_once(':') {
            Some(("root", medium)) if is_medium(medium) => Overlay::Root,
            Some(("all", medium)) if is_medium(medium) => Overlay::All,
            _ => bail!("wanted none, root:MEDIUM or all:MEDIUM, where MEDIUM is memory, self or dir=/PATH"),
        };
        Ok(which)
    }
}

fn is_medium(medium: &str) -> bool {
    matches!(medium, "memory" | "self") || medium.starts_with("dir=/")
}

impl Overlay {
    /// Puts the layers over what is to be mounted.
    pub(crate) fn apply(self, mounts: &mut [Mount]) -> Result<()> {
        for mount in mounts {
            let is_chosen = match self {
                Overlay::None => false,
                Overlay::Root => mount.dest == b"/",
                Overlay::All => true,
            };
            let Source::Host { path, writable: true, .. } = &mount.source else { continue };
            if !is_chosen {
                continue;
            }
            if !path.is_dir() {
                // Only directories have layers, and what is written must not get through.
                bail!("--overlay2: {} is a file, which cannot have a layer: mount it read-only", path.display());
            }
            mount.source = Source::Overlay(path.clone());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_of_gvisor_are_understood() {
        let parsed = |text: &str| text.parse::<Overlay>().ok();
        assert_eq!((parsed("none"), parsed("root:self")), (Some(Overlay::None), Some(Overlay::Root)));
        assert_eq!((parsed("all:memory"), parsed("root:dir=/tmp,size=1g")), (Some(Overlay::All), Some(Overlay::Root)));
        assert_eq!((parsed("root"), parsed("root:dir=x"), parsed("some:memory")), (None, None, None));
    }

    #[test]
    fn the_chosen_ones_get_a_layer() {
        let host = |writable| Source::Host { path: "/".into(), writable, recursive: true };
        let mounts =
            || vec![Mount::new("/", host(true), 0), Mount::new("/a", host(true), 0), Mount::new("/b", host(false), 0)];
        let layered = |overlay: Overlay| {
            let mut mounts = mounts();
            overlay.apply(&mut mounts).expect("they are directories");
            mounts.iter().map(|mount| matches!(mount.source, Source::Overlay(_))).collect::<Vec<_>>()
        };
        assert_eq!(layered(Overlay::None), [false; 3]);
        assert_eq!(layered(Overlay::Root), [true, false, false]);
        assert_eq!(layered(Overlay::All), [true, true, false]);
    }
}
