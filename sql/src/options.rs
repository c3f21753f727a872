//! What may be set for the query layer when a database is opened.

/// Options of the query layer; those of the engine are [`silt_storage::Options`].
#[derive(Clone, Debug)]
pub struct SqlOptions {
    /// Memory for sorts, joins and aggregates of all running statements, in bytes; what exceeds
    /// it spills to the database's `tmp` folder. Default 1 GiB.
    pub memory_bytes: usize,
    /// Of that, what the statements of one session may have together, in bytes. Default: all.
    pub session_memory_bytes: usize,
    /// Of that, what one statement may have, in bytes; what exceeds it spills, where that helps.
    /// With a bound here or on sessions, rows that a statement changes count as well until it
    /// commits. Default: all.
    pub statement_memory_bytes: usize,
    /// Bytes that may be spilled at a time. Default 64 GiB.
    pub spill_bytes_max: u64,
    /// Threads that run statements, and partitions of a scan. Default: the machine's cores.
    pub threads: usize,
    /// Longest accepted text of one call, in bytes. Default 64 MiB.
    pub text_bytes_max: usize,
    /// Whether statements that name keys run without the planner. Default true; false is for tests
    /// and for measuring what it pays.
    pub point_statements: bool,
    /// What scans do beyond decoding rows. Default: everything.
    pub scan: ScanOptions,
    /// How statements write rows. Default: every way.
    pub writes: WriteOptions,
}

/// Ways to write rows that only make it faster; each can be turned off, for tests and for measuring
/// what it pays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteOptions {
    /// More rows than half a memtable holds go into files at once, around log and memtable.
    pub bulk_loads: bool,
    /// ON CONFLICT DO UPDATE that takes every column from `excluded` reads no old row.
    pub blind_upserts: bool,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self { bulk_loads: true, blind_upserts: true }
    }
}

/// What a scan may do by itself; each can be turned off, for tests and for measuring what it pays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanOptions {
    /// Rows that newer sources hide are found by bitmaps instead of a merge.
    pub shadows: bool,
    /// Comparisons with constants are evaluated in the scan, and not again above it.
    pub filters: bool,
    /// Aggregates over a scan are computed before its rows are decoded.
    pub aggregates: bool,
    /// What a running join or top-n still wants narrows the scan below it.
    pub dynamic: bool,
    /// Inner joins are put in the order that is estimated to touch the fewest rows.
    pub joins: bool,
    /// Inputs of joins by several columns leave out early what finds no partner in another table.
    pub narrows: bool,
    /// A join of few rows with a table by its key reads that table by seeks.
    pub seeks: bool,
    /// Queries that read few rows are planned for one partition.
    pub small: bool,
    /// Equal aggregates at several places of a plan are computed once.
    pub shared: bool,
}

impl Default for ScanOptions {
    fn default() -> Self {
        Self {
            shadows: true,
            filters: true,
            aggregates: true,
            dynamic: true,
            joins: true,
            narrows: true,
            seeks: true,
            small: true,
            shared: true,
        }
    }
}

impl Default for SqlOptions {
    fn default() -> Self {
        Self {
            memory_bytes: 1 << 30,
            session_memory_bytes: usize::MAX,
            statement_memory_bytes: usize::MAX,
            spill_bytes_max: 64 << 30,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            text_bytes_max: 64 << 20,
            point_statements: true,
            scan: ScanOptions::default(),
            writes: WriteOptions::default(),
        }
    }
}
