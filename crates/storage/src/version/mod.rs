//! Versions: which files a tree consists of at a moment.
//!
//! A [`TreeVersion`] is immutable and shared; every flush, compaction and bulk load makes the next
//! one through a [`VersionEdit`] that is synced in the manifest first ([`VersionSet::apply`]). A
//! file that leaves the last version using it is removed once nobody reads it ([`LiveFile`]).
//!
//! Level 0 is ordered newest first and its files overlap; the levels below are ordered by key and
//! theirs do not.

mod edit;
mod fields;
mod file;
mod files;
pub(crate) mod manifest;
mod version_set;

use std::sync::{Arc, OnceLock};

use silt_codec::ColumnId;

pub(crate) use edit::{AddedFile, RemovedFile, VersionEdit};
pub(crate) use file::{FileMeta, LiveFile, SweepQueue};
pub(crate) use files::{FileSet, TreeFiles};
pub(crate) use version_set::{VersionSet, manifests, read_files};

/// Levels of a tree, level 0 included.
pub(crate) const LEVELS: usize = 7;

/// The files of one tree at one moment.
#[derive(Clone, Debug)]
pub(crate) struct TreeVersion {
    /// `LEVELS` lists. Level 0: highest number first. Below: ascending by key, disjoint.
    pub(crate) levels: Vec<Vec<Arc<LiveFile>>>,
    debt: Once<u64>,
    distinct: Once<Vec<(ColumnId, u64)>>,
}

/// Worked out when first asked for; a copy is on its way to another version.
#[derive(Debug)]
struct Once<T>(OnceLock<T>);

impl<T> Default for Once<T> {
    fn default() -> Self {
        Self(OnceLock::new())
    }
}

impl<T> Clone for Once<T> {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Default for TreeVersion {
    fn default() -> Self {
        Self { levels: vec![Vec::new(); LEVELS], debt: Once::default(), distinct: Once::default() }
    }
}

impl TreeVersion {
    /// All files with their levels, level 0 first.
    pub(crate) fn files(&self) -> impl Iterator<Item = (usize, &Arc<LiveFile>)> {
        let level_files = |(level, files)| {
            let files: &Vec<Arc<LiveFile>> = files;
            files.iter().map(move |file| (level, file))
        };
        self.levels.iter().enumerate().flat_map(level_files)
    }

    /// What `work_out` says of this version, asked once.
    pub(crate) fn debt(&self, work_out: impl FnOnce(&Self) -> u64) -> u64 {
        *self.debt.0.get_or_init(|| work_out(self))
    }

    /// About how many values each column has, as `work_out` says of this version, asked once.
    pub(crate) fn distinct(
        &self,
        work_out: impl FnOnce(&Self) -> Vec<(ColumnId, u64)>,
    ) -> &[(ColumnId, u64)] {
        self.distinct.0.get_or_init(|| work_out(self))
    }

    /// Bytes of a level's files.
    pub(crate) fn level_bytes(&self, level: usize) -> u64 {
        self.levels[level].iter().map(|file| file.size).sum()
    }

    /// The files of `level` whose key range meets `start..=end`.
    pub(crate) fn overlapping(&self, level: usize, start: &[u8], end: &[u8]) -> Vec<Arc<LiveFile>> {
        let meets = |file: &&Arc<LiveFile>| *file.smallest <= *end && *file.largest >= *start;
        self.overlap_candidates(level, start).iter().filter(meets).cloned().collect()
    }

    /// Whether a file of `level` meets `start..=end`.
    pub(crate) fn overlaps(&self, level: usize, start: &[u8], end: &[u8]) -> bool {
        self.overlap_candidates(level, start)
            .iter()
            .any(|file| *file.smallest <= *end && *file.largest >= *start)
    }

    /// Level 0 whole; below, the files from the first that ends at or after `start`.
    fn overlap_candidates(&self, level: usize, start: &[u8]) -> &[Arc<LiveFile>] {
        let files = &self.levels[level];
        if level == 0 {
            return files;
        }
        &files[files.partition_point(|file| *file.largest < *start)..]
    }
}
