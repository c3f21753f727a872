//! [`ReadCounters`]: what a query's gets and scans touched, for EXPLAIN ANALYZE and for tests.

use std::sync::atomic::{AtomicU64, Ordering};

/// One number that many threads add to.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The sum so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What reads touched. Shared by all partitions of a scan; only ever grows.
#[derive(Debug, Default)]
pub struct ReadCounters {
    /// Keys looked up by `get` and `multi_get`.
    pub gets: Counter,
    /// Files that a filter spared a get.
    pub filter_misses: Counter,
    /// Files of which something was read, once for each scan, get or multi-get.
    pub files_read: Counter,
    /// Files that a scan left out by key range, zone map or prefix filter.
    pub files_pruned: Counter,
    /// Row groups of which something was read.
    pub groups_read: Counter,
    /// Row groups that a scan left out within the files it read.
    pub groups_pruned: Counter,
    /// Stretches of keys scanned from one source without looking at keys.
    pub sections_raw: Counter,
    /// Stretches of keys for which several sources were merged.
    pub sections_merged: Counter,
    /// Encoded bytes of the projection's columns in the row groups that scans read, from cache or
    /// disk.
    pub bytes_read: Counter,
    /// Row groups, and runs of memtables, read under a bitmap of hidden rows.
    pub sections_shadowed: Counter,
    /// Rows that newer sources hid, old versions and deletes included, where bitmaps say so.
    pub rows_hidden: Counter,
    /// Bitmaps of hidden rows that were there.
    pub shadows_cached: Counter,
    /// Bitmaps of hidden rows that had to be worked out.
    pub shadows_built: Counter,
    /// Rows given out.
    pub rows: Counter,
}

impl ReadCounters {
    /// All zero.
    pub fn new() -> Self {
        Self::default()
    }
}
