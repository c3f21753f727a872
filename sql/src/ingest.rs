//! Batches from files into a table, through the same gate as every other row.

/// Where rows go.
#[derive(Clone, Debug, Default)]
pub struct IngestTarget {
    /// The table, `name` or `schema.name`.
    pub table: String,
    /// Columns of the primary key, for a table that is to be made; empty for none.
    pub key: Vec<String>,
    /// Makes the table from the rows' schema if it does not exist.
    pub create_if_missing: bool,
    /// What happens to a row whose key is there already.
    pub on_conflict: crate::AppendMode,
}

/// What became of the rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IngestCounts {
    /// Rows read.
    pub read: u64,
    /// Rows that are in the table now.
    pub written: u64,
    /// Rows left out because their key was there already (mode ignore).
    pub kept: u64,
}
