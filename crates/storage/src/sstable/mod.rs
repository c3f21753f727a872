//! SSTables.

mod cache;
mod entries;
mod group;
mod reader;
mod writer;

pub(crate) use cache::BlockCache;
pub(crate) use entries::EntryBatch;
pub(crate) use group::RowGroup;
pub(crate) use reader::{GroupEntry, SsTableReader};
pub(crate) use writer::{CopyOutcome, CopySeq, SsTableWriter};

/// The hash by which filters know a key, or a key's first column.
pub(crate) fn key_hash(key: &[u8]) -> u64 {
    twox_hash::XxHash3_64::oneshot(key)
}
