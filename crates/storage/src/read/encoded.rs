//! [`EncodedRows`]: rows of one place, chosen and not yet decoded.
//!
//! What a scan reads raw it can hand out before it is decoded: a row group or a run of a memtable,
//! the stretch of it that is looked at, and one bit a row for those that are seen and pass the
//! filter. Who aggregates may take the codes of a dictionary instead of strings, and columns whole
//! beside the bits instead of cut down to them.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, UInt32Array};
use arrow_buffer::{BooleanBuffer, BooleanBufferBuilder};
use arrow_select::filter::{FilterBuilder, filter};
use arrow_select::take::take;
use silt_codec::{ColumnCodes, ColumnNumbers, NUMBERS_TOGETHER, TreeSchema, ZoneMap};

use super::source::Groups;
use crate::Result;
use crate::sstable::RowGroup;

/// Below one row in this many, rows are decoded one by one instead of with all between them.
const SPARSE: usize = 8;

/// Rows of one place; its columns are those of the scan's projection.
#[derive(Clone)]
pub struct EncodedRows {
    place: Place,
    /// Columns given out, by their positions in the tree's current schema.
    projection: Arc<[usize]>,
    /// The rows looked at.
    span: Range<usize>,
    /// Of `span`, those that are given out; none if all are.
    selected: Option<BooleanBuffer>,
    len: usize,
    /// The file and row group that they stand in, where it is one.
    home: Option<(Groups, usize, Arc<TreeSchema>)>,
}

#[derive(Clone)]
enum Place {
    /// Rows to be counted.
    Nothing,
    Group(RowGroup),
    /// Columns of the projection.
    Columns(Vec<ArrayRef>),
}

impl EncodedRows {
    /// So many rows without columns.
    pub(crate) fn count(len: usize) -> Self {
        let projection = Arc::new([]);
        Self { place: Place::Nothing, projection, span: 0..len, selected: None, len, home: None }
    }

    /// Rows of columns of the projection.
    pub(crate) fn columns(
        columns: Vec<ArrayRef>,
        span: Range<usize>,
        selected: Option<BooleanBuffer>,
    ) -> Self {
        let len = selected.as_ref().map_or(span.len(), BooleanBuffer::count_set_bits);
        let projection = (0..columns.len()).collect();
        let selected = selected.filter(|_| len < span.len());
        Self { place: Place::Columns(columns), projection, span, selected, len, home: None }
    }

    /// Rows of a group.
    pub(crate) fn group(
        group: RowGroup,
        projection: Arc<[usize]>,
        span: Range<usize>,
        selected: Option<BooleanBuffer>,
    ) -> Self {
        let len = selected.as_ref().map_or(span.len(), BooleanBuffer::count_set_bits);
        let selected = selected.filter(|_| len < span.len());
        Self { place: Place::Group(group), projection, span, selected, len, home: None }
    }

    /// The same, and where it stands.
    pub(crate) fn at(mut self, groups: &Groups, index: usize, schema: &Arc<TreeSchema>) -> Self {
        self.home = Some((groups.clone(), index, Arc::clone(schema)));
        self
    }

    /// Bounds for the values of the column at `index` of the projection, if they are known: every
    /// row given out lies within, and others may.
    ///
    /// # Errors
    /// `Corrupt` or `Io` if the file's statistics cannot be read.
    pub fn bounds(&self, index: usize) -> Result<Option<ZoneMap>> {
        let Some((groups, group, schema)) = &self.home else { return Ok(None) };
        let zone = groups.reader.zone_map(*group, schema, self.projection[index])?;
        Ok(zone.map(Cow::into_owned))
    }

    /// The number of rows given out.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no row is given out.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The number of rows of [`whole`](Self::whole) columns.
    pub fn span(&self) -> usize {
        self.span.len()
    }

    /// Which rows of [`whole`](Self::whole) columns are given out; none if all are.
    pub fn selected(&self) -> Option<&BooleanBuffer> {
        self.selected.as_ref()
    }

    /// The column at `index` of the projection with rows that are not given out among the others.
    ///
    /// # Errors
    /// `Corrupt` if the bytes are not values.
    pub fn whole(&self, index: usize) -> Result<ArrayRef> {
        match &self.place {
            Place::Nothing => unreachable!("a scan without columns has none to give"),
            Place::Columns(columns) => Ok(columns[index].slice(self.span.start, self.span.len())),
            Place::Group(group) => group.decode(self.projection[index], self.span.clone()),
        }
    }

    /// The same as codes into distinct values, where that is how they are stored.
    ///
    /// # Errors
    /// `Corrupt` if the bytes are not values.
    pub fn codes(&self, index: usize) -> Result<Option<ColumnCodes>> {
        let Place::Group(group) = &self.place else { return Ok(None) };
        let column = self.projection[index];
        let codes = group.chunk(column)?.codes(self.span.clone());
        codes.map_err(|error| group.locate(column, error))
    }

    /// Adds the numbers of the column at `index` of the projection to `sums`, where they need not
    /// be decoded for it; see [`ColumnChunk::add_up`](silt_codec::ColumnChunk::add_up). `groups` has
    /// a number for each row of [`whole`](Self::whole) columns; only rows given out are added.
    ///
    /// # Errors
    /// `Corrupt` or `Io` if the column cannot be read.
    pub fn add_up(&self, index: usize, groups: Option<&[u32]>, sums: &mut [i128]) -> Result<bool> {
        let Place::Group(group) = &self.place else { return Ok(false) };
        let column = self.projection[index];
        let selected = self.selected.as_ref();
        let added = group.chunk(column)?.add_up(self.span.clone(), groups, selected, sums);
        added.map_err(|error| group.locate(column, error))
    }

    /// The column at `index` of the projection as numbers of [`whole`](Self::whole) columns, where
    /// it is stored so; see [`ColumnChunk::numbers`](silt_codec::ColumnChunk::numbers).
    ///
    /// # Errors
    /// `Corrupt` or `Io` if the column cannot be read.
    pub fn numbers(&self, index: usize) -> Result<Option<ColumnNumbers>> {
        let Place::Group(group) = &self.place else { return Ok(None) };
        let column = self.projection[index];
        let numbers = group.chunk(column)?.numbers(self.span.clone());
        numbers.map_err(|error| group.locate(column, error))
    }

    /// Stretches of [`whole`](Self::whole) columns, one after the other, of which numbers are had
    /// most cheaply.
    pub fn stretches(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let (start, rows) = (self.span.start, self.span.len());
        let starts = (start / NUMBERS_TOGETHER..self.span.end.div_ceil(NUMBERS_TOGETHER))
            .map(|vector| vector * NUMBERS_TOGETHER);
        starts.map(move |at| at.max(start) - start..(at + NUMBERS_TOGETHER - start).min(rows))
    }

    /// The rows given out, of all columns.
    ///
    /// # Errors
    /// `Corrupt` if the bytes are not values.
    pub fn decode(&self) -> Result<Vec<ArrayRef>> {
        let all: Vec<usize> = (0..self.projection.len()).collect();
        self.decode_columns(&all)
    }

    /// The rows given out, of the columns at `indices` of the projection.
    ///
    /// # Errors
    /// `Corrupt` if the bytes are not values.
    pub fn decode_columns(&self, indices: &[usize]) -> Result<Vec<ArrayRef>> {
        let Some(selected) = &self.selected else {
            return indices.iter().map(|&index| self.whole(index)).collect();
        };
        if indices.is_empty() {
            return Ok(Vec::new());
        }
        let sparse = self.len > 0 && self.span.len() / self.len >= SPARSE;
        if sparse && let Place::Group(group) = &self.place {
            let row = |row| u32::try_from(self.span.start + row).expect("a group has fewer rows");
            let rows: Vec<u32> = selected.set_indices().map(row).collect();
            let taken = |&index: &usize| take_rows(group, self.projection[index], &rows, false);
            return indices.iter().map(taken).collect();
        }
        let mask = BooleanArray::new(selected.clone(), None);
        if let [index] = indices {
            return Ok(vec![filter(&self.whole(*index)?, &mask)?]);
        }
        let mask = FilterBuilder::new(&mask).optimize().build();
        let filtered = |&index: &usize| Ok(mask.filter(&self.whole(index)?)?);
        indices.iter().map(filtered).collect()
    }

    /// Of the rows given out, those whose bit is set.
    ///
    /// # Panics
    /// If there is not one bit for each of them.
    #[must_use]
    pub fn refine(mut self, passed: &BooleanBuffer) -> Self {
        assert_eq!(passed.len(), self.len, "one bit a row");
        let len = passed.count_set_bits();
        if len == self.len {
            return self;
        }
        self.len = len;
        self.selected = Some(match self.selected {
            None => passed.clone(),
            Some(selected) => {
                let mut both = BooleanBufferBuilder::new(selected.len());
                both.append_n(selected.len(), false);
                for (row, passed) in selected.set_indices().zip(passed) {
                    if passed {
                        both.set_bit(row, true);
                    }
                }
                both.finish()
            }
        });
        self
    }

    /// Of the rows given out, those whose bit is set; `passed` has one for each row of
    /// [`whole`](Self::whole) columns.
    ///
    /// # Panics
    /// If it has not.
    #[must_use]
    pub fn meet(mut self, passed: &BooleanBuffer) -> Self {
        assert_eq!(passed.len(), self.span.len(), "one bit a row looked at");
        let both = match &self.selected {
            None => passed.clone(),
            Some(selected) => selected & passed,
        };
        self.len = both.count_set_bits();
        self.selected = Some(both).filter(|_| self.len < self.span.len());
        self
    }

    /// These rows without all but the first `len`.
    pub(crate) fn truncate(mut self, len: usize) -> Self {
        if len >= self.len {
            return self;
        }
        let end = match &self.selected {
            None => len,
            Some(selected) => selected.set_indices().nth(len).unwrap_or(selected.len()),
        };
        self.span.end = self.span.start + end;
        self.selected = self.selected.map(|selected| selected.slice(0, end));
        self.len = len;
        self
    }
}

impl fmt::Debug for EncodedRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of rows {:?}", self.len, self.span)
    }
}

/// Decodes ascending `rows` of a column, last first if `reverse`.
pub(super) fn take_rows(
    group: &RowGroup,
    column: usize,
    rows: &[u32],
    reverse: bool,
) -> Result<ArrayRef> {
    let pick = |rows: &[u32]| {
        let taken = group.chunk(column)?.take(rows);
        taken.map_err(|error| group.locate(column, error))
    };
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
        return pick(rows);
    };
    let span = (last - first) as usize + 1;
    if span / rows.len() >= SPARSE {
        if reverse {
            return pick(&rows.iter().rev().copied().collect::<Vec<_>>());
        }
        return pick(rows);
    }
    let decoded = group.decode(column, *first as usize..*last as usize + 1)?;
    if span == rows.len() && !reverse {
        return Ok(decoded);
    }
    let from_first = rows.iter().map(|row| row - first);
    let rows = if reverse {
        UInt32Array::from_iter_values(from_first.rev())
    } else {
        UInt32Array::from_iter_values(from_first)
    };
    Ok(take(&decoded, &rows, None)?)
}
