//! [`Hop`]: rows of one table by keys that rows found before hold.

use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, UInt32Array, new_empty_array};
use datafusion::arrow::compute::{concat, take};
use datafusion::arrow::datatypes::DataType;
use silt_codec::KeyBuffer;
use silt_storage::{KeyRange, ReadCounters, ScanRequest, Tree};

use super::{Found, Node, ROWS_MAX, Run, Stop};
use crate::point::constant::{Constant, KeyField};
use crate::point::select::put;

/// A table, and how its rows are found by the first columns of its key.
#[derive(Debug)]
pub(super) struct Seek {
    pub(super) tree: Tree,
    /// For the first key columns, in order.
    pub(super) parts: Vec<(KeyField, Part)>,
    /// Whether they are all of the key's columns.
    pub(super) is_whole: bool,
    /// Positions in the tree of the columns given, and their types.
    pub(super) projection: Vec<usize>,
    pub(super) types: Vec<DataType>,
}

/// What a key column is equal to.
#[derive(Debug)]
pub(super) enum Part {
    Constant(Constant),
    /// A column of the rows found before.
    Column(usize),
}

/// Rows of a table by rows found before.
#[derive(Debug)]
pub(super) struct Hop {
    pub(super) from: Node,
    pub(super) to: Seek,
    pub(super) gives: Gives,
    /// Where the columns given come from.
    pub(super) output: Vec<Side>,
}

/// Which rows a hop gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gives {
    /// Each row found before with each that it leads to.
    Pairs,
    /// Those found before that lead to any.
    From,
    /// Those that any leads to, each once.
    To,
}

/// A column of one side of a hop.
#[derive(Clone, Copy, Debug)]
pub(super) enum Side {
    From(usize),
    To(usize),
}

/// The keys that rows ask for.
struct Asked {
    /// Ascending, each once.
    keys: Vec<Vec<u8>>,
    /// The rows that ask, in the order of keys.
    rows: Vec<u32>,
    /// Which of these ask for each key.
    by_key: Vec<Range<usize>>,
}

impl Seek {
    /// Rows by constants alone.
    pub(super) fn run(&self, run: &mut Run<'_>) -> Result<Found, Stop> {
        let none = Found { columns: Vec::new(), rows: 1 };
        let asked = self.asked(&none, run)?;
        Ok(self.find(&asked.keys, run)?.0)
    }

    /// The keys that `from` asks for; rows with NULL in a column that is compared ask for none.
    fn asked(&self, from: &Found, run: &Run<'_>) -> Result<Asked, Stop> {
        let mut keys = vec![Vec::with_capacity(32); from.rows];
        let mut asks = vec![true; from.rows];
        let mut fields = KeyBuffer::new();
        for (field, part) in &self.parts {
            match part {
                Part::Constant(constant) => {
                    let mut bytes = [Vec::new()];
                    match put(constant, run.args, field, &mut bytes) {
                        Some(true) => {}
                        Some(false) => return Ok(Asked::nothing()),
                        None => return Err(Stop::Unsure),
                    }
                    let [bytes] = bytes;
                    keys.iter_mut().for_each(|key| key.extend_from_slice(&bytes));
                }
                Part::Column(column) => {
                    let column = &from.columns[*column];
                    let nulls = column.logical_nulls().filter(|nulls| nulls.null_count() > 0);
                    let valid = match &nulls {
                        None => Arc::clone(column),
                        Some(nulls) => {
                            let valid = (0..).zip(nulls).filter(|(_, is_valid)| *is_valid);
                            let valid = valid.map(|(row, _): (u32, _)| row);
                            take(column, &UInt32Array::from_iter_values(valid), None)?
                        }
                    };
                    fields.clear();
                    if !field.put_all(&valid, &mut fields) {
                        // A value longer than any key.
                        return Err(Stop::Unsure);
                    }
                    let mut bytes = fields.iter();
                    for (row, key) in keys.iter_mut().enumerate() {
                        match nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
                            true => asks[row] = false,
                            false => key.extend_from_slice(bytes.next().unwrap_or_default()),
                        }
                    }
                }
            }
        }
        Ok(Asked::by(keys, &asks))
    }

    /// The rows with these keys, ascending, and for each of them which key it has.
    fn find(&self, keys: &[Vec<u8>], run: &mut Run<'_>) -> Result<(Found, Vec<u32>), Stop> {
        run.seeks_left = run.seeks_left.checked_sub(keys.len()).ok_or(Stop::Many)?;
        let counters = ReadCounters::new();
        if self.is_whole {
            let found = self.tree.multi_get(keys, &self.projection, run.snapshot, &counters)?;
            let rows = found.batch.num_rows();
            return Ok((Found { columns: found.batch.columns().to_vec(), rows }, found.positions));
        }
        let (mut batches, mut of_key) = (Vec::new(), Vec::new());
        for (key, position) in keys.iter().zip(0..) {
            let request = ScanRequest {
                batch_rows: ROWS_MAX,
                limit: Some(ROWS_MAX + 1 - of_key.len()),
                ..ScanRequest::new(KeyRange::prefix(key.clone()), self.projection.clone())
            };
            for batch in self.tree.scan(&request, run.snapshot)? {
                let batch = batch?;
                of_key.resize(of_key.len() + batch.num_rows(), position);
                if of_key.len() > ROWS_MAX {
                    return Err(Stop::Many);
                }
                batches.push(batch);
            }
        }
        let column = |(at, data_type): (usize, &DataType)| {
            let parts: Vec<&dyn Array> =
                batches.iter().map(|batch| batch.column(at).as_ref()).collect();
            match batches.as_slice() {
                [] => Ok(new_empty_array(data_type)),
                [batch] => Ok(Arc::clone(batch.column(at))),
                _ => concat(&parts),
            }
        };
        let columns = self.types.iter().enumerate().map(column);
        let columns = columns.collect::<Result<Vec<ArrayRef>, _>>()?;
        Ok((Found { columns, rows: of_key.len() }, of_key))
    }
}

impl Asked {
    fn nothing() -> Self {
        Self { keys: Vec::new(), rows: Vec::new(), by_key: Vec::new() }
    }

    fn by(mut of_row: Vec<Vec<u8>>, asks: &[bool]) -> Self {
        let mut rows: Vec<u32> =
            (0..).zip(asks).filter(|(_, asks)| **asks).map(|(row, _)| row).collect();
        rows.sort_by(|a, b| of_row[*a as usize].cmp(&of_row[*b as usize]));
        let (mut keys, mut by_key): (Vec<Vec<u8>>, Vec<Range<usize>>) = (Vec::new(), Vec::new());
        for (at, row) in rows.iter().enumerate() {
            let key = std::mem::take(&mut of_row[*row as usize]);
            match by_key.last_mut() {
                Some(same) if keys.last() == Some(&key) => same.end = at + 1,
                _ => {
                    keys.push(key);
                    by_key.push(at..at + 1);
                }
            }
        }
        Self { keys, rows, by_key }
    }
}

impl Hop {
    pub(super) fn run(&self, run: &mut Run<'_>) -> Result<Found, Stop> {
        let from = self.from.run(run)?;
        let asked = self.to.asked(&from, run)?;
        let (to, of_key) = self.to.find(&asked.keys, run)?;
        match self.gives {
            Gives::To => self.output((&from, None), (&to, None), to.rows),
            Gives::From => {
                let mut leads = vec![false; asked.keys.len()];
                of_key.iter().for_each(|key| leads[*key as usize] = true);
                let groups = asked.by_key.iter().zip(leads).filter(|(_, leads)| *leads);
                let rows = groups.flat_map(|(rows, _)| &asked.rows[rows.clone()]);
                let rows = UInt32Array::from_iter_values(rows.copied());
                self.output((&from, Some(&rows)), (&to, None), rows.len())
            }
            Gives::Pairs => {
                let (mut theirs, mut ours) = (Vec::new(), Vec::new());
                for (row, key) in (0..).zip(&of_key) {
                    let rows = &asked.rows[asked.by_key[*key as usize].clone()];
                    theirs.extend_from_slice(rows);
                    ours.resize(theirs.len(), row);
                    if ours.len() > ROWS_MAX {
                        return Err(Stop::Many);
                    }
                }
                let rows = ours.len();
                let theirs = UInt32Array::from(theirs);
                // As many pairs as rows: each row once, where it is.
                let ours = (rows != to.rows).then(|| UInt32Array::from(ours));
                self.output((&from, Some(&theirs)), (&to, ours.as_ref()), rows)
            }
        }
    }

    /// The columns given, of these rows of each side; of all, as they are, if none are named.
    fn output(&self, from: Chosen<'_>, to: Chosen<'_>, rows: usize) -> Result<Found, Stop> {
        let column = |side: &Side| {
            let ((found, rows), column) = match side {
                Side::From(column) => (from, *column),
                Side::To(column) => (to, *column),
            };
            let column = &found.columns[column];
            rows.map_or_else(|| Ok(Arc::clone(column)), |rows| take(column, rows, None))
        };
        let columns = self.output.iter().map(column).collect::<Result<_, _>>()?;
        Ok(Found { columns, rows })
    }
}

/// Rows of one side.
type Chosen<'a> = (&'a Found, Option<&'a UInt32Array>);
