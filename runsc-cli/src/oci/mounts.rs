//! `mounts` of a configuration.

use crate::plan::{Mount, Source};
use anyhow::{Context, Result, bail};
use oci_spec::runtime as oci;
use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat2};
use sentry::boot::config::TmpfsSpec;
use std::ffi::OsString;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// `MS_NOSYMFOLLOW` (5.10), which the C library's headers do not know.
const MS_NOSYMFOLLOW: u64 = 256;

/// Options that set a flag, and those that clear it.
const FLAGS: [(&str, &str, u64); 14] = [
    ("ro", "rw", libc::MS_RDONLY),
    ("nosuid", "suid", libc::MS_NOSUID),
    ("nodev", "dev", libc::MS_NODEV),
    ("noexec", "exec", libc::MS_NOEXEC),
    ("noatime", "atime", libc::MS_NOATIME),
    ("nodiratime", "diratime", libc::MS_NODIRATIME),
    ("relatime", "norelatime", libc::MS_RELATIME),
    ("strictatime", "nostrictatime", libc::MS_STRICTATIME),
    ("sync", "async", libc::MS_SYNCHRONOUS),
    ("nosymfollow", "symfollow", MS_NOSYMFOLLOW),
    ("dirsync", "", libc::MS_DIRSYNC),
    ("mand", "nomand", libc::MS_MANDLOCK),
    ("iversion", "noiversion", libc::MS_I_VERSION),
    ("silent", "loud", libc::MS_SILENT),
];

/// Options that say how later mounts below travel.
const PROPAGATION: [(&str, u64); 8] = [
    ("private", libc::MS_PRIVATE),
    ("shared", libc::MS_SHARED),
    ("slave", libc::MS_SLAVE),
    ("unbindable", libc::MS_UNBINDABLE),
    ("rprivate", libc::MS_PRIVATE | libc::MS_REC),
    ("rshared", libc::MS_SHARED | libc::MS_REC),
    ("rslave", libc::MS_SLAVE | libc::MS_REC),
    ("runbindable", libc::MS_UNBINDABLE | libc::MS_REC),
];

/// Options without any effect here.
const IGNORED: [&str; 4] = ["defaults", "remount", "lazytime", "nolazytime"];

/// Options of a mount, taken apart.
#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    flags: u64,
    is_bind: bool,
    /// With what is mounted below the source.
    is_recursive: bool,
    /// The new file system begins with what is at its place.
    copies_up: bool,
    /// For the file system.
    data: Vec<String>,
}

impl Options {
    fn parse(options: &[String]) -> Result<Options> {
        let mut parsed = Options::default();
        for option in options {
            parsed.add(option)?;
        }
        Ok(parsed)
    }

    fn add(&mut self, option: &str) -> Result<()> {
        // What is said of all mounts below is said of the one that there is.
        let plain =
            option.strip_prefix('r').filter(|rest| FLAGS.iter().any(|(set, clear, _)| rest == set || rest == clear));
        let name = plain.unwrap_or(option);
        if let Some((set, _, bit)) = FLAGS.iter().find(|(set, clear, _)| *set == name || *clear == name) {
            self.flags = if *set == name { self.flags | bit } else { self.flags & !bit };
        } else if let Some((_, bits)) = PROPAGATION.iter().find(|(known, _)| *known == option) {
            self.flags |= bits;
        } else {
            match option {
                "bind" => self.is_bind = true,
                "rbind" => (self.is_bind, self.is_recursive) = (true, true),
                "tmpcopyup" => self.copies_up = true,
                "idmap" | "ridmap" => bail!("idmapped mounts are not supported"),
                _ if IGNORED.contains(&option) => {}
                _ => self.data.push(option.to_owned()),
            }
        }
        Ok(())
    }
}

/// All options that any mount may have.
pub(crate) fn options() -> Vec<String> {
    let flags = FLAGS.iter().flat_map(|(set, clear, _)| [*set, *clear]).filter(|name| !name.is_empty());
    let recursive = ["ro", "rw", "nosuid", "suid", "nodev", "dev", "noexec", "exec"].map(|name| format!("r{name}"));
    let others = PROPAGATION.iter().map(|(name, _)| *name).chain(IGNORED).chain(["bind", "rbind", "tmpcopyup"]);
    let mut names: Vec<String> = flags.chain(others).map(str::to_owned).chain(recursive).collect();
    names.sort();
    names
}

/// The `MS_*` flags of `linux.rootfsPropagation`.
pub(super) fn propagation(name: &str) -> Result<u64> {
    let found = PROPAGATION.iter().find(|(known, _)| *known == name);
    found.map(|(_, bits)| *bits).with_context(|| format!("rootfsPropagation={name} is not supported"))
}

/// One mount; `rootfs` is the tree of files that it is put in.
pub(super) fn mount(mount: &oci::Mount, bundle: &Path, rootfs: &Path) -> Result<Mount> {
    // Relative destinations are deprecated; runc takes them from the root.
    let dest = Path::new("/").join(mount.destination());
    let shown = dest.display();
    if mount.uid_mappings().is_some() || mount.gid_mappings().is_some() {
        bail!("mount {shown}: idmapped mounts are not supported");
    }
    let options =
        Options::parse(mount.options().as_deref().unwrap_or_default()).with_context(|| format!("mount {shown}"))?;
    let typ = mount.typ().as_deref().unwrap_or_default();
    if matches!(typ, "proc" | "sysfs") && !options.is_bind {
        check_place(typ, rootfs, &dest)?;
    }
    let source = match typ {
        _ if options.is_bind => bind(mount, bundle, &options)?,
        "bind" => bind(mount, bundle, &options)?,
        "proc" => Source::Proc,
        "sysfs" => Source::Sysfs,
        "tmpfs" if dest == Path::new("/dev") => Source::Devtmpfs,
        "tmpfs" => match options.copies_up.then(|| directory_in(rootfs, &dest)).flatten() {
            // A layer in memory over what is there behaves as a copy of it, and takes no time to make.
            Some(lower) => Source::Overlay(lower),
            None => Source::Tmpfs(TmpfsSpec::default()),
        },
        "devpts" => Source::Devpts,
        "mqueue" => Source::Mqueue,
        "cgroup" | "cgroup2" => Source::Cgroup,
        "" => bail!("mount {shown}: a mount that is no bind mount needs a type"),
        kind => bail!("mount {shown}: the type {kind} is not supported"),
    };
    let is_layered = matches!(source, Source::Overlay(_) | Source::Host { .. });
    let mut made = Mount::new(OsString::from(dest).into_vec(), source, options.flags);
    made.source_name = mount.source().as_ref().map_or(typ.to_owned(), |source| source.display().to_string());
    if !is_layered {
        made.data = options.data.join(",");
    }
    Ok(made)
}

fn bind(mount: &oci::Mount, bundle: &Path, options: &Options) -> Result<Source> {
    let source = mount
        .source()
        .as_ref()
        .with_context(|| format!("mount {}: a bind mount needs a source", mount.destination().display()))?;
    let path: PathBuf = bundle.join(source);
    if !path.exists() {
        let dest = mount.destination().display();
        bail!(
            "error mounting \"{}\" to rootfs at \"{dest}\": stat {}: no such file or directory",
            path.display(),
            path.display()
        );
    }
    Ok(Source::Host { path, writable: options.flags & libc::MS_RDONLY == 0, recursive: options.is_recursive })
}

/// Not through a link, nor over a file: an image could have its own files seen in place of the kernel's, or the other
/// way round.
fn check_place(typ: &str, rootfs: &Path, dest: &Path) -> Result<()> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let found = open(rootfs, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .and_then(|root| openat2(root, dest, flags, Mode::empty(), resolve));
    let is_directory = |file: std::fs::File| file.metadata().is_ok_and(|found| found.is_dir());
    if found.is_ok_and(|found| !is_directory(found.into())) {
        bail!("filesystem \"{typ}\" must be mounted on ordinary directory: {}", dest.display());
    }
    Ok(())
}

/// The directory of the host that `path` is in a tree of files, whose links lead nowhere else.
fn directory_in(rootfs: &Path, path: &Path) -> Option<PathBuf> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = open(rootfs, flags, Mode::empty()).ok()?;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let found = openat2(root, path, flags, Mode::empty(), resolve).ok()?;
    std::fs::read_link(format!("/proc/self/fd/{}", found.as_raw_fd())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(options: &[&str]) -> Options {
        let options: Vec<String> = options.iter().map(|o| (*o).to_owned()).collect();
        Options::parse(&options).expect("the options are valid")
    }

    #[test]
    fn later_options_win() {
        assert_eq!(parsed(&["ro", "nosuid", "rw"]).flags, libc::MS_NOSUID);
        assert_eq!(parsed(&["rro", "rslave"]).flags, libc::MS_RDONLY | libc::MS_SLAVE | libc::MS_REC);
    }

    #[test]
    fn the_rest_is_for_the_file_system() {
        assert_eq!(parsed(&["nosuid", "mode=755", "size=64k", "relatime"]).data, ["mode=755", "size=64k"]);
        assert!(parsed(&["rbind"]).is_recursive && !parsed(&["bind"]).is_recursive && parsed(&["tmpcopyup"]).copies_up);
        assert!(Options::parse(&["idmap".into()]).is_err());
    }
}
