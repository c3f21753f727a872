//! [`SsTableWriter`]: entries in order become an SSTable.

use std::path::Path;
use std::sync::Arc;

use silt_codec::TreeSchema;

use super::{EntryBatch, SsTableReader};
use crate::version::FileMeta;
use crate::vfs::Env;
use crate::{Options, Result};

/// What became of a row group that was to be copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum CopyOutcome {
    /// It is in the file.
    Copied,
    /// It was encoded under another schema: decode it and append its entries.
    OtherSchema,
    /// The file would have too many symbol tables for a column: decode it and append its entries.
    SymbolTablesFull,
}

/// What a copied group's entries have as their number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CopySeq {
    /// What they had.
    Keep,
    /// 0 (RULES.md 19): for a group of one version a key.
    Zero,
}

/// Writes one SSTable. Dropped before [`finish`](Self::finish), it removes the file.
#[derive(Debug)]
pub(crate) struct SsTableWriter {}

#[expect(unused_variables, reason = "signatures first")]
impl SsTableWriter {
    /// Creates the file, which must not exist. Entries will have the columns of `schema`.
    pub(crate) fn create(
        env: &Env,
        path: &Path,
        id: u64,
        uuid: u128,
        schema: Arc<TreeSchema>,
        options: &Options,
    ) -> Result<Self> {
        todo!()
    }

    /// Appends entries, all behind those appended before.
    pub(crate) fn append(&mut self, entries: &EntryBatch) -> Result<()> {
        todo!()
    }

    /// Appends a row group as bytes, without decoding more than its keys. It must lie behind all
    /// entries so far; of groups that continue one another copy all, in order.
    pub(crate) fn copy_group(
        &mut self,
        from: &SsTableReader,
        group: usize,
        seq: CopySeq,
    ) -> Result<CopyOutcome> {
        todo!()
    }

    /// Bytes written so far; entries not yet in a group are not counted.
    pub(crate) fn bytes_written(&self) -> u64 {
        todo!()
    }

    /// Entries so far, those not yet in a group included.
    pub(crate) fn rows(&self) -> u64 {
        todo!()
    }

    /// Writes what is left and syncs the file. Its directory is the caller's to sync.
    ///
    /// # Errors
    /// `Internal` if there is no entry.
    pub(crate) fn finish(self) -> Result<FileMeta> {
        todo!()
    }

    /// Removes the file.
    pub(crate) fn abandon(self) {
        todo!()
    }
}
