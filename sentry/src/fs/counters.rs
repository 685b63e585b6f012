//! What `--stats` tells of files: how often the host was asked, and how often it need not be.

use platform::counters::Counter;

/// All of them.
pub(crate) static FILES: [&Counter; 8] =
    [&NAMES_KNOWN, &NAMES_FOUND, &HOST_STATS, &HOST_OPENS, &HOST_READS, &HOST_WRITES, &HOST_LISTS, &IN_PLACE];

pub(super) static NAMES_KNOWN: Counter = Counter::new("names remembered");
pub(super) static NAMES_FOUND: Counter = Counter::new("names looked up");
pub(super) static HOST_STATS: Counter = Counter::new("attributes asked of the host");
pub(super) static HOST_OPENS: Counter = Counter::new("files opened on the host");
pub(super) static HOST_READS: Counter = Counter::new("reads of host files");
pub(super) static HOST_WRITES: Counter = Counter::new("writes of host files");
pub(super) static IN_PLACE: Counter = Counter::new("pieces of files copied where they lie");
pub(super) static HOST_LISTS: Counter = Counter::new("directories listed on the host");
