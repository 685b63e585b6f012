//! Parameters of `/proc/sys/net` of a network namespace that were changed: by guests, or in the first one by the
//! configuration.

mod form;

use super::layout::V6;
use super::namespace::Net;
use super::stack::link::flag;
use crate::errno::{Errno, SysResult};
use crate::fs::proc;
use crate::sync::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

/// Those of a namespace.
#[derive(Debug)]
pub struct Sysctls {
    /// What guests wrote, by path below `/proc/sys`.
    written: Mutex<BTreeMap<String, String>>,
    /// Whether there is any: most never write.
    any: AtomicBool,
    /// What the configuration says holds here.
    is_first: bool,
}

/// Directories that have one for each interface, besides `all` and `default`.
const OF_LINKS: [&str; 4] = ["net/ipv4/conf/", "net/ipv6/conf/", "net/ipv4/neigh/", "net/ipv6/neigh/"];
/// Parameters that `all` sets for each interface.
const FOR_ALL: [&str; 4] = [
    "net/ipv4/conf/all/forwarding",
    "net/ipv6/conf/all/forwarding",
    "net/ipv6/conf/all/disable_ipv6",
    "net/ipv6/conf/all/addr_gen_mode",
];

/// One switch under two names; written under the first.
const FORWARDING: [&str; 2] = ["net/ipv4/conf/all/forwarding", "net/ipv4/ip_forward"];

/// Whether a directory, named with a slash behind it, has one for each interface.
pub fn has_links(path: &str) -> bool {
    OF_LINKS.contains(&path)
}

/// The directory, the interface and the name of a parameter that interfaces have.
pub fn of_link(path: &str) -> Option<(&'static str, &str, &str)> {
    let within = OF_LINKS.into_iter().find(|within| path.starts_with(within))?;
    let (link, name) = path.strip_prefix(within)?.split_once('/')?;
    Some((within, link, name)).filter(|_| !name.contains('/'))
}

/// Ports that sockets are given, which are above those that need a capability.
const PORT_RANGE: &str = "net/ipv4/ip_local_port_range";
const PORT_START: &str = "net/ipv4/ip_unprivileged_port_start";

/// Longest value.
const LEN_MAX: usize = 4096;

impl Sysctls {
    /// Of a new namespace. `is_first`: the one that the configuration speaks of.
    pub fn new(is_first: bool) -> Sysctls {
        Sysctls { written: Mutex::default(), any: AtomicBool::new(false), is_first }
    }

    /// What a parameter was set to; `None` if it is as it was.
    pub fn text(&self, path: &str) -> Option<String> {
        self.own(path).or_else(|| {
            if path == "net/ipv4/conf/default/forwarding" {
                return self.own("net/ipv4/conf/all/forwarding");
            }
            // An interface is as all are by default, unless that was changed since.
            let (within, _, name) = of_link(path).filter(|(_, link, _)| !matches!(*link, "all" | "default"))?;
            self.text(&format!("{within}default/{name}"))
        })
    }

    /// What was set at this path and no other.
    fn own(&self, path: &str) -> Option<String> {
        let names = if FORWARDING.contains(&path) { &FORWARDING[..] } else { &[path] };
        names.iter().find_map(|path| self.at(path))
    }

    fn at(&self, path: &str) -> Option<String> {
        if self.any.load(Ordering::Acquire)
            && let Some(value) = self.written.lock().get(path)
        {
            return Some(value.clone());
        }
        if self.is_first { proc::given(path) } else { None }
    }

    /// A parameter that is a number.
    pub fn number(&self, path: &str, default: i64) -> i64 {
        self.text(path).and_then(|value| value.trim().parse().ok()).unwrap_or(default)
    }

    /// A parameter that is several numbers.
    pub fn numbers<const N: usize>(&self, path: &str, default: [i64; N]) -> [i64; N] {
        let Some(text) = self.text(path) else { return default };
        let mut numbers = default;
        for (number, word) in numbers.iter_mut().zip(text.split_ascii_whitespace()) {
            *number = word.parse().unwrap_or(*number);
        }
        numbers
    }

    /// A guest writes `data` to the parameter that is `present` now.
    fn write(&self, path: &str, present: &str, data: &[u8], is_wrong: impl Fn(i64) -> bool) -> SysResult<()> {
        if data.len() > LEN_MAX {
            return Err(Errno::INVAL);
        }
        let data = std::str::from_utf8(data).map_err(|_| Errno::INVAL)?;
        if data.is_empty() {
            return Ok(());
        }
        let value = form::written(path, present, data.split('\0').next().unwrap_or_default().trim())?;
        if value.split('\t').next().and_then(|first| first.parse().ok()).is_some_and(is_wrong) {
            return Err(Errno::INVAL);
        }
        self.set(path, value);
        Ok(())
    }

    fn set(&self, path: &str, value: String) {
        self.written.lock().insert(path.to_owned(), value);
        self.any.store(true, Ordering::Release);
    }

    /// An interface has another name, or none any more.
    pub fn renamed(&self, old: &str, new: Option<&str>) {
        if !self.any.load(Ordering::Acquire) {
            return;
        }
        let mut written = self.written.lock();
        let gone = written.extract_if(.., |path, _| of_link(path).is_some_and(|(_, link, _)| link == old));
        let kept: Vec<_> = gone
            .filter_map(|(path, value)| {
                let (within, _, name) = of_link(&path)?;
                Some((format!("{within}{}/{name}", new?), value))
            })
            .collect();
        written.extend(kept);
    }
}

impl Net {
    /// What a parameter is, if that is not what its kind is by default.
    pub fn parameter(&self, path: &str) -> Option<String> {
        self.sysctl.own(path).or_else(|| self.peculiar(path)).or_else(|| self.sysctl.text(path))
    }

    /// What a parameter of `all` or of an interface is unless it was set itself, whatever the default is.
    fn peculiar(&self, path: &str) -> Option<String> {
        let (within, name, parameter) = of_link(path)?;
        let layout = self.layout();
        let link = layout.link_named(name.as_bytes());
        let has = |flags| link.is_some_and(|link| link.flags & flags != 0);
        let value = match (within, parameter) {
            ("net/ipv4/conf/", "accept_source_route") | ("net/ipv6/conf/", "accept_dad") if name == "all" => 0,
            ("net/ipv4/conf/", "disable_policy" | "disable_xfrm") if has(flag::LOOPBACK) => 1,
            ("net/ipv6/conf/", "accept_dad") if has(flag::LOOPBACK | flag::NOARP) => -1,
            ("net/ipv6/conf/", "use_tempaddr") if has(flag::LOOPBACK) => -1,
            ("net/ipv6/conf/", "mtu") => i64::try_from(link?.mtu).ok()?,
            _ => return None,
        };
        Some(value.to_string())
    }

    /// A guest writes `data` to the parameter that is `present` now.
    pub fn set_parameter(&self, path: &str, present: &str, data: &[u8]) -> SysResult<()> {
        let path = if path == "net/ipv4/ip_forward" { "net/ipv4/conf/all/forwarding" } else { path };
        let layout = self.layout();
        let links = || layout.links().iter().map(|link| &*link.name);
        if let Some((within, "default", name)) = of_link(path) {
            // What there is stays as it is.
            for path in links().map(|link| format!("{within}{link}/{name}")) {
                if self.sysctl.own(&path).or_else(|| self.peculiar(&path)).is_none() {
                    self.sysctl.set(&path, present.trim().to_owned());
                }
            }
        }
        self.sysctl.write(path, present, data, |value| self.contradicts(path, value))?;
        let value = self.sysctl.text(path).unwrap_or_default();
        if let Some((within, _, name)) = of_link(path).filter(|_| FOR_ALL.contains(&path)) {
            links()
                .chain(["default"])
                .for_each(|link| self.sysctl.set(&format!("{within}{link}/{name}"), value.clone()));
        }
        if path.ends_with("/disable_ipv6") || path.ends_with("/addr_gen_mode") {
            self.change(|layout| {
                let all: Vec<_> = layout.links().iter().map(|link| (link.index, self.v6(&link.name))).collect();
                all.into_iter().try_for_each(|(index, v6)| layout.set_v6(index, v6))
            })?;
        }
        Ok(())
    }

    /// Whether the first number of a parameter does not go with what others are.
    fn contradicts(&self, path: &str, value: i64) -> bool {
        match path {
            PORT_RANGE => value < self.sysctl.number(PORT_START, 1024),
            PORT_START => value > self.sysctl.numbers(PORT_RANGE, [32768, 60999])[0],
            _ => match of_link(path) {
                Some(("net/ipv6/conf/", link, "mtu")) => {
                    let layout = self.layout();
                    layout.link_named(link.as_bytes()).is_some_and(|link| value > link.mtu as i64)
                }
                // Without a secret, of which there is none, nothing can be made of it.
                Some(("net/ipv6/conf/", link, "addr_gen_mode")) => !matches!(link, "all" | "default") && value == 2,
                _ => false,
            },
        }
    }

    /// What routers have said about the ways of a family holds no longer.
    pub fn forget_paths(&self, is_ipv4: bool) {
        self.inet.paths.forget(is_ipv4);
    }

    /// Whether an interface, or `all`, has a parameter that is a switch.
    pub fn switch(&self, family: &str, link: &str, name: &str) -> bool {
        self.sysctl.number(&format!("net/{family}/conf/{link}/{name}"), 0) != 0
    }

    /// What an interface has of IPv6.
    pub fn v6(&self, link: &str) -> V6 {
        /// `IN6_ADDR_GEN_MODE_NONE`.
        const NONE: i64 = 1;
        match self.sysctl.number(&format!("net/ipv6/conf/{link}/addr_gen_mode"), 0) {
            _ if self.switch("ipv6", "all", "disable_ipv6") || self.switch("ipv6", link, "disable_ipv6") => V6::Off,
            NONE => V6::Bare,
            _ => V6::Full,
        }
    }
}
