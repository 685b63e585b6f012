//! What may be written to parameters of the network: numbers of a range, or lists of numbers.

use crate::errno::{Errno, SysResult};
use std::ops::RangeInclusive;

const INT: i64 = i32::MAX as i64;
const UINT: i64 = u32::MAX as i64;
/// As many seconds as an `int` holds ticks.
const SECONDS: i64 = INT / 250;

/// Numbers that do not have the range of `int`, below `net/`; `*` is an interface.
const RANGES: &[(RangeInclusive<i64>, &[&str])] = &[
    (
        0..=255,
        &[
            "ipv4/fwmark_reflect",
            "ipv4/igmp_link_local_mcast_reports",
            "ipv4/ip_dynaddr",
            "ipv4/ip_early_demux",
            "ipv4/ip_forward_use_pmtu",
            "ipv4/ip_no_pmtu_disc",
            "ipv4/ip_nonlocal_bind",
            "ipv4/tcp_abort_on_overflow",
            "ipv4/tcp_comp_sack_nr",
            "ipv4/tcp_dsack",
            "ipv4/tcp_early_demux",
            "ipv4/tcp_fack",
            "ipv4/tcp_frto",
            "ipv4/tcp_fwmark_accept",
            "ipv4/tcp_keepalive_probes",
            "ipv4/tcp_moderate_rcvbuf",
            "ipv4/tcp_mtu_probing",
            "ipv4/tcp_no_metrics_save",
            "ipv4/tcp_orphan_retries",
            "ipv4/tcp_plb_suspend_rto_sec",
            "ipv4/tcp_recovery",
            "ipv4/tcp_retrans_collapse",
            "ipv4/tcp_retries1",
            "ipv4/tcp_retries2",
            "ipv4/tcp_rfc1337",
            "ipv4/tcp_sack",
            "ipv4/tcp_slow_start_after_idle",
            "ipv4/tcp_stdurg",
            "ipv4/tcp_synack_retries",
            "ipv4/tcp_syncookies",
            "ipv4/tcp_thin_linear_timeouts",
            "ipv4/tcp_timestamps",
            "ipv4/tcp_tso_rtt_log",
            "ipv4/tcp_tso_win_divisor",
            "ipv4/tcp_window_scaling",
            "ipv4/tcp_workaround_signed_windows",
            "ipv4/udp_early_demux",
            "ipv6/anycast_src_echo_reply",
            "ipv6/bindv6only",
            "ipv6/conf/*/ndisc_tclass",
            "ipv6/flowlabel_consistency",
            "ipv6/flowlabel_state_ranges",
            "ipv6/fwmark_reflect",
            "ipv6/icmp/echo_ignore_all",
            "ipv6/icmp/echo_ignore_anycast",
            "ipv6/icmp/echo_ignore_multicast",
            "ipv6/ip_nonlocal_bind",
        ],
    ),
    (
        0..=1,
        &[
            "core/tstamp_allow_data",
            "core/txrehash",
            "ipv4/fib_multipath_use_neigh",
            "ipv4/icmp_echo_enable_probe",
            "ipv4/icmp_echo_ignore_all",
            "ipv4/icmp_echo_ignore_broadcasts",
            "ipv4/icmp_errors_use_inbound_ifaddr",
            "ipv4/icmp_ignore_bogus_error_responses",
            "ipv4/ip_autobind_reuse",
            "ipv4/ip_forward_update_priority",
            "ipv4/nexthop_compat_mode",
            "ipv4/tcp_autocorking",
            "ipv4/tcp_backlog_ack_defer",
            "ipv4/tcp_ecn_fallback",
            "ipv4/tcp_migrate_req",
            "ipv4/tcp_no_ssthresh_metrics_save",
            "ipv4/tcp_plb_enabled",
            "ipv4/tcp_reflect_tos",
            "ipv4/tcp_shrink_window",
            "ipv6/conf/*/force_forwarding",
            "ipv6/conf/*/ndisc_evict_nocarrier",
            "ipv6/conf/*/ra_honor_pio_life",
            "ipv6/conf/*/ra_honor_pio_pflag",
            "ipv6/icmp/error_anycast_as_unicast",
            "ipv6/route/skip_notify_on_dev_down",
        ],
    ),
    (
        0..=INT,
        &[
            "core/optmem_max",
            "ipv4/icmp_ratelimit",
            "ipv4/tcp_invalid_ratelimit",
            "ipv6/conf/*/mldv1_unsolicited_report_interval",
            "ipv6/conf/*/mldv2_unsolicited_report_interval",
            "ipv6/icmp/ratelimit",
            "ipv6/route/gc_min_interval_ms",
            "core/somaxconn",
            "ipv4/icmp_msgs_burst",
            "ipv4/icmp_msgs_per_sec",
            "ipv4/ipfrag_max_dist",
            "ipv4/neigh/*/app_solicit",
            "ipv4/neigh/*/mcast_resolicit",
            "ipv4/neigh/*/mcast_solicit",
            "ipv4/neigh/*/proxy_qlen",
            "ipv4/neigh/*/ucast_solicit",
            "ipv4/neigh/*/unres_qlen_bytes",
            "ipv4/tcp_fastopen_blackhole_timeout_sec",
            "ipv6/neigh/*/app_solicit",
            "ipv6/neigh/*/mcast_resolicit",
            "ipv6/neigh/*/mcast_solicit",
            "ipv6/neigh/*/proxy_qlen",
            "ipv6/neigh/*/ucast_solicit",
            "ipv6/neigh/*/unres_qlen_bytes",
        ],
    ),
    (
        -SECONDS..=SECONDS,
        &[
            "ipv4/neigh/*/base_reachable_time",
            "ipv4/neigh/*/delay_first_probe_time",
            "ipv4/neigh/*/gc_stale_time",
            "ipv6/neigh/*/base_reachable_time",
            "ipv6/neigh/*/delay_first_probe_time",
            "ipv6/neigh/*/gc_stale_time",
            "ipv4/ipfrag_time",
            "ipv4/route/mtu_expires",
            "ipv4/tcp_fin_timeout",
            "ipv4/tcp_keepalive_intvl",
            "ipv4/tcp_keepalive_time",
            "ipv6/conf/*/router_probe_interval",
            "ipv6/conf/*/router_solicitation_delay",
            "ipv6/conf/*/router_solicitation_interval",
            "ipv6/conf/*/router_solicitation_max_interval",
            "ipv6/idgen_delay",
            "ipv6/ip6frag_time",
            "ipv6/route/gc_interval",
            "ipv6/route/gc_min_interval",
            "ipv6/route/gc_timeout",
            "ipv6/route/mtu_expires",
        ],
    ),
    (
        1..=INT,
        &[
            "ipv4/igmp_qrv",
            "ipv4/tcp_max_reordering",
            "ipv4/tcp_rmem",
            "ipv4/tcp_rto_min_us",
            "ipv4/tcp_wmem",
            "ipv4/udp_rmem_min",
            "ipv4/udp_wmem_min",
        ],
    ),
    (
        0..=2,
        &[
            "ipv4/fib_notify_on_flag_change",
            "ipv4/tcp_ecn",
            "ipv4/tcp_ecn_option",
            "ipv4/tcp_tw_reuse",
            "ipv6/conf/*/accept_untracked_na",
            "ipv6/fib_notify_on_flag_change",
        ],
    ),
    (
        0..=UINT,
        &[
            "ipv4/fib_multipath_hash_seed",
            "ipv4/ipfrag_high_thresh",
            "ipv4/ipfrag_low_thresh",
            "ipv4/tcp_notsent_lowat",
            "ipv6/ip6frag_high_thresh",
            "ipv6/ip6frag_low_thresh",
        ],
    ),
    (
        0..=3,
        &[
            "ipv4/fib_multipath_hash_policy",
            "ipv4/tcp_ecn_option_beacon",
            "ipv6/auto_flowlabels",
            "ipv6/conf/*/addr_gen_mode",
            "ipv6/fib_multipath_hash_policy",
        ],
    ),
    (1..=255, &["ipv4/ip_default_ttl", "ipv4/tcp_min_tso_segs", "ipv4/tcp_pingpong_thresh", "ipv6/conf/*/hop_limit"]),
    (0..=31, &["ipv4/tcp_app_win", "ipv4/tcp_plb_idle_rehash_rounds", "ipv4/tcp_plb_rehash_rounds"]),
    (0..=1000, &["ipv4/tcp_pacing_ca_ratio", "ipv4/tcp_pacing_ss_ratio"]),
    (0..=i64::MAX, &["ipv4/tcp_comp_sack_delay_ns", "ipv4/tcp_comp_sack_slack_ns"]),
    (1..=4095, &["ipv4/fib_multipath_hash_fields", "ipv6/fib_multipath_hash_fields"]),
    (48..=65535, &["ipv4/tcp_min_snd_mss", "ipv4/tcp_mtu_probe_floor"]),
    (-31..=31, &["ipv4/tcp_adv_win_scale"]),
    (-1..=INT, &["ipv6/conf/*/router_solicitations"]),
    (0..=4, &["ipv4/tcp_early_retrans"]),
    (0..=7, &["ipv6/flowlabel_reflect"]),
    (0..=127, &["ipv4/tcp_syn_linear_timeouts"]),
    (0..=256, &["ipv4/tcp_plb_cong_thresh"]),
    (0..=65535, &["ipv4/ip_unprivileged_port_start"]),
    (0..=86400, &["ipv4/tcp_min_rtt_wlen"]),
    (0..=17179869, &["ipv4/tcp_probe_interval"]),
    (0..=4294967294, &["ipv4/ping_group_range"]),
    (1..=127, &["ipv4/tcp_syn_retries"]),
    (1..=300, &["ipv4/tcp_reordering"]),
    (1..=60000, &["ipv4/tcp_tw_reuse_delay"]),
    (1..=65535, &["ipv4/ip_local_port_range"]),
    (1..=UINT, &["ipv6/conf/*/ra_defrtr_metric"]),
    (68..=INT, &["ipv4/route/min_pmtu"]),
    (1000..=120000, &["ipv4/tcp_rto_max_ms"]),
    (1280..=INT, &["ipv6/conf/*/mtu"]),
];

/// Lists of numbers and of ranges of them, with the highest.
const LISTS: [(&str, u32); 2] = [("net/ipv4/ip_local_reserved_ports", 65535), ("net/ipv6/icmp/ratemask", 255)];

/// What a parameter is after `data` was written where `present` stands.
pub(super) fn written(path: &str, present: &str, data: &str) -> SysResult<String> {
    if let Some((_, highest)) = LISTS.iter().find(|(known, _)| *known == path) {
        return list(data, *highest);
    }
    if path == "net/ipv4/tcp_congestion_control" && !matches!(data, "cubic" | "reno") {
        return Err(Errno::NOENT);
    }
    let now: Vec<&str> = present.split_ascii_whitespace().collect();
    let is_numeric = !now.is_empty() && now.iter().all(|word| word.parse::<i64>().is_ok());
    if is_numeric { numbers(path, &now, data) } else { Ok(data.to_owned()) }
}

fn range(path: &str) -> RangeInclusive<i64> {
    let of_link = super::of_link(path).map(|(within, _, name)| format!("{within}*/{name}"));
    let below = of_link.as_deref().unwrap_or(path).strip_prefix("net/");
    let found = below.and_then(|below| RANGES.iter().find(|(_, names)| names.contains(&below)));
    found.map_or(i64::from(i32::MIN)..=INT, |(range, _)| range.clone())
}

/// The present numbers with the first replaced by those in `data`; what is too many is passed over.
fn numbers(path: &str, now: &[&str], data: &str) -> SysResult<String> {
    let range = range(path);
    let mut numbers: Vec<i64> = now.iter().map(|word| word.parse().unwrap_or(0)).collect();
    let mut words = data.split_ascii_whitespace().peekable();
    words.peek().ok_or(Errno::INVAL)?;
    for (number, word) in numbers.iter_mut().zip(words) {
        *number = word.parse().ok().filter(|value| range.contains(value)).ok_or(Errno::INVAL)?;
    }
    if numbers.first() > numbers.last() {
        match path {
            "net/ipv4/ip_local_port_range" => return Err(Errno::INVAL),
            // Nobody.
            "net/ipv4/ping_group_range" => numbers = vec![1, 0],
            _ => {}
        }
    }
    let words: Vec<String> = numbers.iter().map(i64::to_string).collect();
    Ok(words.join("\t"))
}

/// The list `data` in order, as ranges as long as can be.
fn list(data: &str, highest: u32) -> SysResult<String> {
    let number = |word: &str| word.parse().ok().filter(|number| *number <= highest).ok_or(Errno::INVAL);
    let mut ranges = Vec::new();
    for word in data.split([',', '\n']).filter(|word| !word.is_empty()) {
        let (first, last) = word.split_once('-').unwrap_or((word, word));
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return Err(Errno::INVAL);
        }
        ranges.push((first, last));
    }
    ranges.sort_unstable();
    let mut merged: Vec<(u32, u32)> = Vec::new();
    for (first, last) in ranges {
        match merged.last_mut() {
            Some(before) if first <= before.1 + 1 => before.1 = before.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    let shown = |(first, last): (u32, u32)| if first == last { first.to_string() } else { format!("{first}-{last}") };
    Ok(merged.into_iter().map(shown).collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_the_form_of_what_was_there() {
        let port_range = |data| written("net/ipv4/ip_local_port_range", "32768\t60999\n", data);
        for bad in ["x", "", "0 5", "9 5", "70000 70001"] {
            assert_eq!(port_range(bad), Err(Errno::INVAL));
        }
        assert_eq!(port_range("1 2 3"), Ok("1\t2".into()));
        assert_eq!(port_range("40000"), Ok("40000\t60999".into()));
        assert_eq!(written("net/test/a", "1\n", "-7"), Ok("-7".into()));
        assert_eq!(written("net/test/a", "1\n", "2147483648"), Err(Errno::INVAL));
        assert_eq!(written("net/ipv6/conf/eth0/hop_limit", "64", "256"), Err(Errno::INVAL));
    }

    #[test]
    fn lists_are_put_in_order() {
        assert_eq!(list("9,1-3,4,8080-8090,8085", 65535), Ok("1-4,9,8080-8090".into()));
        assert_eq!(list("", 65535), Ok(String::new()));
        for bad in ["3-1", "65536", "x", "1-", "1--2"] {
            assert_eq!(list(bad, 65535), Err(Errno::INVAL));
        }
    }
}
