//! Parameters of `/proc/sys/net` of a network namespace that were changed: by guests, or in the first one by the
//! configuration.

use crate::errno::{Errno, SysResult};
use crate::fs::proc;
use crate::sync::Mutex;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
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

/// Longest value.
const LEN_MAX: usize = 4096;

/// Numbers with less than the range of `int`, as Linux checks them.
const RANGES: &[(&str, RangeInclusive<i64>)] = &[
    ("net/core/somaxconn", 0..=i32::MAX as i64),
    ("net/ipv4/ip_local_port_range", 1..=65535),
    ("net/ipv4/ip_unprivileged_port_start", 0..=65535),
    ("net/ipv4/ip_default_ttl", 1..=255),
    ("net/ipv4/ip_forward", 0..=1),
    ("net/ipv4/ip_nonlocal_bind", 0..=1),
    ("net/ipv4/tcp_ecn", 0..=5),
    ("net/ipv4/tcp_fastopen", 0..=i32::MAX as i64),
    ("net/ipv4/tcp_retries1", 0..=255),
    ("net/ipv4/tcp_syn_retries", 1..=127),
    ("net/ipv4/tcp_synack_retries", 0..=255),
    ("net/ipv4/tcp_timestamps", 0..=2),
    ("net/ipv4/tcp_tw_reuse", 0..=2),
    ("net/ipv4/tcp_rmem", 1..=i32::MAX as i64),
    ("net/ipv4/tcp_wmem", 1..=i32::MAX as i64),
    ("net/ipv6/bindv6only", 0..=1),
    ("net/unix/max_dgram_qlen", 0..=i32::MAX as i64),
];

impl Sysctls {
    /// Of a new namespace. `is_first`: the one that the configuration speaks of.
    pub fn new(is_first: bool) -> Sysctls {
        Sysctls { written: Mutex::default(), any: AtomicBool::new(false), is_first }
    }

    /// What a parameter was set to; `None` if it is as it was.
    pub fn text(&self, path: &str) -> Option<String> {
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
    pub fn write(&self, path: &str, present: &str, data: &[u8]) -> SysResult<()> {
        if data.len() > LEN_MAX {
            return Err(Errno::INVAL);
        }
        let data = std::str::from_utf8(data).map_err(|_| Errno::INVAL)?;
        let data = data.split('\0').next().unwrap_or_default().trim();
        let now: Vec<&str> = present.split_ascii_whitespace().collect();
        let is_numeric = !now.is_empty() && now.iter().all(|word| word.parse::<i64>().is_ok());
        let value = if is_numeric { merged(path, &now, data)? } else { data.to_owned() };
        if path == "net/ipv4/tcp_congestion_control" && !matches!(data, "cubic" | "reno") {
            return Err(Errno::NOENT);
        }
        let mut written = self.written.lock();
        if path == "net/ipv4/ip_forward" {
            // One switch for all interfaces.
            for link in ["all", "default", "lo"] {
                written.insert(format!("net/ipv4/conf/{link}/forwarding"), value.clone());
            }
        }
        written.insert(path.to_owned(), value);
        drop(written);
        self.any.store(true, Ordering::Release);
        Ok(())
    }
}

/// The present numbers with the first replaced by those in `data`.
fn merged(path: &str, now: &[&str], data: &str) -> SysResult<String> {
    let range = RANGES.iter().find(|(known, _)| *known == path).map(|(_, range)| range.clone());
    let range = range.unwrap_or(i64::from(i32::MIN)..=i64::from(u32::MAX));
    let mut numbers: Vec<i64> = now.iter().map(|word| word.parse().unwrap_or(0)).collect();
    let mut words = data.split_ascii_whitespace();
    let mut any = false;
    for (number, word) in numbers.iter_mut().zip(words.by_ref()) {
        *number = word.parse().ok().filter(|value| range.contains(value)).ok_or(Errno::INVAL)?;
        any = true;
    }
    let is_reversed = path.ends_with("port_range") && numbers.first() > numbers.last();
    if !any || words.next().is_some() || is_reversed {
        return Err(Errno::INVAL);
    }
    let words: Vec<String> = numbers.iter().map(i64::to_string).collect();
    Ok(words.join("\t"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_the_form_of_what_was_there() {
        let path = "net/ipv4/ip_local_port_range";
        let sysctls = Sysctls::new(false);
        let write = |path, present, data| sysctls.write(path, present, data);
        assert_eq!(write(path, "32768\t60999\n", b"x\n"), Err(Errno::INVAL));
        assert_eq!(write(path, "32768\t60999\n", b"0 5\n"), Err(Errno::INVAL));
        assert_eq!(write(path, "32768\t60999\n", b"9 5\n"), Err(Errno::INVAL));
        assert_eq!(write(path, "32768\t60999\n", b"1 2 3\n"), Err(Errno::INVAL));
        assert_eq!(merged(path, &["32768", "60999"], "40000"), Ok("40000\t60999".into()));
        assert_eq!(write("net/test/a", "1\n", b"7\n"), Ok(()));
        assert_eq!(sysctls.number("net/test/a", 1), 7);
    }
}
