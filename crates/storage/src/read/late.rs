//! [`Late`]: columns of a row group, or of a memtable's entries, that are decoded once it is known
//! which rows stay.
//!
//! A short range over sources that overlap looks at more rows than it gives out: of a source whose
//! keys lie thin among the others', a merge reads a part ahead and takes a few. Keys decide, and
//! they are cheap; the values of the rows that were not taken are never touched.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::ArrayRef;
use silt_codec::{BatchBuilder, Schemas};

use super::encoded::take_rows;
use crate::batch::EntryBytes;
use crate::sstable::RowGroup;
use crate::{OpKind, Result};

/// Rows are decoded with those between them unless these are more.
const BETWEEN_MAX: usize = 2;

/// The columns of entries that were not decoded yet.
#[derive(Debug)]
pub(crate) enum Late {
    Group(LateGroup),
    Rows(LateRows),
}

/// Those of entries that stand in one row group.
#[derive(Debug)]
pub(crate) struct LateGroup {
    pub(crate) group: RowGroup,
    /// The columns, by their positions in the tree's current schema.
    pub(crate) projection: Arc<[usize]>,
    pub(crate) rows: GroupRows,
    /// The key columns, decoded already, of the group's rows from the first on.
    pub(crate) keys: (usize, Vec<ArrayRef>),
}

/// Those of a memtable's entries.
#[derive(Debug)]
pub(crate) struct LateRows {
    pub(crate) schemas: Schemas,
    /// The columns, by their positions in the current schema.
    pub(crate) projection: Arc<[usize]>,
    pub(crate) entries: Vec<(EntryBytes, OpKind)>,
}

/// Where entries stand in their group.
#[derive(Debug)]
pub(crate) enum GroupRows {
    /// From this row on.
    Forward(usize),
    /// From this row backwards.
    Backward(usize),
    /// At these rows, ascending or descending.
    Listed(Vec<u32>),
}

/// Which of a source's entries were taken, in the order in which they come.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Taken {
    first: usize,
    last: usize,
    count: usize,
}

impl Taken {
    /// Adds a run of entries behind those before.
    pub(crate) fn add(&mut self, run: &Range<usize>) {
        if self.count == 0 {
            self.first = run.start;
        }
        self.last = run.end - 1;
        self.count += run.len();
    }
}

/// Columns that hold the rows taken, and perhaps others.
pub(crate) struct Piece<'a> {
    pub(crate) columns: Vec<ArrayRef>,
    places: Places<'a>,
}

enum Places<'a> {
    /// Every row of the group from this one on.
    Span(&'a LateGroup, usize),
    /// The rows taken and no others: the next one's place.
    Next(usize),
    /// The same, the first one taken standing last.
    NextBack(usize),
}

impl Late {
    /// The columns of entries that follow one another.
    pub(crate) fn decode(&self, entries: &Range<usize>) -> Result<Vec<ArrayRef>> {
        match self {
            Self::Group(group) => group.decode(entries),
            Self::Rows(rows) => rows.build(entries.len(), std::iter::once(entries.clone())),
        }
    }

    /// Decodes what was taken; `runs` are its runs.
    pub(crate) fn piece(
        &self,
        taken: Taken,
        runs: impl Iterator<Item = Range<usize>>,
    ) -> Result<Piece<'_>> {
        match self {
            Self::Group(group) => group.piece(taken, runs),
            Self::Rows(rows) => {
                let columns = rows.build(taken.count, runs)?;
                Ok(Piece { columns, places: Places::Next(0) })
            }
        }
    }
}

impl LateRows {
    /// The columns of `count` entries, those of `runs`.
    fn build(
        &self,
        count: usize,
        runs: impl Iterator<Item = Range<usize>>,
    ) -> Result<Vec<ArrayRef>> {
        let mut builder = BatchBuilder::new(&self.schemas, &self.projection, count);
        for (entry, kind) in runs.flat_map(|run| &self.entries[run]) {
            builder.push(entry.key(), (*kind == OpKind::Put).then(|| entry.row()))?;
        }
        Ok(builder.finish()?)
    }
}

impl LateGroup {
    fn row(&self, entry: usize) -> usize {
        match &self.rows {
            GroupRows::Forward(first) => first + entry,
            GroupRows::Backward(last) => last - entry,
            GroupRows::Listed(rows) => rows[entry] as usize,
        }
    }

    fn is_backward(&self, taken: Taken) -> bool {
        self.row(taken.last) < self.row(taken.first)
    }

    fn decode(&self, entries: &Range<usize>) -> Result<Vec<ArrayRef>> {
        if let GroupRows::Forward(first) = self.rows {
            return self.span(first + entries.start..first + entries.end);
        }
        let mut taken = Taken::default();
        taken.add(entries);
        self.take(taken, std::iter::once(entries.clone()), true)
    }

    fn piece(&self, taken: Taken, runs: impl Iterator<Item = Range<usize>>) -> Result<Piece<'_>> {
        let (first, last) = (self.row(taken.first), self.row(taken.last));
        let span = first.min(last)..first.max(last) + 1;
        if span.len() <= taken.count * BETWEEN_MAX {
            let columns = self.span(span.clone())?;
            return Ok(Piece { columns, places: Places::Span(self, span.start) });
        }
        let columns = self.take(taken, runs, false)?;
        let places = match self.is_backward(taken) {
            true => Places::NextBack(taken.count),
            false => Places::Next(0),
        };
        Ok(Piece { columns, places })
    }

    /// The columns of rows that follow one another.
    fn span(&self, rows: Range<usize>) -> Result<Vec<ArrayRef>> {
        let (first, keys) = &self.keys;
        self.each(|column| match keys.get(column) {
            Some(key) => Ok(key.slice(rows.start - first, rows.len())),
            None => self.group.decode(column, rows.clone()),
        })
    }

    /// The rows taken: in the order in which they were if `in_order`, else ascending.
    fn take(
        &self,
        taken: Taken,
        runs: impl Iterator<Item = Range<usize>>,
        in_order: bool,
    ) -> Result<Vec<ArrayRef>> {
        let mut rows = Vec::with_capacity(taken.count);
        for run in runs {
            let row = |entry| u32::try_from(self.row(entry)).expect("a group has fewer rows");
            rows.extend(run.map(row));
        }
        let is_backward = self.is_backward(taken);
        if is_backward {
            rows.reverse();
        }
        self.each(|column| take_rows(&self.group, column, &rows, is_backward && in_order))
    }

    fn each(&self, column: impl FnMut(usize) -> Result<ArrayRef>) -> Result<Vec<ArrayRef>> {
        self.projection.iter().copied().map(column).collect()
    }
}

impl Piece<'_> {
    /// Where an entry stands in the columns. Asked once for each that was taken, in their order.
    pub(crate) fn place(&mut self, entry: usize) -> usize {
        match &mut self.places {
            Places::Span(late, first) => late.row(entry) - *first,
            Places::Next(next) => {
                *next += 1;
                *next - 1
            }
            Places::NextBack(next) => {
                *next -= 1;
                *next
            }
        }
    }
}
