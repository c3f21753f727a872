//! What is known of a tree without reading its rows: [`statistics`], [`split`], [`is_settled`].

use silt_codec::ZoneMap;

use super::KeyRange;
use crate::state::TreeState;
use crate::{Result, SeqNo};

/// What [`Tree::statistics`](crate::Tree::statistics) knows.
#[derive(Clone, Debug)]
pub struct TreeStatistics {
    /// Rows visible; an estimate unless `rows_exact`.
    pub rows: u64,
    /// Whether `rows` is what a scan would count.
    pub rows_exact: bool,
    /// Bytes in files and memtables.
    pub bytes: u64,
    /// What each column of the current schema holds, as far as files tell; none if nothing is
    /// known.
    pub columns: Vec<Option<ZoneMap>>,
    /// Whether the bounds in `columns` hold for every visible row; not while there are rows in
    /// memtables.
    pub columns_cover: bool,
}

/// See [`Tree::statistics`](crate::Tree::statistics).
pub(crate) fn statistics(tree: &TreeState, snapshot: SeqNo) -> TreeStatistics {
    let _ = (tree, snapshot);
    todo!()
}

/// See [`Tree::split`](crate::Tree::split).
pub(crate) fn split(
    tree: &TreeState,
    range: &KeyRange,
    max: usize,
    snapshot: SeqNo,
) -> Result<Vec<KeyRange>> {
    let _ = (tree, range, max, snapshot);
    todo!()
}

/// See [`Tree::is_settled`](crate::Tree::is_settled).
pub(crate) fn is_settled(tree: &TreeState, range: &KeyRange, snapshot: SeqNo) -> Result<bool> {
    let _ = (tree, range, snapshot);
    todo!()
}
