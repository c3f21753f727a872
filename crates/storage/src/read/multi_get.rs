//! [`multi_get`]: many rows by their keys.

use arrow_array::RecordBatch;

use super::ReadCounters;
use crate::state::TreeState;
use crate::{Result, SeqNo};

/// The rows that [`Tree::multi_get`](crate::Tree::multi_get) found.
#[derive(Clone, Debug)]
pub struct MultiGet {
    /// The rows found, in key order: the projection's columns, named by column id.
    pub batch: RecordBatch,
    /// For each row, the position of its key among those asked for.
    pub positions: Vec<u32>,
}

/// See [`Tree::multi_get`](crate::Tree::multi_get).
pub(crate) fn multi_get(
    tree: &TreeState,
    keys: &[Vec<u8>],
    projection: &[usize],
    snapshot: SeqNo,
    counters: &ReadCounters,
) -> Result<MultiGet> {
    let _ = (tree, keys, projection, snapshot, counters);
    todo!()
}
