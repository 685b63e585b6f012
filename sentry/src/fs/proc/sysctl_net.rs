//! `/proc/sys/net`: its files and what they say unless the guest or the configuration says otherwise.
//!
//! A default's form is what a new value must have: as many numbers, or one word.

use crate::fs::pseudo::Fixed;

/// The tree.
pub(super) const NET: &[(&str, Fixed)] =
    &[("core", Fixed::Dir(CORE)), ("ipv4", Fixed::Dir(IPV4)), ("ipv6", Fixed::Dir(IPV6)), ("unix", Fixed::Dir(UNIX))];

const CORE: &[(&str, Fixed)] = &[
    ("busy_poll", Fixed::Text("0\n")),
    ("busy_read", Fixed::Text("0\n")),
    ("default_qdisc", Fixed::Text("fq_codel\n")),
    ("message_burst", Fixed::Text("10\n")),
    ("message_cost", Fixed::Text("5\n")),
    ("netdev_budget", Fixed::Text("300\n")),
    ("netdev_max_backlog", Fixed::Text("1000\n")),
    ("optmem_max", Fixed::Text("131072\n")),
    ("rmem_default", Fixed::Text("212992\n")),
    ("rmem_max", Fixed::Text("4194304\n")),
    ("somaxconn", Fixed::Text("4096\n")),
    ("wmem_default", Fixed::Text("212992\n")),
    ("wmem_max", Fixed::Text("4194304\n")),
];

const IPV4: &[(&str, Fixed)] = &[
    ("conf", Fixed::Dir(CONF4)),
    ("icmp_echo_ignore_all", Fixed::Text("0\n")),
    ("icmp_echo_ignore_broadcasts", Fixed::Text("1\n")),
    ("icmp_ignore_bogus_error_responses", Fixed::Text("1\n")),
    ("icmp_msgs_burst", Fixed::Text("50\n")),
    ("icmp_msgs_per_sec", Fixed::Text("1000\n")),
    ("icmp_ratelimit", Fixed::Text("1000\n")),
    ("igmp_max_memberships", Fixed::Text("20\n")),
    ("igmp_max_msf", Fixed::Text("10\n")),
    ("igmp_qrv", Fixed::Text("2\n")),
    ("ip_autobind_reuse", Fixed::Text("0\n")),
    ("ip_default_ttl", Fixed::Text("64\n")),
    ("ip_dynaddr", Fixed::Text("0\n")),
    ("ip_forward", Fixed::Text("0\n")),
    ("ip_forward_update_priority", Fixed::Text("1\n")),
    ("ip_forward_use_pmtu", Fixed::Text("0\n")),
    ("ip_local_port_range", Fixed::Text("32768\t60999\n")),
    ("ip_local_reserved_ports", Fixed::Text("\n")),
    ("ip_no_pmtu_disc", Fixed::Text("0\n")),
    ("ip_nonlocal_bind", Fixed::Text("0\n")),
    ("ip_unprivileged_port_start", Fixed::Text("1024\n")),
    ("ipfrag_high_thresh", Fixed::Text("4194304\n")),
    ("ipfrag_low_thresh", Fixed::Text("3145728\n")),
    ("ipfrag_time", Fixed::Text("30\n")),
    ("neigh", Fixed::Dir(NEIGH)),
    ("ping_group_range", Fixed::Text("1\t0\n")),
    ("tcp_abort_on_overflow", Fixed::Text("0\n")),
    ("tcp_adv_win_scale", Fixed::Text("1\n")),
    ("tcp_allowed_congestion_control", Fixed::Text("cubic\treno\n")),
    ("tcp_app_win", Fixed::Text("31\n")),
    ("tcp_autocorking", Fixed::Text("1\n")),
    ("tcp_available_congestion_control", Fixed::Text("cubic\treno\n")),
    ("tcp_congestion_control", Fixed::Text("cubic\n")),
    ("tcp_dsack", Fixed::Text("1\n")),
    ("tcp_early_retrans", Fixed::Text("3\n")),
    ("tcp_ecn", Fixed::Text("2\n")),
    ("tcp_ecn_fallback", Fixed::Text("1\n")),
    ("tcp_fastopen", Fixed::Text("1\n")),
    ("tcp_fastopen_blackhole_timeout_sec", Fixed::Text("0\n")),
    ("tcp_fin_timeout", Fixed::Text("60\n")),
    ("tcp_frto", Fixed::Text("2\n")),
    ("tcp_keepalive_intvl", Fixed::Text("75\n")),
    ("tcp_keepalive_probes", Fixed::Text("9\n")),
    ("tcp_keepalive_time", Fixed::Text("7200\n")),
    ("tcp_limit_output_bytes", Fixed::Text("4194304\n")),
    ("tcp_max_reordering", Fixed::Text("300\n")),
    ("tcp_max_syn_backlog", Fixed::Text("4096\n")),
    ("tcp_max_tw_buckets", Fixed::Text("131072\n")),
    ("tcp_mem", Fixed::Text("183474\t244633\t366948\n")),
    ("tcp_moderate_rcvbuf", Fixed::Text("1\n")),
    ("tcp_mtu_probing", Fixed::Text("0\n")),
    ("tcp_no_metrics_save", Fixed::Text("0\n")),
    ("tcp_no_ssthresh_metrics_save", Fixed::Text("1\n")),
    ("tcp_orphan_retries", Fixed::Text("0\n")),
    ("tcp_recovery", Fixed::Text("1\n")),
    ("tcp_reordering", Fixed::Text("3\n")),
    ("tcp_retrans_collapse", Fixed::Text("1\n")),
    ("tcp_retries1", Fixed::Text("3\n")),
    ("tcp_retries2", Fixed::Text("15\n")),
    ("tcp_rfc1337", Fixed::Text("0\n")),
    ("tcp_rmem", Fixed::Text("4096\t131072\t6291456\n")),
    ("tcp_sack", Fixed::Text("1\n")),
    ("tcp_shrink_window", Fixed::Text("0\n")),
    ("tcp_slow_start_after_idle", Fixed::Text("1\n")),
    ("tcp_stdurg", Fixed::Text("0\n")),
    ("tcp_syn_linear_timeouts", Fixed::Text("4\n")),
    ("tcp_syn_retries", Fixed::Text("6\n")),
    ("tcp_synack_retries", Fixed::Text("5\n")),
    ("tcp_syncookies", Fixed::Text("1\n")),
    ("tcp_thin_linear_timeouts", Fixed::Text("0\n")),
    ("tcp_timestamps", Fixed::Text("1\n")),
    ("tcp_tw_reuse", Fixed::Text("2\n")),
    ("tcp_tw_reuse_delay", Fixed::Text("1000\n")),
    ("tcp_window_scaling", Fixed::Text("1\n")),
    ("tcp_wmem", Fixed::Text("4096\t16384\t4194304\n")),
    ("udp_mem", Fixed::Text("366948\t489266\t733896\n")),
    ("udp_rmem_min", Fixed::Text("4096\n")),
    ("udp_wmem_min", Fixed::Text("4096\n")),
];

const IPV6: &[(&str, Fixed)] = &[
    ("bindv6only", Fixed::Text("0\n")),
    ("conf", Fixed::Dir(CONF6)),
    ("ip6frag_high_thresh", Fixed::Text("4194304\n")),
    ("ip6frag_low_thresh", Fixed::Text("3145728\n")),
    ("ip6frag_time", Fixed::Text("60\n")),
    ("ip_nonlocal_bind", Fixed::Text("0\n")),
    ("mld_max_msf", Fixed::Text("64\n")),
    ("neigh", Fixed::Dir(NEIGH)),
    ("route", Fixed::Dir(ROUTE6)),
];

const CONF4: &[(&str, Fixed)] =
    &[("all", Fixed::Dir(CONF4_LINK)), ("default", Fixed::Dir(CONF4_LINK)), ("lo", Fixed::Dir(CONF4_LINK))];

const CONF6: &[(&str, Fixed)] =
    &[("all", Fixed::Dir(CONF6_LINK)), ("default", Fixed::Dir(CONF6_LINK)), ("lo", Fixed::Dir(CONF6_LINK))];

const NEIGH: &[(&str, Fixed)] = &[("default", Fixed::Dir(NEIGH_LINK)), ("lo", Fixed::Dir(NEIGH_LINK))];

const CONF4_LINK: &[(&str, Fixed)] = &[
    ("accept_local", Fixed::Text("0\n")),
    ("accept_redirects", Fixed::Text("1\n")),
    ("accept_source_route", Fixed::Text("1\n")),
    ("arp_accept", Fixed::Text("0\n")),
    ("arp_announce", Fixed::Text("0\n")),
    ("arp_filter", Fixed::Text("0\n")),
    ("arp_ignore", Fixed::Text("0\n")),
    ("arp_notify", Fixed::Text("0\n")),
    ("disable_policy", Fixed::Text("1\n")),
    ("forwarding", Fixed::Text("0\n")),
    ("ignore_routes_with_linkdown", Fixed::Text("0\n")),
    ("log_martians", Fixed::Text("0\n")),
    ("mc_forwarding", Fixed::Text("0\n")),
    ("promote_secondaries", Fixed::Text("0\n")),
    ("proxy_arp", Fixed::Text("0\n")),
    ("proxy_arp_pvlan", Fixed::Text("0\n")),
    ("route_localnet", Fixed::Text("0\n")),
    ("rp_filter", Fixed::Text("0\n")),
    ("secure_redirects", Fixed::Text("1\n")),
    ("send_redirects", Fixed::Text("1\n")),
    ("shared_media", Fixed::Text("1\n")),
];

const CONF6_LINK: &[(&str, Fixed)] = &[
    ("accept_dad", Fixed::Text("0\n")),
    ("accept_ra", Fixed::Text("1\n")),
    ("accept_redirects", Fixed::Text("1\n")),
    ("accept_source_route", Fixed::Text("0\n")),
    ("addr_gen_mode", Fixed::Text("0\n")),
    ("autoconf", Fixed::Text("1\n")),
    ("dad_transmits", Fixed::Text("1\n")),
    ("disable_ipv6", Fixed::Text("0\n")),
    ("disable_policy", Fixed::Text("0\n")),
    ("forwarding", Fixed::Text("0\n")),
    ("hop_limit", Fixed::Text("64\n")),
    ("ignore_routes_with_linkdown", Fixed::Text("0\n")),
    ("max_addresses", Fixed::Text("16\n")),
    ("mc_forwarding", Fixed::Text("0\n")),
    ("mtu", Fixed::Text("65536\n")),
    ("proxy_ndp", Fixed::Text("0\n")),
    ("router_solicitation_delay", Fixed::Text("1\n")),
    ("router_solicitation_interval", Fixed::Text("4\n")),
    ("router_solicitation_max_interval", Fixed::Text("3600\n")),
    ("router_solicitations", Fixed::Text("0\n")),
    ("use_tempaddr", Fixed::Text("0\n")),
];

const NEIGH_LINK: &[(&str, Fixed)] = &[
    ("anycast_delay", Fixed::Text("100\n")),
    ("app_solicit", Fixed::Text("0\n")),
    ("base_reachable_time", Fixed::Text("30\n")),
    ("base_reachable_time_ms", Fixed::Text("30000\n")),
    ("delay_first_probe_time", Fixed::Text("5\n")),
    ("gc_stale_time", Fixed::Text("60\n")),
    ("interval_probe_time_ms", Fixed::Text("5000\n")),
    ("locktime", Fixed::Text("100\n")),
    ("mcast_resolicit", Fixed::Text("0\n")),
    ("mcast_solicit", Fixed::Text("3\n")),
    ("proxy_delay", Fixed::Text("80\n")),
    ("proxy_qlen", Fixed::Text("64\n")),
    ("retrans_time", Fixed::Text("100\n")),
    ("retrans_time_ms", Fixed::Text("1000\n")),
    ("ucast_solicit", Fixed::Text("3\n")),
    ("unres_qlen", Fixed::Text("101\n")),
    ("unres_qlen_bytes", Fixed::Text("212992\n")),
];

const ROUTE6: &[(&str, Fixed)] = &[("max_size", Fixed::Text("2147483647\n")), ("mtu_expires", Fixed::Text("600\n"))];

const UNIX: &[(&str, Fixed)] = &[("max_dgram_qlen", Fixed::Text("10\n"))];
