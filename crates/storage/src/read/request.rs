//! What a scan is asked for: [`ScanRequest`], with its [`KeyRange`], [`ScanOrder`] and
//! [`Predicate`].

use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use silt_codec::{CompareOp, Value, successor};

use super::ReadCounters;
use crate::Result;

/// A stretch of user keys, as bytes of the tree's [`KeyCodec`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    /// Where it begins.
    pub start: Bound<Vec<u8>>,
    /// Where it ends.
    pub end: Bound<Vec<u8>>,
}

impl KeyRange {
    /// Every key.
    pub fn all() -> Self {
        Self { start: Bound::Unbounded, end: Bound::Unbounded }
    }

    /// One key.
    pub fn point(key: Vec<u8>) -> Self {
        Self { start: Bound::Included(key.clone()), end: Bound::Included(key) }
    }

    /// The keys that begin with `prefix`, such as the encoding of the first key columns.
    pub fn prefix(prefix: Vec<u8>) -> Self {
        let mut end = prefix.clone();
        let end = if successor(&mut end) { Bound::Excluded(end) } else { Bound::Unbounded };
        Self { start: Bound::Included(prefix), end }
    }

    /// The same range, borrowed.
    pub fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        (self.start.as_ref().map(Vec::as_slice), self.end.as_ref().map(Vec::as_slice))
    }

    /// Whether `key` lies within.
    pub fn contains(&self, key: &[u8]) -> bool {
        !self.is_after(key) && !self.is_before(key)
    }

    /// Whether the whole range lies after `key`.
    pub fn is_after(&self, key: &[u8]) -> bool {
        match &self.start {
            Bound::Included(start) => key < start.as_slice(),
            Bound::Excluded(start) => key <= start.as_slice(),
            Bound::Unbounded => false,
        }
    }

    /// Whether the whole range lies before `key`.
    pub fn is_before(&self, key: &[u8]) -> bool {
        match &self.end {
            Bound::Included(end) => key > end.as_slice(),
            Bound::Excluded(end) => key >= end.as_slice(),
            Bound::Unbounded => false,
        }
    }

    /// The keys that lie within both.
    pub fn meet(&self, other: &Self) -> Self {
        let start = match (&self.start, &other.start) {
            (Bound::Unbounded, start) | (start, Bound::Unbounded) => start.clone(),
            (Bound::Excluded(a), Bound::Included(b)) if a == b => Bound::Excluded(a.clone()),
            (Bound::Included(a) | Bound::Excluded(a), Bound::Included(b) | Bound::Excluded(b)) => {
                if a > b {
                    self.start.clone()
                } else {
                    other.start.clone()
                }
            }
        };
        let end = match (&self.end, &other.end) {
            (Bound::Unbounded, end) | (end, Bound::Unbounded) => end.clone(),
            (Bound::Excluded(a), Bound::Included(b)) if a == b => Bound::Excluded(a.clone()),
            (Bound::Included(a) | Bound::Excluded(a), Bound::Included(b) | Bound::Excluded(b)) => {
                if a < b {
                    self.end.clone()
                } else {
                    other.end.clone()
                }
            }
        };
        Self { start, end }
    }

    /// The keys of this range from `first` to `last`.
    pub(crate) fn within(&self, first: &[u8], last: &[u8]) -> Self {
        let start =
            if self.is_after(first) { self.start.clone() } else { Bound::Included(first.to_vec()) };
        let end =
            if self.is_before(last) { self.end.clone() } else { Bound::Included(last.to_vec()) };
        Self { start, end }
    }

    /// Whether no key can lie within.
    pub fn is_empty(&self) -> bool {
        match (&self.start, &self.end) {
            (Bound::Unbounded, Bound::Excluded(end)) => end.is_empty(),
            (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
            (Bound::Included(start), Bound::Included(end)) => start > end,
            (Bound::Included(start) | Bound::Excluded(start), Bound::Excluded(end))
            | (Bound::Excluded(start), Bound::Included(end)) => start >= end,
        }
    }
}

/// The order of a scan's rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ScanOrder {
    /// Whatever is cheapest; never more costly than `Forward`.
    #[default]
    Unordered,
    /// Ascending by key bytes, across all batches.
    Forward,
    /// Descending by key bytes, across all batches.
    Reverse,
}

/// A condition on columns, by their positions in the tree's current schema.
///
/// A predicate only ever *spares* work: rows that fail may come all the same, rows that pass
/// always come, and NULL counts as failing. A failing row still hides the older versions of its
/// key (RULES.md 22).
#[derive(Clone, Debug, PartialEq)]
pub enum Predicate {
    /// The column compares so with the value, in the column's own type.
    Compare {
        /// The column's position.
        column: usize,
        /// How.
        op: CompareOp,
        /// With what; never NULL.
        value: Value,
    },
    /// The column equals one of the values.
    In {
        /// The column's position.
        column: usize,
        /// The values; never NULL.
        values: Vec<Value>,
    },
    /// The column is NULL.
    IsNull(usize),
    /// The column is not NULL.
    IsNotNull(usize),
    /// The text begins with this.
    StartsWith {
        /// The column's position; a text column.
        column: usize,
        /// What it begins with.
        prefix: String,
    },
    /// All hold.
    And(Vec<Predicate>),
    /// At least one holds.
    Or(Vec<Predicate>),
}

/// What [`Tree::scan`](crate::Tree::scan) is asked for.
#[derive(Clone, Debug)]
pub struct ScanRequest {
    /// The keys looked at.
    pub range: KeyRange,
    /// Columns given out, by their positions in the tree's current schema. None at all is
    /// allowed: the batches then only count rows.
    pub projection: Vec<usize>,
    /// Rows that fail may be left out; they are if `exact`.
    pub filter: Option<Predicate>,
    /// No row comes that fails `filter`, which compares no floats.
    pub exact: bool,
    /// Whether rows that newer sources hide may be found by bitmaps instead of a merge. Default
    /// true; a scan in order always merges.
    pub shadows: bool,
    /// The order of rows.
    pub order: ScanOrder,
    /// No more rows than this. Not looked at where there is a `filter` that is not `exact`: rows
    /// that fail it may be among those given out.
    pub limit: Option<usize>,
    /// No batch has more rows than this.
    pub batch_rows: usize,
    /// A merge reads so many rows of a source at first, and more each time it comes back; no fewer
    /// than one. Default 32.
    pub part_rows: usize,
    /// Where the work is counted.
    pub counters: Arc<ReadCounters>,
    /// Whom the scan asks whether it may go on. Default: nobody.
    pub watch: Option<Arc<dyn ScanWatch>>,
}

/// Is asked by a scan before each row group that it reads, since it may read many without giving a
/// row, and by a bulk load before each that it writes.
pub trait ScanWatch: fmt::Debug + Send + Sync {
    /// Whether the scan, or the load, may go on.
    ///
    /// # Errors
    /// What it ends with.
    fn go_on(&self) -> Result<()>;
}

impl ScanRequest {
    /// All rows of `range`, unordered, in batches of 8,192.
    pub fn new(range: KeyRange, projection: Vec<usize>) -> Self {
        Self {
            range,
            projection,
            filter: None,
            exact: false,
            shadows: true,
            order: ScanOrder::Unordered,
            limit: None,
            batch_rows: 8_192,
            part_rows: 32,
            counters: Arc::default(),
            watch: None,
        }
    }
}
