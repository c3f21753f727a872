//! [`RowGroup`]: one row group opened for reading.

use std::ops::Range;

use silt_codec::{ColumnChunk, KeyCodec, RowBuffer};

use super::EntryBatch;
use crate::{OpKind, Result, SeqNo};

/// One row group, seen through one version of the tree's schema: columns are positions in it.
///
/// Chunks are read when first wanted and stay with the cached group. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct RowGroup {}

#[expect(unused_variables, reason = "signatures first")]
impl RowGroup {
    /// The number of entries.
    pub(crate) fn rows(&self) -> usize {
        todo!()
    }

    /// A column's chunk, read now if it was not yet. A column that the group lacks is a chunk of
    /// its frozen value.
    pub(crate) fn chunk(&self, column: usize) -> Result<&ColumnChunk> {
        todo!()
    }

    /// The first row whose key is not below `values`, the key's first columns or all of them.
    pub(crate) fn lower_bound(&self, values: &RowBuffer) -> Result<usize> {
        todo!()
    }

    /// The rows whose key begins with `values`: all versions of a key, newest first, or all rows
    /// of a key prefix.
    pub(crate) fn find(&self, values: &RowBuffer) -> Result<Range<usize>> {
        todo!()
    }

    /// The first row whose key is not below `key`, any bytes. Slower than `lower_bound`: encodes
    /// the keys it meets.
    pub(crate) fn lower_bound_bytes(&self, codec: &KeyCodec, key: &[u8]) -> Result<usize> {
        todo!()
    }

    /// Appends the key of `row` to `key`.
    pub(crate) fn key_at(&self, codec: &KeyCodec, row: usize, key: &mut Vec<u8>) -> Result<()> {
        todo!()
    }

    /// The number of the entry at `row`.
    pub(crate) fn seq(&self, row: usize) -> Result<SeqNo> {
        todo!()
    }

    /// What the entry at `row` does.
    pub(crate) fn kind(&self, row: usize) -> Result<OpKind> {
        todo!()
    }

    /// The first row of `rows`, versions of one key newest first, whose number is at most
    /// `snapshot`; none if all are newer.
    pub(crate) fn visible(&self, rows: Range<usize>, snapshot: SeqNo) -> Result<Option<usize>> {
        todo!()
    }

    /// The number that all entries have, if it is one.
    pub(crate) fn constant_seq(&self) -> Option<SeqNo> {
        todo!()
    }

    /// What all entries do, if it is one thing.
    pub(crate) fn constant_kind(&self) -> Option<OpKind> {
        todo!()
    }

    /// The numbers of `rows`.
    pub(crate) fn seqs(&self, rows: Range<usize>) -> Result<Vec<SeqNo>> {
        todo!()
    }

    /// What the entries at `rows` do.
    pub(crate) fn kinds(&self, rows: Range<usize>) -> Result<Vec<OpKind>> {
        todo!()
    }

    /// The entries at `rows`, with the columns at `projection`.
    pub(crate) fn entries(
        &self,
        codec: &KeyCodec,
        rows: Range<usize>,
        projection: &[usize],
    ) -> Result<EntryBatch> {
        todo!()
    }
}
