//! What is known of a tree without reading its rows: [`statistics`], [`estimate_rows`], [`split`],
//! [`is_settled`], [`rows_above`].

use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use silt_codec::{ColumnId, ZoneMap};

use super::plan::{Planner, Reading};
use super::source::open_file;
use super::summary::summary;
use super::{KeyRange, ReadCounters};
use crate::memtable::MemSummary;
use crate::sstable::Sketch;
use crate::state::{ReadView, TreeState};
use crate::version::{LiveFile, TreeVersion};
use crate::{Result, Snapshot};

/// What [`Tree::statistics`](crate::Tree::statistics) knows.
#[derive(Clone, Debug)]
pub struct TreeStatistics {
    /// Rows visible; an estimate unless `rows_exact`.
    pub rows: u64,
    /// Whether `rows` is what a scan would count.
    pub rows_exact: bool,
    /// Bytes in files and memtables.
    pub bytes: u64,
    /// What each column of the current schema holds, as far as files tell, and memtables where
    /// they hold much of the tree; none if nothing is known.
    pub columns: Vec<Option<ZoneMap>>,
    /// Whether the bounds in `columns` hold for every visible row; not while there are rows in
    /// memtables. Counts are exact only with `rows_exact` too.
    pub columns_cover: bool,
    /// About how many values each column of the current schema has; none where nothing tells.
    pub distinct: Vec<Option<u64>>,
}

/// A memtable with fewer rows than one for so many in files is not looked at.
const MEMTABLE_PART: u64 = 8;

/// See [`Tree::statistics`](crate::Tree::statistics).
pub(crate) fn statistics(tree: &TreeState, snapshot: &Snapshot) -> TreeStatistics {
    let view = snapshot.view_of(tree);
    let snapshot = snapshot.seq();
    let schema = tree.schema();
    let files: Vec<&Arc<LiveFile>> = view.version.files().map(|(_, file)| file).collect();

    // Deletes are taken to hide one row each, later versions to be new rows.
    let mut rows = 0_i64;
    let mut bytes = 0;
    for file in &files {
        rows = rows.saturating_add_unsigned(file.rows).saturating_sub_unsigned(2 * file.deletes);
        bytes += file.size;
    }
    let file_rows: u64 = files.iter().map(|file| file.rows).sum();
    let memtable_rows: u64 = view.memtables.iter().map(|memtable| memtable.len() as u64).sum();
    let summary = memtable_summary(tree, &view, file_rows);
    for memtable in &view.memtables {
        let (entries, deletes) = (memtable.len() as u64, memtable.deletes() as u64);
        rows = match &summary {
            // Versions of a key are one row, and where there are no files a delete hides none.
            Some(known) => rows
                .saturating_add_unsigned(known.rows_of(entries))
                .saturating_sub_unsigned(if files.is_empty() { 0 } else { deletes }),
            None => rows.saturating_add_unsigned(entries).saturating_sub_unsigned(2 * deletes),
        };
        bytes += memtable.bytes() as u64;
    }
    let is_plain =
        |file: &&Arc<LiveFile>| file.deletes == 0 && file.one_version && file.max_seq <= snapshot;
    let rows_exact = memtable_rows == 0 && files.iter().all(is_plain) && are_disjoint(&files);
    let column = |column: &silt_codec::TreeColumn| {
        let mut whole = summary.as_ref().and_then(|known| known.zone(column.id));
        for file in &files {
            let (_, zone) = file.columns.iter().find(|(id, _)| *id == column.id)?;
            match &mut whole {
                Some(whole) => whole.merge(zone),
                None => whole = Some(zone.clone()),
            }
        }
        whole
    };
    TreeStatistics {
        rows: u64::try_from(rows).unwrap_or(0),
        rows_exact,
        bytes,
        columns: schema.columns.iter().map(column).collect(),
        columns_cover: memtable_rows == 0,
        distinct: distinct(tree, &view, memtable_rows, summary.as_deref()),
    }
}

/// What the largest memtable is like, if it is no small part of the tree: else all is taken to be
/// as files say.
fn memtable_summary(tree: &TreeState, view: &ReadView, file_rows: u64) -> Option<Arc<MemSummary>> {
    let largest = view.memtables.iter().max_by_key(|memtable| memtable.len())?;
    let counts = !largest.is_empty() && largest.len() as u64 >= file_rows / MEMTABLE_PART;
    let asked = counts && tree.context().options.paths.memtable_statistics;
    asked.then(|| summary(largest, &tree.schemas()))
}

/// About how many values each column has. What is known of most rows is taken to hold for all.
fn distinct(
    tree: &TreeState,
    view: &ReadView,
    memtable_rows: u64,
    summary: Option<&MemSummary>,
) -> Vec<Option<u64>> {
    let file_rows: u64 = view.version.files().map(|(_, file)| file.rows).sum();
    match summary {
        Some(known) if known.rows > file_rows => {
            let others = (file_rows + memtable_rows).saturating_sub(known.entries);
            let of = |column: &silt_codec::TreeColumn| {
                Some(with_more(known.distinct(column.id)?, known.rows, known.rows_of(others)))
            };
            tree.schema().columns.iter().map(of).collect()
        }
        _ => distinct_in_files(tree, &view.version, file_rows, memtable_rows),
    }
}

/// About how many values there are with so many more rows, which bring new ones as far as those in
/// `rows` are new each.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an estimate")]
fn with_more(distinct: u64, rows: u64, more: u64) -> u64 {
    let part = distinct as f64 / rows.max(1) as f64;
    distinct + (more as f64 * part.min(1.0).powi(2)) as u64
}

fn distinct_in_files(
    tree: &TreeState,
    version: &TreeVersion,
    file_rows: u64,
    memtable_rows: u64,
) -> Vec<Option<u64>> {
    if !tree.context().options.paths.sketches {
        return Vec::new();
    }
    let schemas = tree.schemas();
    let counts = version.distinct(|version| {
        let mut sketches: Vec<(ColumnId, Option<Sketch>)> = Vec::new();
        for (_, file) in version.files() {
            // Estimates are no reason to fail: who reads the rows will hear of it.
            let Ok(reader) = open_file(tree.context(), &schemas, file) else { return Vec::new() };
            let Ok(Some(here)) = reader.sketches() else { return Vec::new() };
            for column in &tree.schema().columns {
                let sketch = here.column(column.id);
                match sketches.iter_mut().find(|(id, _)| *id == column.id) {
                    Some((_, place)) => match (&mut *place, sketch) {
                        (Some(whole), Some(sketch)) => whole.merge(sketch),
                        _ => *place = None,
                    },
                    None => sketches.push((column.id, sketch.cloned())),
                }
            }
        }
        let count = |(id, sketch): (ColumnId, Option<Sketch>)| Some((id, sketch?.count()));
        sketches.into_iter().filter_map(count).collect()
    });
    let of = |column: &silt_codec::TreeColumn| {
        let (_, count) = counts.iter().find(|(id, _)| *id == column.id)?;
        Some(with_more(*count, file_rows, memtable_rows))
    };
    tree.schema().columns.iter().map(of).collect()
}

fn are_disjoint(files: &[&Arc<LiveFile>]) -> bool {
    let mut by_key = files.to_vec();
    by_key.sort_by(|a, b| a.smallest.cmp(&b.smallest));
    by_key.windows(2).all(|pair| pair[0].largest < pair[1].smallest)
}

/// Entries of a memtable that are counted one by one before the rest is guessed.
const ENTRIES_COUNTED: u64 = 64;

/// See [`Tree::estimate_rows`](crate::Tree::estimate_rows).
pub(crate) fn estimate_rows(
    tree: &TreeState,
    range: &KeyRange,
    snapshot: &Snapshot,
) -> Result<u64> {
    if range.is_empty() {
        return Ok(0);
    }
    let view = snapshot.view_of(tree);
    let snapshot = snapshot.seq();
    let schemas = tree.schemas();
    let mut rows = 0;
    for (_, file) in view.version.files() {
        if range.is_after(&file.largest) || range.is_before(&file.smallest) {
            continue;
        }
        if file.min_seq > snapshot {
            continue;
        }
        if range.contains(&file.smallest) && range.contains(&file.largest) {
            rows += file.rows;
            continue;
        }
        let reader = open_file(tree.context(), &schemas, file)?;
        let groups = reader.groups();
        let start = groups.partition_point(|group| range.is_after(&group.last_key));
        let end = groups.partition_point(|group| !range.is_before(&group.first_key));
        for group in groups.get(start..end).unwrap_or_default() {
            let whole = range.contains(&group.first_key) && range.contains(&group.last_key);
            rows += u64::from(if whole { group.rows } else { group.rows / 2 });
        }
    }
    for memtable in &view.memtables {
        let mut counted = 0;
        memtable.visit(range.bounds(), false, |_| {
            counted += 1;
            if counted < ENTRIES_COUNTED {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        });
        rows += if counted < ENTRIES_COUNTED { counted } else { memtable.len() as u64 / 2 };
    }
    Ok(rows)
}

/// See [`Tree::split`](crate::Tree::split).
pub(crate) fn split(
    tree: &TreeState,
    range: &KeyRange,
    max: usize,
    snapshot: &Snapshot,
) -> Result<Vec<KeyRange>> {
    if range.is_empty() {
        return Ok(Vec::new());
    }
    let weights = if max > 1 { weights(tree, range, snapshot)? } else { Vec::new() };
    let total: u64 = weights.iter().map(|(_, bytes)| bytes).sum();
    let mut ranges = Vec::new();
    let mut start = range.start.clone();
    let mut before = 0;
    for (key, bytes) in weights {
        // The border that leaves closest to an even share behind it.
        let due = total * (ranges.len() as u64 + 1) / max.max(1) as u64;
        if before + bytes / 2 >= due
            && before > 0
            && ranges.len() + 1 < max
            && is_inside(range, &start, &key)
        {
            let end = std::mem::replace(&mut start, Bound::Included(key.to_vec()));
            ranges.push(KeyRange { start: end, end: Bound::Excluded(key.to_vec()) });
        }
        before += bytes;
    }
    ranges.push(KeyRange { start, end: range.end.clone() });
    Ok(ranges)
}

/// Whether `key` leaves keys on both sides of it.
fn is_inside(range: &KeyRange, start: &Bound<Vec<u8>>, key: &[u8]) -> bool {
    let first = KeyRange { start: start.clone(), end: Bound::Excluded(key.to_vec()) };
    !first.is_empty() && range.contains(key)
}

/// The first keys of row groups that meet the range, ascending, each with its group's bytes.
fn weights(
    tree: &TreeState,
    range: &KeyRange,
    snapshot: &Snapshot,
) -> Result<Vec<(Box<[u8]>, u64)>> {
    let view = snapshot.view_of(tree);
    let snapshot = snapshot.seq();
    let schemas = tree.schemas();
    let mut weights = Vec::new();
    for (_, file) in view.version.files() {
        let meets = !range.is_after(&file.largest) && !range.is_before(&file.smallest);
        if !meets || file.min_seq > snapshot {
            continue;
        }
        let reader = open_file(tree.context(), &schemas, file)?;
        for entry in reader.groups() {
            if !range.is_after(&entry.last_key) && !range.is_before(&entry.first_key) {
                weights.push((entry.first_key.clone(), u64::from(entry.length)));
            }
        }
    }
    weights.sort();
    Ok(weights)
}

/// See [`Tree::rows_above`](crate::Tree::rows_above).
pub(crate) fn rows_above(tree: &TreeState, snapshot: &Snapshot) -> u64 {
    let view = snapshot.view_of(tree);
    let memtables: u64 = view.memtables.iter().map(|memtable| memtable.len() as u64).sum();
    let files: Vec<(usize, u64)> =
        view.version.files().map(|(level, file)| (level, file.rows)).collect();
    let all: u64 = files.iter().map(|(_, rows)| rows).sum();
    let lowest: u64 = match files.last() {
        Some((0, rows)) => *rows,
        Some((last, _)) => {
            files.iter().filter(|(level, _)| level == last).map(|(_, rows)| rows).sum()
        }
        None => 0,
    };
    memtables + all - lowest
}

/// See [`Tree::is_settled`](crate::Tree::is_settled).
///
/// What files and memtables say as wholes is asked first: only where they overlap, and the range is
/// a narrow one, are row groups looked at. A wide range over several sources counts as not settled
/// even if none of its sections has two: read in any order it costs no more.
pub(crate) fn is_settled(tree: &TreeState, range: &KeyRange, snapshot: &Snapshot) -> Result<bool> {
    if range.is_empty() {
        return Ok(true);
    }
    let view = snapshot.view_of(tree);
    let snapshot = snapshot.seq();
    let schemas = tree.schemas();
    let planner = Planner {
        tree,
        schemas: &schemas,
        view: &view,
        range,
        snapshot,
        filter: None,
        counters: &ReadCounters::new(),
    };
    let files: Vec<&Arc<LiveFile>> =
        view.version.files().map(|(_, file)| file).filter(|file| planner.meets(file)).collect();
    let is_plain =
        |file: &&Arc<LiveFile>| file.deletes == 0 && file.one_version && file.max_seq <= snapshot;
    let is_alone = view.memtables.iter().all(|memtable| !memtable.overlaps(range.bounds()));
    if is_alone && files.iter().all(is_plain) && are_disjoint(&files) {
        return Ok(true);
    }
    if planner.is_wide()? {
        return Ok(false);
    }
    Ok(planner.plan()?.iter().all(|stretch| stretch.reading == Reading::Raw))
}
