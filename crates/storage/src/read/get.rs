//! [`get`]: one row by its key.

use silt_codec::RowBuffer;

use super::ReadCounters;
use crate::state::TreeState;
use crate::{Result, SeqNo};

/// See [`Tree::get`](crate::Tree::get).
pub(crate) fn get(
    tree: &TreeState,
    key: &[u8],
    projection: &[usize],
    snapshot: SeqNo,
    counters: &ReadCounters,
    row: &mut RowBuffer,
) -> Result<bool> {
    let _ = (tree, key, projection, snapshot, counters, row);
    todo!()
}
