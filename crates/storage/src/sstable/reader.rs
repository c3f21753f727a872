//! [`SsTableReader`]: an SSTable opened for reading.

use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use silt_codec::{Schemas, TreeSchema, ZoneMap};

use super::{BlockCache, RowGroup};
use crate::version::FileMeta;
use crate::vfs::Env;
use crate::{Result, SeqNo};

/// What the index says of one row group.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct GroupEntry {
    /// The user key of its first entry.
    pub(crate) first_key: Box<[u8]>,
    /// The user key of its last entry.
    pub(crate) last_key: Box<[u8]>,
    /// Where it starts in the file.
    pub(crate) offset: u64,
    /// Its bytes.
    pub(crate) length: u32,
    /// Its header's bytes.
    pub(crate) header_length: u32,
    /// Where its key and hidden chunks end, from its start.
    pub(crate) key_end: u32,
    /// Entries, deletes included.
    pub(crate) rows: u32,
    /// Entries that are deletes.
    pub(crate) deletes: u32,
    /// The lowest number; the file's own number in a bulk file.
    pub(crate) min_seq: SeqNo,
    /// The highest number.
    pub(crate) max_seq: SeqNo,
    /// The schema version it was encoded under.
    pub(crate) schema_version: u32,
    /// No key has two entries in it.
    pub(crate) one_version: bool,
    /// It goes on with versions of the key that the group before ends with (RULES.md 18).
    pub(crate) continued: bool,
}

/// An SSTable opened for reading: index in memory, filters and zone maps read when first asked
/// for, row groups through the cache. Shared by threads.
#[derive(Debug)]
pub(crate) struct SsTableReader {}

#[expect(unused_variables, reason = "signatures first")]
impl SsTableReader {
    /// Reads footer and index.
    ///
    /// # Errors
    /// `Corrupt`, with file and offset, for a file that is not the one `meta` was written for.
    pub(crate) fn open(
        env: &Env,
        path: &Path,
        meta: &FileMeta,
        uuid: u128,
        schemas: &Schemas,
        cache: Arc<BlockCache>,
    ) -> Result<Self> {
        todo!()
    }

    /// The file's number.
    pub(crate) fn id(&self) -> u64 {
        todo!()
    }

    /// Bytes of index, filters and zone maps in memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        todo!()
    }

    /// The row groups in key order.
    pub(crate) fn groups(&self) -> &[GroupEntry] {
        todo!()
    }

    /// Whether the key of this hash ([`key_hash`](super::key_hash)) may be here. False is certain.
    pub(crate) fn may_contain(&self, hash: u64) -> Result<bool> {
        todo!()
    }

    /// Whether a key whose first column's bytes have this hash may be here. False is certain.
    pub(crate) fn may_contain_prefix(&self, hash: u64) -> Result<bool> {
        todo!()
    }

    /// The group where `key` is or would be: the last that starts at or before it, and of groups
    /// that continue one another the first. None if `key` is below the file.
    pub(crate) fn find_group(&self, key: &[u8]) -> Option<usize> {
        todo!()
    }

    /// The groups that stand as one with `group`: itself and those that continue it, or that it
    /// continues.
    pub(crate) fn chain(&self, group: usize) -> Range<usize> {
        todo!()
    }

    /// A row group, its columns being positions in `schema`. `columns` are those soon wanted: what
    /// is missing of them is read now, neighbours together; others are read when asked for.
    pub(crate) fn group(
        &self,
        group: usize,
        schema: &Arc<TreeSchema>,
        columns: &[usize],
    ) -> Result<RowGroup> {
        todo!()
    }

    /// Reads what is missing of `columns` of the groups into the cache, for a scan that will come
    /// by.
    pub(crate) fn read_ahead(
        &self,
        groups: Range<usize>,
        schema: &Arc<TreeSchema>,
        columns: &[usize],
    ) -> Result<()> {
        todo!()
    }

    /// The zone map of the column at `column` of `schema` in a group; of its frozen value if the
    /// group lacks it; none if nothing is known.
    pub(crate) fn zone_map(
        &self,
        group: usize,
        schema: &TreeSchema,
        column: usize,
    ) -> Result<Option<Cow<'_, ZoneMap>>> {
        todo!()
    }
}
