//! What is read and written (`/proc/PID/io`).

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of a thread or a process.
#[derive(Debug, Default)]
pub struct IoCount {
    rchar: AtomicU64,
    wchar: AtomicU64,
    syscr: AtomicU64,
    syscw: AtomicU64,
}

impl IoCount {
    /// Counts a read of so many bytes.
    pub fn read(&self, bytes: usize) {
        self.rchar.fetch_add(bytes as u64, Ordering::Relaxed);
        self.syscr.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a write of so many bytes.
    pub fn wrote(&self, bytes: usize) {
        self.wchar.fetch_add(bytes as u64, Ordering::Relaxed);
        self.syscw.fetch_add(1, Ordering::Relaxed);
    }

    /// The file. What reaches a disk is the host's affair.
    pub fn describe(&self) -> String {
        let [rchar, wchar, syscr, syscw] =
            [&self.rchar, &self.wchar, &self.syscr, &self.syscw].map(|count| count.load(Ordering::Relaxed));
        format!(
            "rchar: {rchar}\nwchar: {wchar}\nsyscr: {syscr}\nsyscw: {syscw}\n\
             read_bytes: 0\nwrite_bytes: 0\ncancelled_write_bytes: 0\n"
        )
    }
}
