//! Flags of gVisor's `runsc` that its users have in `daemon.json` and `runsc.toml`, and that mean nothing here: about
//! its file server, its network stack's tuning, its Go runtime. They are told of once and change nothing. Those that
//! would change what a container may do are not among them: an unknown flag is an error.

/// Those that are true or false.
const SWITCHES: [&str; 31] = [
    "alsologtostderr",
    "app-huge-pages",
    "buffer-pooling",
    "cgroupfs",
    "cpu-num-from-quota",
    "debug-to-user-log",
    "directfs",
    "enable-core-tags",
    "fsgofer-host-uds",
    "fuse",
    "gso",
    "gvisor-gro",
    "iouring",
    "lisafs",
    "log-packets",
    "net-disconnect-ok",
    "net-raw",
    "nvproxy",
    "nvproxy-docker",
    "oci-seccomp",
    "profile",
    "reproduce-nat",
    "reproduce-nftables",
    "rx-checksum-offload",
    "software-gso",
    "strace-event",
    "systrap-disable-syscall-patching",
    "tpuproxy",
    "tx-checksum-offload",
    "vfs2",
    "vfs2-fuse",
];

/// Those that have a value.
const VALUES: [&str; 38] = [
    "coverage-fd",
    "coverage-report",
    "dcache",
    "debug-command",
    "debug-log-fd",
    "debug-log-format",
    "fdlimit",
    "file-access",
    "file-access-mounts",
    "gvisor-marker-file",
    "host-fifo",
    "host-uds",
    "log-fd",
    "metric-server",
    "network-processors-per-channel",
    "num-network-channels",
    "nvproxy-allowed-driver-capabilities",
    "nvproxy-driver-version",
    "panic-log",
    "panic-log-fd",
    "panic-signal",
    "pcap-log",
    "platform_device_path",
    "pod-init-config",
    "profile-block",
    "profile-cpu",
    "profile-heap",
    "profile-mutex",
    "profiling-metrics",
    "profiling-metrics-log",
    "profiling-metrics-rate-us",
    "qdisc",
    "ref-leak-mode",
    "strace-log-size",
    "strace-syscalls",
    "trace",
    "traceback",
    "watchdog-action",
];

/// Whether a flag is one of them, and then whether it has a value.
pub(crate) fn takes_value(name: &str) -> Option<bool> {
    match name {
        _ if SWITCHES.contains(&name) => Some(false),
        _ if VALUES.contains(&name) => Some(true),
        _ => None,
    }
}
