//! Planning an unordered scan without a merge: every source is read raw, each under the shadows of
//! those that are newer (DESIGN.md section 8, step 4).
//!
//! That wants readers who see all of every source, and pays where more than a few row groups are
//! read; other scans are planned in sections. Since what hides is decided from keys alone, before
//! and apart from values, the filter may leave out row groups of any source (RULES.md 22).

use std::sync::Arc;

use super::plan::Planner;
use super::shadow::{Newer, Shadows, Source};
use super::source::{Groups, open_file};
use crate::Result;
use crate::key::key_hash;
use crate::memtable::MemRun;
use crate::version::LiveFile;

/// Ranges that hold fewer than one in this many of the tree's row groups are merged: bitmaps are
/// worked out for whole groups, and memtables turned into columns as a whole.
const SHARE_MIN: usize = 64;

/// Rows of one source under its shadows.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    /// The number of its source; a source's layers follow one another in the key's order, and so do
    /// the numbers.
    pub(crate) source: usize,
    pub(crate) rows: LayerRows,
    pub(crate) shadows: Shadows,
}

#[derive(Clone, Debug)]
pub(crate) enum LayerRows {
    Groups(Groups),
    Run(Arc<MemRun>),
}

/// A memtable's runs are told apart by whether they are this reader's alone.
type Runs = Vec<(Arc<MemRun>, bool)>;

impl Planner<'_> {
    /// The layers of the range, whatever order; none if it must be read in another way.
    pub(crate) fn layers(&self) -> Result<Option<Vec<Layer>>> {
        if self.range.is_empty() || !self.is_wide()? {
            return Ok(None);
        }
        let Some(runs) = self.runs() else { return Ok(None) };
        let cache = &self.tree.context().shadows;
        let prefix_hash = self.prefix()?.map(key_hash);
        let mut layers = Vec::new();
        for (at, (run, _)) in runs.iter().enumerate() {
            let mut newer = Newer::new(self.snapshot);
            for (run, is_private) in &runs[..at] {
                newer.push(Source::Run(Arc::clone(run)), *is_private);
            }
            let shadows = Shadows::new(cache, &Source::Run(Arc::clone(run)), newer);
            layers.push(Layer { source: at, rows: LayerRows::Run(Arc::clone(run)), shadows });
        }
        for (at, (level, file)) in self.view.version.files().enumerate() {
            if !self.meets(file) {
                self.counters.files_pruned.add(1);
                continue;
            }
            // The files of a level below the first lie one behind the other.
            let source = match level {
                0 => runs.len() + at,
                _ => runs.len() + self.view.version.levels[0].len() + level,
            };
            if file.max_seq > self.snapshot {
                return Ok(None);
            }
            if !self.may_match_file(file)? {
                self.counters.files_pruned.add(1);
                continue;
            }
            let mut spans = Vec::new();
            self.add_groups(0, file, prefix_hash, &mut spans)?;
            let schema = self.schemas.current();
            let mut kept = Vec::with_capacity(spans.len());
            for span in spans {
                let Groups { reader, groups, .. } = &span.what;
                let may_match = match self.filter {
                    Some(filter) if groups.len() == 1 => filter
                        .may_match(&mut |column| reader.zone_map(groups.start, schema, column))?,
                    _ => true,
                };
                match may_match {
                    true => kept.push(span.what),
                    false => self.counters.groups_pruned.add(1),
                }
            }
            if kept.is_empty() {
                continue;
            }
            let mut newer = self.newer_than(level, file, &runs)?;
            if file.is_private() {
                newer = newer.than_private();
            }
            let older = Source::File(Arc::clone(&kept[0].reader), file.max_seq);
            let shadows = Shadows::new(cache, &older, newer);
            layers.extend(kept.into_iter().map(|groups| Layer {
                source,
                rows: LayerRows::Groups(groups),
                shadows: shadows.clone(),
            }));
        }
        Ok(Some(layers))
    }

    /// Whether the range holds enough of the tree, and no file that the snapshot sees in part.
    pub(super) fn is_wide(&self) -> Result<bool> {
        let (mut inside, mut all) = (0, 0);
        for (_, file) in self.view.version.files() {
            all += file.groups as usize;
            if !self.meets(file) {
                continue;
            }
            if file.max_seq > self.snapshot {
                return Ok(false);
            }
            let entries = open_file(self.tree.context(), self.schemas, file)?.groups();
            let start = entries.partition_point(|entry| self.range.is_after(&entry.last_key));
            let end = entries.partition_point(|entry| !self.range.is_before(&entry.first_key));
            inside += end.saturating_sub(start);
        }
        Ok(inside * SHARE_MIN >= all && (inside > 1 || *self.range == super::KeyRange::all()))
    }

    /// Whether the snapshot sees something of the file in the range.
    pub(super) fn meets(&self, file: &LiveFile) -> bool {
        !self.range.is_after(&file.largest)
            && !self.range.is_before(&file.smallest)
            && file.min_seq <= self.snapshot
    }

    /// What the snapshot sees of memtables, newest first; none if it stands between their runs.
    fn runs(&self) -> Option<Runs> {
        // Runs are windows of numbers above 0, where a transaction shows its rows if it began
        // before the first commit.
        if self.snapshot == 0 {
            return None;
        }
        let mut runs = Vec::new();
        for memtable in self.view.memtables.iter().filter(|memtable| !memtable.is_empty()) {
            let here = memtable.runs_at(self.snapshot)?;
            runs.extend(here.into_iter().map(|run| (run, memtable.is_private())));
        }
        Some(runs)
    }

    /// The sources newer than a file that hold keys between its first and its last.
    fn newer_than(&self, level: usize, file: &Arc<LiveFile>, runs: &Runs) -> Result<Newer> {
        let (first, last) = (&*file.smallest, &*file.largest);
        let mut newer = Newer::new(self.snapshot);
        for (run, is_private) in runs {
            if !run.within(first, last).is_empty() {
                newer.push(Source::Run(Arc::clone(run)), *is_private);
            }
        }
        let version = &self.view.version;
        let above = match level {
            0 => {
                let own = version.levels[0].iter().position(|other| other.id == file.id);
                &version.levels[0][..own.unwrap_or(0)]
            }
            _ => &version.levels[0][..],
        };
        let overlaps =
            |other: &&Arc<LiveFile>| *other.smallest <= *last && *other.largest >= *first;
        let mut files: Vec<Arc<LiveFile>> = above.iter().filter(overlaps).cloned().collect();
        for level in 1..level {
            files.extend(version.overlapping(level, first, last));
        }
        for other in files.iter().filter(|other| other.min_seq <= self.snapshot) {
            // Only files beside the range may be seen in part: they hide nothing in it.
            if other.max_seq > self.snapshot {
                newer.leave_out();
                continue;
            }
            let reader = open_file(self.tree.context(), self.schemas, other)?;
            newer.push(Source::File(Arc::clone(reader), other.max_seq), other.is_private());
        }
        Ok(newer)
    }
}
