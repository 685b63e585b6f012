//! `resolv.conf(5)`: whose resolvers there are, and one for guests that works in their network.

use crate::plan::{Mount, Source};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use std::fs::File;
use std::io::Read;
use std::net::IpAddr;
use std::path::Path;

/// No file that means it is longer.
const LENGTH_MAX: u64 = 64 << 10;

/// Where it is.
pub(crate) const PATH: &str = "/etc/resolv.conf";

/// The addresses of resolvers; those of a link alone, which only a host on it can use, are left out.
pub(crate) fn nameservers(text: &str) -> Vec<IpAddr> {
    let servers = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    servers.filter_map(|rest| rest.split_whitespace().next()?.parse().ok()).collect()
}

/// What is mounted for guests whose own file, as far as it is known from the mounts of their container, names no
/// resolver that they reach.
pub(crate) fn mount(mounts: &[Mount], resolver: IpAddr) -> Option<Mount> {
    let given = mounts.iter().rev().find(|mount| mount.dest == PATH.as_bytes());
    let text = match (given, mounts.first().and_then(Mount::host_path)) {
        (Some(given), _) => std::fs::read_to_string(given.host_path()?).ok()?,
        (None, Some(root)) => read_in(root).unwrap_or_default(),
        (None, None) => String::new(),
    };
    Some(Mount::new(PATH, Source::Text(replaced(&text, resolver)?), 0))
}

/// The file of a root; links in it do not lead out.
fn read_in(root: &Path) -> Option<String> {
    let root = openat2(CWD, root, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::empty()).ok()?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let file = File::from(openat2(&root, PATH.trim_start_matches('/'), flags, Mode::empty(), resolve).ok()?);
    let mut text = String::new();
    file.take(LENGTH_MAX).read_to_string(&mut text).ok()?;
    Some(text)
}

/// The text with `resolver` in the place of all resolvers, if one of them is the host's own loopback or there is none:
/// these a guest does not reach.
pub(crate) fn replaced(text: &str, resolver: IpAddr) -> Option<String> {
    let servers = nameservers(text);
    if !servers.is_empty() && !servers.iter().any(|ip| ip.is_loopback() || ip.is_unspecified()) {
        return None;
    }
    let kept = text.lines().filter(|line| !line.trim_start().starts_with("nameserver"));
    Some(kept.map(|line| format!("{line}\n")).chain([format!("nameserver {resolver}\n")]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_of_the_host_alone_are_replaced() {
        let resolver: IpAddr = [10, 0, 2, 3].into();
        let text = "# a stub\nnameserver 127.0.0.53\noptions edns0\nsearch lan\n";
        let replaced_text = "# a stub\noptions edns0\nsearch lan\nnameserver 10.0.2.3\n";
        assert_eq!(replaced(text, resolver).as_deref(), Some(replaced_text));
        assert_eq!(replaced("", resolver).as_deref(), Some("nameserver 10.0.2.3\n"));
        assert_eq!(replaced("nameserver 192.168.1.1\n", resolver), None);
        assert_eq!(
            nameservers("nameserver fe80::1%eth0\nnameserver ::1 # own\n"),
            [IpAddr::from([0u16, 0, 0, 0, 0, 0, 0, 1])]
        );
    }
}
