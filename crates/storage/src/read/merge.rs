//! [`Merge`]: several ordered sources become one, for scans and for compaction.
//!
//! Sources stand sorted by their next entry. The first one gives all its entries that come before
//! the second one's next entry, found by galloping, so that a source that is alone for a while
//! leaves in whole slices and costs a few comparisons; where sources alternate, rows are gathered
//! with `interleave`. A [`MergeRule`] drops entries on the way: older versions and deletes for a
//! scan, what no snapshot can see for a compaction. Values of row groups may be decoded late
//! ([`Late`]): of the rows that stay, and of no others.
//!
//! Merging follows Knuth, TAOCP vol. 3, 5.4.1; galloping is timsort's.

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef};
use arrow_select::interleave::interleave;

use super::late::{Late, Piece, Taken};
use crate::sstable::EntryBatch;
use crate::{OpKind, Result, SeqNo};

/// A sorted run of entries.
pub(crate) trait EntrySource {
    /// The next entries, by key in the merge's direction and number descending; never empty.
    /// All batches of all sources have the same columns.
    fn next_entries(&mut self) -> Result<Option<Entries>>;
}

impl<S: EntrySource + ?Sized> EntrySource for Box<S> {
    fn next_entries(&mut self) -> Result<Option<Entries>> {
        (**self).next_entries()
    }
}

/// What a source gives a merge.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    /// The entries; without columns if these are `late`.
    pub(crate) batch: EntryBatch,
    /// Columns not decoded yet.
    pub(crate) late: Option<Late>,
}

impl From<EntryBatch> for Entries {
    fn from(batch: EntryBatch) -> Self {
        Self { batch, late: None }
    }
}

/// Decides which entries stay.
pub(crate) trait MergeRule {
    /// Whether each source gives every key at most once.
    const UNIQUE: bool;
    /// Whether keys, numbers and kinds are wanted beside the columns.
    const ENTRIES: bool;
    /// Whether a source's batch without deletes and without a key of another source stays whole.
    const PLAIN_STAYS: bool;

    /// Whether this entry stays. Entries come by key, newest first; `same_key` says that the
    /// entry before had the same key.
    fn keeps(&mut self, same_key: bool, seq: SeqNo, kind: OpKind) -> bool;
}

/// What a scan sees, once each source was reduced to one visible entry a key: the newest source's,
/// unless it is a delete.
#[derive(Debug, Default)]
pub(crate) struct NewestPut;

impl MergeRule for NewestPut {
    const UNIQUE: bool = true;
    const ENTRIES: bool = false;
    const PLAIN_STAYS: bool = true;

    fn keeps(&mut self, same_key: bool, _seq: SeqNo, kind: OpKind) -> bool {
        !same_key && kind == OpKind::Put
    }
}

/// What some snapshot can still see, or hides something below (RULES.md 19 and 25): everything
/// above the floor, and of each key the newest at or below it. In the last level a delete at or
/// below the floor has done its work.
#[derive(Debug)]
pub(crate) struct AboveFloor {
    floor: SeqNo,
    last_level: bool,
    /// An entry of the current key at or below the floor was seen.
    covered: bool,
}

impl AboveFloor {
    /// `last_level`: no older version of any key lies below the output.
    pub(crate) fn new(floor: SeqNo, last_level: bool) -> Self {
        Self { floor, last_level, covered: false }
    }
}

impl MergeRule for AboveFloor {
    const UNIQUE: bool = false;
    const ENTRIES: bool = true;
    const PLAIN_STAYS: bool = false;

    fn keeps(&mut self, same_key: bool, seq: SeqNo, kind: OpKind) -> bool {
        if !same_key {
            self.covered = false;
        }
        if self.covered {
            return false;
        }
        if seq > self.floor {
            return true;
        }
        self.covered = true;
        !(self.last_level && kind == OpKind::Delete)
    }
}

/// A run at least this long leaves as a slice instead of being gathered with others.
const SLICE_ROWS: usize = 1_024;

/// The merge of `S`s under the rule `R`.
pub(crate) struct Merge<S, R> {
    /// Sources that have entries left, the one with the next entry first.
    cursors: Vec<Cursor<S>>,
    /// Sources whose next entries are not read before they are wanted, with their ranks.
    unread: Vec<(usize, S)>,
    rule: R,
    reverse: bool,
    rows_max: usize,
    /// The key of the last entry that the rule saw.
    last_key: Vec<u8>,
    has_last: bool,
    pending: Pending,
}

struct Cursor<S> {
    source: S,
    /// Of two entries with the same key and number the one of the lower rank comes first.
    rank: usize,
    entries: Arc<Entries>,
    row: usize,
    /// No delete among `entries`.
    plain: bool,
    /// Where `entries` stand among the pending ones.
    slot: Option<usize>,
}

/// Rows chosen but not yet given out.
#[derive(Default)]
struct Pending {
    batches: Vec<Arc<Entries>>,
    runs: Vec<Run>,
    rows: usize,
}

struct Run {
    slot: usize,
    rows: Range<usize>,
}

/// What a merge gives out: at least one row.
#[derive(Debug)]
pub(crate) struct Merged {
    /// The number of rows, also where there are no columns.
    pub(crate) rows: usize,
    /// Columns; and keys, numbers and kinds if the rule wants them.
    pub(crate) entries: EntryBatch,
}

impl<S: EntrySource, R: MergeRule> Merge<S, R> {
    /// `sources` newest first; all of them descending by key if `reverse`.
    pub(crate) fn new(sources: Vec<S>, rule: R, reverse: bool, rows_max: usize) -> Self {
        Self {
            cursors: Vec::with_capacity(sources.len()),
            unread: sources.into_iter().enumerate().collect(),
            rule,
            reverse,
            rows_max: rows_max.max(1),
            last_key: Vec::new(),
            has_last: false,
            pending: Pending::default(),
        }
    }

    /// The next rows: 1 to `rows_max`.
    pub(crate) fn next_merged(&mut self) -> Result<Option<Merged>> {
        for (rank, source) in std::mem::take(&mut self.unread) {
            self.enter(source, rank)?;
        }
        while self.pending.rows < self.rows_max && !self.cursors.is_empty() {
            let first = &self.cursors[0];
            let alone = match self.cursors.get(1) {
                Some(second) => first.run_before(second, self.reverse),
                None => first.batch().keys.len() - first.row,
            };
            let is_slice = alone >= SLICE_ROWS;
            if is_slice && self.pending.rows > 0 {
                // What was gathered so far goes out first, then the slice by itself.
                break;
            }
            let len = alone.min(self.rows_max - self.pending.rows);
            self.take_run(len);
            self.advance(len)?;
            if is_slice && self.pending.rows > 0 {
                break;
            }
        }
        if self.pending.rows == 0 {
            return Ok(None);
        }
        for cursor in &mut self.cursors {
            cursor.slot = None;
        }
        self.pending.give_out(R::ENTRIES).map(Some)
    }

    /// Takes the first source's next `len` entries, as far as the rule keeps them.
    fn take_run(&mut self, len: usize) {
        let Self { cursors, rule, last_key, pending, .. } = self;
        let cursor = &mut cursors[0];
        let (start, end) = (cursor.row, cursor.row + len);
        let entries = &cursor.entries;
        let batch = &entries.batch;
        let same_key = self.has_last && batch.keys.get(start) == last_key.as_slice();
        let mut kept_from = start;
        if R::PLAIN_STAYS && cursor.plain {
            kept_from += usize::from(same_key);
        } else {
            let mut same_key = same_key;
            for row in start..end {
                if row > start {
                    same_key = !R::UNIQUE && batch.keys.get(row) == batch.keys.get(row - 1);
                }
                if !rule.keeps(same_key, batch.seqs[row], batch.kinds[row]) {
                    pending.push(&mut cursor.slot, entries, kept_from..row);
                    kept_from = row + 1;
                }
            }
        }
        pending.push(&mut cursor.slot, entries, kept_from..end);
        last_key.clear();
        last_key.extend_from_slice(batch.keys.get(end - 1));
        self.has_last = true;
    }

    /// Moves the first source on by `len` entries and puts it in its new place.
    fn advance(&mut self, len: usize) -> Result<()> {
        let mut cursor = self.cursors.remove(0);
        cursor.row += len;
        if cursor.row == cursor.batch().keys.len() {
            if self.pending.rows >= self.rows_max {
                // Perhaps nobody asks for more.
                self.unread.push((cursor.rank, cursor.source));
                return Ok(());
            }
            let Some(entries) = cursor.source.next_entries()? else { return Ok(()) };
            cursor.set(entries);
        }
        self.place(cursor);
        Ok(())
    }

    fn enter(&mut self, mut source: S, rank: usize) -> Result<()> {
        if let Some(entries) = source.next_entries()? {
            let mut cursor =
                Cursor { source, rank, entries: Arc::default(), row: 0, plain: false, slot: None };
            cursor.set(entries);
            self.place(cursor);
        }
        Ok(())
    }

    fn place(&mut self, cursor: Cursor<S>) {
        let reverse = self.reverse;
        let before = |other: &Cursor<S>| other.comes_before(other.row, &cursor, reverse);
        let at = self.cursors.partition_point(before);
        self.cursors.insert(at, cursor);
    }
}

impl<S> Cursor<S> {
    fn batch(&self) -> &EntryBatch {
        &self.entries.batch
    }

    fn set(&mut self, entries: Entries) {
        debug_assert!(!entries.batch.keys.is_empty(), "a source gives batches with rows");
        self.plain = entries.batch.kinds.iter().all(|kind| *kind == OpKind::Put);
        self.entries = Arc::new(entries);
        self.row = 0;
        self.slot = None;
    }

    /// Whether this one's entry at `row` comes before the next entry of `other`.
    fn comes_before(&self, row: usize, other: &Self, reverse: bool) -> bool {
        let (own, others) = (self.batch(), other.batch());
        let by_key = own.keys.get(row).cmp(others.keys.get(other.row));
        let by_key = if reverse { by_key.reverse() } else { by_key };
        let newest_first = || others.seqs[other.row].cmp(&own.seqs[row]);
        by_key.then_with(newest_first).then(self.rank.cmp(&other.rank)) == Ordering::Less
    }

    /// How many of this one's entries, the next one being one of them, come before `other`'s next.
    fn run_before(&self, other: &Self, reverse: bool) -> usize {
        let left = self.batch().keys.len() - self.row;
        let is_before = |ahead: usize| self.comes_before(self.row + ahead, other, reverse);
        let mut low = 0;
        let mut step = 1;
        while low + step < left && is_before(low + step) {
            low += step;
            step *= 2;
        }
        // Entry `low` comes before, entry `low + step` does not or is not there.
        let mut high = left.min(low + step);
        while low + 1 < high {
            let middle = usize::midpoint(low, high);
            if is_before(middle) {
                low = middle;
            } else {
                high = middle;
            }
        }
        high
    }
}

impl Pending {
    fn push(&mut self, slot: &mut Option<usize>, entries: &Arc<Entries>, rows: Range<usize>) {
        if rows.is_empty() {
            return;
        }
        let slot = *slot.get_or_insert_with(|| {
            self.batches.push(Arc::clone(entries));
            self.batches.len() - 1
        });
        self.rows += rows.len();
        match self.runs.last_mut() {
            Some(last) if last.slot == slot && last.rows.end == rows.start => {
                last.rows.end = rows.end;
            }
            _ => self.runs.push(Run { slot, rows }),
        }
    }

    /// Puts the chosen rows together; the slots of cursors are void afterwards.
    fn give_out(&mut self, with_entries: bool) -> Result<Merged> {
        let runs = std::mem::take(&mut self.runs);
        let batches = std::mem::take(&mut self.batches);
        let rows = std::mem::take(&mut self.rows);
        let columns = match runs.as_slice() {
            [run] => batches[run.slot].columns(&run.rows)?,
            _ => gather(&batches, &runs, rows)?,
        };
        let mut entries = EntryBatch { columns, ..EntryBatch::default() };
        if with_entries {
            entries.seqs.reserve(rows);
            entries.kinds.reserve(rows);
            for Run { slot, rows } in &runs {
                let batch = &batches[*slot].batch;
                rows.clone().for_each(|row| entries.keys.push(batch.keys.get(row)));
                entries.seqs.extend_from_slice(&batch.seqs[rows.clone()]);
                entries.kinds.extend_from_slice(&batch.kinds[rows.clone()]);
            }
        }
        Ok(Merged { rows, entries })
    }
}

impl Entries {
    /// The columns of `rows`, which follow one another.
    fn columns(&self, rows: &Range<usize>) -> Result<Vec<ArrayRef>> {
        if let Some(late) = &self.late {
            return late.decode(rows);
        }
        let slice = |column: &ArrayRef| column.slice(rows.start, rows.len());
        Ok(self.batch.columns.iter().map(slice).collect())
    }
}

/// Gathers rows of several batches.
fn gather(batches: &[Arc<Entries>], runs: &[Run], rows: usize) -> Result<Vec<ArrayRef>> {
    let mut taken = vec![Taken::default(); batches.len()];
    for Run { slot, rows } in runs {
        taken[*slot].add(rows);
    }
    let mut pieces: Vec<Option<Piece<'_>>> = Vec::with_capacity(batches.len());
    for (slot, entries) in batches.iter().enumerate() {
        let own = runs.iter().filter(|run| run.slot == slot).map(|run| run.rows.clone());
        let piece = entries.late.as_ref().map(|late| late.piece(taken[slot], own));
        pieces.push(piece.transpose()?);
    }
    let mut indices = Vec::with_capacity(rows);
    for Run { slot, rows } in runs {
        match &mut pieces[*slot] {
            Some(piece) => indices.extend(rows.clone().map(|row| (*slot, piece.place(row)))),
            None => indices.extend(rows.clone().map(|row| (*slot, row))),
        }
    }
    let columns: Vec<&[ArrayRef]> = batches
        .iter()
        .zip(&pieces)
        .map(|(entries, piece)| match piece {
            Some(piece) => piece.columns.as_slice(),
            None => entries.batch.columns.as_slice(),
        })
        .collect();
    let gather_one = |column: usize| {
        let arrays: Vec<&dyn Array> =
            columns.iter().map(|columns| columns[column].as_ref()).collect();
        Ok(interleave(&arrays, &indices)?)
    };
    (0..columns.first().map_or(0, |columns| columns.len())).map(gather_one).collect()
}

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;
