//! What may be set when a database is opened. Every default is right for most.

/// When a commit is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// After its log record was synced: survives power loss.
    #[default]
    Full,
    /// At once, synced at most 50 ms later: the last 50 ms may be lost, order kept.
    Normal,
    /// At once; the operating system decides when it is synced.
    Off,
}

/// What a memtable is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MemtableKind {
    /// Small sorted leaves.
    #[default]
    Leaves,
    /// A `BTreeMap` under a lock: what leaves are compared with.
    BTree,
}

/// Ways that only make something faster: without one the same comes out. All are on; tests and
/// benches turn one off to see what it is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FastPaths {
    /// Memtables know by a Bloom filter which keys they do not hold.
    pub memtable_filter: bool,
    /// Files of deletes mostly go down before their level is full.
    pub compact_deletes: bool,
    /// A few keys of one `multi_get` are looked up one after the other.
    pub few_keys: bool,
    /// New files say about how many values each column has, and planners hear of it. Off, they
    /// know less.
    pub sketches: bool,
    /// Where memtables hold much of a tree, a sample of their rows says what its columns are like.
    /// Off, planners guess.
    pub memtable_statistics: bool,
    /// A large commit with none beside it is synced while its rows are inserted, by a thread of
    /// the engine's own.
    pub early_sync: bool,
    /// What newer rows hide of a file is worked out by who puts the file, or the rows, there, in
    /// trees that are scanned.
    pub shadows_ahead: bool,
    /// Ranges that lie in one row group of each file are planned without cutting sections.
    pub narrow_plans: bool,
}

impl FastPaths {
    /// None of them.
    pub fn none() -> Self {
        Self {
            memtable_filter: false,
            compact_deletes: false,
            few_keys: false,
            sketches: false,
            memtable_statistics: false,
            early_sync: false,
            shadows_ahead: false,
            narrow_plans: false,
        }
    }
}

impl Default for FastPaths {
    fn default() -> Self {
        Self {
            memtable_filter: true,
            compact_deletes: true,
            few_keys: true,
            sketches: true,
            memtable_statistics: true,
            early_sync: true,
            shadows_ahead: true,
            narrow_plans: true,
        }
    }
}

/// Options of an [`Engine`](crate::Engine).
#[derive(Clone, Debug)]
pub struct Options {
    /// Create the database if the directory holds none. Default true.
    pub create_if_missing: bool,
    /// When a commit is acknowledged. Default [`Durability::Full`].
    pub durability: Durability,
    /// Memory for memtables, block cache, file indexes and jobs, in bytes. Default 512 MiB.
    pub memory_bytes: usize,
    /// What memtables are made of. Default [`MemtableKind::Leaves`].
    pub memtable_kind: MemtableKind,
    /// A tree's memtable is frozen at this size. Default 32 MiB.
    pub memtable_bytes: usize,
    /// A transaction keeps this much of what it wrote in memory, and spills the rest to files.
    /// Default 32 MiB.
    pub transaction_bytes: usize,
    /// A log segment ends at this size. Default 64 MiB.
    pub wal_segment_bytes: u64,
    /// The log is laid out with zeroes so many bytes ahead of small commits, whose syncs are
    /// cheaper for it on most file systems; 0 for not at all. Default 256 KiB.
    pub wal_ahead_bytes: u64,
    /// Memtables that hold back this much log are flushed. Default 512 MiB.
    pub wal_bytes_max: u64,
    /// An SSTable of level 1 and below ends at this size. Default 64 MiB.
    pub file_bytes: u64,
    /// Rows of a row group. Default 8,192.
    pub group_rows: usize,
    /// Raw bytes at which a row group ends early. Default 16 MiB.
    pub group_bytes: usize,
    /// Runs in level 0 that start a compaction. Default 4.
    pub level0_runs: usize,
    /// Each level may hold this many times the one above. Default 10.
    pub fanout: u64,
    /// Bits a key in Bloom filters. Default 12.
    pub filter_bits: u32,
    /// A chunk of strings of which so many bytes are strings has a checksum for every 4 KiB, so
    /// that a get for which the cache has no room reads these and not all of it; `usize::MAX` for
    /// no chunk. Default 32 KiB.
    pub piece_chunk_bytes: usize,
    /// Run flushes and compactions on threads of their own. Tests say false and call
    /// [`Engine::run_job`](crate::Engine::run_job). Default true.
    pub background: bool,
    /// For tests and measurements. Default all.
    pub paths: FastPaths,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            create_if_missing: true,
            durability: Durability::Full,
            memory_bytes: 512 << 20,
            memtable_kind: MemtableKind::Leaves,
            memtable_bytes: 32 << 20,
            transaction_bytes: 32 << 20,
            wal_segment_bytes: 64 << 20,
            wal_ahead_bytes: 256 << 10,
            wal_bytes_max: 512 << 20,
            file_bytes: 64 << 20,
            group_rows: 8_192,
            group_bytes: 16 << 20,
            level0_runs: 4,
            fanout: 10,
            filter_bits: 12,
            piece_chunk_bytes: 32 << 10,
            background: true,
            paths: FastPaths::default(),
        }
    }
}
