//! [`Tree`]: the door through which rows of one tree leave the engine.
//!
//! Every call takes a [`ReadView`](crate::state::ReadView) of its own, one set of memtables and
//! files for as long as it runs, and sees no commit above its [`Snapshot`].

use std::sync::Arc;

use silt_codec::{KeyCodec, RowBuffer, RowCodec, Schemas, TreeSchema};

use crate::read::{self, KeyRange, MultiGet, ReadCounters, Scan, ScanRequest, TreeStatistics};
use crate::state::TreeState;
use crate::{Result, Snapshot, TreeId};

/// A handle on one tree. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tree {
    state: Arc<TreeState>,
}

impl Tree {
    pub(crate) fn new(state: Arc<TreeState>) -> Self {
        Self { state }
    }

    #[cfg(test)]
    pub(crate) fn state(&self) -> &Arc<TreeState> {
        &self.state
    }

    /// The tree's number.
    pub fn id(&self) -> TreeId {
        self.state.id()
    }

    /// The current schema: the columns that projections and predicates name by position.
    pub fn schema(&self) -> Arc<TreeSchema> {
        self.state.schema()
    }

    /// All versions of the schema.
    pub fn schemas(&self) -> Schemas {
        self.state.schemas()
    }

    /// Key bytes of this tree, whatever the version of its schema.
    pub fn key_codec(&self) -> Arc<KeyCodec> {
        self.state.key_codec()
    }

    /// Row bytes of the current schema.
    pub fn row_codec(&self) -> Arc<RowCodec> {
        self.state.row_codec()
    }

    /// Reads the row at `key`: whether there is one, and its columns at `projection` into `row`,
    /// which is emptied first.
    ///
    /// # Errors
    /// `Corrupt` with file and offset, or `Io`, if a file cannot be read.
    pub fn get(
        &self,
        key: &[u8],
        projection: &[usize],
        snapshot: &Snapshot,
        counters: &ReadCounters,
        row: &mut RowBuffer,
    ) -> Result<bool> {
        read::get(&self.state, key, projection, snapshot, counters, row)
    }

    /// Reads the rows at `keys`, in any order; each row group is visited once. A key asked for
    /// twice is answered twice.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn multi_get(
        &self,
        keys: &[Vec<u8>],
        projection: &[usize],
        snapshot: &Snapshot,
        counters: &ReadCounters,
    ) -> Result<MultiGet> {
        read::multi_get(&self.state, keys, projection, snapshot, counters)
    }

    /// The rows of `request.range` visible at `snapshot`, in key order if `request.order` asks for
    /// it.
    ///
    /// Each batch has `request.projection.len()` columns, in the projection's order and named by
    /// column id, and 1 to `request.batch_rows` rows. Rows that fail `request.filter` may be among
    /// them. The scan holds the snapshot and every file it reads.
    ///
    /// # Errors
    /// As [`get`](Self::get), now or while it runs.
    pub fn scan(&self, request: &ScanRequest, snapshot: &Snapshot) -> Result<Scan> {
        read::scan(&self.state, request, snapshot)
    }

    /// Cuts `range` into at most `max` ranges of about equal size: disjoint, ascending, together
    /// all of `range`, cut at the first keys of row groups. What memtables hold is not looked at.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn split(
        &self,
        range: &KeyRange,
        max: usize,
        snapshot: &Snapshot,
    ) -> Result<Vec<KeyRange>> {
        read::split(&self.state, range, max, snapshot)
    }

    /// Whether every section of `range` is raw, so that an ordered scan costs no more than an
    /// unordered one.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn is_settled(&self, range: &KeyRange, snapshot: &Snapshot) -> Result<bool> {
        read::is_settled(&self.state, range, snapshot)
    }

    /// About how many rows stand in other sources than the last: the lowest level's files, or the
    /// oldest file of level 0.
    pub fn rows_above(&self, snapshot: &Snapshot) -> u64 {
        read::rows_above(&self.state, snapshot)
    }

    /// About how many rows `range` holds: row groups that lie within it in part count by half.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn estimate_rows(&self, range: &KeyRange, snapshot: &Snapshot) -> Result<u64> {
        read::estimate_rows(&self.state, range, snapshot)
    }

    /// What is known of the tree without reading a file.
    pub fn statistics(&self, snapshot: &Snapshot) -> TreeStatistics {
        read::statistics(&self.state, snapshot)
    }
}
