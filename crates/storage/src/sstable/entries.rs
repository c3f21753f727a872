//! [`EntryBatch`]: entries as columns, on their way into or out of an SSTable.

use arrow_array::ArrayRef;
use silt_codec::KeyBuffer;

use crate::{OpKind, SeqNo};

/// Entries in key order, newest first within a key.
///
/// Into an SSTable go all columns of the writer's schema; out of one come those asked for. A
/// delete has NULL in every column behind the key.
#[derive(Clone, Debug, Default)]
pub(crate) struct EntryBatch {
    /// The user key of each entry.
    pub(crate) keys: KeyBuffer,
    /// Columns of as many rows as there are keys.
    pub(crate) columns: Vec<ArrayRef>,
    /// The number of each entry.
    pub(crate) seqs: Vec<SeqNo>,
    /// What each entry does.
    pub(crate) kinds: Vec<OpKind>,
}

impl EntryBatch {
    /// The number of entries.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is no entry.
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}
