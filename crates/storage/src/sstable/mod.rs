//! SSTables: immutable files of entries in key order, stored by columns.
//!
//! On the write path a flush, a compaction or a bulk load gives entries in order to a
//! [`SsTableWriter`], which cuts them into row groups, encodes each column of a group by itself
//! and answers with the [`FileMeta`](crate::version::FileMeta) that goes into the manifest. On the
//! read path an [`SsTableReader`] finds the row group of a key in its index, and a [`RowGroup`]
//! answers single values, searches and ranges on the encoded chunks, which the [`BlockCache`]
//! keeps as they are on disk.
//!
//! ```text
//! file      = header 64 | row group 0 | row group 1 | ... | symbol tables | range deletes
//!           | key filter | prefix filter | row-group index | statistics | schema | footer 256
//!
//! header    = magic 8 | format version 4 | checksum algorithm 1 | 0 3 | database 16 | file 8
//!           | 0 16 | checksum 8
//! row group = header | chunk | chunk | ...          key columns, _seq, _kind, other columns
//!   header  = magic 4 | schema version 4 | rows 4 | key columns 2 | chunks 2 | tables 4 | pieces 4
//!           | chunks × (column 4 | encoding 1 | tables 1 | front pieces 2 | offset 4 | length 4
//!           | checksum 8) | tables × name 8 | pieces × checksum 8 | checksum 8
//! footer    = magic 8 | format version 4 | key codec 1 | checksum algorithm 1 | 0 2 | database 16
//!           | file 8 | rows 8 | groups 4 | schema version 4
//!           | 7 blocks × (offset 8 | length 8 | checksum 8) | 0 24 | checksum 8
//! ```
//!
//! Sizes are in bytes, numbers little-endian; groups, chunks and blocks begin at multiples of
//! eight. `_seq` and `_kind` are absent where all entries of the group have the same: the index
//! says which.
//!
//! **A row group is position-free**: offsets count from its start, symbol tables are named by
//! their content's hash, chunk checksums are over bytes alone. Only its header's checksum is
//! mixed with database, file and offset, as those of all other blocks are. So what stands in the
//! wrong place fails by its header, and a chunk in the wrong group by the checksum in the header;
//! a copy changes eight bytes. Trust comes from the manifest: it holds the footer's checksum, the
//! footer those of the index and the other blocks.
//!
//! **A chunk is read whole, or by pieces.** A long chunk of strings has a checksum for each 4 KiB as
//! well, by which a get reads its front and the few bytes of one string (`point.rs`). Either way
//! no byte is read that was not checked when it came from the file.
//!
//! **All versions of a key lie in one group.** If they exceed a group's limit, they fill groups of
//! their own, each but the first marked *continued* (RULES.md 18).

mod bloom;
mod cache;
mod checksum;
mod entries;
mod file;
mod footer;
mod group;
mod group_header;
mod index;
mod input;
pub(crate) mod inspect;
mod point;
mod reader;
mod sketch;
mod statistics;
#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "small random numbers")]
mod tests;
mod writer;

pub(crate) use cache::BlockCache;
pub(crate) use entries::EntryBatch;
pub(crate) use group::RowGroup;
pub(crate) use index::GroupEntry;
pub(crate) use reader::SsTableReader;
pub(crate) use sketch::{Sketch, hash_values};
pub(crate) use writer::{CopyOutcome, CopySeq, SsTableWriter, Unsynced};

/// Groups, chunks and blocks begin at multiples of this.
const ALIGNMENT: usize = 8;

/// Appends zeroes until `bytes` ends at a multiple of [`ALIGNMENT`].
fn align(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
}
