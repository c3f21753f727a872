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

use std::ops::Bound;
use std::sync::Arc;

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
}

impl Default for TreeVersion {
    fn default() -> Self {
        Self { levels: vec![Vec::new(); LEVELS] }
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

    /// The lowest level with a file, if there is one.
    pub(crate) fn last_level(&self) -> Option<usize> {
        self.levels.iter().rposition(|files| !files.is_empty())
    }
}

/// Whether the keys `smallest..=largest` meet `range`.
pub(crate) fn range_meets(
    range: (&Bound<Vec<u8>>, &Bound<Vec<u8>>),
    smallest: &[u8],
    largest: &[u8],
) -> bool {
    let starts_before = match range.0 {
        Bound::Unbounded => true,
        Bound::Included(start) => largest >= start.as_slice(),
        Bound::Excluded(start) => largest > start.as_slice(),
    };
    let ends_after = match range.1 {
        Bound::Unbounded => true,
        Bound::Included(end) => smallest <= end.as_slice(),
        Bound::Excluded(end) => smallest < end.as_slice(),
    };
    starts_before && ends_after
}
