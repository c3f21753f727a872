//! [`VersionEdit`]: one step from a version to the next, as the manifest records it.

use silt_codec::TreeSchema;

use super::FileMeta;
use crate::{SeqNo, TreeId};

/// A file that enters a level.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AddedFile {
    /// The tree.
    pub(crate) tree: TreeId,
    /// The level.
    pub(crate) level: usize,
    /// The file, written and synced, its directory too.
    pub(crate) meta: FileMeta,
}

/// A file that leaves a level. A file moved between levels is removed here and added there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RemovedFile {
    /// The tree.
    pub(crate) tree: TreeId,
    /// The level.
    pub(crate) level: usize,
    /// The file's number.
    pub(crate) id: u64,
}

/// One change of the set of files and of what else the manifest holds; whole or absent.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct VersionEdit {
    /// Files that leave.
    pub(crate) removed: Vec<RemovedFile>,
    /// Files that enter.
    pub(crate) added: Vec<AddedFile>,
    /// Trees whose entries at or below a number are all in files now.
    pub(crate) flushed: Vec<(TreeId, SeqNo)>,
    /// The compaction's floor by tree: no read below it any more (RULES.md 25).
    pub(crate) floors: Vec<(TreeId, SeqNo)>,
    /// Bulk commits whose files this edit places (RULES.md 12).
    pub(crate) applied_bulk: Vec<SeqNo>,
    /// Schemas registered: the first of a tree registers the tree.
    pub(crate) schemas: Vec<(TreeId, TreeSchema)>,
    /// Trees that are gone, with their files.
    pub(crate) dropped_trees: Vec<TreeId>,
    /// The first log segment that replay needs.
    pub(crate) first_segment: Option<u64>,
}
