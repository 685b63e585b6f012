//! `struct tcp_info`, as `TCP_INFO` and `ss` show it.

use crate::net::stack::tcp::Figures;
use std::time::Duration;
use zerocopy::{Immutable, IntoBytes};

/// `TCPI_OPT_TIMESTAMPS`, `TCPI_OPT_SACK`, `TCPI_OPT_WSCALE`, `TCPI_OPT_ECN`, `TCPI_OPT_ECN_SEEN`.
const STAMPS: u8 = 1;
const SACK: u8 = 2;
const SCALE: u8 = 4;
const ECN: u8 = 8;
const ECN_SEEN: u8 = 16;
/// `sizeof(struct tcp_info)` of Linux 6.18, rounded down to what programs know.
const LEN: usize = 232;

/// The part of the structure that has something to tell; names are Linux's, without `tcpi_`.
#[derive(Debug, IntoBytes, Immutable)]
#[repr(C)]
struct Info {
    state: u8,
    ca_state: u8,
    retransmits: u8,
    probes: u8,
    backoff: u8,
    options: u8,
    scales: u8,
    limited: u8,
    rto: u32,
    ato: u32,
    snd_mss: u32,
    rcv_mss: u32,
    unacked: u32,
    sacked: u32,
    lost: u32,
    retrans: u32,
    fackets: u32,
    last_data_sent: u32,
    last_ack_sent: u32,
    last_data_recv: u32,
    last_ack_recv: u32,
    pmtu: u32,
    rcv_ssthresh: u32,
    rtt: u32,
    rttvar: u32,
    snd_ssthresh: u32,
    snd_cwnd: u32,
    advmss: u32,
    reordering: u32,
    rcv_rtt: u32,
    rcv_space: u32,
    total_retrans: u32,
    pacing_rate: u64,
    max_pacing_rate: u64,
    bytes_acked: u64,
    bytes_received: u64,
    segs_out: u32,
    segs_in: u32,
    notsent_bytes: u32,
    min_rtt: u32,
}

/// The structure's bytes.
pub(super) fn encode(state: u8, figures: &Figures, mtu: u32) -> [u8; LEN] {
    let micros = |time: Duration| u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
    let Figures { trip, least, timeout, window, flight, repeated, mss, bytes, segments, .. } = *figures;
    let flag = |on: bool, bit: u8| if on { bit } else { 0 };
    let (theirs, ours) = figures.scales;
    let has_scales = theirs > 0 || ours > 0;
    let marks = flag(figures.marks.0, ECN) | flag(figures.marks.1, ECN_SEEN);
    let timeout = if timeout.is_zero() { Duration::from_millis(200) } else { timeout };
    let info = Info {
        state,
        ca_state: if flight.2 > 0 { 3 } else { 0 },
        retransmits: repeated.0.min(255) as u8,
        probes: 0,
        backoff: repeated.0.min(255) as u8,
        options: flag(figures.options.0, SACK) | flag(figures.options.1, STAMPS) | flag(has_scales, SCALE) | marks,
        scales: theirs & 0xf | ours << 4,
        limited: 0,
        rto: micros(timeout),
        ato: 40_000,
        snd_mss: mss,
        rcv_mss: mss,
        unacked: flight.0,
        sacked: flight.1,
        lost: flight.2,
        retrans: repeated.0,
        fackets: 0,
        last_data_sent: 0,
        last_ack_sent: 0,
        last_data_recv: 0,
        last_ack_recv: 0,
        pmtu: mtu,
        rcv_ssthresh: figures.space,
        rtt: micros(trip.0),
        rttvar: micros(trip.1),
        snd_ssthresh: window.1,
        snd_cwnd: window.0,
        advmss: mss,
        reordering: 3,
        rcv_rtt: 0,
        rcv_space: figures.space,
        total_retrans: repeated.1,
        pacing_rate: u64::MAX,
        max_pacing_rate: u64::MAX,
        bytes_acked: bytes.0,
        bytes_received: bytes.1,
        segs_out: segments.0,
        segs_in: segments.1,
        notsent_bytes: 0,
        min_rtt: micros(least),
    };
    let mut out = [0; LEN];
    for (to, from) in out.iter_mut().zip(info.as_bytes()) {
        *to = *from;
    }
    out
}
